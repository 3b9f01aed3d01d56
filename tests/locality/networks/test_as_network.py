"""Users' networks: every kind gives the same numbers, keeps its state, or says why not."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from htfjax import locality
from htfjax.locality import Patch, as_network

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((4, 6, 5, 2)))
W, A = (jnp.asarray(RNG.standard_normal(s)) / 8 for s in ((60, 3), (3, 2)))
P, Q = Patch(0, 0, 2, 2), Patch(4, 3, 2, 2)

# One function, tanh(x W) A of the flat image, as a network of every kind.


def flat(x: Any) -> Any:
    return x.reshape(len(x), -1)


class Nnx(nnx.Module):
    """With `rngs`, as flax has them."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        del rngs
        self.w, self.a = nnx.Param(W), nnx.Param(A)

    def __call__(self, x: Any) -> Any:
        return jnp.tanh(flat(x) @ self.w[...]) @ self.a[...]


class NnxWithout(nnx.Module):
    """Without `rngs`, so that its class builds nothing from them."""

    def __call__(self, x: Any) -> Any:
        return x.mean((1, 2, 3))


class Linen(nn.Module):
    """With weights of its own."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        w = self.param("w", lambda key: W)
        return jnp.tanh(flat(x) @ w) @ self.param("a", lambda key: A)


class Equinox(eqx.Module):
    """Of one image, channels first."""

    w: jax.Array
    a: jax.Array
    act: Any

    def __init__(self) -> None:
        by_channel = W.reshape(6, 5, 2, 3).transpose(2, 0, 1, 3)
        self.w, self.a, self.act = by_channel.reshape(60, 3), A, jnp.tanh

    def __call__(self, x: Any) -> Any:
        assert x.shape == (2, 6, 5)
        return self.act(x.reshape(-1) @ self.w) @ self.a


def apply(params: Any, x: Any) -> Any:
    return jnp.tanh(flat(x) @ params["w"]) @ params["a"]


PARAMS = {"w": W, "a": A}


class Transformed(NamedTuple):
    """As haiku's, whose functions take anything."""

    init: Any
    apply: Any


class TransformedWithState(NamedTuple):
    """As haiku's."""

    init: Any
    apply: Any


def keyed(params: Any, *arguments: Any) -> Any:
    _, x = arguments
    return apply(params, x)


def without_apply_rng() -> Any:
    def apply_fn(params: Any, *arguments: Any) -> Any:
        (x,) = arguments
        return apply(params, x)

    return apply_fn


def start(*arguments: Any) -> Any:
    _, x = arguments
    assert x.shape == X.shape
    return PARAMS


GIVEN: dict[str, Any] = {
    "nnx factory": lambda: as_network(Nnx),
    "nnx factory of another name": lambda: as_network(lambda r: Nnx(r)),
    "nnx factory by name": lambda: as_network(lambda *, rngs: Nnx(rngs)),
    "nnx module": lambda: as_network(Nnx(nnx.Rngs(0))),
    "linen variables": lambda: as_network(Linen(), Linen().init(KEY, X)),
    "linen images": lambda: as_network(Linen(), images=X),
    "equinox": lambda: as_network(Equinox()),
    "pair": lambda: as_network((lambda key: PARAMS, apply)),
    "pair with images": lambda: as_network((lambda rng, x: PARAMS, apply), images=X),
    "pair with key": lambda: as_network(
        (lambda key: PARAMS, lambda params, rng, x: apply(params, x))
    ),
    "haiku": lambda: as_network(Transformed(start, keyed), images=X),
    "haiku without rng": lambda: as_network(
        Transformed(start, without_apply_rng()), images=X
    ),
    "haiku with state": lambda: as_network(
        TransformedWithState(
            lambda *given: (start(*given), {"n": 0}),
            lambda params, state, *rest: (keyed(params, *rest), state),
        ),
        images=X,
    ),
    "apply": lambda: as_network(apply, PARAMS),
    "logits": lambda: as_network(lambda x: apply(PARAMS, x)),
    "transformed equinox": lambda: as_network(eqx.filter_jit(lambda x: apply(PARAMS, x))),
    "network": lambda: as_network(as_network(apply, PARAMS)),
    "channels first": lambda: as_network(
        lambda x: apply(PARAMS, x.transpose(0, 2, 3, 1)), channels="first"
    ),
}


@pytest.mark.parametrize("name", GIVEN)
def test_every_kind_is_the_same_function(name: str) -> None:
    expected = np.tanh(np.asarray(X).reshape(4, -1) @ np.asarray(W)) @ np.asarray(A)
    network = GIVEN[name]()
    params, statistics = network.init(jax.random.key(5))
    for train in (False, True):
        logits, after = network.apply(params, statistics, X, train=train, key=KEY)
        np.testing.assert_allclose(logits, expected, rtol=1e-12)
        assert jax.tree.structure(after) == jax.tree.structure(statistics)
    found = network.logits_fn(params, statistics)(X)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_trained_parts_are_those_of_the_module() -> None:
    """Equinox puts them back; gradients reach all of them."""
    module = Equinox()
    network = as_network(module)
    params, _ = network.init(KEY)
    moved = jax.tree.map(lambda w: 2 * w, params)
    whole = eqx.combine(moved, module)
    np.testing.assert_array_equal(whole.w, 2 * module.w)
    slopes = jax.grad(lambda p: network.apply(p, {}, X, train=True)[0].sum())(params)
    for kind, slope in (("equinox", slopes.a), ("apply", None)):
        given = GIVEN[kind]()
        p, s = given.init(KEY)
        other = jax.grad(lambda p, g=given, s=s: g.apply(p, s, X, train=True)[0].sum())(p)
        a = other.a if kind == "equinox" else other["a"]
        np.testing.assert_allclose(a, slopes.a if slope is None else slope, rtol=1e-12)


# State and random numbers. Each network normalizes, drops half, and takes means.


class NnxState(nnx.Module):
    """With layers of nnx."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm = nnx.BatchNorm(2, momentum=0.9, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.drop(self.norm(x)).mean((1, 2))


class LinenState(nn.Module):
    """With layers of linen."""

    @nn.compact
    def __call__(self, x: Any, *, deterministic: bool) -> Any:
        x = nn.BatchNorm(use_running_average=deterministic, momentum=0.9)(x)
        return nn.Dropout(0.5, deterministic=deterministic)(x).mean((1, 2))


class EquinoxState(eqx.Module):
    """With layers of equinox."""

    norm: eqx.nn.BatchNorm
    drop: eqx.nn.Dropout

    def __init__(self) -> None:
        self.norm = eqx.nn.BatchNorm(2, "images", momentum=0.9, mode="ema")
        self.drop = eqx.nn.Dropout(0.5)

    def __call__(self, x: Any, state: Any, *, key: Any) -> Any:
        x, state = self.norm(x, state)
        return self.drop(x, key=key).mean((1, 2)), state


def pair_init(key: Any) -> Any:
    del key
    return {"scale": jnp.ones(2)}, {"mean": jnp.zeros(2), "var": jnp.ones(2)}


def pair_apply(params: Any, state: Any, rng: Any, x: Any, *, is_training: bool) -> Any:
    new = {"mean": x.mean((0, 1, 2)), "var": x.var((0, 1, 2))}
    used = new if is_training else state
    axes = (1, 1, 1, 2)
    x = (x - used["mean"].reshape(axes)) / jnp.sqrt(used["var"].reshape(axes) + 1e-5)
    x = x * params["scale"].reshape(axes)
    if is_training:
        x = x * 2 * jax.random.bernoulli(rng, 0.5, x.shape)
    moved = jax.tree.map(lambda s, n: 0.9 * s + 0.1 * n, state, new)
    return x.mean((1, 2)), moved


def stateful(kind: str) -> Any:
    if kind == "equinox":
        module, state = eqx.nn.make_with_state(EquinoxState)()
        return as_network(module, state)
    if kind == "linen":
        return as_network(LinenState(), images=X)
    return as_network(NnxState if kind == "nnx" else (pair_init, pair_apply))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nnx", "linen", "equinox", "pair"])
def test_statistics_and_dropout(kind: str) -> None:
    """Running statistics move in training only, which draws by its key, and counts."""
    with jax.numpy_dtype_promotion("standard"):  # flax and equinox promote
        check_state(kind, stateful(kind))


def check_state(kind: str, network: Any) -> None:
    params, before = network.init(KEY)
    x = (3 + 2 * X).astype(jnp.float64 if kind == "equinox" else jnp.float32)
    evaluated, kept = network.apply(params, before, x, train=False)
    expected = np.asarray(x).mean((1, 2))
    if kind != "equinox":  # whose statistics are the first batch's, not 0 and 1
        np.testing.assert_allclose(evaluated, expected / np.sqrt(1 + 1e-5), rtol=1e-5)
    assert_equal(kept, before)
    one, after = network.apply(params, before, x, train=True, key=jax.random.key(1))
    same, _ = network.apply(params, before, x, train=True, key=jax.random.key(1))
    other, _ = network.apply(params, before, x, train=True, key=jax.random.key(2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
    mean = np.asarray(x).mean((0, 1, 2)) * (1.0 if kind == "equinox" else 0.1)
    means = [v for v in jax.tree.leaves(after) if np.allclose(v, mean, rtol=1e-5)]
    assert len(means) == 1
    if kind != "pair":
        with pytest.raises(ValueError, match="`key` is needed in training"):
            network.apply(params, before, x, train=True)
    # Means of many draws are those without dropout, of the same batch statistics.
    keys = jax.random.split(KEY, 400)
    draws = jax.jit(
        jax.vmap(lambda k: network.apply(params, before, x, train=True, key=k)[0])
    )(keys)
    if kind != "equinox":
        flat_ = np.asarray(x).reshape(-1, 2)
        wanted = (expected - flat_.mean(0)) / np.sqrt(flat_.var(0) + 1e-5)
        spread = np.asarray(draws).std(0) / 20
        assert np.all(np.abs(np.asarray(draws).mean(0) - wanted) < 5 * spread)


def assert_equal(a: Any, b: Any) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


# Doors of measures and losses


@pytest.mark.slow
def test_measures_take_modules_and_networks() -> None:
    def one(x: Any) -> Any:
        return apply(PARAMS, x)[:, 0]

    class FirstEquinox(Equinox):
        def __call__(self, x: Any) -> Any:
            return super().__call__(x)[0]

    class FirstNnx(Nnx):
        def __call__(self, x: Any) -> Any:
            return super().__call__(x)[:, 0]

    make: Any = FirstEquinox
    wanted = locality.input_gradient_change(one, X, P, Q)
    curve = locality.gradient_change_by_distance(KEY, one, X, 2, (0, 1), pairs=2)
    spectrum = locality.separation_spectrum(one, X, P, Q, num=2)
    for module in (make(), FirstNnx(nnx.Rngs(0))):
        found = locality.input_gradient_change(module, X, P, Q)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
        other = locality.gradient_change_by_distance(KEY, module, X, 2, (0, 1), pairs=2)
        np.testing.assert_allclose(other.change, curve.change, rtol=1e-12)
        values = locality.separation_spectrum(module, X, P, Q, num=2)
        np.testing.assert_allclose(values.raw, spectrum.raw, rtol=1e-12)
    network = as_network(make())
    params, _ = network.init(KEY)
    data = locality.ArrayExamples(X, np.array([0, 1, 1, 0]))
    correct = ((np.asarray(one(X)) > 0) == np.array([0, 1, 1, 0])).mean()
    assert float(locality.evaluate(network, params, {}, data).accuracy) == correct
    _, (_, measured) = locality.regularized_loss(
        network, jnp.mean, params, {}, X, (P, Q), coefficient=1.0
    )
    np.testing.assert_allclose(measured.change, wanted, rtol=1e-12)


# What cannot be adapted


class Stray(nnx.Module):
    """With a variable of no known kind."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.count = nnx.Variable(jnp.zeros(()))


class NoMode(nn.Module):
    """With statistics that no argument switches."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.BatchNorm(use_running_average=False)(x).mean((1, 2, 3))


class Untold(nn.Module):
    """With layers that nobody tells whether they train."""

    layer: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return self.layer()(x).mean((1, 2, 3))


class Keyless(eqx.Module):
    """With dropout that gets no key."""

    drop: eqx.nn.Dropout

    def __call__(self, x: Any) -> Any:
        return self.drop(x).mean()


def run(network: Any, params: Any = None) -> Any:
    held, statistics = network.init(KEY)
    return network.apply(held if params is None else params, statistics, X, train=False)


NORM = EquinoxState
ODD: Any = "odd"
NETWORK: Any = as_network(apply, PARAMS)
LINEN: Any = Linen()
CLASSES: list[Any] = [Equinox, Linen, Nnx]
DATA = locality.ArrayExamples(X, [0, 1, 1, 0])
ANSWERS: list[tuple[Any, str]] = [
    (None, "None"),
    ((jnp.ones(4), {"aux": 1}), "a tuple of 2; give the logits alone, [0] of it"),
    ({"logits": jnp.ones(4)}, "an object of type dict"),
]
BAD: list[tuple[Any, str]] = [
    (lambda: as_network(3), "`network` must be a module of flax (nnx or linen) or equinox"),
    (lambda: as_network((apply, apply, apply)), "`network` must be a module of flax"),
    (lambda: as_network(lambda rngs: 3), "`network(rngs)`"),
    (lambda: as_network(Stray), "Param nor BatchStat nor random streams: ['count']"),
    (lambda: as_network(Nnx(nnx.Rngs(0)), {}), "`variables` is given, but an nnx module"),
    (lambda: as_network(Linen()), "`variables` of a linen module"),
    (lambda: as_network(Linen(), {"w": W}), 'a dictionary with "params"'),
    (lambda: as_network(Linen(), {"params": {}, "cache": {}}), "collections ['cache']"),
    (lambda: run(as_network(NoMode(), images=X.astype(jnp.float32))),
     "`network` has batch statistics, but"),
    (lambda: as_network(eqx.nn.make_with_state(NORM)()[0]), "`variables` is missing"),
    (lambda: as_network(Equinox(), {}), "`variables`"),
    (lambda: as_network(Equinox(), images=X), "`images` is given, but an equinox module"),
    (lambda: as_network(Keyless(eqx.nn.Dropout(0.5))), "`network` has dropout, but"),
    (lambda: as_network((lambda key, x: PARAMS, apply)), "`images` is missing"),
    (lambda: as_network((lambda key: PARAMS, apply), images=X), "`images` is given, but"),
    (lambda: as_network((lambda key: PARAMS, apply), PARAMS), "`variables` is given, but"),
    (lambda: as_network((lambda key: PARAMS, lambda p, what, x: x)),
     "apply(params, rng, x)"),
    (lambda: run(as_network((lambda key: PARAMS, lambda p, state, x: x))),
     "`network.init` must return (params, state)"),
    (lambda: as_network(Nnx, PARAMS), "`variables` is given, but `network` builds"),
    (lambda: as_network(apply, {"w": "text"}), "`variables`"),
    (lambda: as_network(lambda x: x, PARAMS), "it must be apply(params, x)"),
    (lambda: as_network(apply, PARAMS, channels=ODD), "`channels="),
    (lambda: run(as_network(apply, PARAMS), {"w": W}), "`params` are of another network"),
    (lambda: run(as_network(Equinox()), PARAMS), "`params` are of another network"),
    (lambda: run(as_network(lambda x: x)),
     "`network` must give (B,) or (B, K), got (4, 6, 5, 2) for 4 images"),
    (lambda: run(as_network(lambda x: flat(x)[:, :1])), "drop the axis"),
    (lambda: run(as_network(lambda x: x.sum())),
     "`network` must give (B,) or (B, K), got ()"),
    (lambda: as_network(apply, PARAMS).apply(PARAMS, {}, X[0], train=False),
     "`x` has shape"),
    (lambda: locality.evaluate(Equinox(), {}, {}, locality.ArrayExamples(X, [0, 1, 1, 0])),
     "`apply` is a module (Equinox)"),
    (lambda: locality.input_gradient_change(NETWORK, X, P, Q),
     "`logits_fn` is a Network"),
    (lambda: locality.input_gradient_change(LINEN, X, P, Q),
     "`logits_fn` is a linen module (Linen), which holds no weights"),
    *((lambda kind=kind: as_network(kind), f"`network` is a class, {kind.__name__}; give")
      for kind in (Equinox, Linen, NnxWithout)),
    *((lambda kind=kind: as_network(kind, PARAMS), "`network` is a class")
      for kind in (Equinox, Linen)),
    *((lambda kind=kind: locality.input_gradient_change(kind, X, P, Q),
       f"`logits_fn` is a class, {kind.__name__}; give") for kind in CLASSES),
    *((lambda kind=kind: locality.evaluate(kind, {}, {}, DATA),
       f"`apply` is a class, {kind.__name__}; give") for kind in CLASSES),
    (lambda: as_network(apply), "`variables` is missing: `network` takes params, x"),
    (lambda: as_network(lambda w, x, key: x), "`variables` is missing: `network` takes w"),
    (lambda: as_network(lambda width, rngs: 3), "`network` takes width besides `rngs`"),
    (lambda: run(as_network(Untold(nn.BatchNorm), images=X)),
     "and the layer `use_running_average=not train`"),
    (lambda: run(as_network(Untold(nn.BatchNorm), {"params": {}})),
     "`network` has a layer that is not told whether it trains"),
    (lambda: run(as_network(Untold(lambda: nn.Dropout(0.5)), images=X)),
     "and the layer `deterministic=not train`"),
    # Answers that are not logits
    *((lambda given=given: run(as_network(lambda x: given)),
       f"`network` must give logits (B,) or (B, K), got {words}")
      for given, words in ANSWERS),
    *((lambda given=given: locality.input_gradient_change(lambda x: given, X, P, Q),
       f"`logits_fn` must give logits (B,) or (B, K), got {words}")
      for given, words in ANSWERS),
    *((lambda given=given: locality.evaluate(
         lambda *a, given=given, **k: (given, {}), {}, {}, DATA),
       f"`apply` must give logits (B,) or (B, K), got {words}")
      for given, words in ANSWERS),
]  # fmt: skip


def test_functions_that_take_keys_and_modes_need_no_variables() -> None:
    """Parameters that are filled in by name are not weights."""
    network = as_network(lambda x, key, train: apply(PARAMS, x) * (2.0 if train else 1.0))
    once, twice = (network.apply({}, {}, X, train=t, key=KEY)[0] for t in (False, True))
    np.testing.assert_allclose(once, apply(PARAMS, X), rtol=1e-12)
    np.testing.assert_allclose(twice, 2 * np.asarray(once), rtol=1e-12)


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        call()


@pytest.mark.slow
def test_no_library_of_networks_is_imported_for_functions() -> None:
    code = (
        "import sys, htfjax.locality as l; l.as_network(lambda x: x.sum((1, 2, 3)));"
        "print(sorted({'flax', 'equinox', 'haiku'} & set(sys.modules)))"
    )
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
