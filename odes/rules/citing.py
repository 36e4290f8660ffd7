"""What to cite: the papers that rules and equations are from, and this software."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from odes.common.calls import Call, Own, label_of
from odes.common.checks import quoted
from odes.common.trajectory import Trajectory
from odes.rules.registry import is_own
from odes.rules.rule import RULES, Rule

EQUATIONS = ("saad1995exact", "saad1995soft", "biehl1995learning", "goldt2019dynamics")
FLUCTUATIONS = ("barber1996finite",)
COVARIANCE = ("yoshida2019data", "goldt2020modeling")
FACTORS = ("wainwright2000scale",)
TASKS = ("lee2021continual",)
"""Keys of what a call may use besides its rule."""

NAME = "topdown-odes"

SOFTWARE = """@misc{{topdown_odes,
  title = {{topdown-odes}},
  author = {{{{The topdown-odes authors}}}},
  note = {{Software, version {version}}}
}}"""


def cite(*what: Any) -> str:
    """BibTeX entries of the papers behind rules and results, and of this software.

    For example, ``odes.cite("pepita", Mirrored("fa"))``, or ``odes.cite(trajectory)``.

    Args:
        *what: rules, by their names or as objects, and Trajectories, which stand for their rule and
            for what else their call used: the equations, if it was of the theory, inputs with a
            covariance, tasks and fluctuations.  Without a Trajectory, the equations are among the
            entries.

    Returns:
        The entries of ``odes/references.bib``, in its order.  A rule of your own that has no
        ``references`` is named before them in a line that begins with %, which BibTeX ignores.

    Raises:
        ValueError: for what is none of these.
    """
    from odes.common.store import versions  # imports more than a short script needs

    keys: list[str] = []
    notes: list[str] = []
    calls = [_call_of(each) for each in what if isinstance(each, Trajectory)]
    rules = [_rule_of(each) for each in what if not isinstance(each, Trajectory)]
    for rule in (*rules, *(_rule_of(call.arguments["rule"]) for call in calls)):
        found = _references(rule)
        if not found and not is_own(rule):
            notes.append(f"{label_of(rule)} names no references")
        keys += found
    for call in calls:
        keys += _used(call)
    if not calls:
        keys += EQUATIONS
    known = _entries()
    notes += [f"{key} is not in odes/references.bib" for key in keys if key not in known]
    current = [call.versions["topdown-odes"] for call in calls] or [versions(NAME)[NAME]]
    return (
        "\n\n".join(
            [
                *(f"% {note}" for note in dict.fromkeys(notes)),
                *(entry for key, entry in known.items() if key in keys),
                *(SOFTWARE.format(version=version) for version in dict.fromkeys(current)),
            ]
        )
        + "\n"
    )


def _call_of(trajectory: Trajectory) -> Call:
    """The call that made a Trajectory; ValueError if it has none."""
    if trajectory.call is None:
        raise ValueError(
            "Argument `what` must be Trajectories that have the call that made them, but one has "
            f"none: {quoted(trajectory)}."
        )
    return trajectory.call


def _rule_of(each: Any) -> Any:
    """A rule, from its name or as it is; ValueError for what is none."""
    if isinstance(each, str) and each in RULES:
        return RULES[each]
    if isinstance(each, (Rule, Own)) or (
        hasattr(each, "update") and hasattr(each, "feedback") and not isinstance(each, type)
    ):
        return each
    raise ValueError(
        "Argument `what` must be rules, as objects or by names among "
        f"{', '.join(RULES)}, or Trajectories, but is {quoted(each)}."
    )


def _references(rule: Any) -> list[str]:
    """The keys of a rule and of what it is made of, such as the rule within mirrors."""
    parts = getattr(rule, "__dict__", {}).values()
    own = getattr(rule, "references", ())
    return [*own, *(key for part in parts for key in _references(part))]


def _used(call: Call) -> list[str]:
    """The keys of what a call used besides its rule."""
    given = call.arguments
    keys = [*EQUATIONS] if call.function.startswith("odes.") else []
    trained = given.get("network")
    holder = getattr(trained, "network", trained) or given.get("teacher")
    inputs = getattr(holder, "inputs", None)
    if inputs is not None:
        keys += COVARIANCE
        keys += FACTORS if inputs.factors is not None else ()
    if given.get("tasks") is not None:
        keys += TASKS
    return keys + ([*FLUCTUATIONS] if given.get("fluctuations") else [])


def _entries() -> dict[str, str]:
    """The entries of the file of references, by their keys."""
    text = (files("odes") / "references.bib").read_text(encoding="utf-8")
    entries = text.strip().split("\n\n")
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}
