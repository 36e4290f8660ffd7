"""Networks drawn at random, and networks of given order parameters."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from odes.common.checks import check_count, check_flag, check_number, check_seed, lookup
from odes.common.layers import (
    DIRECT,
    LAYERED,
    as_weights,
    is_several,
    layers_of,
    outputs_of,
    over_layers,
    shapes_at,
    shapes_of,
    widths_of,
)
from odes.common.order_parameters import FEEDBACK, OrderParameters, Teacher, joint_covariance
from odes.common.overlaps import check_covariance, check_overlaps
from odes.common.spectrum import check_spectrum
from simulations.networks import Network, given_matrix, given_weights


def sample_network(
    *,
    N: int,
    K: int | tuple[int, ...],
    M: int | tuple[int, ...],
    O: int = 1,
    teacher: str = "orthonormal",
    student_scale: float = 0.5,
    v: Any = None,
    v_star: Any = None,
    feedback: str = "aligned",
    B: Any = None,
    S: Any = None,
    feedback_scale: float = 1.0,
    inputs: Any = None,
    label_weights: bool = False,
    seed: int = 0,
) -> Network:
    """A network drawn at random; the same arguments give the same network.

    Teacher, student, readouts and feedback draw from separate streams of the seed, so that changing
    one leaves the others as they were.

    Args:
        N, K, M, O: number of inputs, hidden units of the student, of the teacher, and outputs.  K
            and M may be the widths of several hidden layers, from the input upwards, such as
            ``K=(3, 2)``: v, B and F2, or v_star, are then tuples of the layers above the first.
        teacher: "orthonormal" rows of norm sqrt(N), so that T is the identity, or "gaussian".
        student_scale: standard deviation of the student's first-layer weights.
        v, v_star: readouts, (K, O) and (M, O), or (K,) and (M,), or tuples of the layers above the
            first; None draws standard normals for v and the hidden layers of a teacher, and sets
            its readout to 1.
        feedback: "aligned" makes an F whose overlaps with student and teacher are exactly B and S
            and which has no further component; then B is self-averaging and the equations of
            ``odes.solve`` are exact as N grows.  "random" draws F independently of the weights,
            with entries of O(1); then they hold only for small learning rates.
        B: fixed feedback of FA, (K, O), and for aligned feedback also the overlap of F with the
            student; None draws standard normals.  The norm P of F then grows as
            (B / student_scale)^2.  With several hidden layers, a tuple for FA; what F overlaps
            with is then the direct feedback to the first of them, which is drawn.
        S: overlap of an aligned F with the teacher, (M, O); None for v_star, so that F knows the
            teacher's units as their readout weighs them, or 1 if there are layers in between.
        feedback_scale: multiplies B and F.
        inputs: an :class:`odes.Spectrum` of the inputs, whose shares are rounded to whole numbers
            of inputs; None for independent standard normal entries.  The weights are drawn as
            without, in the space of the inputs themselves where there are eigenvectors.
        label_weights: whether the last of several layers leads from a label to the first hidden
            layer, (K, O), as Forward-Forward has it, which has no readout.
        seed: of all that is drawn.

    The factors F1 and F2, which only mirrors look at, have standard normal entries but for what it
    takes to make F1 F2 / sqrt(N) equal to F, or as near to it as can be where O > K.

    Raises:
        ValueError: names the argument, what it must be and what it was.
    """
    N, O = check_count("N", N), check_count("O", O)
    widths, of_teacher = check_widths("K", K), check_widths("M", M)
    (K, *_), (M, *_) = widths, of_teacher
    seed = check_seed(seed)
    if N < K + M + O:
        raise ValueError(f"Argument `N` must be at least K + M + O = {K + M + O}, but is {N}.")
    inputs = None if inputs is None else check_spectrum(inputs).of_inputs(N)
    student_scale = check_number("student_scale", student_scale)
    feedback_scale = check_number("feedback_scale", feedback_scale)
    draw_teacher = lookup("teacher", {"orthonormal": _orthonormal, "gaussian": _gaussian}, teacher)
    aligned = lookup("feedback", {"aligned": True, "random": False}, feedback)
    if S is not None and not aligned:
        raise ValueError(
            'Argument `S` must be None with feedback="random", whose overlaps are drawn with F, '
            f"but is {S!r}."
        )
    streams = np.random.default_rng(seed).spawn(6)
    for_teacher, for_student, for_readout, for_feedback, for_factors, for_layers = streams
    W_star = draw_teacher(for_teacher, M, N)
    W = student_scale * for_student.normal(size=(K, N))
    layered = shapes_at(LAYERED, widths, O)
    shapes_of_v = layered
    if check_flag("label_weights", label_weights) and len(widths) > 1:
        shapes_of_v = (*layered[:-1], (K, O))
    v = _drawn(for_readout, shapes_of_v) if v is None else given_weights("v", v, shapes_of_v)
    shapes_of_teacher = shapes_at(LAYERED, of_teacher, O)
    if v_star is None:
        *hidden, readout = layers_of(_drawn(for_layers, shapes_of_teacher))
        v_star = as_weights([*hidden, np.ones_like(readout)])
    else:
        v_star = given_weights("v_star", v_star, shapes_of_teacher)
    B = _drawn(for_feedback, layered) if B is None else given_weights("B", B, layered)
    D = None if len(widths) == 1 else _drawn(for_layers, shapes_at(DIRECT, widths, O))
    if not aligned:
        F = for_feedback.normal(size=(N, O))
    else:
        known = layers_of(v_star)[0] if len(of_teacher) == 1 else np.ones((M, O))
        S = known if S is None else given_matrix("S", S, (M, O))
        units = np.concatenate([W, W_star]) / np.sqrt(N)
        overlaps = np.concatenate([B if D is None else D[0], S])
        F = np.linalg.lstsq(units, overlaps, rcond=None)[0]
        if np.max(np.abs(units @ F - overlaps)) > 1e-9 * np.max(np.abs(overlaps)):
            raise ValueError(
                "Argument `student_scale` must be large enough for F to have the overlaps B, "
                f"but is {student_scale!r}."
            )
    F, B = feedback_scale * F, over_layers(lambda each: feedback_scale * each, B)
    D = D and over_layers(lambda each: feedback_scale * each, D)
    F1, F2 = for_factors.normal(size=(N, K)), _drawn(for_factors, layered)
    above = reduce(np.matmul, layers_of(F2))
    F1 = F1 + (N**0.5 * F - F1 @ above) @ np.linalg.pinv(above)
    return Network(W, v, W_star, v_star, B, F, aligned, F1, F2, inputs=inputs, direct=D)


def check_widths(name: str, value: Any) -> tuple[int, ...]:
    """The widths of hidden layers, from the input upwards; one, if they are a number."""
    if not isinstance(value, (tuple, list)):
        return (check_count(name, value),)
    if not value:
        raise ValueError(
            f"Argument `{name}` must have at least one hidden layer, but is {value!r}."
        )
    return tuple(check_count(f"{name}[{index}]", each) for index, each in enumerate(value))


def _drawn(rng: np.random.Generator, shapes: Any) -> Any:
    """Standard normals of a shape, or of those of several layers."""
    if isinstance(shapes[0], int):
        return rng.normal(size=shapes)
    return tuple(rng.normal(size=shape) for shape in shapes)


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
    (K, M), O = state.R.shape[-2:], outputs_of(state.v)
    least = K + M + (K if "F2" in needs else O)
    if least > N:
        sizes = "2 K + M" if "F2" in needs else "K + M + O"
        raise ValueError(f"Argument `N` must be at least {sizes} = {least}, but is {N}.")
    C = joint_covariance(state, fixed)
    groups = C.shape[:-2]
    with_F, P = np.zeros((*groups, K + M, O)), np.zeros((*groups, O, O))
    parts = state._asdict()
    F2 = parts.get("F2")
    if F2 is not None and not aligned:
        raise ValueError(
            'Argument `feedback` must be "aligned" for an F in factors, but is "random".'
        )
    if F2 is not None:
        with_F, P = np.concatenate([parts["B1"], parts["S1"]], axis=-2), parts["P1"]
    elif is_several(state.B) and fixed.S is not None:
        raise ValueError(
            "Argument `teacher` must have no S beside a B of several layers, which is no overlap "
            f"with F, but S is {fixed.S.tolist()}."
        )
    elif state.B is not None and fixed.S is not None:
        with_F = np.concatenate([state.B, fixed.S], axis=-2) / (1 if aligned else N**0.5)
        P = with_F.mT @ np.linalg.pinv(C, rcond=1e-12, hermitian=True) @ with_F
        if fixed.P is not None:
            P = fixed.P
    gram = np.block([[C, with_F], [with_F.mT, P]])
    check_covariance("the joint covariance [[C, [B; S]], [[B; S]^T, P]]", gram)
    inputs = fixed.inputs
    counts = [N]
    if inputs is not None:
        inputs = inputs.of_inputs(N)
        counts = np.rint(inputs.shares * N).astype(int).tolist()
    if least > min(counts):
        raise ValueError(
            f"Argument `N` must leave {least} inputs, K + M and the columns of F, to each group of "
            f"inputs, but the smallest has {min(counts)} of {N}."
        )
    rng = np.random.default_rng(seed)
    grams = gram.reshape(-1, *gram.shape[-2:])
    parts_of_rows = [_vectors(each, n, rng) for each, n in zip(grams, counts, strict=True)]
    rows = N**0.5 * np.concatenate(parts_of_rows, axis=1)
    F1 = None if F2 is None else rows[K + M :].T
    above = np.eye(O) if F2 is None else reduce(np.matmul, layers_of(F2))
    F = rows[K + M :].T @ above / (N**0.5 if aligned else 1)
    B, D = _feedback_weights(state)
    return Network(
        rows[:K],
        state.v,
        rows[K : K + M],
        fixed.v_star,
        B,
        F,
        aligned,
        F1,
        F2,
        inputs=inputs,
        direct=D,
    )


def _feedback_weights(state: OrderParameters) -> tuple[Any, Any]:
    """B of feedback layer by layer, and D of direct feedback, 0 where the state has none."""
    widths, O, B = widths_of(state.v), outputs_of(state.v), state.B
    layered, direct = (shapes_at(each, widths, O) for each in (LAYERED, DIRECT))
    if len(widths) == 1:
        if B is None:
            B = np.zeros(layered)
        return (B.sum(axis=0) if B.ndim > 2 else B), None
    given = shapes_of(B)
    as_B, as_D = (
        B if given == shapes else tuple(map(np.zeros, shapes)) for shapes in (layered, direct)
    )
    return as_B, as_D


def _vectors(gram: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Vectors with these scalar products as rows of n entries, in a direction drawn uniformly."""
    eigenvalues, vectors = np.linalg.eigh(gram)
    frame = np.linalg.qr(rng.normal(size=(n, len(gram))))[0]
    return (vectors * np.sqrt(np.maximum(eigenvalues, 0))) @ frame.T


def _orthonormal(rng: np.random.Generator, M: int, N: int) -> np.ndarray:
    """M orthogonal rows of norm sqrt(N), in a direction drawn uniformly."""
    Q, triangle = np.linalg.qr(rng.normal(size=(N, M)))
    return np.sqrt(N) * (Q * np.sign(np.diag(triangle))).T


def _gaussian(rng: np.random.Generator, M: int, N: int) -> np.ndarray:
    """M rows of standard normal entries."""
    return rng.normal(size=(M, N))
