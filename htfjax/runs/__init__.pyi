# ruff: noqa: TID252
"""Public names of `htfjax.runs` and the modules that define them."""

from .batch import lane_mesh as lane_mesh
from .completion import completion_lane as completion_lane
from .engine import run as run
from .files import absolute as absolute
from .files import atomic_write as atomic_write
from .files import file_digest as file_digest
from .files import json_digest as json_digest
from .files import read_npz as read_npz
from .files import read_sealed as read_sealed
from .files import write_sealed as write_sealed
from .final import save_final as save_final
from .folder import is_locked as is_locked
from .folder import locked_folder as locked_folder
from .folder import versions as versions
from .grid import Grid as Grid
from .grid import Run as Run
from .integrity import check_results as check_results
from .lanes import Lane as Lane
from .lanes import make_lane as make_lane
from .lanes import untraced as untraced
from .locks import exclusive_lock as exclusive_lock
from .locks import lock_holder as lock_holder
from .progress import Progress as Progress
from .signals import StopSignals as StopSignals
from .signals import stop_requested as stop_requested
from .signals import stop_signals as stop_signals
from .states import load_states as load_states

__all__: list[str]
