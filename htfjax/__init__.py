"""Hierarchical tensor factorization in JAX.

A mode tree says which modes of a tensor are grouped, factors put one weight matrix on
each of its nodes, a contraction turns factors into tensor values, a loss compares values
with data, descent moves the factors, and instruments read local component norms and
ranks off them along the way.

    ModeTree -> Factors -> end_tensor, entries, sense -> loss -> descend -> Trajectory
                   |                |                                          |
                   |     matricize, singular_values, ranks                     |
                   |                                                           |
         local_component_norms, unbalancedness, growth_rates        rise_times, results

Public names, in that order, are all importable from here; `__init__.pyi` lists them with
their modules, which are imported at first use.
"""

from jaxlib.version import __version__ as _jaxlib_version

from htfjax._extras import attach as _attach

if _jaxlib_version == "0.10.2":
    raise ImportError(
        "jaxlib 0.10.2 computes wrong numbers on CPU: jit(vmap(...)) over matrices of "
        "width 3, 5, 6 or 7 and batches above 16,384 returns silently wrong entries "
        "(jax issue 39103). Install another version: pip install 'jax!=0.10.2' "
        "'jaxlib!=0.10.2'."
    )

__getattr__, __dir__, __all__ = _attach(__name__, __file__)
__version__ = "0.1.0"
