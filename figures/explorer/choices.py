"""What can be chosen, and how a link holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from odes import ACTIVATIONS, RULES
from odes.common.checks import check_count, check_number, check_seed, lookup

VIEWS = ("generalisation error", "order parameters", "alignment", "phase plane")

MAX_UNITS = 9
"""Units are numbered by one digit."""


class Choices(NamedTuple):
    """Rules, a network and how it is trained."""

    rules: tuple[str, ...] = ("bp", "fa", "afa")
    K: int = 2
    M: int = 2
    lr: float = 0.5
    lr_v: float = 0.5
    feedback_scale: float = 1.0
    noise: float = 0.0
    activation: str = "erf"
    t_max: float = 100.0
    N: int = 1000
    n_runs: int = 6
    seed: int = 0


class View(NamedTuple):
    """What of the curves is drawn."""

    view: str = VIEWS[0]
    parameter: str = "R"  # of order parameters
    x: str = "R_11"  # of the phase plane
    y: str = "Q_11"


NUMBERS = {"lr": False, "lr_v": False, "feedback_scale": False, "noise": False, "t_max": True}
"""Whether they must be positive."""

COUNTS = {"K": MAX_UNITS + 1, "M": MAX_UNITS + 1, "N": 10**6, "n_runs": 10**4}
"""What they must be below."""


def quantities(K: int, M: int) -> list[str]:
    """What can be drawn against what, by name."""
    students, teachers = range(1, K + 1), range(1, M + 1)
    return [
        "error",
        *(f"Q_{k}{l}" for k in students for l in students if k <= l),
        *(f"R_{k}{m}" for k in students for m in teachers),
        *(f"{name}_{k}" for name in "vB" for k in students),
    ]


def checked(choices: Choices, view: View) -> tuple[Choices, View]:
    """What was chosen, as plain numbers; ValueError for what cannot be drawn.

    What only the rules or the network can refuse is left to them.
    """
    given = choices._asdict()
    for name, positive in NUMBERS.items():
        given[name] = check_number(name, given[name], positive=positive)
    for name, below in COUNTS.items():
        given[name] = check_count(name, given[name], below=below)
    given["seed"] = check_seed(given["seed"])
    if not given["rules"]:
        raise ValueError("Argument `rules` must have one rule at least, but is empty.")
    for rule in given["rules"]:
        lookup("rules", RULES, rule)
    given["rules"] = tuple(dict.fromkeys(given["rules"]))
    lookup("activation", ACTIVATIONS, given["activation"])
    lookup("view", dict.fromkeys(VIEWS), view.view)
    lookup("parameter", dict.fromkeys("QRvB"), view.parameter)
    known = dict.fromkeys(quantities(given["K"], given["M"]))
    for axis in ("x", "y"):
        lookup(axis, known, getattr(view, axis))
    return Choices(**given), view


def from_link(query: Mapping[str, Any]) -> tuple[Choices, View]:
    """The choices in a link, and the usual ones where it has none; ValueError if it has others.

    Args:
        query: texts by name, or lists of texts, the last of which counts; what has another name
            than a choice is not looked at.
    """
    read = {}
    for name, usual in (Choices()._asdict() | View()._asdict()).items():
        texts = query.get(name)
        if texts:
            read[name] = _read(name, texts if isinstance(texts, str) else texts[-1], type(usual))
    choices = Choices(**{name: read[name] for name in Choices._fields if name in read})
    return checked(choices, View(**{name: read[name] for name in View._fields if name in read}))


def _read(name: str, text: str, kind: type) -> Any:
    """A text of a link as a value of this type."""
    if kind is tuple:
        return tuple(each for each in text.split(",") if each)
    try:
        return kind(text)
    except ValueError:
        what = "an integer" if kind is int else "a number"
        raise ValueError(f"Argument `{name}` must be {what}, but is {text!r}.") from None


def to_link(choices: Choices, view: View) -> str:
    """The part of an address from which :func:`from_link` reads the same choices."""
    given = choices._asdict() | view._asdict() | {"rules": ",".join(choices.rules)}
    return "?" + urlencode(given, safe=",")
