"""Options of a rank-dynamics run, and the setting of each panel that follows."""

import dataclasses
import difflib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast, get_args

import htfjax as htf

from .errors import SettingError

Task = Literal["completion", "sensing", "matrix_sensing"]
Panel = Literal["mf", "tf", "htf"]
PANELS: tuple[Panel, ...] = get_args(Panel)

# The dense end tensor is contracted at every record; 2**24 float32 numbers are 64 MiB.
LARGEST_TENSOR = 2**24


@dataclasses.dataclass(frozen=True)
class Config:
    """Do the ranks of a factorization rise one at a time from a small initialization?

    By default the three settings of arXiv:2201.11729: a 64x64 matrix factorization of
    depth 3 (mf), a 16x16x16 CP tensor factorization with 256 components (tf) and an
    8x8x8x8 hierarchical one with widths 512 (htf), each completing a rank-5 target of
    norm 64 from 2048 of its 4096 entries. An option left at "None" takes the panel's
    value. The same command on the same folder resumes it.
    """

    out: Path
    """Folder for results, figures and checkpoints."""
    panel: Literal["all", "mf", "tf", "htf"] = "all"
    """Which model to run."""

    order: int | None = None
    """Number of modes; the tree is then binary (htf) or flat (tf) unless given."""
    mode_dims: tuple[int, ...] | None = None
    """Mode dimensions, one for each mode or one for all."""
    tree: str | None = None
    """Nested modes such as "((0, 1), (2, 3))", or flat, binary, caterpillar,
    interleaved."""
    widths: tuple[int, ...] | None = None
    """Local components: one number, one per interior node, or one per height."""
    root: Literal["trained", "ones"] | None = None
    """Root weights trained, or fixed to ones."""
    init: Literal["gaussian", "identity", "balanced"] = "gaussian"
    """Kind of initialization."""
    init_std: float | None = None
    """Gaussian: standard deviation; identity: factor; balanced: norm of every matrix."""
    init_mean: float = 0.0
    """Gaussian: mean of every weight."""

    target_tree: str | None = None
    """Tree of the target; by default that of the model without one-child nodes."""
    target_ranks: tuple[int, ...] = (5,)
    """Widths of the target."""
    target_norm: float = 64.0
    """Frobenius norm of the target."""
    symmetric: bool = False
    """Target with one matrix for all nodes of equal height and shape."""

    task: Task = "completion"
    """Entries, rank-one measurements, or dense Gaussian matrices (order 2 only)."""
    observed: int = 2048
    """Number of observations."""
    observations: Path | None = None
    """An npz file with `indices` (B, N) or `vectors_0`, ... (B, D_n), and `targets` (B,);
    optionally the same with the prefix `test_`. Replaces the synthetic target."""

    optimizer: Literal["group_rmsprop", "sgd"] = "group_rmsprop"
    """One adaptive scalar step for all weights, or plain gradient descent."""
    learning_rate: float = 1e-2
    """Learning rate, the first one of a schedule."""
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    """Course of the learning rate over `--schedule-steps`."""
    schedule_steps: int = 50_000
    """Steps until the schedule ends at the final learning rate."""
    final_learning_rate: float = 1e-4
    """Learning rate at the end of a schedule."""
    decay: float = 0.99
    """GroupRMSprop: decay of the running mean square."""
    eps: float = 1e-6
    """GroupRMSprop: added to the root mean square."""
    momentum: float = 0.0
    """SGD: heavy-ball momentum."""
    batch_size: int | None = None
    """Observations per step, drawn anew at each; by default all."""
    penalty: Literal["l2", "l1", "huber"] = "l2"
    """Loss of a residual, averaged over observations."""
    threshold: float = 1.0
    """Huber: where the square turns into the absolute value."""

    tolerance: float = 5e-5
    """Training mean squared error below which a record counts as fitted."""
    patience: int = 100
    """Stop when more than this many records in a row are fitted."""
    num_steps: int = 50_000
    """Steps at most; a run they end is marked "not converged" and can be extended."""
    record_every: int = 25
    """Steps between records."""
    track_nodes: tuple[int, ...] | None = None
    """Nodes whose local component norms are recorded; 0-based ids, leaves first."""
    track_modes: tuple[str, ...] | None = None
    """Mode sets whose singular values are recorded, 0-based, such as "0,1" "0,2"."""
    top: int = 10
    """Singular values recorded and lines drawn."""
    seed: int = 0
    """Seed of target, observations, start and minibatches."""
    dtype: Literal["float32", "float64"] = "float32"
    """Precision of the whole run."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints."""


MAY_DIFFER = ("num_steps", "checkpoint_seconds")


@dataclasses.dataclass(frozen=True, repr=False)
class Setting(htf.problems.Completion):
    """One panel, fully resolved."""

    panel: str = "htf"
    track_nodes: tuple[int, ...] = ()


# Least values of options; strictly above for the second kind; neither infinite nor NaN.
AT_LEAST = {"widths": 1, "mode_dims": 1, "target_ranks": 1, "init_std": 0, "top": 1,
            "patience": 0, "record_every": 1, "num_steps": 1, "observed": 1,
            "checkpoint_seconds": 0, "tolerance": 0, "eps": 0, "momentum": 0,
            "schedule_steps": 1, "seed": 0}  # fmt: skip
ABOVE = {"learning_rate": 0, "final_learning_rate": 0, "target_norm": 0, "threshold": 0}
FINITE = ("init_std", "init_mean", "learning_rate", "final_learning_rate", "target_norm")


def check_numbers(config: Config) -> None:
    """Numbers within their ranges, and records that fit the steps.

    Raises:
      SettingError: names the option, what was given and what is possible.
    """
    for name, least in AT_LEAST.items():
        _check_each(config, name, lambda x, least=least: x >= least, f"at least {least}")
    for name, bound in ABOVE.items():
        _check_each(config, name, lambda x, bound=bound: x > bound, f"above {bound}")
    for name in FINITE:
        _check_each(config, name, math.isfinite, "a finite number")
    check_multiple(config.num_steps, config.record_every)


# Numbers that may be zero, of the commands that have no bounds of their own.
FROM_ZERO = ("seed", "seeds", "init_std", "stop_loss", "tolerance", "patience",
             "checkpoint_seconds")  # fmt: skip


def check_signs(config: Any) -> None:
    """Numbers that are finite and above zero, but for those that may be zero.

    Raises:
      SettingError: names the option, what was given and what is possible.
    """
    for field in dataclasses.fields(config):
        value, zero = getattr(config, field.name), field.name in FROM_ZERO
        for number in value if isinstance(value, tuple) else (value,):
            if type(number) not in (int, float) or 0 < number < math.inf:
                continue
            if number != 0 or not zero:
                words = "at least 0" if zero else "above 0"
                raise SettingError(f"`{flag(field.name)} {number}` must be {words}.")


def check_multiple(num_steps: int, record_every: int) -> None:
    """Records must fit the steps.

    Raises:
      SettingError: with numbers that do.
    """
    surplus = num_steps % record_every if record_every > 0 else 0
    if record_every < 1 or surplus:
        below = num_steps - surplus
        fewer = f"{below} or " if below else ""
        raise SettingError(
            f"`--record-every {record_every}` does not divide `--num-steps {num_steps}`; "
            f"use {fewer}{below + record_every} steps."
        )


def _check_each(config: Config, name: str, fits: Callable[[Any], bool], words: str) -> None:
    """The numbers of one option, if it was given."""
    value = getattr(config, name)
    numbers = value if isinstance(value, tuple) else (value,)
    if value is not None and not all(map(fits, numbers)):
        said = " ".join(map(str, numbers))
        raise SettingError(f"`{flag(name)} {said}` must be {words}.")


def flag(name: str) -> str:
    """A field as it is written on the command line."""
    return "--" + name.replace("_", "-")


def chosen_panels(config: Config) -> tuple[Panel, ...]:
    """The panels of a run, after a look at options that fit only one of them."""
    if config.panel != "all":
        return (config.panel,)
    for name in ("order", "mode_dims", "tree", "widths", "target_tree", "track_nodes",
                 "track_modes", "observations", "root"):  # fmt: skip
        if getattr(config, name) is not None:
            raise SettingError(
                f"`{flag(name)}` fits one model; choose it with "
                "`--panel mf`, `--panel tf` or `--panel htf`."
            )
    if config.task == "matrix_sensing":
        raise SettingError("`--task matrix_sensing` needs order 2: add `--panel mf`.")
    return PANELS


def resolve(config: Config, panel: Panel) -> Setting:
    """The paper's panel with the user's options put over it.

    Raises:
      SettingError, ValueError, TypeError: options that do not fit together.
    """
    paper = htf.problems.paper(panel)
    tree = _model_tree(config, paper)
    dims = paper.dims[:1] if config.mode_dims is None else config.mode_dims
    dims = dims * tree.order if len(dims) == 1 else dims
    size = math.prod(dims)
    if size > LARGEST_TENSOR:
        raise SettingError(
            f"`--mode-dims {' '.join(map(str, dims))}` make a tensor of {size} entries; "
            "this simulation reads ranks off the dense tensor and takes up to "
            f"{LARGEST_TENSOR}."
        )
    widths = config.widths if config.widths is not None else _paper_widths(paper, tree)
    ranks, target_tree = config.target_ranks, None
    if config.target_tree is not None:
        target_tree = read_tree("--target-tree", config.target_tree, tree.order)
        if target_tree.order != tree.order:
            raise SettingError(
                f"`--target-tree {config.target_tree}` has {target_tree.order} modes, "
                f"the model {tree.order}."
            )
    return Setting(
        panel=panel,
        tree=tree,
        mode_dims=dims,
        widths=widths[0:1] * len(tree.interior) if len(widths) == 1 else widths,
        root=config.root or paper.root,
        init_std=paper.init_std if config.init_std is None else config.init_std,
        target_tree=target_tree,
        target_rank=ranks[0] if len(ranks) == 1 else ranks,
        target_norm=config.target_norm,
        symmetric=config.symmetric,
        observed=min(config.observed, size),  # rank-one measurements may be more
        penalty=config.penalty,
        threshold=config.threshold,
        track_nodes=_track_nodes(config, tree),
        track_modes=_track_modes(config, paper, tree),
        top=config.top,
        dtype=config.dtype,
    )


TREES: dict[str, Callable[[int], htf.ModeTree]] = {
    "flat": htf.flat,
    "binary": lambda order: htf.pooled(order, 2),
    "caterpillar": htf.caterpillar,
    "interleaved": htf.interleaved,
}


def read_tree(name: str, text: str, order: int | None) -> htf.ModeTree:
    """A tree from nested modes or from a name.

    Raises:
      SettingError: neither; a name where nothing says the order.
    """
    if text in TREES:
        if order is None:
            raise SettingError(f"`{name} {text}` needs `--order`.")
        return TREES[text](order)
    if not text.strip().startswith(("(", "[")):
        close = difflib.get_close_matches(text.lower(), TREES, n=1)
        meant = f" Did you mean `{name} {close[0]}`?" if close else ""
        raise SettingError(
            f"`{name} {text}` is neither one of {', '.join(TREES)} nor nested modes such "
            f"as '((0, 1), (2, 3))'.{meant}"
        )
    return nested_tree(name, text)


def nested_tree(name: str, text: str) -> htf.ModeTree:
    """A tree from nested modes.

    Raises:
      SettingError: other text; the message has the column.
    """
    try:
        return htf.as_tree(text, name=name)
    except (ValueError, TypeError) as error:
        raise SettingError(str(error)) from error


def _model_tree(config: Config, paper: htf.problems.Completion) -> htf.ModeTree:
    order = config.order
    if order is None and config.mode_dims is not None and len(config.mode_dims) > 1:
        order = len(config.mode_dims)
    if config.tree is not None:
        tree = read_tree("--tree", config.tree, order)
    elif order is None or order == len(paper.dims):
        tree = paper.mode_tree
    elif len(paper.dims) == 2:
        raise SettingError(f"`--order {order}`: a matrix has order 2; use `--panel tf`.")
    else:
        tree = htf.flat(order) if len(paper.dims) == 3 else htf.pooled(order, 2)
    if order is not None and tree.order != order:
        raise SettingError(
            f"`--tree` has {tree.order} modes, `--order` or `--mode-dims` say {order}."
        )
    return tree


def _paper_widths(paper: htf.problems.Completion, tree: htf.ModeTree) -> tuple[int, ...]:
    """The paper's width for every height of another tree, its last one repeated."""
    heights, widths = tree.height[tree.root], cast(tuple[int, ...], paper.widths)
    return (widths + widths[-1:] * heights)[:heights]


def _track_nodes(config: Config, tree: htf.ModeTree) -> tuple[int, ...]:
    """By default the first node above the leaves and the root."""
    if config.track_nodes is None:
        return tuple(dict.fromkeys((tree.interior[0], tree.root)))
    wrong = [k for k in config.track_nodes if k not in tree.interior]
    if wrong:
        raise SettingError(
            f"`--track-nodes {' '.join(map(str, wrong))}`: interior nodes are "
            f"{tree.interior[0]}..{tree.root} of\n{tree}"
        )
    return config.track_nodes


def _track_modes(
    config: Config, paper: htf.problems.Completion, tree: htf.ModeTree
) -> tuple[tuple[int, ...], ...]:
    if config.track_modes is not None:
        try:
            found = tuple(tuple(map(int, text.split(","))) for text in config.track_modes)
        except ValueError as error:
            raise SettingError(
                f"`--track-modes {' '.join(config.track_modes)}`: write mode sets with "
                "commas, such as 0,1 0,2."
            ) from error
        every = set(range(tree.order))
        for text, modes in zip(config.track_modes, found, strict=True):
            if len(set(modes)) < len(modes) or not set(modes) < every:
                raise SettingError(
                    f"`--track-modes {text}`: give different modes of "
                    f"0..{tree.order - 1}, not all of them."
                )
        return found
    if tree == paper.mode_tree:
        return paper.track_modes
    return (tree.modes[tree.interior[0]] if len(tree.interior) > 1 else (0,),)
