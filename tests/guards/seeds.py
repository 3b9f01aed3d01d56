"""Seeds: what given keys yield in every public function that draws.

`python -m tests.guards.seeds --write` keeps what they yield now.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf
from htfjax import locality
from tests import helpers
from tests.guards import snapshot

STEM = "seeds"
TOLERANCE = 1e-5
NETWORK_TOLERANCE = 1e-3
DTYPES = ("float32", "float64")

Draws = Mapping[str, Callable[[int], Any]]
"""Names, and functions of a shift of every seed (zero in what is kept)."""


def initial_factors() -> Draws:
    """Both random starts and the identity one, on the case trees and with int widths."""
    draws: dict[str, Callable[[int], Any]] = {}
    for dtype in DTYPES:
        for tree, root in helpers.CASES:
            for kind in ("gaussian", "balanced", "identity"):
                name = f"{kind}_factors {tree} {root} {dtype}"
                draws[name] = functools.partial(_factors, kind, tree, root, dtype)
        draws[f"gaussian_factors one width, a mean {dtype}"] = lambda shift, dtype=dtype: (
            _weights(
                htf.gaussian_factors(
                    jax.random.key(5 + shift), htf.perfect(4), 8, 16, 0.03,
                    mean=0.5, dtype=dtype,
                )
            )
        )  # fmt: skip
        draws[f"balanced_factors a width per height {dtype}"] = lambda shift, dtype=dtype: (
            _weights(
                htf.balanced_factors(
                    jax.random.key(6 + shift), htf.perfect(8), 4, (6, 5, 4), 0.1,
                    dtype=dtype,
                )
            )
        )  # fmt: skip
    return draws


def _factors(kind: str, name: str, root: str, dtype: str, shift: int) -> Any:
    nested = helpers.TREES[name]
    tree = htf.ModeTree.from_nested(nested)
    sizes = helpers.default_dims(nested), helpers.default_widths(nested)
    options: dict[str, Any] = {"root": root, "dtype": dtype}
    if kind == "identity":
        return _weights(htf.identity_factors(tree, *sizes, 0.3 + shift, **options))
    make = {"gaussian": htf.gaussian_factors, "balanced": htf.balanced_factors}[kind]
    return _weights(make(jax.random.key(3 + shift), tree, *sizes, 0.2, **options))


def _weights(factors: htf.Factors) -> dict[str, Any]:
    """All matrices as one row of numbers, and their shapes."""
    matrices = [w for w in factors.weights if w is not None]
    shapes = [(0, 0) if w is None else w.shape for w in factors.weights]
    return {
        "shapes": np.array(shapes),
        "weights": np.concatenate([np.asarray(w).ravel() for w in matrices]),
    }


def observations() -> Draws:
    """Every `random_*`: each way that `random_indices` draws, vectors and matrices."""
    key = jax.random.key
    index = htf.random_indices
    draws: dict[str, Callable[[int], Any]] = {
        "random_indices few": lambda s: index(key(0 + s), (3, 4, 5), 20),
        "random_indices all": lambda s: index(key(1 + s), 4, 16, order=2),
        "random_indices paper": lambda s: index(key(2 + s), 8, 2048, order=4),
        "random_indices drawn": lambda s: index(key(3 + s), (1024, 1024), 500),
        "random_indices half": lambda s: index(key(4 + s), (520, 520), 140_000),
        "random_indices wide": lambda s: index(key(5 + s), (2**16, 2**15, 7), 300),
        "unobserved_indices": lambda s: htf.unobserved_indices(
            index(key(6 + s), (3, 4), 5), (3, 4)
        ),
        "minibatch_loss": _minibatches,
    }
    for dtype in DTYPES:
        draws |= {
            f"random_vectors {dtype}": lambda s, dtype=dtype: by_place(
                htf.random_vectors(key(7 + s), (3, 8, 5), 40, dtype=dtype)
            ),
            f"random_matrices {dtype}": lambda s, dtype=dtype: htf.random_matrices(
                key(8 + s), (6, 7), 30, dtype=dtype
            ),
        }
    return draws


def by_place(arrays: Any) -> dict[str, Any]:
    """Arrays by their place."""
    return {str(i): x for i, x in enumerate(arrays)}


def _minibatches(shift: int) -> Any:
    """Values on the batches of five keys, which say what the batches are."""
    tree = htf.perfect(4)
    factors = htf.gaussian_factors(jax.random.key(1), tree, 3, 4, 1.0, dtype=jnp.float32)
    indices = htf.random_indices(jax.random.key(2), 3, 60, order=4)
    targets = np.arange(60, dtype=np.float32)
    loss = htf.minibatch_loss(htf.completion_loss(tree, 3, indices, targets), 7)
    keys = jax.random.split(jax.random.key(9 + shift), 5)
    return np.array([float(loss(factors, k)) for k in keys])


SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "small": {"mode_dims": 4, "widths": 5, "target_rank": 2, "observed": 100},
    "flat, ones": {
        "tree": (0, 1, 2), "mode_dims": (5, 4, 6), "widths": 7, "root": "ones",
        "init_std": 1e-3, "target_rank": 3, "observed": 50, "track_modes": ((0,),),
    },
    "matrix of depth three, ones": {
        "tree": ((0,), 1), "mode_dims": (8, 9), "widths": (8, 9), "root": "ones",
        "init_std": 1e-3, "observed": 40, "track_modes": ((0,),),
    },
    "a width per node, float64": {
        "mode_dims": (3, 5, 4, 2), "widths": (3, 6, 4), "target_rank": 2, "observed": 60,
        "dtype": "float64",
    },
    "caterpillar, modes in another order": {
        "tree": (((2, 0), 3), 1), "mode_dims": 4, "widths": 6, "target_rank": 3,
        "observed": 128, "target_norm": 10.0, "init_std": 0.2,
    },
    "chains, all entries": {
        "tree": ((((0, 1),), (2,)),), "mode_dims": (3, 4, 5), "widths": 3,
        "target_rank": 2, "observed": 60, "track_modes": ((0, 1),),
    },
    "huber": {
        "mode_dims": 3, "widths": 4, "target_rank": 2, "observed": 33,
        "penalty": "huber", "threshold": 0.5, "learning_rate": 3e-3, "eps": 0.0,
    },
}  # fmt: skip


def completions() -> Draws:
    """Target, observed entries, their values and start of the ensembles' completion."""
    return {
        f"Completion {name}, seed {seed}": functools.partial(_completion, name, seed)
        for name in SETTINGS
        for seed in (0, 5)
    }


def _completion(name: str, seed: int, shift: int) -> Any:
    """The one place that knows where an ensemble keeps its problem."""
    setting = htf.problems.Completion(**SETTINGS[name])
    lane = htf.runs.make_lane(htf.runs.completion_lane, setting, seed + shift)
    return {
        "target": lane.observe.target,
        "mask": lane.observe.seen,
        "indices": lane.loss.measurement.indices,
        "targets": lane.loss.targets,
        "loss at start": np.asarray(lane.loss(lane.state.params)),
        **_weights(lane.state.params),
    }


def patches() -> Draws:
    """Draws of patches, alone and as a training step makes them."""

    def places(draw: Callable[[Any], Any], seed: int) -> Callable[[int], Any]:
        def found(shift: int) -> Any:
            pairs = [draw(k) for k in jax.random.split(jax.random.key(seed + shift), 12)]
            return np.array(
                [[int(x) for p in pair for x in (p.top, p.left, p.height, p.width)]
                 for pair in pairs]
            )  # fmt: skip

        return found

    boxes = locality.Patch(0, 0, 8, 8), locality.Patch(0, 56, 8, 8)
    size = (32, 24)
    return {
        "random_patches": places(lambda k: locality.random_patches(k, size, 2), 0),
        "random_patches apart": places(
            lambda k: locality.random_patches(k, size, 3, distance=14), 1
        ),
        "random_patches exactly": places(
            lambda k: locality.random_patches(k, size, 4, distance=9, exactly=True), 2
        ),
        "RandomPatches": places(locality.RandomPatches(size, patch_size=2), 3),
        "either_order": places(lambda k: locality.either_order(k, *boxes), 4),
        "EitherOrder": places(locality.EitherOrder(*boxes), 5),
    }


def images() -> Draws:
    """Examples of both tasks."""
    draws: dict[str, Callable[[int], Any]] = {
        f"same class, other {other}": functools.partial(_same_class, other)
        for other in ("class", "image")
    }
    pathfinder = {
        "32": (locality.lra_pathfinder, (32,), {"contour_length": 3}),
        "32 matched": (
            locality.lra_pathfinder,
            (32,),
            {"contour_length": 3, "match_distance": True},
        ),
        "150": (locality.paper_pathfinder, (3,), {}),
    }
    for name, asked in pathfinder.items():
        draws[f"pathfinder {name}"] = functools.partial(_pathfinder, *asked)
    return draws


def _same_class(other: Any, shift: int) -> Any:
    digits = locality.load_digits("train")
    pairs = locality.same_class_pairs(jax.random.key(77 + shift), digits, 200, other=other)
    examples = locality.same_class_examples(digits, pairs, distance=5, canvas=(8, 22))
    x, y = examples.batch(np.arange(0, 200, 40))
    first, second = locality.same_class_patches(examples)
    corners = [int(p) for box in (first, second) for p in (box.top, box.left)]
    return {
        "rows": pairs.rows,
        "labels": pairs.labels,
        "x": x,
        "y": y,
        "corners": np.array(corners),
    }


def _pathfinder(make: Any, size: tuple, options: dict[str, Any], shift: int) -> Any:
    images = locality.draw_pathfinder(
        jax.random.key(11 + shift), make(*size, **options), 16
    )
    train = locality.pathfinder_examples(images, slice(0, 10))
    x, y = locality.pathfinder_examples(images, slice(10, 16), like=train).batch([0, 3])
    return {
        "pixels": images.pixels,
        "labels": images.labels,
        "marks": images.marks,
        "margins": images.margins,
        "distractors": images.distractors,
        "counts": np.array([images.drawn, images.thrown_away]),
        "distances": locality.marker_distances(images),
        "x": x,
        "y": y,
    }


NETWORKS: dict[str, Callable[[], locality.Network]] = {
    "strided": locality.strided_net,
    "strided, small": lambda: locality.strided_net((4, 6), (2, 1), channels=2),
    "residual": locality.residual_net,
    "residual, ten logits": lambda: locality.residual_net((4, 8), num_logits=10),
    "resnet18, narrow": lambda: locality.resnet(18, width=0.125),
    "resnet50, narrow": lambda: locality.resnet(50, width=0.0625, channels=1),
}


def networks() -> Draws:
    """Initial parameters and statistics, by name."""
    return {f"network {name}": functools.partial(_network, name) for name in NETWORKS}


def _network(name: str, shift: int) -> Any:
    params, statistics = NETWORKS[name]().init(jax.random.key(21 + shift))
    arrays = {**params, **statistics}
    numbers = [np.asarray(x) for _, x in sorted(arrays.items())]
    sizes = [(np.mean(x), np.sqrt(np.mean(np.square(x)))) for x in numbers]
    return {
        "params": np.array(sorted(params)),
        "statistics": np.array(sorted(statistics)),
        "shapes": np.array([str(x.shape) for x in numbers]),
        "moments": np.array(sizes),
        "numbers": np.concatenate([x.ravel() for x in numbers]),
    }


GROUPS: dict[str, Callable[[], Draws]] = {
    "factors": initial_factors,
    "observations": observations,
    "completions": completions,
    "patches": patches,
    "images": images,
    "networks": networks,
}


def names(group: str, x64: bool) -> list[str]:
    """The draws of a group; without 64 bits there are none in float64."""
    return [name for name in GROUPS[group]() if x64 or "float64" not in name]


def found(group: str, x64: bool, chosen: Iterable[str], shift: int = 0) -> dict[str, Any]:
    """Descriptions of what draws of a group yield, with or without 64 bits.

    `shift` moves every seed.
    """
    draws = GROUPS[group]()
    with jax.enable_x64(x64), jax.numpy_dtype_promotion("standard"):
        return {label(name, x64): described(draws[name](shift)) for name in chosen}


def label(name: str, x64: bool) -> str:
    """The name under which a draw is kept."""
    return f"{name}, {64 if x64 else 32} bits"


def described(drawn: Any) -> dict[str, Any]:
    """One array, or several by name."""
    if isinstance(drawn, Mapping):
        return {name: described(x) for name, x in drawn.items()}
    return snapshot.describe(drawn)


def tolerance(name: str) -> float:
    """Of floats, in units of the largest."""
    return NETWORK_TOLERANCE if name.startswith("network") else TOLERANCE


def main() -> int:
    """Writes the snapshot."""
    if sys.argv[1:] != ["--write"]:
        sys.stderr.write("python -m tests.guards.seeds --write\n")
        return 2
    entries = {}
    for group in GROUPS:
        for x64 in (False, True):
            entries |= found(group, x64, names(group, x64))
    done = snapshot.write(STEM, entries, {name: tolerance(name) for name in entries})
    sys.stdout.write(done + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
