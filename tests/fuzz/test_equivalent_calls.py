"""Equal values in every form that users have them in: one answer, bit for bit.

The forms are those of `tests.fuzz.kinds`: lists, tuples, NumPy, jax and pandas, strided,
read-only, Fortran and foreign byte order; other dtypes to 1e-6. Here are the arguments
that carry data; the fuzz goes through all.
"""

# Forms that type checkers do not expect are the point here.
# pyright: reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import htfjax as htf
from tests.fuzz.names import CORE_CALLS
from tests.fuzz.outcomes import same

DATA = [
    ("completion_loss", "targets"),
    ("completion_loss", "indices"),
    ("completion_loss", "mode_dims"),
    ("completion_loss", "threshold"),
    ("observed", "data"),
    ("observed", "holdout"),
    ("observed", "modes"),
    ("Observed.decode", "values"),
    ("Observed.in_units", "values"),
    ("Observed.labels", "indices"),
    ("sensing_loss", "vectors"),
    ("matrix_sensing_loss", "matrices"),
    ("entries", "indices"),
    ("sense", "vectors"),
    ("gaussian_factors", "mode_dims"),
    ("gaussian_factors", "widths"),
    ("gaussian_factors", "std"),
    ("random_indices", "mode_dims"),
    ("random_indices", "count"),
    ("random_vectors", "mode_dims"),
    ("unobserved_indices", "indices"),
    ("unobserved_indices", "mode_dims"),
    ("contraction_plan", "widths"),
    ("contraction_plan", "distinct"),
    ("effective_rank", "s"),
    ("rank_within", "error"),
    ("matricize", "tensor"),
    ("matricize", "row_modes"),
    ("rank_bound", "modes"),
    ("penalize", "x"),
    ("rise_times", "values"),
    ("find_stop", "losses"),
    ("find_stop", "patience"),
    ("group_rmsprop", "learning_rate"),
    ("theory.rank_one_scale", "time"),
    ("theory.rescale_component", "scales"),
    ("theory.to_factors", "matrices"),
    ("ModeTree", "children"),
    ("ModeTree.from_nested", "nested"),
    ("pooled", "window"),
]


@pytest.mark.parametrize(("name", "parameter"), DATA)
def test_forms(name, parameter):
    call = CORE_CALLS[name]
    value, canonical = call.arguments()[parameter], call()
    forms = call.kinds[parameter].equal
    assert len(forms) > 1
    for form in forms:
        found = call(**{parameter: form.make(value)})
        wrong = same(found, canonical, form.exact)
        assert not wrong, f"{form.label}: {wrong}"


KEY = jax.random.key(0)


def assert_same(one, other):
    assert same(one, other, exact=True) == ""


def test_dimensions_as_an_array():
    found = htf.random_indices(KEY, np.array([3, 4]), 3)
    assert_same(found, htf.random_indices(KEY, (3, 4), 3))


def test_one_dimension_stands_for_all():
    assert_same(htf.random_indices(KEY, 3, 5, order=2), htf.random_indices(KEY, (3, 3), 5))
    assert_same(htf.random_vectors(KEY, 3, 5, order=2), htf.random_vectors(KEY, (3, 3), 5))
    assert_same(htf.random_matrices(KEY, 3, 5), htf.random_matrices(KEY, (3, 3), 5))
    found = htf.unobserved_indices([[0, 0], [1, 1]], 2)
    assert found.tolist() == [[0, 1], [1, 0]]


def test_order_beside_dimensions_may_say_the_same():
    assert_same(
        htf.random_indices(KEY, (3, 4), 5, order=2), htf.random_indices(KEY, (3, 4), 5)
    )


def test_nothing_observed():
    assert len(htf.unobserved_indices([], (2, 3))) == 6
    assert len(htf.unobserved_indices(np.zeros((0, 2), int), 2)) == 4


def test_ints_and_bools_are_real_numbers():
    for targets in ([1, 0], np.array([1, 0], np.uint8), np.array([True, False])):
        loss = htf.completion_loss(htf.flat(2), 2, [[0, 0], [1, 1]], targets)
        assert loss.targets.dtype == np.float64
        assert loss.targets.tolist() == [1.0, 0.0]


def test_a_table_of_pandas():
    table = pd.DataFrame({"row": [0, 1], "column": [1, 1], "value": [0.5, 2.0]})
    loss = htf.completion_loss(htf.flat(2), 2, table[["row", "column"]], table["value"])
    plain = htf.completion_loss(htf.flat(2), 2, [[0, 1], [1, 1]], [0.5, 2.0])
    assert_same(loss, plain)


def test_numpy_factors_are_factors():
    held = htf.gaussian_factors(KEY, htf.flat(2), (2, 3), 2, 1.0)
    for function in (htf.end_tensor, htf.squared_norm, htf.local_component_norms):
        assert_same(function(held), function(jax.tree.map(np.asarray, held)))


def test_a_python_number_is_a_parameter():
    def loss(x):
        return x * x

    found, _ = htf.descend(1.0, loss, htf.group_rmsprop(0.1), num_steps=4, record_every=2)
    same, _ = htf.descend(
        jnp.asarray(1.0), loss, htf.group_rmsprop(0.1), num_steps=4, record_every=2
    )
    assert_same(found, same)


def test_a_plan_for_a_masked_loss_reads_entries_too():
    held = htf.gaussian_factors(KEY, htf.flat(2), 3, 2, 1.0)
    indices = np.argwhere(np.ones((3, 3)))
    plan = htf.contraction_plan(
        htf.flat(2), 3, 2, 9, masked=True, force="masked", rates=htf.Rates(1, 1, 1, 0)
    )
    found = htf.entries(held, indices, plan=plan)
    np.testing.assert_allclose(found, htf.end_tensor(held).ravel(), rtol=1e-12)
