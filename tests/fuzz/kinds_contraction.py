"""Calls of entries, sensing and plans, and the kinds of their parameters."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses

import numpy as np

import htfjax as htf
from tests.fuzz.calls import Call, Kind, Wrong, always
from tests.fuzz.kinds import (
    FLAG,
    INDICES,
    OBJECT,
    STRANGE,
    WORD,
    choice,
    list_of,
    node,
    number,
    positive_wholes,
    reals,
    whole,
    wrongs,
)
from tests.fuzz.kinds_objects import (
    DIM_LIST,
    DIMS,
    FACTORS,
    PLAN,
    PLATFORM,
    POINTS,
    PRECISION,
    RATES,
    TREE,
    TREES,
    WIDTHS,
    factors,
    not_ours,
    of_factors,
    of_pair,
    of_values,
    plan,
)

# Plans are made by `contraction_plan`, which checks sizes one by one.
PLAN_SIZES = Kind("sizes", (*STRANGE, WORD, Wrong("many", lambda v: (*v, *v))))

CONTRACTION_CALLS = {
    "Rates": Call(
        htf.Rates,
        lambda: {
            "flops": 1e11,
            "stream_bytes": 1e10,
            "gather_bytes": 2e9,
            "step_seconds": 0.5,
            "row_seconds": 0.25,
        },
        {name: dataclasses.replace(number(0, strict=True), equal=())
         for name in ("flops", "stream_bytes", "gather_bytes")}
        | {name: dataclasses.replace(number(0), equal=())
           for name in ("step_seconds", "row_seconds")},
        lambda rates: rates.flops,
    ),
    "contraction_plan": of_values(
        htf.contraction_plan,
        tree=(TREE, TREES),
        mode_dims=(DIMS, DIM_LIST),
        widths=(WIDTHS, positive_wholes("widths", one=False)),
        batch=(4, whole(0)),
        distinct=(
            (2, 3, 2, 3, 4),
            positive_wholes("counts", one=False).or_none().but(without="zero"),
        ),
        masked=(False, FLAG),
        rates=(RATES, Kind("rates", not_ours("rates")).or_none()),
        platform=("cpu", PLATFORM.or_none()),
        force=("rows", choice("rows", "table", "gather").or_none()),
    ),
    "platform_rates": of_values(htf.platform_rates, platform=("cpu", PLATFORM)),
    "end_tensor": of_factors(htf.end_tensor, precision=("highest", PRECISION)),
    "entries": of_factors(
        htf.entries,
        indices=(POINTS, INDICES),
        plan=(plan(), PLAN.or_none()),
        platform=("cpu", PLATFORM.or_none()),
        precision=("highest", PRECISION),
    ),
    "sense": Call(
        htf.sense,
        lambda: {
            "factors": factors(),
            "vectors": [np.full((4, d), 0.5) for d in DIMS],
            "precision": "highest",
        },
        {
            "factors": FACTORS,
            "vectors": list_of(reals(finite=False, axes=2)),
            "precision": PRECISION,
        },
    ),
    "distance": of_pair(
        htf.distance, method=("qr", choice("qr", "gram")), precision=("highest", PRECISION)
    ),
    "inner_product": of_pair(htf.inner_product, precision=("highest", PRECISION)),
    "squared_norm": of_factors(htf.squared_norm, precision=("highest", PRECISION)),
    "Plan": Call(
        htf.Plan,
        lambda: dict(vars(plan())),
        {
            "tree": TREES,
            "mode_dims": PLAN_SIZES,
            "widths": PLAN_SIZES,
            "batch": whole(0),
            "routes": Kind("routes", (*STRANGE, WORD, Wrong("words", always(("x",) * 4)))),
            "root": choice("gather"),
            "costs": Kind("costs", (*STRANGE, WORD, Wrong("numbers", always((1,) * 5)))),
            "distinct": Kind("counts", (OBJECT, WORD, Wrong("few", always((1,))))),
        },
        lambda held: held.seconds,
    ),
    "Plan.width": Call(
        htf.Plan.width, lambda: {"self": plan(), "node": 3}, {"node": node()}
    ),
    "Plan.count": Call(
        htf.Plan.count,
        lambda: {"self": plan(), "node": 3, "route": "table"},
        {"node": node(), "route": choice("table", "rows")},
    ),
    "Plan.explain": Call(
        htf.Plan.explain,
        lambda: {"self": plan(), "measured": plan().costs},
        {
            "measured": Kind(
                "costs",
                (
                    *STRANGE,
                    WORD,
                    *wrongs(
                        ("few", lambda c: c[1:]),
                        ("numbers", always((1,) * 5)),
                        ("nan", lambda c: (*c[:-1], (("gather", float("nan")),))),
                    ),
                ),
            ).or_none()
        },
    ),
}  # fmt: skip
