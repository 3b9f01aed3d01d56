"""Kinds of every parameter of `htfjax.locality`: wrong values and equal forms.

`CALLS` holds, for every public function and class that checks, a small right call and the
kind of each parameter; wrong values must be answered by a TypeError or ValueError that
names the parameter, equal forms by an equal result.
"""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import htfjax as htf
from htfjax import locality
from htfjax.locality import Patch
from tests.fuzz.calls import Call, Kind
from tests.fuzz.kinds_images import (
    ANYTHING,
    CATEGORIES,
    DATA,
    EXAMPLES,
    FLAG,
    FUNCTION,
    KEY,
    KEYS,
    LAYOUTS,
    PATCH,
    PRECISION,
    SIZE,
    SMALL,
    TRACEABLE,
    WORD,
    P,
    Q,
    X,
    Y,
    array,
    call,
    forms,
    images,
    integer,
    integers,
    labels,
    of,
    real,
)
from tests.fuzz.kinds_objects import TREES
from tests.fuzz.kinds_tasks import FILE_CALLS, TASK_CALLS

# What the calls are made of


def one_logit(x: jax.Array) -> jax.Array:
    """A function that couples all pixels."""
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)
    total = jnp.sum(x, axis=(1, 2, 3), keepdims=True)
    return jnp.sum(jnp.sin(x + 0.1 * total), axis=(1, 2, 3))


def apply(
    params: Any, statistics: Any, x: jax.Array, *, train: bool, key: Any = None
) -> tuple[jax.Array, Any]:
    """A network with one weight and nothing that runs along."""
    del train, key
    return params["scale"] * one_logit(x), statistics


class Unhashable:
    """A network that no compiled program can be keyed by."""

    __hash__: Any = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """As `apply`."""
        return apply(*arguments, **options)


def fit(logits: jax.Array) -> jax.Array:
    """A loss."""
    return jnp.mean(jnp.square(logits))


class Mean(nnx.Module):
    """The smallest network."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """One weight."""
        del rngs
        self.scale = nnx.Param(jnp.ones((), jnp.float32))

    def __call__(self, x: jax.Array, *, train: bool, key: Any) -> jax.Array:
        """(B, H, W, C) to (B,)."""
        del train, key
        return self.scale[...] * x.mean((1, 2, 3))


PARAMS = {"scale": jnp.asarray(0.5)}
DRAW = locality.EitherOrder(P, Q)
FACTORS = htf.gaussian_factors(KEY, htf.perfect(4), 3, 2, 1.0)
CLASS_FACTORS = htf.gaussian_factors(
    KEY, locality.class_tree(htf.perfect(4)), (2, 2, 2, 2, 3), 2, 1.0, root="ones"
)
CODES = np.array([[[[0], [1]], [[2], [0]]], [[[1], [1]], [[0], [2]]]])
LOGITS = np.array([-1.0, 2.0, 0.5, -3.0])
THREE = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
STARTED = locality.start_training(PARAMS, {}, DATA)
OUTSIDE = Patch(5, 5, 2, 2)
ON_P = Patch(1, 1, 2, 2)

LOGITS_KIND = array(whole=False).but(without="extra_axis").besides(LOGITS[None], says="y")
IMAGES_KIND = images().besides(X[:1])
BOTH_PATCHES = {"patch": PATCH.besides(OUTSIDE, Patch(2, 2, 2, 2)),
                "other_patch": PATCH.besides(OUTSIDE, ON_P)}  # fmt: skip
CHANGE = {"logits_fn": FUNCTION, "x": IMAGES_KIND, **BOTH_PATCHES,
          "labels": labels(2**31).or_none()}  # fmt: skip
NETWORK_OPTIONS = {
    "channels": integer(1), "num_logits": integer(1), "dropout": real(-0.1, 1.0),
    "method": WORD, "precision": PRECISION,
}  # fmt: skip
NETWORK_BASE = {"channels": 1, "num_logits": 2, "dropout": 0.0, "method": "matmul",
                "precision": "highest"}  # fmt: skip
STEP = {
    "apply": FUNCTION.besides(lambda *a, **k: 3), "fit": FUNCTION.besides(lambda z: z),
    "params": ANYTHING, "statistics": ANYTHING, "x": images(), "coefficient": real(),
    "labels": labels(2**31).or_none(), "key": KEYS.or_none(),
}  # fmt: skip
STEP_BASE = {"apply": apply, "fit": fit, "params": PARAMS, "statistics": {}, "x": X,
             "coefficient": 0.5, "labels": Y, "key": KEY}  # fmt: skip
STATE = {"apply": FUNCTION.besides(Unhashable()),
         "params": ANYTHING, "statistics": ANYTHING, "examples": EXAMPLES}  # fmt: skip
STATE_BASE = {"apply": apply, "params": PARAMS, "statistics": {}, "examples": DATA}


def _shapes(network: locality.Network) -> Any:
    """What a network is told by, without its functions."""
    return jax.tree.map(lambda x: x.shape, jax.eval_shape(network.init, KEY))


def _by_example(key: Any, x: jax.Array) -> Any:
    del key
    return {"scale": jnp.ones(x.shape[1:])}


def _of_scale(params: Any, x: jax.Array) -> jax.Array:
    return (params["scale"][None] * x).sum((1, 2, 3))


def _fields(x: Any) -> list[Any]:
    """The fields of a dataclass, static ones too."""
    return [getattr(x, field.name) for field in dataclasses.fields(x)]


def _conv_ac(images: Any, **arguments: Any) -> Any:
    return locality.ConvAC(**arguments)(images)


def _contract(vectors: Any) -> Any:
    return locality.ConvAC(FACTORS, (2, 2, 1), 1, representation="one_hot").contract(
        vectors
    )


def _run_network(x: Any, train: Any, key: Any, params: Any, statistics: Any) -> Any:
    return locality.as_network(Mean).apply(params, statistics, x, train=train, key=key)


def _one_step(params: Any, key: Any) -> Any:
    loss = locality.training_loss(apply, DATA, batch_size=2, coefficient=0.5, patches=DRAW)
    return loss(params, key)[0]


VECTORS = [np.eye(3)[:2] for _ in range(4)]


CALLS: dict[str, Call] = {
    "ConvAC": call(
        _conv_ac,
        {"images": CODES, "factors": FACTORS, "image_shape": (2, 2, 1), "patch": 1,
         "representation": "one_hot", "classes": None, "tree": None, "rngs": None,
         "key": None, "precision": "highest"},
        {"images": CATEGORIES,
         "factors": of("factors", 3, "factors").besides([np.ones((3, 2))], says="tree"),
         "image_shape": integers(1).besides((3, 2, 1), (2, 2), says="factors"),
         "patch": of("patch", 0, 1.5, "a", (1, 2, 3), 3, pair=lambda v: (v, v),
                     numpy=np.int64),
         "representation": WORD, "classes": ANYTHING, "tree": ANYTHING,
         "rngs": ANYTHING, "key": ANYTHING, "precision": PRECISION},
    ),
    "ConvAC of classes": call(
        _conv_ac,
        {"images": X[:, :4, :4], "factors": CLASS_FACTORS, "image_shape": (4, 4, 1),
         "patch": 2, "classes": 3, "representation": "linear", "rngs": None, "key": KEY},
        {"images": images().but(without="none_there"),
         "factors": of("factors", 3, FACTORS), "image_shape": ANYTHING,
         "patch": ANYTHING, "classes": integer(2).besides(4).but(without="none"),
         "representation": WORD.besides(lambda x: x),
         "rngs": of("rngs", 3, KEY).or_none(), "key": KEYS},
    ),
    "class_tree": call(
        locality.class_tree, {"tree": htf.perfect(4)},
        {"tree": TREES}, read=lambda tree: tree.nested,
    ),
    "ConvAC.contract": call(
        _contract, {"vectors": VECTORS},
        {"vectors": of("vectors", 3, VECTORS[:2], [np.eye(2)[:2]] * 4, tuple=tuple)},
    ),
    "EitherOrder": call(
        locality.EitherOrder, {"first": P, "second": Q},
        {"first": PATCH.besides(Patch(0, 0, 3, 2)), "second": PATCH},
    ),
    "RandomPatches": call(
        locality.RandomPatches,
        {"image_size": (8, 9), "patch_size": 2, "distance": 1, "exactly": False},
        {"image_size": SIZE, "patch_size": integer(1).besides(6),
         "distance": integer(0).besides(6), "exactly": FLAG},
        read=_fields,
    ),
    "Patch": call(
        Patch, {"top": 1, "left": 2, "height": 3, "width": 4},
        {"top": TRACEABLE, "left": TRACEABLE, "height": integer(1), "width": integer(1)},
        read=_fields,
    ),
    "as_network": call(
        locality.as_network,
        {"network": Mean, "variables": None, "images": None, "channels": None},
        {"network": FUNCTION.besides(lambda rngs: 3),
         "variables": of("variables", {"a": 1.0}, 3).or_none(),
         "images": of("images", 3, X, X[0]).or_none(), "channels": WORD.or_none()},
        slow=True,
    ),
    "as_network of a pair": call(
        locality.as_network,
        {"network": (_by_example, _of_scale), "images": X, "channels": "last"},
        {"network": of("network", (len, len, len)), "images": images(),
         "channels": WORD.or_none()},
        read=_shapes,
    ),
    "Network.apply": call(
        _run_network,
        {"x": X.astype(np.float32), "train": True, "key": KEY,
         "params": {"scale": np.float32(1)}, "statistics": {}},
        {"x": of("value", "x", X.astype(complex)), "train": FLAG,
         "key": KEYS.or_none(), "params": of("value", {}, {"other": 1.0}, [1]),
         "statistics": of("value", {"mean": 1.0}).but(without="dict")},
    ),
    "convolve": call(
        locality.convolve,
        {"x": X, "kernel": np.ones((2, 3, 3, 1)), "stride": 1, "padding": 1,
         "method": "matmul", "precision": None},
        {"x": array(), "kernel": array().besides(np.ones((2, 3, 3, 2))),
         "stride": integer(1), "padding": integer(0), "method": WORD,
         "precision": PRECISION},
    ),
    "count_correct": call(
        locality.count_correct, {"logits": LOGITS, "y": Y},
        {"logits": LOGITS_KIND.besides(LOGITS[:, None], LOGITS[:, None, None]),
         "y": labels(2)},
    ),
    "count_correct of classes": call(
        locality.count_correct, {"logits": THREE, "y": [2, 0]},
        {"logits": LOGITS_KIND.besides(THREE[:, :1]), "y": labels(3)},
    ),
    "fit_loss": call(
        locality.fit_loss, {"logits": LOGITS, "y": Y},
        {"logits": LOGITS_KIND.besides(LOGITS[:, None], LOGITS[:0], says="y"),
         "y": labels(2)},
    ),
    "fit_loss of classes": call(
        locality.fit_loss, {"logits": THREE, "y": [2, 0]},
        {"logits": LOGITS_KIND.besides(THREE[:, :1]), "y": labels(3)},
    ),
    "count_parameters": call(
        locality.count_parameters, {"params": {"a": np.ones((2, 3))}},
        {"params": Kind("parameters", equal=forms(
            jax=lambda v: jax.tree.map(jnp.asarray, v))).besides({"a": "text"}, {"a": 1j})},
    ),
    "either_order": call(
        locality.either_order, {"key": KEY, "first": P, "second": Q},
        {"key": KEYS, "first": PATCH, "second": PATCH.besides(Patch(3, 3, 2, 3))},
    ),
    "epoch_records": call(
        locality.epoch_records, {"params": STARTED},
        {"params": of("value", PARAMS, 3, (PARAMS, {}))},
    ),
    "evaluate": call(
        locality.evaluate, STATE_BASE | {"batch_size": 3},
        STATE | {"batch_size": integer(1)},
    ),
    "gradient_change_by_distance": call(
        locality.gradient_change_by_distance,
        {"key": KEY, "logits_fn": one_logit, "x": X, "patch_size": 2, "distances": (0, 2),
         "pairs": 2},
        {"key": KEYS, "logits_fn": FUNCTION.besides(lambda x: x), "x": IMAGES_KIND,
         "patch_size": integer(1).besides(1, 4),
         "distances": integers(0).besides((3,), says="distance"),
         "pairs": integer(1)},
        slow=True,
    ),
    "gradient_norm_loss": call(locality.gradient_norm_loss, STEP_BASE, STEP, slow=True),
    "grid_tensor": call(
        locality.grid_tensor,
        {"f": lambda x: x[0] * x[1], "templates": [[1.0, 2.0], [3.0, 4.0, 5.0]],
         "batch_size": 4},
        {"f": FUNCTION.besides(lambda x: x[0][:1]),
         "templates": of("templates", 3, "ab", [], [1.0, 2.0], [["a"], ["b"]], [[], [1.0]],
                         tuple=tuple, numpy=lambda v: [np.array(t) for t in v]),
         "batch_size": integer(1)},
    ),
    "hold": call(locality.hold, {"optimizer": optax.sgd(0.1)},
                 {"optimizer": of("value", 3, "sgd", optax.sgd)}, slow=True),
    "input_gradient_change": call(
        locality.input_gradient_change,
        {"logits_fn": one_logit, "x": X, "patch": P, "other_patch": Q, "labels": Y},
        CHANGE | {"logits_fn": FUNCTION.besides(lambda x: x)},
    ),
    "training_gradient_change": call(
        locality.training_gradient_change,
        {"logits_fn": one_logit, "x": X, "patch": P, "other_patch": Q, "labels": Y},
        CHANGE, slow=True,
    ),
    "regularized_loss": call(
        locality.regularized_loss,
        STEP_BASE | {"patches": (P, Q), "batch_norm": "reference", "momentum": 0.1,
                     "two_stage": True},
        STEP | {"x": IMAGES_KIND, "patches": of("patches", P, (P,)).besides(
                (P, ON_P), (P, None), says="patch other_patch"),
                "batch_norm": WORD, "momentum": real(-0.1, 1.1), "two_stage": FLAG},
        slow=True,
    ),
    "join_patches": call(
        locality.join_patches,
        {"patches": np.arange(8.0).reshape(1, 4, 2), "image_shape": (2, 4, 1),
         "patch": (1, 2)},
        {"patches": array(),
         "image_shape": integers(1).besides((2, 4), (3, 5, 1), says="patch"),
         "patch": of("patch", 0, 1.5, "a", (1, 2, 3), list=list, numpy=np.array)},
    ),
    "split_patches": call(
        locality.split_patches, {"images": X, "patch": 2},
        {"images": array(),
         "patch": of("patch", 0, 1.5, "a", (1, 2, 3), pair=lambda v: (v, v),
                     numpy=np.int32)},
    ),
    "max_pool": call(
        locality.max_pool, {"x": X, "size": 3, "stride": 2, "padding": 1},
        {"x": array(), "size": integer(1).besides(9, says="x"), "stride": integer(1),
         "padding": integer(0).besides(3)},
    ),
    "mean_change": call(
        locality.mean_change,
        STATE_BASE | {"patches": DRAW, "key": KEY, "batch_size": 2, "train": False,
                      "num_batches": 2},
        STATE | {"patches": FUNCTION, "key": KEYS, "batch_size": integer(2), "train": FLAG,
                 "num_batches": integer(1).or_none()},
    ),
    "patch_gap": call(locality.patch_gap, {"patch": P, "other": Q},
                      {"patch": PATCH, "other": PATCH}),
    "random_patches": call(
        locality.random_patches,
        {"key": KEY, "image_size": (8, 9), "patch_size": 2, "distance": 1,
         "exactly": False},
        {"key": KEYS, "image_size": SIZE, "patch_size": integer(1).besides(6),
         "distance": integer(0).besides(6), "exactly": FLAG},
    ),
    "resnet": call(
        locality.resnet, NETWORK_BASE | {"depth": 18, "width": 0.125},
        NETWORK_OPTIONS | {"depth": integer(1).besides(19), "width": real(0.0, 1e-3)},
        slow=True,
    ),
    "residual_net": call(
        locality.residual_net, NETWORK_BASE | {"widths": (2,)},
        NETWORK_OPTIONS | {"widths": integers(1)}, slow=True,
    ),
    "strided_net": call(
        locality.strided_net, NETWORK_BASE | {"widths": (2,), "strides": (2,)},
        NETWORK_OPTIONS | {"widths": integers(1), "strides": integers(1).besides((2, 2))},
        slow=True, read=_shapes,
    ),
    "separation_spectrum": call(
        locality.separation_spectrum,
        {"logits_fn": one_logit, "x": X, "patch": P, "other_patch": Q, "num": 2,
         "contexts": 2, "key": None, "shuffles": 2, "batch_size": 8},
        {"logits_fn": FUNCTION.besides(lambda x: x),
         "x": dataclasses.replace(images(), equal=(*LAYOUTS, *SMALL[1:])), **BOTH_PATCHES,
         "num": integer(2).besides(5), "contexts": integer(1).besides(5).or_none(),
         "key": KEYS.or_none(), "shuffles": integer(1), "batch_size": integer(1)},
    ),
    "start_training": call(
        locality.start_training, {"params": PARAMS, "statistics": {}, "examples": DATA},
        {"params": of("value", {}, {"a": "text"}, {"a": np.arange(3)}),
         "statistics": ANYTHING, "examples": EXAMPLES},
    ),
    "steps_per_epoch": call(
        locality.steps_per_epoch, {"count": 9, "batch_size": 4},
        {"count": integer(1), "batch_size": integer(1)},
    ),
    "swap_patch": call(locality.swap_patch, {"x": X, "patch": Q},
                       {"x": array(), "patch": PATCH.besides(OUTSIDE)}),
    "training_loss": call(
        locality.training_loss,
        {"apply": apply, "examples": DATA, "coefficient": 0.5, "patches": DRAW,
         "batch_size": 2, "penalty": "input_gradient_change", "batch_norm": "reference",
         "momentum": 0.1, "patience": 3},
        {"apply": STATE["apply"], "examples": EXAMPLES, "coefficient": real(-1.0),
         "patches": FUNCTION, "batch_size": integer(1).besides(1, 3, 9), "penalty": WORD,
         "batch_norm": WORD, "momentum": real(-0.1, 1.1),
         "patience": integer(0).or_none()},
        read=_fields,
    ),
    "TrainingLoss": call(
        _one_step, {"params": STARTED, "key": KEY},
        {"params": of("value", PARAMS, 3), "key": KEYS}, slow=True,
    ),
    "warn_if_blind": call(
        locality.warn_if_blind, {"change": 0.5, "threshold": 0.9},
        {"change": real(-0.1, 1.5).but(without="nan list array"), "threshold": real()},
    ),
}  # fmt: skip
CALLS |= TASK_CALLS | FILE_CALLS
