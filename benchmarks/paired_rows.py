"""Rows of a paired comparison that a worker process calls again and again.

Each makes its problem and returns the call that is measured. They use public names only,
so that the same row runs on both states of the library.
"""

import dataclasses
import inspect
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import htfjax as htf
from benchmarks import harness, schemes

# What is measured is seconds of one unit of work, or bytes; this is how it is shown.
UNITS: dict[str, Callable[[float], float]] = {
    "us": lambda seconds: 1e6 * seconds,
    "ms": lambda seconds: 1e3 * seconds,
    "s": lambda seconds: seconds,
    "steps a second": lambda seconds: 1 / seconds,
    "runs an hour": lambda seconds: 3600 / seconds,
    "bytes": lambda size: size,
}
Call = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantity that is compared.

    Attributes:
      name: GROUP/NAME.
      unit: a key of `UNITS`.
      about: what is called, on what.
      make: prepares the problem and returns the call; of a size, one that returns bytes.
      inner: units of work in one call.
      prepare: about how many seconds `make` and the first call take.
      seconds: about how many a call takes, if more than a worker's shortest turn.
    """

    name: str
    unit: str
    about: str
    make: Callable[[], Call]
    inner: int
    prepare: float
    seconds: float


ROWS: dict[str, Row] = {}


def row(
    name: str, unit: str, *, inner: int = 1, prepare: float = 1.0, seconds: float = 0.0
) -> Callable[[Callable[[], Call]], Callable[[], Call]]:
    """Registers a maker of calls; the first line of its docstring says what it is."""

    def register(make: Callable[[], Call]) -> Callable[[], Call]:
        about = (make.__doc__ or "").splitlines()[0].rstrip(".")
        ROWS[name] = Row(name, unit, about, make, inner, prepare, seconds)
        return make

    return register


def small(width: int = 8, count: int = 64) -> tuple[htf.Factors, Any, jax.Array]:
    """Factors of order 4, D 8; indices and targets of `count` observations."""
    return schemes.problem(htf.perfect(4), 8, width, count)


def small_loss(width: int = 8, count: int = 64) -> tuple[htf.Factors, Any]:
    """The same factors, and the completion loss of these observations."""
    factors, indices, targets = small(width, count)
    return factors, htf.completion_loss(factors.tree, 8, indices, targets)


def sensing(width: int, count: int) -> tuple[htf.Factors, Any]:
    """Factors of order 4, D 8, and a loss on dense rank-one measurements."""
    factors, _, targets = small(width, count)
    vectors = htf.random_vectors(jax.random.key(1), (8,) * 4, count, dtype=jnp.float32)
    return factors, htf.sensing_loss(jnp.stack(vectors), targets)


def compiled(function: Callable[..., Any], *arguments: Any) -> Call:
    """The call of a program that is compiled ahead of time."""
    program = jax.jit(function).lower(*arguments).compile()
    return lambda: program(*arguments)


def gradient_of(factors: htf.Factors, loss: Any, times: int) -> Call:
    """The call of a program of `times` values and gradients."""
    return compiled(harness.value_and_gradient(schemes.planned_loss, times), factors, loss)


# Calls as a user types them, nothing jitted around them.


@row("eager/entries", "us")
def eager_entries() -> Call:
    """`entries`, order 4, D 8, widths 8, 64 indices."""
    factors, indices, _ = small()
    return lambda: htf.entries(factors, indices)


@row("eager/end_tensor", "us")
def eager_end_tensor() -> Call:
    """`end_tensor` of the same factors."""
    factors, _, _ = small()
    return lambda: htf.end_tensor(factors)


@row("eager/completion_loss", "us")
def eager_completion_loss() -> Call:
    """A completion loss of 64 observations."""
    factors, loss = small_loss()
    return lambda: loss(factors)


@row("eager/make_completion_loss", "us")
def eager_make_completion_loss() -> Call:
    """`completion_loss`: checks, plan and index maps of 64 observations."""
    factors, indices, targets = small()
    return lambda: htf.completion_loss(factors.tree, 8, indices, targets)


@row("eager/loss_gradient", "us")
def eager_loss_gradient() -> Call:
    """`jax.value_and_grad` of that loss, not jitted."""
    factors, loss = small_loss()
    gradient = jax.value_and_grad(loss)
    return lambda: gradient(factors)


@row("eager/sensing_loss", "us")
def eager_sensing_loss() -> Call:
    """A loss on 64 dense rank-one measurements."""
    factors, loss = sensing(8, 64)
    return lambda: loss(factors)


@row("eager/local_component_norms", "us")
def eager_local_component_norms() -> Call:
    """`local_component_norms` of the same factors."""
    factors, _, _ = small()
    return lambda: htf.local_component_norms(factors)


@row("eager/singular_values", "us", prepare=2)
def eager_singular_values() -> Call:
    """`singular_values` at one node."""
    factors, _, _ = small()
    node = factors.tree.children[factors.tree.root][0]
    return lambda: htf.singular_values(factors, node)


@row("eager/spectra", "us")
def eager_spectra() -> Call:
    """`spectra` of all nodes."""
    factors, _, _ = small()
    return lambda: htf.spectra(factors)


@row("eager/gaussian_factors", "us")
def eager_gaussian_factors() -> Call:
    """`gaussian_factors`, order 4, D 8, widths 8."""
    key, tree = jax.random.key(0), htf.perfect(4)
    return lambda: htf.gaussian_factors(key, tree, 8, 8, 1e-2)


@row("eager/random_indices", "us")
def eager_random_indices() -> Call:
    """`random_indices`, 64 of 4096 entries."""
    key = jax.random.key(0)
    return lambda: htf.random_indices(key, (8,) * 4, 64)


def _continued(num_steps: int) -> Call:
    factors, loss = small_loss()
    optimizer = htf.group_rmsprop(1e-2)
    state = htf.start_descent(factors, optimizer)
    return lambda: htf.continue_descent(
        state, loss, optimizer, num_steps=num_steps, record_every=1
    )


@row("eager/continue_descent_1", "us")
def eager_continue_descent_1() -> Call:
    """`continue_descent` by one step, recorded."""
    return _continued(1)


@row("eager/continue_descent_2", "us")
def eager_continue_descent_2() -> Call:
    """`continue_descent` by two steps, both recorded."""
    return _continued(2)


# Compiled programs; loops are those of the harness, which carry what a turn finds.


@row("jitted/completion_paper", "ms", inner=10, prepare=2)
def jitted_completion_paper() -> Call:
    """Completion, value and gradient: order 4, D 8, widths 512, 2048 observations."""
    return gradient_of(*small_loss(512, 2048), times=10)


@row("jitted/completion_small", "us", inner=200)
def jitted_completion_small() -> Call:
    """Completion, value and gradient: order 4, D 8, widths 8, 64 observations."""
    return gradient_of(*small_loss(), times=200)


@row("jitted/sensing", "ms", inner=10, prepare=2)
def jitted_sensing() -> Call:
    """Sensing, value and gradient: order 4, D 8, widths 64, 2048 dense measurements."""
    return gradient_of(*sensing(64, 2048), times=10)


@row("jitted/population_loss", "us", inner=100, prepare=3)
def jitted_population_loss() -> Call:
    """Population loss, value and gradient: order 4, D 8, widths 64."""
    factors, _, _ = small(64)
    target, _, _ = small(5)
    return gradient_of(factors, htf.population_loss(target), times=100)


@row("jitted/spectra", "ms", inner=10, prepare=4)
def jitted_spectra() -> Call:
    """`spectra` of all nodes: order 8, D 4, widths 32."""
    factors, _, _ = schemes.problem(htf.perfect(8), 4, 32, 1)
    return compiled(harness.repeated(htf.spectra, 10), factors)


@row("jitted/local_component_norms", "us", inner=20, prepare=2)
def jitted_local_component_norms() -> Call:
    """`local_component_norms`: order 4, D 8, widths 512."""
    factors, _, _ = small(512, 1)
    return compiled(harness.repeated(htf.local_component_norms, 20), factors)


@row("jitted/squared_norm", "ms", inner=10)
def jitted_squared_norm() -> Call:
    """`squared_norm`: order 4, D 8, widths 512."""
    factors, _, _ = small(512, 1)
    return compiled(harness.repeated(htf.squared_norm, 10), factors)


@row("jitted/singular_values_hvp", "ms", inner=10, prepare=3)
def jitted_singular_values_hvp() -> Call:
    """Hessian-vector product of a sum of singular values, dense: order 4, D 8, widths 8."""
    factors, _, _ = small()
    direction, _, _ = schemes.problem(factors.tree, 8, 8, 1, seed=1)
    node = factors.tree.children[factors.tree.root][0]

    def product(at: htf.Factors, along: htf.Factors) -> Any:
        gradient = jax.grad(lambda f: jnp.sum(htf.singular_values(f, node, "dense")))
        return jax.jvp(gradient, (at,), (along,))[1]

    return compiled(harness.repeated(product, 10), factors, direction)


# Whole calls of what moves factors.


def _descended(observe: Callable[[Any], Any]) -> Call:
    factors, loss = small_loss(64, 2048)
    optimizer = htf.group_rmsprop(1e-2)
    return lambda: htf.descend(
        factors, loss, optimizer, num_steps=1000, record_every=25, observe=observe
    )


@row("descent/norms", "steps a second", inner=1000, prepare=4, seconds=0.08)
def descent_norms() -> Call:
    """`descend`, widths 64, 2048 observations, norms every 25 of 1,000 steps."""
    return _descended(htf.local_component_norms)


@row("descent/spectra", "steps a second", inner=1000, prepare=3, seconds=0.1)
def descent_spectra() -> Call:
    """The same with all spectra every 25 steps."""
    return _descended(htf.spectra)


@row("descent/gradient_flow", "ms", prepare=9)
def descent_gradient_flow() -> Call:
    """`gradient_flow` to time 20, order 4, D 8, widths 8, 11 records."""
    factors, loss = small_loss(8, 512)
    times = jnp.linspace(0, 20, 11)
    return lambda: htf.gradient_flow(factors, loss, times=times, rtol=1e-3, atol=1e-6)


LANES, LANE_STEPS = 16, 500
STEP_NAMES = ("until_step", "num_steps")


def small_ensemble(out: Path) -> None:
    """A finished folder of small runs."""
    setting = htf.problems.Completion(widths=16, observed=512)
    grid = htf.runs.Grid(setting, range(LANES))
    # Commits before the house was rebuilt call it `num_steps`.
    names = inspect.signature(htf.runs.run).parameters
    steps: dict[str, Any] = {next(n for n in STEP_NAMES if n in names): LANE_STEPS}
    for _ in htf.runs.run(grid, out, record_every=50, **steps):
        pass


@row("ensemble/steps", "steps a second", inner=LANES * LANE_STEPS, prepare=8, seconds=0.6)
def ensemble_steps() -> Call:
    """`ensemble.run` into a new folder: 16 runs of 500 steps, widths 16, 512 observed."""
    folder, count = Path(tempfile.mkdtemp()), itertools.count()
    return lambda: small_ensemble(folder / str(next(count)))


# Sizes on disk.


def bytes_below(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@row("size/state", "bytes")
def size_state() -> Call:
    """`save_state` of a descent: order 4, D 8, widths 8."""
    factors, _, _ = small()
    state = htf.start_descent(factors, htf.group_rmsprop(1e-2))

    def saved() -> int:
        folder = Path(tempfile.mkdtemp())
        htf.save_state(folder / "state", state)
        return bytes_below(folder)

    return saved


@row("size/ensemble", "bytes", prepare=8, seconds=0.7)
def size_ensemble() -> Call:
    """A finished folder of 16 small runs of 500 steps."""

    def written() -> int:
        folder = Path(tempfile.mkdtemp())
        small_ensemble(folder / "runs")
        return bytes_below(folder)

    return written
