"""Representations: their exact text, their length, and that nothing makes them fail."""

import dataclasses
import html.parser
import re
import textwrap
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import wadler_lindig

import htfjax as htf
from htfjax import _reprs, locality
from htfjax.factors.layout import layout_of

MOST_LINES, MOST_CHARACTERS = 12, 1000
WIDE = 2048  # a perfect tree of 4,095 nodes
RUNS = 20_000


def small() -> htf.Factors:
    return htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 3, 2, 0.5)


def ones() -> htf.Factors:
    frozen = htf.identity_factors(((0,), 1), (3, 4), 2, 1.0, root="ones")
    return dataclasses.replace(frozen, fixed=(0, 2))


def completion(count: int = 5) -> Any:
    indices = np.zeros((count, 4), int)
    return htf.completion_loss(htf.perfect(4), 3, indices, np.ones(count))


def trajectory() -> htf.Trajectory:
    _, found = htf.descend(
        jnp.ones(2), lambda x: x @ x, optax.sgd(0.25), num_steps=4, record_every=2,
        observe=lambda x: {"x": x},
    )  # fmt: skip
    return found


def flow() -> htf.FlowReport:
    times = jnp.arange(3.0)
    return htf.FlowReport(
        positions=times, natural_times=times, arc_lengths=times / 3,
        reached=jnp.ones(3, bool), ending=jnp.int32(2), integrals=None,
        num_evaluations=jnp.int32(40), num_steps=jnp.int32(8), num_rejected=jnp.int32(1),
        drift=jnp.array([0.0, 1e-6, 2e-6]),
    )  # fmt: skip


def progress() -> htf.runs.Progress:
    return htf.runs.Progress(
        runs=100, done=12, active=8, failed=0, steps=1200, steps_in_all=10_000,
        executed=1200, steps_per_second=55.12345, seconds_left=None,
        losses=(0.1, 0.25, 1 / 3), wall_seconds=1.0, device_seconds=1.0,
        compile_seconds=1.0, changed=0, messages=(), state="running",
    )  # fmt: skip


def plan() -> htf.Plan:
    rates = htf.Rates(flops=1e11, stream_bytes=1e10, gather_bytes=2e9, step_seconds=1e-6)
    found = htf.contraction_plan(htf.flat(2), 8, (4,), 20, rates=rates)
    costs = tuple(tuple((route, 0.25) for route, _ in node) for node in found.costs)
    return dataclasses.replace(found, costs=costs)


def grid(seeds: int = 2) -> htf.runs.Grid:
    axes = {"init_std": (0.02, 0.03), "tree": (((0, 1), (2, 3)), (0, 1, 2, 3))}
    base = htf.problems.Completion(mode_dims=3, observed=30, init_std=0.02)
    return htf.runs.Grid(base, seeds=range(seeds), axes=axes)


def norms() -> Any:
    return htf.local_component_norms(htf.group(small()))


FACTORS = "tree=((0, 1), (2, 3)), weights=(4 x f64[3,2], 2 x f64[2,2], f64[2,1])"
ENTRIES = "Entries(tree=((0, 1), (2, 3)), mode_dims=3, indices=i32[5,4])"
LOSS = f"""\
ObservationLoss(
  measurement={ENTRIES},
  targets=f64[5],
  penalty='l2'
)"""
TEXTS: dict[str, tuple[Callable[[], Any], str]] = {
    "tree": (lambda: htf.perfect(4), "ModeTree.from_nested(((0, 1), (2, 3)))"),
    "factors": (small, f"Factors({FACTORS})"),
    "fixed": (
        ones,
        "Factors(tree=((0,), 1), weights=(f64[3,2], f64[4,2], f64[2,2], None), "
        "fixed=(0, 2))",
    ),
    "grouped": (
        lambda: htf.group(small()),
        "GroupedFactors(tree=((0, 1), (2, 3)), "
        "stacks=(f64[4,3,2], f64[2,2,2], f64[1,2,1]))",
    ),
    "node values": (norms, "NodeValues({(4, 5): f64[2,2], (6,): f64[1,2]})"),
    "layout": (
        lambda: layout_of(ones()),
        "Layout(\n  tree=((0,), 1),\n  mode_dims=(3, 4),\n  widths=2,\n"
        "  weights_dtype='float64',\n  fixed=(0, 2),\n  has_root=False\n)",
    ),
    "spectrum": (
        lambda: htf.Spectrum(jnp.array([4.0, 1 / 3]), "dense", jnp.asarray(2e-15)),
        "Spectrum(values=f64[2] from 4 to 0.3333, route='dense', accuracy=2e-15)",
    ),
    "plan": (
        plan,
        "Plan(\n  tree=(0, 1), mode_dims=8, widths=4, batch=20, "
        "routes=('table', 'table'), root='gather',\n  seconds=0.75\n)",
    ),
    "completion loss": (completion, LOSS),
    "sensing loss": (
        lambda: htf.sensing_loss([jnp.ones((4, 3))] * 2, jnp.ones(4), penalty="huber"),
        "ObservationLoss(\n  measurement=RankOne(vectors=(2 x f64[4,3])),\n"
        "  targets=f64[4],\n  penalty='huber',\n  threshold=1\n)",
    ),
    "matrix sensing loss": (
        lambda: htf.matrix_sensing_loss(np.ones((4, 2, 3)), np.ones(4)),
        "ObservationLoss(measurement=Dense(matrices=f64[4,2,3]), targets=f64[4], "
        "penalty='l2')",
    ),
    "exact plan": (
        lambda: htf.losses.Entries.at(htf.flat(2), 3, [[0, 1]], plan="exact"),
        "Entries(tree=(0, 1), mode_dims=3, indices=i32[1,2], plan='exact')",
    ),
    "minibatches": (
        lambda: htf.minibatch_loss(completion(), 2),
        f"MinibatchLoss(\n{textwrap.indent('loss=' + LOSS, '  ')},\n  batch_size=2\n)",
    ),
    "sum": (
        lambda: htf.population_loss(small()) - 0.5 * htf.population_loss(ones()),
        f"SumLoss(\n  PopulationLoss(\n    target=Factors(\n      {FACTORS}\n    ),\n"
        "    method='gram'\n  )\n  + -0.5 * PopulationLoss(\n    target=Factors(...),\n"
        "    method='gram'\n  )\n)",
    ),
    "scaled": (
        lambda: htf.scaled_loss(htf.matrix_sensing_loss(np.ones((4, 2, 3)), np.ones(4))),
        "ScaledLoss(\n  loss=ObservationLoss(\n    measurement=Dense(matrices=f64[4,2,3]), "
        "targets=f64[4], penalty='l2'\n  )\n)",
    ),
    "state": (
        lambda: htf.start_descent(jnp.ones(3), htf.group_rmsprop(0.1)),
        "DescentState(\n  params=f64[3],\n  opt_state=(GroupRmsState(num_updates=0, "
        "mean_square=0, slow_steps=0), EmptyState()),\n  step=0\n)",
    ),
    "trajectory": (
        trajectory,
        "Trajectory(\n  steps=i32[3] from 0 to 4,\n  losses=f64[3] from 2 to 0.007812,\n"
        "  grad_norms=f64[3] from 2.828 to 0.1768,\n  observed={'x': f64[3,2]}\n)",
    ),
    "report": (
        flow,
        "FlowReport(\n  status='failed: more than `max_steps` steps', natural_times=f64[3] "
        "from 0 to 2,\n  arc_lengths=f64[3] from 0 to 0.6667, num_evaluations=40, "
        "num_steps=8, num_rejected=1,\n  drift=f64[3] from 0 to 2e-06\n)",
    ),
    "problem": (
        lambda: htf.problems.Completion(widths=(4, 4, 2), init_std=0.1),
        "Completion(tree=((0, 1), (2, 3)), widths=(4, 4, 2), init_std=0.1)",
    ),
    "grid": (
        grid,
        "Grid(\n  base=Completion(tree=((0, 1), (2, 3)), mode_dims=3, init_std=0.02, "
        "observed=30),\n  seeds=(0, 1),\n  axes={'init_std': (0.02, 0.03), "
        "'tree': (((0, 1), (2, 3)), (0, 1, 2, 3))}\n)",
    ),
    "progress": (
        progress,
        "Progress(\n  state='running', runs=100, done=12, active=8, failed=0, steps=1200, "
        "steps_in_all=10000,\n  steps_per_second=55.12, losses=(0.1, 0.25, 0.3333)\n)",
    ),
    "evaluation": (
        lambda: locality.Evaluation(jnp.asarray(0.5), jnp.asarray(1 / 3)),
        "Evaluation(accuracy=0.5, loss=0.3333)",
    ),
    "distances": (
        lambda: locality.ChangeByDistance(
            np.arange(4), jnp.ones((4, 2)), jnp.zeros((4, 2), jnp.int32)
        ),
        "ChangeByDistance(distance=i64[4](numpy), change=f64[4,2], unseen=i32[4,2])",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(name):
    make, wanted = TEXTS[name]
    assert repr(make()) == wanted


def wide() -> htf.Factors:
    matrix = jnp.ones((2, 2), jnp.float32)
    weights = (*[matrix] * (2 * WIDE - 2), matrix[:, :1])
    return htf.Factors(tree=htf.perfect(WIDE), weights=weights)


def caterpillar() -> htf.Factors:
    """One thousand nodes, of which no two neighbours have equal shapes."""
    tree = htf.caterpillar(500)
    shapes = [(2 + k % 7, 2 + k % 5) for k in range(tree.num_nodes)]
    weights = tuple(jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes)
    return htf.Factors(tree=tree, weights=weights)


def many_runs() -> htf.Trajectory:
    records: Any = np.zeros((RUNS, 201), np.float32)
    return htf.Trajectory(
        records, records, {f"a{i}": records for i in range(50)}, records, records, records,
        records, None,
    )  # fmt: skip


def long_sum() -> Any:
    return sum(completion() * (1.0 + i) for i in range(60))


def state() -> htf.DescentState:
    return htf.start_descent(small(), optax.adam(1e-2))


def lane() -> htf.runs.Lane:
    loss = long_sum() + htf.population_loss(wide())
    coords = tuple((f"c{i}", tuple(range(1000))) for i in range(20))
    return htf.runs.Lane(state(), loss, None, None, optax.adam(1e-2), coords=coords)


BIG: dict[str, Callable[[], Any]] = {
    "tree": lambda: htf.perfect(WIDE),
    "factors": wide,
    "population": lambda: dataclasses.replace(htf.population_loss(small()), target=wide()),
    "unequal": caterpillar,
    "plan": lambda: htf.contraction_plan(htf.perfect(512), 2, 2, 5),
    "runs": lambda: grid(RUNS),
    "trajectory": many_runs,
    "sum": long_sum,
    "lane": lane,
    "state": state,
    "loss": lambda: completion(50_000),
    "problem": lambda: htf.problems.Completion(tree=htf.perfect(512), mode_dims=2),
}


@pytest.mark.parametrize("name", BIG)
def test_big_objects_take_a_dozen_lines_and_milliseconds(name, monkeypatch):
    """Of their arrays none is read that is longer than a curve."""
    value, read = BIG[name](), [0]
    as_array = np.asarray

    def reading(x: Any) -> np.ndarray:
        read.append(np.size(x))
        return as_array(x)

    monkeypatch.setattr(_reprs.np, "asarray", reading)
    seconds, shown = [], ""
    for _ in range(3):
        begun = time.perf_counter()
        shown = repr(value)
        seconds.append(time.perf_counter() - begun)
    assert len(shown.splitlines()) <= MOST_LINES
    assert len(shown) <= MOST_CHARACTERS
    assert type(value).__name__ in shown
    assert max(read) <= 2**16
    assert min(seconds) < 0.1
    if hasattr(value, "_repr_html_"):
        assert len(value._repr_html_()) < 10 * MOST_CHARACTERS


def test_ranges_of_seeds_and_wide_trees():
    assert "seeds=range(0, 20000)," in repr(grid(RUNS))
    assert repr(htf.perfect(WIDE)) == "<ModeTree: order 2048, 4095 nodes, height 11>"
    assert "weights=(4094 x f32[2,2], f32[2,1])" in repr(wide())
    assert "losses=f32[20000,201](numpy)," in repr(many_runs())


def test_brackets_close_where_lines_are_left_out():
    for make in BIG.values():
        shown = re.sub(r"'[^']*'", "", repr(make()))
        for left, right in ("()", "[]", "{}"):
            assert shown.count(left) == shown.count(right), shown


# Whatever the fields hold


def with_leaves(value: Any, leaf: Any) -> Any:
    leaves, structure = jax.tree.flatten(value)
    return jax.tree.unflatten(structure, [leaf] * len(leaves))


class Hostile:
    """An object of which nothing can be asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")

    __hash__ = None  # pyright: ignore[reportAssignmentType]


PYTREES = [
    name for name, (make, _) in TEXTS.items() if not jax.tree_util.all_leaves([make()])
]
LEAVES = {
    "object": object(),
    "None": None,
    "text": "<b>",
    "number": 3,
    "nan": float("nan"),
    "hostile": Hostile(),
    "type": int,
    "key": jax.random.key(0),
    "shape": jax.ShapeDtypeStruct((2, 3), "bfloat16"),
    "empty": np.zeros((0,)),
    "objects": np.array([object(), None]),
}


@pytest.mark.parametrize("leaf", LEAVES)
def test_any_leaves(leaf):
    for name in PYTREES:
        value = TEXTS[name][0]()
        odd = with_leaves(value, LEAVES[leaf])
        assert repr(odd).startswith(f"{type(value).__name__}("), name
        assert len(repr(odd).splitlines()) <= MOST_LINES, name
        if hasattr(odd, "_repr_html_"):
            assert Tags(odd._repr_html_()).texts


def test_any_static_fields():
    """A field that cannot be shown is named by its type; the others are shown."""
    odd: Any = Hostile()
    assert repr(htf.Factors(tree=odd, weights=odd)) == (
        "Factors(tree=<Hostile>, weights=<Hostile>)"
    )
    factors = htf.Factors(tree=odd, weights=(jnp.ones(2), None), fixed=odd)
    assert (
        repr(factors) == "Factors(tree=<Hostile>, weights=(f64[2], None), fixed=<Hostile>)"
    )
    assert repr(htf.NodeValues(odd, odd, odd)) == (
        "NodeValues(stacks=<Hostile>, axes=<Hostile>, groups=<Hostile>)"
    )
    report = dataclasses.replace(flow(), ending=jnp.int32(99))
    assert "ending=99" in repr(report)
    unmade = object.__new__(htf.Factors)
    assert repr(unmade) == "Factors()"


def test_values_inside_themselves():
    loop: list[Any] = []
    loop.append(loop)
    state = htf.DescentState(loop, (), jnp.int32(0))
    assert "[...]" in repr(state)


def test_arrays_that_are_gone_show_their_shapes():
    gone = jnp.ones(3)
    record = dataclasses.replace(trajectory(), losses=gone)
    gone.delete()
    assert "losses=f64[3],\n" in repr(record)


@pytest.mark.parametrize("name", ["factors", "grouped", "completion loss", "node values"])
def test_under_jit(name):
    """Inside of a program the text is that outside, as it has only shapes."""
    make, wanted = TEXTS[name]
    seen = []

    def traced(value: Any) -> jax.Array:
        seen.append(repr(value))
        if hasattr(value, "_repr_html_"):
            assert Tags(value._repr_html_()).texts
        return jax.tree.leaves(value)[0].sum()

    jax.jit(traced)(make())
    assert seen == [wanted]


@pytest.mark.slow
def test_under_grad_and_vmap():
    seen = []

    def traced(factors: htf.Factors) -> jax.Array:
        seen.append(repr(factors))
        return htf.end_tensor(factors).sum()

    jax.grad(traced)(small())
    many = jax.tree.map(lambda x: jnp.stack([x] * 3), small())
    jax.vmap(traced)(many)
    assert seen == [TEXTS["factors"][1]] * 2
    assert "4 x f64[3,3,2]" in repr(many)


def test_traced_numbers_show_their_shapes():
    seen = []

    def traced(value: htf.Trajectory) -> jax.Array:
        seen.append(repr(value))
        return value.losses

    jax.jit(traced)(trajectory())
    assert "losses=f64[3], grad_norms=f64[3]," in seen[0]


def test_messages_name_arguments_by_their_representation():
    with pytest.raises(
        TypeError, match=r"got Factors\(tree=\(\(0, 1\), \(2, 3\)\), weights=\("
    ):
        htf.perfect(small())  # pyright: ignore[reportArgumentType]


def test_other_printers_show_the_same():
    """`equinox.tree_pformat` and others lay out by `wadler_lindig`."""
    assert wadler_lindig.pformat([small()]) == f"[{small()!r}]"


# Tables


class Tags(html.parser.HTMLParser):
    """Texts of a page whose tags are closed in order, and none other than of tables."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.texts = list[str](), list[str]()
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"table", "caption", "tr", "th", "td", "pre"}
        assert {name for name, _ in attrs} <= {"style"}
        assert not any(
            "color" in (value or "") or "url" in (value or "") for _, value in attrs
        )
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_table_of_factors():
    texts = Tags(small()._repr_html_()).texts
    assert texts == [
        "Factors", "nodes", "height", "weights",
        "0 to 3", "0", "f64[3,2]", "trained",
        "4 to 5", "1", "f64[2,2]", "trained",
        "6", "2", "f64[2,1]", "trained",
    ]  # fmt: skip
    assert Tags(htf.group(small())._repr_html_()).texts[4:8] == [
        "0 to 3", "0", "f64[4,3,2]", "trained",
    ]  # fmt: skip
    assert Tags(ones()._repr_html_()).texts[4:] == [
        "0", "0", "f64[3,2]", "fixed",
        "1", "0", "f64[4,2]", "trained",
        "2", "1", "f64[2,2]", "fixed",
        "3", "2", "ones", "fixed",
    ]  # fmt: skip


def test_table_of_a_trajectory():
    assert Tags(trajectory()._repr_html_()).texts == [
        "Trajectory", "records", "array", "first", "last",
        "steps", "i32[3]", "0", "4",
        "losses", "f64[3]", "2", "0.007812",
        "grad_norms", "f64[3]", "2.828", "0.1768",
        "observed['x']", "f64[3,2]",
    ]  # fmt: skip


def test_table_of_node_values():
    assert Tags(norms()._repr_html_()).texts == [
        "NodeValues", "nodes", "number", "stack",
        "4 to 5", "2", "f64[2,2]",
        "6", "1", "f64[1,2]",
    ]  # fmt: skip


def test_long_tables_end():
    cells = Tags(many_runs()._repr_html_()).texts
    assert cells[-4:] == ["..."] * 4
    assert len(cells) < 80


EVIL = "<script>alert('&')</script>"


def test_hostile_names_are_text():
    values = htf.NodeValues(({EVIL: jnp.ones((1, 2))},), ((1,),), ((4,),))
    observed = dataclasses.replace(trajectory(), observed={EVIL: jnp.ones((3, 2))})
    broken: Any = htf.Factors(tree=htf.flat(2), weights=(EVIL, EVIL, EVIL))
    for value in (values, observed, broken):
        page = value._repr_html_()
        assert "<script" not in page
        assert any("<script>alert(" in text for text in Tags(page).texts)
