"""What does a step of ResNet18 cost, and what does the locality regularizer add?

Batch 32, 64 x 64 pixels, one channel, float32, SGD with momentum. Ours (convolutions as
matrix products on a CPU) against the same network on XLA's own convolution; the two-stage
regularized step and the definition against the plain one; and, where an interpreter with
torch is at hand (this one, or `--torch-python PATH`), PyTorch's plain and regularized step
in each of its spellings, written anew in `locality_torch.py`. All are checked to take the
same step, in float64; then they are timed in turn, in float32.
"""

import argparse
import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from benchmarks import harness
from htfjax import locality

BATCH, SIDE = 32, 64
PATCHES = ((24, 0, 16, 16), (24, 48, 16, 16))
RATE, MOMENTUM, COEFFICIENT = 0.01, 0.9, 1.0
# The compiled one has no second derivatives.
SPELLINGS = {"contiguous": "", "channels_last": ", channels_last", "compiled": ", compiled"}
TORCH = {
    f"torch, {word}{label}": (spelling, word)
    for word in ("plain", "regularized")
    for spelling, label in SPELLINGS.items()
    if (spelling, word) != ("compiled", "regularized")
}
SGD = optax.sgd(RATE, MOMENTUM)
ROUNDING = 1e-8  # in float64
State = tuple[Any, Any, Any]  # params, statistics, of the optimizer
Data = tuple[State, jax.Array, jax.Array]


def step(
    net: locality.Network,
    coefficient: float,
    two_stage: bool,
    batch_norm: Any = "reference",
) -> Callable[..., Any]:
    """(state, x, y) -> (new state, what was measured), the loss of the paper's code."""
    first, second = (locality.Patch(*numbers) for numbers in PATCHES)

    def one(state: State, x: jax.Array, y: jax.Array) -> tuple[State, Any]:
        params, statistics, slots = state

        def loss(params: Any) -> Any:
            return locality.regularized_loss(
                net.apply,
                lambda z: jnp.mean(optax.sigmoid_binary_cross_entropy(z, y)),
                params, statistics, x, (first, second),
                coefficient=coefficient, two_stage=two_stage, batch_norm=batch_norm,
            )  # fmt: skip

        grads, (statistics, seen) = jax.grad(loss, has_aux=True)(params)
        updates, slots = SGD.update(grads, slots, params)
        return (optax.apply_updates(params, updates), statistics, slots), seen

    return one


def problem(*, batch: int = BATCH, side: int = SIDE, channels: int = 1) -> Data:
    """A network at its start, random images and labels, in float32."""
    keys = jax.random.split(jax.random.key(0), 3)
    params, statistics = locality.resnet(18, channels=channels).init(keys[0])
    x = jax.random.normal(keys[1], (batch, side, side, channels), jnp.float32)
    y = jax.random.bernoulli(keys[2], shape=(batch,)).astype(jnp.float32)
    return (params, statistics, SGD.init(params)), x, y


def steps() -> dict[str, Callable[..., Any]]:
    """Name -> step."""
    ours = locality.resnet(18, channels=1)
    native = locality.resnet(18, channels=1, method="native")
    return {
        "plain": step(ours, 0, True),
        "plain, native convolution": step(native, 0, True),
        "two-stage": step(ours, COEFFICIENT, True),
        "two-stage, split": step(ours, COEFFICIENT, True, "split"),
        "definition": step(ours, COEFFICIENT, False),
    }


@contextlib.contextmanager
def rival(python: str | None, data: Data) -> Iterator[Callable | None]:
    """A process that takes torch's steps: spelling and word in, measured out; or None."""
    if python is None:
        yield None
        return
    (params, statistics, _), x, y = data
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        arrays = {f"params/{k}": v for k, v in params.items()}
        arrays |= {f"statistics/{k}": v for k, v in statistics.items()}
        arrays |= {"x": x, "y": y}
        np.savez(path, allow_pickle=False, **{k: np.asarray(v) for k, v in arrays.items()})
        options = {"patches": PATCHES, "rate": RATE, "momentum": MOMENTUM}
        options = json.dumps(options | {"coefficient": COEFFICIENT})
        script = Path(__file__).with_name("locality_torch.py")
        with subprocess.Popen(
            [python, str(script), str(path), options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:

            def ask(spelling: str, word: str) -> Any:
                assert process.stdin
                assert process.stdout
                process.stdin.write(f"{spelling} {word}\n")
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
                if "error" in answer:
                    raise RuntimeError(f"torch, {word}, {spelling}: {answer['error']}")
                return answer

            yield ask


def has_torch(python: str) -> bool:
    """Whether an interpreter finds torch."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def check(
    works: dict[str, Callable[..., Any]], data: Data, ask: Callable | None
) -> dict[str, dict[str, float]]:
    """Disagreements in loss, |cos| and the first step; refused where more than rounding.

    In float64: in float32 rounding turns some ReLUs over, and steps of one network differ
    by up to a percent however they are computed.
    """
    state, x, y = data
    start = np.asarray(state[0]["stem.kernel"]).ravel()
    moved, seen = {}, {}
    for name, work in works.items():
        (params, _, _), found = jax.jit(work)(state, x, y)
        moved[name] = np.asarray(params["stem.kernel"]).ravel() - start
        seen[name] = float(found.loss), float(found.change)
    for name, (spelling, word) in TORCH.items():
        if ask is not None:
            ask(spelling, "reset")
            found = ask(spelling, word)
            moved[name] = np.array(ask(spelling, "stem")["stem"]) - start
            seen[name] = found["loss"], found.get("change", np.nan)
    off = {}
    for name, (loss, change) in seen.items():
        like = "two-stage" if np.isfinite(change) else "plain"
        apart = np.linalg.norm(moved[name] - moved[like]) / np.linalg.norm(moved[like])
        found = {
            "loss": abs(loss - seen[like][0]),
            "change": float(np.nan_to_num(abs(change - seen[like][1]))),
            "step": float(apart),
        }
        if max(found.values()) > ROUNDING:
            raise RuntimeError(f"{name} disagrees with {like}: {found}")
        off[name] = {k: float(f"{v:.1e}") for k, v in found.items()}
    return off


def separation() -> dict[str, float]:
    """Seconds of a 32 x 32 grid of one context; 64 contexts take 64 times as long."""
    (params, statistics, _), x, _ = problem()
    net = locality.resnet(18, channels=1)
    p, q = (locality.Patch(*numbers) for numbers in PATCHES)
    images = jnp.concatenate([x, -x, x + 1])

    def spectrum(images: jax.Array) -> jax.Array:
        def logits(x: jax.Array) -> jax.Array:
            return net.apply(params, statistics, x, train=False)[0]

        return locality.separation_spectrum(
            logits, images, p, q, num=32, contexts=1
        ).centred

    program = jax.jit(spectrum).lower(images).compile()
    found = harness.milliseconds(lambda: jax.block_until_ready(program(images)), 3)
    seconds = 1e-3 * found["milliseconds"]
    return {"seconds": round(seconds, 3), "seconds, 64 contexts": round(64 * seconds, 1)}


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """What the targets are about; torch's is its fastest spelling."""
    times = {name: result["milliseconds"] for name, result in found.items()}
    for word in ("plain", "regularized"):
        best = f"torch, {word}"
        if best in times:
            times[best] = min(t for name, t in times.items() if name.startswith(best))
    pairs = [
        ("plain, native convolution", "plain"),
        ("two-stage", "plain"),
        ("two-stage, split", "plain"),
        ("definition", "plain"),
        ("definition", "two-stage"),
        ("plain", "torch, plain"),
        ("two-stage", "torch, regularized"),
        ("torch, regularized", "torch, plain"),
    ]
    return {
        f"{a} / {b}": round(times[a] / times[b], 2)
        for a, b in pairs
        if a in times and b in times
    }


def main() -> int:
    """Checks, measures, prints and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args()
    console, data, works = Console(width=110), problem(), steps()
    python, versions, calls = given.torch_python, {}, {}
    if not has_torch(python):
        console.print(f"PyTorch is left out: {python} has none")
        python = None
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), data)
        with rival(python, exact) as ask:
            off = check(works, exact, ask)
    with rival(python, data) as ask:
        if ask is not None:
            versions = ask("contiguous", "reset")
            calls = {name: functools.partial(ask, *line) for name, line in TORCH.items()}
        cases = {name: (work, data) for name, work in works.items()}
        found = harness.measure(cases, inner=1, repeats=given.repeats, besides=calls)
    record = {
        "problem": f"ResNet18, batch {BATCH}, {SIDE} x {SIDE} x 1, float32, SGD",
        "load": [round(n, 2) for n in os.getloadavg()],
        "disagreement, float64": off,
        "results": found,
        "ratios": ratios(found),
        "separation, 32 x 32 grid": separation(),
    } | versions
    console.print(record)
    if given.write:
        path = harness.write_record("locality", record)
        console.print(f"written to {path}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
