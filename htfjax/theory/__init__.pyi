# ruff: noqa: TID252
"""Public names of `htfjax.theory` and the modules that define them."""

from . import laws as laws
from . import oracle as oracle
from .closed_forms import blow_up_time as blow_up_time
from .closed_forms import constant_force_norm as constant_force_norm
from .closed_forms import rank_one_blow_up_time as rank_one_blow_up_time
from .closed_forms import rank_one_limit as rank_one_limit
from .closed_forms import rank_one_scale as rank_one_scale
from .conserved import conserved_quantities as conserved_quantities
from .conserved import conserved_scale as conserved_scale
from .conserved import drift as drift
from .directions import component_forces as component_forces
from .directions import direction_tensors as direction_tensors
from .growth import GrowthBounds as GrowthBounds
from .growth import balanced_growth as balanced_growth
from .growth import exact_growth as exact_growth
from .growth import growth_bounds as growth_bounds
from .ranks import nested_rank_bound as nested_rank_bound
from .ranks import node_rank_bounds as node_rank_bounds
from .scaling import degree as degree
from .scaling import normalize as normalize
from .scaling import rescale_component as rescale_component
from .sharing import shared_conserved_quantities as shared_conserved_quantities
from .sharing import to_factors as to_factors
from .truncation import truncate as truncate
from .truncation import truncation_bounds as truncation_bounds

__all__: list[str]
