"""Labels of examples, against the number of logits that a network gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from htfjax._types import PyTree
from htfjax.locality.inputs import Examples
from htfjax.locality.logits import classes_of
from htfjax.locality.regularizer.regularizer import Apply, checked_apply
from htfjax.locality.tasks.examples import seen_labels


def check_labels(
    apply: Apply[PyTree],
    params: PyTree,
    statistics: PyTree,
    examples: Examples,
    *,
    single: bool = True,
) -> None:
    """Labels from 0 to K - 1, or 0 and 1 for one logit, as far as they can be seen.

    In a compiled program they cannot, and a wrong label gives a loss like any other or NaN.

    Args:
      single: False lets one logit per image pass with any labels.

    Raises:
      ValueError: a label out of range.
    """
    labels = seen_labels(examples)
    # Every network has 0 and 1; only other labels are worth tracing it.
    if np.all((labels == 0) | (labels == 1)):
        return
    logits = _logits.eval_shape(params, statistics, examples, apply=apply)
    classes = classes_of(logits)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size and (single or logits.ndim == 2):
        given = "one logit" if logits.ndim == 1 else f"{classes} logits"
        raise ValueError(
            f"`examples` has label {labels[wrong[0]]} at {wrong[0]}; labels run from 0 to "
            f"{classes - 1} for a network of {given} per image."
        )


# Jitted for its cache: the shape is asked for before every chunk of a training.
@functools.partial(jax.jit, static_argnames="apply")
def _logits(
    params: PyTree, statistics: PyTree, examples: Examples, *, apply: Apply[PyTree]
) -> jax.Array:
    x, _ = examples.batch(jnp.zeros(2, jnp.int32))
    return checked_apply(apply)(params, statistics, x, train=False, key=None)[0]
