"""Progress: what is told and when, that numbers stay, and where it is shown."""

import contextlib
import dataclasses
import functools
import io
import sys
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from htfjax.motion import displays, pieces
from htfjax.motion import progress as progress_module
from htfjax.runs.progress import watched
from tests import helpers, mistakes

SGD = optax.sgd(0.1)


def square(x: jax.Array) -> jax.Array:
    return x @ x


def descend(**options: Any) -> Any:
    steps: dict[str, Any] = {"num_steps": 8, "record_every": 2, **options}
    return htf.descend(jnp.ones(2), square, SGD, **steps)


TIMES = [0.0, 0.25, 0.5, 1.0]


def flowing(loss: Any, progress: Any) -> htf.Trajectory:
    return htf.gradient_flow(
        jnp.ones(2), loss, times=TIMES, rtol=1e-6, atol=1e-6, progress=progress
    )[1]


# What is told


def test_a_descent_tells_steps_losses_and_time() -> None:
    """A fifth of the length is left after every step: losses 2 x 0.64^t."""
    seen: list[htf.StepProgress] = []
    descend(progress=seen.append)
    assert [(now.step, now.until_step) for now in seen] == [(2, 8), (4, 8), (6, 8), (8, 8)]
    np.testing.assert_allclose([now.loss for now in seen], 2 * 0.64 ** np.arange(2, 10, 2))
    assert seen[0].seconds_left is None
    assert (seen[1].seconds_left or 0) > 0
    assert seen[-1].seconds_left == 0


def test_steps_are_those_of_the_state() -> None:
    """A descent that is continued reaches the sum."""
    seen: list[htf.StepProgress] = []
    state, _ = htf.continue_descent(
        htf.start_descent(jnp.ones(2), SGD), square, SGD, num_steps=4, record_every=4
    )
    htf.continue_descent(
        state, square, SGD, num_steps=8, record_every=4, progress=seen.append
    )
    assert [(now.step, now.until_step) for now in seen] == [(8, 12), (12, 12)]


def test_chunks_of_a_loop_are_those_told() -> None:
    seen: list[int] = []
    chunks = htf.descend_in_chunks(
        htf.start_descent(jnp.ones(2), SGD), square, SGD, until_step=10, record_every=2,
        chunk_steps=4, progress=lambda now: seen.append(now.step),
    )  # fmt: skip
    assert [(int(state.step), list(seen)) for state, _ in chunks] == [
        (4, [4]), (8, [4, 8]), (10, [4, 8, 10]),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_flow_tells_its_records() -> None:
    """d x / dt = -2 x: the loss is 2 exp(-4 t)."""
    seen: list[htf.StepProgress] = []
    flow = flowing(square, seen.append)
    assert [(now.step, now.until_step) for now in seen] == [(k, 3) for k in range(4)]
    wanted = 2 * np.exp(-4 * np.array(TIMES))
    np.testing.assert_allclose([now.loss for now in seen], wanted, rtol=1e-3)
    np.testing.assert_allclose([now.loss for now in seen], flow.losses)
    assert seen[-1].seconds_left == 0


@pytest.mark.slow
def test_another_listener_of_a_flow_needs_no_other_program() -> None:
    """Compiled once, though every listener is another object."""
    counts = []

    def loss(x: jax.Array) -> jax.Array:
        counts.append(1)
        return x @ x

    told: list[int] = []
    traced: list[int] = []
    for _ in range(3):
        flowing(loss, lambda now: told.append(now.step))
        traced.append(len(counts))
    assert traced[0] == traced[2]
    assert told == [0, 1, 2, 3] * 3
    assert not progress_module._listeners


def test_progress_of_a_grid_is_told_and_yielded() -> None:
    """The median loss of the runs at work; none where all rest."""
    now = htf.runs.Progress(
        runs=2, done=0, active=2, failed=0, steps=8, steps_in_all=16, executed=8,
        steps_per_second=4.0, seconds_left=2.0, losses=(1.0, 2.0, 5.0), wall_seconds=2.0,
        device_seconds=1.0, compile_seconds=1.0, changed=0, messages=(), state="running",
    )  # fmt: skip
    resting = dataclasses.replace(now, losses=None)
    closed, seen = [], []

    def work() -> Any:
        try:
            yield from (now, resting, now)
        finally:
            closed.append(True)

    session = watched(work(), seen.append)
    assert [next(session), next(session)] == [now, resting]
    assert seen[0] == htf.StepProgress(8, 16, 2.0, 2.0)
    assert np.isnan(seen[1].loss)
    session.close()
    assert closed == [True]


@pytest.mark.slow
def test_a_grid_tells_steps_of_all_runs(tmp_path: Any) -> None:
    setting = htf.problems.Completion(
        mode_dims=2, widths=2, observed=8, target_rank=1, init_std=0.3
    )
    grid = htf.runs.Grid(setting, seeds=range(2))
    seen: list[htf.StepProgress] = []
    session = htf.runs.run(
        grid, tmp_path / "grid", until_step=8, record_every=2, chunk_steps=4,
        progress=seen.append,
    )  # fmt: skip
    yielded = [(now.steps, now.steps_in_all, now.state) for now in session]
    assert [(now.step, now.until_step) for now in seen] == [y[:2] for y in yielded]
    assert yielded[-1] == (16, 16, "finished")
    losses = htf.load_results(tmp_path / "grid").loss.isel(step=2).values
    np.testing.assert_allclose(seen[0].loss, np.median(losses))


# Numbers stay


def parabola() -> tuple[jax.Array, Any, Any]:
    return jnp.arange(1.0, 4.0), square, jnp.square


def completion() -> tuple[htf.Factors, Any, Any]:
    factors = helpers.random_factors("leaf_at_root")
    indices = htf.random_indices(jax.random.key(1), htf.mode_dims(factors), 6)
    loss = htf.completion_loss(factors.tree, htf.mode_dims(factors), indices, jnp.ones(6))
    return factors, loss, htf.local_component_norms


@pytest.mark.parametrize(
    ("problem", "num_steps", "record_every"),
    [
        (parabola, 7, 1),
        (parabola, 1, 1),
        (parabola, 3, 3),
        (parabola, 210, 1),
        (parabola, 8, 2),
        pytest.param(completion, 8, 2, marks=pytest.mark.slow),
    ],
)
def test_a_watched_descent_is_bit_for_bit_the_same(
    problem, num_steps, record_every
) -> None:
    """Its pieces leave no trace; a single step is a piece only if it is all."""
    start, loss, observe = problem()
    steps: dict[str, Any] = {"num_steps": num_steps, "record_every": record_every}
    run = functools.partial(
        htf.descend, start, loss, htf.group_rmsprop(1e-2), observe=observe, **steps
    )
    wanted, found = run(), run(progress=lambda _: None)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert isinstance(one, jax.Array)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_minibatches_do_not_depend_on_pieces() -> None:
    def noisy(x: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(x - jax.random.normal(key, x.shape)))

    options: dict[str, Any] = {"num_steps": 6, "record_every": 2, "key": jax.random.key(3)}
    wanted = htf.descend(jnp.ones(3), noisy, SGD, **options)
    found = htf.descend(jnp.ones(3), noisy, SGD, progress=lambda _: None, **options)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), wanted, found))


def test_pieces_are_as_many_steps_and_none_is_single() -> None:
    for num_records in (*range(1, 40), 99, 100, 101, 997, 1000, 12345):
        for record_every in (1, 2, 5):
            num_steps = num_records * record_every
            lengths = pieces.piece_lengths(num_steps, record_every)
            assert sum(lengths) == num_steps
            assert all(n % record_every == 0 for n in lengths)
            assert min(lengths) > 1 or num_steps == 1
            assert len(lengths) <= pieces.MOST_PIECES
            assert len(set(lengths)) <= 2


@pytest.mark.parametrize("progress", [None, False])
def test_without_progress_a_descent_is_one_program(progress, monkeypatch) -> None:
    monkeypatch.setattr("htfjax.motion.descent.watched", None)
    descend(progress=progress)


@pytest.mark.slow
def test_a_flow_calls_the_host_only_if_it_is_asked_to(monkeypatch) -> None:
    def program(progress: Any) -> str:
        flow = functools.partial(
            htf.gradient_flow, loss=square, times=[1.0], rtol=1e-3, atol=1e-3,
            progress=progress,
        )  # fmt: skip
        return str(jax.make_jaxpr(flow)(jnp.ones(2)))

    assert "debug_callback" not in program(None)
    monkeypatch.setattr("htfjax.motion.flow.check_concrete", lambda *_: None)
    ticket = contextlib.nullcontext(np.int32(0))
    monkeypatch.setattr("htfjax.motion.flow.ticket_of", lambda *_: ticket)
    assert "debug_callback" in program(lambda _: None)


# Refusals


MISTAKES = [
    ("word", lambda: descend(progress="yes"), TypeError, "`progress` StepProgress 'yes'"),
    ("one", lambda: descend(progress=1), TypeError, "`progress` StepProgress 1"),
    ("class", lambda: descend(progress=htf.StepProgress), TypeError, "`progress`"),
    ("flow", lambda: flowing(square, "yes"), TypeError, "`progress` 'yes'"),
    ("jit", lambda: jax.jit(lambda x: htf.descend(
        x, square, SGD, num_steps=4, record_every=2, progress=True))(jnp.ones(2)),
     TypeError, "`progress` concrete jax.jit"),
    ("vmap", lambda: jax.vmap(lambda x: htf.descend(
        x, square, SGD, num_steps=4, record_every=2, progress=True))(jnp.ones((2, 2))),
     TypeError, "`progress` concrete jax.vmap"),
    ("grad", lambda: jax.grad(lambda x: htf.gradient_flow(
        x, square, times=[1.0], rtol=1e-3, atol=1e-3, solver="explicit", progress=True,
    )[0].sum())(jnp.ones(2)), TypeError, "`progress` concrete jax.grad"),
    ("closure", lambda: jax.jit(lambda x: htf.descend(
        jnp.ones(2), lambda y: square(x - y), SGD, num_steps=4, record_every=2,
        progress=lambda _: None)[0])(jnp.ones(2)),
     TypeError, "`progress` concrete"),
    ("closure_of_flow", lambda: jax.vmap(lambda x: flowing(
        lambda y: square(x - y), lambda _: None).losses)(jnp.ones((1, 2))),
     TypeError, "`progress` concrete"),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_mistakes_are_named(call, kind, words) -> None:
    mistakes.assert_named(call, kind, words)


class Enough(Exception):
    """Raised by a listener that has seen enough."""


def enough(_: htf.StepProgress) -> None:
    raise Enough


@pytest.mark.slow
def test_what_a_listener_raises_comes_through() -> None:
    """It ends a descent at once, a flow when it has ended."""
    with pytest.raises(Enough):
        descend(progress=enough)
    with pytest.raises(Enough):
        flowing(square, enough)
    assert not progress_module._listeners


# Displays


class Terminal(io.StringIO):
    """Standard error that goes to a terminal, or does not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    """What `progress=True` writes to standard error."""
    stream = Terminal(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    descend(progress=True)
    return stream.getvalue()


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Packages that are not installed."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_a_pipe_gets_nothing_and_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("htfjax.motion.descent.watched", None)
    assert shown(monkeypatch, terminal=False) == ""


def test_no_standard_error_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without a console has none."""
    monkeypatch.setattr(sys, "stderr", None)
    descend(progress=True)


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="draws the bar")
    monkeypatch.setenv("TERM", "xterm")
    text = shown(monkeypatch, terminal=True)
    assert "descent" in text
    assert "8/8" in text
    assert "loss 5.63e-02" in text


def test_a_terminal_without_rich_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "rich", "rich.progress", "rich.console")
    text = shown(monkeypatch, terminal=True)
    assert text == "descent: step 8 of 8, loss 5.63e-02\n"


def test_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "rich", "rich.progress", "rich.console")
    monkeypatch.setattr(displays, "SECONDS_BETWEEN_LINES", -1.0)
    lines = shown(monkeypatch, terminal=True).splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"descent: step {step} of 8" for step in (2, 4, 6, 8)
    ]


class Bar:
    """Stands for tqdm's bar in a notebook."""

    made: list["Bar"]

    def __init__(self, *, desc: str, unit: str) -> None:
        self.desc, self.unit, self.n, self.total, self.note = desc, unit, 0, None, ""
        self.made.append(self)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.unit = "closed"

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        assert not refresh
        self.note = text

    def update(self, more: int) -> None:
        self.n += more


def in_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = types.SimpleNamespace(kernel=1)
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)


def test_a_notebook_gets_a_bar_of_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    in_notebook(monkeypatch)
    monkeypatch.setattr(Bar, "made", [], raising=False)
    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=Bar))
    assert shown(monkeypatch, terminal=False) == ""
    (bar,) = Bar.made
    assert (bar.desc, bar.n, bar.total, bar.unit) == ("descent", 8, 8, "closed")
    assert bar.note == "loss 5.63e-02"


def test_a_notebook_without_tqdm_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    in_notebook(monkeypatch)
    without(monkeypatch, "tqdm", "tqdm.auto")
    assert shown(monkeypatch, terminal=False).startswith("descent: step 8 of 8")


def test_a_shell_of_ipython_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    ipython = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert shown(monkeypatch, terminal=False) == ""
