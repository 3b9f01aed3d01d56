"""The problem of a rank-dynamics run: target, observations, start and optimizer."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import htfjax as htf

from .errors import SettingError
from .settings import Config, Setting


@dataclasses.dataclass(frozen=True)
class Problem:
    """Loss, start and optimizer of a run, and the target where it is known."""

    start: htf.Factors
    loss: Any  # on all observations
    step_loss: Any  # what a step sees: `loss`, or minibatches of it
    key: jax.Array | None  # for minibatches
    optimizer: Any
    test: Any  # an l2 loss on held-out observations, or None
    target: jax.Array | None  # the dense target, when it is known


def make_problem(config: Config, setting: Setting) -> Problem:
    """Builds target, observations, start and optimizer from one seed."""
    keys = jax.random.split(jax.random.key(config.seed), 4)
    start = _start(keys[0], config, setting)
    if config.observations is not None:
        loss, test = _read_observations(config, setting)
        target = None
    else:
        target = setting.target(keys[1])
        loss, test = _observe_target(keys[2], config, setting, target)
    batch = config.batch_size
    return Problem(
        start=start,
        loss=loss,
        step_loss=loss if batch is None else htf.minibatch_loss(loss, batch),
        key=None if batch is None else keys[3],
        optimizer=make_optimizer(config),
        test=test,
        target=target,
    )


def make_optimizer(config: Config) -> Any:
    """The optax optimizer that the options describe."""
    rate: Any = config.learning_rate
    if config.schedule == "cosine":
        rate = optax.cosine_decay_schedule(
            rate, config.schedule_steps, config.final_learning_rate / rate
        )
    elif config.schedule == "exponential":
        ratio = config.final_learning_rate / rate
        rate = optax.exponential_decay(
            rate, config.schedule_steps, ratio, end_value=config.final_learning_rate
        )
    if config.optimizer == "sgd":
        return optax.sgd(rate, momentum=config.momentum or None)
    return htf.group_rmsprop(rate, config.decay, config.eps)


def _start(key: jax.Array, config: Config, setting: Setting) -> htf.Factors:
    shape = (setting.tree, setting.mode_dims, setting.widths, setting.init_std)
    options: dict[str, Any] = {"root": setting.root, "dtype": setting.dtype}
    if config.init == "identity":
        return htf.identity_factors(*shape, **options)
    if config.init == "balanced":
        return htf.balanced_factors(key, *shape, **options)
    return htf.gaussian_factors(key, *shape, mean=config.init_mean, **options)


def _observe_target(
    key: jax.Array, config: Config, setting: Setting, target: jax.Array
) -> tuple[Any, Any]:
    """The training loss and, for completion, the l2 loss on all other entries."""
    dims, count = setting.dims, config.observed
    options: dict[str, Any] = {"penalty": config.penalty, "threshold": config.threshold}
    if config.task == "sensing":
        vectors = htf.random_vectors(key, dims, count, dtype=target.dtype)
        values = _measure(target, vectors)
        return htf.sensing_loss(vectors, values, **options), None
    if config.task == "matrix_sensing":
        if len(dims) != 2:
            raise SettingError(
                f"`--task matrix_sensing` needs order 2, the tree has {len(dims)} modes."
            )
        matrices = htf.random_matrices(key, dims, count, dtype=target.dtype)
        values = jnp.einsum("bij,ij->b", matrices, target, precision="highest")
        return htf.matrix_sensing_loss(matrices, values, **options), None
    if count > math.prod(dims):
        raise SettingError(
            f"`--observed {count}` is more than the {math.prod(dims)} entries."
        )
    indices = setting.indices(key)
    rest = htf.unobserved_indices(indices, dims)
    unseen = dataclasses.replace(setting, penalty="l2")
    return setting.loss(target, indices), unseen.loss(target, rest) if len(rest) else None


def _measure(tensor: jax.Array, vectors: tuple[jax.Array, ...]) -> jax.Array:
    """Inner products of a dense tensor with rank-one tensors, mode by mode."""
    values = jnp.einsum("bi,i...->b...", vectors[0], tensor, precision="highest")
    for x in vectors[1:]:
        values = jnp.einsum("bi,bi...->b...", x, values, precision="highest")
    return values


def _read_observations(config: Config, setting: Setting) -> tuple[Any, Any]:
    path = config.observations
    assert path is not None
    arrays = _read_npz(path)
    options: dict[str, Any] = {"penalty": config.penalty, "threshold": config.threshold}
    loss = _loss_from(path, arrays, "", setting, options)
    has_test = any(name.startswith("test_") for name in arrays)
    return loss, _loss_from(path, arrays, "test_", setting, {}) if has_test else None


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise SettingError(f"`--observations {path}`: no such file.")
    try:
        return htf.runs.read_npz(path)
    except (OSError, ValueError) as error:
        raise SettingError(
            f"`--observations {path}` is damaged or no npz file of plain arrays ({error})."
        ) from error


def _loss_from(
    path: Path,
    arrays: dict[str, np.ndarray],
    prefix: str,
    setting: Setting,
    options: dict[str, Any],
) -> Any:
    """A loss from the arrays of a file, or an error that names file and array."""
    names = [f"{prefix}vectors_{n}" for n in range(setting.mode_tree.order)]
    by_index = f"{prefix}indices" in arrays
    wanted = [f"{prefix}targets", *([f"{prefix}indices"] if by_index else names)]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise SettingError(
            f"`--observations {path}` misses {', '.join(missing)}; it holds "
            f"{', '.join(arrays) or 'nothing'}. It needs `{prefix}targets` (B,) and "
            f"`{prefix}indices` (B, {setting.mode_tree.order}) or {names[0]} (B, D_0), ..."
        )
    targets = arrays[f"{prefix}targets"]
    try:
        if by_index:
            return htf.completion_loss(
                setting.tree,
                setting.mode_dims,
                arrays[f"{prefix}indices"],
                targets,
                **options,
            )
        vectors = [arrays[name] for name in names]
        _check_dims(vectors, setting.dims)
        return htf.sensing_loss(vectors, targets, **options)
    except (TypeError, ValueError) as error:
        raise SettingError(f"`--observations {path}`: {error}") from error


def _check_dims(vectors: list[np.ndarray], dims: tuple[int, ...]) -> None:
    found = tuple(x.shape[-1] if x.ndim else 0 for x in vectors)
    if found != dims:
        raise ValueError(
            f"the vectors have mode dimensions {found}, the model {dims}; give "
            "`--mode-dims`."
        )
