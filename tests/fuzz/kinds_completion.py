"""The call of a completion, and the kinds of its parameters."""

import jax

import htfjax as htf
from tests.fuzz.calls import Call
from tests.fuzz.kinds import choice, number, whole
from tests.fuzz.kinds_data import ARRAY, KEY, SHARE, VALUES
from tests.fuzz.kinds_motion import PROGRESS
from tests.fuzz.kinds_objects import TREE, TREES

COMPLETION_CALLS = {
    "complete": Call(
        lambda **given: htf.complete(**given).predict([[0, 0, 0], [1, 2, 1]]),
        lambda: {
            "observed": VALUES, "tree": TREE, "ranks": 1, "method": "small_start",
            "holdout": 0.125, "noise": None, "key": jax.random.key(0), "progress": None,
        },
        {
            "observed": ARRAY, "tree": TREES, "ranks": whole(1),
            "method": choice("auto", "small_start", "als"), "holdout": SHARE,
            "noise": number(0, strict=True).or_none(), "key": KEY, "progress": PROGRESS,
        },
        slow=True,
    ),
}  # fmt: skip
