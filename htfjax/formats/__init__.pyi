# ruff: noqa: TID252
"""Public names of `htfjax.formats` and the modules that define them."""

from .arithmetic import add as add
from .arithmetic import hadamard as hadamard
from .arithmetic import scale as scale
from .arithmetic import subtract as subtract
from .classical import cp_factors as cp_factors
from .classical import tucker_factors as tucker_factors
from .freedom import degrees_of_freedom as degrees_of_freedom
from .hierarchical_svd import hierarchical_svd as hierarchical_svd
from .modes import contract_mode as contract_mode
from .modes import mode_product as mode_product
from .rounding import orthogonalize as orthogonalize
from .rounding import round_factors as round_factors
from .tensor_train import tensor_train_factors as tensor_train_factors
from .tensor_train import tensor_train_svd as tensor_train_svd
from .transfer_tensors import TransferTensors as TransferTensors
from .transfer_tensors import from_transfer_tensors as from_transfer_tensors
from .transfer_tensors import to_transfer_tensors as to_transfer_tensors

__all__: list[str]
