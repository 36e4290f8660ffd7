"""What kernels have in common: how they draw, read parameters, and are compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from odes.common.order_parameters import Hyperparameters
from simulations.kernels import counters
from simulations.kernels.entries import CannotUnroll, filled

OFTEN_ZERO = ("noise", "weight_decay", "weight_decay_v")
"""Parameters that a kernel leaves out where they are 0."""


class Draws(NamedTuple):
    """Random numbers of runs: of each one in a program, or of lanes of them."""

    key: tuple[Any, Any]
    run: Any  # their numbers, uint32
    dtype: Any

    def words(self, coordinate: Any, s: Any, what: int) -> tuple[Any, Any, Any, Any]:
        """Four words for a coordinate of sample s."""
        counter = coordinate, s.astype(jnp.uint32), self.run, np.uint32(what)
        return counters.philox(counter, self.key)

    def normals(self, shape: tuple[int, ...], s: Any, what: int) -> np.ndarray:
        """Entries that are standard normals."""
        found = list[Any]()
        for i in range(-(-math.prod(shape) // 4)):
            found += counters.normals(self.words(np.uint32(i), s, what), self.dtype)
        return filled(shape, found[: math.prod(shape)])

    def beside(
        self, O: int, drawn: tuple[int, ...], s: Any, noise: Any
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Normals for the noise of labels, (O,), or zeros; those that the rule draws, or None."""
        zeta = filled((O,), [self.dtype(0)] * O)
        if not is_zero(noise):
            zeta = self.normals((O,), s, counters.LABEL_NOISE)
        return zeta, self.normals(drawn, s, counters.OWN) if drawn else None

    def length(self, factors: Any, ends: Any, s: Any) -> Any:
        """The root of the factor of sample s, of these factors and sums of their shares."""
        u = counters.uniform(self.words(np.uint32(0), s, counters.FACTOR)[0], self.dtype)
        *others, tau = factors
        for value, end in zip(others[::-1], ends[-2::-1], strict=True):
            tau = jnp.where(u < end, value, tau)
        return jnp.sqrt(tau)


class Rates(NamedTuple):
    """Where a kernel finds the parameters of a sample."""

    rows: Hyperparameters  # numbers; or a row of the table, and whether it has every sample

    def at(self, table: Any, since: Any) -> Hyperparameters:
        """The parameters of a sample so many after the first."""
        return Hyperparameters(
            *(
                table[each[0], since if each[1] else 0] if isinstance(each, tuple) else each
                for each in self.rows
            )
        )


def table_of(parameters: Hyperparameters) -> tuple[Any, Rates]:
    """The parameters as a table, and how to read it; what is no array is compiled as it is."""
    arrays = [each for each in parameters if isinstance(each, jax.Array)]
    size = max(each.size for each in arrays)
    row = iter(range(len(arrays)))
    rows = [
        (next(row), each.ndim > 0) if isinstance(each, jax.Array) else each for each in parameters
    ]
    table = jnp.stack([jnp.broadcast_to(each, (size,)) for each in arrays])
    return table, Rates(Hyperparameters(*rows))


def loaded(ref: Any, *run: Any) -> np.ndarray:
    """All numbers that a reference holds, for a run, as entries."""
    shape = ref.shape[len(run) :]
    return filled(shape, (ref[(*run, *index)] for index in np.ndindex(shape)))


def compiled_by_triton(warps: int) -> dict[str, Any]:
    """Arguments of a kernel for a GPU."""
    from jax.experimental.pallas import triton

    return {"compiler_params": triton.CompilerParams(num_warps=warps, num_stages=1)}


def factors_of(inputs: Any) -> dict[str, Any]:
    """The factors of a Spectrum and the sums of their shares, by name, if there are any."""
    if inputs is None or inputs.factors is None:
        return {}
    return {"factors": inputs.factors, "ends": jnp.cumsum(inputs.factor_shares)}


def unrolls(make: Callable[[], Any]) -> bool:
    """Whether a function of :func:`by_entries` can be made."""
    try:
        make()
    except CannotUnroll:
        return False
    return True


def is_zero(rate: Any) -> bool:
    """Whether a parameter is 0 for all samples."""
    return isinstance(rate, np.generic) and rate == 0


def zeros_of(parameters: Hyperparameters) -> tuple[str, ...]:
    """The names of parameters that are often 0 and are so for all samples."""
    given = parameters._asdict()
    return tuple(
        name for name in OFTEN_ZERO if np.ndim(given[name]) == 0 and float(given[name]) == 0
    )
