"""Finite networks: a teacher, a student, and the feedback matrices that the rules use."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.checks import (
    check_array,
    check_count,
    check_flag,
    check_number,
    check_seed,
    lookup,
    quoted,
)
from odes.common.order_parameters import (
    FEEDBACK,
    OrderParameters,
    Teacher,
    joint_covariance,
    state_of,
)
from odes.common.overlaps import check_covariance, check_overlaps
from simulations.rules import Rule, choose_rule

SIZED = ("W", "v", "W_star")
"""The weights that the sizes of a network are taken from."""


class Network(NamedTuple):
    """The weights of one student and its teacher, and two kinds of feedback.

    First-layer weights have entries of O(1); the preactivations are ``W x / sqrt(N)``.
    """

    W: Any  # (K, N) first layer of the student
    v: Any  # (K, O) readout of the student
    W_star: Any  # (M, N) first layer of the teacher
    v_star: Any  # (M, O) readout of the teacher
    B: Any  # (K, O) fixed feedback weights, for feedback alignment
    F: Any  # (N, O) top-down feedback, for rules whose second pass sees x - F e
    aligned: Any  # whether entries of F are O(1 / sqrt(N)) and correlated with the weights
    F1: Any = None  # (N, K) and
    F2: Any = None  # (K, O): an aligned F in factors, F1 F2 / sqrt(N), for mirrors that learn it
    own: Any = None  # weights by names of its own that a rule keeps, a dictionary

    def get(self, name: str) -> Any:
        """Weights by name, those of a rule's own among them; None if there are none."""
        return getattr(self, name) if name in self._fields else (self.own or {}).get(name)

    def put(self, **weights: Any) -> Network:
        """The network with these weights in place of those of the same names."""
        own = {name: each for name, each in weights.items() if name not in self._fields}
        known = {name: each for name, each in weights.items() if name in self._fields}
        return self._replace(**known, **({"own": {**(self.own or {}), **own}} if own else {}))

    def overlaps(self, rule: Any) -> tuple[OrderParameters, Teacher]:
        """Order parameters and teacher measured on this network, in float64.

        They are the initial condition of the theory for ``rule``, and hold what it needs and
        nothing else (shapes in ``odes/common/order_parameters.py``): B, unless that follows from v;
        of a rule whose B is that of F, S and P besides; of one that learns F in factors, these in
        place of B; and weights of its own.  Raises ValueError for an unknown rule, and for one that
        has no theory with random feedback.
        """
        chosen = choose_rule(rule)
        if chosen.aligned_only and not self.aligned:
            raise ValueError(
                f"Argument `rule` must not be {rule!r} for random feedback: it moves W along F e, "
                "or learns F, and kicks B by O(1) at every sample, so that no limit of large N "
                'exists.  Use feedback="aligned", or the rule "pepita".'
            )
        network = check_network(self)
        check_learned(network, chosen)
        W_star, F, N = network.W_star, network.F, network.W.shape[1]
        with jax.enable_x64(True):
            seen = seen_by_feedback(network, chosen)
            parts = jax.tree.map(np.asarray, overlaps_of(network, chosen))
        teacher = Teacher(T=W_star @ W_star.T / N, v_star=network.v_star)
        if "F1" in chosen.learns or seen == {"v"}:
            parts.pop("B", None)
        elif "F" in seen:
            P = F.T @ F / (1 if network.aligned else N)
            teacher = teacher._replace(S=W_star @ F / N**0.5, P=P)
        return state_of(parts), teacher


def overlaps_of(network: Network, rule: Rule) -> dict[str, Any]:
    """The order parameters of a network on the inputs that W has, by name."""
    W, W_star, F1, F2 = network.W, network.W_star, network.F1, network.F2
    n = W.shape[1]
    measured = {"Q": W @ W.T / n, "R": W @ W_star.T / n, "v": network.v}
    measured["B"] = rule.feedback(network)
    if "F1" in rule.learns:
        measured |= {"B1": W @ F1 / n, "S1": W_star @ F1 / n, "P1": F1.T @ F1 / n, "F2": F2}
    measured |= {name: network.get(name) for name in rule.learns if name not in Network._fields}
    return {name: each for name, each in measured.items() if each is not None}


def seen_by_feedback(network: Network, rule: Rule) -> set[str]:
    """The weights that a rule's feedback signal B is made of, by name.

    Raises ValueError unless B has the shape of v, or is None.
    """
    weights = {
        name: jnp.asarray(each)
        for name, each in network._asdict().items()
        if name not in ("aligned", "own") and each is not None
    }

    def feedback(given: dict[str, Any]) -> Any:
        return rule.feedback(network._replace(**given))

    try:
        traced, B = jax.make_jaxpr(feedback, return_shape=True)(weights)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Argument `rule` must have a feedback from a network to B, but it failed with {error}"
        ) from error
    shape = np.shape(network.v)
    if B is not None and getattr(B, "shape", ()) != shape:
        raise ValueError(
            f"Argument `rule` must have a feedback B of shape {shape}, but it returned {B!r}."
        )
    seen = [*traced.jaxpr.outvars, *(each for step in traced.eqns for each in step.invars)]
    inputs = zip(sorted(weights), traced.jaxpr.invars, strict=True)
    return {name for name, variable in inputs if any(each is variable for each in seen)}


def sample_network(
    *,
    N: int,
    K: int,
    M: int,
    O: int = 1,
    teacher: str = "orthonormal",
    student_scale: float = 0.5,
    v: Any = None,
    v_star: Any = None,
    feedback: str = "aligned",
    B: Any = None,
    S: Any = None,
    feedback_scale: float = 1.0,
    seed: int = 0,
) -> Network:
    """A network drawn at random; the same arguments give the same network.

    Teacher, student, readouts and feedback draw from separate streams of the seed, so that changing
    one leaves the others as they were.

    Args:
        N, K, M, O: number of inputs, hidden units of the student, of the teacher, and outputs.
        teacher: "orthonormal" rows of norm sqrt(N), so that T is the identity, or "gaussian".
        student_scale: standard deviation of the student's first-layer weights.
        v, v_star: readouts, (K, O) and (M, O), or (K,) and (M,); None draws standard normals for
            v and sets v_star = 1.
        feedback: "aligned" makes an F whose overlaps with student and teacher are exactly B and S
            and which has no further component; then B is self-averaging and the equations of
            ``odes.solve`` are exact as N grows.  "random" draws F independently of the weights, as
            PEPITA does at initialisation; then they hold only for small learning rates.
        B: fixed feedback of FA, (K, O), and for aligned feedback also the overlap of F with the
            student; None draws standard normals.  The norm P of F then grows as
            (B / student_scale)^2.
        S: overlap of an aligned F with the teacher, (M, O); None for v_star, so that F knows the
            teacher's units as their readout weighs them.
        feedback_scale: multiplies B and F.
        seed: of all that is drawn.

    The factors F1 and F2, which only mirrors look at, have standard normal entries but for what it
    takes to make F1 F2 / sqrt(N) equal to F, or as near to it as can be where O > K.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    N, K, M, O = (check_count(*each) for each in (("N", N), ("K", K), ("M", M), ("O", O)))
    seed = check_seed(seed)
    if N < K + M + O:
        raise ValueError(f"Argument `N` must be at least K + M + O = {K + M + O}, but is {N}.")
    student_scale = check_number("student_scale", student_scale)
    feedback_scale = check_number("feedback_scale", feedback_scale)
    draw_teacher = lookup("teacher", {"orthonormal": _orthonormal, "gaussian": _gaussian}, teacher)
    aligned = lookup("feedback", {"aligned": True, "random": False}, feedback)
    if S is not None and not aligned:
        raise ValueError(
            'Argument `S` must be None with feedback="random", whose overlaps are drawn with F, '
            f"but is {S!r}."
        )
    streams = np.random.default_rng(seed).spawn(5)
    for_teacher, for_student, for_readout, for_feedback, for_factors = streams
    W_star = draw_teacher(for_teacher, M, N)
    W = student_scale * for_student.normal(size=(K, N))
    v = for_readout.normal(size=(K, O)) if v is None else _given("v", v, (K, O))
    v_star = np.ones((M, O)) if v_star is None else _given("v_star", v_star, (M, O))
    B = for_feedback.normal(size=(K, O)) if B is None else _given("B", B, (K, O))
    if not aligned:
        F = for_feedback.normal(size=(N, O))
    else:
        S = v_star if S is None else _given("S", S, (M, O))
        units = np.concatenate([W, W_star]) / np.sqrt(N)
        overlaps = np.concatenate([B, S])
        F = np.linalg.lstsq(units, overlaps, rcond=None)[0]
        if np.max(np.abs(units @ F - overlaps)) > 1e-9 * np.max(np.abs(overlaps)):
            raise ValueError(
                "Argument `student_scale` must be large enough for F to have the overlaps B, "
                f"but is {student_scale!r}."
            )
    B, F = feedback_scale * B, feedback_scale * F
    F1, F2 = for_factors.normal(size=(N, K)), for_factors.normal(size=(K, O))
    F1 = F1 + (N**0.5 * F - F1 @ F2) @ np.linalg.pinv(F2)
    return Network(W, v, W_star, v_star, B, F, aligned, F1, F2)


def network_with_overlaps(
    initial: OrderParameters,
    teacher: Teacher,
    *,
    N: int,
    feedback: str = "aligned",
    seed: int = 0,
) -> Network:
    """A network of N inputs whose order parameters are exactly these, in a random direction.

    So the same initial condition can be had at every N.

    Args:
        initial: Q (K, K), R (K, M), v (K, O) and, if wanted, B (K, O), which is FA's fixed feedback
            and, with S, the overlap of F with the student (leave out S and P for rules whose B is
            not that of F); or B1, S1, P1 and F2, for an F in
            factors.
        teacher: T (M, M), v_star (M, O) and, if wanted, S (M, O) and P (O, O); F is 0 without S,
            and as short as can be without P.  With a single output, v, B, v_star and S may be
            (K,) and (M,).
        N: number of inputs, at least K + M + O.
        feedback: "aligned" or "random", the scaling in which B, S and P are meant
            (``odes/common/order_parameters.py``).
        seed: of the direction.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    N = check_count("N", N)
    seed = check_seed(seed)
    aligned = lookup("feedback", {"aligned": True, "random": False}, feedback)
    optional = dict.fromkeys(FEEDBACK, initial) | {"S": teacher, "P": teacher}
    needs = tuple(n for n, given in optional.items() if getattr(given, n, None) is not None)
    state, fixed = check_overlaps(initial, teacher, needs)
    (K, M), O = state.R.shape, state.v.shape[1]
    least = K + M + (K if "F2" in needs else O)
    if least > N:
        sizes = "2 K + M" if "F2" in needs else "K + M + O"
        raise ValueError(f"Argument `N` must be at least {sizes} = {least}, but is {N}.")
    C = joint_covariance(state, fixed)
    with_F, P = np.zeros((K + M, O)), np.zeros((O, O))
    parts = state._asdict()
    F2 = parts.get("F2")
    if F2 is not None and not aligned:
        raise ValueError(
            'Argument `feedback` must be "aligned" for an F in factors, but is "random".'
        )
    if F2 is not None:
        with_F, P = np.concatenate([parts["B1"], parts["S1"]]), parts["P1"]
    elif state.B is not None and fixed.S is not None:
        with_F = np.concatenate([state.B, fixed.S]) / (1 if aligned else N**0.5)
        P = with_F.T @ np.linalg.pinv(C, rcond=1e-12, hermitian=True) @ with_F
        if fixed.P is not None:
            P = fixed.P
    gram = np.block([[C, with_F], [with_F.T, P]])
    check_covariance("the joint covariance [[C, [B; S]], [[B; S]^T, P]]", gram)
    eigenvalues, vectors = np.linalg.eigh(gram)
    frame = np.linalg.qr(np.random.default_rng(seed).normal(size=(N, len(gram))))[0]
    rows = N**0.5 * (vectors * np.sqrt(np.maximum(eigenvalues, 0))) @ frame.T
    B = np.zeros((K, O)) if state.B is None else state.B
    F1 = None if F2 is None else rows[K + M :].T
    F = (rows[K + M :].T if F2 is None else F1 @ F2) / (N**0.5 if aligned else 1)
    return Network(rows[:K], state.v, rows[K : K + M], fixed.v_star, B, F, aligned, F1, F2)


def check_network(network: Network) -> Network:
    """The network in float64, if all weights are finite and their shapes agree."""
    if not isinstance(network, Network):
        raise ValueError(f"Argument `network` must be a Network(...), but is {quoted(network)}.")
    matrices = [check_array(f"network.{name}", getattr(network, name)) for name in SIZED]
    sizes = [matrix.shape for matrix in matrices]
    if any(len(shape) != 2 for shape in sizes):
        raise ValueError(
            "Argument `network` must have matrices W (K, N), v (K, O) and W_star (M, N), "
            f"but they have the shapes {sizes}."
        )
    (K, N), (_, O), (M, _) = sizes
    shapes: dict[str, tuple[int, int]] = {
        "W": (K, N), "v": (K, O), "W_star": (M, N), "v_star": (M, O), "B": (K, O), "F": (N, O)
    }  # fmt: skip
    if network.F1 is not None or network.F2 is not None:
        shapes |= {"F1": (N, K), "F2": (K, O)}
    weights = {
        name: _given(f"network.{name}", getattr(network, name), shape)
        for name, shape in shapes.items()
    }
    aligned = check_flag("network.aligned", network.aligned)
    if network.own is not None and not isinstance(network.own, dict):
        raise ValueError(
            "Argument `network.own` must be a dictionary of weights by name, or None, but is "
            f"{quoted(network.own)}."
        )
    own = {name: check_array(f"network.{name}", each) for name, each in (network.own or {}).items()}
    return Network(**weights, aligned=aligned, own=own or None)


def check_learned(network: Network, rule: Rule) -> None:
    """ValueError unless the network has the weights that the rule learns."""
    if rule.mirror is None and set(rule.learns) & set(Network._fields) - {"B"}:
        raise ValueError(
            f"Argument `rule` must have a mirror to learn {', '.join(rule.learns)}, but has None."
        )
    for name in rule.learns:
        if network.get(name) is None:
            raise ValueError(
                f"Argument `network` must have {name} for a rule that learns it, but has None."
            )


def _orthonormal(rng: np.random.Generator, M: int, N: int) -> np.ndarray:
    """M orthogonal rows of norm sqrt(N), in a direction drawn uniformly."""
    Q, triangle = np.linalg.qr(rng.normal(size=(N, M)))
    return np.sqrt(N) * (Q * np.sign(np.diag(triangle))).T


def _gaussian(rng: np.random.Generator, M: int, N: int) -> np.ndarray:
    """M rows of standard normal entries."""
    return rng.normal(size=(M, N))


def _given(name: str, value: Any, shape: tuple[int, int]) -> np.ndarray:
    """The caller's array in float64 and with an output axis; ValueError for another shape."""
    array = check_array(name, value)
    if array.ndim == 1 and shape[1] == 1:
        array = array[:, None]
    if array.shape != shape:
        raise ValueError(
            f"Argument `{name}` must be an array of shape {shape}, but is {quoted(value)}."
        )
    return array
