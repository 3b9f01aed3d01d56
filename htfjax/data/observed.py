"""Observed cells of a user's array or table, to train on and to test on."""

import dataclasses
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args, overload

import jax
import numpy as np

from htfjax import _checks, _numerics
from htfjax._integers import spell
from htfjax._types import Array, Dims, Float, Int, Key, Numbers
from htfjax.contraction.entries import check_indices
from htfjax.data import arrays, tables
from htfjax.data.cells import Cells, check_names, distinct, without_missing
from htfjax.data.holdout import check_share, held_out
from htfjax.data.labelled import labelled_array
from htfjax.data.levels import codes_of, nearest, rare
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import layout_of
from htfjax.losses.loss import CompletionOptions, ObservationLoss, completion_loss
from htfjax.trees.mode_tree import TreeLike, as_tree

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

Scaling = Literal["standardize", "none"]
# Values that differ by no more than this, relative to the largest, have no scale.
SAME = 4 * np.finfo(np.float64).eps


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Observed:
    """Observed cells of a tensor, to train and to test on; made by `observed`.

    Attributes:
      indices, targets: (B, N) int32 and (B,) float64, the cells to train on, none twice.
      test_indices, test_targets: (M, N) and (M,), those held out; M is 0 without holdout.
      mode_dims: D_n of every mode.
      mode_names: what the modes are called.
      levels: (D_n,) labels of every mode; the code of a label is its place.
      shift, scale: a target is (value - shift) / scale.
      value_name: what the values are called.

    Example:
      >>> import htfjax as htf, jax, numpy as np
      >>> values = np.add.outer([10.0, 20.0, 30.0], [1.0, 2.0, 3.0])
      >>> data = htf.observed(values, holdout=0.2, key=jax.random.key(0))
      >>> data
      Observed(value of mode_0 3, mode_1 3: 7 cells, 2 held out; shift 25, scale 6.78)
      >>> data.in_units(data.test_targets).tolist()
      [11.0, 12.0]
      >>> data.labels([[0, 2]])
      {'mode_0': array([0]), 'mode_1': array([2])}
      >>> data.codes({"mode_0": [0], "mode_1": [2]}).tolist()
      [[0, 2]]
      >>> zero = htf.gaussian_factors(jax.random.key(1), htf.flat(2), 3, 2, 0.0)
      >>> f"{data.loss(htf.flat(2))(zero):.3f}, {data.test_error(zero):.3f}"
      '1.000, 13.509'
    """

    indices: np.ndarray
    targets: np.ndarray
    test_indices: np.ndarray
    test_targets: np.ndarray
    mode_dims: tuple[int, ...]
    mode_names: tuple[str, ...]
    levels: tuple[np.ndarray, ...]
    shift: float
    scale: float
    value_name: str

    def __repr__(self) -> str:
        modes = zip(self.mode_names, self.mode_dims, strict=True)
        return (
            f"Observed({self.value_name} of {', '.join(f'{n} {d}' for n, d in modes)}: "
            f"{len(self.targets)} cells, {len(self.test_targets)} held out; "
            f"shift {self.shift:.3g}, scale {self.scale:.3g})"
        )

    # Losses and errors

    def loss(self, tree: TreeLike, **options: Unpack[CompletionOptions]) -> ObservationLoss:
        """`completion_loss` of the cells to train on.

        Args:
          tree: mode tree, with a leaf for each mode, nested modes or their text.
          options: of `completion_loss`; a `threshold` is in the units of the targets.

        Raises:
          TypeError, ValueError: a tree of another order; options as `completion_loss`.
        """
        tree = self._fitting(tree)
        return completion_loss(tree, self.mode_dims, self.indices, self.targets, **options)

    def test_loss(
        self, tree: TreeLike, **options: Unpack[CompletionOptions]
    ) -> ObservationLoss:
        """`completion_loss` of the cells held out.

        Args, raises: as `loss`; ValueError: no cells are held out.
        """
        if not len(self.test_targets):
            raise ValueError(
                "`holdout=0` left no cells to test on; `observed(..., holdout=0.1, "
                "key=jax.random.key(0))` holds out a tenth."
            )
        return completion_loss(
            self._fitting(tree), self.mode_dims, self.test_indices, self.test_targets,
            **options,
        )  # fmt: skip

    def test_error(self, factors: AnyFactors) -> Float[Array, ""]:
        """Root of the mean squared error on the cells held out, in the user's units.

        Args:
          factors: plain or grouped, of the data's mode dimensions.

        Raises:
          TypeError, ValueError: malformed factors, of other mode dimensions; no cells are
            held out.
        """
        tree = self._fitting(layout_of(factors).tree, "factors")
        mean = self.test_loss(tree)(factors)
        return _numerics.safe_sqrt(mean) * self.scale

    def _fitting(self, tree: TreeLike, name: str = "tree") -> TreeLike:
        order = as_tree(tree).order
        if order != len(self.mode_dims):
            raise ValueError(
                f"`{name}` has {order} modes, the data have {len(self.mode_dims)}: "
                f"{', '.join(self.mode_names)}."
            )
        return tree

    # Back to units and labels

    def in_units(self, values: Numbers) -> Float[Array | np.ndarray, "..."]:
        """Targets or predictions in the user's units: shift + scale x.

        Args:
          values: (...), jax arrays or others.

        Returns:
          A NumPy array of float64; of traced values a traced array of their dtype.

        Raises:
          TypeError: masked values, or not real numbers.
        """
        if not _checks.concrete(values):
            traced = _checks.floating("values", values)
            return traced * self.scale + self.shift
        # In float32 a large shift would leave one number of all.
        found = _checks.seen("values", values).astype(np.float64)
        return found * self.scale + self.shift

    def labels(self, indices: Numbers) -> dict[str, np.ndarray]:
        """The labels of cells, a column (B,) for each mode.

        Args:
          indices: (B, N) integers.

        Raises:
          TypeError, ValueError: indices that `entries` would refuse, traced ones too.
        """
        _checks.seen("indices", indices)
        codes = np.asarray(check_indices(indices, self.mode_dims))
        named = zip(self.mode_names, self.levels, codes.T, strict=True)
        return {name: labels[column] for name, labels, column in named}

    def codes(self, labels: "Mapping[str, Any] | pd.DataFrame") -> Int[np.ndarray, "B N"]:
        """The indices of cells given by their labels, int32.

        Args:
          labels: by the name of each mode a list (B,); a DataFrame with these columns will
            do, others in it are ignored.

        Raises:
          TypeError: not a mapping, or not lists. ValueError: no labels of a mode, lists of
            different lengths, a label that is not a level of its mode.
        """
        columns = [
            codes_of(name, known, self._column(labels, name))
            for name, known in zip(self.mode_names, self.levels, strict=True)
        ]
        if len({len(column) for column in columns}) > 1:
            sizes = dict(zip(self.mode_names, map(len, columns), strict=True))
            raise ValueError(f"`labels` must be lists of one length, got {sizes}.")
        return np.stack(columns, axis=1)

    def _column(self, labels: Any, name: str) -> Any:
        if not (isinstance(labels, Mapping) or tables.is_a(labels, "pandas", "DataFrame")):
            raise TypeError(
                "`labels` must be a dict from names of modes to lists of labels, or a "
                f"DataFrame, got {spell(labels)}."
            )
        if name not in labels:
            raise ValueError(
                f"`labels` has no mode {name!r}, only {spell(list(labels))}"
                f"{nearest(name, labels) or '.'}"
            )
        return labels[name]

    @overload
    def decode(self, values: Numbers) -> "xr.DataArray": ...

    @overload
    def decode(self, values: Numbers, indices: Numbers) -> dict[str, np.ndarray]: ...

    def decode(
        self, values: Numbers, indices: Numbers | None = None
    ) -> "xr.DataArray | dict[str, np.ndarray]":
        """Predictions with labels, in the user's units.

        Args:
          values: (D_0, ..., D_{N-1}), an end tensor, or (B,), its entries at `indices`.
          indices: (B, N) integers.

        Returns:
          Of an end tensor an xarray DataArray, from which `.sel` picks by label. Of entries
          the columns of a table: (B,) labels by the name of each mode, and the values.

        Raises:
          TypeError, ValueError: values that are not real numbers or of another shape,
            traced ones, indices out of range.
          ImportError: xarray is not installed, and no `indices` are given.
        """
        found = np.asarray(self.in_units(_checks.seen("values", values)))
        if indices is None:
            _checks.shape("values", found, self.mode_dims, "(D_0, ..., D_{N-1})")
            return labelled_array(found, self.mode_names, self.levels, self.value_name)
        columns = self.labels(indices)
        count = len(columns[self.mode_names[0]])
        _checks.shape("values", found, (count,), "(B,)")
        return columns | {self.value_name: found}


def observed(
    data: object,
    *,
    holdout: float = 0.1,
    key: Key[Array, ""] | None = None,
    scaling: Scaling = "standardize",
    values: Hashable | None = None,
    modes: Sequence[Hashable] | None = None,
    mode_dims: Dims | None = None,
) -> Observed:
    """Observed cells of a user's array or table, some of them held out to test on.

    Each row of a table is a cell and each column a mode; the labels in a column are the
    levels of its mode: text, numbers and dates in sorted order, categories in theirs,
    without those that no row has. A wide table, whose columns are levels, becomes such a
    table by `data.stack()`. Values of one cell that are given more than once are averaged.

    "standardize" gives targets of mean 0 and variance 1 over the cells to train on. It is
    the default because the time that a small start takes to grow depends on the norm of
    the targets: the usual starts (std 0.03 to 0.2) and learning rates (1e-2) are for
    values of about one. The shift also takes away a constant tensor, which would be
    learned first; it changes a rank by at most one. "none" leaves values as they are.

    Args:
      data: one of
        an array (D_0, ..., D_{N-1}), NaN or masked where a value is missing;
        a pair of indices (B, N), counted from 0, and values (B,), NaN if missing;
        a pandas DataFrame, a Series whose index has several levels, or an xarray DataArray,
        whose dimensions are modes and whose coordinates are levels, in their order.
      holdout: share of the distinct observed cells that is held out, at least 0, below 1.
        They are drawn at random, but none is the last cell of a level.
      key: typed key that draws them; not needed for holdout 0.
      scaling: "standardize" or "none".
      values: the column of a DataFrame with the values; the last one by default.
      modes: the columns of a DataFrame that are modes, in order, by default all others;
        the order of modes of a Series or DataArray; names of the modes of an array or pair.
      mode_dims: D_n of a pair, by default the largest index of each mode plus one.

    Warns:
      UserWarning: columns of floating numbers with fractions that became modes because
        `modes` names none; values of one cell that differ; levels with one cell or none;
        fewer cells held out than asked, because levels would be left without any.

    Raises:
      TypeError: data of another kind; values that are text, boolean, complex or dates;
        float indices; levels of several types; no typed key.
      ValueError: no cells, or all missing; infinite values, integers beyond 2^53 that
        float64 rounds; indices out of range; one mode;
        a missing level; a column that is not there; a share out of range, or one that
        leaves nothing to train on.

    Example:
      >>> import htfjax as htf, jax, numpy as np
      >>> rng = np.random.default_rng(0)
      >>> truth = 50 + np.einsum("i,j,k->ijk", *rng.normal(size=(3, 6)))
      >>> mine = np.where(rng.random(truth.shape) < 0.8, truth, np.nan)
      >>> data = htf.observed(mine, key=jax.random.key(0))
      >>> tree = htf.ModeTree.from_nested(((0, 1), 2))
      >>> start = htf.gaussian_factors(jax.random.key(1), tree, data.mode_dims, 4, 0.1)
      >>> optimizer, loss = htf.group_rmsprop(1e-2), data.loss(tree)
      >>> final, _ = htf.descend(start, loss, optimizer, num_steps=500, record_every=500)
      >>> float(data.test_error(final)) < 0.2 * data.scale
      True
      >>> data.decode(htf.end_tensor(final)).sel(mode_0=1, mode_1=2).shape
      (6,)
    """
    share = check_share("holdout", holdout)
    _check_key(key, share)
    _checks.one_of("scaling", scaling, get_args(Scaling))
    cells = _read(data, values, modes, mode_dims)
    check_names(cells)
    cells, text = distinct(without_missing(cells))
    unsure = tables.doubt(cells)
    texts = [unsure, text, *rare(cells.mode_names, cells.levels, cells.indices)]
    test = np.zeros(len(cells.values), bool)
    if share and key is not None:
        test, text = held_out(key, cells.indices, cells.mode_dims, share, unsure)
        texts.append(text)
    for text in filter(None, texts):
        warnings.warn(text, stacklevel=2)
    return _record(cells, test, scaling)


def _check_key(key: object, share: float) -> None:
    if key is not None:
        _checks.key("key", key)
        if not _checks.concrete(key):
            raise TypeError("`key` must be concrete: what is held out decides shapes.")
    elif share:
        raise TypeError(
            f"`key` is missing: it draws the cells that `holdout={share:g}` keeps to test "
            "on. Give `key=jax.random.key(0)`, or `holdout=0` to train on all."
        )


def _read(data: Any, values: Any, modes: Any, mode_dims: Any) -> Cells:
    """The cells of whatever the data are."""
    if modes is not None:
        modes = _checks.sequence("modes", modes, "names of modes")
    frame = tables.is_a(data, "pandas", "DataFrame")
    series = tables.is_a(data, "pandas", "Series")
    labelled = tables.is_a(data, "xarray", "DataArray")
    pair = isinstance(data, tuple) and len(data) == 2
    if not (frame or series or labelled or pair):
        _check_array(data)
    if values is not None and not frame:
        raise ValueError(f"`values={spell(values)}` names a column of a DataFrame only.")
    if mode_dims is not None and not pair:
        raise ValueError(
            f"`mode_dims={spell(mode_dims)}` is for a pair of indices and values only: an "
            "array has its shape, a table its levels."
        )
    if frame:
        return tables.frame_cells(data, modes, values)
    if series:
        return tables.series_cells(data, modes)
    if labelled:
        return tables.labelled_cells(data, modes)
    if pair:
        return arrays.pair_cells(data, modes, mode_dims)
    return arrays.array_cells(data, modes)


def _check_array(data: Any) -> None:
    """An array of several axes or nested lists, and no table of another kind."""
    if isinstance(data, np.ndarray | jax.Array):
        arrays.check_order("data", data.ndim)
    if isinstance(data, np.ndarray | jax.Array | list):
        return
    advice = ""
    if tables.is_a(data, "xarray", "Dataset"):
        advice = " `data[name]` is one of its variables."
    elif hasattr(data, "to_pandas"):  # polars, pyarrow
        advice = " Give `data.to_pandas()`."
    raise TypeError(
        "`data` must be an array, a pair `(indices, values)`, a pandas DataFrame or "
        f"Series, or an xarray DataArray, got {spell(data)}.{advice}"
    )


def _record(cells: Cells, test: np.ndarray, scaling: str) -> Observed:
    """The record of cells, of which some are to test on."""
    shift, scale = (
        _standard(cells.values[~test]) if scaling == "standardize" else (0.0, 1.0)
    )
    targets = (cells.values - shift) / scale
    parts = (cells.indices[~test], targets[~test], cells.indices[test], targets[test])
    for array in (*parts, *cells.levels):
        array.setflags(write=False)
    return Observed(
        *parts, cells.mode_dims, cells.mode_names, cells.levels, shift, scale,
        cells.value_name,
    )  # fmt: skip


def _standard(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation; the latter is one where all values are the same."""
    largest = np.max(np.abs(values)) or 1.0
    unit = values / largest  # squares of the values themselves may overflow
    spread = float(np.std(unit))
    scale = float(largest) * spread if spread > SAME else 1.0
    return float(largest * np.mean(unit)), scale
