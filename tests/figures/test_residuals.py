"""Theory between its points, and what is left of simulation."""

import numpy as np
import pytest

from figures.residuals import theory_at

X = np.geomspace(0.1, 100.0, 9)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_theory_is_interpolated_in_the_logarithm_of_positive_points(order):
    at = np.array([100.0, 3.0, 0.1 * (1 + 1e-12), 0.7])
    values = np.stack([np.log(X), 2 - np.log(X)], axis=1)[order]
    expected = np.stack([np.log(at), 2 - np.log(at)], axis=1)
    np.testing.assert_allclose(theory_at(X[order], values, at), expected, atol=1e-9)


def test_points_of_which_one_is_zero_are_interpolated_as_they_are():
    found = theory_at(np.array([0.0, 1.0, 4.0]), np.array([0.0, 2.0, 8.0]), np.array([0.0, 3.0]))
    np.testing.assert_allclose(found, [0.0, 6.0])


def test_there_is_no_theory_beyond_its_ends_and_beside_what_is_missing():
    values = np.where(X > 20, np.nan, X)
    found = theory_at(X, values, np.array([0.05, X[2], 1.5, 18.0, X[-1], 200.0]))
    np.testing.assert_array_equal(np.isfinite(found), [False, True, True, False, False, False])
    alone = theory_at(np.array([5.0]), np.array([[3.0, 4.0]]), np.array([5.0, 6.0]))
    np.testing.assert_array_equal(alone, [[3.0, 4.0], [np.nan, np.nan]])
