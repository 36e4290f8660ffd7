"""What several test files share: random valid problems, and Gauss-Hermite quadrature.

Tests compile more than they compute, and so in one thread each (there is a worker for every core),
with few optimisations, simpler code for loops over arrays (where JAX has a choice), and loops
that are not unrolled.  Those marked `computes` and the long ones are optimised a little more.  What
is compiled is kept in a folder of the environment, unless JAX_COMPILATION_CACHE_DIR names another,
for all workers and for later runs.  Tracing makes many objects that stay: garbage is looked for
less often.
"""

import gc
import os
import sys
from importlib.metadata import version

os.environ["XLA_FLAGS"] = " ".join(
    [
        "--xla_backend_optimization_level=1",
        "--xla_cpu_parallel_codegen_split_count=1",
        *["--xla_cpu_use_fusion_emitters=false", "--xla_llvm_disable_expensive_passes=true"]
        * version("jaxlib").startswith(("0.9.", "0.10.")),
        os.environ.get("XLA_FLAGS", ""),
    ]
)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(sys.prefix, "compiled"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["EQX_ON_ERROR"] = "off"  # diffrax checks by callbacks, and what has them is not kept

import jax
import numpy as np
import pytest

from odes import RULES, OrderParameters, Points, Teacher
from odes.averages.activations import ACTIVATIONS
from odes.common.order_parameters import FactoredOrderParameters, state_of
from odes.problem import has_closed_form, prepare
from simulations.training import steps

steps.UNROLLED = 1
gc.freeze()
gc.set_threshold(50_000, 20, 50)


def pytest_runtest_setup(item):
    """Optimise what JAX compiles for this test only if it computes much."""
    computes = any(item.get_closest_marker(name) for name in ("computes", "long"))
    jax.config.update("jax_disable_most_optimizations", not computes)


DISTINCT = [name for name in RULES if name != "dfa"]  # which is "fa"
CLOSED_RULES = [name for name in DISTINCT if has_closed_form(RULES[name], ACTIVATIONS["erf"])]
BASIC_RULES = ["bp", "fa", "afa"]
PEPITA_RULES = ["pepita", "pepita-modulated", "pepita-hebbian", "pepita-tl"]


def quick_and_long(quick, *long):
    """Cases of a test that compares networks with theory or runs programs, some of them long.

    Every rule is in quick tests of one sample on either side.
    """
    given = [case if isinstance(case, tuple) else (case,) for case in long]
    return [*quick, *(pytest.param(*case, marks=pytest.mark.long) for case in given)]


def random_problem(K, M, O, seed=0, scale=0.7, N=50):
    """Order parameters and teacher as measured on random vectors, F among them."""
    rng = np.random.default_rng(seed)
    W = scale * rng.normal(size=(K, N))
    W_star = rng.normal(size=(M, N))
    F = rng.normal(size=(N, O)) / np.sqrt(N)
    v, v_star = rng.normal(size=(K, O)), rng.normal(size=(M, O))
    root = np.sqrt(N)
    state = OrderParameters(W @ W.T / N, W @ W_star.T / N, v, W @ F / root)
    return state, Teacher(W_star @ W_star.T / N, v_star, W_star @ F / root, F.T @ F)


def factored_problem(K, M, O, seed=0):
    """As above, with an F in factors, which rules with mirrors learn, and B, S and P of it."""
    state, teacher = random_problem(K, M, O, seed)
    rng = np.random.default_rng(seed + 100)
    vectors = rng.normal(size=(50, 50))[: K + M]
    root = np.linalg.cholesky(np.block([[state.Q, state.R], [state.R.T, teacher.T]]))
    units = root @ np.linalg.qr(vectors.T)[0].T  # of the overlaps Q, R and T
    F1, F2 = rng.normal(size=(50, K)) / 5, rng.normal(size=(K, O))
    B1, S1, P1 = units[:K] @ F1, units[K:] @ F1, F1.T @ F1
    state = FactoredOrderParameters(*state[:3], B1 @ F2, B1, S1, P1, F2)
    return state, teacher._replace(S=S1 @ F2, P=F2.T @ P1 @ F2)


def needed(state, rule):
    """The state without what the rule does not need."""
    needs = ("Q", "R", "v", *RULES[rule].needs)
    return state_of({name: each for name, each in state._asdict().items() if name in needs})


def averaged_drift(state, teacher, parameters, points, rule, activation="erf"):
    """The drift averaged over points, in float64, as NumPy arrays."""
    problem = prepare(
        state, teacher, rule=rule, activation=activation, points=points, parameters=parameters
    )
    return problem.changes(problem.velocity()(0.0, problem.pack(problem.initial)))


def tensor_rule(*per_axis):
    """Gauss-Hermite points with so many nodes on each axis."""
    rules = [np.polynomial.hermite_e.hermegauss(n) for n in per_axis]
    nodes = np.meshgrid(*[nodes for nodes, _ in rules], indexing="ij")
    weights = np.prod(np.meshgrid(*[w / w.sum() for _, w in rules], indexing="ij"), axis=0)
    return Points(np.stack([axis.ravel() for axis in nodes], axis=1), weights.ravel())


def gaussian_grid(covariance, points=40):
    """Fields (n, number of nodes) and weights of a tensor Gauss-Hermite rule; covariance (n, n)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    weights = weights / weights.sum()
    n = len(covariance)
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*[nodes] * n, indexing="ij")])
    weight = np.prod(np.meshgrid(*[weights] * n, indexing="ij"), axis=0).ravel()
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(eigenvalues, 0)) @ grid, weight


@pytest.fixture
def problem():
    """The small problem of many tests: K = 2, M = 3, two outputs."""
    return random_problem(2, 3, 2)
