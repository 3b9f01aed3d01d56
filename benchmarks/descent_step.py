"""What does one step of the paper's largest run cost?

Order 4, mode dimension 8, widths 512, 2048 of 4096 entries observed, float32: value and
gradient, a whole GroupRMSprop step, and the scheme that the obvious program would use
(one-hot inputs contracted sample by sample), written here.

Predicted work of value and gradient: two 64x512x512 products and one 64x64x512 product,
three times (forward, two backward) = 214 Mflop.
"""

import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import htfjax as htf
from benchmarks import harness

STEPS = 100
# Operations of a compiled program that are matrix products: XLA's own, and those handed to
# its library of kernels.
PRODUCT = re.compile(r"dot|ynn_fusion")
FLOPS = 3 * (2 * 2 * 64 * 512 * 512 + 2 * 64 * 64 * 512)


def problem() -> tuple[htf.Factors, Any]:
    """The paper's start and loss."""
    made = htf.problems.paper("htf").make(*jax.random.split(jax.random.key(0), 3))
    return made.start, made.loss


def one_hot_loss(factors: htf.Factors, loss: Any) -> jax.Array:
    """The same loss with one-hot vectors in place of indices."""
    vectors = [
        jax.nn.one_hot(loss.measurement.indices[:, n], 8, dtype=jnp.float32)
        for n in range(4)
    ]
    return jnp.mean(jnp.square(htf.sense(factors, vectors) - loss.targets))


def descent(observe: Any, record_every: int, steps: int = STEPS) -> Any:
    """GroupRMSprop as the simulations run it."""
    optimizer = htf.group_rmsprop(1e-2)

    def run(factors: htf.Factors, loss: Any) -> Any:
        return htf.descend(
            factors, loss, optimizer,
            num_steps=steps, record_every=record_every, observe=observe,
        )  # fmt: skip

    return run


def profile(start: htf.Factors, loss: Any) -> dict[str, Any]:
    """Where value and gradient spends its time: matrix products, and all else."""
    program = harness.value_and_gradient(lambda f, data: data(f), STEPS)
    spent = harness.profile(program, (start, loss), STEPS)
    spent = {name: us for name, us in spent.items() if not name.startswith("while")}
    products = {k: us for k, us in spent.items() if PRODUCT.match(k)}
    return {
        "products_milliseconds": round(1e-3 * sum(products.values()), 4),
        "all_else_milliseconds": round(
            1e-3 * (sum(spent.values()) - sum(products.values())), 4
        ),
        "microseconds": {k: round(us, 1) for k, us in spent.items() if us >= 1},
    }


def main() -> int:
    """Measures, prints a table, writes the record."""
    start, loss = problem()
    ours, theirs = loss(start), one_hot_loss(start, loss)
    if not jnp.allclose(ours, theirs, rtol=1e-5):
        raise SystemExit(f"the schemes disagree: {ours} and {theirs}")
    results = harness.measure(
        {
            "value and gradient": (
                harness.value_and_gradient(lambda f, data: data(f), STEPS), (start, loss),
            ),
            "GroupRMSprop step": (descent(None, STEPS), (start, loss)),
            "step, norms every 25": (
                descent(htf.local_component_norms, 25), (start, loss),
            ),
        },
        inner=STEPS,
    )  # fmt: skip
    slow = harness.measure(
        {
            "one-hot value and gradient": (
                harness.value_and_gradient(one_hot_loss, 5),
                (start, loss),
            )
        },
        inner=5,
        repeats=5,
    )  # fmt: skip
    results |= slow
    rate, spent = harness.gemm_rate(), profile(start, loss)
    fast = results["value and gradient"]["milliseconds"]
    values = {
        "setting": "order 4, D = 8, widths 512, 2048 observed, float32",
        "predicted_flops": FLOPS,
        "gemm_flops_per_second": round(rate),
        "predicted_milliseconds_at_gemm_rate": round(1e3 * FLOPS / rate, 4),
        "share_of_gemm_rate": round(1e3 * FLOPS / rate / fast, 3),
        "step_over_gradient": round(results["GroupRMSprop step"]["milliseconds"] / fast, 2),
        "one_hot_over_ours": round(
            results["one-hot value and gradient"]["milliseconds"] / fast, 1
        ),
        "profile": spent,
        "results": results,
    }
    path = harness.write_record("descent_step", values)
    table = Table(box=None)
    for heading in ("", "ms", "fastest", "slowest", "compile s", "temporary MB"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in results.items():
        table.add_row(
            name, f"{row['milliseconds']:.3f}", f"{row['fastest']:.3f}",
            f"{row['slowest']:.3f}", f"{row['compile_seconds']:.2f}",
            f"{row['temporary_bytes'] / 1e6:.2f}",
        )  # fmt: skip
    console = Console(width=100)
    console.print(table)
    console.print(
        f"value and gradient: {values['share_of_gemm_rate']:.0%} of the rate of a large "
        f"matrix product; one-hot / ours = {values['one_hot_over_ours']}; "
        f"a step takes {values['step_over_gradient']} times as long"
    )
    console.print(
        f"by the profiler {spent['products_milliseconds']:.3f} ms of products, "
        f"{spent['all_else_milliseconds']:.3f} ms of all else"
    )
    console.print(f"written to {path}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
