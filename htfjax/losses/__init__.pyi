# ruff: noqa: TID252
"""Public names of `htfjax.losses` and the modules that define them."""

from .measurements import Dense as Dense
from .measurements import Entries as Entries
from .measurements import Measurement as Measurement
from .measurements import RankOne as RankOne
from .measurements import Weighted as Weighted

__all__: list[str]
