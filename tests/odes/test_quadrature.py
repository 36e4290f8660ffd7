"""Averages over nodes are what they say: exact for polynomials, symmetric, the same everywhere."""

from itertools import combinations_with_replacement, product
from math import prod

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import erf

from odes import Activation, OrderParameters, Teacher, gauss_hermite, hyperparameters, sobol, solve
from odes.averages.levels import Ladder
from odes.averages.quadrature import coarse_points, lattice, mirrored_sobol
from tests.conftest import averaged_drift

NODES = {2: 1369, 3: 30_827, 4: 13_969, 5: 30_929}
"""By dimension, those of the default, which no processor may choose differently."""


def default_points(dimensions, even=False):
    """The nodes that averages of smooth functions are taken over, with one student unit."""
    ladder = Ladder(dimensions, smooth=True, even=even, students=1)
    return ladder.points(ladder.default)


@pytest.mark.parametrize("dimensions", NODES)
def test_default_nodes_average_polynomials_exactly(dimensions):
    nodes, weights = default_points(dimensions)
    assert len(weights) == NODES[dimensions]
    assert np.min(weights) > 0
    powers = [nodes**power for power in range(9)]
    for exponents in combinations_with_replacement(range(9), dimensions):
        if sum(exponents) <= 8:
            factors = [powers[power][:, axis] for axis, power in enumerate(exponents)]
            average = weights @ np.prod(factors, axis=0)
            even = all(power % 2 == 0 for power in exponents)
            exact = prod(prod(range(power - 1, 0, -2)) for power in exponents) if even else 0
            assert_allclose(average, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dimensions", "per_axis"), [(1, 40), (2, 64), (3, 5), (3, 40), (2, 1)])
def test_nodes_are_symmetric_to_the_last_bit(dimensions, per_axis):
    points = gauss_hermite(dimensions, per_axis)
    weight = {tuple(node + 0.0): w for node, w in zip(*points, strict=True)}
    for flip in product((-1, 1), repeat=dimensions):
        for node, w in weight.items():
            assert weight[tuple(np.array(node) * flip + 0.0)] == w
    for node, w in weight.items():
        assert weight[node[::-1]] == w


@pytest.mark.parametrize(("dimensions", "bound"), [(2, 2e-9), (3, 1e-9), (4, 4e-9), (5, 2e-6)])
def test_the_corrected_weights_keep_the_averages_of_erf(dimensions, bound):
    """Two fields of variance about 1, twenty times, against the arcsine: a third of the bounds."""
    nodes, weights = default_points(dimensions, even=True)
    for mixing in np.random.default_rng(0).normal(size=(20, 2, dimensions)) / np.sqrt(dimensions):
        C = mixing @ mixing.T
        closed = 2 / np.pi * np.arcsin(C[0, 1] / np.sqrt((1 + C[0, 0]) * (1 + C[1, 1])))
        assert abs(weights @ np.prod(erf(nodes @ mixing.T / np.sqrt(2)), axis=1) - closed) < bound


@pytest.mark.parametrize("dimensions", NODES)
def test_half_of_the_nodes_average_what_is_even(dimensions):
    whole, half = (lattice(dimensions, 1.2, halved=halved) for halved in (False, True))
    assert len(half.weights) == len(whole.weights) // 2 + 1
    direction = np.linspace(-1, 1, dimensions)

    def average(points, function):
        return points.weights @ function(points.nodes @ direction)

    assert_allclose(average(half, np.cos), average(whole, np.cos), rtol=1e-13)
    assert abs(average(half, np.tanh)) > 0.1
    assert_allclose(average(whole, np.tanh), 0, atol=1e-14)


@pytest.mark.parametrize("dimensions", NODES)
def test_finer_lattices_are_more_accurate(dimensions):
    """The sixth moment of a steep erf along a diagonal."""
    ladder = Ladder(dimensions, smooth=True, even=True, students=1)
    direction = np.ones(dimensions) * 1.5 / np.sqrt(dimensions)

    def average(level):
        nodes, weights = ladder.points(level)
        return weights @ erf(nodes @ direction) ** 6

    levels = ladder.levels[:10]
    errors = [abs(average(level) - average(levels[-1])) for level in levels]
    assert errors[-2] < min(errors[:3]) / 20


@pytest.mark.parametrize("dimensions", [2, 4])
def test_lattices_with_a_shape_are_for_what_is_steeper_along_some_direction(dimensions):
    """erf of slope 5 along a diagonal: its mean square is (2 / pi) asin(s^2 / (1 + s^2))."""
    diagonal = np.ones(dimensions) / np.sqrt(dimensions)
    spacings = np.where(np.arange(dimensions) == 0, 0.3, 1.0)
    axes = np.linalg.qr(np.column_stack([diagonal, np.eye(dimensions)[:, 1:]])).Q
    shape = (axes * spacings / np.prod(spacings) ** (1 / dimensions)) @ axes.T
    whole, half, round_one = (
        lattice(dimensions, spacing, halved=halved, shape=given)
        for spacing, halved, given in ((0.7, False, shape), (0.7, True, shape), (0.7, True, None))
    )
    assert len(whole.weights) == 2 * len(half.weights) - 1
    assert abs(len(half.weights) / len(round_one.weights) - 0.6) < 0.4
    for nodes, weights in (whole, half):
        assert np.all(weights > 0)
        along, both = nodes[:, 0], nodes[:, 0] * nodes[:, 1]
        found = [
            weights @ each for each in (np.ones_like(along), along**2, along**4, both, both**2)
        ]
        assert_allclose(found, [1, 1, 3, 0, 1], atol=1e-11)
    exact = 2 / np.pi * np.arcsin(25 / 26)
    errors = [
        abs(weights @ erf(5 * nodes @ diagonal / np.sqrt(2)) ** 2 - exact)
        for nodes, weights in (whole, half, round_one)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-6, abs=1e-12)
    assert errors[0] < errors[2] / 50


def test_few_nodes_are_the_plain_tensor_rule():
    axis, weight = np.polynomial.hermite_e.hermegauss(4)
    nodes, weights = gauss_hermite(2, 4)
    assert_allclose(nodes, np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2))
    assert_allclose(weights, np.outer(weight, weight).ravel() / weight.sum() ** 2, rtol=1e-13)


def test_sobol_points_come_in_powers_of_two_and_differ_by_their_seed():
    assert [len(sobol(2, n).weights) for n in (1, 2, 63, 64, 65)] == [1, 2, 64, 64, 128]
    first, again, other = (sobol(2, 64, seed=seed).nodes for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.min(abs(first - other)) > 0


@pytest.mark.parametrize(("students", "n"), [(1, 1), (2, 64), (3, 65)])
def test_what_is_odd_in_the_fields_of_the_students_averages_to_nothing(students, n):
    nodes, weights = mirrored_sobol(5, n, students)
    assert len(weights) == {1: 2, 64: 64, 65: 128}[n]
    assert_allclose(weights.sum(), 1, rtol=1e-14)
    own, others = nodes[:, :students], nodes[:, students:]
    assert np.min(abs(own.sum(axis=1))) > 1e-6
    for even in (1, others[:, 0], others[:, 1] * np.prod(own[:, :1] ** 2, axis=1)):
        for odd in (own.sum(axis=1), own[:, 0] ** 3):
            assert abs(np.sum(weights * odd * even)) < 1e-12


@pytest.mark.parametrize(("dimensions", "per_axis"), [(4, 8), (6, 4)])
def test_a_jacobian_has_few_nodes_where_the_drift_has_many(dimensions, per_axis):
    few = coarse_points(default_points(dimensions))
    assert_allclose(few.nodes, gauss_hermite(dimensions, per_axis).nodes)


@pytest.mark.parametrize("points", [gauss_hermite(2, 64), sobol(6, 4096), sobol(7, 2**15)])
def test_few_nodes_and_many_dimensions_are_left_as_they_are(points):
    assert coarse_points(points) is points


def test_phase_retrieval_has_its_exact_error_and_drift():
    Q, R, T, lr, lr_v = 0.7, 0.4, 1.2, 0.3, 0.5
    state = OrderParameters(*(np.array([[each]]) for each in (Q, R, 1.0)))
    teacher = Teacher(np.array([[T]]), np.array([[1.0]]))
    square = Activation(lambda z: z * z)
    curve = solve(state, teacher, rule="bp", lr=lr, lr_v=lr_v, activation=square, times=[0.0])
    error = (3 * Q**2 - 2 * (Q * T + 2 * R**2) + 3 * T**2) / 2
    assert_allclose(curve.generalization_error, error, rtol=1e-10)
    parameters = hyperparameters(lr=lr, lr_v=lr_v)
    points = default_points(2)
    moved = averaged_drift(state, teacher, parameters, points, "bp", square)
    pull = 3 * Q**2 - Q * T - 2 * R**2
    spread = 15 * Q**3 - 2 * (3 * Q**2 * T + 12 * Q * R**2) + 3 * Q * T**2 + 12 * T * R**2
    assert_allclose(moved.Q, -4 * lr * pull + 4 * lr**2 * spread, rtol=1e-10)
    assert_allclose(moved.R, -6 * lr * R * (Q - T), rtol=1e-10)
    assert_allclose(moved.v, -lr_v * pull, rtol=1e-10)
