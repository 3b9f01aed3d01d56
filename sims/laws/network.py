"""Laws G1 and G2: the locality regularizer."""

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf
from htfjax import locality

from .register import Case, gap, law

LEFT = locality.Patch(0, 0, 2, 2)
RIGHT = locality.Patch(0, 2, 2, 2)


def _images(case: Case) -> jax.Array:
    return jnp.asarray(case.rng.standard_normal((5, 2, 4, 1)))


def _halves(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    left, right = images[:, :, :2, 0], images[:, :, 2:, 0]
    return left.reshape(-1, 4), right.reshape(-1, 4)


@law("G1", "the regularizer is 1 for products and sums, at most 1, scale invariant", 1e-12)
def regularizer(case: Case) -> float:
    a = jnp.asarray(case.rng.standard_normal((4, 3)))
    b = jnp.asarray(case.rng.standard_normal((4, 3)))
    if case.broken:  # another matrix per sample's right half: no product any more
        b = b[:, ::-1] + 3.0

    def parts(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        left, right = _halves(x)
        return jnp.tanh(left @ a), jnp.tanh(right @ b)

    def product(x: jax.Array) -> jax.Array:
        left, right = parts(x)
        if case.broken:
            return jnp.sum(left * right, axis=1)
        return jnp.sum(left, axis=1) * (2 + jnp.sum(right, axis=1))

    def added(x: jax.Array) -> jax.Array:
        left, right = parts(x)
        return jnp.sum(left, axis=1) + jnp.sum(right, axis=1)

    def mixed(x: jax.Array) -> jax.Array:
        left, right = parts(x)
        return jnp.sum(left * right, axis=1)

    images = _images(case)

    def value(f) -> float:
        return float(locality.input_gradient_change(f, images, LEFT, RIGHT))

    found = value(mixed)
    inside = 0.0 if 0 <= found <= 1 else 1.0
    scaled = value(lambda x: -3.0 * mixed(x) + 5.0)
    return max(abs(value(product) - 1), abs(value(added) - 1), inside, abs(scaled - found))


@law(
    "G2", "gradients in x_p, as x_Q varies, span at most rank of the contracted tensor", 0.0
)
def gradient_span(case: Case) -> float | None:
    tree = case.tree
    if tree.order < 3:
        return None
    dims = htf.mode_dims(case.factors)
    p, rest = 0, list(range(2, tree.order))
    fixed = [case.rng.standard_normal(d) for d in dims]

    def network(x: jax.Array, y: jax.Array) -> jax.Array:
        inputs = [jnp.asarray(v)[None] for v in fixed]
        inputs[p], inputs[1] = x[None], y[None]
        return htf.sense(case.factors, inputs)[0]

    ys = jnp.asarray(case.rng.standard_normal((12, dims[1])))
    slopes = jax.vmap(lambda y: jax.grad(network)(jnp.asarray(fixed[p]), y))(ys)
    s = np.linalg.svd(np.asarray(slopes), compute_uv=False)
    spanned = int(np.sum(s > 1e-9 * s[0]))
    tensor = np.asarray(htf.end_tensor(case.factors))
    for n in reversed(rest):
        tensor = np.tensordot(tensor, fixed[n], axes=(n, 0))
    s = np.linalg.svd(tensor, compute_uv=False)
    rank = 0 if case.broken else int(np.sum(s > 1e-9 * s[0]))
    return max(0.0, float(spanned - rank)) + gap(min(spanned, rank), spanned)
