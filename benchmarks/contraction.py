"""What does value and gradient of completion and sensing cost, and against what?

Side by side on the same data, values checked equal first: the automatic plan, each
alternative forced, plain per-node gathers (one row per observation), and one-hot inputs
contracted sample by sample; the last two are written in `benchmarks.schemes`. Float32.
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import htfjax as htf
from benchmarks import calibrate, harness, schemes

CASES = {
    "order 4, D 8, widths 512, B 2048": (htf.perfect(4), 8, 512, 2048),
    "order 4, D 16, widths 512, B 2048": (htf.perfect(4), 16, 512, 2048),
    "order 8, D 4, widths 64, B 4096": (htf.perfect(8), 4, 64, 4096),
    "order 16, D 4, widths 32, B 2048": (htf.perfect(16), 4, 32, 2048),
}
SHORTEST_CALL = 4e-3  # seconds; calls must be long against what a call itself costs


def completion(factors: htf.Factors, indices: Any, targets: Any) -> dict[str, Any]:
    """Milliseconds of every scheme on one problem, values checked equal first."""
    tree, dims = factors.tree, htf.mode_dims(factors)
    shape = (tree, dims, htf.widths(factors)[tree.order :], len(targets))
    auto = htf.completion_loss(tree, dims, indices, targets)
    call = harness.value_and_gradient(schemes.planned_loss, 20)
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
    gather = harness.value_and_gradient(schemes.gather_loss, 20)
    cases["gather"] = (gather, (factors, (indices, targets)))
    schemes.check_equal({name: case[0](*case[1])[0] for name, case in cases.items()})
    results = harness.measure(cases, inner=20, repeats=15)
    ours = results["plan"]["milliseconds"]
    beside = {}
    if tree.order == 4:
        slow, fast = _one_hot(factors, indices, targets, auto)
        results["one-hot"] = slow
        beside = {"one-hot / plan": round(slow["milliseconds"] / fast["milliseconds"], 2)}
    predicted = htf.loss_plan(auto, factors)
    return {
        "routes": "".join(r[0] for r in predicted.routes) + " " + predicted.root,
        "predicted_milliseconds": round(1e3 * predicted.seconds, 4),
        "results": results,
        "ratios": {
            f"{name} / plan": round(row["milliseconds"] / ours, 2)
            for name, row in results.items()
            if name != "plan"
        }
        | beside,
    }


def _one_hot(
    factors: htf.Factors, indices: Any, targets: Any, loss: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The one-hot scheme, and the plan once more between its calls."""
    inputs = schemes.one_hot(indices, htf.mode_dims(factors)[0])
    call = harness.value_and_gradient(schemes.batch_major_loss, 3)
    arguments = (factors, (inputs, targets))
    schemes.check_equal({"plan": loss(factors), "one-hot": call(*arguments)[0]})
    ours = harness.value_and_gradient(schemes.planned_loss, 3)
    found = harness.measure(
        {"one-hot": (call, arguments), "plan": (ours, (factors, loss))},
        inner=3,
        repeats=9,
        shortest_turn=200.0,  # else all the plan's steps find caches full of one-hot rows
    )
    return found["one-hot"], found["plan"]


def sensing(inner: int = 3) -> dict[str, Any]:
    """Node-major products against the batch-major einsum, on dense vectors."""
    factors, _, targets = schemes.problem(*CASES["order 4, D 8, widths 512, B 2048"])
    vectors = htf.random_vectors(jax.random.key(5), (8,) * 4, 2048, jnp.float32)
    vectors = tuple(3 * x for x in vectors)
    stacked = jnp.stack(vectors, axis=1)
    cases = {
        "sense": (
            harness.value_and_gradient(schemes.vectors_loss, inner),
            (factors, (vectors, targets)),
        ),
        "batch-major einsum": (
            harness.value_and_gradient(schemes.batch_major_loss, inner),
            (factors, (stacked, targets)),
        ),
    }
    schemes.check_equal({name: case[0](*case[1])[0] for name, case in cases.items()})
    results = harness.measure(cases, inner=inner, repeats=7)
    ours = results["sense"]["milliseconds"]
    # Two 2048x512x512 products with two derivatives each; four of 2048x8x512 with one,
    # as the vectors are data.
    flops = 6 * 2048 * 2 * 512 * 512 + 4 * 2048 * 4 * 8 * 512
    return {
        "results": results,
        "einsum / sense": round(results["batch-major einsum"]["milliseconds"] / ours, 2),
        "predicted_flops": flops,
        "flops_per_second": round(flops / ours * 1e3),
    }


def random_trees(count: int = 30) -> dict[str, Any]:
    """The plan against plain gathers on random trees and index sets."""
    rng, ratios, rows = np.random.default_rng(0), [], []
    for seed in range(count):
        nested = _random_nested(rng, list(rng.permutation(rng.integers(2, 9))))
        tree = htf.ModeTree.from_nested(nested)
        dims = tuple(int(d) for d in rng.integers(2, 9, tree.order))
        widths = [int(w) for w in rng.integers(4, 65, len(tree.interior))]
        batch = min(int(rng.integers(50, 2000)), int(np.prod(dims)))
        factors, indices, targets = schemes.problem(tree, dims, widths, batch, seed)
        loss = htf.completion_loss(tree, dims, indices, targets)
        predicted = htf.loss_plan(loss, factors).seconds
        inner = int(np.clip(SHORTEST_CALL / predicted, 20, 2000))
        cases = {
            "plan": (
                harness.value_and_gradient(schemes.planned_loss, inner), (factors, loss),
            ),
            "gather": (
                harness.value_and_gradient(schemes.gather_loss, inner),
                (factors, (indices, targets)),
            ),
        }  # fmt: skip
        schemes.check_equal({name: case[0](*case[1])[0] for name, case in cases.items()})
        seen = harness.measure(cases, inner=inner)
        ratios.append(seen["plan"]["milliseconds"] / seen["gather"]["milliseconds"])
        rows.append({
            "order": tree.order,
            "observations": batch,
            "predicted_milliseconds": round(1e3 * predicted, 4),
            "plan_milliseconds": seen["plan"]["milliseconds"],
            "plan / gather": round(ratios[-1], 3),
        })  # fmt: skip
    return {
        "trees": count,
        "plan / gather, worst": round(max(ratios), 3),
        "plan / gather, median": round(float(np.median(ratios)), 3),
        "above 1.1": sum(r > 1.1 for r in ratios),
        "each": rows,
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


def _print(console: Console, name: str, found: dict[str, Any]) -> None:
    title = f"{name}: {found['routes']}, predicted {found['predicted_milliseconds']} ms"
    table = Table(title=title, box=None, title_justify="left")
    for heading in ("", "ms", "over plan", "temporary MB", "Mflop"):
        table.add_column(heading, justify="right" if heading else "left")
    for scheme, row in found["results"].items():
        ratio = found["ratios"].get(f"{scheme} / plan", 1.0)
        table.add_row(
            scheme, f"{row['milliseconds']:.3f}", f"{ratio:.2f}",
            f"{row['temporary_bytes'] / 1e6:.2f}", f"{row['flops'] / 1e6:.0f}",
        )  # fmt: skip
    console.print(table)


def main() -> int:
    """Measures, prints and writes the record."""
    console = Console(width=110)
    record: dict[str, Any] = {
        "gemm_flops_per_second": round(harness.gemm_rate()),
        "stream_bytes_per_second": round(harness.stream_rate()),
        "rates": vars(calibrate.measure_rates()),
    }
    for name, case in CASES.items():
        record[name] = completion(*schemes.problem(*case))
        _print(console, name, record[name])
    record["sensing"] = sensing()
    console.print("sensing:", record["sensing"])
    record["random trees"] = random_trees()
    console.print("random trees:", {k: v for k, v in record["random trees"].items() if k != "each"})  # noqa: E501  # fmt: skip
    path = harness.write_record("contraction", record)
    console.print(f"written to {path}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
