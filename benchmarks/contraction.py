"""What does value and gradient of completion and sensing cost, and against what?

Side by side on the same data, values checked equal first: the automatic plan, each
alternative forced, plain per-node gathers (one row per observation), and the scheme of
one-hot inputs contracted sample by sample; the last two are written here. Float32.
"""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich.console import Console
from rich.table import Table

import htfjax as htf
from benchmarks import harness

CASES = {
    "order 4, D 8, widths 512, B 2048": (htf.perfect(4), 8, 512, 2048),
    "order 4, D 16, widths 512, B 2048": (htf.perfect(4), 16, 512, 2048),
    "order 8, D 4, widths 64, B 4096": (htf.perfect(8), 4, 64, 4096),
    "order 16, D 4, widths 32, B 2048": (htf.perfect(16), 4, 32, 2048),
}


def problem(tree: htf.ModeTree, dims: Any, widths: Any, batch: int, seed: int = 0) -> Any:
    """Factors whose entries have size one, random indices and targets."""
    keys = jax.random.split(jax.random.key(seed), 3)
    factors = htf.gaussian_factors(keys[0], tree, dims, widths, 1.0, dtype=jnp.float32)
    # Every matrix preserves the size of what passes through it.
    weights = tuple(w * np.float32(1 / max(w.shape[0], 2) ** 0.5) for w in factors.weights)
    factors = htf.Factors(tree=tree, weights=weights)
    indices = htf.random_indices(keys[1], htf.mode_dims(factors), batch)
    return factors, indices, jax.random.normal(keys[2], (batch,), jnp.float32)


def gather_loss(factors: htf.Factors, data: tuple) -> jax.Array:
    """One row per observation at every node."""
    indices, targets = data
    tree = factors.tree
    rows = {n: factors.weights[n][indices[:, n]] for n in range(tree.order)}
    return _rows_loss(factors, rows, targets)


def one_hot_loss(factors: htf.Factors, data: tuple) -> jax.Array:
    """All samples one-hot in one array, every level one batched einsum."""
    inputs, targets = data
    tree = factors.tree
    rows: Any = inputs
    level = list(range(tree.order))
    while level != [tree.root]:
        weights = jnp.stack([factors.weights[k] for k in level])
        rows = jnp.einsum("bod,odr->bor", rows, weights, precision="highest")
        rows = rows.reshape(rows.shape[0], -1, 2, rows.shape[2]).prod(axis=2)
        level = [tree.parent[k] for k in level[::2]]
    values = jnp.matmul(rows[:, 0], factors.weights[tree.root][:, 0], precision="highest")
    return jnp.mean(jnp.square(values - targets))


def vectors_loss(factors: htf.Factors, data: tuple) -> jax.Array:
    """Node by node on dense vectors, as `sense` does."""
    vectors, targets = data
    return jnp.mean(jnp.square(htf.sense(factors, vectors) - targets))


def _rows_loss(factors: htf.Factors, rows: dict[int, Any], targets: jax.Array) -> jax.Array:
    tree = factors.tree
    for k in tree.interior:
        joint = rows[tree.children[k][0]]
        for child in tree.children[k][1:]:
            joint = joint * rows[child]
        rows[k] = jnp.matmul(joint, factors.weights[k], precision="highest")
    return jnp.mean(jnp.square(rows[tree.root][:, 0] - targets))


def repeated(loss: Callable[..., jax.Array], times: int) -> Callable[..., Any]:
    """Value and gradient `times` times, each from slightly moved factors."""

    def run(factors: htf.Factors, data: Any) -> Any:
        def again(at: htf.Factors, _: None) -> tuple[htf.Factors, jax.Array]:
            value, gradient = jax.value_and_grad(loss)(at, data)
            return jax.tree.map(lambda w, g: w - 1e-9 * g, at, gradient), value

        return lax.scan(again, factors, length=times)[1]

    return run


def completion(
    factors: htf.Factors, indices: Any, targets: Any, *, inner: int, others: bool
) -> dict[str, Any]:
    """Milliseconds of every scheme on one problem, values checked equal first."""
    tree, dims = factors.tree, htf.mode_dims(factors)
    shape = (tree, dims, htf.widths(factors)[tree.order :], len(targets))
    auto = htf.completion_loss(tree, dims, indices, targets)
    call = repeated(lambda f, loss: loss(f), inner)
    cases: dict[str, Any] = {"plan": (call, (factors, auto))}
    for force in ("rows", "dense", "masked"):
        try:
            plan = htf.contraction_plan(*shape, masked=auto.dense is not None, force=force)
        except ValueError:
            continue  # the tensor is too large
        forced = htf.completion_loss(tree, dims, indices, targets, plan=plan)
        cases[f"forced {force}"] = (call, (factors, forced))
    exact = htf.completion_loss(tree, dims, indices, targets, plan="exact")
    cases["plan exact"] = (call, (factors, exact))
    cases["gather"] = (repeated(gather_loss, inner), (factors, (indices, targets)))
    _check_equal({name: case[0](*case[1])[0] for name, case in cases.items()})
    results = harness.measure(cases, inner=inner)
    if others:
        one_hot = jax.nn.one_hot(indices, dims[0], dtype=jnp.float32)
        slow = {"one-hot": (repeated(one_hot_loss, 3), (factors, (one_hot, targets)))}
        _check_equal({"plan": auto(factors), "one-hot": slow["one-hot"][0](factors, (one_hot, targets))[0]})  # fmt: skip  # noqa: E501
        results |= harness.measure(slow, inner=3, repeats=5)
    ours = results["plan"]["milliseconds"]
    ratios = {
        f"{name} / plan": round(row["milliseconds"] / ours, 2)
        for name, row in results.items()
        if name != "plan"
    }
    predicted = htf.loss_plan(auto, factors)
    return {
        "routes": "".join(r[0] for r in predicted.routes) + " " + predicted.root,
        "predicted_milliseconds": round(1e3 * predicted.seconds, 4),
        "results": results,
        "ratios": ratios,
    }


def sensing(inner: int = 3) -> dict[str, Any]:
    """Node-major products against the batch-major einsum, on dense vectors."""
    factors, _, targets = problem(*CASES["order 4, D 8, widths 512, B 2048"])
    vectors = htf.random_vectors(jax.random.key(5), (8,) * 4, 2048, jnp.float32)
    vectors = tuple(3 * x for x in vectors)
    stacked = jnp.stack(vectors, axis=1)
    cases = {
        "sense": (repeated(vectors_loss, inner), (factors, (vectors, targets))),
        "batch-major einsum": (
            repeated(one_hot_loss, inner),
            (factors, (stacked, targets)),
        ),
    }
    _check_equal({name: case[0](*case[1])[0] for name, case in cases.items()})
    results = harness.measure(cases, inner=inner, repeats=5)
    ours = results["sense"]["milliseconds"]
    flops = 6 * 2048 * (2 * 512 * 512 + 4 * 8 * 512)
    return {
        "results": results,
        "einsum over sense": round(results["batch-major einsum"]["milliseconds"] / ours, 2),
        "flops_per_second": round(flops / ours * 1e3),
    }


def random_trees(count: int = 30, inner: int = 20) -> dict[str, Any]:
    """The plan against plain gathers on random trees and index sets."""
    rng = np.random.default_rng(0)
    ratios = []
    for seed in range(count):
        nested = _random_nested(rng, list(rng.permutation(rng.integers(2, 9))))
        tree = htf.ModeTree.from_nested(nested)
        dims = tuple(int(d) for d in rng.integers(2, 9, tree.order))
        widths = [int(w) for w in rng.integers(4, 65, len(tree.interior))]
        batch = min(int(rng.integers(50, 2000)), int(np.prod(dims)))
        factors, indices, targets = problem(tree, dims, widths, batch, seed)
        loss = htf.completion_loss(tree, dims, indices, targets)
        cases = {
            "plan": (repeated(lambda f, data: data(f), inner), (factors, loss)),
            "gather": (repeated(gather_loss, inner), (factors, (indices, targets))),
        }
        _check_equal({name: case[0](*case[1])[0] for name, case in cases.items()})
        seen = harness.measure(cases, inner=inner, repeats=7)
        ratios.append(seen["plan"]["milliseconds"] / seen["gather"]["milliseconds"])
    return {
        "trees": count,
        "plan / gather, worst": round(max(ratios), 3),
        "plan / gather, median": round(float(np.median(ratios)), 3),
        "above 1.1": sum(r > 1.1 for r in ratios),
    }


def _random_nested(rng: np.random.Generator, modes: list) -> tuple:
    if len(modes) <= 3:
        return tuple(int(m) for m in modes)
    cuts = sorted(rng.choice(np.arange(1, len(modes)), rng.integers(1, 3), replace=False))
    parts = np.split(np.array(modes), cuts)
    return tuple(
        int(part[0]) if len(part) == 1 else _random_nested(rng, list(part))
        for part in parts
    )


def _check_equal(values: dict[str, jax.Array]) -> None:
    first = next(iter(values.values()))
    for name, value in values.items():
        if not jnp.allclose(value.ravel()[0], first.ravel()[0], rtol=1e-4):
            raise SystemExit(f"{name} computes another value: {values}")


def main() -> int:
    """Measures, prints and writes the record."""
    htf.device_rates()
    console = Console(width=110)
    record: dict[str, Any] = {"gemm_flops_per_second": round(harness.gemm_rate())}
    for name, (tree, dims, width, batch) in CASES.items():
        found = completion(
            *problem(tree, dims, width, batch), inner=20, others=tree.order == 4
        )
        record[name] = found
        table = Table(title=f"{name}: {found['routes']}", box=None, title_justify="left")
        for heading in ("", "ms", "over plan", "temporary MB"):
            table.add_column(heading, justify="right" if heading else "left")
        for scheme, row in found["results"].items():
            ratio = found["ratios"].get(f"{scheme} / plan", 1.0)
            table.add_row(scheme, f"{row['milliseconds']:.3f}", f"{ratio:.2f}",
                          f"{row['temporary_bytes'] / 1e6:.2f}")  # fmt: skip
        console.print(table)
    record["sensing"] = sensing()
    console.print("sensing:", record["sensing"])
    record["random trees"] = random_trees()
    console.print("random trees:", record["random trees"])
    path = harness.write_record("contraction", record)
    console.print(f"written to {path}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
