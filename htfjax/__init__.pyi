# ruff: noqa: I001, TID252
"""Public names and the modules that define them, in the order in which data flows.

The table from which `htfjax/__init__.py` takes its imports, at first use, and `__all__`.
"""

from .trees.mode_tree import ModeTree as ModeTree
from .trees.mode_tree import as_tree as as_tree
from .trees.builders import caterpillar as caterpillar
from .trees.builders import flat as flat
from .trees.builders import interleaved as interleaved
from .trees.builders import perfect as perfect
from .trees.builders import pooled as pooled
from .trees.builders import square_patches as square_patches

from .factors.factors import Factors as Factors
from .factors.factors import GroupedFactors as GroupedFactors
from .factors.selector import Selector as Selector
from .factors.chains import collapse_chains as collapse_chains
from .factors.layout import mode_dims as mode_dims
from .factors.layout import widths as widths
from .factors.gaussian import gaussian_factors as gaussian_factors
from .factors.gaussian import identity_factors as identity_factors
from .factors.balanced import balanced_factors as balanced_factors
from .factors.grouping import group as group
from .factors.grouping import ungroup as ungroup
from .factors.node_values import NodeValues as NodeValues
from .factors.storage import load_factors as load_factors
from .factors.storage import save_factors as save_factors

from .contraction.plan import Plan as Plan
from .contraction.plan import contraction_plan as contraction_plan
from .contraction.rates import Rates as Rates
from .contraction.rates import platform_rates as platform_rates
from .contraction.end_tensor import end_tensor as end_tensor
from .contraction.entries import entries as entries
from .contraction.sensing import sense as sense

from .instruments.inner import distance as distance
from .instruments.inner import inner_product as inner_product
from .instruments.inner import squared_norm as squared_norm
from .instruments.local_components import (
    component_contributions as component_contributions,
)
from .instruments.local_components import growth_rates as growth_rates
from .instruments.local_components import local_component_norms as local_component_norms
from .instruments.local_components import unbalancedness as unbalancedness
from .instruments.local_components import weight_vector_norms as weight_vector_norms
from .instruments.ranks import effective_rank as effective_rank
from .instruments.ranks import entanglement_entropy as entanglement_entropy
from .instruments.ranks import matricize as matricize
from .instruments.ranks import numerical_rank as numerical_rank
from .instruments.ranks import rank_within as rank_within
from .instruments.ranks import weight_singular_values as weight_singular_values
from .instruments.rank_bound import rank_bound as rank_bound
from .instruments.spectra import Spectrum as Spectrum
from .instruments.spectra import hierarchical_rank as hierarchical_rank
from .instruments.spectra import nuclear_norm as nuclear_norm
from .instruments.spectra import singular_values as singular_values
from .instruments.spectra import spectra as spectra
from .instruments.spectra import spectrum as spectrum

from .losses.sampling import random_indices as random_indices
from .losses.sampling import random_matrices as random_matrices
from .losses.sampling import random_vectors as random_vectors
from .losses.sampling import unobserved_indices as unobserved_indices
from .losses.penalty import penalize as penalize
from .losses.loss import completion_loss as completion_loss
from .losses.loss import loss_plan as loss_plan
from .losses.loss import matrix_sensing_loss as matrix_sensing_loss
from .losses.loss import minibatch_loss as minibatch_loss
from .losses.loss import observation_loss as observation_loss
from .losses.loss import residuals as residuals
from .losses.loss import sensing_loss as sensing_loss
from .losses.sharded import sharded_loss as sharded_loss
from .losses.population import population_loss as population_loss
from .losses.gradient import Carrying as Carrying
from .losses.gradient import ScaledGradient as ScaledGradient
from .losses.scaled import Magnitude as Magnitude
from .losses.scaled import magnitude as magnitude
from .losses.scaled import scaled_loss as scaled_loss
from .losses.scaled import scaled_value_and_grad as scaled_value_and_grad

from .data.observed import Observed as Observed
from .data.observed import observed as observed

from .motion.group_rms import group_rmsprop as group_rmsprop
from .motion.group_rms import scale_by_group_rms as scale_by_group_rms
from .motion.levenberg_marquardt import levenberg_marquardt as levenberg_marquardt
from .motion.alternating import (
    alternating_least_squares as alternating_least_squares,
)
from .motion.trajectory import Trajectory as Trajectory
from .motion.trajectory import join as join
from .motion.stopping import Stop as Stop
from .motion.stopping import find_stop as find_stop
from .motion.rises import RiseTimes as RiseTimes
from .motion.rises import crossings as crossings
from .motion.rises import incrementality as incrementality
from .motion.rises import rise_times as rise_times
from .motion.progress import StepProgress as StepProgress
from .motion.descent import DescentState as DescentState
from .motion.descent import continue_descent as continue_descent
from .motion.descent import descend as descend
from .motion.descent import start_descent as start_descent
from .motion.chunks import descend_in_chunks as descend_in_chunks
from .motion.flow_report import FlowReport as FlowReport
from .motion.flow import gradient_flow as gradient_flow
from .motion.plateau import plateau_wait as plateau_wait

from .completion.complete import complete as complete
from .completion.result import Completion as Completion

from .runs.checkpoints import check_state as check_state
from .runs.checkpoints import load_state as load_state
from .runs.checkpoints import save_state as save_state
from .runs.results import load_results as load_results
from .runs.netcdf import save_results as save_results

from . import formats as formats
from . import exchange as exchange
from . import losses as losses
from . import theory as theory
from . import problems as problems
from . import runs as runs
from . import locality as locality
from . import plot as plot

__all__: list[str]
__version__: str
