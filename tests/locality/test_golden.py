"""The regularizer against the paper's own code, on its two stored networks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from htfjax import locality
from tests import golden_files

pytestmark = pytest.mark.slow
EPSILON, MOMENTUM = 1e-5, 0.1
RELATIVE = 1e-12


def assert_close(found, wanted, scale=None) -> None:
    """No entry is off by more than 1e-12 of the largest wanted entry, or of `scale`."""
    assert np.shape(found) == np.shape(wanted)
    scale = float(np.max(np.abs(wanted))) if scale is None else scale
    np.testing.assert_allclose(found, wanted, rtol=0, atol=RELATIVE * scale)


def split(golden: dict) -> tuple[dict, dict]:
    """Trained arrays and running statistics, in torch's layout and names."""
    stored = {k[6:]: jnp.asarray(v) for k, v in golden.items() if k.startswith("param/")}
    running = {k: v for k, v in stored.items() if "running" in k}
    weights = {k: v for k, v in stored.items() if "running" not in k and "tracked" not in k}
    return weights, running


def network(golden: dict):
    """The stored network as a function; `convolve` under torch's kernel layout."""
    normed = bool(golden["batch_norm"])
    activation = jax.nn.relu if str(golden["activation"]) == "relu" else jax.nn.softplus
    second = 3 if normed else 2
    head = 8 if normed else 6

    def apply(w, running, x, *, train=True, key=None):
        del key
        after = dict(running)

        def layer(x, index, stride):
            kernel = w[f"{index}.weight"].transpose(0, 2, 3, 1)
            x = locality.convolve(x, kernel, stride=stride, padding=1, method="matmul")
            x = x + w[f"{index}.bias"].reshape(1, 1, 1, -1)
            return activation(norm(x, index + 1) if normed else x)

        def norm(x, index):
            mean, var = running[f"{index}.running_mean"], running[f"{index}.running_var"]
            if train:
                count = x.shape[0] * x.shape[1] * x.shape[2]
                mean, var = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
                for kind, value in (("mean", mean), ("var", var * count / (count - 1))):
                    name = f"{index}.running_{kind}"
                    after[name] = (1 - MOMENTUM) * running[name] + MOMENTUM * value
            wide = (1, 1, 1, -1)
            x = (x - mean.reshape(wide)) / jnp.sqrt(var.reshape(wide) + EPSILON)
            return x * w[f"{index}.weight"].reshape(wide) + w[f"{index}.bias"].reshape(wide)

        x = layer(layer(x, 0, 2), second, 1).mean((1, 2))
        return (x @ w[f"{head}.weight"].T)[:, 0] + w[f"{head}.bias"][0], after

    return apply


def inputs(golden: dict):
    x = jnp.asarray(golden["x"]).transpose(0, 2, 3, 1)
    y = jnp.asarray(golden["y"])
    patches = []
    for name in ("patch", "other_patch"):
        top, left, bottom, right = (int(n) for n in golden[name])
        patches.append(locality.Patch(top, left, bottom - top, right - left))
    return x, y, tuple(patches)


@pytest.mark.parametrize("name", golden_files.NETWORKS)
@pytest.mark.parametrize("batch_norm", ["reference", "split"])
@pytest.mark.parametrize("two_stage", [True, False])
def test_value_gradient_and_statistics(name, batch_norm, two_stage):
    golden = golden_files.read_arrays(name)
    weights, running = split(golden)
    x, y, patches = inputs(golden)

    def loss(w):
        return locality.regularized_loss(
            network(golden),
            lambda z: jnp.mean(optax.sigmoid_binary_cross_entropy(z, y)),
            w,
            running,
            x,
            patches,
            coefficient=1.0,
            batch_norm=batch_norm,
            two_stage=two_stage,
        )

    (value, (after, measured)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        weights
    )
    assert_close(measured.logits, golden["logits"])
    assert_close(measured.change, golden["regularizer"])
    assert_close(measured.loss, golden["loss"])
    assert_close(value, golden["loss"] + golden["regularizer"])
    stored = {key: golden[f"grad/{key}"] for key in grads}
    largest = max(float(np.max(np.abs(grad))) for grad in stored.values())
    for key, grad in grads.items():
        # Biases before batch norm have gradient zero: what is left is rounding of the rest.
        size = float(np.max(np.abs(stored[key])))
        assert_close(grad, stored[key], largest if size < 1e-12 * largest else size)
    for key, moved in after.items():
        assert_close(moved, golden[f"state_after/{key}"])
    assert [k for k in golden.unread if not k.startswith("param/")] == []


@pytest.mark.parametrize("name", golden_files.NETWORKS)
def test_definition_and_training_form_take_plain_functions(name):
    golden = golden_files.read_arrays(name)
    weights, running = split(golden)
    x, _, (p, q) = inputs(golden)
    apply = network(golden)

    def change(form, w):
        return form(lambda x: apply(w, running, x)[0], x, p, q)

    both = [
        jax.value_and_grad(lambda w, form=form: change(form, w))(weights)
        for form in (locality.input_gradient_change, locality.training_gradient_change)
    ]
    for value, _ in both:
        np.testing.assert_allclose(value, golden["regularizer"], rtol=1e-10)
    for key in weights:
        np.testing.assert_allclose(both[0][1][key], both[1][1][key], rtol=1e-9, atol=1e-15)
