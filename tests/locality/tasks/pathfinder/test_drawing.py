"""Pathfinder drawn, stored and read: determinism, presets, files and errors."""

# Wrong types are the point of some rows here.
# pyright: reportArgumentType=false

import json
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from htfjax import locality
from htfjax.locality import paper_pathfinder
from tests.locality.tasks.pathfinder.drawn import KEY, LENGTHS, images

# Determinism.


def test_more_images_change_none() -> None:
    settings = paper_pathfinder(3)
    few = locality.draw_pathfinder(KEY, settings, 5)
    many = locality.draw_pathfinder(KEY, settings, 200)
    for name in ("pixels", "labels", "marks", "margins", "distractors"):
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:5])
    assert (many.pixels[128:] != many.pixels[:72]).any()
    other = locality.draw_pathfinder(jax.random.key(6), settings, 5)
    assert (other.pixels != few.pixels).any()


@pytest.mark.slow
def test_processes_change_nothing() -> None:
    settings = paper_pathfinder(3)
    alone = locality.draw_pathfinder(KEY, settings, 260)
    shared = locality.draw_pathfinder(KEY, settings, 260, processes=2)
    for one, two in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one, two)


# Presets.


@pytest.mark.parametrize("size", [32, pytest.param(64, marks=pytest.mark.slow), 128, 256])
def test_lra_presets_can_be_drawn(size: int) -> None:
    found = locality.draw_pathfinder(KEY, locality.lra_pathfinder(size), 128)
    assert found.pixels.shape == (128, size, size)
    assert set(found.margins) == set(found.settings.margins)
    assert (found.marks >= 0).all()
    assert (found.marks < size).all()
    assert found.distractors.mean() > 0.7 * found.settings.num_distractors
    assert 0.003 < found.pixels.mean() / 255 < 0.2


def test_paper_settings() -> None:
    found = [paper_pathfinder(length) for length in LENGTHS]
    assert [s.distractor_length for s in found] == [1, 1, 2, 3]
    assert [s.num_distractors for s in found] == [30, 18, 13, 10]


# Examples and files.


@pytest.mark.slow
def test_examples_are_normalized_by_the_training_set() -> None:
    found = images(3)
    train = locality.pathfinder_examples(found, slice(0, 400))
    test = locality.pathfinder_examples(found, slice(400, 512), like=train)
    rows = jnp.array([7, 0])
    x, y = jax.jit(type(test).batch)(test, rows)
    assert (x.dtype, y.dtype, test.count) == (jnp.float32, jnp.float32, 112)
    pixels = found.pixels[:400] / 255
    expected = (found.pixels[[407, 400]] / 255 - pixels.mean()) / pixels.std()
    np.testing.assert_allclose(x[..., 0], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(y, found.labels[[407, 400]])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(train))


def test_files_bring_back_what_was_drawn(tmp_path) -> None:
    found = images(3)
    locality.save_pathfinder(tmp_path / "a.npz", found)
    again = locality.load_pathfinder(tmp_path / "a.npz")
    for one, two in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert os.listdir(tmp_path) == ["a.npz"]


def test_images_are_drawn_once(tmp_path, monkeypatch) -> None:
    settings = paper_pathfinder(3)
    first = locality.stored_pathfinder(tmp_path / "new", settings, 4, key=KEY)
    (path,) = (tmp_path / "new").iterdir()
    assert path.name.startswith("pathfinder_150_3_")
    locality.stored_pathfinder(tmp_path / "new", settings, 3, key=KEY)
    assert len(list((tmp_path / "new").iterdir())) == 2

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(
        "htfjax.locality.tasks.pathfinder.examples.draw_pathfinder", forbidden
    )
    again = locality.stored_pathfinder(tmp_path / "new", settings, 4, key=KEY)
    np.testing.assert_array_equal(first.pixels, again.pixels)


@pytest.mark.parametrize("damage", ["half", "empty", "text", "other", "cut"])
def test_a_damaged_file_is_named(tmp_path, damage: str) -> None:
    path = tmp_path / "hurt.npz"
    found = locality.draw_pathfinder(KEY, paper_pathfinder(3), 4)
    locality.save_pathfinder(path, found)
    if damage == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("not an archive")
    elif damage == "other":
        np.savez(path, a=np.zeros(3))
    else:
        locality.save_pathfinder(path, found._replace(labels=found.labels[:2]))
    with pytest.raises(ValueError, match=r"hurt.npz` is damaged.*draw them again"):
        locality.load_pathfinder(path)


def test_a_newer_file_is_refused(tmp_path) -> None:
    np.savez(tmp_path / "new.npz", header=np.array(json.dumps({"format": 99})))
    with pytest.raises(ValueError, match=r"format 99.*upgrade"):
        locality.load_pathfinder(tmp_path / "new.npz")


# Wrong input.

BAD_SETTINGS = [
    ({"contour_length": 1}, ValueError, "`contour_length=1` must be at least 2"),
    ({"contour_length": 9.0}, TypeError, "`contour_length` must be an integer"),
    ({"output_size": 140}, ValueError, "`output_size=140` must divide `size=300`"),
    ({"padding": 150}, ValueError, "`padding=150` leaves nothing"),
    ({"padding": 0}, ValueError, "`padding=0`"),
    ({"thickness": 1.7}, ValueError, "multiple of 1 / antialias = 0.5"),
    ({"thickness": 0}, ValueError, "`thickness=0`"),
    ({"continuity": 0.5}, ValueError, "`continuity=0.5` must be at least 1"),
    ({"margins": ()}, ValueError, "`margins` is empty"),
    ({"margins": (0,)}, ValueError, "`margins=0`"),
    ({"marker_radius": -1.0}, ValueError, "`marker_radius=-1.0`"),
    ({"max_attempts": 0}, ValueError, "`max_attempts=0`"),
]


@pytest.mark.parametrize(("changes", "kind", "message"), BAD_SETTINGS)
def test_settings_that_cannot_be(changes: dict, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        locality.PathfinderSettings(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed_distance": 80}, r"no place for a first dash: `seed_distance=80`"),
        ({"contour_length": 60, "continuity": 4.0}, "no pixel free .*`padding=22`.*=4.0"),
        ({"contour_length": 60}, "dash 3 .*crosses another in all 3 tries, with `margins"),
        ({"contour_length": 2, "seed_distance": 60, "match_distance": True},
         "too few have a partner"),
    ],
)  # fmt: skip
def test_settings_that_are_never_drawn(changes: dict, message: str) -> None:
    settings = locality.PathfinderSettings(**changes, max_attempts=40)
    with pytest.raises(ValueError, match=message):
        locality.draw_pathfinder(KEY, settings, 1)


CALLS = [
    (
        lambda: locality.draw_pathfinder(KEY, paper_pathfinder(3), 0),
        ValueError,
        "`count=0`",
    ),
    (
        lambda: locality.draw_pathfinder(KEY, paper_pathfinder(3), 1, processes=0),
        ValueError,
        "`processes=0`",
    ),
    (lambda: locality.draw_pathfinder(0, paper_pathfinder(3), 1), TypeError, "`key`"),
    (lambda: locality.draw_pathfinder(KEY, 9, 1), TypeError, "`settings`"),
    (lambda: locality.lra_pathfinder(100), ValueError, "`size=100` is none of"),
    (lambda: locality.marker_distances(3), TypeError, "`images`"),
    (lambda: locality.pathfinder_examples(3), TypeError, "`images`"),
    (
        lambda: locality.pathfinder_examples(images(3), slice(900, 910)),
        ValueError,
        "holds none of the 512 images",
    ),
    (lambda: locality.save_pathfinder("x.npz", 3), TypeError, "`images`"),
    (lambda: locality.load_pathfinder("none.npz"), FileNotFoundError, "none.npz"),
    (
        lambda: locality.marker_distance_baseline([1.0, 2.0], [0, 1, 1]),
        ValueError,
        "`distances` and `labels`",
    ),
    (
        lambda: locality.marker_distance_baseline(np.ones(30), np.ones(30)),
        ValueError,
        "both 0 and 1",
    ),
    (
        lambda: locality.marker_distance_baseline(np.ones(9), np.ones(9)),
        ValueError,
        "at least 20",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), CALLS)
def test_wrong_input_is_answered(call, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
