"""Factors to values: the end tensor, single entries, rank-one sensing, squared norms."""

from htfjax.contraction.end_tensor import end_tensor as end_tensor
from htfjax.contraction.entries import entries as entries
from htfjax.contraction.sensing import sense as sense
