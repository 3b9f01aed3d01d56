"""The harness: what a profile reads off a program."""

import jax
import jax.numpy as jnp

from benchmarks import descent_step, harness


def test_a_profile_names_the_operations_of_the_program():
    """A product takes most of a program that is one; the loop holds all."""

    def work(x: jax.Array) -> jax.Array:
        return jnp.matmul(x, x, precision="highest")

    spent = harness.profile(
        harness.repeated(work, 4), (jnp.ones((256, 256), "float32"),), 4
    )
    products = {k: us for k, us in spent.items() if descent_step.PRODUCT.match(k)}
    (loop,) = [us for k, us in spent.items() if k.startswith("while")]
    assert len(products) == 1
    # Events of other calls on a loaded machine may be cut at the edges of the trace.
    assert 0 < sum(products.values()) <= 1.1 * loop
