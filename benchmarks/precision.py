"""How far is float32 from float64, kernel by kernel?

The same factors in both, one random problem a tree; errors are relative to the largest
entry of the float64 result.
"""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import htfjax as htf
from benchmarks import harness

TREES = {
    "order 4, D 8, width 512": (htf.perfect(4), 8, 512),
    "order 8, D 4, width 64": (htf.perfect(8), 4, 64),
    "order 5, mixed, width 32": (htf.ModeTree.from_nested((((0, 1), 2), (3, 4))), 5, 32),
}


def problem(tree: htf.ModeTree, dims: int, width: int) -> tuple[htf.Factors, Any, Any, Any]:
    """Float64 factors whose entries have size one, 500 observations, two kinds."""
    keys = jax.random.split(jax.random.key(0), 4)
    factors = htf.gaussian_factors(keys[0], tree, dims, width, 1.0, dtype=jnp.float64)
    weights = tuple(w / np.sqrt(w.shape[0]) for w in factors.weights)
    factors = htf.Factors(tree=tree, weights=weights)
    indices = htf.random_indices(keys[1], htf.mode_dims(factors), 500)
    vectors = htf.random_vectors(keys[2], htf.mode_dims(factors), 500, dtype=jnp.float64)
    return factors, indices, vectors, jax.random.normal(keys[3], (500,), jnp.float64)


def singular(route: Any) -> Callable[[htf.Factors], Any]:
    """All singular values of all nodes by one route."""

    def values(factors: htf.Factors) -> Any:
        return [found.values for found in htf.spectra(factors, method=route).values()]

    return values


def kernels(factors: htf.Factors, indices: Any, vectors: Any, targets: Any) -> dict:
    """Name -> function of factors."""
    tree, dims = factors.tree, htf.mode_dims(factors)
    shape = (tree, dims, htf.widths(factors)[tree.order :], len(targets))
    found: dict[str, Callable[[htf.Factors], Any]] = {
        "end_tensor": htf.end_tensor,
        "sense": lambda f: htf.sense(f, vectors),
        "local_component_norms": htf.local_component_norms,
        "squared_norm": htf.squared_norm,
        "spectra, qr": singular("qr"),
        "spectra, gram": singular("gram"),
        "spectra, dense": singular("dense"),
        "sensing loss, gradient": jax.grad(htf.sensing_loss(vectors, targets)),
        "population loss, gradient": jax.grad(
            htf.population_loss(jax.tree.map(lambda w: 0.9 * w, factors))
        ),
    }
    for force in ("rows", "table", "gather", "dense"):
        plan = htf.contraction_plan(*shape, force=force)
        loss = htf.completion_loss(tree, dims, indices, targets, plan=plan)
        found[f"entries, {force}"] = lambda f, plan=plan: htf.entries(f, indices, plan=plan)
        found[f"completion, {force}, gradient"] = jax.grad(loss)
    return found


def error(single: Any, double: Any) -> float:
    """Largest difference over the largest entry, over a pytree."""
    pairs = zip(jax.tree.leaves(single), jax.tree.leaves(double), strict=True)
    arrays = [(np.asarray(s, np.float64), np.asarray(d)) for s, d in pairs]
    largest = max(np.max(np.abs(d)) for _, d in arrays)
    return float(max(np.max(np.abs(s - d)) for s, d in arrays) / largest)


def main() -> int:
    """Measures, prints and writes the record."""
    console = Console(width=110)
    record: dict[str, Any] = {"float32 eps": float(jnp.finfo(jnp.float32).eps)}
    with jax.enable_x64(True):
        for name, (tree, dims, width) in TREES.items():
            factors, *data = problem(tree, dims, width)
            halved = jax.tree.map(lambda w: w.astype(jnp.float32), factors)
            exact = jax.tree.map(lambda w: w.astype(jnp.float64), halved)
            record[name] = {
                kernel: error(jax.jit(function)(halved), jax.jit(function)(exact))
                for kernel, function in kernels(factors, *data).items()
            }
    table = Table(title="float32 against float64", box=None, title_justify="left")
    for heading in ("", *TREES):
        table.add_column(heading, justify="right" if heading else "left")
    for kernel in record[next(iter(TREES))]:
        table.add_row(kernel, *(f"{record[name][kernel]:.1e}" for name in TREES))
    console.print(table)
    path = harness.write_record("precision", record)
    console.print(f"written to {path}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
