"""Grids of parameters: axes in, one table of points, and a labelled Dataset out."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from odes.common.checks import check_number, check_untraced, quoted
from odes.common.order_parameters import DIMENSIONS, STATUS, FactoredOrderParameters
from odes.common.schedules import SCHEDULED, check_schedule
from odes.common.store import Arrays, describe

AXES: dict[str, Callable[[str, Any], Any]] = {
    name: check_number
    for name in ("lr", "lr_v", "feedback_scale", "noise", "weight_decay", "weight_decay_v")
}
"""The parameters that a sweep of theory or simulation can vary, and the check of one value."""

DEFAULTS: dict[str, Any] = {
    "lr_v": "as lr", "feedback_scale": 1.0, "noise": 0.0, "weight_decay": 0.0
}  # fmt: skip
"""What a parameter is that is not given."""

LABELS = {
    "lr": "learning rate of the first layer",
    "lr_v": "learning rate of the readout",
    "feedback_scale": "scale of the feedback",
    "noise": "standard deviation of the label noise",
    "weight_decay": "weight decay of the first layer",
    "weight_decay_v": "weight decay of the readout",
    "rule": "learning rule",
    "time": "time, in samples / N",
    "generalization_error": "generalisation error",
    "status": "how the solution ended",
    "n_steps": "steps of the integrator",
    "Q": "overlaps of the student's units",
    "R": "overlaps of student and teacher",
    "v": "readout of the student",
    "B": "feedback signal",
    "B1": "overlaps of student and F1",
    "S1": "overlaps of teacher and F1",
    "P1": "overlaps of the columns of F1",
    "F2": "second factor of F",
    "eigenvalues": "variances of groups of inputs",
    "shares": "shares of groups of inputs",
    "N": "number of inputs",
    "initial": "initial condition",
    "output_errors": "generalisation errors of the outputs",
    "stopped": "time at which the solution stopped",
    "seed": "seed",
}

ENTRIES = {
    name: tuple({"K": k, "M": "m", "O": "o"}[size] for k, size in zip("kl", sizes, strict=True))
    for name, sizes in DIMENSIONS.items()
    if name in FactoredOrderParameters._fields
}
"""Dimensions of the order parameters in a Dataset: Q (k, l), R (k, m), v and B (k, o)."""


def entries_of(
    symbols: tuple[str, ...],
    rules: dict[str, Any],
    plan: Sequence[tuple[int, Any]],
    results: Sequence[Arrays],
    is_direct: Callable[[Any], bool],
) -> dict[str, Any]:
    """Dimensions of the order parameters of these names; of several hidden layers, of each layer.

    Weights between hidden layers have the dimensions h1, h2, ...

    Args:
        symbols: the names.
        rules, plan, results: the rules by name, which of them each result is of, and its arrays by
            name, such as "v[1]".
        is_direct: whether the B of a rule leads from the outputs straight to every layer.
    """
    chosen = list(rules.values())
    found = [(chosen[index], arrays) for (index, _), arrays in zip(plan, results, strict=True)]
    names = set().union(*results)
    depth = max((int(name[:-1].partition("[")[2]) + 1 for name in names if "[" in name), default=1)
    direct = {is_direct(rule) for rule, arrays in found if "B[0]" in arrays}
    if len(direct) > 1:
        raise ValueError(
            "Argument `order_parameters` must not hold B for rules that send the error back layer "
            "by layer beside others that send it straight to every layer."
        )
    labels = any(rule.classifies for rule, _ in found)
    return {
        name: each
        for symbol in symbols
        for name, each in entries_of_layers(symbol, depth, True in direct, labels).items()
    }


def entries_of_layers(
    symbol: str, depth: int, direct: bool, labels: bool
) -> dict[str, tuple[str, ...]]:
    """Dimensions of an order parameter; of weights of several hidden layers, also those of each.

    ``direct`` says whether B leads from the outputs straight to every layer, and ``labels`` whether
    the last layer of v leads from a label to the first hidden layer.
    """
    dimensions: dict[str, tuple[str, ...]] = {symbol: ENTRIES[symbol]}
    if depth == 1 or symbol not in ("v", "B", "F2"):
        return dimensions
    units = ["k", *(f"h{index}" for index in range(1, depth)), "o"]
    above = ["o"] * depth if symbol == "B" and direct else units[1:]
    dimensions |= {f"{symbol}[{i}]": (units[i], above[i]) for i in range(depth)}
    if labels and symbol == "v":
        dimensions[f"v[{depth - 1}]"] = ("k", "o")
    return dimensions


RESERVED = {"time", "run", "group", *LABELS, *"klmo"} - {"seed", "N"}
"""Names of dimensions and variables that no axis may have."""


class Grid(NamedTuple):
    """What varies, in the order of the dimensions, what is fixed, and what changes with time."""

    axes: dict[str, np.ndarray]
    fixed: dict[str, Any]
    schedules: dict[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(values) for values in self.axes.values())

    def column(self, name: str, otherwise: Any) -> np.ndarray:
        """One parameter at every point, (number of points,)."""
        if name not in self.axes:
            value = self.fixed.get(name)
            return np.full(int(np.prod(self.shape)), otherwise if value is None else value)
        axis = list(self.axes).index(name)
        values = self.axes[name].reshape([-1 if a == axis else 1 for a in range(len(self.axes))])
        return np.broadcast_to(values, self.shape).ravel()


def axes_of(
    function: Any, given: dict[str, Any], known: dict[str, Any]
) -> dict[str, Callable[[str, Any], Any]]:
    """The arguments of a function that are among those given, but for those that are known.

    Each is to be a number >= 0; integers stay what they are.  Raises ValueError for names that
    dimensions and variables of a Dataset have.
    """
    try:
        taken = inspect.signature(function).parameters
    except (TypeError, ValueError):  # no function, or one that does not say what it takes
        return {}
    any_name = any(each.kind is each.VAR_KEYWORD for each in taken.values())
    own = [name for name in given if (name in taken or any_name) and name not in known]
    for name in own:
        if name in RESERVED:
            raise ValueError(
                f"Argument `{name}` must have another name, since Datasets have a {name} of their "
                "own."
            )
    return dict.fromkeys(own, _check_own)


def _check_own(name: str, value: Any) -> Any:
    """A number >= 0, as it is if it is an integer."""
    number = check_number(name, value)
    return value if isinstance(value, int) and not isinstance(value, bool) else number


def with_group_axis(
    dimensions: dict[str, tuple[str, ...]], arrays: Arrays
) -> dict[str, tuple[str, ...]]:
    """The dimensions with that of groups before the last two, where an array has one more."""
    grouped = {name for name, each in arrays.items() if each.ndim == len(dimensions[name]) + 2}
    return {
        name: (*of[:-2], "group", *of[-2:]) if name in grouped else of
        for name, of in dimensions.items()
    }


def make_grid(given: dict[str, Any], known: dict[str, Callable[[str, Any], Any]]) -> Grid:
    """A Grid of checked values; None stands for a parameter that is not given.

    A schedule in place of a learning rate or the feedback scale is the same at all points.

    Raises ValueError for an unknown parameter, a missing learning rate, and an axis that is empty,
    has other than one dimension, holds a value twice or one that the check in ``known`` refuses.
    """
    for name in given:
        if name not in known:
            raise ValueError(f"Argument `{name}` is unknown; axes are {', '.join(known)}.")
    if given.get("lr") is None:
        raise ValueError("Argument `lr` must be a number or a one-dimensional array, but is None.")
    axes: dict[str, np.ndarray] = {}
    fixed: dict[str, Any] = {}
    schedules: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if callable(value) and name in SCHEDULED:
            schedules[name] = check_schedule(name, value)
            continue
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):
            check_untraced(name, value)
            raise ValueError(
                f"Argument `{name}` must be a number or a one-dimensional array, "
                f"but is {quoted(value)}."
            ) from None
        if array.ndim == 0:
            fixed[name] = known[name](name, array.item())
            continue
        if array.ndim != 1 or array.size == 0:
            raise ValueError(
                f"Argument `{name}` must be a number or a one-dimensional array with at least one "
                f"entry, but has shape {array.shape}."
            )
        axes[name] = np.array([known[name](name, entry) for entry in array.tolist()])
        if len(np.unique(axes[name])) < len(axes[name]):
            raise ValueError(f"Argument `{name}` must hold each value once, but is {value!r}.")
    if "lr" in schedules and given.get("lr_v") is None:
        schedules["lr_v"] = schedules["lr"]
    return Grid(axes, fixed, schedules)


def is_single(rule: Any) -> bool:
    """Whether this is one rule, and not a list or a dictionary, which make a dimension."""
    return not isinstance(rule, (dict, list, np.ndarray)) and type(rule) is not tuple


def choose_rules(
    rule: Any, choose: Callable[[Any], Any], name_of: Callable[[Any], str]
) -> dict[str, Any]:
    """Names and objects of one rule, of a list, or of a dictionary of them.

    Raises ValueError for no rule, and for a name that occurs twice.
    """
    if isinstance(rule, dict):
        named = [(str(name), choose(entry)) for name, entry in rule.items()]
    else:
        several = np.atleast_1d(rule) if isinstance(rule, np.ndarray) else rule
        listed = [rule] if is_single(rule) else list(several)
        chosen = [(entry, choose(entry)) for entry in listed]
        named = [(e if isinstance(e, str) else name_of(own), own) for e, own in chosen]
    rules = dict(named)
    if len(rules) < max(1, len(named)):
        raise ValueError(
            "Argument `rule` must hold each rule once, and be a dictionary that names them if two "
            f"of your own have the same name, but is {rule!r}."
        )
    return rules


def check_symbols(order_parameters: Any) -> tuple[str, ...]:
    """The names of the order parameters to keep; ValueError for others."""
    if order_parameters is None:
        return ()
    names = [order_parameters] if isinstance(order_parameters, str) else order_parameters
    if not isinstance(names, (list, tuple)) or any(
        not isinstance(name, str) or name not in ENTRIES for name in names
    ):
        raise ValueError(
            f"Argument `order_parameters` must hold names among {', '.join(ENTRIES)}, "
            f"but is {quoted(order_parameters)}."
        )
    return tuple(names)


def gather(
    plan: Sequence[tuple[int, Any]], results: Sequence[Arrays], n_rules: int, n_points: int
) -> Arrays:
    """Arrays over all points, rule by rule, (n_rules * n_points, ...); NaN where a rule has none.

    ``plan`` has the index of the rule and the indices of the points of each result.
    """
    gathered: Arrays = {}
    for (index, chosen), arrays in zip(plan, results, strict=True):
        for name, array in arrays.items():
            if name not in gathered:
                fill = np.nan if array.dtype.kind == "f" else 0
                gathered[name] = np.full((n_rules * n_points, *array.shape[1:]), fill, array.dtype)
            gathered[name][index * n_points + np.array(chosen)] = array
    return gathered


def name_of_activation(activation: Any) -> str:
    """Its name, or that of the function or class that defines it."""
    if isinstance(activation, str):
        return activation
    g = getattr(activation, "g", activation)
    return getattr(g, "__name__", type(g).__name__)


def labelled(
    grid: Grid,
    rule: Any,
    names: list[str],
    activation: Any,
    times: np.ndarray,
    dimensions: dict[str, tuple[str, ...]],
    arrays: Arrays,
    attributes: dict[str, Any],
) -> Any:
    """An xarray.Dataset of arrays over all points, rule by rule.

    Args:
        grid: its axes make dimensions, and its fixed parameters and schedules attributes.
        rule, activation: as the caller gave them; a single rule is an attribute, and several make
            the first dimension.
        names: of the rules.
        times: the coordinate ``time``.
        dimensions: of each array, besides those of the grid.
        arrays: as :func:`gather` makes them, the status by its indices.
        attributes: further ones; what netCDF has no type for becomes JSON.
    """
    import xarray  # takes longer to import than everything else here

    single = is_single(rule)
    axes = grid.axes if single else {"rule": np.array(names), **grid.axes}
    attributes = {
        **({"rule": names[0]} if single else {}),
        "activation": name_of_activation(activation),
        **attributes,
    }
    shape = [len(values) for values in axes.values()]
    schedules = {name: repr(each.function) for name, each in grid.schedules.items()}
    arrays = arrays | {"status": np.array(STATUS)[arrays["status"]]}
    dimensions = with_group_axis(dimensions, arrays)

    def described(name: str) -> dict[str, str]:
        return {"long_name": LABELS.get(name, name), "units": "1"}

    return xarray.Dataset(
        {
            name: (
                (*axes, *dimensions[name]),
                array.reshape((*shape, *array.shape[1:])),
                described(name),
            )
            for name, array in arrays.items()
        },
        {
            **{name: (name, values, described(name)) for name, values in axes.items()},
            "time": ("time", times, described("time")),
        },
        {
            name: value if isinstance(value, (str, int, float)) else json.dumps(describe(value))
            for name, value in {**DEFAULTS, **grid.fixed, **schedules, **attributes}.items()
            if name not in axes
        },
    )
