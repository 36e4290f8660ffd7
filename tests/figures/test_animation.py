"""Films: as many pictures as asked for, of which each shows more, and none is left half-written."""

import os

import numpy as np
import pytest
from PIL import Image

from figures import animate, animation
from tests.figures.test_overlay import trajectory

SMALL = {"dpi": 30, "fps": 5, "rule": "afa"}


def inks(path):
    """How many pixels of each picture are coloured, as curves are, and not grey, as axes are."""
    with Image.open(path) as film:
        for index in range(film.n_frames):
            film.seek(index)
            pixels = np.asarray(film.convert("RGB"), int)
            yield np.sum(np.ptp(pixels, axis=-1) > 30)


def test_a_film_shows_ever_more_of_the_curves(tmp_path):
    path = animate(trajectory(), trajectory(3), path=tmp_path / "film.gif", frames=3, **SMALL)
    with Image.open(path) as film:
        assert film.size == (210, 120)
        assert film.info["duration"] == 200
    first, middle, last = inks(path)
    assert first < 0.8 * middle < 0.64 * last
    assert os.listdir(tmp_path) == ["film.gif"]


def test_an_interrupted_film_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def interrupted(*_):
        calls.append(len(os.listdir(tmp_path)))
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(animation, "_show_until", interrupted)
    with pytest.raises(KeyboardInterrupt):
        animate(trajectory(), path=tmp_path / "film.gif", **SMALL)
    assert len(calls) == 2
    assert os.listdir(tmp_path) == []


def test_films_that_cannot_be_written_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(animation.FFMpegWriter, "isAvailable", lambda: False)
    whole = trajectory()
    unmoved = whole._replace(
        times=np.zeros(1), generalization_error=np.ones(1),
        order_parameters=type(whole.order_parameters)(*(p[:1] for p in whole.order_parameters[:4])),
    )  # fmt: skip
    for theory, name, words in (
        (trajectory(), "film.mp4", "`path` must end in .gif where ffmpeg is not installed"),
        (trajectory(), "film.avi", "`path` must end in .gif or .mp4, but is"),
        (trajectory(), "nowhere/film.gif", "`path` must be in a folder that is there"),
        (unmoved, "film.gif", "`trajectory` must have a time > 0"),
    ):
        with pytest.raises(ValueError, match=words):
            animate(theory, path=tmp_path / name)
    assert os.listdir(tmp_path) == []
