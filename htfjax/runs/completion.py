"""Lanes of completion, the usual run of an ensemble, and what they record."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import optax

from htfjax import _checks
from htfjax._types import Array, Key
from htfjax.contraction.end_tensor import end_tensor
from htfjax.factors.factors import Factors
from htfjax.instruments.local_components import local_component_norms, unbalancedness
from htfjax.instruments.ranks import matricize
from htfjax.motion.descent import start_descent
from htfjax.motion.group_rms import group_rmsprop
from htfjax.problems import Completion
from htfjax.runs.lanes import Lane

# A record contracts the dense end tensor; 2**20 numbers take some milliseconds.
LARGEST_TENSOR = 2**20


def completion_lane(setting: Completion, key: Key[Array, ""]) -> Lane:
    """Target, observations, start and optimizer of one run, from one key.

    Recorded quantities: train_mse, test_mse (unobserved entries only), relative_error,
    singular_value (modes, index), unbalancedness, local_component_norm (node, component).

    Args:
      setting: what to run; its float fields may be traced.
      key: typed key.

    Raises:
      ValueError: more observations than entries, a tensor too large to be recorded
        from, and what `gaussian_factors` and `completion_loss` refuse.

    Source: arXiv:2201.11729, tensor completion experiments.

    Example: see `make_lane`.
    """
    _checks.instance("setting", setting, Completion, "htfjax.problems.Completion makes one")
    _checks.key("key", key)
    tree, dims, dtype = setting.mode_tree, setting.dims, jnp.dtype(setting.dtype)
    size = math.prod(dims)
    if size > LARGEST_TENSOR:
        raise ValueError(
            f"`mode_dims={dims}` make a tensor of {size} entries; records are read off the "
            f"dense tensor, which may have up to {LARGEST_TENSOR}."
        )
    target, indices, loss, start = setting.make(*jax.random.split(key, 3))
    state = start_descent(start, OPTIMIZER)
    hyper = {
        name: jnp.asarray(getattr(setting, name), dtype)
        for name in ("learning_rate", "decay", "eps")
    }
    nodes = tuple(dict.fromkeys((tree.interior[0], tree.root)))
    return Lane(
        state=state._replace(opt_state=state.opt_state._replace(hyperparams=hyper)),
        loss=loss,
        observe=CompletionRecords(
            target=target,
            seen=jnp.zeros(dims, bool).at[tuple(indices.T)].set(True),
            modes=setting.track_modes,
            top=setting.top,
            nodes=nodes,
        ),
        key=None,
        optimizer=OPTIMIZER,
        dims=(
            ("singular_value", ("modes", "index")),
            ("local_component_norm", ("node", "component")),
        ),
        coords=(
            ("modes", tuple(_spell(modes) for modes in setting.track_modes)),
            ("node", tuple(_spell(tree.modes[k]) for k in nodes)),
        ),
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class CompletionRecords:
    """Quantities of the factors at every record; made by `completion_lane`."""

    target: jax.Array  # (D_0, ..., D_{N-1})
    seen: jax.Array  # the same shape, True where observed
    modes: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})
    top: int = dataclasses.field(metadata={"static": True})
    nodes: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    def __call__(self, factors: Factors) -> dict[str, jax.Array]:
        """The quantities of the factors."""
        tensor = end_tensor(factors)
        squares = jnp.square(tensor - self.target)
        inside = self.seen.astype(squares.dtype)
        count = jnp.sum(inside)
        rest = jnp.maximum(squares.size - count, 1)
        norms = local_component_norms(factors)
        width = max(norms[k].shape[0] for k in self.nodes)
        spectra = [
            jnp.linalg.svd(matricize(tensor, modes), compute_uv=False)
            for modes in self.modes
        ]
        return {
            "train_mse": jnp.sum(squares * inside) / count,
            "test_mse": jnp.sum(squares * (1 - inside)) / rest,
            "relative_error": jnp.sqrt(jnp.sum(squares))
            / jnp.linalg.norm(self.target.ravel()),
            "singular_value": jnp.stack([_pad(s, self.top) for s in spectra]),
            "unbalancedness": unbalancedness(factors),
            "local_component_norm": jnp.stack([_pad(norms[k], width) for k in self.nodes]),
        }


# GroupRMSprop with its numbers in the state: one object for all runs of all threads.
OPTIMIZER = optax.inject_hyperparams(group_rmsprop)(
    learning_rate=1e-2, decay=0.99, eps=1e-6
)


def _pad(values: jax.Array, length: int) -> jax.Array:
    """The first `length` values, NaN where there are fewer."""
    missing = max(0, length - values.shape[0])
    filler = jnp.full((missing,), jnp.nan, values.dtype)
    return jnp.concatenate([values[:length], filler])


def _spell(modes: tuple[int, ...]) -> str:
    return ",".join(map(str, modes))
