"""Protocols of phases: going on where a run ended, stopping, starting from many states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from odes import Spectrum, Task, flow, generalization_error, solve, sweep
from odes.common.order_parameters import STATUS
from simulations import Networks, sample_network, simulate, simulate_chain
from simulations import sweep as sweep_networks

TWO = [Task([0], 0.5), Task([0], 0.8, noise=0.3)]
GROUPS = Spectrum([2.0, 0.5, 1.0], [0.25, 0.7, 0.05])


def network_of(**options):
    return sample_network(**{"N": 60, "K": 2, "M": 2, "seed": 1} | options)


PHASES = [
    (simulate, "afa", {"block": 8}),
    (simulate, "kolen-pollack", {"tasks": TWO, "block": 1}),
    (simulate, "fa-mirror", {}),
    (simulate_chain, "afa", {}),
    (simulate_chain, "kolen-pollack", {"tasks": TWO}),
]


@pytest.mark.parametrize(("run", "rule", "how"), PHASES)
def test_phases_are_one_run_to_the_last_bit(run, rule, how):
    network = network_of(inputs=GROUPS) if rule == "afa" else network_of()
    given = {"rule": rule, "lr": 0.4, "noise": 0.1, "n_runs": 3, "seed": 3, "n_test": 50}
    given |= {"weight_decay": 0.01, "return_networks": True, **how}
    whole = run(network, times=[0.0, 1.0, 3.0, 4.0], **given)
    first = run(network, times=[0.0, 1.0, 3.0], **given)
    second = run(first.final, times=[1.0], **given)
    assert_array_equal(second.generalization_error[:, -1], whole.generalization_error[:, -1])
    for name, each in whole.final.weights.items():
        assert_array_equal(second.final.weights[name], each)
    assert second.final.samples == whole.final.samples
    states, _ = whole.final.overlaps(rule)
    assert_allclose(states.Q, whole.order_parameters.Q[:, -1], rtol=1e-5, atol=1e-6)
    other = run(first.final, times=[1.0], **given | {"seed": 4})
    assert np.all(other.generalization_error[:, -1] != whole.generalization_error[:, -1])


@pytest.mark.parametrize("inputs", [None, GROUPS])
def test_networks_of_a_chain_have_all_inputs(inputs):
    """Their overlaps are those of the chain, and networks of all inputs go on from them."""
    network = network_of(inputs=inputs)
    given = {"rule": "afa", "lr": 0.4, "n_runs": 3, "n_test": 50}
    chain = simulate_chain(network, times=[2.0], return_networks=True, **given)
    assert chain.final.run(1).W.shape == (2, 60)
    states, _ = chain.final.overlaps("afa")
    for name in ("Q", "R", "B"):
        expected = getattr(chain.order_parameters, name)[:, -1]
        assert_allclose(getattr(states, name), expected, rtol=0, atol=1e-12)
    for run in (simulate, simulate_chain):
        at_once = run(chain.final, times=[0.0], **given | {"seed": 1})
        assert_allclose(at_once.order_parameters.Q[:, 0], states.Q, rtol=1e-5, atol=1e-6)


def test_a_phase_without_feedback_keeps_the_overlap_with_F():
    """The coordinates of a chain are along F, also while its scale is 0."""
    network = network_of()
    given = {"rule": "afa", "lr": 0.4, "n_runs": 3, "n_test": 50, "weight_decay": 0.3}
    silent = simulate_chain(
        network, times=[2.0], feedback_scale=0.0, return_networks=True, **given
    ).final
    expected = silent.overlaps("afa")[0].B
    assert_allclose(expected, np.exp(-0.6) * network.overlaps("afa")[0].B + 0 * expected, rtol=0.02)
    for seed in (0, 1):
        loud = simulate_chain(silent, times=[0.0], seed=seed, **given)
        assert_allclose(loud.order_parameters.B[:, 0], expected, rtol=0, atol=1e-12)


def test_networks_in_turned_coordinates_come_back():
    """Inputs with eigenvectors: W is that of the caller's coordinates."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 60)))[0]
    inputs = Spectrum.of(np.random.default_rng(1).normal(size=(200, 60)) @ (basis * 2), groups=3)
    network = network_of(inputs=inputs)
    still = simulate(
        network, rule="bp", lr=0.0, times=[1.0], return_networks=True, n_test=10, dtype="float64"
    )
    assert_allclose(still.final.run(0).W, network.W, rtol=0, atol=1e-12)


def test_another_rule_goes_on_with_the_feedback_that_was_learned():
    network = network_of()
    learned = simulate(
        network, rule="kolen-pollack", lr=0.4, times=[2.0], n_runs=2, return_networks=True
    ).final
    fixed = simulate(learned, rule="fa", lr=0.4, times=[2.0], return_networks=True).final
    assert_array_equal(fixed.weights["B"], learned.weights["B"])
    assert np.ptp(fixed.weights["B"], axis=0).max() > 1e-3
    halved = simulate(learned, rule="kolen-pollack", lr=0.0, times=[0.0], feedback_scale=0.5)
    assert_allclose(halved.order_parameters.B[:, 0], learned.weights["B"] / 2, rtol=1e-6)
    factors = simulate(
        network, rule="afa-mirror", lr=0.4, times=[1.0], n_runs=2, return_networks=True
    ).final
    with pytest.raises(ValueError, match="`rule` must learn an F in factors, as the rule before"):
        simulate(factors, rule="afa", lr=0.4, times=[1.0])


@pytest.mark.parametrize("rule", ["bp", "afa", "kolen-pollack"])
def test_a_solution_goes_on_from_its_final_state(rule):
    """With the scale of fixed feedback as it was, and of learned feedback 1."""
    start = network_of().overlaps(rule)
    given = {"rule": rule, "lr": 0.4, "weight_decay": 0.01, "rtol": 1e-11, "atol": 1e-13}
    whole = solve(*start, times=[3.0, 8.0], feedback_scale=0.7, **given)
    first = solve(*start, times=[3.0], feedback_scale=0.7, **given)
    scale = 1.0 if rule == "kolen-pollack" else 0.7
    second = solve(first.final, start[1], times=[0.0, 5.0], feedback_scale=scale, **given)
    assert_allclose(second.generalization_error, whole.generalization_error, rtol=0, atol=1e-9)
    assert_allclose(second.final.Q, whole.final.Q, rtol=0, atol=1e-9)
    assert_allclose(whole.final.Q, whole.order_parameters.Q[-1], rtol=1e-14)


@pytest.mark.parametrize("until", [0.0166, lambda state, teacher: 0.43 - state.R[0, 0]])
def test_solutions_stop_where_they_are_told_to(until):
    start = network_of(student_scale=0.3).overlaps("bp")
    given = {"rule": "bp", "lr": 0.5, "times": np.linspace(0, 60, 13)}
    whole, found = solve(*start, **given), solve(*start, until=until, **given)
    assert found.status == "reached"
    assert 20 < found.stopped < 50
    before = whole.times <= found.stopped
    assert_allclose(
        found.generalization_error[before], whole.generalization_error[before], rtol=1e-7
    )
    assert np.all(np.isnan(found.generalization_error[~before]))
    if callable(until):
        assert abs(until(found.final, start[1])) < 1e-9
    else:
        assert_allclose(generalization_error(found.final, start[1]), until, rtol=1e-9)
    with jax.enable_x64(True):
        solution = flow(*start, until=until, **given | {"times": [0.0, 60.0]})
    assert STATUS[int(solution.status)] == "reached"
    assert_allclose(float(solution.stopped), found.stopped, rtol=1e-6)
    if not callable(until):
        swept = sweep(*start, until=until, **given | {"lr": [0.5, 1e-3]})
        assert swept.status.values.tolist() == ["reached", "ok"]
        assert_allclose(swept.stopped[0], found.stopped, rtol=1e-6)


def test_the_time_of_stopping_has_a_derivative():
    start = network_of(student_scale=0.3).overlaps("fa")

    def stopped(lr):
        return flow(*start, rule="fa", lr=lr, times=[60.0], until=0.1).stopped

    with jax.enable_x64(True):
        slope = float(jax.grad(stopped)(0.5))
        step = float(stopped(0.501) - stopped(0.499)) / 0.002
    assert slope < -1
    assert_allclose(slope, step, rtol=1e-4)


def test_what_is_never_reached_and_what_is_at_once():
    start = network_of().overlaps("bp")
    given = {"rule": "bp", "lr": 0.5, "times": [0.0, 1.0]}
    never, at_once = (solve(*start, until=each, **given) for each in (1e-12, 10.0))
    assert (never.status, never.stopped) == ("ok", None)
    assert np.all(np.isfinite(never.generalization_error))
    assert (at_once.status, at_once.stopped) == ("reached", 0.0)
    assert_allclose(at_once.final.Q, start[0].Q)
    with jax.enable_x64(True):
        flows = [flow(*start, until=each, **given) for each in (1e-12, 10.0)]
    assert [STATUS[int(each.status)] for each in flows] == ["ok", "reached"]
    assert [float(each.stopped) for each in flows] == [1.0, 0.0]
    assert np.isnan(np.asarray(flows[1].generalization_error)).tolist() == [False, True]


def first_weight(network):
    return network.v[0, 0]


@pytest.mark.parametrize("run", [simulate, simulate_chain])
def test_runs_stop_each_on_its_own(run, tmp_path):
    network = network_of(student_scale=0.3)
    times = np.arange(0.0, 8.0, 0.5)
    given = {"rule": "bp", "lr": 0.5, "times": times, "n_runs": 6, "n_test": 200}
    whole = run(network, **given)
    more = {"path": tmp_path / "kept"} if run is simulate else {}
    more |= {"until": 0.05, "return_networks": True, "record": first_weight}
    found = [run(network, **given, **more) for _ in (1, 2)]
    for each in found:
        first = np.argmax(whole.generalization_error <= 0.05, axis=1)
        assert len(set(first)) > 1
        assert_array_equal(each.stopped, whole.times[first])
        assert set(each.status) == {"reached"}
        for r, index in enumerate(first):
            kept = each.generalization_error[r]
            assert_array_equal(kept[: index + 1], whole.generalization_error[r, : index + 1])
            assert np.all(np.isnan(kept[index + 1 :]))
            assert np.array_equal(np.isnan(each.recorded[r]), np.isnan(kept))
        states, _ = each.final.overlaps("bp")
        rows = np.arange(6)
        assert_allclose(states.Q, whole.order_parameters.Q[rows, first], rtol=1e-5, atol=1e-6)
    R = run(network, until=lambda state, _: 0.3 - state.R.max(), **given)
    assert_array_equal(
        R.stopped,
        whole.times[np.argmax(whole.order_parameters.R.max(axis=(2, 3)) >= 0.3, axis=1)],
    )


@pytest.mark.parametrize("run", [simulate, simulate_chain])
def test_what_is_recorded_is_a_function_of_the_networks(run):
    network = network_of()
    given = {"rule": "fa", "lr": 0.5, "times": [0.0, 1.0], "n_runs": 3}
    found = run(
        network, record=lambda net: {"Q": net.W @ net.W.T / net.W.shape[1], "v": net.v[0]}, **given
    )
    assert_allclose(found.recorded["Q"], found.order_parameters.Q, rtol=1e-5, atol=1e-6)
    assert_allclose(found.recorded["v"], found.order_parameters.v[:, :, 0], rtol=1e-6)
    single = run(network, record=lambda net: jnp.sum(net.v), **given)
    assert single.recorded.shape == (3, 2)
    theory = solve(
        *network.overlaps("fa"), rule="fa", lr=0.5, times=[0.0, 1.0],
        record=lambda state, teacher: state.R @ teacher.T,
    )  # fmt: skip
    T = network.overlaps("fa")[1].T
    assert_allclose(theory.recorded[1], theory.order_parameters.R[1] @ T, rtol=1e-12)


def test_many_starts_are_an_axis_of_both_sweeps():
    networks = [network_of(seed=seed) for seed in range(4)]
    pairs = [each.overlaps("afa") for each in networks]
    given = {"rule": ["afa"], "lr": [0.3, 0.5], "times": [1.0, 4.0]}
    states, teachers = map(list, zip(*pairs, strict=True))
    swept = sweep(states, teachers, order_parameters="R", **given)
    assert swept.generalization_error.dims == ("rule", "initial", "lr", "time")
    one = solve(*pairs[2], rule="afa", lr=0.5, times=[1.0, 4.0])
    at = swept.sel(rule="afa", lr=0.5, initial=2)
    assert_allclose(at.generalization_error, one.generalization_error, rtol=0, atol=1e-7)
    assert_allclose(at.R, one.order_parameters.R, rtol=0, atol=1e-7)
    quantiles = swept.generalization_error.quantile([0.1, 0.9], "initial")
    assert quantiles.shape == (2, 1, 2, 2)
    measured = sweep_networks(networks, n_test=50, n_runs=2, **given)
    assert measured.generalization_error.dims == ("rule", "initial", "lr", "run", "time")
    alone = simulate(networks[2], rule="afa", lr=0.5, times=[1.0, 4.0], n_runs=2, n_test=50)
    assert_array_equal(
        measured.generalization_error.sel(rule="afa", lr=0.5, initial=2), alone.generalization_error
    )
    one_run = {"rule": "afa", "lr": 0.5, "times": [1.0], "n_test": 50}
    phases = sweep_networks(
        simulate(networks[2], n_runs=2, return_networks=True, **one_run).final, **one_run
    )
    assert phases.sizes["initial"] == 2
    ended = simulate(
        networks[0], rule="afa", lr=0.5, times=[1.0], n_runs=3, return_networks=True
    ).final
    again, spread = (
        sweep(*start, rule="bp", lr=0.5, times=[1.0, 4.0])
        for start in (ended.overlaps("bp"), (states, teachers[0]))
    )
    assert again.generalization_error.dims == ("initial", "time")
    other = solve(states[3], teachers[0], rule="bp", lr=0.5, times=[4.0]).generalization_error
    assert_allclose(spread.generalization_error[3, 1:], other, rtol=0, atol=1e-7)


@pytest.mark.long
def test_a_loop_over_phases_is_the_same_on_both_sides():
    """Two learning rates and a switch of rule, theory against 12 networks; 4.5 standard errors."""
    network = network_of(N=500)
    (state, teacher), networks = network.overlaps("fa"), network
    for rule, lr in (("fa", 0.8), ("bp", 0.3)):
        theory = solve(state, teacher, rule=rule, lr=lr, times=[4.0])
        state = theory.final
        runs = simulate(
            networks, rule=rule, lr=lr, times=[4.0], return_networks=True,
            **({} if isinstance(networks, Networks) else {"n_runs": 12}),
        )  # fmt: skip
        networks = runs.final
    each = runs.generalization_error[:, 0]
    error = each.std(ddof=1) / len(each) ** 0.5
    assert abs(each.mean() - theory.generalization_error[0]) < 4.5 * error + 1e-3


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"until": "soon"}, "`until` must be a finite number > 0"),
        ({"until": -1.0}, "`until` must be a finite number > 0"),
        ({"until": lambda state, teacher: "much"}, "`until` must return a number"),
        ({"until": lambda state, teacher: np.nan}, "`until` must return a number"),
        ({"record": 3}, "`record` must be None or a function"),
        ({"record": lambda *given: 1 / 0}, "`record` must return"),
    ],
)
def test_what_cannot_stop_or_be_recorded_is_named(how, message):
    network = network_of()
    given = {"rule": "bp", "lr": 0.1, "times": [0.0, 1.0]} | how
    for call in (
        lambda: solve(*network.overlaps("bp"), **given),
        lambda: simulate(network, **given),
        lambda: simulate_chain(network, **given),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_networks_and_starts_that_do_not_fit_are_named():
    network = network_of()
    given = {"rule": "bp", "lr": 0.1, "times": [0.5]}
    ended = simulate(network, n_runs=2, return_networks=True, **given).final
    with pytest.raises(ValueError, match="`n_runs` must be 2, the number of networks"):
        simulate(ended, n_runs=3, **given)
    with pytest.raises(ValueError, match="must have W of the shape that `network"):
        simulate(ended._replace(weights={**ended.weights, "W": np.ones((2, 2, 3))}), **given)
    state, teacher = network.overlaps("bp")
    with pytest.raises(ValueError, match="`initial` must hold one or more states"):
        sweep([state] * 3, [teacher] * 2, **given)
    other, _ = network_of(K=3).overlaps("bp")
    with pytest.raises(ValueError, match="`initial` must hold states of the same sizes"):
        sweep([state, other], teacher, **given)
    with pytest.raises(ValueError, match="must be a list of one or more networks"):
        sweep_networks([network, network_of(N=50)], **given)
