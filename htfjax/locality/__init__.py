"""The network side: how far a network's output couples distant parts of an image.

So far the locality regularizer and the convolution its networks will be built on.
"""

from htfjax.locality.conv_ac import ConvAC as ConvAC
from htfjax.locality.conv_ac import grid_tensor as grid_tensor
from htfjax.locality.conv_ac import join_patches as join_patches
from htfjax.locality.conv_ac import split_patches as split_patches
from htfjax.locality.convolution import convolve as convolve
from htfjax.locality.convolution import max_pool as max_pool
from htfjax.locality.gradient_distance import ChangeByDistance as ChangeByDistance
from htfjax.locality.gradient_distance import (
    gradient_change_by_distance as gradient_change_by_distance,
)
from htfjax.locality.network import Network as Network
from htfjax.locality.network import as_network as as_network
from htfjax.locality.network import count_parameters as count_parameters
from htfjax.locality.patches import Patch as Patch
from htfjax.locality.patches import either_order as either_order
from htfjax.locality.patches import patch_gap as patch_gap
from htfjax.locality.patches import random_patches as random_patches
from htfjax.locality.patches import swap_patch as swap_patch
from htfjax.locality.regularizer import Measured as Measured
from htfjax.locality.regularizer import input_gradient_change as input_gradient_change
from htfjax.locality.regularizer import regularized_loss as regularized_loss
from htfjax.locality.regularizer import training_gradient_change as training_gradient_change
from htfjax.locality.regularizer import warn_if_blind as warn_if_blind
from htfjax.locality.resnet import resnet as resnet
from htfjax.locality.separation import Separation as Separation
from htfjax.locality.separation import separation_spectrum as separation_spectrum
from htfjax.locality.small_nets import residual_net as residual_net
from htfjax.locality.small_nets import strided_net as strided_net
