"""The convolutional arithmetic circuit: a factorization as a network."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from htfjax import _checks
from htfjax._types import Array, Float, Key, Numbers, Precision, Shaped
from htfjax.contraction.sensing import check_vectors, sensed
from htfjax.factors.factors import Factors
from htfjax.factors.layout import layout_of
from htfjax.factors.stacks import opened, written_out
from htfjax.locality import inputs as _inputs
from htfjax.theory.sharing import to_factors
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree

Representation = Literal["identity", "one_hot", "linear", "relu"]
REPRESENTATIONS = get_args(Representation)
# (B, N, numbers of a patch) -> (B, N, D), perhaps an nnx module.
Embedding = Callable[[jax.Array], jax.Array]
LARGEST_GRID = 2**26


class Fixed(nnx.Variable[jax.Array]):
    """A weight that is data: not an `nnx.Param`, so optimizers leave it alone."""


class ConvAC(nnx.Module):
    """A convolutional arithmetic circuit whose weights are a hierarchical factorization.

    An image is cut into a grid of patches, row by row, patch n being mode n. A
    representation turns each patch into a vector; then, from the leaves of the mode tree
    to its root, every node applies its matrix (a 1x1 convolution, location by location)
    and siblings are multiplied (product pooling):

        f(x) = <W, phi(x^(0)) (x) ... (x) phi(x^(N-1))>.

    Representations: "identity" takes the patch as it is; "one_hot" reads patches of one
    number as categories 0..D-1; "linear" is A x + b and "relu" max(A x + b, 0), with A
    and b trained and common to all patches. A function or nnx module takes all patches,
    (B, N, numbers of a patch), and gives (B, N, D).

    With K `classes` the last mode of the tree is the class, f_k(x) = <W, phi(x^(0)) (x)
    ... (x) e_k>, so that local components and ranks are those of all outputs together;
    `class_tree` hangs that mode at the root.

    Attributes:
      weights: one `nnx.Param` per node, or per height if shared; `Fixed` for fixed nodes,
        None for a root of ones.

    Raises:
      TypeError, ValueError: an image that does not divide into patches, a tree of
        another order than the patch grid has cells, mode dimensions that do not fit the
        representation, an unknown representation, no key where one is drawn by.

    Source: arXiv:2201.11729 (equivalence with convolutional networks); Cohen and Shashua
    2017, arXiv:1605.06743 (shared weights, representation functions).

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> from flax import nnx
      >>> from htfjax import locality
      >>> factors = htf.gaussian_factors(
      ...     jax.random.key(0), htf.square_patches(4, 2), 2, 5, 1.0)
      >>> net = locality.ConvAC(factors, (4, 4, 1), 1, representation="one_hot")
      >>> net(jnp.zeros((3, 4, 4, 1), int)).shape
      (3,)

      Ten classes, from patches of four pixels embedded in five numbers:

      >>> tree = locality.class_tree(htf.perfect(4))
      >>> factors = htf.gaussian_factors(
      ...     jax.random.key(0), tree, (5, 5, 5, 5, 10), 8, 0.5, root="ones")
      >>> net = locality.ConvAC(factors, (4, 4, 1), 2, classes=10, rngs=nnx.Rngs(0),
      ...                       representation="relu")
      >>> net(jnp.zeros((3, 4, 4, 1), jnp.float32)).shape
      (3, 10)
    """

    def __init__(
        self,
        factors: Factors | Sequence[Numbers | None],
        image_shape: Sequence[int],
        patch: int | Sequence[int],
        *,
        representation: Representation | Embedding = "identity",
        classes: int | None = None,
        tree: TreeLike | None = None,
        rngs: nnx.Rngs | None = None,
        key: Key[Array, ""] | None = None,
        precision: Precision = "highest",
    ) -> None:
        """Builds the network.

        Args:
          factors: the weights; for a shared network one matrix per height, the leaves'
            first, with `tree`.
          image_shape: (H, W, C).
          patch: height and width of a patch, or one int for both.
          representation: "identity", "one_hot", "linear", "relu", or a function of patches;
            the factors' mode dimension is what it gives, of any size.
          classes: number of outputs, the last mode's dimension; None is one output, and
            all modes are patches.
          tree: of shared weights; factors bring their own.
          rngs: as modules of flax take them, for A of "linear" and "relu".
          key: typed key in place of `rngs`.
          precision: of the matrix products.
        """
        if not isinstance(factors, Factors | Sequence) or isinstance(factors, str | bytes):
            raise TypeError(
                f"`factors` must be htfjax.Factors, or a list of matrices by height, got "
                f"{type(factors).__name__}."
            )
        shared = not isinstance(factors, Factors)
        self.classes = _number_of_classes(classes, shared)
        if isinstance(factors, Factors):
            whole = written_out(factors)
            given = list(whole.weights)
        else:
            given = [
                None if w is None else _inputs.numbers(f"factors[{k}]", w)
                for k, w in enumerate(factors)
            ]
            whole = to_factors(tree, given)  # pyright: ignore[reportArgumentType]
        layout_of(whole)
        _checks.precision("precision", precision)
        if not shared and tree is not None and as_tree(tree) != whole.tree:
            raise ValueError("`tree` is another one than that of `factors`.")
        if not callable(representation):
            _checks.one_of("representation", representation, REPRESENTATIONS)
        self.tree: ModeTree = whole.tree
        self.fixed: tuple[int, ...] = whole.fixed
        self.shared: bool = shared
        self.image_shape: tuple[int, ...] = _inputs.integers("image_shape", image_shape, 1)
        self.patch: tuple[int, int] = _patch_sides(patch)
        self.representation: Representation | Embedding = representation
        self.precision: Precision = precision
        self._check_grid()
        self._check_dims(layout_of(whole).dims)
        self.weights: nnx.List[nnx.Param[jax.Array] | Fixed | None] = nnx.List(
            [
                None if w is None else (Fixed if k in whole.fixed else nnx.Param)(w)
                for k, w in enumerate(given)
            ]
        )
        if representation in ("linear", "relu"):
            key = _drawing_key(rngs, key)
            layout = layout_of(whole)
            size, dim, dtype = self._patch_size(), layout.dims[0], layout.dtype
            scale = jnp.asarray(1 / math.sqrt(size), dtype)
            filters = scale * jax.random.normal(key, (size, dim), dtype)
            self.filters: nnx.Param[jax.Array] = nnx.Param(filters)
            self.bias: nnx.Param[jax.Array] = nnx.Param(jnp.zeros((dim,), dtype))

    def __call__(self, images: Numbers) -> Float[Array, "B *K"]:
        """Outputs of images (B, H, W, C): (B,), or (B, K) for K classes."""
        return self.contract(self.features(images))

    def features(self, images: Numbers) -> list[jax.Array]:
        """The represented patches: N arrays (B, D_n), what `htfjax.sense` takes.

        With classes the class mode's vectors are not among them.

        Raises:
          TypeError: not real numbers; not integers, for "one_hot". ValueError: another
            shape; NaN, infinity, or categories out of range, where they can be seen (in
            traced images such a category gives a vector of zeros).
        """
        given = _checks.real_array("images", images)
        _checks.shape("images", given, (None, *self.image_shape), "(B, H, W, C)")
        factors = self.factors()
        layout = layout_of(factors)
        dims, dtype = self._patch_dims(layout.dims), layout.dtype
        if self.representation == "one_hot":
            codes = self._categories(given, dims)
            return [jax.nn.one_hot(codes[:, n], d, dtype=dtype) for n, d in enumerate(dims)]
        patches = split_patches(_checks.finite("images", given, dtype), self.patch)
        if self.representation == "identity":
            return [patches[:, n] for n in range(len(dims))]
        if not isinstance(self.representation, str):
            return self._embedded(patches, dims, dtype)
        moved = jnp.matmul(patches, self.filters[...], precision=self.precision)
        moved = moved + self.bias[...][None, None, :]
        if self.representation == "relu":
            moved = jax.nn.relu(moved)
        return [moved[:, n] for n in range(len(dims))]

    def contract(self, vectors: Sequence[jax.Array]) -> Float[Array, "B *K"]:
        """The layers after the representation: N arrays (B, D_n) to (B,) or (B, K).

        Raises:
          TypeError, ValueError: as `htfjax.sense`.
        """
        layout, stacks = opened(self.factors())
        dims, dtype = self._patch_dims(layout.dims), layout.dtype
        held = check_vectors(vectors, dims, dtype)
        if self.classes is None:
            return sensed(layout, stacks, held, self.precision)
        patches = [held[n] for n in range(len(dims))]

        def one(unit: jax.Array) -> jax.Array:
            last = jnp.broadcast_to(unit[None], (len(patches[0]), len(unit)))
            return sensed(layout, stacks, [*patches, last], self.precision)

        # What does not depend on the class is computed once.
        return jax.vmap(one, out_axes=1)(jnp.eye(self.classes, dtype=dtype))

    def factors(self) -> Factors:
        """The weights as `Factors`; shared matrices appear at every node that uses them."""
        values = [None if w is None else w[...] for w in self.weights]
        if self.shared:
            return to_factors(self.tree, values)
        return Factors(tree=self.tree, weights=tuple(values), fixed=self.fixed)

    def set_factors(self, factors: Factors) -> None:
        """Puts other weights of the same tree and shapes in place.

        Raises:
          TypeError, ValueError: factors of another tree, of other shapes or fixed nodes;
            factors that differ within a level, for a shared network.
        """
        factors = written_out(factors)
        if factors.tree != self.tree or factors.fixed != self.fixed:
            raise ValueError(
                "`factors` have another tree or other fixed nodes than the network:\n"
                f"{factors.tree}\nagainst\n{self.tree}"
            )
        mine = self.factors()
        shapes = [[np.shape(w) for w in f.weights] for f in (factors, mine)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"`factors` have shapes {shapes[0]}, expected {shapes[1]}.")
        chosen = list(factors.weights)
        if self.shared:
            chosen = self._by_height(factors)
        for variable, w in zip(self.weights, chosen, strict=True):
            if variable is not None:
                variable[...] = w

    def _by_height(self, factors: Factors) -> list[jax.Array | None]:
        """One matrix per height, all copies of which must agree."""
        chosen: list[Any] = [None] * len(self.weights)
        for k, w in enumerate(factors.weights):
            height = self.tree.height[k]
            if chosen[height] is not None and not np.array_equal(chosen[height], w):
                raise ValueError(
                    f"`factors` differ within height {height}; a shared network has one "
                    "matrix there."
                )
            chosen[height] = w
        return chosen

    def _categories(
        self, images: np.ndarray | jax.Array, dims: tuple[int, ...]
    ) -> jax.Array:
        """The number of each patch, (B, N) int32, from 0 to D_n - 1."""
        if not jnp.issubdtype(images.dtype, jnp.integer):
            raise TypeError(
                f"`images` holds {images.dtype}; a one-hot representation reads integer "
                "categories."
            )
        codes = images.reshape(len(images), len(dims))
        if _checks.concrete(codes):
            wrong = np.argwhere((codes < 0) | (codes >= np.array(dims)[None]))
            if wrong.size:
                b, n = map(int, wrong[0])
                raise ValueError(
                    f"`images` holds category {codes[b, n]} in image {b}, patch {n}; "
                    f"categories run from 0 to {dims[n] - 1}."
                )
        return jnp.asarray(codes, jnp.int32)

    def _embedded(
        self, patches: jax.Array, dims: tuple[int, ...], dtype: np.dtype
    ) -> list[jax.Array]:
        """Patches as the user's representation has them."""
        assert not isinstance(self.representation, str)
        found = _inputs.numbers("representation", self.representation(patches))
        wanted = (len(patches), len(dims), dims[0])
        if found.shape != wanted:
            raise ValueError(
                f"`representation` gives shape {found.shape} of patches {patches.shape}, "
                f"expected (B, N, D) = {wanted}: D is the factors' mode dimension."
            )
        return [found[:, n].astype(dtype) for n in range(len(dims))]

    def _patch_dims(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        """Mode dimensions without the class's."""
        return dims if self.classes is None else dims[:-1]

    def _patch_size(self) -> int:
        return math.prod(self.patch) * self.image_shape[2]

    def _check_grid(self) -> None:
        grid = _grid_sides(self.image_shape, self.patch)
        apart = int(self.classes is not None)
        if math.prod(grid) + apart != self.tree.order:
            more = " and a class mode" if apart else ""
            raise ValueError(
                f"`factors` have a tree of {self.tree.order} modes, the image has "
                f"{grid[0]} x {grid[1]} = {math.prod(grid)} patches{more}."
            )

    def _check_dims(self, dims: tuple[int, ...]) -> None:
        size, kind = self._patch_size(), self.representation
        if self.classes not in (None, dims[-1]):
            raise ValueError(
                f"`classes={self.classes}`, but the last mode of `factors`, the class, has "
                f"dimension {dims[-1]}."
            )
        dims = self._patch_dims(dims)
        if kind == "identity" and set(dims) != {size}:
            raise ValueError(
                f"`factors` have mode dimensions {dims}, a patch has {size} numbers; use "
                "another `representation` or `patch`."
            )
        if kind == "one_hot" and size != 1:
            raise ValueError(
                f"`patch={self.patch}` holds {size} numbers; a one-hot representation "
                "reads one."
            )
        if kind not in ("identity", "one_hot") and len(set(dims)) > 1:
            raise ValueError(
                f"`factors` have mode dimensions {dims}; a representation common to all "
                "patches needs one."
            )


def class_tree(tree: TreeLike) -> ModeTree:
    """The tree with one more mode at its root, the last: the class of `ConvAC`.

    With a root of ones the class mode's matrix (K, R) is the usual dense output layer.

    Args:
      tree: of the patches.

    Raises:
      TypeError, ValueError: not a tree.

    Example:
      >>> import htfjax as htf
      >>> from htfjax import locality
      >>> locality.class_tree(htf.perfect(4)).nested
      ((0, 1), (2, 3), 4)
    """
    known = as_tree(tree)
    return ModeTree.from_nested((*known.nested, known.order))


def split_patches(images: Numbers, patch: int | Sequence[int]) -> Shaped[Array, "B N D"]:
    """Images (B, H, W, C) to patches (B, N, p_h p_w C), the grid row by row.

    Raises:
      TypeError: not real numbers. ValueError: images that do not divide into patches.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> locality.split_patches(jnp.zeros((5, 4, 6, 3)), 2).shape
      (5, 6, 12)
    """
    high, wide = _patch_sides(patch)
    images = _inputs.numbers("images", images)
    if np.ndim(images) != 4 or images.shape[1] % high or images.shape[2] % wide:
        raise ValueError(
            f"`images` has shape {np.shape(images)}; expected (B, H, W, C) that divides "
            f"into patches of {high} x {wide}."
        )
    count, height, width, channels = images.shape
    rows, columns, size = height // high, width // wide, high * wide * channels
    grid = images.reshape(count, rows, high, columns, wide, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(count, rows * columns, size)


def join_patches(
    patches: Numbers, image_shape: Sequence[int], patch: int | Sequence[int]
) -> Shaped[Array, "B H W C"]:
    """The inverse of `split_patches`: (B, N, p_h p_w C) to images (B, H, W, C).

    Raises:
      TypeError: not real numbers. ValueError: patches that do not fill the image.

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> locality.join_patches(jnp.zeros((5, 6, 12)), (4, 6, 3), 2).shape
      (5, 4, 6, 3)
    """
    high, wide = _patch_sides(patch)
    image_shape = _inputs.integers("image_shape", image_shape, 1)
    rows, columns = _grid_sides(image_shape, (high, wide))
    height, width, channels = image_shape
    patches = _inputs.numbers("patches", patches)
    expected = (rows * columns, high * wide * channels)
    if np.ndim(patches) != 3 or patches.shape[1:] != expected:
        raise ValueError(
            f"`patches` has shape {np.shape(patches)}, expected (B, {expected[0]}, "
            f"{expected[1]}) for images {tuple(image_shape)}."
        )
    grid = patches.reshape(-1, rows, columns, high, wide, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)


def grid_tensor(
    f: Callable[[list[jax.Array]], jax.Array],
    templates: Sequence[Numbers],
    *,
    batch_size: int = 4096,
) -> Shaped[Array, "..."]:
    """A[d_0..d_{N-1}] = f(x^0_{d_0}, ..., x^{N-1}_{d_{N-1}}): a function on a grid.

    For functions that are not product networks (overlapping windows, ReLU, max pooling)
    there is no factorization to read ranks from, but the matricizations of A bound from
    below how strongly f couples its inputs. For a product network on basis vectors A is
    the end tensor.

    Args:
      f: takes N arrays (B, ...), one row per sample, and gives (B,).
      templates: N arrays (M_n, ...), the inputs tried at every place.
      batch_size: samples given to `f` at a time.

    Returns:
      (M_0, ..., M_{N-1}).

    Raises:
      TypeError: templates that are not numbers, an `f` that cannot be called.
      ValueError: no templates, more than 2**26 combinations, an `f` that does not
        return (B,).

    Source: Cohen and Shashua 2016 (grid tensors); arXiv:2201.11729 on its extensions.

    Example:
      >>> import htfjax as htf, jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> f = htf.gaussian_factors(jax.random.key(0), htf.flat(2), (2, 3), 4, 1.0)
      >>> grid = locality.grid_tensor(
      ...     lambda x: htf.sense(f, x), [jnp.eye(2), jnp.eye(3)])
      >>> bool(jnp.allclose(grid, htf.end_tensor(f), atol=1e-5))
      True
    """
    _checks.function("f", f)
    batch_size = _checks.at_least("batch_size", batch_size, 1)
    arrays = _checked_templates(templates)
    counts = tuple(len(t) for t in arrays)
    size = math.prod(counts)
    if not counts or not size:
        raise ValueError("`templates` is empty: give one array per input.")
    if size > LARGEST_GRID:
        raise ValueError(f"`templates` make {size} combinations, more than {LARGEST_GRID}.")
    index = np.indices(counts).reshape(len(counts), -1)
    starts = [*range(0, size, batch_size), size]
    pieces = []
    for first, last in itertools.pairwise(starts):
        chosen = [t[i[first:last]] for t, i in zip(arrays, index, strict=True)]
        values = _inputs.numbers("f", f(chosen))
        if np.shape(values) != (last - first,):
            raise ValueError(
                f"`f` returned shape {np.shape(values)} for {last - first} samples, "
                f"expected ({last - first},)."
            )
        pieces.append(values)
    return jnp.concatenate(pieces).reshape(counts)


def _checked_templates(templates: object) -> list[jax.Array]:
    """Arrays (M_n, ...) of numbers."""
    single = isinstance(templates, np.ndarray) and not templates.ndim
    words = isinstance(templates, str | bytes | dict)
    if words or single or not isinstance(templates, Iterable):
        raise TypeError(
            f"`templates` must be N arrays (M_n, ...), got {_checks.spell(templates)}."
        )
    arrays = [_inputs.numbers(f"templates[{n}]", t) for n, t in enumerate(templates)]
    for n, array in enumerate(arrays):
        if not array.ndim:
            raise ValueError(f"`templates[{n}]` is one number, expected (M, ...).")
    return arrays


def _grid_sides(image_shape: Sequence[int], patch: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the grid of patches.

    Raises:
      ValueError: not (H, W, C), or patches that do not fill the image.
    """
    if len(image_shape) != 3:
        raise ValueError(f"`image_shape={image_shape}` must be (H, W, C).")
    height, width, _ = image_shape
    if height % patch[0] or width % patch[1]:
        raise ValueError(f"`patch={patch}` does not divide images of {height} x {width}.")
    return height // patch[0], width // patch[1]


def _number_of_classes(classes: object, shared: bool) -> int | None:
    """At least two, of weights that are not shared."""
    if classes is None:
        return None
    if shared:
        raise ValueError(
            "`classes` needs `Factors`: shared weights are one matrix per height, and the "
            "class mode's differs from the patches'."
        )
    return _checks.at_least("classes", classes, 2)


def _drawing_key(rngs: object, key: jax.Array | None) -> jax.Array:
    """The key of A, from one of the two."""
    if rngs is None and key is None:
        raise TypeError(
            '`rngs` is missing: a "linear" or "relu" `representation` draws its weights. '
            "Give `rngs=nnx.Rngs(0)`, or a typed `key`."
        )
    if rngs is None:
        _checks.key("key", key)
        assert key is not None
        return key
    _checks.instance("rngs", rngs, nnx.Rngs, "modules of flax take it")
    if key is not None:
        raise ValueError("`key` and `rngs` are given; one of them draws the weights.")
    assert isinstance(rngs, nnx.Rngs)
    return rngs.params()


def _patch_sides(patch: int | Sequence[int]) -> tuple[int, int]:
    sides = _checks.as_sequence(patch)
    if not isinstance(sides, tuple | list):
        side = _checks.at_least("patch", sides, 1)
        return side, side
    if len(sides) != 2:
        raise ValueError(f"`patch={patch}` must be one int, or height and width.")
    high, wide = (_checks.at_least("patch", side, 1) for side in sides)
    return high, wide
