"""Stand-ins for other libraries: their classes' attributes, and full tensors by NumPy.

`make test` runs without these libraries. `test_libraries.py` makes the same checks with
them where they are installed.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np


def einsum(arrays: Sequence[Any], axes: Sequence[Sequence[Any]], out: Sequence[Any]) -> Any:
    """A sum over all products, axes under any names."""
    names = list(dict.fromkeys(name for inds in axes for name in inds))
    numbered = [[names.index(name) for name in inds] for inds in axes]
    pairs = [
        x for pair in zip(map(np.asarray, arrays), numbered, strict=True) for x in pair
    ]
    return np.einsum(*pairs, [names.index(name) for name in out], optimize=True)


# tensap


class DimensionTree:
    """Nodes are 1, 2, ...; children in the order of their numbers."""

    def __init__(self, dim2ind: Any, adjacency_matrix: Any) -> None:
        self.dim2ind = np.array(dim2ind)
        self.adjacency_matrix = np.array(adjacency_matrix)


class TreeBasedTensor:
    """Axes of a node's tensor: those of its children, then its own but at the root."""

    def __init__(self, cores: Any, tree: DimensionTree) -> None:
        self.tensors = [SimpleNamespace(data=np.asarray(x)) for x in cores]
        self.tree = tree

    def numpy(self) -> Any:
        axes = []
        modes = {node: n for n, node in enumerate(self.tree.dim2ind)}
        arrays = []
        for k, tensor in enumerate(self.tensors, 1):
            kids = [f"r{c + 1}" for c in np.flatnonzero(self.tree.adjacency_matrix[k - 1])]
            inds = [f"i{modes[k]}"] if k in modes else kids
            if tensor.data.size == 0:
                dim = self.inactive_dim(k)
                arrays.append(np.eye(dim))
                axes.append([*inds, f"r{k}"])
                continue
            arrays.append(tensor.data)
            axes.append([*inds, f"r{k}"][: tensor.data.ndim])
        return einsum(arrays, axes, [f"i{n}" for n in range(len(modes))])

    def inactive_dim(self, node: int) -> int:
        parent = int(np.flatnonzero(self.tree.adjacency_matrix[:, node - 1])[0])
        place = np.flatnonzero(self.tree.adjacency_matrix[parent]).tolist().index(node - 1)
        return self.tensors[parent].data.shape[place]


# quimb


class Tensor:
    def __init__(self, data: Any, inds: Any, tags: Any = ()) -> None:
        self.data, self.inds, self.tags = data, tuple(inds), set(tags)


class TensorNetwork:
    def __init__(self, tensors: Sequence[Tensor], exponent: float = 0.0) -> None:
        self.tensor_map = dict(enumerate(tensors))
        self.exponent = exponent

    def contract(self, output_inds: Sequence[str]) -> Any:
        tensors = self.tensor_map.values()
        found = einsum([t.data for t in tensors], [t.inds for t in tensors], output_inds)
        return (found * 10.0**self.exponent).astype(found.dtype)


# tensorly


class CPTensor:
    def __init__(self, pair: Any) -> None:
        self.weights, self.factors = pair

    def full(self) -> Any:
        axes = [(f"i{n}", "r") for n in range(len(self.factors))]
        weights = [] if self.weights is None else [self.weights]
        return einsum(
            [*weights, *self.factors],
            [*([["r"]] * len(weights)), *axes],
            [i for i, _ in axes],
        )


class TuckerTensor:
    def __init__(self, pair: Any) -> None:
        self.core, self.factors = pair

    def full(self) -> Any:
        count = range(len(self.factors))
        axes = [[f"r{n}" for n in count], *([f"i{n}", f"r{n}"] for n in count)]
        return einsum([self.core, *self.factors], axes, [f"i{n}" for n in count])


class TTTensor:
    def __init__(self, factors: Any) -> None:
        self.factors = list(factors)

    def full(self) -> Any:
        return chained(self.factors)


def chained(cores: Sequence[Any]) -> Any:
    """A train as a full tensor; (D, R) is a core of diagonal slices."""
    axes, bond = [], "r0"
    for n, core in enumerate(cores):
        if np.ndim(core) == 2:
            axes.append([f"i{n}", bond])
            continue
        axes.append([bond, f"i{n}", f"r{n + 1}"])
        bond = f"r{n + 1}"
    return einsum(cores, axes, [f"i{n}" for n in range(len(cores))])


# torch and what is built on it


class Torch:
    """A tensor on a device, of a graph: NumPy cannot read it before both are left."""

    def __init__(self, array: Any, steps: tuple[str, ...] = ("detach", "cpu")) -> None:
        self.array, self.steps = np.asarray(array), steps
        self.shape, self.dtype = self.array.shape, self.array.dtype

    def detach(self) -> Any:
        return Torch(self.array, tuple(s for s in self.steps if s != "detach"))

    def cpu(self) -> Any:
        assert "detach" not in self.steps
        return Torch(self.array, ())

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self.steps:
            raise TypeError(f"call {self.steps} first")
        return self.array.astype(self.array.dtype if dtype is None else dtype)


class HalfTorch(Torch):
    """A tensor of bfloat16, which NumPy does not know."""

    def __init__(self, array: Any) -> None:
        super().__init__(array)
        self.dtype = "torch.bfloat16"

    def float(self) -> Torch:
        return Torch(self.array.astype(np.float32))


def plain(tensor: Any) -> Any:
    return np.asarray(tensor.detach().cpu())


class DimTree:
    def __init__(self, root: Any, children: Any) -> None:
        self.root, self.children = root, children


class HTTensor:
    def __init__(self, U: Any, B: Any, dtree: DimTree) -> None:
        self.U, self.B, self.dtree = U, B, dtree

    def full(self) -> Any:
        arrays = [plain(x) for x in (*self.U.values(), *self.B.values())]
        axes = [[f"i{n}", (n,)] for (n,) in self.U]
        axes += [[*self.dtree.children[k], k] for k in self.B]
        return einsum(arrays, axes, [f"i{n}" for n in range(len(self.U))])


class TT:
    """Of torchTT."""

    def __init__(self, cores: Any, is_ttm: bool = False) -> None:
        self.cores, self.is_ttm = cores, is_ttm

    def full(self) -> Any:
        return chained([plain(core) for core in self.cores])


class TntorchTensor:
    def __init__(self, data: Any, Us: Any = None, batch: bool = False) -> None:
        self.cores, self.batch = data, batch
        self.Us = [None] * len(data) if Us is None else Us

    def full(self) -> Any:
        cores = [plain(core) for core in self.cores]
        for n, u in enumerate(self.Us):
            if u is not None:
                bonds = ["a", "s", "b"] if cores[n].ndim == 3 else ["s", "b"]
                out = ["i" if axis == "s" else axis for axis in bonds]
                cores[n] = einsum([cores[n], plain(u)], [bonds, ["i", "s"]], out)
        return chained(cores)


@contextlib.contextmanager
def numpy_only(name: str) -> Iterator[None]:
    """The backend of tensorly that reads what is given."""
    assert name == "numpy"
    yield


MODULES: dict[str, dict[str, Any]] = {
    "tensap": {"TreeBasedTensor": TreeBasedTensor, "DimensionTree": DimensionTree},
    "quimb": {},
    "quimb.tensor": {"Tensor": Tensor, "TensorNetwork": TensorNetwork},
    "tensorly": {
        "backend_context": numpy_only,
        "cp_tensor": SimpleNamespace(CPTensor=CPTensor),
        "tucker_tensor": SimpleNamespace(TuckerTensor=TuckerTensor),
        "tt_tensor": SimpleNamespace(TTTensor=TTTensor),
    },
    "torch": {"from_numpy": Torch},
    "hiepy": {"HTTensor": HTTensor},
    "hiepy.utils": {},
    "hiepy.utils.dimtree": {"DimTree": DimTree},
    "torchtt": {"TT": TT},
    "tntorch": {"Tensor": TntorchTensor},
}


def module(name: str) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(MODULES[name])
    return made


def installed() -> Any:
    """A block in which the stand-ins are what is imported."""
    return mock.patch.dict(sys.modules, {name: module(name) for name in MODULES})


def absent(name: str) -> Any:
    """A block in which a library is not installed."""
    names = {known: None for known in MODULES if known.split(".")[0] == name}
    return mock.patch.dict(sys.modules, names)
