"""Inputs with a covariance: their eigenvalues in groups, and a variance factor for every sample.

In the eigenbasis of their covariance the entries of an input are independent, with variances omega.
Entries of nearly the same variance make a group, of which there are S: group s has the variance
omega_s and the share rho_s of the N entries, ``sum_s rho_s = 1``.  Every overlap of two vectors of
input space is then S numbers, one for each group::

    Q_s,kl = (1/N) sum_{i in s} w_ki w_li,      and alike R_s, T_s, B_s, S_s, P_s

The fields see the sum of ``omega_s Q_s``, and feedback through F, which is subtracted from the
input itself, the sum of ``B_s`` as it is.

With factors, an input is ``x = sqrt(tau) z``, z normal with that covariance and tau drawn anew for
every sample: a Gaussian scale mixture, as are Student's t and, roughly, patches of photographs,
whose contrast varies (Wainwright & Simoncelli 2000).  Goldt et al. (2020) and Yoshida & Okada
(2019) have the equations of backpropagation with a covariance.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.optimize import brentq
from scipy.special import roots_jacobi

from odes.common.checks import (
    check_array,
    check_count,
    check_number,
    check_untraced,
    is_traced,
    quoted,
)
from odes.common.order_parameters import Array

SHARES_ATOL = 1e-9
"""How far the sum of shares may be from 1."""

MAX_POWER = 64.0
"""To which estimated factors are raised, at most."""

N_PROJECTIONS = 200
"""Random directions whose median kurtosis says how much the length of samples varies."""

N_GRID = 500
"""Points on which the quadrature of Student's t is made."""

ORTHONORMAL_ATOL = 1e-6
"""By how much eigenvectors may miss being orthonormal."""

MAX_NU = 1e4
"""Degrees of freedom of Student's t, at most."""

NULL_RTOL = 1e-10
"""Variances below this times the largest one are zero."""


class Spectrum(NamedTuple):
    """The covariance of inputs by the variances of its groups, and the factors of samples.

    Checked where it is used.  ``power_law``, ``blocks``, ``of`` and ``student_t`` make the usual
    ones.  ``basis`` are eigenvectors of the covariance as columns, group by group, (N, N) or (N, r)
    of rank r, where the directions besides are the last group; None where the entries of inputs are
    independent, in the order of the groups.  ``grouping_error`` says what is lost by putting
    different variances in one group: by how much, as a fraction, the mean square of the variances
    is too small.  It falls as the square of the width of the groups, as does the error of learning
    curves; for a few large variances it falls faster with :func:`odes.widening_shares`.
    """

    eigenvalues: Any  # omega, (S,)
    shares: Any  # rho, (S,)
    factors: Any = None  # tau, (n,); None for one factor, 1
    factor_shares: Any = None  # their probabilities, (n,)
    basis: Any = None
    grouping_error: float | None = None

    @classmethod
    def power_law(cls, exponent: float, *, N: int = 1000, groups: Any = 32) -> Spectrum:
        """Variances ``i^-exponent``, i = 1, ..., N, over their mean, in ``groups``.

        Groups are a number of equal shares, or the shares themselves, (S,), those of the largest
        variances first.  Raises ValueError for a negative exponent and more groups than inputs.
        """
        exponent = check_number("exponent", exponent)
        N = check_count("N", N)
        variances = np.arange(1.0, N + 1) ** -exponent
        return _grouped(variances / variances.mean(), groups)

    @classmethod
    def blocks(cls, eigenvalues: Any, sizes: Any) -> Spectrum:
        """Groups of these variances and numbers of inputs, (S,) each."""
        counts = check_array("sizes", sizes)
        if counts.ndim != 1 or np.any(counts < 1) or np.any(counts != np.rint(counts)):
            raise ValueError(
                f"Argument `sizes` must be a list of integers >= 1, but is {quoted(sizes)}."
            )
        if check_array("eigenvalues", eigenvalues).shape != counts.shape:
            raise ValueError(
                f"Argument `sizes` must be as many as `eigenvalues`, but they are {len(counts)} "
                f"for {quoted(eigenvalues)}."
            )
        return check_spectrum(cls(eigenvalues, counts / counts.sum()))

    @classmethod
    def of(cls, X: Any, *, groups: Any = 32, factors: int = 1) -> Spectrum:
        """The covariance of the rows of a data matrix, (n, N), with its eigenvectors.

        The mean is subtracted.  Costs some ``n N min(n, N)`` operations, by the eigenvectors of the
        covariance where n >= N and by a singular value decomposition else, and memory for the
        eigenvectors.  With fewer independent rows than N, or constant columns, a last group has
        what does not vary, and ``groups`` are those of what does.

        With ``factors`` > 1, that many factors are estimated, of equal shares: the mean of x_i^2
        over omega_i of each row, over the mean of all.  They are moved towards 1, or raised to a
        power, until their mean square is a third of the kurtosis of random projections (their
        median), as of a scale mixture; where that is no more than normal there are none.

        Args:
            X: data, of finite numbers, at least two different rows.
            groups: as for :meth:`power_law`.
            factors: how many.

        Raises:
            ValueError: names the argument, what it must be and what it was; of numbers that are not
                finite, the first row that has them.
        """
        X = check_data("X", X)
        n_factors = check_count("factors", factors)
        size = float(np.max(np.abs(X)))
        centred = np.asarray(X / (size or 1.0), float)
        centred -= centred.mean(axis=0)
        n, N = X.shape
        if n >= N:
            variances, vectors = np.linalg.eigh(centred.T @ centred / n)
            variances, vectors = variances[::-1], vectors[:, ::-1]
        else:
            _, lengths, rows = np.linalg.svd(centred, full_matrices=False)
            variances, vectors = lengths**2 / n, rows.T
        rank = int(np.count_nonzero(variances > NULL_RTOL * variances[0]))
        if not variances[0] > 0:
            raise ValueError("Argument `X` must have rows that differ, but all are the same.")
        variances, vectors = variances[:rank], vectors[:, :rank]
        found = _grouped(variances, groups, N)
        with np.errstate(over="ignore"):
            found = found._replace(basis=vectors, eigenvalues=found.eigenvalues * size**2)
        check_spectrum(found, "X")
        if n_factors == 1:
            return found
        taus, shares = _factors(centred @ vectors, variances, centred, n_factors)
        if np.ptp(taus) == 0:
            return found
        return found._replace(factors=taus, factor_shares=shares)

    @classmethod
    def student_t(
        cls, nu: float, *, factors: int = 16, eigenvalues: Any = (1.0,), shares: Any = (1.0,)
    ) -> Spectrum:
        """Inputs of Student's t distribution with nu > 2 degrees of freedom, of these variances.

        ``tau = (nu - 2) / chi^2_nu``, of mean 1, with which the means of 1, tau and 1 / tau are
        exact.  The nodes are those of Gauss for u = chi / sqrt(2), in which averages are smooth:
        learning curves at nu = 3 were 1e-5 off with 8 factors, and 1e-8 with 16.
        """
        nu = check_number("nu", nu, positive=True)
        if not 2 < nu <= MAX_NU:
            raise ValueError(
                "Argument `nu` must be above 2, to have a variance, and at most "
                f"{MAX_NU:g}, where inputs are as good as normal, but is {nu:g}."
            )
        u, weights = _half_range_nodes(nu - 3, check_count("factors", factors, least=2, below=200))
        taus = (nu / 2 - 1) / u**2
        chances = weights / taus
        return check_spectrum(cls(eigenvalues, shares, taus, chances / chances.sum()))

    def of_inputs(self, N: int) -> Spectrum:
        """The spectrum with shares that are whole numbers of N inputs.

        Raises ValueError if a group would be empty, and if the eigenvectors are not N long.
        """
        for name, each in self._asdict().items():
            check_untraced(f"inputs.{name}", each)
        sizes = np.diff(np.rint(np.cumsum(self.shares) * N), prepend=0)
        if np.any(sizes < 1):
            raise ValueError(
                f"Argument `inputs` must have shares of at least one of N = {N} inputs, but has "
                f"{np.asarray(self.shares).tolist()}: take fewer groups or a larger N."
            )
        basis = None if self.basis is None else _check_basis(self.basis, N)
        return self._replace(shares=sizes / N, basis=basis)

    def alone(self) -> Spectrum:
        """Without eigenvectors and the error of grouping, of which the equations know nothing."""
        return self._replace(basis=None, grouping_error=None)

    @property
    def mean_variance(self) -> Array:
        """``sum_s rho_s omega_s``, the mean of ``|x|^2 / N`` of samples of the factor 1."""
        parts = (self.eigenvalues, self.shares)
        omega, rho = (x if hasattr(x, "__array_namespace__") else np.asarray(x) for x in parts)
        return (omega * rho).sum()


def widening_shares(N: int, groups: int) -> list[float]:
    """Shares of about so many groups that widen in proportion to the rank of their variances.

    The first group is the largest of N variances by itself.  For power laws, and for data whose
    variance is mostly in a few directions: as ``groups`` of :meth:`Spectrum.power_law`, and of
    :meth:`Spectrum.of`, where N is the number of directions that vary.
    """
    N, groups = check_count("N", N), check_count("groups", groups)
    ends = np.unique(np.rint(np.geomspace(1, N, groups + 1)).astype(int))
    return (np.diff(ends, prepend=0) / N).tolist()


def check_spectrum(inputs: Any, name: str = "inputs") -> Spectrum:
    """The spectrum with float64 arrays, or arrays of JAX where some are traced.

    Raises ValueError unless it is a Spectrum of variances >= 0, and of shares that add up to 1.
    """
    if not isinstance(inputs, Spectrum):
        raise ValueError(
            f"Argument `{name}` must be a Spectrum(eigenvalues, shares), but is {quoted(inputs)}."
        )
    pairs = [("eigenvalues", "shares")]
    if inputs.factors is not None or inputs.factor_shares is not None:
        pairs += [("factors", "factor_shares")]
    parts: dict[str, Any] = {}
    for values, shares in pairs:
        for each in (values, shares):
            given = getattr(inputs, each)
            parts[each] = given if is_traced(given) else check_array(f"{name}.{each}", given)
        shape = np.shape(parts[values])
        if len(shape) != 1 or shape != np.shape(parts[shares]) or shape == (0,):
            raise ValueError(
                f"Argument `{name}.{values}` must be a list of numbers, with as many "
                f"`{shares}`, but they have the shapes {shape} and {np.shape(parts[shares])}."
            )
        for each in (values, shares):
            if not is_traced(parts[each]) and np.any(parts[each] < 0):
                raise ValueError(
                    f"Argument `{name}.{each}` must be >= 0, but is {parts[each].tolist()}."
                )
        if shares == "shares" and not is_traced(parts[shares]) and np.any(parts[shares] == 0):
            raise ValueError(
                f"Argument `{name}.shares` must be > 0, but is {parts[shares].tolist()}: leave "
                "out groups without inputs."
            )
        total = 1.0 if is_traced(parts[shares]) else parts[shares].sum()
        if abs(total - 1) > SHARES_ATOL:
            raise ValueError(
                f"Argument `{name}.{shares}` must add up to 1, but add up to {total:.10g}: divide "
                "by that, or see Spectrum.blocks, which takes numbers of inputs."
            )
    return inputs._replace(**parts)


def _check_basis(basis: Any, N: int) -> np.ndarray:
    """Eigenvectors as columns, (N, r); ValueError unless they are orthonormal."""
    columns = check_array("inputs.basis", basis)
    if columns.ndim != 2 or not 0 < columns.shape[1] <= len(columns):
        raise ValueError(
            "Argument `inputs.basis` must have eigenvectors as columns, no more than they have "
            f"entries, but has shape {columns.shape}."
        )
    if len(columns) != N:
        raise ValueError(
            f"Argument `N` must be {len(columns)}, the number of entries of the eigenvectors of "
            f"`inputs`, but is {N}."
        )
    tried = np.random.default_rng(0).normal(size=(columns.shape[1], 3))
    if np.max(np.abs(columns.T @ (columns @ tried) - tried)) > ORTHONORMAL_ATOL * N**0.5:
        raise ValueError("Argument `inputs.basis` must have orthonormal columns, but has not.")
    return columns


def check_data(name: str, X: Any) -> np.ndarray:
    """A data matrix (n, N) of floats of its own precision; ValueError for one that is not.

    Of rows with numbers that are not finite, the first is named.
    """
    rows = (
        X
        if isinstance(X, np.ndarray) and X.dtype.kind == "f"
        else check_array(name, X, finite=False)
    )
    if rows.ndim != 2 or len(rows) < 2 or rows.shape[1] < 1:
        raise ValueError(
            f"Argument `{name}` must be a matrix of at least two rows, one a sample, but has shape "
            f"{rows.shape}."
        )
    lost = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if lost.size:
        raise ValueError(
            f"Argument `{name}` must hold finite numbers, but {lost.size} rows do not, the first "
            f"of them row {lost[0]}."
        )
    return rows


def _half_range_nodes(power: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss for the weight ``u^power exp(-u^2)``, u > 0, (n,) each.

    From the recursion of the orthogonal polynomials on a fine grid (Stieltjes).
    """
    singular = min(power, 0.0)
    x, weights = roots_jacobi(N_GRID, 0.0, singular)
    u = (x + 1) / 2 * np.sqrt(40 + 2 * abs(power) + 8 * n)
    logs = (power - singular) * np.log(u) - u * u
    weights = weights * np.exp(logs - logs.max())
    weights /= weights.sum()
    diagonal, beside = np.zeros(n), np.zeros(n)
    before, now = np.zeros_like(u), np.ones_like(u)
    for k in range(n):
        diagonal[k] = weights @ (u * now * now)
        after = (u - diagonal[k]) * now - beside[k - 1] * before
        beside[k] = np.sqrt(weights @ (after * after))
        before, now = now, after / beside[k]
    nodes, vectors = eigh_tridiagonal(diagonal, beside[:-1])
    return nodes, vectors[0] ** 2


def _grouped(variances: np.ndarray, groups: Any, N: int | None = None) -> Spectrum:
    """Decreasing variances in groups, and what there is of N inputs besides, without variance."""
    count = len(variances)
    eigenvalues, sizes = _means(variances, _ends(groups, count))
    squares = float(np.sum(variances**2))
    error = 1 - float(np.sum(sizes * eigenvalues**2)) / squares if squares > 0 else 0.0
    if N is not None and count < N:
        eigenvalues, sizes = np.append(eigenvalues, 0.0), np.append(sizes, N - count)
    return Spectrum(eigenvalues, sizes / sizes.sum(), grouping_error=error)


def _ends(groups: Any, count: int) -> np.ndarray:
    """Where groups of ``count`` variances end."""
    listed = isinstance(groups, (list, tuple)) or getattr(groups, "ndim", 0) > 0
    if not listed:
        number = min(check_count("groups", groups), count + 1)
        ends = np.rint(np.arange(1, number + 1) * count / number)
    else:
        shares = check_array("groups", groups)
        if shares.ndim != 1 or np.any(shares <= 0) or abs(shares.sum() - 1) > SHARES_ATOL:
            raise ValueError(
                "Argument `groups` must be a number of groups, or shares > 0 that add up to 1, but "
                f"is {quoted(groups)}."
            )
        ends = np.rint(np.cumsum(shares) * count)
    if np.any(np.diff(ends, prepend=0) < 1):
        raise ValueError(
            f"Argument `groups` must leave a direction to every group, but there are {count}, and "
            f"groups {quoted(groups)}."
        )
    return ends.astype(int)


def _means(variances: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and sizes of groups that end there."""
    starts = np.append(0, ends[:-1])
    return np.add.reduceat(variances, starts) / (ends - starts), ends - starts


def _widened(taus: np.ndarray, shares: np.ndarray, variance: float) -> np.ndarray:
    """Powers of factors, of mean 1, with this variance, or with the most that there is."""

    def powers(p: float) -> np.ndarray:
        raised = (taus / taus.max()) ** p
        return raised / (shares @ raised)

    def missing(p: float) -> float:
        return float(shares @ (powers(p) - 1) ** 2) - variance

    return powers(brentq(missing, 1.0, MAX_POWER) if missing(MAX_POWER) > 0 else MAX_POWER)


def _factors(
    coordinates: np.ndarray, variances: np.ndarray, centred: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Factors of equal shares and their shares; see :meth:`Spectrum.of`."""
    counted = variances > NULL_RTOL**0.5 * variances[0]
    taus = (coordinates[:, counted] ** 2 / variances[counted]).mean(axis=1)
    taus = np.sort(taus / taus.mean())
    directions = np.random.default_rng(0).normal(size=(centred.shape[1], N_PROJECTIONS))
    projections = centred @ directions
    fourth, second = (projections**4).mean(axis=0), (projections**2).mean(axis=0)
    excess = max(float(np.median(fourth / second**2)) / 3 - 1, 0.0)
    spread = float(np.mean((taus - 1) ** 2))
    taus = 1 + np.sqrt(min(excess / spread, 1.0) if spread > 0 else 0.0) * (taus - 1)
    means, sizes = _means(taus, _ends(min(number, len(taus)), len(taus)))
    shares = sizes / sizes.sum()
    return _widened(means, shares, excess) if excess > spread > 0 else means, shares
