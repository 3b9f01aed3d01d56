"""Compression of full tensors, beside hiepy and tensap.

Smooth functions and noisy low-rank tensors of order 4 to 10 with more than 10^5 entries are
brought into the hierarchical Tucker format on one balanced binary tree within one relative
tolerance. Every library's own full tensor is compared with the input first: an error above
the tolerance is no result. `hiepy` and `tensap` are left out by name where they are not
installed. All run in this process on the same cores, in turns of equal length.
"""

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from rich.console import Console

import htfjax as htf
from benchmarks import harness

TURN = 300.0  # milliseconds
Compressed = tuple[np.ndarray, int]  # the full tensor, and the entries stored


def smooth(dims: tuple[int, ...]) -> np.ndarray:
    """1 / (1 + a sum of all coordinates): values that fall geometrically."""
    grid = np.meshgrid(*(np.linspace(0, 1, d) for d in dims), indexing="ij", sparse=True)
    return np.asarray(1 / (1 + sum(grid)))


def waves(dims: tuple[int, ...]) -> np.ndarray:
    """sin(x_0 x_1 + x_2 + ...) with frequencies that grow with the mode."""
    grid = np.meshgrid(*(np.linspace(0, 1, d) for d in dims), indexing="ij", sparse=True)
    return np.sin(grid[0] * grid[1] + sum((1 + n) * x for n, x in enumerate(grid)))


def noisy(dims: tuple[int, ...]) -> np.ndarray:
    """Ranks of 6 at every node, and noise of 1e-8."""
    key = jax.random.key(0)
    factors = htf.gaussian_factors(key, tree_of(len(dims)), dims, 6, 1.0)
    tensor = np.asarray(htf.end_tensor(factors))
    noise = np.random.default_rng(0).standard_normal(dims)
    return tensor / tensor.std() + 1e-8 * noise


# name: function, dimensions, relative tolerance
CASES: dict[str, tuple[Callable[..., np.ndarray], tuple[int, ...], float]] = {
    "order 4, 40^4, smooth": (smooth, (40,) * 4, 1e-8),
    "order 4, 24^4, noisy": (noisy, (24,) * 4, 1e-6),
    "order 5, 12^5, smooth": (smooth, (12,) * 5, 1e-8),
    "order 5, 12^5, waves": (waves, (12,) * 5, 1e-8),
    "order 6, 8^6, noisy": (noisy, (8,) * 6, 1e-6),
    "order 6, 8^6, waves": (waves, (8,) * 6, 1e-8),
    "order 7, 6^7, smooth": (smooth, (6,) * 7, 1e-8),
    "order 8, 5^8, noisy": (noisy, (5,) * 8, 1e-6),
    "order 8, 5^8, smooth": (smooth, (5,) * 8, 1e-8),
    "order 9, 4^9, waves": (waves, (4,) * 9, 1e-8),
    "order 10, 4^10, smooth": (smooth, (4,) * 10, 1e-8),
    "order 10, 4^10, noisy": (noisy, (4,) * 10, 1e-6),
}
QUICK = ("order 4, 24^4, noisy", "order 6, 8^6, waves")


def tree_of(order: int) -> htf.ModeTree:
    """Halves of halves of the modes, the larger one first."""

    def halves(modes: tuple[int, ...]) -> Any:
        if len(modes) == 1:
            return modes[0]
        cut = (len(modes) + 1) // 2
        return halves(modes[:cut]), halves(modes[cut:])

    return htf.ModeTree.from_nested(halves(tuple(range(order))))


def ours(tensor: np.ndarray, rtol: float) -> tuple[Callable[[], Any], Any]:
    """A call, and what reads its result."""
    tree = tree_of(tensor.ndim)

    def call() -> Any:
        return htf.formats.hierarchical_svd(tensor, tree, rtol=rtol)[0]

    def read(factors: htf.Factors) -> Compressed:
        stored = sum(x.size for x in jax.tree.leaves(factors))
        return np.asarray(htf.end_tensor(factors)), stored

    return call, read


def ours_compiled(tensor: np.ndarray, rtol: float) -> tuple[Callable[[], Any], Any]:
    """The same of known ranks, in one compiled program."""
    tree = tree_of(tensor.ndim)
    found, _ = htf.formats.hierarchical_svd(tensor, tree, rtol=rtol)
    ranks = htf.formats.to_transfer_tensors(found).ranks[:-1]
    held = jax.device_put(tensor)
    program = jax.jit(lambda x: htf.formats.hierarchical_svd(x, tree, ranks=ranks)[0])
    return lambda: jax.block_until_ready(program(held)), ours(tensor, rtol)[1]


def tensap(tensor: np.ndarray, rtol: float) -> tuple[Callable[[], Any], Any]:
    """Its hierarchical SVD on the balanced tree that it makes itself."""
    peer = importlib.import_module("tensap")
    tree = peer.DimensionTree.balanced(tensor.ndim)
    full = peer.FullTensor(tensor, tensor.ndim, tensor.shape)

    def call() -> Any:
        return peer.Truncator(tolerance=rtol).hsvd(full, tree)

    def read(found: Any) -> Compressed:
        return np.asarray(found.full().numpy()), int(found.storage())

    return call, read


def hiepy(tensor: np.ndarray, rtol: float) -> tuple[Callable[[], Any], Any]:
    """Its decomposition, on the binary tree that it makes itself."""
    peer, torch = importlib.import_module("hiepy"), importlib.import_module("torch")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    held = torch.from_numpy(tensor)

    def call() -> Any:
        return peer.to_htt(held, {"rtol": rtol})

    def read(found: Any) -> Compressed:
        tensors = (*found.U.values(), *found.B.values())
        return found.full().numpy(), sum(x.numel() for x in tensors)

    return call, read


LIBRARIES = {
    "htfjax": (ours, None),
    "htfjax, compiled, ranks known": (ours_compiled, None),
    "hiepy": (hiepy, "hiepy"),
    "tensap": (tensap, "tensap"),
}


def case(name: str) -> dict[str, Any]:
    """Errors, entries stored and milliseconds of all libraries that are installed."""
    make, dims, rtol = CASES[name]
    tensor = np.ascontiguousarray(make(dims))
    norm, calls, found = np.linalg.norm(tensor), {}, {}
    for library, (prepare, package) in LIBRARIES.items():
        if package is not None and importlib.util.find_spec(package) is None:
            continue
        calls[library], read = prepare(tensor, rtol)
        full, stored = read(calls[library]())
        error = float(np.linalg.norm(full - tensor) / norm)
        if error > rtol * (1 + 1e-6):
            raise RuntimeError(f"{library}: error {error:.3g} is above {rtol:g} in {name}")
        found[library] = {"relative_error": error, "stored": stored}
    times = harness.measure({}, inner=1, repeats=5, besides=calls, shortest_turn=TURN)
    for library, row in found.items():
        row |= times[library]
    first = found["htfjax"]["milliseconds"]
    ratios = {
        f"{library} / htfjax": round(row["milliseconds"] / first, 2)
        for library, row in found.items()
        if library != "htfjax"
    }
    return {"shape": list(dims), "rtol": rtol, "results": found, "ratios": ratios}


def medians(record: dict[str, Any]) -> dict[str, float]:
    """Of each ratio over all cases, with the least."""
    rows = [found["ratios"] for found in record.values()]
    return {
        f"{which}, {name}": round(float(reduce([row[name] for row in rows])), 2)
        for name in rows[0]
        for which, reduce in (("median", np.median), ("least", min))
    }


def main() -> int:
    """Measures, prints and writes the record; --quick takes two cases and writes none."""
    parser = argparse.ArgumentParser(description="Compression beside hiepy and tensap.")
    parser.add_argument("--quick", action="store_true", help="two cases, some 20 s")
    names = QUICK if parser.parse_args().quick else tuple(CASES)
    jax.config.update("jax_enable_x64", True)
    console, record = Console(width=110), {}
    for name in names:
        record[name] = case(name)
        console.print(name, record[name]["ratios"], soft_wrap=True)
    console.print(medians(record), soft_wrap=True)
    if names != QUICK:
        values = {"cases": record, "over_all_cases": medians(record)}
        console.print(f"written to {harness.write_record('compression', values)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
