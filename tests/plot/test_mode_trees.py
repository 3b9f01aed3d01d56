"""Plot of a mode tree: its nodes, the shapes on its edges, where it is drawn."""

import dataclasses

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import BoxStyle

import htfjax as htf


def words(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def places(ax: Axes) -> dict[str, tuple[float, float]]:
    """Where each node stands."""
    return {t.get_text(): t.get_position() for t in ax.texts if t.get_text().isdigit()}


def ones_root_with_fixed() -> htf.Factors:
    start = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 2, 1.0, root="ones")
    return dataclasses.replace(start, fixed=(0, 5))


@pytest.mark.parametrize("drawn", [((2, 0), 1), "((2, 0), 1)", [[2, 0], 1]])
def test_every_node_stands_over_the_middle_of_its_children(drawn) -> None:
    """Leaves from left to right as they are written, whatever spells the tree."""
    ax = htf.plot.tree(drawn)
    assert places(ax) == {
        "2": (0.0, 0.0), "0": (1.0, 0.0), "1": (2.0, 0.0), "3": (0.5, 1.0), "4": (1.25, 2.0)
    }  # fmt: skip
    ends = [np.asarray(line.get_xydata()).tolist() for line in ax.lines]
    edges = {(tuple(below), tuple(above)) for below, above in ends}
    assert edges == {
        ((0.0, 0.0), (0.5, 1.0)), ((1.0, 0.0), (0.5, 1.0)),
        ((2.0, 0.0), (1.25, 2.0)), ((0.5, 1.0), (1.25, 2.0)),
    }  # fmt: skip


def test_every_node_of_a_tree_is_named_once() -> None:
    ax = htf.plot.tree(htf.interleaved(5))
    assert isinstance(ax, Axes)
    assert sorted(words(ax), key=int) == [str(k) for k in range(11)]


@pytest.mark.slow
@pytest.mark.parametrize("form", [lambda factors: factors, htf.group])
def test_edges_of_factors_show_the_shapes(form) -> None:
    start = htf.gaussian_factors(jax.random.key(0), ((0, 1), 2), (2, 3, 4), (5, 6), 1.0)
    ax = htf.plot.tree(form(start))
    expected = {0: "2×5", 1: "3×5", 2: "4×6", 3: "5×6", 4: "6×1"}  # noqa: RUF001
    assert sorted(words(ax)) == sorted([*map(str, range(5)), *expected.values()])


def test_a_root_of_ones_says_so() -> None:
    assert words(htf.plot.tree(ones_root_with_fixed())).count("ones") == 1


def test_fixed_nodes_are_squares() -> None:
    factors = ones_root_with_fixed()
    boxes = {t.get_text(): t.get_bbox_patch() for t in htf.plot.tree(factors).texts}
    squares = [
        int(name)
        for name, box in boxes.items()
        if name.isdigit() and box and isinstance(box.get_boxstyle(), BoxStyle.Square)
    ]
    assert sorted(squares) == list(factors.fixed)


def test_axes_that_are_given_are_drawn_on() -> None:
    _, ax = plt.subplots()
    before = plt.get_fignums()
    assert htf.plot.tree(htf.flat(2), ax=ax) is ax
    assert plt.get_fignums() == before
