"""Losses: random observations, penalties, and comparisons of factors with data."""

from htfjax.losses.measurements import Dense as Dense
from htfjax.losses.measurements import Entries as Entries
from htfjax.losses.measurements import Measurement as Measurement
from htfjax.losses.measurements import RankOne as RankOne
