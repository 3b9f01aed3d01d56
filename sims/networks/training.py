"""One training run of a network: built, driven to its end, evaluated, saved."""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

import htfjax as htf
from htfjax import locality

from ..common.errors import RunError
from ..common.single import Asked, Job, drive
from . import measures
from .options import Point

# Values of a finished run, NaN where it has none.
ENDS = ("change_at_start", "change", "change_test", "test_accuracy", "test_loss",
        "validation_accuracy")  # fmt: skip
# Share of images without an interaction of the patches, of which the headline speaks.
MOST_UNCOUPLED = 0.5
EPOCHS_PER_CHUNK = 10  # of small networks; a large one saves and listens every epoch


@dataclasses.dataclass(frozen=True)
class Task:
    """Examples that a network is trained and tested on, and patches."""

    train: Any
    test: Any
    validation: Any  # None without
    patches: Any  # key -> (P, Q)
    channels: int


def read_records(path: Path, label: str) -> xr.Dataset | None:
    """Records in the folder of a run, or in a file; None if there is nothing.

    Raises:
      RunError: it is of another run. ValueError, FileNotFoundError: a damaged or missing
        file; it is named.
    """
    if not path.is_file() and not (path / "manifest.json").exists():
        return None
    dataset = htf.load_results(path)
    present = dataset.attrs.get("label")
    if present != label:
        raise RunError(
            f"{path} holds records of another run ({present!r}, expected {label!r}); "
            "restore the right one, or delete it and run the same command again."
        )
    return dataset


def is_finished(point: Point, config: Any, folder: Path) -> bool:
    """Whether the folder holds the end of this run, with every file whole.

    Raises:
      RunError: records of another run.
    """
    out = folder / point.name
    try:
        run = read_records(out, point.label)
        if run is None or "test_accuracy" not in run:
            return False
        htf.runs.check_results(out)
    except (OSError, ValueError):  # running it mends that, or says why it cannot be
        return False
    status = run.status.item()
    place = measures.path_of(folder, point.name)
    if is_measured(point, config, status) and not place.exists():
        return False
    return status != "capped" or run.epochs[0, -1] >= config.epochs


def is_measured(point: Point, config: Any, status: str) -> bool:
    """Whether `--measure` is about this run."""
    return config.measure and point.seed == config.seeds[0] and status != "diverged"


def train(
    point: Point,
    config: Any,
    build: Callable[[Point], Task],
    folder: Path,
    progress: Any,
    interrupted: Callable[[], bool] | None = None,
) -> str:
    """Trains one network to its end, from its last checkpoint if there is one.

    Returns:
      The status, as in `drive`.

    Raises:
      RunError: the device has too little memory.
      ValueError: the task cannot be built, or the checkpoint is of another network.
    """
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        task = build(point)
        try:
            return _train(point, config, task, folder, progress, interrupted)
        except MemoryError as error:
            raise RunError(
                f"{error} Here: `--batch-size` below {config.batch_size} (another run, so "
                "into another folder), or a smaller network or canvas."
            ) from error


def _train(
    point: Point,
    config: Any,
    task: Task,
    folder: Path,
    progress: Any,
    interrupted: Callable[[], bool] | None,
) -> str:
    network = make_network(point, config, task.channels)
    keys = jax.random.split(jax.random.key(point.seed), 3)
    for_start, for_steps, for_measures = keys
    params, statistics = jax.jit(network.init)(for_start)
    start = (params, statistics)
    change = _mean_change(point, config, task, for_measures)
    at_start = float(change(*start, task.train, train=True))
    if point.arm.coefficient > 0:
        say_if_blind(at_start, point, progress)
    examples = task.train
    if point.arm.control == "train_and_test":
        examples = locality.join_examples(examples, task.test)
    lane = htf.runs.Lane(
        state=htf.start_descent(
            locality.start_training(*start, examples), make_optimizer(point, config)
        ),
        loss=_loss(point, config, task, examples, network),
        observe=jax.tree_util.Partial(epoch_records),
        key=for_steps,
        optimizer=make_optimizer(point, config),
    )
    job, out = _job(point, config, lane, examples.count), folder / point.name
    outcome = drive(job, out, progress, config.checkpoint_seconds, interrupted=interrupted)
    if outcome.status == "interrupted":
        return outcome.status
    weights, course = outcome.state.params
    end = (weights, course.statistics)
    ends = {"change_at_start": at_start}
    if outcome.status != "diverged":
        ends |= _ends(network, end, task, change)
    final = {name: ("seed", [ends.get(name, np.nan)]) for name in ENDS}
    htf.runs.save_final(out, outcome.dataset, xr.Dataset(final))
    if is_measured(point, config, outcome.status):
        both = {"before": start, "after": end}
        label = measures.label(point.label)
        measures.save(folder, point.name, label, network, both, task, for_measures)
    return outcome.status


def _loss(
    point: Point, config: Any, task: Task, examples: Any, network: locality.Network
) -> locality.TrainingLoss:
    norm = point.arm.control == "gradient_norm"
    return locality.training_loss(
        network.apply,
        examples,
        coefficient=point.arm.strength if norm else point.arm.coefficient,
        penalty="input_gradient_norm" if norm else "input_gradient_change",
        patches=task.patches,
        batch_size=config.batch_size,
        batch_norm=config.batch_norm,
        patience=config.patience,
    )


def _mean_change(
    point: Point, config: Any, task: Task, key: jax.Array
) -> Callable[..., jax.Array]:
    """The regularizer over some batches, as a function of weights and examples."""
    network = make_network(point, config, task.channels, dropout=False)
    return functools.partial(
        locality.mean_change, network.apply, patches=task.patches, key=key,
        batch_size=config.batch_size, num_batches=16,
    )  # fmt: skip


def _job(point: Point, config: Any, lane: htf.runs.Lane, count: int) -> Job:
    """A record an epoch; training stops once no example is wrong for some epochs."""
    steps = locality.steps_per_epoch(count, config.batch_size)
    return Job(
        name=point.name,
        setting=Asked(point.label),
        seed=point.seed,
        lane=lane,
        num_steps=config.epochs * steps,
        record_every=steps,
        chunk_steps=steps * (1 if is_large(point) else EPOCHS_PER_CHUNK),
        tolerance=0.5 / count,  # less than one example
        patience=config.patience,
        watch="train_error",
        headline=headline,
    )


def _ends(
    network: locality.Network,
    end: tuple[Any, Any],
    task: Task,
    change: Callable[..., jax.Array],
) -> dict[str, Any]:
    """Values read off the final weights."""
    test = locality.evaluate(network.apply, *end, task.test)
    ends = {
        "test_accuracy": float(test.accuracy),
        "test_loss": float(test.loss),
        "change": float(change(*end, task.train, train=True)),
        "change_test": float(change(*end, task.test, train=False)),
    }
    if task.validation is not None:
        validation = locality.evaluate(network.apply, *end, task.validation)
        ends["validation_accuracy"] = float(validation.accuracy)
    return ends


@functools.lru_cache
def _network(name: str, channels: int, width: float, dropout: float) -> locality.Network:
    if name == "strided":
        return locality.strided_net(channels=channels, dropout=dropout)
    if name == "tiny":
        return locality.strided_net(
            (4, 4, 8), (2, 2, 2), channels=channels, dropout=dropout
        )
    if name == "residual":
        return locality.residual_net(channels=channels, dropout=dropout)
    depth = int(name.removeprefix("resnet"))
    return locality.resnet(depth, channels=channels, width=width, dropout=dropout)


def is_large(point: Point) -> bool:
    """Whether an epoch of this network takes long."""
    return point.network.startswith("resnet")


def make_network(
    point: Point, config: Any, channels: int, *, dropout: bool = True
) -> locality.Network:
    """The network of a run; equal ones are one object, so they are compiled once.

    Measured without dropout even in training mode, which would need a key.
    """
    own = point.arm.control == "dropout"
    share = point.arm.strength if own else config.dropout
    return _network(point.network, channels, config.width, share if dropout else 0.0)


@functools.lru_cache
def _optimizer(
    name: str, rate: float, momentum: float, decay: float, accumulate: int
) -> optax.GradientTransformationExtraArgs:
    if name == "adam":
        chosen = optax.adamw(rate, weight_decay=decay)
    else:
        chosen = optax.chain(
            optax.add_decayed_weights(decay) if decay else optax.identity(),
            optax.sgd(rate, momentum=momentum or None),
        )
    if accumulate > 1:
        chosen = optax.MultiSteps(chosen, accumulate).gradient_transformation()
    return locality.hold(chosen)


def make_optimizer(point: Point, config: Any) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a run; equal ones are one object."""
    own = point.arm.control == "weight_decay"
    decay = point.arm.strength if own else config.weight_decay
    return _optimizer(config.optimizer, config.learning_rate, config.momentum, decay,
                      config.accumulate)  # fmt: skip


def say_if_blind(change: float, point: Point, progress: Any) -> None:
    """Hands on the library's warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        locality.warn_if_blind(change)
    for warning in caught:
        progress.console.print(f"{point.name}: {warning.message}")


def epoch_records(params: htf.Carrying) -> dict[str, jax.Array]:
    """Records of the last epoch, and what the stopping rule watches.

    `train_error` is 1 before the first epoch, and NaN once a loss was not finite.
    """
    seen = locality.epoch_records(params)
    error = jnp.where(seen["epochs"] == 0, 1.0, 1.0 - seen["train_accuracy"])
    failed = seen.pop("failed")
    return seen | {"train_error": jnp.where(failed, jnp.nan, error)}


def headline(dataset: xr.Dataset) -> str:
    """Standing of a run in a line."""
    last = dataset.isel(seed=0, step=-1)
    share = float(last.uncoupled)
    blind = f", {share:.0%} of images without interaction" if share > MOST_UNCOUPLED else ""
    return (
        f"epoch {int(last.epochs)}, train accuracy {float(last.train_accuracy):.3f}, loss "
        f"{float(last.fit_loss):.3f}{blind}"
    )
