"""Calls of tasks, their images and examples, and the kinds of their parameters."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

from typing import Any

import numpy as np

from htfjax import locality
from tests.fuzz.calls import Call
from tests.fuzz.kinds_images import (
    ANYTHING,
    DATA,
    EXAMPLES,
    FLAG,
    INF,
    KEY,
    KEYS,
    NAN,
    PATH,
    ROWS,
    SIZE,
    TEXT,
    WORD,
    X,
    Y,
    array,
    call,
    images,
    integer,
    integers,
    labels,
    of,
    real,
    with_entry,
)

PICTURES = locality.Images(
    np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4, 1), np.arange(6) % 2, "squares"
)
PAIRS = locality.same_class_pairs(KEY, PICTURES, 8)
PLACED = locality.same_class_examples(PICTURES, PAIRS, distance=2, canvas=(4, 12))
SETTINGS = locality.lra_pathfinder(32, contour_length=3, num_distractors=2)
MARKS = np.random.default_rng(1).integers(4, 28, (40, 2, 2))
DRAWN = locality.PathfinderImages(
    pixels=np.arange(40 * 32 * 32, dtype=np.uint8).reshape(40, 32, 32),
    labels=(np.arange(40) // 2 % 2).astype(np.uint8), marks=MARKS,
    margins=np.ones(40, np.uint8), distractors=np.ones(40, int), drawn=40, thrown_away=3,
    settings=SETTINGS,
)  # fmt: skip
DISTANCES = np.abs(MARKS[:, 0, 0] - MARKS[:, 1, 0]).astype(float)
PATHFINDER = {
    "contour_length": integer(2), "size": integer(8).besides(40_000),
    "output_size": integer(1).besides(7), "padding": integer(1).besides(16),
    "seed_distance": integer(1), "paddle_length": integer(1),
    "thickness": real(0.0, -1.0, 0.3), "margins": integers(1).besides((300,)),
    "continuity": real(0.0, 0.5), "marker_radius": real(0.0), "antialias": integer(1),
    "distractor_length": integer(0), "num_distractors": integer(-1),
    "path_contrast": real(0.0), "distractor_contrast": real(0.0),
    "segment_retries": integer(0), "distractor_retries": integer(0),
    "max_attempts": integer(1), "match_distance": FLAG,
}  # fmt: skip
CHANGES = {name: PATHFINDER[name] for name in ("thickness", "margins", "match_distance")}
CHANGES["colour"] = of("value", 3).or_none()


def _batch(examples: Any, rows: Any) -> Any:
    return examples.batch(rows)


TASK_CALLS: dict[str, Call] = {
    "ArrayExamples": call(
        locality.ArrayExamples, {"images": X, "labels": Y},
        {"images": images(), "labels": labels(2**31)},
        read=lambda e: [e.count, *e.batch([0, 1])],
    ),
    "ArrayExamples.batch": call(
        _batch, {"examples": DATA, "rows": [0, 2]}, {"examples": ANYTHING, "rows": ROWS}
    ),
    "SameClassExamples.batch": call(
        _batch, {"examples": PLACED, "rows": [0, 2]},
        {"examples": ANYTHING, "rows": ROWS},
    ),
    "Images": call(
        locality.Images,
        {"pixels": X, "labels": Y, "name": "squares", "white": 9, "mean": (0.5,),
         "std": (2.0,)},
        {"pixels": images().besides(X - 1, X + 250, X + 0.5),
         "labels": labels(256), "name": TEXT, "white": integer(1).besides(256),
         "mean": of("numbers", "a", (1.0, 2.0), (NAN,), ("a",), list=list,
                    one=lambda v: v[0]),
         "std": of("numbers", 0.0, (-1.0,), (1.0, 2.0), (INF,), numpy=np.array)},
        read=lambda i: [i.pixels, i.labels, i.white, i.mean, i.std],
    ),
    "draw_pathfinder": call(
        locality.draw_pathfinder,
        {"key": KEY, "settings": SETTINGS, "count": 2, "processes": 1},
        {"key": KEYS, "settings": of("value", 3, {}), "count": integer(1),
         "processes": integer(1)},
        slow=True,
    ),
    "join_examples": call(
        locality.join_examples, {"first": DATA, "second": DATA},
        {"first": EXAMPLES, "second": EXAMPLES.besides(PLACED)},
        read=lambda e: e.batch([0, 5]),
    ),
    "largest_distance": call(
        locality.largest_distance, {"images": PICTURES, "canvas": (4, 12)},
        {"images": of("value", 3, X), "canvas": SIZE.besides((3, 12), (4, 7))},
    ),
    "load_digits": call(
        locality.load_digits, {"split": "test", "shuffle": 1},
        {"split": WORD, "shuffle": integer(0)},
        read=lambda i: [i.pixels, i.labels],
    ),
    "lra_pathfinder": call(
        locality.lra_pathfinder, {"size": 32, "margins": (2,)},
        {"size": integer(1).besides(33)} | CHANGES,
    ),
    "paper_pathfinder": call(
        locality.paper_pathfinder, {"contour_length": 5, "margins": (2,)},
        {"contour_length": integer(2)} | CHANGES,
    ),
    "PathfinderSettings": call(
        locality.PathfinderSettings,
        {n: getattr(SETTINGS, n) for n in PATHFINDER} | {"max_attempts": 100},
        PATHFINDER,
    ),
    "marker_distance_baseline": call(
        locality.marker_distance_baseline,
        {"distances": DISTANCES, "labels": DRAWN.labels, "folds": 2, "width": 2.0},
        {"distances": array(whole=False).besides(
            with_entry(DISTANCES, NAN), DISTANCES[:-1], says="labels"),
         "labels": labels(2).besides(np.ones(40)),
         "folds": integer(2).besides(11), "width": real(0.0, -1.0, 1e-300)},
    ),
    "marker_position_baseline": call(
        locality.marker_position_baseline, {"images": DRAWN, "folds": 2},
        {"images": of("images", 3, X, DRAWN._replace(marks=MARKS[:, 0]),
                      DRAWN._replace(labels=np.ones(40))),
         "folds": integer(2).besides(11)},
        slow=True,
    ),
    "marker_distances": call(
        locality.marker_distances, {"images": DRAWN},
        {"images": of("images", 3, X, DRAWN._replace(marks=MARKS * 0.5),
                      DRAWN._replace(marks=MARKS[:, 0]),
                      lists=lambda v: v._replace(marks=MARKS.tolist()))},
    ),
    "pathfinder_examples": call(
        locality.pathfinder_examples, {"images": DRAWN, "rows": slice(0, 8), "like": None},
        {"images": of("value", 3, X),
         "rows": of("rows", 3, [0, 1], slice(90, 99), slice("a")).or_none(),
         "like": of("value", 3, DATA).or_none()},
        read=lambda e: e.batch([0, 1]),
    ),
    "same_class_pairs": call(
        locality.same_class_pairs,
        {"key": KEY, "images": PICTURES, "count": 5, "other": "class"},
        {"key": KEYS, "images": of("value", 3, X), "count": integer(1), "other": WORD},
    ),
    "same_class_examples": call(
        locality.same_class_examples,
        {"images": PICTURES, "pairs": PAIRS, "distance": 2, "canvas": (4, 12)},
        {"images": of("value", 3, X),
         "pairs": of("pairs", 3, PAIRS._replace(rows=PAIRS.rows + 90),
                     PAIRS._replace(rows=PAIRS.rows * 0.5),
                     PAIRS._replace(labels=PAIRS.labels + 1),
                     PAIRS._replace(labels=PAIRS.labels[:-1]),
                     lists=lambda v: v._replace(rows=v.rows.tolist())),
         "distance": integer(0).besides(5), "canvas": SIZE.besides((3, 12))},
        read=lambda e: e.batch([0, 1]),
    ),
    "same_class_patches": call(locality.same_class_patches, {"examples": PLACED},
                               {"examples": of("value", 3, DATA, PICTURES)}),
    "select_examples": call(
        locality.select_examples, {"examples": DATA, "rows": [0, 2]},
        {"examples": EXAMPLES, "rows": ROWS.besides([])},
        read=lambda e: e.batch([0, 1]),
    ),
}  # fmt: skip
FILE_CALLS: dict[str, Call] = {
    "download_cifar10": call(locality.download_cifar10, {"folder": "x"}, {"folder": PATH}),
    "load_cifar10": call(locality.load_cifar10, {"folder": "x", "split": "test"},
                         {"folder": PATH, "split": WORD}),
}  # fmt: skip
