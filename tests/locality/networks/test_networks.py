"""Networks: counts, a NumPy forward pass, statistics, dropout, both convolutions."""

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from htfjax import locality

NETS = {
    "resnet18": (lambda: locality.resnet(18, channels=1, width=0.125), (4, 32, 32, 1)),
    "resnet50": (lambda: locality.resnet(50, num_logits=3, width=0.0625), (4, 32, 32, 3)),
    "strided": (locality.strided_net, (6, 8, 64, 1)),
    "residual": (lambda: locality.residual_net((4, 6)), (6, 8, 32, 1)),
}
every_net = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n == "resnet50" else ()) for n in NETS],
)


def started(name: str) -> tuple[Any, Any, Any, jax.Array]:
    """A network in float64, away from its symmetric start, and images."""
    make, shape = NETS[name]
    net = make()
    params, statistics = jax.tree.map(
        lambda x: x.astype(jnp.float64), net.init(jax.random.key(0))
    )
    rng = np.random.default_rng(1)
    params = {
        k: v + 0.1 * rng.standard_normal(v.shape) * (v.ndim == 1) for k, v in params.items()
    }
    statistics = {k: v + 0.2 * rng.random(v.shape) for k, v in statistics.items()}
    return net, params, statistics, jnp.asarray(rng.standard_normal(shape))


# An independent forward pass, in NumPy, loop by loop


def conv(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    outputs, size = kernel.shape[:2]
    x = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    high = (x.shape[1] - size) // stride + 1
    wide = (x.shape[2] - size) // stride + 1
    y = np.zeros((len(x), high, wide, outputs))
    for i in range(high):
        for j in range(wide):
            window = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
            y[:, i, j] = np.tensordot(window, kernel, axes=([1, 2, 3], [1, 2, 3]))
    return y


class Forward:
    """Reads weights by name; notes the statistics that training would leave."""

    def __init__(self, params: dict, statistics: dict, train: bool) -> None:
        self.w = {k: np.asarray(v) for k, v in (params | statistics).items()}
        self.train, self.after = train, {}

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        mean, variance = self.w[f"{name}.mean"], self.w[f"{name}.variance"]
        if self.train:
            flat = x.reshape(-1, x.shape[-1])
            new = flat.mean(0), flat.var(0, ddof=1)
            self.after[f"{name}.mean"] = 0.9 * mean + 0.1 * new[0]
            self.after[f"{name}.variance"] = 0.9 * variance + 0.1 * new[1]
            mean, variance = new[0], flat.var(0)
        x = (x - mean) / np.sqrt(variance + 1e-5)
        return x * self.w[f"{name}.scale"] + self.w[f"{name}.bias"]

    def conv_norm(self, x: np.ndarray, layer: str, norm: str, stride: int) -> np.ndarray:
        return self.norm(conv(x, self.w[f"{layer}.kernel"], stride), norm)

    def block(self, x: np.ndarray, at: str, stride: int, bottleneck: bool) -> np.ndarray:
        parts = [("first", stride), ("second", 1)]
        if bottleneck:
            parts = [("reduce", 1), ("middle", stride), ("expand", 1)]
        y = x
        for number, (part, step) in enumerate(parts):
            y = self.conv_norm(y, f"{at}.{part}", f"{at}.norm_{part}", step)
            y = np.maximum(y, 0) if number + 1 < len(parts) else y
        if f"{at}.shortcut.0.kernel" in self.w:
            x = self.conv_norm(x, f"{at}.shortcut.0", f"{at}.shortcut.1", stride)
        return np.maximum(x + y, 0)

    def head(self, x: np.ndarray) -> np.ndarray:
        logits = x.mean((1, 2)) @ self.w["head.matrix"] + self.w["head.bias"]
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def resnet(self, x: np.ndarray, counts: tuple, bottleneck: bool) -> np.ndarray:
        x = np.maximum(self.conv_norm(x, "stem", "norm", 2), 0)
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
        high, wide = (x.shape[1] - 3) // 2 + 1, (x.shape[2] - 3) // 2 + 1
        x = np.max(
            [x[:, a : a + 2 * high : 2, b : b + 2 * wide : 2][:, :high, :wide]
             for a in range(3) for b in range(3)], axis=0,
        )  # fmt: skip
        for s, count in enumerate(counts):
            for i in range(count):
                stride = 2 if s and not i else 1
                x = self.block(x, f"stages.{s}.{i}", stride, bottleneck)
        return self.head(x)

    def strided(self, x: np.ndarray) -> np.ndarray:
        for i, stride in enumerate((2, 2, 2, 2, 1)):
            x = np.maximum(self.conv_norm(x, f"layers.{i}", f"norms.{i}", stride), 0)
        return self.head(x)

    def residual(self, x: np.ndarray) -> np.ndarray:
        x = np.maximum(self.conv_norm(x, "stem", "norm", 2), 0)
        for i in range(2):
            x = self.block(x, f"blocks.{i}", 2, False)
        return self.head(x)


def by_hand(name: str, forward: Forward, x: np.ndarray) -> np.ndarray:
    if name == "resnet18":
        return forward.resnet(x, (2, 2, 2, 2), False)
    if name == "resnet50":
        return forward.resnet(x, (3, 4, 6, 3), True)
    return getattr(forward, name)(x)


@pytest.mark.slow
@every_net
@pytest.mark.parametrize("train", [True, False])
def test_logits_and_statistics_are_those_of_numpy(name: str, train: bool) -> None:
    net, params, statistics, x = started(name)
    found, after = jax.jit(lambda p, s, x: net.apply(p, s, x, train=train))(
        params, statistics, x
    )
    forward = Forward(params, statistics, train)
    expected = by_hand(name, forward, np.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    for key, value in (forward.after if train else statistics).items():
        np.testing.assert_allclose(after[key], value, rtol=1e-10, atol=1e-10)
    assert set(after) == set(statistics)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"depth": 18}, 11_177_025),
        ({"depth": 18, "channels": 1}, 11_170_753),
        ({"depth": 34}, 21_285_185),
        ({"depth": 50}, 23_510_081),
        ({"depth": 18, "num_logits": 1000}, 11_689_512),
        ({"depth": 34, "num_logits": 1000}, 21_797_672),
        pytest.param({"depth": 50, "num_logits": 1000}, 25_557_032, marks=pytest.mark.slow),
    ],
)
def test_parameter_counts_are_torchvisions(options: dict, count: int) -> None:
    params, _ = jax.eval_shape(locality.resnet(**options).init, jax.random.key(0))
    assert locality.count_parameters(params) == count


@pytest.mark.slow
def test_initial_weights_have_the_right_spread() -> None:
    params, statistics = locality.resnet(18, channels=1).init(jax.random.key(0))
    kernel = np.asarray(params["stages.2.0.first.kernel"])
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 256)), rel=0.01)
    stem = np.asarray(params["stem.kernel"])
    assert 0.98 / 7 < np.abs(stem).max() <= 1 / 7
    colour, _ = locality.resnet(18).init(jax.random.key(0))
    std = np.asarray(colour["stem.kernel"]).std()
    assert std == pytest.approx(np.sqrt(2 / (49 * 64)), rel=0.05)
    assert np.all(np.asarray(params["norm.scale"]) == 1)
    assert np.all(np.asarray(statistics["norm.variance"]) == 1)


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", ["reference", "split", "frozen"])
@pytest.mark.parametrize("name", ["resnet18", "residual"])
def test_the_regularizer_takes_every_net(name: str, batch_norm: Any) -> None:
    """The cheap form has the value and gradient of the definition, under jit."""
    for net, params, statistics, x in [started(name)]:
        size = x.shape[1] // 2
        pair = (locality.Patch(0, 0, size, 4), locality.Patch(1, 20, size, 4))

        @jax.jit
        def both(p: Any, net: Any = net, s: Any = statistics, x: Any = x, q: Any = pair):
            return [
                jax.value_and_grad(
                    lambda p, two: locality.regularized_loss(
                        net.apply, lambda z: jnp.mean(jnp.square(z)), p, s, x, q,
                        coefficient=0.7, batch_norm=batch_norm, two_stage=two,
                    ),
                    has_aux=True,
                )(p, two)
                for two in (True, False)
            ]  # fmt: skip

        (cheap, slopes), (plain, wanted) = both(params)
        np.testing.assert_allclose(cheap[0], plain[0], rtol=1e-12)
        size = max(float(jnp.max(jnp.abs(g))) for g in wanted.values())
        for key, gradient in wanted.items():
            np.testing.assert_allclose(slopes[key], gradient, atol=1e-9 * size)
        for key, value in plain[1][0].items():
            np.testing.assert_allclose(cheap[1][0][key], value, rtol=1e-10)
        # One where another content bends nothing, or an image is blind to the patch.
        assert 0 < float(cheap[1][1].change) <= 1 + 1e-12


@pytest.mark.slow
def test_native_convolution_is_the_same_network() -> None:
    """To 1e-5 in float32, value and gradient; in float64 to rounding."""

    def value_and_gradient(method: Any, dtype: Any) -> Any:
        net = locality.resnet(18, channels=1, width=0.5, method=method)
        x = jax.random.normal(jax.random.key(1), (8, 48, 48, 1), jnp.float32)
        start = (*net.init(jax.random.key(0)), x)
        params, statistics, x = jax.tree.map(lambda leaf: leaf.astype(dtype), start)

        def loss(p: Any) -> jax.Array:
            return jnp.mean(jnp.square(net.apply(p, statistics, x, train=True)[0] - 1))

        return jax.jit(jax.value_and_grad(loss))(params)

    # Against the exact gradient: two float32 ones are each as far from it.
    other, wanted = value_and_gradient("native", jnp.float64)
    size = max(float(jnp.max(jnp.abs(g))) for g in wanted.values())
    for dtype, error in ((jnp.float32, 1e-5), (jnp.float64, 1e-12)):
        value, slopes = value_and_gradient("matmul", dtype)
        assert float(value) == pytest.approx(float(other), rel=error)
        for key, gradient in wanted.items():
            np.testing.assert_allclose(slopes[key], gradient, atol=error * size)


@pytest.mark.slow
def test_dropout_needs_a_key_and_keeps_the_mean() -> None:
    net = locality.strided_net((8,), (2,), dropout=0.5)
    params, statistics = net.init(jax.random.key(0))
    x = jnp.ones((2, 8, 8, 1), jnp.float32)
    with pytest.raises(ValueError, match="`key` is needed"):
        net.apply(params, statistics, x, train=True)

    def logits(key: Any) -> jax.Array:
        return net.apply(params, statistics, x, train=True, key=key)[0]

    one, other = logits(jax.random.key(1)), logits(jax.random.key(2))
    assert not np.allclose(one, other)
    np.testing.assert_array_equal(one, logits(jax.random.key(1)))
    plain = locality.strided_net((8,), (2,))
    expected = plain.apply(params, statistics, x, train=True)[0]
    many = jax.vmap(logits)(jax.random.split(jax.random.key(3), 4000))
    spread = np.asarray(many).std(0) / np.sqrt(4000)
    assert np.all(np.abs(np.asarray(many).mean(0) - expected) < 5 * spread)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="`depth=19`"):
        locality.resnet(19)
    with pytest.raises(ValueError, match="`dropout=1"):
        locality.resnet(18, dropout=1.0)
    with pytest.raises(ValueError, match=r"`width=0\.001`"):
        locality.resnet(18, width=0.001)
    with pytest.raises(ValueError, match="`widths` has 2 numbers, `strides` 1"):
        locality.strided_net((4, 4), (2,))

    class Stray(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.count = nnx.Variable(jnp.zeros(()))

    with pytest.raises(ValueError, match="neither Param nor BatchStat"):
        locality.as_network(Stray)


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)
def test_resnet_is_torchs() -> None:
    """The same topology written with torch's layers: logits, gradients, statistics."""
    from tests.locality.networks import torch_resnet

    net = locality.resnet(18, channels=1, width=0.25)
    params, statistics = jax.tree.map(
        lambda v: v.astype(jnp.float64), net.init(jax.random.key(0))
    )
    x = np.random.default_rng(0).standard_normal((4, 48, 48, 1))

    def total(p: Any) -> tuple[jax.Array, Any]:
        logits, after = net.apply(p, statistics, jnp.asarray(x), train=True)
        return jnp.sum(jnp.square(logits)), (logits, after)

    (_, (logits, after)), slopes = jax.value_and_grad(total, has_aux=True)(params)
    theirs = torch_resnet.run(params, statistics, x)
    np.testing.assert_allclose(logits, theirs["logits"], rtol=1e-9)
    for key, value in after.items():
        np.testing.assert_allclose(value, theirs["statistics"][key], rtol=1e-9, atol=1e-12)
    for key, value in slopes.items():
        size = np.max(np.abs(theirs["gradients"][key]))
        np.testing.assert_allclose(value, theirs["gradients"][key], atol=1e-8 * size)
