"""The theory of arXiv:2201.11729 as functions of factors: laws, bounds, closed forms."""

from htfjax.theory.closed_forms import blow_up_time as blow_up_time
from htfjax.theory.closed_forms import constant_force_norm as constant_force_norm
from htfjax.theory.closed_forms import rank_one_blow_up_time as rank_one_blow_up_time
from htfjax.theory.closed_forms import rank_one_limit as rank_one_limit
from htfjax.theory.closed_forms import rank_one_scale as rank_one_scale
from htfjax.theory.conserved import conserved_quantities as conserved_quantities
from htfjax.theory.conserved import conserved_scale as conserved_scale
from htfjax.theory.conserved import drift as drift
from htfjax.theory.directions import component_forces as component_forces
from htfjax.theory.directions import direction_tensors as direction_tensors
from htfjax.theory.growth import GrowthBounds as GrowthBounds
from htfjax.theory.growth import balanced_growth as balanced_growth
from htfjax.theory.growth import exact_growth as exact_growth
from htfjax.theory.growth import growth_bounds as growth_bounds
from htfjax.theory.ranks import nested_rank_bound as nested_rank_bound
from htfjax.theory.ranks import node_rank_bounds as node_rank_bounds
from htfjax.theory.scaling import degree as degree
from htfjax.theory.scaling import normalize as normalize
from htfjax.theory.scaling import rescale_component as rescale_component
from htfjax.theory.sharing import shared_conserved_quantities as shared_conserved_quantities
from htfjax.theory.sharing import to_factors as to_factors
from htfjax.theory.truncation import truncate as truncate
from htfjax.theory.truncation import truncation_bounds as truncation_bounds
