"""The call that made a result: which function, with which arguments, by which software.

A file keeps arguments as JSON and arrays.  It has numbers, arrays, and what is made of them by the
packages' own types: order parameters, teachers, networks, spectra, tasks, schedules, and rules.  Of
what is the caller's own, such as a function, there is the name alone.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from importlib import import_module
from numbers import Integral, Real
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from odes.common.order_parameters import is_state, state_of

Function = TypeVar("Function", bound=Callable[..., Any])

HOMES = ("odes", "odes.rules", "odes.averages.quadrature", "simulations")
"""Where the types are whose objects are kept."""

HOW = ("path", "progress")
"""Arguments that change nothing in what comes out, and are not remembered."""

MAX_INLINE = 64
"""Arrays of more entries are kept beside the JSON."""

MAX_KEPT = 2**24
"""Of arrays of more entries, 128 MiB in double precision, there is a hash alone."""


class Own(NamedTuple):
    """What stands for an argument that a file does not keep."""

    name: str  # what it was


class Missing(Exception):
    """An argument cannot be made from what is kept of it."""


class NoLeaves(NamedTuple):
    """A tuple of nothing, in which JAX finds no leaves."""


class Call(NoLeaves):
    """A function of the packages and the arguments of one call, as the caller gave them.

    They are no copies.  ``jax.tree.map`` makes None of it, since numbers that were changed are no
    longer those of the call.
    """

    function: str  # such as "odes.solve"
    arguments: dict[str, Any]  # all, with defaults, by name
    software: dict[str, str] | None  # versions of a file; None for those of this process

    def __new__(cls, *given: Any) -> Any:
        """None without arguments, as JAX calls it."""
        return super().__new__(cls) if given else None

    def __init__(
        self, function: str, arguments: dict[str, Any], software: dict[str, str] | None = None
    ) -> None:
        self.function, self.arguments, self.software = function, arguments, software

    def __repr__(self) -> str:
        return f"<call of {self.function}({', '.join(self.arguments)})>"

    def __bool__(self) -> bool:
        return True

    def __deepcopy__(self, memo: Any) -> Call:
        return self

    def __reduce__(self) -> Any:
        arrays: dict[str, np.ndarray] = {}
        return call_of, (self.record(arrays), arrays)

    @property
    def versions(self) -> dict[str, str]:
        """Versions of this software, of Python and of the packages that numbers depend on."""
        from odes.common.store import versions  # imports more than a short script needs

        return self.software or versions("topdown-odes")

    def record(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        """The call as JSON, and its long arrays, which are put among ``arrays``."""
        return {
            "function": self.function,
            "arguments": {
                name: encoded(each, f"argument.{name}", arrays)
                for name, each in self.arguments.items()
            },
            "software": self.versions,
        }

    def again(self, **changes: Any) -> Any:
        """What the function returns now, with some arguments in place of those of the call.

        Raises ValueError for unknown names, and for what is neither kept nor given.
        """
        package, _, name = self.function.rpartition(".")
        function = getattr(import_module(package), name)
        known = inspect.signature(function).parameters
        arguments = self.arguments | changes
        for name, each in arguments.items():
            if name not in known:
                raise ValueError(
                    f"Argument `{name}` is unknown; {self.function} takes {', '.join(known)}."
                )
            if isinstance(each, Own):
                raise ValueError(
                    f"Argument `{name}` must be given, since all that is kept of it is what it "
                    f"was: {each.name}."
                )
        return function(**arguments)


def remembered(function: Function) -> Function:
    """Decorator: the Trajectory that is returned has the call that made it."""
    signature = inspect.signature(function)
    name = f"{function.__module__.partition('.')[0]}.{function.__name__}"

    @wraps(function)
    def call(*positional: Any, **given: Any) -> Any:
        trajectory = function(*positional, **given)
        bound = signature.bind(*positional, **given)
        bound.apply_defaults()
        kept = {key: each for key, each in bound.arguments.items() if key not in HOW}
        return trajectory._replace(call=Call(name, kept))

    return cast(Function, call)


def call_of(record: dict[str, Any], arrays: dict[str, np.ndarray]) -> Call:
    """The call that :meth:`Call.record` kept; ValueError for a function of other packages."""
    if record["function"].rpartition(".")[0] not in HOMES:
        raise ValueError(f"{record['function']} is none of these packages.")
    arguments: dict[str, Any] = {}
    for name, form in record["arguments"].items():
        try:
            arguments[name] = decoded(form, arrays)
        except Missing as missing:
            arguments[name] = Own(str(missing))
    return Call(record["function"], arguments, record["software"])


def encoded(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON; arrays in it that are long are put among ``arrays``, named after it."""

    def parts(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
        return {str(key): encoded(each, f"{name}.{key}", arrays) for key, each in pairs}

    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Real):
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, Own):
        return {"own": value.name}
    if is_state(value):
        return {"state": parts(value._asdict().items())}
    if (kind := kind_of(value)) is not None:
        return {"kind": kind, "parts": parts(fields_of(value).items())}
    if type(value) in (list, tuple):
        listed = list(parts(enumerate(value)).values())
        return listed if isinstance(value, list) else {"tuple": listed}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": parts(value.items())}
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            return _encoded_array(array, name, arrays)
    return {"own": name_of(value)}


def _encoded_array(array: np.ndarray, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """An array as JSON: its entries, or the name by which it is among ``arrays``, or a hash."""
    if array.size > MAX_KEPT:
        from odes.common.store import describe

        return {"own": f"an array, {describe(array)}"}
    form: dict[str, Any] = {"dtype": array.dtype.name}
    if array.size > MAX_INLINE and array.dtype in (np.float32, np.float64):
        arrays[name] = array
        return {"array": name, **form}
    return {"array": array.tolist(), "shape": list(array.shape), **form}


def decoded(form: Any, arrays: dict[str, np.ndarray]) -> Any:
    """What :func:`encoded` made this of; Missing if a part of it is not kept."""
    if isinstance(form, list):
        return [decoded(each, arrays) for each in form]
    if not isinstance(form, dict):
        return form

    def parts(each: dict[str, Any]) -> dict[str, Any]:
        return {name: decoded(part, arrays) for name, part in each.items()}

    match form:
        case {"own": str(name)}:
            raise Missing(name)
        case {"array": str(name), "dtype": dtype}:
            return np.asarray(arrays[name], dtype)
        case {"array": entries, "dtype": dtype, "shape": shape}:
            return np.array(entries, dtype).reshape(shape)
        case {"tuple": entries}:
            return tuple(decoded(entries, arrays))
        case {"dict": entries}:
            return parts(entries)
        case {"state": entries}:
            return state_of(parts(entries))
        case {"kind": str(kind), "parts": entries}:
            return type_of(kind)(**parts(entries))
    raise ValueError(f"{form!r} is no argument.")


def kind_of(value: Any) -> str | None:
    """Where the type of a value is found, if it is one of the packages' own and can be kept."""
    if fields_of(value) is None:
        return None
    own = type(value)
    homes = (home for home in HOMES if home in sys.modules)
    found = (home for home in homes if vars(sys.modules[home]).get(own.__name__) is own)
    return next((f"{home}.{own.__name__}" for home in found), None)


def type_of(kind: str) -> Any:
    """The type that :func:`kind_of` found; Missing if there is none of this name any more."""
    home, _, name = kind.rpartition(".")
    found = getattr(import_module(home), name, None) if home in HOMES else None
    if not isinstance(found, type):
        raise Missing(kind)
    return found


def fields_of(value: Any) -> Any:
    """What an object is made of, by the names by which it is made; None if it may be of more."""
    if hasattr(value, "_asdict"):
        return value._asdict()
    named = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    if set(getattr(value, "__dict__", {"": None})) - {field.name for field in named}:
        return None
    return {field.name: getattr(value, field.name) for field in named if field.init}


def name_of(value: Any) -> str:
    """The qualified name of a function or class, or of the class of anything else."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def label_of(value: Any) -> str:
    """A rule, or an argument of one, as a reader wants it named."""
    if value is None or isinstance(value, (str, Real)):
        return str(value)
    if isinstance(value, Own):
        return value.name
    if kind_of(value) is None:
        return name_of(value)
    named = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    defaults = {field.name: field.default for field in named}
    parts = ", ".join(
        f"{name}={label_of(each)}"
        for name, each in fields_of(value).items()
        if name not in defaults or defaults[name] != each
    )
    return f"{type(value).__name__}({parts})"
