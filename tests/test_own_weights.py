"""Rules that draw numbers of their own for every sample, or keep weights of their own."""

import concurrent.futures
import multiprocessing
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from odes import (
    NonlinearTargetPropagation,
    PiecewiseConstant,
    Sample,
    TargetPropagation,
    Update,
    critical_learning_rate,
    fixed_point,
    flow,
    gauss_hermite,
    hyperparameters,
    optimal_schedule,
    solve,
    solve_paths,
    sweep,
    update_cosine,
)
from odes.averages.activations import ACTIVATIONS
from odes.rules import AFA, BP, FA
from simulations import Rule, sample_network, simulate, simulate_chain
from simulations.rules import (
    as_matrix,
    choose_rule,
    fixed_feedback,
    forward,
    no_feedback,
    overlap_with_F,
    see,
)
from tests.conftest import averaged_drift, quick_and_long, random_problem

RATE = 0.3
TIMES = np.array([0.0, 0.5, 2.0])


def shadowed(network, sample):
    """FA beside which D, (K, O), follows v, and is sent back with B."""
    h, through, e = forward(network, sample)
    D = network.own["D"]
    dW = [(through((network.B + D) @ e), sample.x)]
    return dW, jnp.outer(h, e), {"D": RATE * (network.v - D)}


class Shadowed(FA):
    keeps = {"D": ("K", "O")}  # noqa: RUF012
    algorithm = Rule(shadowed, fixed_feedback, equivariant=True, learns=("D",))

    def update(self, sample):
        fed_back = (sample.B + sample.weights["D"]) @ sample.error
        return Update(sample.through(fed_back), sample.h[:, None] * sample.error)

    def learn(self, sample):
        return {"D": RATE * (sample.v - sample.weights["D"])}


def shaken(network, sample):
    """AFA with noise on its signal, one normal number for each unit and output."""
    h, through, e = forward(network, sample)
    fed_back = sample.fields(network.F @ e) + (sample.xi * e).sum(axis=1)
    return [(through(fed_back), sample.x)], jnp.outer(h, e)


class Shaken(AFA):
    draws = ("K", "O")
    algorithm = Rule(shaken, overlap_with_F, equivariant=True, draws=("K", "O"))

    def update(self, sample):
        fed_back = (sample.B + sample.xi) @ sample.error
        return Update(sample.through(fed_back), sample.h[:, None] * sample.error)


def with_D(network, D):
    return network._replace(own={"D": D})


NETWORK = with_D(sample_network(N=60, K=1, M=1, O=2, seed=1), np.array([[0.3, -0.2]]))


def assert_follows(theory, runs, N, bias=1.0):
    """Every number to five standard errors of the mean of the runs, and O(1/N)."""
    pairs = {"error": (theory.generalization_error, runs.generalization_error)}
    assert theory.order_parameters._fields == runs.order_parameters._fields
    for name, exact in theory.order_parameters._asdict().items():
        if exact is not None:
            pairs[name] = exact, getattr(runs.order_parameters, name)
    for name, (exact, measured) in pairs.items():
        error = measured.std(axis=0, ddof=1) / np.sqrt(len(measured))
        room = bias * (1 + np.abs(exact)) / N
        assert np.all(np.abs(measured.mean(axis=0) - exact) < 5 * error + room), name


def test_weights_of_ones_own_are_those_of_the_equations():
    """v stays, and D follows it: D - v falls as exp(-rate t), whoever integrates."""
    initial, teacher = NETWORK.overlaps(Shadowed())
    training = {"rule": Shadowed(), "lr": 0.4, "lr_v": 0.0, "times": TIMES, "points": 64}
    apart = np.exp(-RATE * TIMES)[:, None, None] * (initial.D - initial.v)
    whole = solve(initial, teacher, **training)
    assert_allclose(whole.order_parameters.D, initial.v + apart, rtol=1e-7)
    with jax.enable_x64(True):
        curve = flow(initial, teacher, **training)
    assert_allclose(curve.order_parameters.D, whole.order_parameters.D, rtol=1e-6)
    rates = {name: each for name, each in training.items() if name != "lr"}
    swept = sweep(initial, teacher, lr=[0.2, 0.4], **rates)
    assert_allclose(swept.generalization_error[1], whole.generalization_error, rtol=1e-6)
    for train, options in ((simulate, {"dtype": "float64"}), (simulate_chain, {})):
        runs = train(NETWORK, rule=Shadowed(), lr=0.4, lr_v=0.0, times=TIMES, **options)
        assert_allclose(
            runs.order_parameters.D[0], NETWORK.v + (1 - RATE / 60) ** (60 * TIMES)[:, None, None]
            * (NETWORK.own["D"] - NETWORK.v), rtol=1e-9,
        )  # fmt: skip
    blocks = simulate(
        NETWORK, rule=Shadowed(), lr=0.4, lr_v=0.0, times=TIMES, dtype="float64", block=7
    )
    whole = simulate(NETWORK, rule=Shadowed(), lr=0.4, lr_v=0.0, times=TIMES, dtype="float64")
    for ours, theirs in zip(blocks.order_parameters, whole.order_parameters, strict=True):
        assert_allclose(ours, theirs, atol=1e-11)


def test_analyses_honour_weights_of_ones_own():
    """With D = v from the start, the rule is FA with B + v, whose v does not move.

    Units are linear, for which few nodes are exact and FA has closed forms.
    """
    initial, teacher = random_problem(1, 1, 1, seed=2)
    still = {"lr": 0.5, "lr_v": 0.0, "noise": 0.2, "weight_decay": 0.1, "activation": "linear"}
    nodes = {"points": gauss_hermite(3, 5)}
    own = initial.with_weights(D=initial.v)
    summed = initial._replace(B=initial.B + initial.v)
    ours = solve(own, teacher, rule=Shadowed(), times=TIMES, fluctuations=True, **still, **nodes)
    theirs = solve(summed, teacher, rule="fa", times=TIMES, fluctuations=True, **still, **nodes)
    for name in "QR":
        assert_allclose(
            getattr(ours.fluctuations.order_parameters, name),
            getattr(theirs.fluctuations.order_parameters, name), rtol=1e-6, atol=1e-12,
        )  # fmt: skip
    assert ours.fluctuations.order_parameters.D.shape == (3, 1, 1)
    assert np.all(ours.fluctuations.order_parameters.D == 0)
    late = solve(own, teacher, rule=Shadowed(), times=[1e3], **still, **nodes).order_parameters
    late = type(late)(*(each[0] for each in late))
    point = fixed_point(late, teacher, rule=Shadowed(), **still, **nodes)
    assert_allclose(point.order_parameters.D, initial.v, atol=1e-8)
    assert np.min(abs(point.eigenvalues + RATE)) < 1e-6
    other = fixed_point(
        late._replace(B=late.B + initial.v), teacher, rule="fa", **still
    ).order_parameters
    assert_allclose(point.order_parameters.Q, other.Q, rtol=1e-6)
    both = ((own, {"rule": Shadowed(), **nodes}), (summed, {"rule": "fa"}))
    cosines = [
        update_cosine(state, teacher, noise=0.2, activation="linear", **way) for state, way in both
    ]
    assert_allclose(*cosines, rtol=1e-9)
    search = {**still, "t": 1.0, "lr": PiecewiseConstant([], [0.5]), "max_iterations": 3}
    found = [optimal_schedule(state, teacher, **search, **way) for state, way in both]
    assert_allclose(found[0].generalization_error, found[1].generalization_error, rtol=1e-6)
    v_star = teacher.v_star
    taught = type(own)(teacher.T, teacher.T, v_star, v_star, v_star)
    as_fa = type(initial)(teacher.T, teacher.T, v_star, 2 * v_star)
    limit = {"teacher": teacher, "lr_v": 0.0, "activation": "linear"}
    critical = (
        critical_learning_rate(taught, rule=Shadowed(), points=gauss_hermite(2, 5), **limit),
        critical_learning_rate(as_fa, rule="fa", **limit),
    )
    assert_allclose(*critical, rtol=1e-6)


@pytest.mark.long
def test_states_with_weights_of_ones_own_can_be_sent_and_kept(tmp_path):
    initial, teacher = NETWORK.overlaps(Shadowed())
    again = pickle.loads(pickle.dumps(initial))
    assert again._fields == initial._fields == ("Q", "R", "v", "B", "D")
    assert_allclose(again.D, initial.D)
    training = {"rule": Shadowed(), "lr": [0.1, 0.2], "times": [0.5], "points": 32}
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
        far = sweep(initial, teacher, executor=executor, **training)
    near = sweep(initial, teacher, path=tmp_path / "kept", **training)
    assert_allclose(far.generalization_error, near.generalization_error)
    run = {"rule": Shadowed(), "lr": 0.3, "times": [0.5, 1.0], "n_test": 5}
    fresh, resumed = (simulate(NETWORK, path=tmp_path / "run", **run) for _ in range(2))
    assert_allclose(fresh.order_parameters.D, resumed.order_parameters.D)


@pytest.mark.parametrize(
    ("rule", "train"),
    quick_and_long(
        [(Shaken(), simulate_chain)], (Shaken(), simulate), (Shadowed(), simulate_chain),
        (NonlinearTargetPropagation(0.5, 0.1, 0.7), simulate),
        (NonlinearTargetPropagation(0.5, 0.1, 0.7), simulate_chain),
    ),
)  # fmt: skip
def test_networks_follow_the_theory(rule, train):
    """K = M = O = 2, N = 400, 64 runs, five standard errors: false alarms below 1e-4 in all."""
    network = sample_network(
        N=400, K=2, M=2, O=2, v=[[1, 0.2], [0.1, -0.8]], seed=3, feedback_scale=0.4
    )
    network = with_D(network, 0.5 * network.B)
    training = {"rule": rule, "lr": 0.5, "noise": 0.2, "weight_decay": 0.05, "times": [1.0, 4.0]}
    theory = solve(*network.overlaps(rule), points=2**14, **training)
    runs = train(network, n_runs=64, n_test=1000, **training)
    assert_follows(theory, runs, 400, bias=2.0)


@pytest.mark.long
def test_noise_of_ones_own_scatters_the_paths_and_the_networks():
    """Of a random F; and the variance of R in theory and in 600 chains, to 3.5 standard errors."""
    network = sample_network(N=400, K=1, M=1, student_scale=0.8, feedback_scale=0.5, seed=2)
    training = {"rule": Shaken(), "lr": 0.5, "times": [1.0, 2.0]}
    theory = solve(*network.overlaps(Shaken()), fluctuations=True, points=2**12, **training)
    runs = simulate_chain(network, n_runs=600, n_test=1, **training)
    measured = 400 * runs.order_parameters.R.var(axis=0, ddof=1)
    ratio = measured / theory.fluctuations.order_parameters.R
    assert np.all(abs(ratio - 1) < 3.5 * np.sqrt(2 / 600) + 0.03)
    quiet = solve(*network.overlaps("afa"), fluctuations=True, rule="afa", lr=0.5, times=[1.0, 2.0])
    assert np.all(
        theory.fluctuations.order_parameters.R > 1.5 * quiet.fluctuations.order_parameters.R
    )
    random = sample_network(N=400, K=1, M=1, student_scale=0.8, feedback="random", seed=2)
    paths = solve_paths(*random.overlaps(Shaken()), n_paths=64, seed=1, **training)
    chains = simulate_chain(random, n_runs=64, n_test=500, **training)
    assert np.all(paths.status == "ok")
    spread = [each.generalization_error.std(axis=0) for each in (paths, chains)]
    means = [each.generalization_error.mean(axis=0) for each in (paths, chains)]
    room = 5 * np.hypot(*spread) / 8 + 0.01 * means[0]
    assert np.all(abs(means[0] - means[1]) < room)


@pytest.mark.parametrize(
    "rule", [TargetPropagation(0.5, 0.1), NonlinearTargetPropagation(0.5, 0.1, 0.7)]
)
def test_a_decoder_learns_the_same_from_one_input_on_both_sides(rule):
    """And makes the same update; B descends half the squared distance of h and what it decodes."""
    network = sample_network(N=12, K=3, M=2, O=2, seed=1)
    x, y = np.random.default_rng(0).normal(size=12), np.array([-0.4, 0.7])
    g = ACTIVATIONS["erf"].g
    with jax.enable_x64(True):
        given = jax.tree.map(jnp.asarray, network)
        dW, dv, learned = choose_rule(rule).update(given, see(given, jnp.asarray(x), y, g, 0.3))
        dW = as_matrix(dW)
        sample = Sample(given.W @ x / np.sqrt(12), given.v, y, given.B, g, 0.3)
        update, dB = rule.update(sample), rule.learn(sample)["B"]

        def missed(B):
            decoded = B @ sample.prediction
            decoded = g(decoded) if isinstance(rule, NonlinearTargetPropagation) else decoded
            return jnp.sum((sample.h - decoded) ** 2) / 2

        expected = -0.5 * jax.grad(missed)(given.B) - 0.1 * given.B
    assert_allclose(dW, np.outer(update.delta, x), rtol=1e-10, atol=1e-13)
    assert_allclose(dv, update.readout, rtol=1e-10, atol=1e-13)
    assert_allclose(learned["B"], expected, rtol=1e-10, atol=1e-13)
    assert_allclose(dB, expected, rtol=1e-10, atol=1e-13)


def perturbed(network, sample):
    h, _, e = forward(network, sample)
    noisy = sample.g(sample.fields(sample.x) + 0.1 * sample.xi) @ network.v - sample.y
    delta = (noisy @ noisy - e @ e) / 2 * sample.xi / 0.1
    return [(delta, sample.x)], jnp.outer(h, e)


class Perturbed(BP):
    draws = ("K",)
    algorithm = Rule(perturbed, no_feedback, equivariant=True, draws=("K",))

    def update(self, sample):
        def loss(fields):
            return jnp.sum((sample.g(fields) @ sample.v - sample.label) ** 2) / 2

        gain = loss(sample.fields + 0.1 * sample.xi) - loss(sample.fields)
        return Update(gain * sample.xi / 0.1, sample.h[:, None] * sample.error)


def test_node_perturbation_learns_as_bp_on_average_and_scatters_more():
    """Linear units: <delta> is the gradient exactly, and with one unit, of error e and readout v,
    ``<delta^2> = v^2 <3 e^2 + 15 s^2 v^2 / 4>``."""
    initial, teacher = random_problem(1, 1, 1, seed=3)
    initial = initial._replace(B=None)
    lr, parameters = 0.7, hyperparameters(lr=0.7, lr_v=0.3)
    ours = averaged_drift(initial, teacher, parameters, 2**16, Perturbed(), "linear")
    bp = averaged_drift(initial, teacher, parameters, 2**16, "bp", "linear")
    assert_allclose(ours.R, bp.R, rtol=2e-3)
    assert_allclose(ours.v, bp.v, rtol=2e-3)
    Q, R, v, *_ = (each if each is None else float(each[0, 0]) for each in initial)
    T, v_star = teacher.T.item(), teacher.v_star.item()
    square = v * v * Q - 2 * v * v_star * R + v_star**2 * T
    gradient = v * v * Q - v * v_star * R
    spread = v * v * (3 * square + 15 * 0.1**2 * v * v / 4)
    assert_allclose(ours.Q.item(), -2 * lr * gradient + lr**2 * spread, rtol=5e-3)


def test_what_learns_takes_a_scale_to_start_with_alone():
    initial, teacher = NETWORK.overlaps(Shadowed())
    halves = {"lr": 0.4, "times": TIMES, "points": 32}
    ours = solve(initial, teacher, rule=Shadowed(), feedback_scale=0.5, **halves)
    theirs = solve(initial._replace(B=0.5 * initial.B), teacher, rule=Shadowed(), **halves)
    assert_allclose(ours.order_parameters.R, theirs.order_parameters.R)
    with pytest.raises(
        ValueError, match="`feedback_scale` must be a number for a rule that learns"
    ):
        solve(
            initial, teacher, rule=Shadowed(), feedback_scale=PiecewiseConstant([1.0], [1.0, 0.5]),
            **halves,
        )  # fmt: skip


def test_rules_are_the_same_if_what_they_hold_is():
    class Leaky(FA):
        def __init__(self, rate):
            self.rate = rate

    assert Leaky(0.1) == Leaky(0.1) != Leaky(0.2)
    assert hash(Leaky(0.1)) == hash(Leaky(0.1))
    assert FA() == FA() != AFA()


class NoD(Shadowed):
    def learn(self, sample):
        return {}


class WrongShape(Shadowed):
    def learn(self, sample):
        return {"D": sample.v[:, 0]}


class Unknown(FA):
    def learn(self, sample):
        return {"E": sample.v}


class NoDictionary(FA):
    def learn(self, sample):
        return sample.v


class BadDraws(FA):
    draws = ("M",)


class BadNames(FA):
    keeps = {"Q": ("K", "K")}  # noqa: RUF012


class BadKeeps(FA):
    keeps = ("D",)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (NoD(), "`rule` must `learn` all weights that it keeps, but not 'D'"),
        (WrongShape(), r"shape \(1, 2\) for D, but it is of shape \(1,\)"),
        (Unknown(), "'E'"),
        (NoDictionary(), "`learn` that returns a dictionary"),
        (BadDraws(), "`draws` that are a tuple of K and O"),
        (BadNames(), "`keeps` that map names of its own"),
        (BadKeeps(), "`keeps` that map names of its own"),
    ],
)
def test_what_a_rule_declares_is_checked(rule, message):
    initial, teacher = NETWORK.overlaps(Shadowed())
    with pytest.raises(ValueError, match=message):
        solve(initial, teacher, rule=rule, lr=0.1, times=[1.0])


def test_networks_need_the_weights_that_a_rule_learns():
    plain = NETWORK._replace(own=None)
    with pytest.raises(ValueError, match="`network` must have D for a rule that learns it"):
        simulate(plain, rule=Shadowed(), lr=0.1, times=[1.0])
    with pytest.raises(ValueError, match="`D` must be an array of shape"):
        solve(*NETWORK.overlaps("fa"), rule=Shadowed(), lr=0.1, times=[1.0])
    with pytest.raises(ValueError, match=r"`network\.own` must be a dictionary"):
        simulate(NETWORK._replace(own=[1]), rule="fa", lr=0.1, times=[1.0])
    forgets = Shadowed.algorithm._replace(learns=())
    with pytest.raises(ValueError, match=r"must return \(dW, dv\)"):
        simulate(NETWORK, rule=forgets, lr=0.1, times=[1.0])
    more = Shadowed.algorithm._replace(learns=("D", "B"))
    with pytest.raises(ValueError, match="must return"):
        simulate(NETWORK, rule=more, lr=0.1, times=[1.0])
