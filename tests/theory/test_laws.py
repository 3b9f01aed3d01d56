"""The laws of the register on all trees of the tests, and that each of them can fail."""

import functools
import math

import pytest

import htfjax as htf
from htfjax.theory.laws import Between, Case, Near, error_of, register
from sims.laws import LAWS
from tests import helpers

# Laws are tried on the first of these that applies; on all other cases, and those that take
# seconds on any, by `make test-all`.
FAST = [("backwards", "trained"), ("chain2", "ones"), *helpers.FAST]
FAST += [("binary4", "trained"), ("caterpillar4", "trained")]
# Likewise: their derivatives take seconds to compile.
LONG = {"A5", "B3", "D3", "D5", "D7", "F5", "G1"}


@functools.cache
def case_of(name, root):
    return Case(helpers.random_factors(name, root=root), seed=3)


def laws_and_cases():
    for law in LAWS.values():
        cases = [case for case in helpers.CASES if law.applies(case_of(*case))]
        slow = law.slow or law.name in LONG
        fast = [case for case in dict.fromkeys(FAST) if case in cases and not slow][:1]
        assert fast or slow
        for case in cases:
            marks = () if case in fast else pytest.mark.slow
            yield pytest.param(law.name, *case, marks=marks)


def test_long_laws_are_registered():
    assert LONG <= LAWS.keys()


@pytest.mark.parametrize("broken", [False, True], ids=["holds", "broken"])
@pytest.mark.parametrize(("name", "tree", "root"), [*laws_and_cases()])
def test_a_law_holds_and_fails_when_broken(name, tree, root, broken):
    law, case = LAWS[name], case_of(tree, root)
    error = law.error(case, broken=broken)
    assert (error > law.tolerance) == broken, error


def test_the_register_is_in_order():
    assert len(LAWS) == 44
    assert [*LAWS][:3] == ["A1", "A2", "A3"]
    assert [*LAWS][8:12] == ["A9", "A10", "A11", "A12"]
    assert htf.theory.laws.LAWS.items() <= LAWS.items()
    with pytest.raises(ValueError, match="two laws of one name"):
        register([LAWS["A1"], LAWS["A1"]])


def test_errors_of_sides():
    nan = float("nan")
    assert error_of([1.0, 2.0], [1.0, 2.0]) == 0
    assert error_of({0: 1.1}, {0: 1.0}) == pytest.approx(0.1)
    assert error_of(1e-9, Near(0.0, 10.0)) == pytest.approx(1e-10)
    assert error_of(Between(0, 2), 1) == error_of(1, Between(0, math.inf)) == 0
    assert error_of(3, Between(0, 2)) == pytest.approx(1 / 3)
    for left, right in ((nan, 1.0), (nan, Between(0, 1)), ([1], [1, 2]), ({0: 1}, {1: 1})):
        assert error_of(left, right) == math.inf


def test_other_factors_are_refused():
    factors = helpers.random_factors("flat3")
    with pytest.raises(TypeError, match="`factors` is GroupedFactors"):
        Case(htf.group(factors), seed=0)  # pyright: ignore[reportArgumentType]
    fixed = htf.Factors(tree=factors.tree, weights=factors.weights, fixed=(0,))
    for other in (fixed, helpers.random_factors("flat3", dtype="float32")):
        with pytest.raises(ValueError, match="`factors`"):
            Case(other, seed=0)
