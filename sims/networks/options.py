"""Options of the studies of trained networks, and the runs that they ask for."""

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..common.errors import SettingError
from ..common.folder import digest_of
from ..common.settings import flag

NetworkName = Literal["strided", "residual", "tiny", "resnet18", "resnet34", "resnet50"]


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """Options that both tasks share; one left at "None" takes the preset's value."""

    out: Path
    """Folder for results, figures and checkpoints."""
    preset: Literal["cpu", "paper", "smoke"] = "cpu"
    """cpu: a small version for two cores; paper: the paper's setting, for an accelerator;
    smoke: seconds, for tests."""
    coefficients: tuple[float, ...] | None = None
    """Coefficients of the locality regularizer, one arm each; 0 is plain training."""
    controls: tuple[str, ...] = ()
    """More arms, at coefficient 0 otherwise: two_passes (coefficient 1e-6: the second
    batch-norm pass without its effect), train_and_test (trained on both: is the network
    able to?), dropout=0.2, weight_decay=1e-3, gradient_norm=0.01 (a penalty on the norm of
    input gradients); with strengths of your own."""
    seeds: tuple[int, ...] | None = None
    """Seeds of start, batches and patches (and of training pairs)."""
    train_sizes: tuple[int, ...] | None = None
    """Numbers of training examples."""
    test_size: int | None = None
    """Number of test examples."""
    networks: tuple[NetworkName, ...] | None = None
    """Networks."""
    width: float = 1.0
    """Factor on the channels of a ResNet."""
    validation_size: int = 0
    """Examples, made of training images that no training example shows, on which the
    coefficient is chosen; with 0 arms are compared on the test examples, as by the
    authors."""
    epochs: int | None = None
    """Epochs at most."""
    patience: int | None = None
    """Training stops once train accuracy was 1 for more epochs in a row than this."""
    batch_size: int = 64
    """Images a step; the last batch of an epoch may be smaller."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """SGD with momentum, or Adam."""
    learning_rate: float = 0.01
    """Learning rate."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 0.0
    """Weight decay in every arm: added to the gradient (SGD) or decoupled (Adam)."""
    dropout: float = 0.0
    """Dropout in every arm."""
    accumulate: int = 1
    """Batches whose gradients are averaged for one update."""
    batch_norm: Literal["reference", "split", "frozen"] = "reference"
    """Batch normalization in the regularizer's passes."""
    measure: bool = False
    """Measures how local the first seed's networks are before and after training."""
    samples_only: bool = False
    """Draws the contact sheet of examples, samples.png, and trains nothing."""
    workers: int | None = None
    """Processes that train one run each; by default one a core, or one on accelerators."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints."""


# What a folder may be given more of, where images lie, and what changes no number. Which
# images they are is compared by digest.
MAY_DIFFER = ("workers", "samples_only", "checkpoint_seconds", "measure", "epochs",
              "seeds", "coefficients", "controls", "distances", "path_lengths", "data",
              "image_folder", "images_note")  # fmt: skip
STRENGTHS = {"two_passes": 1e-6, "train_and_test": 0.0, "dropout": 0.2,
             "weight_decay": 1e-3, "gradient_norm": 0.01}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way of training."""

    label: str
    coefficient: float  # of the locality regularizer
    control: str = ""
    strength: float = 0.0


@dataclasses.dataclass(frozen=True)
class Point:
    """One run: where it stands in the grid."""

    value: int  # distance or path length
    arm: Arm
    train_size: int
    canvas: str
    network: str
    seed: int
    digest: str  # of the options that decide its numbers

    @property
    def name(self) -> str:
        """The run's name in the folder."""
        arm = self.arm.label.replace(" ", "_").replace("=", "_")
        rest = f"n{self.train_size}_{self.canvas}_{self.network}_seed{self.seed}"
        return f"{self.value}_{arm}_{rest}"

    @property
    def label(self) -> str:
        """Label of every file of the run."""
        return f"{self.name} {self.digest}"


class Runs(NamedTuple):
    """Runs of a study: every combination of what was asked for."""

    values: tuple[int, ...]  # distances or path lengths
    arms: tuple[str, ...]  # labels
    points: list[Point]  # the slow ones first, so that workers end together


AXES = ("arm", "train_size", "canvas", "network", "seed")


def resolve(config: Any, presets: dict[str, dict[str, Any]]) -> Any:
    """The options with the preset's values where there are none, checked.

    Raises:
      SettingError: options that cannot be.
    """
    chosen = presets[config.preset]
    resolved = dataclasses.replace(
        config, **{k: v for k, v in chosen.items() if getattr(config, k) is None}
    )
    check_options(resolved)
    return resolved


def is_paper(config: Any, preset: dict[str, Any], *more: str) -> bool:
    """Whether curves may stand beside the paper's: its canvas, network and sizes."""
    names = ("canvases", "networks", "train_sizes", *more)
    return all(getattr(config, name) == preset[name] for name in names)


def check_options(config: Any) -> None:
    """Numbers within their ranges.

    Raises:
      SettingError: names the option, what was given and what is possible.
    """
    least: dict[str, float] = {
        "epochs": 1, "patience": 0, "batch_size": 2, "accumulate": 1, "test_size": 2,
        "validation_size": 0, "weight_decay": 0, "momentum": 0, "checkpoint_seconds": 0,
        "dropout": 0, "workers": 1,
    }  # fmt: skip
    for name, bound in least.items():
        value = getattr(config, name)
        if value is not None and not value >= bound:
            raise SettingError(f"`{flag(name)} {value}` must be at least {bound}.")
    if not config.learning_rate > 0:
        raise SettingError(f"`--learning-rate {config.learning_rate}` must be above 0.")
    if not config.dropout < 1:
        raise SettingError(f"`--dropout {config.dropout}` must be below 1.")
    if config.width != 1 and not any(n.startswith("resnet") for n in config.networks):
        raise SettingError(f"`--width {config.width}` is about ResNets; none is asked for.")
    for name in ("coefficients", "seeds", "train_sizes", "networks"):
        values = getattr(config, name)
        if not values and not (name == "coefficients" and config.controls):
            raise SettingError(f"`{flag(name)}` is empty.")
        if len(set(values)) < len(values):
            raise SettingError(f"`{flag(name)} {values}` names something twice.")
    if min(config.seeds) < 0 or any(not c >= 0 for c in config.coefficients):
        raise SettingError("seeds and coefficients must be at least 0.")
    for size in config.train_sizes:
        if size < config.batch_size or size % config.batch_size == 1:
            raise SettingError(
                f"`--train-sizes {size}` with `--batch-size {config.batch_size}`: every "
                "batch needs at least two images, and the first ones must be full."
            )


def arms_of(config: Any) -> list[Arm]:
    """The coefficients, then the controls.

    Raises:
      SettingError: a control that is none.
    """
    arms = [Arm(f"coefficient {c:g}", c) for c in config.coefficients]
    for text in config.controls:
        name, _, strength = text.partition("=")
        try:
            if name not in STRENGTHS:
                raise ValueError
            value = float(strength) if strength else STRENGTHS[name]
            if not 0 <= value < (1 if name == "dropout" else math.inf):
                raise ValueError
        except ValueError:
            raise SettingError(
                f"`--controls {text}` is none of {', '.join(STRENGTHS)}, with a number "
                "(at least 0, dropout below 1) as in dropout=0.2 or without."
            ) from None
        coefficient = value if name == "two_passes" else 0.0
        arms.append(Arm(text.replace("_", " "), coefficient, name, value))
    labels = [arm.label for arm in arms]
    if len(set(labels)) < len(labels):
        raise SettingError(
            f"`--coefficients` and `--controls` name an arm twice: {labels}."
        )
    return arms


def runs_of(config: Any, values: tuple[int, ...]) -> Runs:
    """All runs of resolved options.

    Args:
      values: distances or path lengths.

    Raises:
      SettingError: a control that is none.
    """
    arms, digest = arms_of(config), digest_of(config, MAY_DIFFER)
    grid = itertools.product(
        config.seeds, values, arms, config.train_sizes, config.canvases, config.networks
    )
    points = [
        Point(v, arm, n, canvas, net, s, digest) for s, v, arm, n, canvas, net in grid
    ]
    points.sort(key=lambda p: -cost(p))
    return Runs(values, tuple(arm.label for arm in arms), points)


def cost(point: Point) -> float:
    """Of a step, in plain steps; measured for the small network on a CPU."""
    slow = point.arm.coefficient > 0 or point.arm.control == "gradient_norm"
    return 4.0 if slow else 1.0
