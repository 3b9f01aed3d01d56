"""Factors to values: the end tensor, entries, rank-one sensing, and the plan for them."""

from htfjax.contraction.end_tensor import end_tensor as end_tensor
from htfjax.contraction.entries import entries as entries
from htfjax.contraction.plan import Plan as Plan
from htfjax.contraction.plan import contraction_plan as contraction_plan
from htfjax.contraction.rates import Rates as Rates
from htfjax.contraction.rates import platform_rates as platform_rates
from htfjax.contraction.sensing import sense as sense
