"""Calls of the theory, and the kinds of their parameters."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf
from tests.fuzz.calls import Call, Form, Kind, always
from tests.fuzz.kinds import (
    MODES,
    NONE,
    STRANGE,
    WORD,
    list_of,
    node,
    number,
    reals,
    whole,
    wrongs,
)
from tests.fuzz.kinds_objects import (
    FACTORS,
    SCALAR_LOSS,
    TREES,
    factors,
    level_matrices,
    named,
    of_factors,
    of_tensor,
    of_values,
)

LEVELS = list_of(reals(finite=False, axes=2).but(without="longer"))
THEORY_FACTORS = {"factors": FACTORS}


def of_theory(function: Callable[..., Any], **more: tuple[Any, Kind]) -> Call:
    return of_factors(function, **more)


TIME = reals(free=True).but(
    without="none", wrong=(NONE, *wrongs(("negative", lambda v: -1 - np.array(v))))
)
ABOVE_ZERO = TIME.but(wrong=wrongs(("zero", lambda v: 0 * np.array(v))))
SIGNED = TIME.but(without="negative")
CURVE = np.array([0.125, 0.25])

THEORY_CALLS = {
    "theory.blow_up_time": of_values(
        htf.theory.blow_up_time,
        start=(CURVE, ABOVE_ZERO),
        force=(CURVE, SIGNED),
        length=(3, whole(1)),
    ),
    "theory.constant_force_norm": of_values(
        htf.theory.constant_force_norm,
        time=(CURVE, TIME),
        start=(CURVE, ABOVE_ZERO),
        force=(CURVE, SIGNED),
        length=(3, whole(1)),
    ),
    "theory.rank_one_blow_up_time": of_values(
        htf.theory.rank_one_blow_up_time,
        start=(CURVE, ABOVE_ZERO),
        norm=(CURVE, TIME),
        num_matrices=(3, whole(1)),
    ),
    "theory.rank_one_limit": of_values(
        htf.theory.rank_one_limit, norm=(CURVE, TIME), num_matrices=(3, whole(1))
    ),
    "theory.rank_one_scale": of_values(
        htf.theory.rank_one_scale,
        time=(CURVE, TIME),
        start=(CURVE, ABOVE_ZERO),
        norm=(CURVE, TIME),
        num_matrices=(3, whole(1)),
    ),
    "theory.conserved_quantities": of_theory(htf.theory.conserved_quantities),
    "theory.conserved_scale": of_theory(htf.theory.conserved_scale),
    "theory.drift": Call(
        htf.theory.drift,
        lambda: {
            "before": factors(),
            "after": jax.tree.map(lambda w: w / 2, factors()),
        },
        {"before": named("before"), "after": named("after")},
    ),
    "theory.component_forces": of_theory(
        htf.theory.component_forces, loss=(of_tensor, SCALAR_LOSS)
    ),
    "theory.direction_tensors": of_theory(htf.theory.direction_tensors, node=(3, node(3))),
    "theory.balanced_growth": of_theory(
        htf.theory.balanced_growth, loss=(of_tensor, SCALAR_LOSS)
    ),
    "theory.exact_growth": of_theory(
        htf.theory.exact_growth, loss=(of_tensor, SCALAR_LOSS)
    ),
    "theory.growth_bounds": of_theory(
        htf.theory.growth_bounds,
        loss=(of_tensor, SCALAR_LOSS),
        eps=(0.5, number(0).or_none()),
    ),
    "theory.nested_rank_bound": of_theory(
        htf.theory.nested_rank_bound, modes=((0, 2), MODES)
    ),
    "theory.node_rank_bounds": of_theory(
        htf.theory.node_rank_bounds, rtol=(0.125, number(0).or_none())
    ),
    "theory.degree": of_theory(htf.theory.degree),
    "theory.normalize": of_theory(htf.theory.normalize, norm=(2.0, number(0))),
    "theory.rescale_component": of_theory(
        htf.theory.rescale_component,
        node=(3, node(3)),
        component=(1, whole(0).but(wrong=wrongs(("high", always(9))))),
        scales=(
            (4.0, 0.5, 0.5),
            Kind(
                "numbers",
                (
                    *STRANGE,
                    WORD,
                    *wrongs(
                        ("one", always(1.0)),
                        ("few", always((1.0,))),
                        ("complex", always((1j, -1j, 1))),
                        ("nan", always((float("nan"), 1.0, 1.0))),
                        ("product", always((2.0, 1.0, 1.0))),
                        ("words", always(("1", "1", "1"))),
                        ("masked", lambda v: np.ma.array(v, mask=True)),
                        ("two_axes", lambda v: np.array([v])),
                    ),
                ),
                (
                    Form("list", list),
                    Form("numpy", np.array),
                    Form("jax", jnp.asarray),
                    Form("float32", lambda v: np.array(v, np.float32)),
                ),
            ),
        ),
    ),
    "theory.to_factors": Call(
        htf.theory.to_factors,
        lambda: {"tree": htf.perfect(4), "matrices": level_matrices()},
        {"tree": TREES, "matrices": LEVELS},
    ),
    "theory.shared_conserved_quantities": Call(
        htf.theory.shared_conserved_quantities,
        lambda: {"tree": htf.perfect(4), "matrices": level_matrices()},
        {"tree": TREES, "matrices": LEVELS},
    ),
    "theory.truncate": of_theory(
        htf.theory.truncate, ranks=(1, whole(0).but(without="dict"))
    ),
    "theory.truncation_bounds": of_theory(
        htf.theory.truncation_bounds, ranks=(1, whole(0).but(without="dict"))
    ),
}
