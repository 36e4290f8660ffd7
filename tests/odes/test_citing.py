"""What to cite: the entries of references, and which of them a rule or a result asks for."""

import configparser
import re
from pathlib import Path

import numpy as np
import pytest

from odes import (
    RULES,
    ForwardForward,
    Mirrored,
    Rule,
    Spectrum,
    SymBa,
    Task,
    Trajectory,
    cite,
    load,
    solve,
    spread,
)
from odes.rules import AFA
from odes.rules.citing import EQUATIONS
from simulations import RULES as ALGORITHMS
from simulations import sample_network, simulate
from tests.conftest import random_problem

ROOT = Path(__file__).parents[2]
STATE, TEACHER = random_problem(2, 2, 2)
TRAINING = {"lr": 0.1, "times": [0.0, 0.1]}
ENTRY = re.compile(r"^@(\w+)\{(\w+),\n((?:  \w+ = \{.*\},\n)*  \w+ = \{.*\}\n)\}", re.MULTILINE)


def cited(*what):
    """The keys of the entries, but that of the software, which is the last."""
    *keys, last = [key for _, key, _ in ENTRY.findall(cite(*what))]
    assert last == "topdown_odes"
    return keys


class Mine(Rule):
    """A rule of a user's own."""


class Adapted(AFA):
    """One that is made of another."""


def test_entries_are_whole_and_there_is_one_for_each_reference_of_the_citation_file():
    text = (ROOT / "odes" / "references.bib").read_text()
    entries = ENTRY.findall(text)
    assert len(entries) == text.count("@") == len({key for _, key, _ in entries})
    for kind, key, fields in entries:
        assert fields.count("{") == fields.count("}")
        names = re.findall(r"^  (\w+) =", fields, re.MULTILINE)
        home = {"article": "journal", "inproceedings": "booktitle"}[kind]
        assert {"title", "author", "year", home} <= set(names), key
        surname = re.search(r"author = \{(.*?),", fields)[1]
        year = re.search(r"year = \{(\d+)\}", fields)[1]
        assert key.startswith(surname[0].lower())
        assert year in key
    plain = re.sub(r"[{}]", "", text).lower()
    references = (ROOT / "CITATION.cff").read_text().partition("references:")[2]
    titles = re.findall(r'^    title: "?(.*?)"?$', references, re.MULTILINE)
    assert len(titles) > 10
    for title in titles:
        if "Globally optimal" not in title:  # of schedules, which no Trajectory has
            assert title.lower() in plain, title
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert "references.bib" in config["options.package_data"]["odes"]


def test_every_rule_names_what_it_is_from():
    known = {key for _, key, _ in ENTRY.findall((ROOT / "odes/references.bib").read_text())}
    for name, rule in RULES.items():
        found = cited(name)
        assert found == cited(rule)
        assert set(found) <= known
        assert set(EQUATIONS) <= set(found)
        assert (set(found) == set(EQUATIONS)) == (name == "bp")
        assert "%" not in cite(name)


@pytest.mark.parametrize(("rule", "keys"), [
    ("fa", {"lillicrap2016random", "refinetti2021align"}),
    ("dfa", {"nokland2016direct", "refinetti2021align"}),
    ("sign-random", {"liao2016how"}),
    ("kolen-pollack", {"kolen1994backpropagation"}),
    ("dtp", {"lee2015difference", "bengio2020deriving"}),
    ("afa", {"srinivasan2024forward"}),
    ("pepita-tl", {"dellaferrera2022error", "srinivasan2024forward"}),
    (Mirrored("fa"), {"akrout2019deep", "lillicrap2016random", "refinetti2021align"}),
    ("afa-mirror", {"akrout2019deep", "srinivasan2024forward"}),
    ("ff", {"hinton2022forward"}),
    (ForwardForward(SymBa(2.0)), {"hinton2022forward", "dooms2023trifecta"}),
    (ForwardForward(overlapping=True), {"hinton2022forward", "dooms2023trifecta"}),
    (Adapted(), {"srinivasan2024forward"}),
])  # fmt: skip
def test_the_papers_of_a_rule(rule, keys):
    assert set(cited(rule)) - set(EQUATIONS) == keys


def test_a_rule_of_ones_own_is_named_and_the_rest_is_cited(tmp_path):
    text = cite(Mine(), "fa", ALGORITHMS["fa"])
    first, second, *_ = text.splitlines()[::2]
    assert first == f"% {__name__}.Mine names no references"
    assert second.startswith("% Rule(")
    assert "@article{lillicrap2016random," in text
    made = solve(STATE, TEACHER, rule=Mine(), **TRAINING)
    made.save(tmp_path / "kept.nc")
    assert cite(load(tmp_path / "kept.nc")) == cite(made)
    assert f"% {__name__}.Mine names no references" in cite(made)


def test_a_result_asks_for_what_its_call_used():
    plain = solve(STATE, TEACHER, rule="fa", **TRAINING)
    assert cited(plain) == cited("fa")
    assert f"version {plain.call.versions['topdown-odes']}}}" in cite(plain)
    tasks = solve(STATE, TEACHER, rule="fa", **TRAINING, tasks=[Task([0]), Task([1])])
    assert set(cited(tasks)) - set(cited(plain)) == {"lee2021continual"}
    covariance = {"yoshida2019data", "goldt2020modeling"}
    for inputs, keys in (
        (Spectrum([2.0, 0.5], [0.25, 0.75]), covariance),
        (Spectrum.student_t(5.0, factors=3), covariance | {"wainwright2000scale"}),
    ):
        structured = solve(*spread(STATE, TEACHER, inputs), rule="fa", **TRAINING)
        assert set(cited(structured)) - set(cited(plain)) == keys
    assert set(cited(tasks, structured)) == set(cited(tasks)) | set(cited(structured))
    scattered = plain._replace(
        call=type(plain.call)("odes.solve", plain.call.arguments | {"fluctuations": True})
    )
    assert set(cited(scattered)) - set(cited(plain)) == {"barber1996finite"}
    network = sample_network(N=20, K=1, M=1, inputs=Spectrum([2.0, 0.5], [0.25, 0.75]))
    runs = simulate(network, rule="bp", **TRAINING, n_test=2)
    assert set(cited(runs)) == covariance
    assert set(cited(runs, "dfa")) == covariance | {"nokland2016direct", "refinetti2021align"}


def test_what_is_no_rule_is_refused():
    with pytest.raises(ValueError, match=r"`what` must be rules, .* bp, .* but is 'much'"):
        cite("fa", "much")
    with pytest.raises(ValueError, match="`what` must be Trajectories that have the call"):
        cite(Trajectory(np.ones(1), None, np.ones(1), "ok"))
