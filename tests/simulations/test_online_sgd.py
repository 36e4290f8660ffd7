"""The training loop against a plain NumPy loop, its bookkeeping, and what it refuses."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, expit

from odes import PiecewiseConstant, generalization_error
from odes.common.machine import Machine
from simulations import RULES, Rule, sample_network, simulate
from simulations.training.inputs import MIRROR, draw_inputs, mirror_noise
from simulations.training.plan import plan_of
from tests.conftest import DISTINCT

NETWORK = sample_network(N=40, K=2, M=2, O=2, seed=1, feedback_scale=0.5)
TRAINING = {"lr": 0.8, "lr_v": 0.4, "noise": 0.3, "weight_decay": 0.2, "weight_decay_v": 0.1}


def run_zero(seed, samples, network=NETWORK):
    """Inputs and noises, of labels and mirrors, of the first run, as the simulator draws them."""
    with jax.enable_x64(True):
        root = jax.random.key(seed, impl="threefry2x32")
        key = jax.random.split(jax.random.fold_in(root, 0))[0]
        on_jax = jax.tree.map(jnp.asarray, network)
        drawn = draw_inputs(key, 0, samples, on_jax.F)
        beside = mirror_noise(jax.random.fold_in(key, MIRROR), 0, samples, on_jax)
        return [np.asarray(array) for array in (*drawn, *beside)]


def g_and_slope(fields):
    return erf(fields / np.sqrt(2)), np.sqrt(2 / np.pi) * np.exp(-(fields**2) / 2)


def contrast(rule, positive, negative):
    """Derivatives of the loss of Forward-Forward by the fields of both passes."""
    (h, slope), (h_err, slope_err) = map(g_and_slope, (positive, negative))
    gap = h @ h - h_err @ h_err
    if rule == "ff":
        p, q = -expit(1 - h @ h), expit(h_err @ h_err - 1)
    else:
        p, q = -4 * expit(-4 * gap), 4 * expit(-4 * gap)
    return 2 * p * h * slope, 2 * q * h_err * slope_err


def numpy_loop(
    rule, samples, network=NETWORK, lr=lambda t: 0.8, lr_v=lambda t: 0.4, scale=lambda t: 1.0
):
    """Online learning in plain NumPy, one sample after another, as the papers write it."""
    W, v, W_star, v_star, b, F, _, F1, F2, *_ = network
    N = W.shape[1]
    for s, (x, zeta, xi, xi_hidden) in enumerate(zip(*samples, strict=True)):
        eta, eta_v = lr(s / N), lr_v(s / N)
        B = scale(s / N) * b
        F = scale(s / N) * network.F
        if rule in ("afa-mirror", "pepita-mirror"):
            F = F1 @ F2 / np.sqrt(N)
        fields = W @ x / np.sqrt(N)
        h, slope = g_and_slope(fields)
        y = erf(W_star @ x / np.sqrt(2 * N)) @ v_star + 0.3 * zeta
        e = h @ v - y
        x_err = x - F @ e
        stepped = W - eta / np.sqrt(N) * np.outer(h, x) if rule == "pepita-tl" else W
        h_err, slope_err = g_and_slope(stepped @ x_err / np.sqrt(N))
        by_gradient = {
            "bp": v @ e,
            "sign-symmetry": np.sign(v) @ e,
            "sign-random": (np.sign(v) * np.abs(B)) @ e,
            **dict.fromkeys(("fa", "kolen-pollack", "dtp", "fa-mirror"), B @ e),
            **dict.fromkeys(("afa", "afa-mirror"), W @ (F @ e) / np.sqrt(N)),
        }
        if rule in by_gradient:
            dW, dv = np.outer(slope * by_gradient[rule], x), np.outer(h, e)
        elif rule in ("pepita", "pepita-mirror"):
            dW, dv = np.outer(h - h_err, x), np.outer(h, e)
        elif rule == "pepita-modulated":
            dW, dv = np.outer(h - h_err, x_err), np.outer(h_err, e)
        elif rule in ("ff", "ff-symba"):
            label = np.sign(y[0])
            plus, minus = contrast(rule, fields + v[:, 0] * label, fields - v[:, 0] * label)
            dW, dv = np.outer(plus + minus, x), np.outer(plus - minus, [label])
        else:
            dW = np.outer(h, x) - np.outer(h_err, x_err)
            dv = np.outer(h, h @ v) - np.outer(h_err, y)
            if rule == "ff-topdown":
                dW = np.outer(h * slope, x) - np.outer(h_err * slope_err, x_err)
        if rule == "dtp":
            b = b + 0.1 / N * np.outer(h - b @ (h @ v), h @ v)
        W = W - eta / np.sqrt(N) * dW - 0.2 / N * W
        v = v - eta_v / N * dv - 0.1 / N * v
        if rule == "kolen-pollack":
            b = b - eta_v / N * dv - 0.1 / N * b
        if rule.endswith("-mirror"):
            seen = 0.1 / N * np.outer(xi_hidden, v.T @ xi_hidden)
            b = b + seen - 0.1 / N * b
            F1 = F1 + 0.1 / N * np.outer(xi, W @ xi) - 0.1 / N * F1
            F2 = F2 + seen - 0.1 / N * F2
    return network._replace(W=W, v=v, B=b, F1=F1, F2=F2)


ONE_OUTPUT = sample_network(N=40, K=2, M=2, seed=1)


@pytest.mark.parametrize("rule", DISTINCT)
def test_training_is_that_of_a_plain_loop(rule):
    """150 samples, more than two blocks, in float64."""
    network = ONE_OUTPUT if RULES[rule].classifies else NETWORK
    after = numpy_loop(rule, run_zero(7, 150, network), network)
    measured = simulate(
        network, rule=rule, **TRAINING, times=[150 / 40], seed=7, n_test=1, dtype="float64"
    ).order_parameters
    W, v, F1 = after.W, after.v, after.F1
    expected = {"Q": W @ W.T / 40, "R": W @ network.W_star.T / 40, "v": v}
    if rule in ("fa", "kolen-pollack", "dtp", "fa-mirror"):
        expected["B"] = after.B
    elif rule.startswith("sign-"):
        expected["B"] = np.sign(v) * (1 if rule == "sign-symmetry" else np.abs(network.B))
    elif rule.endswith("-mirror"):
        expected |= {"B1": W @ F1 / 40, "S1": network.W_star @ F1 / 40, "P1": F1.T @ F1 / 40}
        expected |= {"F2": after.F2, "B": W @ F1 @ after.F2 / 40}
    elif rule not in ("bp", "ff", "ff-symba"):
        expected["B"] = W @ network.F / np.sqrt(40)
    found = {name: each for name, each in measured._asdict().items() if each is not None}
    assert set(found) == set(expected)
    for name, each in found.items():
        np.testing.assert_allclose(each[0, 0], expected[name], rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("block", [1, 7])
@pytest.mark.parametrize("rule", ["fa", "pepita-tl"])
def test_schedules_are_those_of_a_plain_loop(rule, block):
    """A jump of the learning rate, a smooth one of the readout, and a jump of the feedback scale.

    In turn and in blocks that no jump respects; B is measured with the scale of the moment.
    """
    schedules = {
        "lr": PiecewiseConstant([1.1, 3.0], [0.8, 0.2, 0.5]),
        "lr_v": lambda t: 0.4 / (1 + t),
        "feedback_scale": PiecewiseConstant([0.5, 3.75], [1.0, 0.4, 2.0]),
    }
    W, v, *_ = numpy_loop(rule, run_zero(7, 150), NETWORK, *schedules.values())
    measured = simulate(
        NETWORK, rule=rule, **TRAINING | schedules, times=[1.0, 150 / 40], seed=7, n_test=1,
        dtype="float64", block=block,
    ).order_parameters  # fmt: skip
    np.testing.assert_allclose(measured.Q[0, 1], W @ W.T / 40, rtol=0, atol=1e-12)
    np.testing.assert_allclose(measured.v[0, 1], v, rtol=0, atol=1e-12)
    B = NETWORK.B if rule == "fa" else W @ NETWORK.F / np.sqrt(40)
    np.testing.assert_allclose(measured.B[0, 1], 2.0 * B, rtol=0, atol=1e-12)


BLOCKED = sample_network(N=150, K=2, M=2, O=2, seed=1, feedback_scale=0.5)


@pytest.mark.parametrize(
    ("rule", "feedback"),
    [
        ("afa", "aligned"),
        ("pepita", "random"),
        ("pepita-modulated", "aligned"),
        ("pepita-tl", "aligned"),
        ("kolen-pollack", "aligned"),
        ("dtp", "aligned"),
    ],
)
def test_the_block_form_gives_the_same_weights(rule, feedback):
    """To 1e-11, with decay and noise, blocks that divide nothing, and the last ones cut short."""
    network = sample_network(N=150, K=3, M=2, O=2, seed=1, feedback=feedback, feedback_scale=0.5)
    arguments = {**TRAINING, "lr": 0.3, "rule": rule, "times": [0.3, 2.0], "dtype": "float64"}
    one, many = (
        simulate(network, **arguments, n_test=10, n_runs=3, block=block) for block in (1, 23)
    )
    for ours, theirs in zip(
        (*many.order_parameters, many.generalization_error),
        (*one.order_parameters, one.generalization_error),
        strict=True,
    ):
        if theirs is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


def test_the_block_form_survives_what_is_singular():
    """Units and columns of F that are parallel or zero leave a basis of the inputs as it is."""
    W = np.repeat(BLOCKED.W[:1], 2, axis=0)
    for F in (0 * BLOCKED.F, np.repeat(BLOCKED.F[:, :1], 2, axis=1)):
        network = BLOCKED._replace(W=W, F=F)
        arguments = {"rule": "pepita", "lr": 0.5, "times": [3.0], "dtype": "float64"}
        one, many = (simulate(network, **arguments, block=block) for block in (1, 16))
        assert many.status.tolist() == ["ok"]
        np.testing.assert_allclose(
            many.order_parameters.Q, one.order_parameters.Q, rtol=1e-11, atol=1e-11
        )


@pytest.mark.parametrize(
    ("K", "rule", "expected"),
    [(8, RULES["fa"], True), (2, RULES["fa"], False), (8, Rule(RULES["fa"].update, None), False)],
)
def test_the_block_form_is_chosen_where_it_is_fast_and_permitted(K, rule, expected):
    network = sample_network(N=4000, K=K, M=1)
    machine = Machine("cpu", 1, 2, 2**34)
    assert (plan_of(network, rule, None, 1, machine).how == "in blocks") == expected
    many_outputs = network._replace(F=np.ones((4000, 990)))
    assert plan_of(many_outputs, rule, None, 1, machine).how == "in turn"


def test_an_equivariant_rule_does_not_see_the_teacher():
    def taught(network, sample):
        return network.W + network.W_star, network.v

    simulate(NETWORK, rule=Rule(taught, lambda n: None), lr=0.5, times=[1.0])
    with pytest.raises(ValueError, match="`rule` must return"):
        simulate(NETWORK, rule=Rule(taught, lambda n: None, equivariant=True), lr=0.5, times=[1.0])


def test_inputs_are_standard_normal():
    """1e6 normals: mean, variance and fourth moment within five standard errors."""
    network = NETWORK._replace(F=np.zeros((999, 1), np.float32))
    x = np.concatenate([a.ravel() for a in draw_inputs(jax.random.key(0), 0, 1000, network.F)])
    assert x.size == 1_000_000
    assert abs(x.mean()) < 5e-3
    assert abs(np.mean(x**2) - 1) < 5e-3 * np.sqrt(2)
    assert abs(np.mean(x.astype(float) ** 4) - 3) < 5e-3 * np.sqrt(96)


def test_data_depend_on_seed_run_and_sample_alone():
    """Not on the number of runs, on the saved times, or on how many samples share a block."""
    keywords = {"rule": "afa", "lr": 0.5, "n_test": 10, "dtype": "float64"}
    one = simulate(NETWORK, **keywords, times=[0, 5.0], seed=3)
    many = simulate(NETWORK, **keywords, times=[0, 1.3, 2.1, 5.0], seed=3, n_runs=3)
    np.testing.assert_allclose(
        one.order_parameters.Q[0, -1], many.order_parameters.Q[0, -1], rtol=1e-12
    )
    again = simulate(NETWORK, **keywords, times=[0, 1.3, 2.1, 5.0], seed=3, n_runs=3)
    jax.tree.map(np.testing.assert_array_equal, many[:3], again[:3])
    Q, error = many.order_parameters.Q, many.generalization_error
    np.testing.assert_array_equal(Q[0, 0], Q[1, 0])
    assert len(np.unique(Q[:, -1, 0, 0])) == 3
    assert len(np.unique(error[:, 0])) == 3
    elsewhere = simulate(NETWORK, **keywords, times=[5.0], seed=3, n_runs=3, block=7)
    np.testing.assert_allclose(elsewhere.order_parameters.Q[:, 0], Q[:, -1], rtol=1e-12)
    other = simulate(NETWORK, **keywords, times=[5.0], seed=4)
    assert other.order_parameters.Q[0, 0, 0, 0] != Q[0, -1, 0, 0]


def test_trajectory_starts_at_the_measured_overlaps():
    simulation = simulate(NETWORK, rule="afa", lr=0.5, times=[0, 0.51], n_runs=2, n_test=1)
    initial, _ = NETWORK.overlaps("afa")
    assert simulation.times.tolist() == [0, 0.5]
    assert simulation.status.tolist() == ["ok", "ok"]
    for measured, exact in zip(simulation.order_parameters, initial, strict=True):
        assert measured.shape == (2, 2, *exact.shape)
        np.testing.assert_allclose(measured[:, 0], [exact] * 2, atol=1e-6)


def test_error_is_that_of_fresh_inputs():
    """Mean over 40 tests of 500 inputs, at five standard errors of those 40 tests."""
    simulation = simulate(NETWORK, rule="fa", lr=0.0, times=[0.0], n_runs=40, n_test=500)
    exact = generalization_error(*NETWORK.overlaps("fa"))
    measured = simulation.generalization_error[:, 0]
    assert abs(measured.mean() - exact) < 5 * measured.std(ddof=1) / np.sqrt(40)
    assert 0.02 < measured.std(ddof=1) / exact < 0.1


def test_an_odd_number_of_test_inputs_counts_each_once():
    """65 test inputs are one block and one more."""
    several = simulate(NETWORK, rule="fa", lr=0.0, times=[0.0], n_test=65, dtype="float64")
    with jax.enable_x64(True):
        root = jax.random.key(0, impl="threefry2x32")
        key = jax.random.fold_in(jax.random.split(jax.random.fold_in(root, 0))[1], 0)
        X = np.asarray(draw_inputs(key, 0, 65, jnp.asarray(NETWORK.F))[0])
    W, v, W_star, v_star = NETWORK[:4]
    e = erf(X @ W.T / np.sqrt(80)) @ v - erf(X @ W_star.T / np.sqrt(80)) @ v_star
    np.testing.assert_allclose(
        several.generalization_error, np.sum(e**2) / 130, rtol=1e-12, strict=False
    )


def test_precision_is_chosen_without_touching_global_settings():
    before = jax.config.jax_enable_x64
    keywords = {"rule": "bp", "lr": 0.5, "times": [10.0], "seed": 2}
    single = simulate(NETWORK, **keywords, dtype="float32").order_parameters.Q
    double = simulate(NETWORK, **keywords, dtype="float64").order_parameters.Q
    assert jax.config.jax_enable_x64 == before
    assert single.dtype == double.dtype == np.float64
    assert not np.allclose(single, double, rtol=1e-3)  # the two dtypes draw different inputs
    with jax.enable_x64(True):
        under = simulate(NETWORK, **keywords, dtype="float32").order_parameters.Q
    np.testing.assert_array_equal(single, under)


def test_an_activation_may_be_any_function():
    tanh = simulate(NETWORK, rule="bp", lr=0.5, times=[1.0], activation=jnp.tanh)
    erf_ = simulate(NETWORK, rule="bp", lr=0.5, times=[1.0])
    assert tanh.status.tolist() == ["ok"]
    assert not np.allclose(tanh.order_parameters.Q, erf_.order_parameters.Q, rtol=1e-3)


def test_a_run_that_diverges_is_data():
    simulation = simulate(
        NETWORK, rule="bp", lr=5.0, activation="linear", times=[0, 1.0, 2.0, 40.0], n_runs=2
    )
    assert simulation.status.tolist() == ["diverged", "diverged"]
    assert np.all(np.isfinite(simulation.generalization_error[:, 0]))
    assert np.all(np.isnan(simulation.generalization_error[:, -1]))
    assert np.all(np.isnan(simulation.order_parameters.Q[:, -1]))


@pytest.mark.long
def test_memory_does_not_grow_with_N_times_samples():
    """N = 100,000 for 1000 samples: all inputs would be 400 MB, the process may take 1 GB."""
    code = (
        "from simulations import sample_network, simulate\n"
        "network = sample_network(N=100_000, K=2, M=2)\n"
        "simulate(network, rule='pepita', lr=0.5, times=[0.01], n_test=100)\n"
        "status = dict(line.split(':') for line in open('/proc/self/status'))\n"
        "print(status['VmHWM'].split()[0])"
    )
    peak = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    assert int(peak) < 1_000_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rule": "hebb"}, ("`rule`", '"pepita"', "hebb")),
        ({"activation": "swish"}, ("`activation`", '"erf"', "swish")),
        ({"lr": -1.0}, ("`lr`", ">= 0", "-1.0")),
        ({"lr": lambda t: 0.5 - t}, ("`lr`", ">= 0 at every time", "-0.0")),
        ({"feedback_scale": lambda t: [1.0]}, ("`feedback_scale`", "return a", "[1.0]")),
        ({"noise": np.inf}, ("`noise`", "finite", "inf")),
        ({"times": [2.0, 1.0]}, ("`times`", "increasing", "[2.0, 1.0]")),
        ({"times": [1e9]}, ("`times`", "2^31", "1.e+09")),
        ({"times": [1e300]}, ("`times`", "2^31", "1.e+300")),
        ({"times": [0.001, 0.002]}, ("`times`", "distinct", "0.001")),
        ({"seed": 2**32}, ("`seed`", "below", "4294967296")),
        ({"n_runs": True}, ("`n_runs`", "integer", "True")),
        ({"network": "net"}, ("`network`", "Network(...)", "net")),
        ({"n_runs": 0}, ("`n_runs`", ">= 1", "0")),
        ({"n_test": 1.5}, ("`n_test`", "integer", "1.5")),
        ({"block": 0}, ("`block`", ">= 1", "0")),
        ({"block": 2.5}, ("`block`", "integer", "2.5")),
        ({"block": 11}, ("`block`", "N / 4 - O = 8", "11")),
        ({"rule": RULES["bp"]._replace(equivariant=False), "block": 4}, ("`block`", "equiv", "4")),
        ({"path": 7}, ("`path`", "a path", "7")),
        ({"dtype": "float16"}, ("`dtype`", '"float32", "float64"', "float16")),
        ({"seed": -1}, ("`seed`", ">= 0", "-1")),
        ({"network": NETWORK._replace(v=np.ones((3, 2)))}, ("`network.v`", "(2, 2)", "1.")),
        ({"network": NETWORK._replace(W=np.nan * NETWORK.W)}, ("`network.W`", "finite", "nan")),
    ],
)
def test_bad_input_is_named(changes, words):
    with pytest.raises(ValueError, match="Argument") as error:
        simulate(**{"network": NETWORK, "rule": "bp", "lr": 0.5, "times": [1.0], **changes})
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("update", "feedback", "words"),
    [
        (lambda n, s: (s.x, n.v), lambda n: None, ("dW", "(2, 40)", "(40,)")),
        (lambda n, s: (n.W, s.y), lambda n: None, ("dv", "(2, 2)", "(2,)")),
        (lambda n, s: (n.W, n.v), lambda n: n.F, ("B", "(2, 2)", "(40, 2)")),
        (lambda n, s: n.W @ n.W, lambda n: None, ("(dW, dv)", "failed")),
        (lambda n, s: n.nothing, lambda n: None, ("(dW, dv)", "nothing")),
    ],
)
def test_an_algorithm_of_the_wrong_shape_is_named(update, feedback, words):
    with pytest.raises(ValueError, match="`rule`") as error:
        simulate(NETWORK, rule=Rule(update, feedback), lr=0.5, times=[1.0])
    for word in words:
        assert word in str(error.value)
