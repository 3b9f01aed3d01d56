# ruff: noqa: TID252
"""Public names of `htfjax.exchange` and the modules that define them."""

from .hiepy import from_hiepy as from_hiepy
from .hiepy import to_hiepy as to_hiepy
from .matlab import read_htensor as read_htensor
from .matlab import write_htensor as write_htensor
from .quimb import from_quimb as from_quimb
from .quimb import to_quimb as to_quimb
from .tensap import from_tensap as from_tensap
from .tensap import to_tensap as to_tensap
from .tensorly import from_tensorly as from_tensorly
from .tensorly import to_tensorly_cp as to_tensorly_cp
from .tensorly import to_tensorly_tt as to_tensorly_tt
from .tensorly import to_tensorly_tucker as to_tensorly_tucker
from .tntorch import from_tntorch as from_tntorch
from .tntorch import to_tntorch as to_tntorch
from .torchtt import from_torchtt as from_torchtt
from .torchtt import to_torchtt as to_torchtt

__all__: list[str]
