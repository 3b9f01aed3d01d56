"""Can a convolutional network follow a path from one end to the other, if made to?

Expected, as in arXiv:2201.11729: plain training falls to chance with the path's length,
with the locality regularizer much later. The marks' distance alone predicts the label well
above chance and their positions more, so only what exceeds that baseline follows paths.

Takes 13 min on two cores, 30 s with `--quick`.
"""

import dataclasses
import functools
import hashlib
import sys
from pathlib import Path
from typing import Any

import jax

from htfjax import locality

from .common.command import command
from .common.errors import SettingError
from .common.folder import saved_config
from .figures.networks import accuracies
from .networks import study
from .networks.options import NetworkOptions, Point, is_paper, resolve, runs_of
from .networks.standing import progress_of
from .networks.training import Task


@dataclasses.dataclass(frozen=True)
class Config(NetworkOptions):
    """Can a convolutional network follow a path from one end to the other?

    Two paths of dashes, two marks: are they on one path? Networks are trained for every
    path length, coefficient of the locality regularizer, control and seed. The same
    command on the same folder resumes it; more seeds or arms extend it.

    --preset cpu (an illustration; dropout and gradient_norm=10 gain more, see the README):
    32x32 images, path length 5, coefficients 0 and 2, seeds 10 to 13, 4000 training and
    2000 test images, 100 epochs, patience 10, the strided network. Chosen on seed 0 by
    test accuracy, before these seeds were run.
    --preset paper: 150x150 images, path lengths 3 5 7 9, coefficients 0 3 9, seeds 0 to 2,
    10000 and 10000 images, 150 epochs, patience 20, resnet18.
    """

    path_lengths: tuple[int, ...] | None = None
    """Dashes of a path."""
    canvases: tuple[str, ...] | None = None
    """Image sizes: 150x150 is the paper's, 32x32 to 256x256 those of the Long Range
    Arena."""
    matched: bool = False
    """Images whose marks' distance says nothing about the label (their positions do)."""
    patch_size: int = 2
    """Side of the regularizer's patches."""
    patch_distance: int = 0
    """Least free pixels between them."""
    image_folder: Path | None = None
    """Folder for generated images, to share them between runs; by default in --out."""


PRESETS: dict[str, dict[str, Any]] = {
    "cpu": {
        "path_lengths": (5,), "canvases": ("32x32",), "coefficients": (0.0, 2.0),
        "seeds": (10, 11, 12, 13), "train_sizes": (4000,), "test_size": 2000,
        "networks": ("strided",), "epochs": 100, "patience": 10,
    },
    "paper": {
        "path_lengths": (3, 5, 7, 9), "canvases": ("150x150",),
        "coefficients": (0.0, 3.0, 9.0), "seeds": (0, 1, 2), "train_sizes": (10_000,),
        "test_size": 10_000, "networks": ("resnet18",), "epochs": 150, "patience": 20,
    },
    "smoke": {
        "path_lengths": (3,), "canvases": ("32x32",), "coefficients": (0.0, 3.0),
        "seeds": (0,), "train_sizes": (128,), "test_size": 80, "networks": ("tiny",),
        "epochs": 2, "patience": 10,
    },
}  # fmt: skip

# Read off the authors' published plots: accuracy and standard deviation in per cent.
PAPER = {
    "coefficient 0": {3: (98.4, 1.5), 5: (96.0, 1.5), 7: (68.8, 5.1), 9: (50.5, 1.5)},
    "coefficient 3": {3: (98.4, 1.5), 5: (96.7, 1.5), 7: (89.6, 1.5), 9: (63.5, 6.8)},
    "coefficient 9": {3: (98.3, 1.5), 5: (96.6, 1.5), 7: (91.7, 1.5), 9: (85.5, 1.9)},
}
LRA_SIZES = (32, 64, 128, 256)


QUICK: dict[str, Any] = {
    "path_lengths": (3,), "seeds": (10,), "train_sizes": (1500,), "test_size": 600,
    "epochs": 25,
}  # fmt: skip


def run(asked: Config) -> dict[str, Any]:
    """Trains, writes results and figures, and returns the summary.

    Raises:
      SettingError, FolderError, RunError, ValueError, OSError: options that cannot be, a
        folder that cannot be used, a run that cannot go on.
    """
    config: Any = resolve(asked, PRESETS)
    if config.image_folder is None:
        config = dataclasses.replace(config, image_folder=config.out / "images")
    if config.patch_size == 1:
        raise SettingError(
            "`--patch-size 1`: of two single numbers |cos| is 1 whatever a network does; "
            "the images have one channel, so patches need two pixels a side."
        )
    for canvas in config.canvases:
        for length in config.path_lengths:
            settings_of(config, length, canvas)
            locality.random_patches(
                jax.random.key(0), study.read_canvas(canvas), config.patch_size,
                distance=config.patch_distance,
            )  # fmt: skip
    return study.run(config, study_of(config))


def redraw(folder: Path) -> dict[str, Any]:
    """Figures by name, of what is saved, without the images."""
    config = saved_config(folder, Config)  # digests in place of paths of data
    return study.redraw(study_of(config), folder)


def standing(folder: Path) -> dict[str, Any]:
    """How far the runs of a folder are."""
    config = saved_config(folder, Config)
    return progress_of(runs_of(config, config.path_lengths).points, folder)


def study_of(config: Any) -> study.Study:
    """The study of resolved options."""
    return study.Study(
        axis="path_length",
        runs=runs_of(config, config.path_lengths),
        build=functools.partial(build, config=config),
        words=("two paths", "one path"),
        prepare=functools.partial(_draw_all, config),
        digests=functools.partial(_digests, config),
        figure=functools.partial(_draw, config=config),
        extra=functools.partial(_extra, config),
    )


def settings_of(config: Any, length: int, canvas: str) -> locality.PathfinderSettings:
    """The generator's settings.

    Raises:
      SettingError: an image size that has none. ValueError: a length that cannot be.
    """
    height, width = study.read_canvas(canvas)
    changes = {"contour_length": length, "match_distance": config.matched}
    if (height, width) == (150, 150):
        return locality.PathfinderSettings(**changes)
    if height != width or height not in LRA_SIZES:
        raise SettingError(
            f"`--canvases {canvas}`: there are 150x150 and "
            f"{', '.join(f'{n}x{n}' for n in LRA_SIZES)}."
        )
    third = max(1, length // 3)
    return locality.lra_pathfinder(height, distractor_length=third, **changes)


def build(point: Point, config: Any) -> Task:
    """Images of a path length: the first ones train, the last ones test, for every seed."""
    images = _images(config, point.value, point.canvas)
    count, test = point.train_size, config.test_size
    most = max(config.train_sizes)
    train = locality.pathfinder_examples(images, slice(0, count))
    tested = locality.pathfinder_examples(images, slice(most, most + test), like=train)
    validation = None
    if config.validation_size:
        validation = locality.pathfinder_examples(
            images, slice(most + test, None), like=train
        )
    size = study.read_canvas(point.canvas)
    draw = locality.RandomPatches(size, config.patch_size, config.patch_distance)
    return Task(train, tested, validation, draw, 1)


@functools.lru_cache(maxsize=1)
def _images(config: Any, length: int, canvas: str) -> locality.PathfinderImages:
    count = max(config.train_sizes) + config.test_size + config.validation_size
    count += count % 2  # matched images come in pairs
    return locality.stored_pathfinder(
        config.image_folder, settings_of(config, length, canvas), count,
        key=jax.random.key(6),
    )  # fmt: skip


def _draw_all(config: Any) -> None:
    """Generates what is missing before workers start."""
    _images.cache_clear()  # the folder may have changed since another run
    for canvas in config.canvases:
        for length in config.path_lengths:
            _images(config, length, canvas)


def _digests(config: Any) -> dict[str, str]:
    """SHA-256 of the pixels and labels of every path length and canvas."""
    found = {}
    for canvas in config.canvases:
        for length in config.path_lengths:
            images = _images(config, length, canvas)
            content = images.pixels.tobytes() + images.labels.tobytes()
            name = f"path length {length} on {canvas}"
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def baselines(config: Any, canvas: str) -> dict[int, float]:
    """Accuracy that the marks' distance alone reaches, for each path length."""
    return {n: _distance_baseline(config, n, canvas) for n in config.path_lengths}


def position_baselines(config: Any, canvas: str) -> dict[int, locality.PositionBaseline]:
    """Accuracy from all that the marks show, their positions, for each path length.

    None without the extra `baselines`: a study must not end in an error over a number that
    stands beside its own.
    """
    try:
        return {n: _position_baseline(config, n, canvas) for n in config.path_lengths}
    except ImportError:
        return {}


@functools.lru_cache
def _distance_baseline(config: Any, length: int, canvas: str) -> float:
    images = _images(config, length, canvas)
    distances = locality.marker_distances(images)
    return locality.marker_distance_baseline(distances, images.labels).accuracy


@functools.lru_cache
def _position_baseline(config: Any, length: int, canvas: str) -> locality.PositionBaseline:
    return locality.marker_position_baseline(_images(config, length, canvas))


def _extra(config: Any) -> dict[str, Any]:
    distance = {canvas: baselines(config, canvas) for canvas in config.canvases}
    position = {canvas: position_baselines(config, canvas) for canvas in config.canvases}
    return {
        "marker_distance_baseline": {
            canvas: {str(n): v for n, v in found.items()}
            for canvas, found in distance.items()
        },
        "marker_position_baseline": {
            canvas: {str(n): v._asdict() for n, v in found.items()}
            for canvas, found in position.items()
        },
    }


def _draw(data: Any, axis: str, summary: dict[str, Any], config: Any) -> Any:
    paper = is_paper(config, PRESETS["paper"]) and not config.matched
    note = "paper in grey" if paper else "images unlike the paper's: not comparable"
    return accuracies(
        data, axis, label="dashes of a path", paper=PAPER if paper else None, note=note,
        baselines=_shown(config, summary),
    )  # fmt: skip


def _shown(config: Any, found: dict[str, Any]) -> dict[str, dict[int, float]]:
    """The figure's baselines: the marks' positions, and their distance if it tells.

    Those that a summary has; none while the first session is at work.
    """
    shown = {}
    if "marker_position_baseline" not in found:
        return shown
    for canvas in config.canvases:
        where = f", {canvas}" if len(config.canvases) > 1 else ""
        if places := found["marker_position_baseline"][canvas]:
            shown[f"markers' positions alone{where}"] = {
                int(n): baseline["accuracy"] for n, baseline in places.items()
            }
        if not config.matched:
            distances = found["marker_distance_baseline"][canvas].items()
            shown[f"markers' distance alone{where}"] = {int(n): v for n, v in distances}
    return shown


def main() -> int:
    """The command line."""
    return command("pathfinder", Config, run, study.report, quick=QUICK)


if __name__ == "__main__":
    sys.exit(main())
