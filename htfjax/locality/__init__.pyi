# ruff: noqa: TID252
"""Public names of `htfjax.locality` and the modules that define them."""

from .logits import count_correct as count_correct
from .logits import fit_loss as fit_loss
from .measures.evaluation import Evaluation as Evaluation
from .measures.evaluation import evaluate as evaluate
from .measures.evaluation import mean_change as mean_change
from .measures.gradient_distance import ChangeByDistance as ChangeByDistance
from .measures.gradient_distance import (
    gradient_change_by_distance as gradient_change_by_distance,
)
from .measures.separation import Separation as Separation
from .measures.separation import separation_spectrum as separation_spectrum
from .networks.conv_ac import ConvAC as ConvAC
from .networks.conv_ac import class_tree as class_tree
from .networks.conv_ac import grid_tensor as grid_tensor
from .networks.conv_ac import join_patches as join_patches
from .networks.conv_ac import split_patches as split_patches
from .networks.convolution.convolution import convolve as convolve
from .networks.convolution.convolution import max_pool as max_pool
from .networks.network import Network as Network
from .networks.network import as_network as as_network
from .networks.network import count_parameters as count_parameters
from .networks.resnet import resnet as resnet
from .networks.small_nets import residual_net as residual_net
from .networks.small_nets import strided_net as strided_net
from .regularizer.gradient_norm import (
    gradient_norm_loss as gradient_norm_loss,
)
from .regularizer.patch_draws import EitherOrder as EitherOrder
from .regularizer.patch_draws import RandomPatches as RandomPatches
from .regularizer.patches import Patch as Patch
from .regularizer.patches import either_order as either_order
from .regularizer.patches import patch_gap as patch_gap
from .regularizer.patches import random_patches as random_patches
from .regularizer.patches import swap_patch as swap_patch
from .regularizer.regularizer import Measured as Measured
from .regularizer.regularizer import (
    input_gradient_change as input_gradient_change,
)
from .regularizer.regularizer import regularized_loss as regularized_loss
from .regularizer.regularizer import (
    training_gradient_change as training_gradient_change,
)
from .regularizer.regularizer import warn_if_blind as warn_if_blind
from .tasks.cifar10 import download_cifar10 as download_cifar10
from .tasks.cifar10 import load_cifar10 as load_cifar10
from .tasks.digits import load_digits as load_digits
from .tasks.examples import ArrayExamples as ArrayExamples
from .tasks.examples import join_examples as join_examples
from .tasks.examples import select_examples as select_examples
from .tasks.images import Images as Images
from .tasks.pathfinder.baseline import MarkerBaseline as MarkerBaseline
from .tasks.pathfinder.baseline import PositionBaseline as PositionBaseline
from .tasks.pathfinder.baseline import (
    marker_distance_baseline as marker_distance_baseline,
)
from .tasks.pathfinder.baseline import (
    marker_position_baseline as marker_position_baseline,
)
from .tasks.pathfinder.draw import PathfinderImages as PathfinderImages
from .tasks.pathfinder.draw import draw_pathfinder as draw_pathfinder
from .tasks.pathfinder.draw import marker_distances as marker_distances
from .tasks.pathfinder.examples import PathfinderExamples as PathfinderExamples
from .tasks.pathfinder.examples import load_pathfinder as load_pathfinder
from .tasks.pathfinder.examples import pathfinder_examples as pathfinder_examples
from .tasks.pathfinder.examples import save_pathfinder as save_pathfinder
from .tasks.pathfinder.examples import stored_pathfinder as stored_pathfinder
from .tasks.pathfinder.settings import PathfinderSettings as PathfinderSettings
from .tasks.pathfinder.settings import lra_pathfinder as lra_pathfinder
from .tasks.pathfinder.settings import paper_pathfinder as paper_pathfinder
from .tasks.same_class import Pairs as Pairs
from .tasks.same_class import SameClassExamples as SameClassExamples
from .tasks.same_class import largest_distance as largest_distance
from .tasks.same_class import same_class_examples as same_class_examples
from .tasks.same_class import same_class_pairs as same_class_pairs
from .tasks.same_class import same_class_patches as same_class_patches
from .training import Course as Course
from .training import EpochSums as EpochSums
from .training import TrainingLoss as TrainingLoss
from .training import epoch_records as epoch_records
from .training import hold as hold
from .training import start_training as start_training
from .training import steps_per_epoch as steps_per_epoch
from .training import training_loss as training_loss

__all__: list[str]
