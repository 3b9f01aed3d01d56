"""All laws: those of `htf.theory.laws`, and those of descent, flow and networks."""

from collections.abc import Mapping

import htfjax as htf

from . import motion, regularizer

LAWS: Mapping[str, htf.theory.laws.Law] = htf.theory.laws.register(
    (*htf.theory.laws.LAWS.values(), *motion.LAWS, *regularizer.LAWS)
)
