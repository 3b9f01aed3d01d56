"""Input of `htfjax.formats` that is refused, and what the errors say."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax import formats

TENSOR = np.random.default_rng(0).standard_normal((4, 3, 2))
TREE = ((0, 1), 2)
FACTORS = htf.gaussian_factors(jax.random.key(0), htf.as_tree(TREE), (4, 3, 2), 2, 1.0)
OTHER = htf.gaussian_factors(jax.random.key(0), htf.flat(3), (4, 3, 2), 2, 1.0)
LARGER = htf.gaussian_factors(jax.random.key(0), htf.as_tree(TREE), (4, 3, 5), 2, 1.0)


def with_nan() -> np.ndarray:
    found = TENSOR.copy()
    found[0, 0, 0] = found[1, 1, 1] = np.nan
    return found


def svd(tensor: object = TENSOR, tree: object = TREE, **options: object) -> object:
    return formats.hierarchical_svd(tensor, tree, **options)


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "neither": (svd, "`rtol` or `ranks` must be given, one of them, got neither"),
    "both": (lambda: svd(rtol=0.1, ranks=2), "got `rtol=0.1` and `ranks=2`"),
    "negative": (lambda: svd(rtol=-1.0), "`rtol=-1.0`"),
    "nan tolerance": (lambda: svd(rtol=np.nan), "`rtol=nan`"),
    "no rank": (lambda: svd(ranks=0), "`ranks=0`"),
    "few ranks": (lambda: svd(ranks=[1, 2]), "has 2 numbers, expected 4: one for every"),
    "high rank": (
        lambda: svd(ranks=[4, 3, 2, 3]),
        r"`ranks\[3\]` is 3, and node 3 .* 2 at",
    ),
    "nested ranks": (
        lambda: svd(ranks=[1, 1, 1, 2]),
        r"`ranks\[3\]` is 2.*has rank 1 at most",
    ),
    "order": (lambda: svd(tree=(0, 1)), r"`tensor` has shape \(4, 3, 2\), of order 3, and"),
    "tree": (lambda: svd(tree=3), "`tree` must be a ModeTree"),
    "nan": (lambda: svd(with_nan(), rtol=0.1), "2 entries that are NaN or infinite, of 24"),
    "complex": (lambda: svd(TENSOR * 1j, rtol=0.1), "`tensor` must be real"),
    "masked": (
        lambda: svd(np.ma.masked_less(TENSOR, 0), rtol=0.1),
        "`tensor` .*mask",
    ),
    "empty": (lambda: svd(np.zeros((2, 0, 2)), rtol=0.1), "needs a mode and an entry"),
    "number": (lambda: svd(np.float64(2), (0,), rtol=0.1), r"`tensor` has shape \(\)"),
    "too large": (
        lambda: svd(np.broadcast_to(1.0, (2**11,) * 3), rtol=0.1),
        "at least 34359738368 bytes.*decompose blocks of it along a mode",
    ),
    "sweep": (lambda: svd(rtol=0.1, sweep="up"), "`sweep"),
    "train ranks": (lambda: formats.tensor_train_svd(TENSOR, ranks=[5, 2]), "bond 0 of"),
    "train count": (lambda: formats.tensor_train_svd(TENSOR, ranks=[2]), "expected 2: one"),
    "train nan": (
        lambda: formats.tensor_train_svd(with_nan(), rtol=0.1),
        "NaN or infinite",
    ),
    "round both": (lambda: formats.round_factors(FACTORS), "got neither"),
    "round high": (
        lambda: formats.round_factors(FACTORS, ranks=[3, 2, 2, 2]),
        r"`ranks\[0\]` is 3, and node 0 .* has rank 2 in `factors`",
    ),
    "other trees": (
        lambda: formats.add(FACTORS, OTHER),
        "`left` is of the tree .* `right`",
    ),
    "other dims": (lambda: formats.hadamard(FACTORS, LARGER), "`left` has mode dimensions"),
    "no factors": (lambda: formats.add(FACTORS, TENSOR), "`right` must be htfjax.Factors"),
    "scale": (lambda: formats.scale(FACTORS, np.inf), "`number=inf`"),
    "mode": (
        lambda: formats.mode_product(FACTORS, np.eye(2), 3),
        "`mode=3` must be a mode",
    ),
    "matrix": (lambda: formats.mode_product(FACTORS, np.eye(2), 0), r"expected \(E, 4\)"),
    "vector": (lambda: formats.contract_mode(FACTORS, np.ones(3), 0), "`vector` has shape"),
    "cp": (lambda: formats.cp_factors(None, [np.eye(2), np.eye(3)]), "columns; all must"),
    "cp weights": (
        lambda: formats.cp_factors(np.ones(3), [np.eye(2)] * 2),
        "`weights` has",
    ),
    "no matrices": (lambda: formats.cp_factors(None, []), "`matrices` is empty"),
    "tucker": (
        lambda: formats.tucker_factors(np.ones((2, 3)), [np.eye(2)] * 2),
        r"`core` has shape \(2, 3\), expected \(2, 2\)",
    ),
    "bonds": (
        lambda: formats.tensor_train_factors([np.ones((1, 2, 2)), np.ones((3, 2, 1))]),
        r"`cores\[1\]` has shape \(3, 2, 1\), expected \(2, D, 1\)",
    ),
    "transfer": (
        lambda: formats.from_transfer_tensors(
            formats.TransferTensors(
                (jnp.eye(2), jnp.eye(2), jnp.ones((2, 3, 1))), htf.flat(2)
            )
        ),
        r"`transfer.tensors\[2\]` has shape \(2, 3, 1\), expected \(2, 2, 1\)",
    ),
    "transfer tree": (
        lambda: formats.from_transfer_tensors(
            formats.TransferTensors((jnp.eye(2),), htf.as_tree(((0,), 1)))
        ),
        "has one-child nodes",
    ),
    "transfer kind": (lambda: formats.from_transfer_tensors(FACTORS), "`transfer` must be"),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_error_names_the_argument(case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_widths_that_make_large_transfer_tensors_are_refused() -> None:
    wide = htf.gaussian_factors(jax.random.key(0), htf.flat(4), 2, 300, 1.0)
    with pytest.raises(ValueError, match="8100000000 entries, at least 32400000000 bytes"):
        formats.to_transfer_tensors(wide)
