"""Wrong vectors and matrices of sensing losses: what their errors say."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import numpy as np

import htfjax as htf
from tests import mistakes
from tests.mistakes import TARGETS, VECTORS, factors, masked

MISTAKES = [
    # Losses
    ("sensing_matrix", lambda: htf.sensing_loss(np.ones((2, 3)), TARGETS),
     ValueError, "`vectors` (2, 3) (N, B, D)"),
    ("sensing_batch_first", lambda: htf.sensing_loss(np.ones((2, 4, 3)), TARGETS),
     ValueError, "`vectors` (2, 4, 3) `targets` (N, B, D) moveaxis"),
    ("sensing_no_modes", lambda: htf.sensing_loss(np.ones((0, 2, 3)), TARGETS),
     ValueError, "`vectors` (0, 2, 3) (N, B, D)"),
    ("sensing_array_nan", lambda: htf.sensing_loss(np.full((4, 2, 3), np.nan), TARGETS),
     ValueError, "`vectors[0, 0, 0]` is nan"),
    ("sensing_array_targets", lambda: htf.sensing_loss(np.ones((4, 2, 3)), np.ones(3)),
     ValueError, "`targets` (3,) (2,)"),
    ("sensing_empty", lambda: htf.sensing_loss([], []), ValueError, "`vectors`"),
    ("sensing_none", lambda: htf.sensing_loss([np.ones((0, 3))] * 4, []),
     ValueError, "`targets` empty"),
    ("sensing_nan",
     lambda: htf.sensing_loss([*VECTORS[:3], np.full((2, 3), np.nan)], TARGETS),
     ValueError, "`vectors[3][0, 0]` is nan"),
    ("sensing_targets", lambda: htf.sensing_loss(VECTORS, np.ones(3)),
     ValueError, "`targets` (3,) (2,)"),
    ("sensing_other_dims",
     lambda: htf.sensing_loss([np.ones((2, 2))] * 4, TARGETS)(factors()),
     ValueError, "`vectors[0]` (2, 2) (2, 3)"),
    ("matrices_shape", lambda: htf.matrix_sensing_loss(np.ones((2, 3)), TARGETS),
     ValueError, "`matrices` (2, 3) (B, D_0, D_1)"),
    ("matrices_infinite",
     lambda: htf.matrix_sensing_loss(np.full((2, 3, 3), np.inf), TARGETS),
     ValueError, "`matrices[0, 0, 0]` is inf"),
    ("matrices_for_a_tensor",
     lambda: htf.matrix_sensing_loss(np.ones((2, 3, 3)), TARGETS)(factors()),
     ValueError, "`matrices` (3, 3) (3, 3, 3, 3)"),
    # Masked arrays
    ("masked_vectors",
     lambda: htf.sensing_loss([*VECTORS[:3], masked(VECTORS[3])], TARGETS),
     TypeError, "`vectors[3]` masked"),
    ("masked_vectors_array", lambda: htf.sensing_loss(masked(np.ones((4, 2, 3))), TARGETS),
     TypeError, "`vectors` masked"),
    ("masked_matrices",
     lambda: htf.matrix_sensing_loss(masked(np.ones((2, 3, 3))), TARGETS),
     TypeError, "`matrices` masked"),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_message(call, kind, words):
    mistakes.assert_named(call, kind, words)
