"""A fuzz over every public name: wrong calls are refused by name, equal ones are equal.

`kinds*.py` say what each parameter takes; here every value outside its kind is tried.
"""

import inspect
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import htfjax as htf
from tests.fuzz import doses, outcomes
from tests.fuzz.allowed import ALLOWED_RAW
from tests.fuzz.calls import Call, Form, Kind, Wrong, always
from tests.fuzz.kinds_files import NO_BASE
from tests.fuzz.names import CALLS, NOT_CALLED, PUBLIC, calls_of, public_name
from tests.fuzz.outcomes import Outcome, as_table

CALLED = [name for name in PUBLIC if name not in NOT_CALLED]
# They take no arguments that could be wrong.
WITHOUT_ARGUMENTS = {
    "runs.StopSignals",
    "runs.stop_requested",
    "runs.stop_signals",
    "runs.versions",
}
# Functions make these, and their methods are called.
MADE_BY_FUNCTIONS = {
    "NodeValues",
    "Observed",
    "losses.Entries",
    "losses.Measurement",
    "locality.Network",
    "locality.PathfinderExamples",
    "locality.SameClassExamples",
    "locality.TrainingLoss",
    "runs.StopSignals",
}
FEWEST_CALLS, QUICK_CALLS = 20, 200
ALLOWED_SHARE = 0.02


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the calls go where pytest removes them, those of wrong paths too."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def faults(found: list[Outcome]) -> list[Outcome]:
    """Outcomes that should not be."""
    good = {"named", "equal"}
    return [o for o in found if o.kind not in good and not _is_allowed(o)]


def _is_allowed(outcome: Outcome) -> bool:
    return outcome.kind == "raw" and outcome[:3] in ALLOWED_RAW


def resolve(name: str) -> Any:
    """A public object by its name."""
    found: Any = htf
    for part in name.split("."):
        found = getattr(found, part)
    return found


def test_every_public_name_is_called_or_has_a_reason() -> None:
    """Nothing new goes without kinds."""
    reached = {public_name(call) for call in CALLS}
    assert set(PUBLIC) - reached == set(NOT_CALLED)
    assert len(reached & set(PUBLIC)) >= 0.95 * len(PUBLIC)
    assert all(NOT_CALLED.values())


@pytest.mark.parametrize("name", CALLED)
def test_every_parameter_has_a_kind(name: str) -> None:
    """Parameters of the function itself, and of every call of it."""
    known = {p for call in calls_of(name).values() for p in call.kinds}
    parameters = inspect.signature(resolve(name)).parameters.values()
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    if name not in MADE_BY_FUNCTIONS:
        assert {p.name for p in parameters if p.kind not in variable} <= known
    for call in calls_of(name).values():
        assert set(call.arguments()) - set(call.kinds) <= {"self"}


def test_a_few_wrong_values_of_every_name_are_named() -> None:
    """The small dose."""
    trials = doses.quick_trials(QUICK_CALLS)
    assert len(trials) == QUICK_CALLS
    found = doses.try_all(trials)
    assert not faults(found), as_table(faults(found))


@pytest.mark.durable
@pytest.mark.parametrize("name", CALLED)
def test_every_wrong_value_is_named_and_every_equal_form_is_equal(name: str) -> None:
    """The large dose: each value of each parameter."""
    trials = doses.all_trials(name)
    assert len(trials) >= FEWEST_CALLS or name in WITHOUT_ARGUMENTS
    for call, made in calls_of(name).items():
        if call not in NO_BASE:
            made()
    found = doses.try_all(trials)
    assert not faults(found), f"{Counter(o.kind for o in found)}{as_table(faults(found))}"
    raw = {o[:3] for o in found if o.kind == "raw"}
    stale = {key for key in ALLOWED_RAW if public_name(key[0]) == name} - raw
    assert not stale, f"These raw errors are named by now: {sorted(stale)}."


def test_raw_errors_are_few() -> None:
    """At most 2 % of all wrong values, each with a reason."""
    tried = [t for name in CALLED for t in doses.all_trials(name) if t.role == "wrong"]
    assert len(ALLOWED_RAW) <= ALLOWED_SHARE * len(tried)
    known = {(t.call, t.parameter, t.value.label) for t in tried}
    assert set(ALLOWED_RAW) <= known
    assert all(ALLOWED_RAW.values())


TRACED = [
    "end_tensor",
    "entries",
    "sense",
    "squared_norm",
    "inner_product",
    "distance",
    "residuals",
    "penalize",
    "local_component_norms",
    "unbalancedness",
    "growth_rates",
    "singular_values",
    "numerical_rank",
    "effective_rank",
    "CompletionLoss.__call__",
    "SensingLoss.__call__",
    "ScaledLoss.__call__",
    "theory.conserved_quantities",
    "theory.rank_one_scale",
    "theory.rescale_component",
    "theory.to_factors",
    "locality.convolve",
    "locality.max_pool",
    "locality.fit_loss",
    "locality.count_correct",
    "locality.split_patches",
    "locality.join_patches",
    "locality.input_gradient_change",
]


@pytest.mark.parametrize("name", TRACED)
def test_wrong_shapes_and_dtypes_are_named_under_jit(name: str) -> None:
    """Traced arrays have no values, but their shapes and dtypes are known."""
    found = doses.try_traced(name)
    assert found, f"nothing of {name} can be traced"
    assert not faults(found), as_table(faults(found))


# The fuzz itself


def of_one(function: Callable[..., Any]) -> Call:
    return Call(function, lambda: {"x": 1.0}, {"x": Kind("number", (WRONG,), (FORM,))})


WRONG = Wrong("word", always("nonsense"))
FORM = Form("array", jnp.asarray)


def looks_up(x: Any) -> Any:
    return {1.0: 2.0}[x]


def sleeps(x: Any) -> Any:
    time.sleep(1.0)
    return x


def names_without_check(x: Any) -> Any:
    raise ValueError(f"`x={x}` is wrong, but this is not the package.")


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: x, "silent"),
        (looks_up, "raw"),
        (names_without_check, "raw"),
        (sleeps, "hang"),
        (lambda x: htf.caterpillar(order=x), "raw"),
        (lambda x: htf.theory.rank_one_limit(x, 3), "raw"),
    ],
)
def test_faults_are_seen(function: Callable[..., Any], kind: str) -> None:
    """An unchecked function, foreign errors, a function that hangs, another's name."""
    found = outcomes.ask_wrong("f", of_one(function), "x", WRONG, seconds=0.5)
    assert found.kind == kind
    assert faults([found]) == [found]
    assert "word" in as_table([found])


def test_a_named_error_of_the_package_is_seen() -> None:
    call = Call(htf.caterpillar, lambda: {"order": 3}, {})
    assert outcomes.ask_wrong("f", call, "order", WRONG).kind == "named"


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: x * jnp.ones(2), "equal"),
        (lambda x: type(x).__name__, "differs"),
        (lambda x: 2 if isinstance(x, jax.Array) else 1, "differs"),
        (lambda x: {1.0: 2.0}[x], "differs"),
        (sleeps, "hang"),
    ],
)
def test_differences_are_seen(function: Callable[..., Any], kind: str) -> None:
    """Equal forms with another result, or none."""
    wanted = function(1.0)
    found = outcomes.ask_equal("f", of_one(function), "x", FORM, wanted, seconds=0.5)
    assert found.kind == kind


def test_equality_is_bit_for_bit() -> None:
    """Shapes, dtypes and the last digit count; 1e-6 where the dtype is another."""
    one = jnp.ones(2)
    assert outcomes.same({"a": one}, {"a": jnp.ones(2)}, exact=True) == ""
    assert outcomes.same(one, one + 1e-15, exact=True)
    assert outcomes.same(one.astype(jnp.float32), one, exact=True)
    assert outcomes.same(one[:1], one, exact=False)
    assert outcomes.same(one[None], one, exact=False)
    assert outcomes.same(one.astype(jnp.float32) + 1e-7, one, exact=False) == ""
    assert outcomes.same(one + 1e-5, one, exact=False)
    assert outcomes.same(jnp.nan * one, one, exact=False)
    assert outcomes.same(jax.random.key(0), jax.random.key(1), exact=True)
    assert outcomes.same(htf.flat(2), htf.flat(3), exact=True)
