"""Functions of small arrays, entry by entry, for kernels that know scalars and lanes alone.

A device's kernel computes on numbers and on vectors of one length.  :func:`by_entries` takes a
function of small arrays as it is written, such as a learning rule in the few coordinates that one
sample shows, and carries out its jaxpr on arrays of entries: each entry is a number or a vector of
lanes.  What is zero or one whatever the arguments are is not computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal
from numpy.polynomial import chebyshev
from scipy.special import erfcx

NAMES = [
    "abs", "add", "add_any", "and", "bitcast_convert_type", "ceil", "clamp", "convert_element_type",
    "cos", "div", "eq", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow",
    "is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not",
    "or", "pow", "rem", "rsqrt", "select_n", "shift_right_arithmetic", "sign", "sin",
    "sqrt", "square", "stop_gradient", "sub", "tan", "tanh", "xor",
]  # fmt: skip
"""Operations that act on every entry by itself."""

CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr", "custom_vmap_call": "call", "remat": "jaxpr",
    "checkpoint": "jaxpr",
}  # fmt: skip
"""Operations that are functions of their own, and where these stand."""

MOST_STEPS = 6000
"""Operations on single entries, above which they would take too long to compile."""


class CannotUnroll(Exception):
    """A function does what :func:`by_entries` does not know."""


def by_entries(function: Callable, *shapes: Any) -> Callable:
    """``function`` of arrays of these shapes, of arrays of entries in their place.

    Args:
        function: of arrays or trees of them, to arrays or trees of them.
        shapes: of its arguments, trees of ``jax.ShapeDtypeStruct``.

    Returns:
        A function of as many trees of NumPy arrays with dtype object, to such a tree.

    Raises:
        CannotUnroll: for what is not made of sums, products and functions of single entries.
    """
    closed, tree = jax.make_jaxpr(function, return_shape=True)(*shapes)
    check(closed.jaxpr)
    structure = jax.tree.structure(tree)

    def by_numbers(*numbers: Any) -> Any:
        return flat(evaluate(closed.jaxpr, closed.consts, restored(list(numbers), blank)))

    leaves = jax.tree.leaves(shapes)
    blank = [np.empty(each.shape, object) for each in leaves]
    numbers = [jax.ShapeDtypeStruct((), each.dtype) for each in leaves for _ in range(each.size)]
    steps = len(jax.make_jaxpr(by_numbers)(*numbers).jaxpr.eqns)
    if steps > MOST_STEPS:
        raise CannotUnroll(f"{steps} operations")

    def called(*given: Any) -> Any:
        leaves = [_as_entries(each) for each in jax.tree.leaves(given)]
        return jax.tree.unflatten(structure, evaluate(closed.jaxpr, closed.consts, leaves))

    return called


def _as_entries(each: Any) -> np.ndarray:
    """An array of entries as it is; one entry as such an array."""
    if isinstance(each, np.ndarray):
        return each
    return filled((), [each])


def check(jaxpr: Any) -> None:
    """CannotUnroll unless all operations are known."""
    for step in jaxpr.eqns:
        name = step.primitive.name
        if name in (*CALLS, "scan", "cond"):
            inner = step.params[{"cond": "branches"}.get(name) or CALLS.get(name, "jaxpr")]
            for each in inner if name == "cond" else [inner]:
                check(getattr(each, "jaxpr", each))
        elif name not in NAMES and name not in STRUCTURAL:
            raise CannotUnroll(name)


def evaluate(jaxpr: Any, consts: Any, given: list[Any]) -> list[Any]:
    """What a jaxpr returns, as arrays of entries."""
    values: dict[Any, Any] = {}

    def read(each: Any) -> Any:
        return constants(each.val) if isinstance(each, Literal) else values[each]

    for variable, value in zip(jaxpr.constvars, consts, strict=True):
        values[variable] = constants(value)
    values.update(zip(jaxpr.invars, given, strict=True))
    for step in jaxpr.eqns:
        name, arguments = step.primitive.name, [read(each) for each in step.invars]
        if name in CALLS:
            inner = step.params[CALLS[name]]
            found = evaluate(
                getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), arguments
            )
        elif name in STRUCTURAL:
            found = STRUCTURAL[name](step, *arguments)
        else:
            found = [elementwise(step.primitive, step.params, *arguments)]
        values.update(zip(step.outvars, found, strict=True))
    return [read(each) for each in jaxpr.outvars]


def constants(value: Any) -> np.ndarray:
    """An array as one of entries, which are numbers unless it is traced."""
    if isinstance(value, jax.core.Tracer):
        return filled(value.shape, value.ravel())
    array = np.asarray(value)
    return filled(array.shape, (array[index] for index in np.ndindex(array.shape)))


def elementwise(primitive: Any, params: dict[str, Any], *arguments: Any) -> np.ndarray:
    """A primitive on every entry, sums and products without what is zero or one."""
    arrays = np.broadcast_arrays(*arguments)
    own = FOLDED.get(primitive.name) or partial(bound, primitive, params)
    return _each(arrays[0].shape, lambda index: own(*(array[index] for array in arrays)))


def bound(primitive: Any, params: dict[str, Any], *operands: Any) -> Any:
    """A primitive of numbers and lanes, the former on all lanes; of numbers alone, a number."""
    if all(isinstance(each, np.generic) for each in operands):
        with jax.ensure_compile_time_eval():
            return np.asarray(primitive.bind(*operands, **params))[()]
    shape = np.broadcast_shapes(*map(np.shape, operands))
    dtypes = [each.dtype for each in operands if not isinstance(each, np.generic)]
    floating = next((each for each in dtypes if jnp.issubdtype(each, jnp.floating)), None)

    def alike(each: Any) -> Any:
        if floating is not None and isinstance(each, np.floating):
            each = floating.type(each)
        return each if np.shape(each) == shape else jnp.broadcast_to(each, shape)

    return primitive.bind(*map(alike, operands), **params)


def is_number(entry: Any, number: float) -> bool:
    """Whether an entry is this number whatever the arguments are."""
    return isinstance(entry, np.generic) and entry == number


def plus(a: Any, b: Any) -> Any:
    """a + b."""
    if is_number(a, 0):
        return b
    return a if is_number(b, 0) else a + b


def minus(a: Any, b: Any) -> Any:
    """a - b."""
    if is_number(b, 0):
        return a
    return -b if is_number(a, 0) else a - b


def times(a: Any, b: Any) -> Any:
    """a b."""
    if is_number(a, 0) or is_number(b, 1):
        return a
    return b if is_number(b, 0) or is_number(a, 1) else a * b


def choice(which: Any, *cases: Any) -> Any:
    """The case that ``which`` names, of numbers or lanes."""
    if isinstance(which, np.generic):
        return cases[int(which)]
    return bound(lax.select_n_p, {}, which, *cases)


FOLDED: dict[str, Callable] = {
    "add": plus,
    "add_any": plus,
    "mul": times,
    "sub": minus,
    "select_n": choice,
}


def total(terms: Any) -> Any:
    """The sum of entries, in their order."""
    found: Any = np.float32(0)
    for each in terms:
        found = plus(found, each)
    return found


def _moved(step: Any, *arguments: Any) -> Any:
    """Entries in other places, found by moving the numbers of their places.

    Indices have to be known.
    """
    places, kept, start = [], [], 0
    indexed = step.primitive.name in ("gather", "dynamic_slice")
    for given, each in zip(step.invars, arguments, strict=True):
        if start and indexed:
            if not all(isinstance(index, np.generic) for index in each.ravel()):
                raise CannotUnroll("indices that depend on the arguments")
            places.append(
                np.asarray([*each.ravel().tolist()], given.aval.dtype).reshape(each.shape)
            )
            continue
        places.append(np.arange(start, start + each.size, dtype="int32").reshape(each.shape))
        kept += each.ravel().tolist()
        start += each.size
    with jax.ensure_compile_time_eval():
        params = step.params | ({"fill_value": -1} if "fill_value" in step.params else {})
        found = step.primitive.bind(*places, **params)
    found = found if step.primitive.multiple_results else [found]
    if any(np.any(np.asarray(each) < 0) for each in found):
        raise CannotUnroll("indices out of bounds")
    return [filled(each.shape, (kept[i] for i in np.asarray(each).ravel())) for each in found]


def _reduce_sum(step: Any, x: Any) -> Any:
    params, aval = step.params, step.outvars[0].aval
    axes = params["axes"]
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    rows = x.transpose(*kept, *axes).reshape(*aval.shape, -1)
    return [_each(aval.shape, lambda index: total(rows[index]))]


def _dot_general(step: Any, a: Any, b: Any) -> Any:
    params, aval = step.params, step.outvars[0].aval
    (inner_a, inner_b), (batch_a, batch_b) = params["dimension_numbers"]

    def arranged(x: Any, batch: Any, inner: Any) -> Any:
        free = [axis for axis in range(x.ndim) if axis not in (*batch, *inner)]
        sizes = [math.prod(x.shape[axis] for axis in axes) for axes in (batch, free, inner)]
        return x.transpose(*batch, *free, *inner).reshape(sizes)

    left, right = arranged(a, batch_a, inner_a), arranged(b, batch_b, inner_b)
    found = np.empty((len(left), left.shape[1], right.shape[1]), object)
    for t, i, j in np.ndindex(found.shape):
        found[t, i, j] = total(map(times, left[t, i], right[t, j]))
    return [found.reshape(aval.shape)]


def _erf(step: Any, x: Any) -> Any:
    return [_each(x.shape, lambda index: erf(x[index]))]


def _each(shape: Any, entry: Callable) -> np.ndarray:
    return filled(shape, map(entry, np.ndindex(shape)))


def _iota(step: Any) -> Any:
    with jax.ensure_compile_time_eval():
        return [constants(step.primitive.bind(**step.params))]


def _scan(step: Any, *arguments: Any) -> Any:
    """A loop of known length, all of its turns written out."""
    params, inner = step.params, step.params["jaxpr"]
    if "ft_in" in params:  # since JAX 0.11
        consts, carried, rows = map(list, params["ft_in"].update(arguments).unpack())
    else:
        given = list(arguments)
        first, last = np.cumsum([params["num_consts"], params["num_carry"]])
        consts, carried, rows = given[:first], given[first:last], given[last:]
    n_carried, kept = len(carried), list[Any]()
    turns = range(params["length"])
    for turn in reversed(turns) if params["reverse"] else turns:
        given = [*consts, *carried, *(row[turn] for row in rows)]
        given = [each if isinstance(each, np.ndarray) else filled((), [each]) for each in given]
        found = evaluate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), given)
        carried, kept = found[:n_carried], [*kept, found[n_carried:]]
    kept = kept[::-1] if params["reverse"] else kept
    return carried + [np.stack(each) for each in zip(*kept, strict=True)]


def _platform(step: Any) -> Any:
    """Which of the cases for kinds of devices is that for all others."""
    return [filled((), [np.int32(step.params["platforms"].index(None))])]


def _cond(step: Any, which: Any, *arguments: Any) -> Any:
    """One of several functions, which has to be known."""
    if not isinstance(which.item(), np.generic):
        raise CannotUnroll("cases that depend on the arguments")
    chosen = step.params["branches"][int(which.item())]
    return evaluate(chosen.jaxpr, chosen.consts, list(arguments))


STRUCTURAL: dict[str, Callable] = {
    "platform_index": _platform, "cond": _cond, "copy": lambda step, x: [x],
    "reduce_sum": _reduce_sum, "dot_general": _dot_general, "erf": _erf, "iota": _iota,
    "scan": _scan,
    **dict.fromkeys(
        ["broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "rev", "slice",
         "dynamic_slice", "gather", "concatenate", "split"],
        _moved,
    ),
}  # fmt: skip
"""Operations on whole arrays, of a step of a jaxpr and of the arrays."""


def erf(x: Any) -> Any:
    """The error function, for kernels that have none: within 2e-15, or 4e-7 in single precision.

    From ``erfc(z) = t exp(P(t) - z^2)`` for z >= 0 with t = 2 / (2 + z), by a Chebyshev series for
    P in 2 t - 1.
    """
    number = np.dtype(x.dtype).type
    size = jnp.abs(x)
    t = number(2) / (number(2) + size)
    y = number(2) * t - number(1)
    after, before = number(0), number(0)
    for each in ERF[np.dtype(x.dtype).name][:0:-1]:
        after, before = number(2) * y * after - before + number(each), after
    series = y * after - before + number(ERF[np.dtype(x.dtype).name][0])
    found = number(1) - t * jnp.exp(series - size * size)
    return jnp.where(x < 0, -found, found)


def _erf_series(degree: int) -> np.ndarray:
    """Coefficients of the Chebyshev series of ``log(erfcx(z) / t)``."""

    def exponent(y: np.ndarray) -> np.ndarray:
        t = (y + 1) / 2
        return np.log(erfcx(2 / t - 2) / t)

    return chebyshev.chebinterpolate(exponent, degree)


ERF = {"float32": _erf_series(9), "float64": _erf_series(27)}
"""By precision."""


def filled(shape: tuple[int, ...], numbers: Any) -> np.ndarray:
    """An array of these entries."""
    found = np.empty(shape, object)
    for index, each in zip(np.ndindex(shape), numbers, strict=True):
        found[index] = each
    return found


def flat(tree: Any) -> list[Any]:
    """All entries of a tree of arrays."""
    return [each for array in jax.tree.leaves(tree) for each in array.ravel().tolist()]


def restored(numbers: list[Any], like: Any) -> Any:
    """The tree of arrays whose entries these are; ``like`` is a tree of arrays of those shapes."""
    rest = iter(numbers)
    return jax.tree.map(lambda each: filled(each.shape, islice(rest, each.size)), like)
