"""The network side: how far a network's output couples distant parts of an image.

So far the locality regularizer and the convolution its networks will be built on.
"""

from htfjax.locality.cifar10 import download_cifar10 as download_cifar10
from htfjax.locality.cifar10 import load_cifar10 as load_cifar10
from htfjax.locality.conv_ac import ConvAC as ConvAC
from htfjax.locality.conv_ac import grid_tensor as grid_tensor
from htfjax.locality.conv_ac import join_patches as join_patches
from htfjax.locality.conv_ac import split_patches as split_patches
from htfjax.locality.convolution import convolve as convolve
from htfjax.locality.convolution import max_pool as max_pool
from htfjax.locality.digits import load_digits as load_digits
from htfjax.locality.images import Images as Images
from htfjax.locality.patches import Patch as Patch
from htfjax.locality.patches import either_order as either_order
from htfjax.locality.patches import patch_gap as patch_gap
from htfjax.locality.patches import random_patches as random_patches
from htfjax.locality.patches import swap_patch as swap_patch
from htfjax.locality.pathfinder import MarkerBaseline as MarkerBaseline
from htfjax.locality.pathfinder import PathfinderExamples as PathfinderExamples
from htfjax.locality.pathfinder import PathfinderImages as PathfinderImages
from htfjax.locality.pathfinder import PathfinderSettings as PathfinderSettings
from htfjax.locality.pathfinder import draw_pathfinder as draw_pathfinder
from htfjax.locality.pathfinder import load_pathfinder as load_pathfinder
from htfjax.locality.pathfinder import lra_pathfinder as lra_pathfinder
from htfjax.locality.pathfinder import marker_distance_baseline as marker_distance_baseline
from htfjax.locality.pathfinder import marker_distances as marker_distances
from htfjax.locality.pathfinder import paper_pathfinder as paper_pathfinder
from htfjax.locality.pathfinder import pathfinder_examples as pathfinder_examples
from htfjax.locality.pathfinder import save_pathfinder as save_pathfinder
from htfjax.locality.pathfinder import stored_pathfinder as stored_pathfinder
from htfjax.locality.regularizer import Measured as Measured
from htfjax.locality.regularizer import input_gradient_change as input_gradient_change
from htfjax.locality.regularizer import regularized_loss as regularized_loss
from htfjax.locality.regularizer import training_gradient_change as training_gradient_change
from htfjax.locality.regularizer import warn_if_blind as warn_if_blind
from htfjax.locality.same_class import Pairs as Pairs
from htfjax.locality.same_class import SameClassExamples as SameClassExamples
from htfjax.locality.same_class import largest_distance as largest_distance
from htfjax.locality.same_class import same_class_examples as same_class_examples
from htfjax.locality.same_class import same_class_pairs as same_class_pairs
from htfjax.locality.same_class import same_class_patches as same_class_patches
