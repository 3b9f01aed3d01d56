"""Locality of networks: how strongly an output couples distant parts of an image.

Images and tasks -> networks -> training with the locality regularizer -> measures of how
local the trained network is.
"""

from htfjax.locality.logits import count_correct as count_correct
from htfjax.locality.logits import fit_loss as fit_loss
from htfjax.locality.measures.evaluation import Evaluation as Evaluation
from htfjax.locality.measures.evaluation import evaluate as evaluate
from htfjax.locality.measures.evaluation import mean_change as mean_change
from htfjax.locality.measures.gradient_distance import ChangeByDistance as ChangeByDistance
from htfjax.locality.measures.gradient_distance import (
    gradient_change_by_distance as gradient_change_by_distance,
)
from htfjax.locality.measures.separation import Separation as Separation
from htfjax.locality.measures.separation import separation_spectrum as separation_spectrum
from htfjax.locality.networks.conv_ac import ConvAC as ConvAC
from htfjax.locality.networks.conv_ac import grid_tensor as grid_tensor
from htfjax.locality.networks.conv_ac import join_patches as join_patches
from htfjax.locality.networks.conv_ac import split_patches as split_patches
from htfjax.locality.networks.convolution.convolution import convolve as convolve
from htfjax.locality.networks.convolution.convolution import max_pool as max_pool
from htfjax.locality.networks.network import Network as Network
from htfjax.locality.networks.network import as_network as as_network
from htfjax.locality.networks.network import count_parameters as count_parameters
from htfjax.locality.networks.resnet import resnet as resnet
from htfjax.locality.networks.small_nets import residual_net as residual_net
from htfjax.locality.networks.small_nets import strided_net as strided_net
from htfjax.locality.regularizer.gradient_norm import (
    gradient_norm_loss as gradient_norm_loss,
)
from htfjax.locality.regularizer.patch_draws import EitherOrder as EitherOrder
from htfjax.locality.regularizer.patch_draws import RandomPatches as RandomPatches
from htfjax.locality.regularizer.patches import Patch as Patch
from htfjax.locality.regularizer.patches import either_order as either_order
from htfjax.locality.regularizer.patches import patch_gap as patch_gap
from htfjax.locality.regularizer.patches import random_patches as random_patches
from htfjax.locality.regularizer.patches import swap_patch as swap_patch
from htfjax.locality.regularizer.regularizer import Measured as Measured
from htfjax.locality.regularizer.regularizer import (
    input_gradient_change as input_gradient_change,
)
from htfjax.locality.regularizer.regularizer import regularized_loss as regularized_loss
from htfjax.locality.regularizer.regularizer import (
    training_gradient_change as training_gradient_change,
)
from htfjax.locality.regularizer.regularizer import warn_if_blind as warn_if_blind
from htfjax.locality.tasks.cifar10 import download_cifar10 as download_cifar10
from htfjax.locality.tasks.cifar10 import load_cifar10 as load_cifar10
from htfjax.locality.tasks.digits import load_digits as load_digits
from htfjax.locality.tasks.examples import ArrayExamples as ArrayExamples
from htfjax.locality.tasks.examples import join_examples as join_examples
from htfjax.locality.tasks.examples import select_examples as select_examples
from htfjax.locality.tasks.images import Images as Images
from htfjax.locality.tasks.pathfinder import MarkerBaseline as MarkerBaseline
from htfjax.locality.tasks.pathfinder import PathfinderExamples as PathfinderExamples
from htfjax.locality.tasks.pathfinder import PathfinderImages as PathfinderImages
from htfjax.locality.tasks.pathfinder import PathfinderSettings as PathfinderSettings
from htfjax.locality.tasks.pathfinder import PositionBaseline as PositionBaseline
from htfjax.locality.tasks.pathfinder import draw_pathfinder as draw_pathfinder
from htfjax.locality.tasks.pathfinder import load_pathfinder as load_pathfinder
from htfjax.locality.tasks.pathfinder import lra_pathfinder as lra_pathfinder
from htfjax.locality.tasks.pathfinder import (
    marker_distance_baseline as marker_distance_baseline,
)
from htfjax.locality.tasks.pathfinder import marker_distances as marker_distances
from htfjax.locality.tasks.pathfinder import (
    marker_position_baseline as marker_position_baseline,
)
from htfjax.locality.tasks.pathfinder import paper_pathfinder as paper_pathfinder
from htfjax.locality.tasks.pathfinder import pathfinder_examples as pathfinder_examples
from htfjax.locality.tasks.pathfinder import save_pathfinder as save_pathfinder
from htfjax.locality.tasks.pathfinder import stored_pathfinder as stored_pathfinder
from htfjax.locality.tasks.same_class import Pairs as Pairs
from htfjax.locality.tasks.same_class import SameClassExamples as SameClassExamples
from htfjax.locality.tasks.same_class import largest_distance as largest_distance
from htfjax.locality.tasks.same_class import same_class_examples as same_class_examples
from htfjax.locality.tasks.same_class import same_class_pairs as same_class_pairs
from htfjax.locality.tasks.same_class import same_class_patches as same_class_patches
from htfjax.locality.training import Course as Course
from htfjax.locality.training import EpochSums as EpochSums
from htfjax.locality.training import TrainingLoss as TrainingLoss
from htfjax.locality.training import epoch_records as epoch_records
from htfjax.locality.training import hold as hold
from htfjax.locality.training import start_training as start_training
from htfjax.locality.training import steps_per_epoch as steps_per_epoch
from htfjax.locality.training import training_loss as training_loss
