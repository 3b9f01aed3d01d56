"""Calls of instruments, and the kinds of their parameters."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses

import numpy as np

import htfjax as htf
from tests.fuzz.calls import Call, Kind, Wrong
from tests.fuzz.kinds import (
    DESCENDING,
    MODES,
    NODE_OR_MODES,
    SINGULAR,
    WHOLES_AS,
    choice,
    node,
    number,
    reals,
    tolerance,
)
from tests.fuzz.kinds_objects import (
    FACTORS,
    FLOAT64_FACTORS,
    FUNCTION,
    METHOD,
    PARAMS,
    SCALAR_LOSS,
    deep,
    factors,
    of_factors,
    of_tensor,
    of_values,
)

INSTRUMENT_CALLS = {
    "component_contributions": of_factors(htf.component_contributions),
    "growth_rates": Call(
        htf.growth_rates,
        lambda: {"params": factors(), "loss": of_tensor, "to_factors": None},
        {
            "params": PARAMS,
            "loss": SCALAR_LOSS,
            "to_factors": FUNCTION.or_none().but(
                wrong=(Wrong("no_factors", lambda _: lambda p: p.weights[0]),)
            ),
        },
    ),
    "local_component_norms": of_factors(htf.local_component_norms),
    "unbalancedness": Call(
        htf.unbalancedness,
        lambda: {"factors": deep(), "kind": "matrix"},
        {"factors": FACTORS, "kind": choice("components", "matrix")},
    ),
    "weight_vector_norms": of_factors(htf.weight_vector_norms),
    "weight_singular_values": of_factors(htf.weight_singular_values),
    "effective_rank": of_values(
        htf.effective_rank,
        s=([2.0, 1.0, 0.5], SINGULAR),
        floor=(0.125, number(0).or_none().but(without="array list")),
    ),
    "entanglement_entropy": of_values(
        htf.entanglement_entropy,
        s=([2.0, 1.0, 0.5], SINGULAR),
        floor=(0.125, tolerance().or_none()),
    ),
    "numerical_rank": of_values(
        htf.numerical_rank,
        s=([2.0, 1.0, 0.5], SINGULAR),
        rtol=(0.375, tolerance().or_none()),
    ),
    "rank_within": of_values(
        htf.rank_within, s=([2.0, 1.0, 0.5], DESCENDING), error=(0.75, tolerance())
    ),
    "hierarchical_rank": of_factors(
        htf.hierarchical_rank,
        rtol=(0.125, number(0).or_none()),
        method=("qr", METHOD),
    ),
    "matricize": of_values(
        htf.matricize,
        tensor=(
            np.arange(24.0).reshape(2, 3, 4),
            reals(finite=False, axes=3, free=True).but(without="complex"),
        ),
        row_modes=((0, 2), MODES),
    ),
    "nuclear_norm": of_factors(htf.nuclear_norm, node_or_modes=((0, 1), NODE_OR_MODES)),
    "singular_values": of_factors(
        htf.singular_values,
        node_or_modes=((0, 1), NODE_OR_MODES),
        method=("auto", METHOD),
    ),
    "spectrum": of_factors(
        htf.spectrum,
        node_or_modes=((0, 1), NODE_OR_MODES),
        accuracy=(0.125, number(0).or_none()),
        method=("auto", METHOD),
    ),
    "spectra": of_factors(
        htf.spectra, accuracy=(0.125, number(0).or_none()), method=("auto", METHOD)
    ),
    "rank_bound": of_factors(htf.rank_bound, modes=((0, 2), MODES)),
    "NodeValues.__getitem__": Call(
        htf.NodeValues.__getitem__,
        lambda: {"self": htf.local_component_norms(htf.group(factors())), "node": 3},
        {
            "node": Kind(
                "node",
                tuple(dataclasses.replace(w, kinds=(KeyError,)) for w in node().wrong),
                WHOLES_AS,
            )
        },
    ),
}

# Their accuracy is that of the dtype.
for _name in ("spectrum", "spectra"):
    INSTRUMENT_CALLS[_name] = dataclasses.replace(
        INSTRUMENT_CALLS[_name],
        kinds={**INSTRUMENT_CALLS[_name].kinds, "factors": FLOAT64_FACTORS},
    )
