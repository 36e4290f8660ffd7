"""Finite networks: a teacher, a student, and the feedback matrices that the rules use."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from odes.checks import (
    check_array,
    check_count,
    check_covariance,
    check_number,
    check_overlaps,
    check_seed,
    lookup,
)
from odes.order_parameters import OrderParameters, Teacher, joint_covariance
from simulations.rules import choose_rule


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

    def overlaps(self, rule: Any) -> tuple[OrderParameters, Teacher]:
        """Order parameters and teacher measured on this network, in float64.

        They are the initial condition of the theory for ``rule``, whose B they hold (shapes in
        ``odes/order_parameters.py``).  Raises ValueError for an unknown rule, and for one that has
        no theory with random feedback.
        """
        chosen = choose_rule(rule)
        if chosen.aligned_only and not self.aligned:
            raise ValueError(
                f"Argument `rule` must not be {rule!r} for random feedback: the update contains "
                "F e and kicks B by O(1) at every sample, so that no limit of large N exists.  Use "
                'feedback="aligned", or the rule "pepita".'
            )
        network = check_network(self)
        W, v, W_star, v_star, _, F, aligned = network
        N = W.shape[1]
        state = OrderParameters(
            Q=W @ W.T / N,
            R=W @ W_star.T / N,
            v=v,
            B=chosen.feedback(network),
        )
        P = F.T @ F / (1 if aligned else N)
        return state, Teacher(T=W_star @ W_star.T / N, v_star=v_star, S=W_star @ F / N**0.5, P=P)


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

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    for name, size in (("N", N), ("K", K), ("M", M), ("O", O)):
        check_count(name, size)
    check_seed(seed)
    if N < K + M + O:
        raise ValueError(f"Argument `N` must be at least K + M + O = {K + M + O}, but is {N}.")
    check_number("student_scale", student_scale)
    check_number("feedback_scale", feedback_scale)
    draw_teacher = lookup("teacher", {"orthonormal": _orthonormal, "gaussian": _gaussian}, teacher)
    aligned = lookup("feedback", {"aligned": True, "random": False}, feedback)
    if S is not None and not aligned:
        raise ValueError(
            'Argument `S` must be None with feedback="random", whose overlaps are drawn with F, '
            f"but is {S!r}."
        )
    for_teacher, for_student, for_readout, for_feedback = np.random.default_rng(seed).spawn(4)
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
    return Network(W, v, W_star, v_star, feedback_scale * B, feedback_scale * F, aligned)


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
            and, with S, the overlap of F with the student.
        teacher: T (M, M), v_star (M, O) and, if wanted, S (M, O) and P (O, O); F is 0 without S,
            and as short as can be without P.  With a single output, v, B, v_star and S may be
            (K,) and (M,).
        N: number of inputs, at least K + M + O.
        feedback: "aligned" or "random", the scaling in which B, S and P are meant
            (``odes/order_parameters.py``).
        seed: of the direction.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    check_count("N", N)
    check_seed(seed)
    aligned = lookup("feedback", {"aligned": True, "random": False}, feedback)
    optional = {"B": initial, "S": teacher, "P": teacher}
    needs = (n for n, given in optional.items() if getattr(given, n, None) is not None)
    state, fixed = check_overlaps(initial, teacher, tuple(needs))
    (K, M), O = state.R.shape, state.v.shape[1]
    if N < K + M + O:
        raise ValueError(f"Argument `N` must be at least K + M + O = {K + M + O}, but is {N}.")
    C = joint_covariance(state, fixed)
    with_F, P = np.zeros((K + M, O)), np.zeros((O, O))
    if state.B is not None and fixed.S is not None:
        with_F = np.concatenate([state.B, fixed.S]) / (1 if aligned else N**0.5)
        P = with_F.T @ np.linalg.pinv(C, rcond=1e-12, hermitian=True) @ with_F
        if fixed.P is not None:
            P = fixed.P
    gram = np.block([[C, with_F], [with_F.T, P]])
    check_covariance("the joint covariance [[C, [B; S]], [[B; S]^T, P]]", gram)
    eigenvalues, vectors = np.linalg.eigh(gram)
    frame = np.linalg.qr(np.random.default_rng(seed).normal(size=(N, K + M + O)))[0]
    rows = N**0.5 * (vectors * np.sqrt(np.maximum(eigenvalues, 0))) @ frame.T
    F = rows[K + M :].T / (N**0.5 if aligned else 1)
    B = np.zeros((K, O)) if state.B is None else state.B
    return Network(rows[:K], state.v, rows[K : K + M], fixed.v_star, B, F, aligned)


def check_network(network: Network) -> Network:
    """The network in float64, if all weights are finite and their shapes agree."""
    if not isinstance(network, Network):
        raise ValueError(f"Argument `network` must be a Network(...), but is {network!r}.")
    sizes = [np.shape(weights) for weights in (network.W, network.v, network.W_star)]
    if any(len(shape) != 2 for shape in sizes):
        raise ValueError(
            "Argument `network` must have matrices W (K, N), v (K, O) and W_star (M, N), "
            f"but they have the shapes {sizes}."
        )
    (K, N), (_, O), (M, _) = sizes
    shapes = ((K, N), (K, O), (M, N), (M, O), (K, O), (N, O))
    names = Network._fields[:-1]
    weights = {
        name: _given(f"network.{name}", getattr(network, name), shape)
        for name, shape in zip(names, shapes, strict=True)
    }
    if network.aligned not in (True, False):
        raise ValueError(
            f"Argument `network.aligned` must be True or False, but is {network.aligned!r}."
        )
    return Network(**weights, aligned=bool(network.aligned))


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
        raise ValueError(f"Argument `{name}` must be an array of shape {shape}, but is {value!r}.")
    return array
