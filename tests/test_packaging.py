"""What is built from the tree, installed elsewhere; and how the software is cited."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

import odes
import paper_figs

ROOT = Path(__file__).parent.parent
NOT_KEPT = shutil.ignore_patterns(
    ".*", "*.egg-info", "__pycache__", "_build", "api", "build", "gallery", "out", "shared"
)
PACKAGES = ("odes", "simulations", "figures")
TESTS = ("__init__.py", "conftest.py", "odes/__init__.py", "odes/test_known_answers.py")


def run(*command, cwd):
    """What a program prints, if it succeeds."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.mark.long
def test_what_is_built_from_a_tag_passes_tests_where_there_is_no_checkout(tmp_path):
    """Installed beside the packages that the others need, from a wheel made of the sdist."""
    checkout, built, away = (tmp_path / name for name in ("checkout", "built", "away"))
    shutil.copytree(ROOT, checkout, ignore=NOT_KEPT)
    version = (sys.executable, "-m", "setuptools_scm")
    git = ("git", "-c", "user.name=A", "-c", "user.email=a@localhost")
    fallback = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools_scm"]
    released = fallback["fallback_version"].removesuffix(".dev0")
    assert run(*version, cwd=checkout) == f"{released}.dev0"
    run(*git, "init", cwd=checkout)
    run(*git, "add", ".", cwd=checkout)
    run(*git, "commit", "--message", "All", cwd=checkout)
    assert run(*version, cwd=checkout).startswith(f"{released}.dev1+g")
    run(*git, "tag", "v7.8.9", cwd=checkout)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", built, cwd=checkout)
    sdist, wheel = built / "topdown_odes-7.8.9.tar.gz", *built.glob("*.whl")
    assert wheel.name == "topdown_odes-7.8.9-py3-none-any.whl"
    kept = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as file:
        packed = {name for name in file.namelist() if ".dist-info/" not in name}
    assert packed == kept | {"paper_figs.py"}

    away.mkdir()
    with tarfile.open(sdist) as file:
        for name in ("setup.cfg", *(f"tests/{each}" for each in TESTS)):
            file.extract(f"topdown_odes-7.8.9/{name}", away, filter="data")
    away /= "topdown_odes-7.8.9"
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps")
    run(*pip, wheel, cwd=tmp_path)
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    installed = Path(run(python, "-c", purelib, cwd=away))
    (installed / "others.pth").write_text(sysconfig.get_path("purelib"))
    found = run(python, "-c", "import odes; print(odes.__version__, odes.__file__)", cwd=away)
    assert found == f"7.8.9 {installed / 'odes' / '__init__.py'}"
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=away)
    listed = run(tmp_path / "venv" / "bin" / "topdown-figures", "--list", cwd=away)
    assert len(listed.splitlines()) == len(paper_figs.FIGURES)


def test_the_console_script_is_the_command_line():
    (script,) = entry_points(group="console_scripts", name="topdown-figures")
    assert script.load() is paper_figs.main


def test_the_version_is_one():
    """As the packaging guide writes them, with more digits behind a release on the way."""
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?(\+[\w.]+)?", odes.__version__)


def test_the_citation_has_what_its_format_requires():
    """Of version 1.2.0 of the Citation File Format, which has no keys but these for references."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license"} <= set(citation)
    assert citation["type"] == "software"
    for each in (citation, *citation["references"]):
        assert each["title"]
        assert each["authors"]
        for author in each["authors"]:
            assert set(author) in ({"name"}, {"family-names", "given-names"}), each["title"]
    for each in citation["references"]:
        assert each["type"] in ("article", "conference-paper", "book"), each["title"]
        assert isinstance(each["year"], int), each["title"]
        assert str(each.get("url", "https://")).startswith("https://"), each["title"]
