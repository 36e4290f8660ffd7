"""Every figure of the paper, theory and simulation computed afresh and drawn over each other.

    python paper_figs.py                    all figures, as published
    python paper_figs.py --quick            all figures, on small networks
    python paper_figs.py --list             their names
    python paper_figs.py --only alignment   one of them
    python paper_figs.py --jobs 2           in two processes
    python paper_figs.py --format svg,pdf   in other formats
    python paper_figs.py --only natural_images --data mnist.npz     with images of one's own

Each figure is written as PDF and PNG with its data beside it (.npz), and ``manifest.json`` says
what made the data: parameters, seed, tolerances, versions, commit, and the seconds that it took
(figures that share curves share their time: the first one has it).  ``captions.md`` has a caption
of each, with its parameters and by how many standard errors simulation is off theory.  Data whose
parameters and code are unchanged is drawn again, not computed again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from tqdm import tqdm

from figures import paper_style
from figures.finishing import finish
from figures.paper import FIGURES
from figures.paper.captions import caption, captions_page
from figures.paper.keeping import commit, fingerprint, load_data, save_data
from figures.paper.registry import TOLERANCES
from odes.common.store import atomic, versions

Task = tuple[str, dict[str, Any]]  # the name of a figure, and its parameters

FORMATS: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}
}  # fmt: skip
"""What a figure can be written as, and what has to be left out for equal figures to be equal
files."""


def make(
    name: str, parameters: dict[str, Any], out: Path, force: bool, formats: tuple[str, ...]
) -> dict[str, Any]:
    """Compute or reload, draw and write one figure; returns its entry in the manifest."""
    figure = FIGURES[name]
    wanted = fingerprint(figure, parameters)
    data = out / f"{name}.npz"
    stored = None if force else load_data(data)
    if stored is None or stored[1].get("fingerprint") != wanted:
        start = time.perf_counter()
        curves = figure.compute(**parameters)
        origin = {
            "fingerprint": wanted,
            "seconds": round(time.perf_counter() - start, 2),
            "commit": str(commit()),
            "versions": json.dumps(versions("matplotlib", "xarray")),
        }
        save_data(data, curves, **origin)
    else:
        curves, origin = stored
    with paper_style():
        drawn = finish(figure.draw(curves))
        for each in formats:
            with atomic(out / f"{name}.{each}") as beside:
                drawn.savefig(beside, metadata=FORMATS[each])
        plt.close(drawn)
    return {
        "caption": caption(figure, parameters, curves),
        "parameters": parameters,
        "tolerances": TOLERANCES,
        **origin,
        "versions": json.loads(str(origin["versions"])),
    }


def attempt(tasks: list[Task], *how: Any) -> dict[str, Any]:
    """The entries of figures in the manifest; for one that fails, the words of its failure.

    ``how`` is what :func:`make` takes besides.
    """
    entries: dict[str, Any] = {}
    for name, parameters in tasks:
        try:
            entries[name] = make(name, parameters, *how)
        except Exception:  # one figure's failure, whatever it is, must not lose the others
            entries[name] = traceback.format_exc()
    return entries


def attempts(tasks: list[Task], jobs: int, *how: Any) -> Iterator[tuple[str, Any]]:
    """(name, entry or words of failure) of each figure as it ends, in one process or several.

    Figures of the same parameters, which share curves, are left to one process.
    """
    if jobs == 1:
        for task in tasks:
            yield from attempt([task], *how).items()
        return
    alike: dict[str, list[Task]] = {}
    for task in tasks:
        alike.setdefault(json.dumps(task[1]), []).append(task)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(attempt, each, *how): each for each in alike.values()}
        for done in as_completed(futures):
            if (lost := done.exception()) is not None:  # a process that died
                yield from ((name, f"{lost!r}\n") for name, _ in futures[done])
            else:
                yield from done.result().items()


def formats_in(text: str) -> tuple[str, ...]:
    """The formats of a list with commas, each once."""
    formats = tuple(dict.fromkeys(each.strip() for each in text.split(",")))
    for each in formats:
        if each not in FORMATS:
            raise argparse.ArgumentTypeError(
                f"must be one or several of {', '.join(FORMATS)}, with commas, but is {text!r}"
            )
    return formats


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns 0, or 1 if a figure failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="list the figures and stop")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="draw these figures alone")
    parser.add_argument("--quick", action="store_true", help="small networks, for a first look")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="default: out")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of networks and data")
    parser.add_argument(
        "--data", metavar="FILE", help="an .npz with x_train, for natural_images besides its own"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes; default: 1")
    parser.add_argument(
        "--format", type=formats_in, default="pdf,png", metavar="F,...",
        help=f"one or several of {', '.join(FORMATS)}, with commas; default: pdf,png",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="compute even what is unchanged")
    options = parser.parse_args(arguments)
    if options.list:
        for name, figure in FIGURES.items():
            print(f"{name:20s} {(figure.compute.__doc__ or '').splitlines()[0]}")
        return 0
    names = options.only or list(FIGURES)
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        parser.error(f"unknown figure {', '.join(unknown)}; known are {', '.join(FIGURES)}")
    if options.seed < 0:
        parser.error(f"argument --seed must be >= 0, but is {options.seed}")
    if options.jobs < 1:
        parser.error(f"argument --jobs must be >= 1, but is {options.jobs}")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out must be a folder that can be written: {error}")

    manifest_path = options.out / "manifest.json"
    try:
        entries = dict(json.loads(manifest_path.read_text())["figures"])
    except (OSError, ValueError, KeyError, TypeError):
        entries = {}
    failed = 0
    chosen = {"seed": options.seed} | ({"data": options.data} if options.data else {})
    tasks = []
    for name, each in FIGURES.items():
        own = each.quick if options.quick else each.full
        if name in names:
            tasks.append((name, own | {k: v for k, v in chosen.items() if k == "seed" or k in own}))
    done = attempts(tasks, options.jobs, options.out, options.force, options.format)
    written = ", ".join(f".{each}" for each in (*options.format, "npz"))
    for name, entry in tqdm(done, total=len(tasks), unit="figure", disable=None):
        if isinstance(entry, str):
            failed += 1
            print(f"{name} failed:\n{entry}", file=sys.stderr)
            continue
        entries[name] = entry
        print(f"{options.out / name}{written}")
        with atomic(manifest_path) as beside:
            beside.write_text(json.dumps({"figures": entries}, indent=2) + "\n")
        captions = {each: entries[each].get("caption") for each in entries}
        with atomic(options.out / "captions.md") as beside:
            beside.write_text(captions_page({n: each for n, each in captions.items() if each}))
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
