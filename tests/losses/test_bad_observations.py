"""Wrong calls of random observations: what their errors say."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import jax.numpy as jnp

import htfjax as htf
from tests import mistakes
from tests.mistakes import INDICES, key, masked

MISTAKES = [
    # Observations
    ("observe_too_many", lambda: htf.random_indices(key(), (3, 4), 13),
     ValueError, "`count=13` 12 entries (3, 4)"),
    ("observe_none", lambda: htf.random_indices(key(), (3, 4), 0), ValueError, "`count=0`"),
    ("observe_order", lambda: htf.random_indices(key(), 3, 2),
     ValueError, "`order` one int"),
    ("observe_key", lambda: htf.random_indices(0, (3, 4), 2), TypeError, "`key`"),
    ("unobserved_high", lambda: htf.unobserved_indices([[0, 3]], (3, 3)),
     ValueError, "`indices[0, 1]` is 3"),
    ("unobserved_negative", lambda: htf.unobserved_indices([[0, -1]], (3, 3)),
     ValueError, "`indices[0, 1]` is -1"),
    ("unobserved_modes", lambda: htf.unobserved_indices([[0]], (3, 3)),
     ValueError, "`indices` (1, 1) (B, 2)"),
    ("vectors_dims", lambda: htf.random_vectors(key(), 3, 5),
     ValueError, "`order` `mode_dims` one int"),
    ("vectors_empty", lambda: htf.random_vectors(key(), (), 5), ValueError, "`mode_dims"),
    ("matrices_dims", lambda: htf.random_matrices(key(), (3, 3, 3), 5),
     ValueError, "`mode_dims=(3, 3, 3)` 3 2"),
    ("order_beside_dims", lambda: htf.random_indices(key(), (3, 4), 2, order=3),
     ValueError, "`order=3` 2 `mode_dims`"),
    ("order_of_vectors", lambda: htf.random_vectors(key(), 3, 2, order=0),
     ValueError, "`order=0` at least 1"),
    ("count_half", lambda: htf.random_indices(key(), 3, 1.5, order=2),
     TypeError, "`count` 1.5"),
    ("unobserved_nothing_known", lambda: htf.unobserved_indices([], 2),
     ValueError, "`order` `mode_dims`"),
    ("unobserved_large", lambda: htf.unobserved_indices([[0, 0]], 10**6),
     ValueError, "`mode_dims=(1000000, 1000000)` entries"),
    # Masked arrays
    ("masked_unobserved", lambda: htf.unobserved_indices(masked(INDICES), 3),
     TypeError, "`indices` masked"),
    ("masked_dims", lambda: htf.random_indices(key(), masked([3, 4]), 3),
     TypeError, "`mode_dims` integer"),
    # Dtypes
    ("dtype_of_vectors", lambda: htf.random_vectors(key(), (3, 3), 2, dtype=int),
     TypeError, "`dtype= floating"),
    ("dtype_of_eight_bits",
     lambda: htf.random_matrices(key(), 3, 2, dtype=jnp.float8_e4m3fn),
     TypeError, "`dtype= 16, 32 or 64 bits"),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_message(call, kind, words):
    mistakes.assert_named(call, kind, words)
