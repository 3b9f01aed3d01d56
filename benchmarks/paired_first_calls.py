"""First calls in a fresh process, timed from within: `python paired_first_calls.py NAME`.

Prints the seconds. Nothing heavy is imported before the clock starts.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

ORDER, DIM, WIDTH, COUNT = 1024, 2, 8, 1000


def importing() -> float:
    """`import htfjax`."""
    begun = time.perf_counter()
    import htfjax as htf  # noqa: F401

    return time.perf_counter() - begun


def first_step() -> float:
    """Import, a completion loss of order 4 and the first step of its descent."""
    begun = time.perf_counter()
    import jax

    import htfjax as htf

    keys = jax.random.split(jax.random.key(0), 3)
    factors = htf.gaussian_factors(keys[0], htf.perfect(4), 8, 64, 3e-2)
    indices = htf.random_indices(keys[1], (8,) * 4, 2048)
    targets = jax.random.normal(keys[2], (2048,))
    loss = htf.completion_loss(factors.tree, 8, indices, targets)
    optimizer = htf.group_rmsprop(1e-2)
    state = htf.start_descent(factors, optimizer)
    found = htf.continue_descent(state, loss, optimizer, num_steps=1, record_every=1)
    jax.block_until_ready(found)
    return time.perf_counter() - begun


def entries() -> float:
    """First jitted `entries` of 1000 indices at order 1024, grouped factors."""
    import htfjax as htf

    grouped, indices, _ = _wide()
    return _first(htf.entries, grouped, indices)


def loss_gradient() -> float:
    """First jitted value and gradient of a completion loss at order 1024, grouped."""
    import jax

    import htfjax as htf

    grouped, indices, targets = _wide()
    loss = htf.completion_loss(grouped.tree, DIM, indices, targets)
    return _first(jax.value_and_grad(lambda f, data: data(f)), grouped, loss)


def local_component_norms() -> float:
    """First jitted `local_component_norms` at order 1024, grouped."""
    import htfjax as htf

    return _first(htf.local_component_norms, _wide()[0])


def _wide() -> tuple[Any, Any, Any]:
    """Grouped factors of a perfect tree whose entries have size one, and observations."""
    import jax
    import jax.numpy as jnp

    import htfjax as htf

    keys = jax.random.split(jax.random.key(0), 3)
    tree = htf.perfect(ORDER)
    factors = htf.gaussian_factors(
        keys[0], tree, DIM, WIDTH, WIDTH**-0.5, dtype=jnp.float32
    )
    indices = htf.random_indices(keys[1], (DIM,) * ORDER, COUNT)
    targets = jax.random.normal(keys[2], (COUNT,), jnp.float32)
    return jax.block_until_ready((htf.group(factors), indices, targets))


def _first(function: Callable[..., Any], *arguments: Any) -> float:
    """Seconds of tracing, compiling and running."""
    import jax

    begun = time.perf_counter()
    jax.block_until_ready(jax.jit(function)(*arguments))
    return time.perf_counter() - begun


FIRST_CALLS = {
    "import": importing,
    "first_step": first_step,
    "entries_1024": entries,
    "loss_gradient_1024": loss_gradient,
    "local_component_norms_1024": local_component_norms,
}

if __name__ == "__main__":
    sys.stdout.write(f"{FIRST_CALLS[sys.argv[1]]()}\n")
