"""The command line: what it writes, what it computes again, and how it fails."""

import json
import os

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray

import paper_figs
from figures import paper_style, plot_overlay
from figures.paper.curves import FAMILIES
from figures.paper.keeping import computing_code
from odes import RULES
from odes.common.store import atomic
from tests.conftest import quick_and_long

TINY = {"N": 200, "n_runs": 2}
SHORT = {
    "t_max": 2.0,
    "scales": (1.0, 0.5),
    "rates": (1.0, 2.0),
    "lr_times_t_max": 10.0,
    "n_paths": 3,
}
SWEPT = {  # as many points in both, so that what is compiled is shared
    "phase_diagram": {"n": 6, "n_spots": (2, 2)},
    "learning_rate_scan": {"n": 36, "n_spots": 2},
}
FEW = {
    "finite_size": {
        "rules": ("bp",), "N_max": 400, "n_sizes": 2, "n_runs": (2, 20), "steps": 1e4
    },
    "fluctuation_band": {"rules": ("bp",)},
    "rules_compared": {"rules": ("bp", "fa-mirror")},
    "plateau": {"rates": (0.5,), "n": 2, "span": 40.0, "spots": (0.03,)},
    "degeneracy_breaking": {"n_networks": 1},
    "optimal_schedule": {"t": 5.0, "n_pieces": 1},
    "input_spectra": {"exponents": (0.5,), "tails": (1.5,), "plateaus": (0.0,), "rules": ("bp",)},
    "natural_images": {"kinds": ("digits",), "rules": ("bp",), "groups": 3, "factors": 2},
    "continual_learning": {
        "rules": ("bp",), "similarities": (0.5,), "n_similarities": 2, "t_switch": 1.0
    },
    "merged_models": {"rules": ("bp",), "steps": 2, "steps_of_three": 1, "n_times": 2},
    "depth": {"depths": (2,), "rules": ("bp",), "width": 2, "points": 2**8},
    "layerwise_alignment": {"depth": 2, "rules": ("fa",), "width": 2, "points": 2**8},
    "deep_forward_forward": {
        "depths": (2,), "parts": ("trifecta",), "width": 3, "points": 2**8
    },
}  # fmt: skip


def small(name, parameters):
    """The parameters of a figure, but for a size that takes no time."""
    short = TINY | SHORT | SWEPT.get(name, {}) | FEW.get(name, {})
    return {**parameters, **{k: v for k, v in short.items() if k in parameters}}


@pytest.fixture
def tiny(monkeypatch):
    """All figures at a size that takes no time."""
    figures = {
        name: figure._replace(quick=small(name, figure.quick), full=small(name, figure.full))
        for name, figure in paper_figs.FIGURES.items()
    }
    monkeypatch.setattr(paper_figs, "FIGURES", figures)
    return figures


@pytest.mark.parametrize("name", paper_figs.FIGURES)
def test_the_sizes_here_stand_for_the_quick_and_the_full_form(name):
    figure = paper_figs.FIGURES[name]
    assert small(name, figure.quick) == small(name, figure.full)


def test_all_rules_are_compared():
    drawn = set().union(*FAMILIES.values())
    assert drawn == set(RULES) - {"dfa"}  # which is "fa"


def counting(figure):
    """The figure, drawn as an empty one, and a list that grows with each computation."""
    calls = []

    def compute(**parameters):
        calls.append(parameters)
        return figure.compute(**parameters)

    return figure._replace(compute=compute, draw=lambda curves: plt.figure()), calls


UNCOMPARED = ("degeneracy_breaking",)
"""Figures of which nothing has a standard error here, of one network."""


def assert_nothing_is_covered(figure):
    """No curve runs under a legend, nor under the letter of a panel, and nothing is cut off."""
    paper_figs.finish(figure)
    figure.canvas.draw()
    page = figure.bbox.padded(1.0)
    for ax in figure.axes:
        if not ax.axison:
            continue
        box = ax.get_tightbbox()
        assert page.contains(box.xmin, box.ymin)
        assert page.contains(box.xmax, box.ymax)
        legends = [each for each in (ax.get_legend(), *figure.legends) if each is not None]
        for covered in (
            *(each.get_window_extent() for each in legends),
            *(text.get_window_extent() for text in ax.texts),
        ):
            for line in ax.lines:
                points = line.get_transform().transform(line.get_xydata())
                points = points[np.isfinite(points).all(axis=1)]
                steps = np.linspace(0, 1, 9)[:, None, None]
                between = points[:-1] + steps * np.diff(points, axis=0)
                for x, y in np.concatenate([points[None], between], axis=None).reshape(-1, 2):
                    assert not (covered.contains(x, y) and ax.bbox.contains(x, y))
    plt.close(figure)


@pytest.mark.computes
@pytest.mark.parametrize("names", quick_and_long([("alignment",)], (tuple(paper_figs.FIGURES),)))
def test_every_figure_is_written_with_its_data_and_a_manifest(names, tiny, tmp_path):
    out = tmp_path / "new" / "folder"
    chosen = ["--only", *names] if len(names) < len(tiny) else []
    assert paper_figs.main(["--quick", "--seed", "3", "--out", str(out), *chosen]) == 0
    expected = {f"{name}.{kind}" for name in names for kind in ("pdf", "png", "npz")}
    assert set(os.listdir(out)) == expected | {"manifest.json", "captions.md"}
    manifest = json.loads((out / "manifest.json").read_text())
    page = (out / "captions.md").read_text()
    for name in names:
        figure = tiny[name]
        entry = manifest["figures"][name]
        assert entry["parameters"] == json.loads(json.dumps({**figure.quick, "seed": 3}))
        assert {"python", "numpy", "scipy", "jax", "diffrax"} <= set(entry["versions"])
        assert entry["commit"]
        assert entry["tolerances"] == {"rtol": 1e-8, "atol": 1e-10}
        assert entry["seconds"] >= 0
        assert f"## {name}\n\n{entry['caption']}\n" in page
        compared = "" if name in UNCOMPARED else "\n\nDeviation of"
        assert f"`seed` = 3.{compared}" in entry["caption"]
        with paper_style():
            assert_nothing_is_covered(figure.draw(paper_figs.load_data(out / f"{name}.npz")[0]))
    with np.load(out / "alignment.npz") as data:
        assert data["simulation/afa/B"].shape == (2, 17, 2, 1)
        assert data["theory/fa/generalization_error"].shape == (200,)


def test_figures_are_written_in_the_formats_asked_for_with_their_fonts(tiny, tmp_path):
    run = ["--only", "learning_curves", "--out", str(tmp_path), "--format"]
    assert paper_figs.main([*run, "svg, pdf,svg"]) == 0
    assert {name.partition(".")[2] for name in os.listdir(tmp_path)} == {
        "svg", "pdf", "npz", "json", "md"
    }  # fmt: skip
    pdf = (tmp_path / "learning_curves.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # whole outlines, where Type 3 has procedures
    assert b"/Type3" not in pdf
    svg = (tmp_path / "learning_curves.svg").read_bytes()
    assert b"<text" not in svg  # letters are outlines
    (tmp_path / "learning_curves.svg").unlink()
    assert paper_figs.main([*run, "svg"]) == 0
    assert (tmp_path / "learning_curves.svg").read_bytes() == svg


def test_images_of_ones_own_are_drawn_beside_the_others(tiny, tmp_path, capsys):
    """One panel more than none; and a file that has no images is named."""
    figure = tiny["natural_images"]
    tiny["natural_images"] = figure._replace(quick=figure.quick | {"kinds": ()})
    X = np.random.default_rng(0).integers(0, 256, size=(40, 4, 5), dtype="uint8")
    np.savez(tmp_path / "own.npz", x_train=X)
    run = ["--quick", "--only", "natural_images", "--out", str(tmp_path), "--data"]
    assert paper_figs.main([*run, str(tmp_path / "own.npz")]) == 0
    with np.load(tmp_path / "natural_images.npz") as data:
        kinds = {name.split("/")[1] for name in data.files if name.startswith("theory/")}
        assert kinds == {"own_file"}
    np.savez(tmp_path / "other.npz", images=X)
    assert paper_figs.main([*run, str(tmp_path / "other.npz")]) == 1
    assert "x_train" in capsys.readouterr().err


def test_datasets_survive_the_disk(tmp_path):
    swept = xarray.Dataset(
        {
            "status": (("rule", "lr"), np.array([["ok", "diverged"]]), {"units": "1"}),
            "generalization_error": (("rule", "lr", "time"), np.array([[[0.5], [np.nan]]])),
        },
        {"rule": ["afa"], "lr": ("lr", [0.1, 2.0], {"long_name": "rate"}), "time": [1.0]},
        {"noise": 0.5, "activation": "erf"},
    )
    paper_figs.save_data(tmp_path / "a.npz", {"theory": swept}, seconds=1.5)
    loaded, origin = paper_figs.load_data(tmp_path / "a.npz")
    assert origin == {"seconds": 1.5}
    assert loaded["theory"].identical(swept)


def test_fluctuations_survive_the_disk(tiny, tmp_path):
    figure = tiny["fluctuation_band"]
    data = figure.compute(**figure.quick, seed=0)
    paper_figs.save_data(tmp_path / "a.npz", data)
    loaded, _ = paper_figs.load_data(tmp_path / "a.npz")
    assert list(loaded) == list(data)
    before, after = data["theory/bp"].fluctuations, loaded["theory/bp"].fluctuations
    for name in ("covariance", "generalization_error", "bias"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    np.testing.assert_array_equal(after.order_parameters.R, before.order_parameters.R)
    assert loaded["simulation/bp"].fluctuations is None


def test_trajectories_survive_the_disk(tiny, tmp_path):
    figure = tiny["alignment"]
    curves = figure.compute(**figure.quick, seed=0)
    paper_figs.save_data(tmp_path / "a.npz", curves, fingerprint="f", seconds=1.5)
    loaded, origin = paper_figs.load_data(tmp_path / "a.npz")
    assert origin == {"fingerprint": "f", "seconds": 1.5}
    assert list(loaded) == list(curves)
    for name, trajectory in curves.items():
        for a, b in zip(trajectory.order_parameters, loaded[name].order_parameters, strict=True):
            np.testing.assert_array_equal(a, b) if a is not None else None
            assert (a is None) == (b is None)
        np.testing.assert_array_equal(trajectory.times, loaded[name].times)
        np.testing.assert_array_equal(
            trajectory.generalization_error, loaded[name].generalization_error
        )
        assert np.all(trajectory.status == loaded[name].status)
        assert trajectory.averages == loaded[name].averages
    assert loaded["theory/afa"].averages == "closed forms"
    assert loaded["simulation/afa"].averages == "2000 test inputs"


def test_unchanged_data_is_drawn_again_without_being_computed(tiny, tmp_path):
    tiny["alignment"], calls = counting(tiny["alignment"])
    run = ["--only", "alignment", "--out", str(tmp_path)]
    assert paper_figs.main(run) == 0
    (tmp_path / "alignment.png").unlink()
    assert paper_figs.main(run) == 0
    assert (tmp_path / "alignment.png").exists()
    assert len(calls) == 1
    assert paper_figs.main([*run, "--seed", "1"]) == 0
    assert len(calls) == 2
    assert paper_figs.main([*run, "--seed", "1", "--force"]) == 0
    assert len(calls) == 3
    (tmp_path / "alignment.npz").write_bytes(b"PK damaged")
    assert paper_figs.main([*run, "--seed", "1"]) == 0
    assert len(calls) == 4


def test_captions_of_figures_that_are_not_drawn_again_stay(tiny, tmp_path):
    run = ["--out", str(tmp_path), "--only"]
    assert paper_figs.main([*run, "alignment"]) == 0
    assert paper_figs.main([*run, "order_parameters", "--seed", "7"]) == 0
    page = (tmp_path / "captions.md").read_text()
    first, second = (page.index(f"## {name}\n") for name in ("order_parameters", "alignment"))
    assert first < page.index("`seed` = 7") < second < page.index("`seed` = 0")


def test_changed_code_is_computed_again(tiny, tmp_path, monkeypatch):
    tiny["alignment"], calls = counting(tiny["alignment"])
    run = ["--only", "alignment", "--out", str(tmp_path)]
    paper_figs.main(run)
    for package in ("odes/rules", "simulations/rules"):
        (tmp_path / "code" / package).mkdir(parents=True)
        (tmp_path / "code" / package / "new.py").write_text("x = 1")
    monkeypatch.setattr("figures.paper.keeping.ROOT", tmp_path / "code")
    paper_figs.main(run)
    assert len(calls) == 2
    (tmp_path / "code" / "odes" / "rules" / "new.py").write_text("x = 2")
    paper_figs.main(run)
    assert len(calls) == 3


def test_what_computing_code_calls_belongs_to_it_and_what_draws_does_not():
    def code(name):
        return "\n".join(computing_code(paper_figs.FIGURES[name].compute))

    assert "def plateaus_of" in code("input_spectra")  # in the same file
    assert "FEW_NODES = 2 ** 10" in code("layerwise_alignment")
    assert "def related_teachers" in code("merged_models")  # of a file beside it
    assert "def theory_and_simulation" in code("alignment")  # called by what is called
    for name in paper_figs.FIGURES:
        for word in ("plt.", "plot_overlay", "@paper_figure", "Generalisation error of BP"):
            assert word not in code(name)


def test_a_figure_that_fails_loses_neither_the_others_nor_its_old_self(tiny, tmp_path, capsys):
    names = ["learning_curves", "order_parameters", "alignment"]
    run = ["--out", str(tmp_path), "--only"]
    assert paper_figs.main([*run, names[0]]) == 0
    before = (tmp_path / f"{names[0]}.pdf").read_bytes()

    def fail(curves):
        plot_overlay(None)
        raise RuntimeError("no ink")

    tiny[names[0]] = tiny[names[0]]._replace(draw=fail)
    assert paper_figs.main([*run, *names]) == 1
    assert "no ink" in capsys.readouterr().err
    assert (tmp_path / f"{names[0]}.pdf").read_bytes() == before
    for name in names[1:]:
        assert (tmp_path / f"{name}.pdf").exists()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    target = tmp_path / "file.npz"
    target.write_text("old")

    def interrupted():
        with atomic(target) as beside:
            beside.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.npz"]


def test_list_names_every_figure(capsys):
    assert paper_figs.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(paper_figs.FIGURES)
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "nonesuch"], ("nonesuch", "learning_curves")),
        (["--seed", "-1"], ("--seed", ">= 0", "-1")),
        (["--jobs", "0"], ("--jobs", ">= 1", "0")),
        (["--format", "pdf,jpeg"], ("--format", "pdf, svg, png", "jpeg")),
        (["--format", ""], ("--format", "pdf, svg, png", "''")),
        (["--out", "/dev/null/folder"], ("--out", "folder")),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(
    arguments, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        paper_figs.main(arguments)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    for word in words:
        assert word in message
    assert os.listdir(tmp_path) == []


@pytest.mark.long
def test_several_processes_write_what_one_writes(tmp_path):
    tiny = {"seed": 3, **small("alignment", paper_figs.FIGURES["alignment"].quick)}
    tasks = [("alignment", tiny), ("phase_diagram", {"n": 0}), ("order_parameters", tiny)]
    found = {}
    for jobs in (1, 2):
        out = tmp_path / str(jobs)
        out.mkdir()
        found[jobs] = dict(paper_figs.attempts(tasks, jobs, out, False, ("pdf", "png")))
        assert "TypeError" in found[jobs].pop("phase_diagram")
        assert set(os.listdir(out)) == {
            f"{n}.{e}" for n in found[jobs] for e in ("pdf", "png", "npz")
        }
    for name in found[1]:
        assert found[1][name]["fingerprint"] == found[2][name]["fingerprint"]
        one, two = (paper_figs.load_data(tmp_path / jobs / f"{name}.npz")[0] for jobs in "12")
        for curve in one:
            np.testing.assert_array_equal(
                one[curve].generalization_error, two[curve].generalization_error
            )
