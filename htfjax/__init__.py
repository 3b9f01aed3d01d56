# ruff: noqa: I001, RUF022  (names are listed in data-flow order)
"""Hierarchical tensor factorization in JAX.

A mode tree says which modes of a tensor are grouped, factors put one weight matrix on
each of its nodes, a contraction turns factors into tensor values, a loss compares values
with data, descent moves the factors, and instruments read local component norms and
ranks off them along the way.

    ModeTree -> Factors -> end_tensor, entries, sense -> loss -> descend -> Trajectory
                   |                |                                          |
                   |     matricize, singular_values, ranks                     |
                   |                                                           |
         local_component_norms, unbalancedness, growth_rates        rise_times, results

Public names, in that order, are all importable from here.
"""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from jaxlib.version import __version__ as _jaxlib_version

if _jaxlib_version == "0.10.2":
    raise ImportError(
        "jaxlib 0.10.2 computes wrong numbers on CPU: jit(vmap(...)) over matrices of "
        "width 3, 5, 6 or 7 and batches above 16,384 returns silently wrong entries "
        "(jax issue 39103). Install another version: pip install 'jax!=0.10.2' "
        "'jaxlib!=0.10.2'."
    )

from htfjax.mode_tree import ModeTree as ModeTree
from htfjax.tree_builders import caterpillar as caterpillar
from htfjax.tree_builders import flat as flat
from htfjax.tree_builders import interleaved as interleaved
from htfjax.tree_builders import perfect as perfect
from htfjax.tree_builders import pooled as pooled
from htfjax.tree_builders import square_patches as square_patches

from htfjax.factors import Factors as Factors
from htfjax.factors import GroupedFactors as GroupedFactors
from htfjax.factors import collapse_chains as collapse_chains
from htfjax.factors import mode_dims as mode_dims
from htfjax.factors import widths as widths
from htfjax.initialization import gaussian_factors as gaussian_factors
from htfjax.initialization import identity_factors as identity_factors
from htfjax.balance import balanced_factors as balanced_factors
from htfjax.grouping import group as group
from htfjax.grouping import ungroup as ungroup
from htfjax.node_values import NodeValues as NodeValues
from htfjax.storage import load_factors as load_factors
from htfjax.storage import save_factors as save_factors

from htfjax.contraction import Plan as Plan
from htfjax.contraction import Rates as Rates
from htfjax.contraction import contraction_plan as contraction_plan
from htfjax.contraction import device_rates as device_rates
from htfjax.contraction import end_tensor as end_tensor
from htfjax.contraction import entries as entries
from htfjax.contraction import measure_plan as measure_plan
from htfjax.contraction import measure_rates as measure_rates
from htfjax.contraction import sense as sense
from htfjax.contraction.inner import distance as distance
from htfjax.contraction.inner import inner_product as inner_product
from htfjax.contraction.inner import squared_norm as squared_norm

from htfjax.observations import random_indices as random_indices
from htfjax.observations import random_matrices as random_matrices
from htfjax.observations import random_vectors as random_vectors
from htfjax.observations import unobserved_indices as unobserved_indices
from htfjax.penalty import penalize as penalize
from htfjax.completion import completion_loss as completion_loss
from htfjax.completion import loss_plan as loss_plan
from htfjax.losses import matrix_sensing_loss as matrix_sensing_loss
from htfjax.losses import minibatch_loss as minibatch_loss
from htfjax.losses import residuals as residuals
from htfjax.losses import sensing_loss as sensing_loss
from htfjax.population import population_loss as population_loss
from htfjax.scaled import Magnitude as Magnitude
from htfjax.scaled import ScaledGradient as ScaledGradient
from htfjax.scaled import magnitude as magnitude
from htfjax.scaled import scaled_loss as scaled_loss
from htfjax.scaled import scaled_value_and_grad as scaled_value_and_grad

from htfjax.local_components import component_contributions as component_contributions
from htfjax.local_components import growth_rates as growth_rates
from htfjax.local_components import local_component_norms as local_component_norms
from htfjax.local_components import unbalancedness as unbalancedness
from htfjax.local_components import weight_vector_norms as weight_vector_norms
from htfjax.matricization import effective_rank as effective_rank
from htfjax.matricization import entanglement_entropy as entanglement_entropy
from htfjax.matricization import matricize as matricize
from htfjax.matricization import numerical_rank as numerical_rank
from htfjax.matricization import rank_within as rank_within
from htfjax.matricization import weight_singular_values as weight_singular_values
from htfjax.rank_bounds import rank_bound as rank_bound
from htfjax.tree_spectra import Spectrum as Spectrum
from htfjax.tree_spectra import hierarchical_rank as hierarchical_rank
from htfjax.tree_spectra import nuclear_norm as nuclear_norm
from htfjax.tree_spectra import singular_values as singular_values
from htfjax.tree_spectra import spectra as spectra
from htfjax.tree_spectra import spectrum as spectrum

from htfjax import theory as theory

from htfjax.group_rms import group_rmsprop as group_rmsprop
from htfjax.group_rms import scale_by_group_rms as scale_by_group_rms
from htfjax.trajectory import Stop as Stop
from htfjax.trajectory import Trajectory as Trajectory
from htfjax.trajectory import find_stop as find_stop
from htfjax.trajectory import join as join
from htfjax.rises import RiseTimes as RiseTimes
from htfjax.rises import crossings as crossings
from htfjax.rises import incrementality as incrementality
from htfjax.rises import rise_times as rise_times
from htfjax.descent import Carrying as Carrying
from htfjax.descent import DescentState as DescentState
from htfjax.descent import continue_descent as continue_descent
from htfjax.descent import descend as descend
from htfjax.descent import start_descent as start_descent
from htfjax.chunks import descend_in_chunks as descend_in_chunks

__version__ = "0.1.0"

if _TYPE_CHECKING:
    from htfjax import ensemble as ensemble
    from htfjax import runs as runs
    from htfjax.checkpoints import check_state as check_state
    from htfjax.checkpoints import load_state as load_state
    from htfjax.checkpoints import save_state as save_state
    from htfjax.drawing import draw_tree as draw_tree
    from htfjax.flow import FlowTrajectory as FlowTrajectory
    from htfjax.flow import gradient_flow as gradient_flow
    from htfjax.results import load_results as load_results
    from htfjax.results import save_results as save_results

# Names whose modules import something heavy (diffrax, xarray, ...) at first use.
_LAZY = {
    "FlowTrajectory": "htfjax.flow",
    "check_state": "htfjax.checkpoints",
    "draw_tree": "htfjax.drawing",
    "gradient_flow": "htfjax.flow",
    "load_results": "htfjax.results",
    "load_state": "htfjax.checkpoints",
    "save_results": "htfjax.results",
    "save_state": "htfjax.checkpoints",
}

__all__ = [
    "ModeTree",
    "caterpillar",
    "flat",
    "interleaved",
    "perfect",
    "pooled",
    "square_patches",
    "Factors",
    "GroupedFactors",
    "group",
    "ungroup",
    "NodeValues",
    "collapse_chains",
    "mode_dims",
    "widths",
    "gaussian_factors",
    "identity_factors",
    "balanced_factors",
    "load_factors",
    "save_factors",
    "Plan",
    "Rates",
    "contraction_plan",
    "device_rates",
    "measure_plan",
    "measure_rates",
    "end_tensor",
    "entries",
    "sense",
    "distance",
    "inner_product",
    "squared_norm",
    "random_indices",
    "random_matrices",
    "random_vectors",
    "unobserved_indices",
    "completion_loss",
    "loss_plan",
    "matrix_sensing_loss",
    "minibatch_loss",
    "penalize",
    "residuals",
    "sensing_loss",
    "population_loss",
    "Magnitude",
    "ScaledGradient",
    "magnitude",
    "scaled_loss",
    "scaled_value_and_grad",
    "component_contributions",
    "growth_rates",
    "local_component_norms",
    "unbalancedness",
    "weight_vector_norms",
    "effective_rank",
    "entanglement_entropy",
    "hierarchical_rank",
    "matricize",
    "nuclear_norm",
    "numerical_rank",
    "rank_within",
    "singular_values",
    "weight_singular_values",
    "rank_bound",
    "Spectrum",
    "spectra",
    "spectrum",
    "group_rmsprop",
    "scale_by_group_rms",
    "Stop",
    "Trajectory",
    "find_stop",
    "join",
    "RiseTimes",
    "crossings",
    "incrementality",
    "rise_times",
    "Carrying",
    "DescentState",
    "continue_descent",
    "descend",
    "start_descent",
    "descend_in_chunks",
    "FlowTrajectory",
    "gradient_flow",
    "draw_tree",
    "check_state",
    "load_results",
    "load_state",
    "save_results",
    "save_state",
]


def __getattr__(name: str) -> _Any:
    if name in ("ensemble", "runs"):
        return _importlib.import_module(f"htfjax.{name}")
    if name in _LAZY:
        return getattr(_importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'htfjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
