"""Tasks: streams of samples that train parts of a student, on both sides; merged students."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from figures.paper.continual import ahead_in_the_first_task, in_turn
from odes import (
    RULES,
    OrderParameters,
    PiecewiseConstant,
    Spectrum,
    Task,
    fixed_point,
    flow,
    generalization_error,
    hyperparameters,
    merge,
    optimal_schedule,
    output_errors,
    solve,
    solve_paths,
    sweep,
)
from odes.averages.activations import ACTIVATIONS
from odes.averages.sampled import update_at
from odes.common.layers import layers_of, over_layers
from odes.common.schedules import check_scheduled
from odes.common.tasks import streams_of, with_tasks
from odes.problem import prepare
from odes.rules import Mirrored, Rule, Update
from simulations import Rule as SimulatedRule
from simulations import sample_network, simulate, simulate_chain
from simulations.activations import choose_activation
from simulations.rules import choose_rule, outputs
from simulations.training.steps import changes, mirrored
from tests.conftest import (
    CLOSED_RULES,
    needed,
    quick_and_long,
    random_problem,
    tensor_rule,
)

TIMES = np.array([2.0, 6.0])
ONE_HEAD = [Task([0]), Task([1])]
STUDENTS = [Task([[0], [1]], units=[[0, 2], [1]]), Task([0, 1], 0.0)]
SHARED_HEAD = [Task([[0], [0]], units=[[0, 2], [1]]), Task([1])]
OVERLAPPING = [Task([0], units=[0, 1]), Task([1], units=[1, 2])]
SETTINGS = {"heads": ONE_HEAD, "students": STUDENTS, "one head": SHARED_HEAD, "units": OVERLAPPING}
IN_LAYERS = {"students": [Task([[0], [1]], units=[([0, 2], [1]), ([1], [0])])]}
UNMIRRORED = [
    name for name, rule in RULES.items() if not isinstance(rule, Mirrored) and name[:2] != "ff"
] + ["ff-topdown"]


def assert_alike(found, expected, **tolerance):
    for one, other in zip(layers_of(found), layers_of(expected), strict=True):
        assert_allclose(np.asarray(one), np.asarray(other), **tolerance)


def network_of(K, **options):
    return sample_network(
        **{"N": 40, "K": K, "M": 2, "O": 2, "feedback_scale": 0.6, "seed": 3} | options
    )


ALL_SETTINGS = ("bp", "pepita-hebbian")
CASES = [(rule, 3, setting) for rule in ALL_SETTINGS for setting in SETTINGS]
CASES += [(rule, 3, "one head") for rule in UNMIRRORED if rule not in ALL_SETTINGS]
CASES += [(rule, (3, 2), "students") for rule in UNMIRRORED]


@pytest.mark.parametrize(("rule", "K", "setting"), CASES)
def test_a_sample_trains_the_same_in_theory_and_in_networks(rule, K, setting):
    """All weights after one sample of the first task, two implementations, to rounding.

    Time-local PEPITA at an input of length N, at right angles to F.
    """
    network, theory, algorithm = network_of(K), RULES[rule], choose_rule(rule)
    tasks = (SETTINGS if K == 3 else IN_LAYERS)[setting]
    streams = streams_of(tasks, network.v)
    rng = np.random.default_rng(8)
    x = rng.normal(size=40)
    if rule == "pepita-tl":
        x -= network.F @ np.linalg.lstsq(network.F, x, rcond=None)[0]
        x *= np.sqrt(40) / np.linalg.norm(x)
    parameters = hyperparameters(lr=0.4, lr_v=0.3)
    initial, teacher = network.overlaps(rule)
    with jax.enable_x64(True):
        net, initial = (jax.tree.map(jnp.asarray, each) for each in (network, initial))
        teacher = jax.tree.map(jnp.asarray, teacher)
        g = choose_activation("erf").hidden
        y = outputs(net.W_star, net.v_star, x[None], g)[0]
        change, moved = changes(
            net, jnp.asarray(x), y, parameters._replace(feedback_scale=None), which=0,
            streams=streams, rule=algorithm, g=g, N=40,
        )  # fmt: skip
        fields = jnp.concatenate([net.W @ x, net.W_star @ x]) / 40**0.5
        update, error = update_at(
            fields, jnp.zeros(0), initial, teacher, parameters, theory, ACTIVATIONS["erf"],
            streams[0],
        )  # fmt: skip
    net, change, moved, update, error = jax.tree.map(
        np.asarray, (net, change, moved, update, error)
    )
    expected = np.outer(update.delta, x)
    if update.gamma is not None:
        expected += (update.gamma[:, None] * error) @ network.F.T
    assert_allclose(change, -0.4 / 40**0.5 * expected, rtol=0, atol=1e-12)
    assert np.max(np.abs(change)) > 1e-4
    after = over_layers(lambda v, d: v - 0.3 / 40 * d, net.v, update.readout)
    assert_alike(moved["v"], after, rtol=0, atol=1e-12)
    if rule == "dtp":
        after = over_layers(lambda B, d: B + d / 40, net.B, update.weights["B"])
        assert_alike(moved["B"], after, rtol=0, atol=1e-12)
    if rule == "kolen-pollack":
        after = over_layers(lambda B, d: B - 0.3 / 40 * d, net.B, update.readout)
        assert_alike(moved["B"], after, rtol=0, atol=1e-12)


def test_mirrors_of_a_part_leave_the_rest():
    """One step of either kind of mirror, beside a sample of the first head alone."""
    rng = np.random.default_rng(0)
    for rule in ("fa-mirror", "pepita-mirror"):
        network, algorithm = network_of(3), choose_rule(rule)
        noise = rng.normal(size=40), rng.normal(size=3)
        kinds = {"rule": algorithm, "g": np.tanh}
        streams = streams_of(ONE_HEAD, network.v)
        with jax.enable_x64(True):
            whole = mirrored(network, noise, 1.0, **kinds)
            on_jax = jax.tree.map(jnp.asarray, network)
            part = mirrored(on_jax, noise, 1.0, which=0, streams=streams, **kinds)
            none = mirrored(on_jax, noise, 1.0, which=2, streams=streams, **kinds)
        name = "B" if rule == "fa-mirror" else "F2"
        assert_allclose(part.get(name)[:, 0], whole.get(name)[:, 0], rtol=1e-12)
        assert_allclose(part.get(name)[:, 1], network.get(name)[:, 1], rtol=0)
        assert_allclose(none.get(name), network.get(name), rtol=0)


def drift_with(state, teacher, rule, tasks, points=None, **scalars):
    """The drift of a state, as order parameters."""
    given = hyperparameters(**{"lr": 0.7, "lr_v": 0.4, "noise": 0.5} | scalars)
    parameters = with_tasks(given, tasks, check_scheduled)
    problem = prepare(
        state, teacher, rule=rule, activation="erf", points=points, parameters=parameters,
        tasks=tasks,
    )  # fmt: skip
    return problem.changes(problem.velocity()(0.0, problem.pack(problem.initial)))


DECAYS = {"weight_decay": 0.3, "weight_decay_v": 0.2}
HALVES = {
    "heads": [Task([0], 0.7), Task([1], 1.3, noise=0.2)],
    "students": [Task([[0], [1]], units=[[0], [1]])],
    "one head": [Task([[0], [0]], units=[[0], [1]]), Task([1], 0.4)],
    "units": [Task([0], units=[0]), Task([0, 1], 0.6)],
}


@pytest.mark.computes
@pytest.mark.parametrize("setting", HALVES)
@pytest.mark.parametrize("rule", ["bp", "fa", "afa", "dtp", "kolen-pollack", "sign-random"])
def test_closed_forms_of_parts_are_averages_over_nodes(rule, setting):
    """The masks of the one and the networks within the network of the other."""
    state, teacher = random_problem(2, 1, 2, seed=4, scale=0.5)
    given = needed(state, rule), teacher, rule, HALVES[setting]
    exact = drift_with(*given, **DECAYS)
    over_nodes = drift_with(*given, **DECAYS, points=tensor_rule(16, 16, 16, 3, 3))
    for name, each in exact._asdict().items():
        if each is not None:
            assert_allclose(getattr(over_nodes, name), each, rtol=0, atol=2e-6)


@pytest.mark.parametrize("rule", CLOSED_RULES)
def test_a_mixture_has_the_weighted_drifts_of_its_tasks(rule):
    """Decays too: what a task does not train does not decay by it."""
    network = sample_network(N=40, K=3, M=2, O=2, seed=3)
    state, teacher = network.overlaps(rule)

    def alone(rates):
        tasks = [Task([0], rates[0]), Task([1], rates[1], noise=0.1)]
        return drift_with(state, teacher, rule, tasks, **DECAYS)

    both, first, second, none = map(alone, [(0.7, 1.5), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
    for name, each in both._asdict().items():
        if each is not None:
            parts = [getattr(one, name) for one in (first, second, none)]
            assert_allclose(each, 0.7 * parts[0] + 1.5 * parts[1], rtol=1e-12, atol=1e-13)
            assert np.all(parts[2] == 0)
    assert np.all(first.v[:, 1] == 0)
    assert np.all(first.v[:, 0] != 0)


@pytest.mark.parametrize("rule", ["bp", "afa", "kolen-pollack"])
def test_what_a_task_does_not_train_stays_and_its_noise_is_its_own(rule):
    state, teacher = network_of(3).overlaps(rule)
    tasks = [Task([0], units=[0, 2], noise=0.2), Task([1], 0.0, noise=0.9)]
    found = drift_with(state, teacher, rule, tasks, **DECAYS)
    plain = [each._replace(noise=None) for each in tasks]
    expected = drift_with(state, teacher, rule, plain, **DECAYS, noise=0.2)
    for name, each in found._asdict().items():
        if each is not None:
            assert_allclose(each, getattr(expected, name), rtol=1e-13)
    assert found.Q[1, 1] == 0
    assert found.Q[0, 1] != 0
    assert np.all(found.R[1] == 0)
    assert np.all(found.v[1] == 0)
    assert np.all(found.v[:, 1] == 0)
    if rule != "bp":
        assert np.all(found.B[1] == 0)


def head(state, teacher, o):
    """State and teacher with one output alone."""
    own = {
        name: getattr(state, name)[:, [o]]
        for name in ("v", "B")
        if getattr(state, name) is not None
    }
    cut = (
        {"S": teacher.S[:, [o]], "P": teacher.P[o, o][None, None]} if teacher.S is not None else {}
    )
    return state._replace(**own), teacher._replace(v_star=teacher.v_star[:, [o]], **cut)


@pytest.mark.parametrize("rule", ["bp", "fa"])
def test_two_heads_in_sequence_are_two_solutions(rule):
    """A switch at t = 5, and two solutions by hand."""
    state, teacher = network_of(3).overlaps(rule)
    how = {
        "rule": rule,
        "lr": 0.7,
        "noise": 0.1,
        "weight_decay": 0.02,
        "rtol": 1e-11,
        "atol": 1e-13,
    }
    tasks = [
        Task([0], PiecewiseConstant([5.0], [1.0, 0.0])),
        Task([1], PiecewiseConstant([5.0], [0.0, 1.0])),
    ]
    whole = solve(state, teacher, times=[5.0, 12.0], tasks=tasks, **how)
    first = solve(*head(state, teacher, 0), times=[5.0], **how).final
    start = state._replace(Q=first.Q, R=first.R)
    second = solve(*head(start, teacher, 1), times=[7.0], **how)
    middle, end = (whole.order_parameters.R[i] for i in (0, 1))
    assert_allclose(middle, first.R, rtol=0, atol=1e-9)
    assert_allclose(end, second.final.R, rtol=0, atol=1e-9)
    assert_allclose(whole.final.v[:, 0], first.v[:, 0], rtol=0, atol=1e-9)
    assert_allclose(whole.output_errors[1, 1], second.generalization_error[0], rtol=0, atol=1e-9)
    assert_allclose(whole.output_errors.sum(axis=1), whole.generalization_error, rtol=1e-14)


def test_students_apart_are_solutions_apart_and_their_overlap_is_that_of_networks():
    """Two of two units: own samples, and the same ones; 200 chains, false alarms up to 1e-4."""
    network = sample_network(N=200, K=4, M=2, O=2, seed=5, v_star=np.ones((2, 2)))
    state, teacher = network.overlaps("bp")
    groups = [[0, 1], [2, 3]]
    apart = [Task([o], units=groups[o]) for o in (0, 1)]
    together = [Task([[0], [1]], units=groups)]
    how = {"rule": "bp", "lr": 1.5, "noise": 0.3, "times": TIMES, "weight_decay": 0.05}
    both = [solve(state, teacher, tasks=tasks, **how) for tasks in (apart, together)]
    for o, units in enumerate(groups):
        own, theirs = head(state, teacher, o)
        pick = np.ix_(units, units)
        student = own._replace(Q=own.Q[pick], R=own.R[units], v=own.v[units])
        alone = solve(student, theirs, **how)
        for found in both:
            part = found.order_parameters.Q[:, units][:, :, units]
            assert_allclose(part, alone.order_parameters.Q, rtol=0, atol=2e-8)
    across = [found.order_parameters.Q[:, :2, 2:] for found in both]
    assert np.max(np.abs(across[0] - across[1])) > 0.05  # same samples have more in common
    for tasks, expected, other in zip((apart, together), across, across[::-1], strict=True):
        runs = simulate_chain(network, tasks=tasks, n_runs=200, seed=1, n_test=1, **how)
        each = runs.order_parameters.Q[:, :, :2, 2:]
        error = each.std(axis=0, ddof=1) / len(each) ** 0.5
        assert np.all(np.abs(each.mean(axis=0) - expected) < 5 * error)
        assert np.any(np.abs(each.mean(axis=0) - other) > 5 * error)


@pytest.mark.computes
def test_forgetting_is_largest_at_intermediate_similarity():
    """Of BP after specialising (Lee, Goldt & Saxe 2021); of FA where nothing is in common."""

    def forgotten(rule, similarity):
        start = ahead_in_the_first_task(similarity, 100, 0).overlaps(rule)
        found = solve(*start, rule=rule, lr=1.0, times=[20.0, 50.0], tasks=in_turn(20.0, 0.0))
        return float(np.diff(found.output_errors[:, 0])[0])

    unlike, between, alike = (forgotten("bp", each) for each in (0.0, 0.45, 0.9))
    assert between > 3 * alike > 9 * unlike > 0
    assert forgotten("fa", 0.0) > 2 * between > 2 * forgotten("afa", 0.45)


@pytest.mark.parametrize("how", [{"block": 1}, {"block": 8}, None])
def test_in_networks_too_what_is_not_trained_stays_and_noise_is_its_own(how):
    network = network_of(3, N=60)
    run = simulate_chain if how is None else simulate
    given = {"rule": "kolen-pollack", "lr": 0.5, "times": [0.0, 2.0], "n_test": 10, **DECAYS}
    tasks = [Task([0], units=[0, 2], noise=0.2), Task([1], 0.0, noise=0.9)]
    plain = [each._replace(noise=None) for each in tasks]
    found = run(network, tasks=tasks, **given, **(how or {})).order_parameters
    same = run(network, tasks=plain, noise=0.2, **given, **(how or {})).order_parameters
    np.testing.assert_array_equal(found.Q, same.Q)
    if how == {"block": 8}:
        one_by_one = run(network, tasks=tasks, **given, block=1).order_parameters
        assert_allclose(found.Q, one_by_one.Q, rtol=0, atol=1e-5)
    start, end = ([getattr(found, name)[0, t] for name in ("Q", "R", "v", "B")] for t in (0, 1))
    for before, after in zip(start, end, strict=True):
        assert_allclose(after[1, 1:2], before[1, 1:2], rtol=0, atol=1e-6)
        assert np.max(np.abs(after[0] - before[0])) > 1e-2
    assert_allclose(end[2][:, 1], start[2][:, 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rates", quick_and_long([(0.5, 0.5)], ((1.0, 0.7),), ((0.3, 0.0),)))
def test_fluctuations_of_samples_that_come_by_chance(rates):
    """Against 2000 chains; 5 standard errors."""
    network = sample_network(N=300, K=1, M=1, O=2, seed=3)
    tasks = [Task([o], rate) for o, rate in enumerate(rates)]
    given = {"rule": "bp", "lr": 0.5, "noise": 0.1, "times": [2.0], "tasks": tasks}
    theory = solve(*network.overlaps("bp"), fluctuations=True, **given)
    runs = simulate_chain(network, n_runs=2000, n_test=1, **given)
    for name in ("R", "v"):
        each = getattr(runs.order_parameters, name)[:, 0]
        expected = getattr(theory.fluctuations.order_parameters, name)[0]
        off = 5 * (2 / len(each)) ** 0.5
        assert_allclose(300 * each.var(axis=0, ddof=1), expected, rtol=off, atol=1e-12)


class Shaken(Rule):
    """BP whose hidden units are shaken, each by a normal of its own."""

    needs = ()
    draws = ("K",)

    def feedback(self, state):
        return state.v

    def update(self, sample):
        return Update(sample.xi * sample.h, sample.h[:, None] * sample.error)

    algorithm = SimulatedRule(
        lambda network, sample: (
            [(sample.xi * sample.forward(sample.x), sample.x)],
            jnp.outer(sample.forward(sample.x), sample.forward(sample.x) @ network.v - sample.y),
        ),
        lambda network: None,
        equivariant=True,
        draws=("K",),
    )


def test_what_a_rule_draws_is_that_of_the_units_at_hand():
    """Q of two students of the same samples, against 400 chains; 5 standard errors."""
    network = network_of(3, N=200)
    tasks = [Task([[0], [1]], units=[[0, 2], [1]])]
    given = {"rule": Shaken(), "lr": 0.5, "times": [1.0], "tasks": tasks}
    theory = solve(*network.overlaps("bp"), points=2**13, **given).order_parameters.Q[0]
    each = simulate_chain(network, n_runs=400, n_test=1, **given).order_parameters.Q[:, 0]
    error = each.std(axis=0, ddof=1) / len(each) ** 0.5
    assert np.all(np.abs(each.mean(axis=0) - theory) < 5 * error + 2e-3)


SWITCH = [
    Task([0], PiecewiseConstant([3.0], [0.8, 0.1])),
    Task([1], PiecewiseConstant([3.0], [0.0, 0.9]), noise=0.3),
    Task([0, 1], 0.2),
]


@pytest.mark.computes
@pytest.mark.parametrize("how", quick_and_long([{"block": 8}, {}], {"block": 1}))
def test_networks_learn_tasks_as_the_theory_says(how):
    """AFA, a switch with replay: 24 networks, or 100 chains; false alarms up to 1e-4."""
    network = sample_network(N=400, K=3, M=2, O=2, seed=2, v_star=np.eye(2) + 0.2)
    given = {"rule": "afa", "lr": 0.5, "noise": 0.1, "weight_decay": 0.02, "times": TIMES}
    theory = solve(*network.overlaps("afa"), tasks=SWITCH, **given)
    run = simulate if how else simulate_chain
    runs = run(
        network, tasks=SWITCH, n_runs=24 if how else 100, n_test=1000, seed=7, **given, **how
    )
    error = runs.output_errors.std(axis=0, ddof=1) / len(runs.output_errors) ** 0.5
    off = np.abs(runs.output_errors.mean(axis=0) - theory.output_errors)
    assert np.all(off < 4.5 * error + 0.02 * theory.output_errors)
    assert_allclose(runs.output_errors.sum(axis=2), runs.generalization_error, rtol=1e-5)
    assert theory.output_errors[0, 1] > 2 * theory.output_errors[1, 1]


def test_fluctuations_and_paths_of_tasks():
    """The same samples under two names, half of them each, scatter as they did; and B diffuses."""
    network = sample_network(N=100, K=2, M=2, O=2, seed=2)
    given = {"rule": "bp", "lr": 0.5, "noise": 0.3, "times": [3.0]}
    whole = solve(*network.overlaps("bp"), fluctuations=True, **given)
    halves = [Task([0, 1], 0.5), Task([0, 1], 0.5)]
    split = solve(*network.overlaps("bp"), fluctuations=True, tasks=halves, **given)
    scatter = split.fluctuations
    assert_allclose(scatter.covariance, whole.fluctuations.covariance, rtol=1e-3, atol=1e-6)
    assert scatter.bias is None
    random = sample_network(N=100, K=2, M=2, O=2, seed=2, feedback="random")
    start = random.overlaps("afa")
    given |= {"rule": "afa", "n_paths": 2, "dt": 0.1}
    paths = [solve_paths(*start, tasks=tasks, **given) for tasks in (None, halves)]
    assert_allclose(*(each.order_parameters.B for each in paths), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rule", ["bp", "afa"])
def test_tasks_of_inputs_with_factors(rule):
    """Closed forms over groups and factors, with units apart, against averages over nodes."""
    inputs = Spectrum([0.5, 1.5], [0.4, 0.6], (0.5, 1.75), (0.6, 0.4))
    network = sample_network(N=50, K=2, M=1, O=2, seed=2, student_scale=0.4, inputs=inputs)
    given = *network.overlaps(rule), rule, HALVES["units"]
    exact = drift_with(*given, noise=0.0)
    over_nodes = drift_with(*given, noise=0.0, points=tensor_rule(30, 30, 30))
    for name, each in exact._asdict().items():
        if each is not None:
            assert_allclose(getattr(over_nodes, name), each, rtol=0, atol=2e-6)


def test_flows_sweeps_and_fixed_points_take_tasks():
    network = sample_network(N=100, K=2, M=2, O=2, seed=2)
    state, teacher = network.overlaps("bp")
    given = {"rule": "bp", "times": TIMES, "tasks": [Task([0], 0.6), Task([1], 0.5, noise=0.3)]}
    expected = solve(state, teacher, lr=0.5, **given)
    swept = sweep(state, teacher, lr=[0.5, 0.8], **given)
    assert_allclose(swept.output_errors[0], expected.output_errors, rtol=0, atol=1e-7)

    def first_errors(rate):
        tasks = [given["tasks"][0]._replace(rate=rate), given["tasks"][1]]
        solution = flow(state, teacher, lr=0.5, **given | {"tasks": tasks})
        return solution.output_errors[:, 0]

    with jax.enable_x64(True):
        at, slopes = jax.jvp(first_errors, (0.6,), (1.0,))
        slope = float(slopes[0])
    assert_allclose(np.asarray(at), expected.output_errors[:, 0], rtol=0, atol=1e-7)
    more, less = (
        solve(state, teacher, lr=0.5, **given | {"tasks": [Task([0], rate), given["tasks"][1]]})
        for rate in (0.601, 0.599)
    )
    step = (more.output_errors[0, 0] - less.output_errors[0, 0]) / 0.002
    assert slope < 0
    assert_allclose(slope, step, rtol=1e-4)
    same = [fixed_point(
        OrderParameters(teacher.T, teacher.T, teacher.v_star), teacher, rule="bp", lr=0.3,
        tasks=tasks,
    ) for tasks in (None, [Task([0, 1], 2.0)])]  # fmt: skip
    assert_allclose(same[1].escape_rate, 2 * same[0].escape_rate, rtol=1e-6, atol=1e-9)


@pytest.mark.computes
def test_shares_of_samples_that_are_found_cannot_be_bettered():
    network = sample_network(N=100, K=2, M=2, O=2, seed=2, v_star=[[1.0, 0.0], [0.0, 2.0]])
    start = network.overlaps("bp")
    rate = PiecewiseConstant([4.0], [0.5, 0.5])
    given = {"rule": "bp", "lr": 0.4}
    best = optimal_schedule(*start, t=8.0, tasks=[Task([0], rate), Task([1], rate)], **given)
    tasks = best.schedules["tasks"]
    assert_allclose(sum(each.rate.values for each in tasks), 1.0, rtol=1e-12)
    reached = solve(*start, times=[8.0], **best.schedules, **given).generalization_error[0]
    assert_allclose(reached, best.generalization_error, rtol=1e-6)
    assert best.generalization_error < best.initial_error
    for move in ([0.02, 0.0], [-0.02, 0.0], [0.0, 0.02], [0.0, -0.02]):
        moved = [
            each._replace(rate=each.rate._replace(values=each.rate.values + sign * np.array(move)))
            for each, sign in zip(tasks, (1, -1), strict=True)
        ]
        other = solve(*start, times=[8.0], tasks=moved, **given).generalization_error[0]
        assert other >= reached - 1e-9


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("one", "`tasks` must be None or a list of one or more odes.Task"),
        ([], "`tasks` must be None or a list"),
        ([Task([2])], r"`tasks\[0\].outputs` must be distinct whole numbers from 0 to 1"),
        ([Task([0, 0])], r"`tasks\[0\].outputs` must be distinct"),
        ([Task([0])], "`tasks` must train each of 2 outputs, but output 1 is in no task"),
        ([Task([0, 1], rate=-1.0)], r"`tasks\[0\].rate` must be a finite number >= 0"),
        ([Task([0, 1], rate=np.nan)], r"`tasks\[0\].rate` must be a finite number >= 0"),
        ([Task([0, 1], rate=lambda t: -t)], r"`tasks\[0\].rate` must return a finite number"),
        ([Task([0, 1], noise=-1.0)], r"`tasks\[0\].noise` must be a finite number >= 0"),
        ([Task([0, 1], units=[4])], r"`tasks\[0\].units` must be distinct whole numbers from 0"),
        ([Task([[0], [1]], units=[[0, 1], [1, 2]])], r"`tasks\[0\].units` must be apart"),
        ([Task([[0], [1]], units=[[0]])], r"`tasks\[0\].units` must be a list of units for each"),
        ([Task([0, 1], units=([0], [1]))], r"`tasks\[0\].units` must be a tuple of units of each"),
    ],
)
def test_tasks_that_cannot_be_are_named(given, message):
    network = network_of(3)
    how = {"rule": "bp", "lr": 0.1, "times": [1.0], "tasks": given}
    for call in (
        lambda: solve(*network.overlaps("bp"), **how),
        lambda: simulate(network, **how),
        lambda: simulate_chain(network, **how),
        lambda: sweep(*network.overlaps("bp"), **how),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_what_a_rule_cannot_train_alone_is_named():
    network = network_of(3)
    units = [Task([0, 1], units=[0, 1])]
    with pytest.raises(ValueError, match="must be None or all units for a rule that learns an F"):
        simulate(network, rule="afa-mirror", lr=0.1, times=[1.0], tasks=units)
    with pytest.raises(ValueError, match="must be None or all units for a rule that learns an F"):
        solve(*network.overlaps("afa-mirror"), rule="afa-mirror", lr=0.1, times=[1.0], tasks=units)
    rates = [Task([i], PiecewiseConstant([1.0 + i], [0.5, 0.5])) for i in (0, 1)]
    with pytest.raises(ValueError, match="`tasks` must have rates of the same jumps"):
        optimal_schedule(*network.overlaps("bp"), rule="bp", lr=0.1, t=2.0, tasks=rates)


def merged_networks(network, groups, weights):
    """The network whose weights are these combinations of those of groups of units."""
    pairs = [*zip(groups, weights, strict=True)]
    W, v, B = (
        sum(a * getattr(network, name)[units] for units, a in pairs) for name in ("W", "v", "B")
    )
    return network._replace(W=W, v=v, B=B, F1=None, F2=None)


@pytest.mark.parametrize("rule", ["bp", "fa", "afa"])
def test_merged_overlaps_are_those_of_merged_networks(rule):
    network = sample_network(N=60, K=4, M=2, O=2, seed=2)
    state, teacher = network.overlaps(rule)
    given = [[0, 2], [3, 1]], [0.3, 0.9]
    expected, _ = merged_networks(network, *given).overlaps(rule)
    found = merge(state, *given)
    for name, each in expected._asdict().items():
        if each is not None:
            assert_allclose(getattr(found, name), each, rtol=0, atol=1e-12)
    errors = output_errors(found, teacher)
    assert_allclose(errors.sum(), generalization_error(found, teacher), rtol=1e-14)
    several = OrderParameters(*(None if each is None else np.stack([each] * 3) for each in state))
    assert_allclose(merge(several, *given).Q[2], found.Q, rtol=1e-14)


@pytest.mark.parametrize("K", [4, (4, 6)])
def test_matching_finds_a_permutation(K):
    """A student beside a copy of itself in another order: merged by halves it is itself."""
    deep = isinstance(K, tuple)
    one = sample_network(N=60, K=K, M=2, O=2, seed=2)
    state, _ = one.overlaps("bp")
    orders = [np.array([2, 0, 3, 1]), np.array([5, 2, 0, 1, 4, 3])]
    layers = [*layers_of(state.v)]
    copy = [layers[0][orders[0]], *layers[1:]]
    if deep:
        copy = [copy[0][:, orders[1]], copy[1][orders[1]]]
    Q = np.block([
        [state.Q, state.Q[:, orders[0]]], [state.Q[orders[0]], state.Q[np.ix_(*[orders[0]] * 2)]],
    ])  # fmt: skip
    if deep:
        v = (np.block([[layers[0], np.zeros((4, 6))], [np.zeros((4, 6)), copy[0]]]),
             np.concatenate([layers[1], copy[1]]))  # fmt: skip
    else:
        v = np.concatenate([layers[0], copy[0]])
    both = OrderParameters(Q, np.concatenate([state.R, state.R[orders[0]]]), v)
    widths = (4, 6) if deep else (4,)
    groups = [tuple(list(range(w * i, w * i + w)) for w in widths) for i in (0, 1)]
    groups = groups if deep else [group[0] for group in groups]
    found = merge(both, groups, [0.5, 0.5], match=True)
    assert_alike(found.v, state.v, rtol=1e-12)
    assert_allclose(found.Q, state.Q, rtol=1e-12)
    if deep:
        with pytest.raises(ValueError, match="`match` must be True with several hidden layers"):
            merge(both, groups, [0.5, 0.5])
    else:
        assert np.max(np.abs(merge(both, groups, [0.5, 0.5]).Q - state.Q)) > 0.01


@pytest.mark.parametrize(
    ("groups", "weights", "message"),
    [
        ([[0, 1], [2]], [0.5, 0.5], "`groups` must have as many units for each student"),
        ([[0, 1], [2, 4]], [0.5, 0.5], r"`groups\[1\]` must be distinct whole numbers from 0 to 3"),
        ([[0, 1], [1, 2]], [0.5, 0.5], "`groups` must hold every unit once at most"),
        ([[0, 1], [2, 3]], [0.5], "`weights` must have a number for each of 2 students"),
        ([], [], "`groups` must be a list of units for each student"),
    ],
)
def test_students_that_cannot_be_merged_are_named(groups, weights, message):
    state, _ = network_of(4).overlaps("bp")
    with pytest.raises(ValueError, match=message):
        merge(state, groups, weights)
