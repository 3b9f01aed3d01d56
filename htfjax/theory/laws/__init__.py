"""Register of the laws of the theory, which tests and `sims.verify` check.

    name     what                                                       module
    A1-A12   algebra of the end tensor                                  algebra
    B1-B3    special cases: CP, matrix factorization, rank one          algebra
    C, D     the tensor as a function; ranks of matricizations          ranks
    E, F     gradients, and rates of the flow                           gradients
    G2       rank of input gradients                                    ranks

Laws of descent, flow and networks (F2, F4, F7, F8, F10, F13, G1) need later parts of the
library and are added by the command `sims.verify`.

Example:
  >>> import htfjax as htf, jax
  >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 2, 3, 1.0)
  >>> law = htf.theory.laws.LAWS["A5"]
  >>> law.formula
  'W = sum_r sigma_r C_r at every interior node'
  >>> case = htf.theory.laws.Case(factors, seed=0)
  >>> law.error(case) <= law.tolerance, law.error(case, broken=True) <= law.tolerance
  (True, False)
"""

from collections.abc import Iterable, Mapping

from htfjax.theory.laws import algebra, gradients, ranks
from htfjax.theory.laws.law import (
    Between,
    Case,
    Law,
    Near,
    error_of,
    law,
    wave,
    wave_slope,
)

__all__ = [
    "LAWS",
    "Between",
    "Case",
    "Law",
    "Near",
    "error_of",
    "law",
    "register",
    "wave",
    "wave_slope",
]


def register(laws: Iterable[Law]) -> dict[str, Law]:
    """Laws by name, in the order of letters and numbers.

    Raises:
      ValueError: two laws of one name.

    Example:
      >>> import htfjax as htf
      >>> laws = htf.theory.laws
      >>> list(laws.register([laws.LAWS["B1"], laws.LAWS["A10"], laws.LAWS["A9"]]))
      ['A9', 'A10', 'B1']
    """
    laws = list(laws)
    found = {x.name: x for x in sorted(laws, key=lambda x: (x.name[0], int(x.name[1:])))}
    if len(found) < len(laws):
        raise ValueError("`laws` holds two laws of one name; give each its own.")
    return found


LAWS: Mapping[str, Law] = register((*algebra.LAWS, *ranks.LAWS, *gradients.LAWS))
