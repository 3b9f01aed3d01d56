"""Placement of a block's lanes on devices, dealt anew as lanes stop."""

from typing import Any

import jax
import numpy as np

from htfjax.runs import batch
from htfjax.runs.lanes import Lane
from htfjax.runs.memory import named_exhaustion
from htfjax.runs.programs import Program
from htfjax.runs.session import Session


class Placement:
    """States and data of all lanes in their slots: on the host until the first chunk.

    Attributes:
      count, slots, width: lanes, slots for them, lanes vectorized together.
      order: (slots,) the lane that each slot holds.
    """

    def __init__(
        self, session: Session, program: Program, states: list[np.ndarray], rest: Lane,
        *, width: int,
    ) -> None:  # fmt: skip
        self.session: Session = session
        self.names: tuple[str, ...] = tuple(program.quantities)
        self.count: int = len(states[0])
        self.width: int = width
        self.slots: int = batch.padded_count(self.count, width, session.mesh)
        self.order: np.ndarray = np.arange(self.slots)
        treedef = jax.tree.structure(program.shapes.state)
        padded = [_pad(x, self.slots) for x in states]
        self.states: Any = jax.tree.unflatten(treedef, padded)
        self.data: Any = batch.share_observations(rest, session.mesh)
        self.mask: Any = None  # None while all is on the host
        self.going: np.ndarray = np.ones(self.count, bool)

    def place(self, going: np.ndarray) -> None:
        """Lanes that go on, dealt evenly over the mesh where that shortens their work.

        Args:
          going: (count,) bool.
        """
        self.going = going
        with named_exhaustion(self.session.mesh, self.count):
            self._place(going)

    def _place(self, going: np.ndarray) -> None:
        mesh, active = self.session.mesh, np.zeros(self.slots, bool)
        active[: self.count] = going
        wanted = batch.deal(active, self.width, mesh)
        if self.mask is None:
            self.states, self.data = batch.put((self.states, self.data), wanted, mesh)
            self.order = wanted
        elif self._longest(active, wanted) < self._longest(active, self.order):
            move = np.argsort(self.order)[wanted]
            here = (self.states, self.data)
            self.states, self.data = batch.rearrange(here, move, mesh=mesh)
            self.order = wanted
        self.mask = batch.put(active, self.order, mesh)

    def advance(self, num_steps: int) -> dict[str, np.ndarray]:
        """A chunk of the lanes that go on: (count, records, ...) arrays by name."""
        session = self.session
        with named_exhaustion(session.mesh, self.count):
            self.states, records = batch.advance(
                self.states, self.data, self.mask, mesh=session.mesh, width=self.width,
                names=self.names, num_steps=num_steps, record_every=session.record_every,
            )  # fmt: skip
            own = jax.tree.map(self._own, batch.fetch(records))
        return jax.tree.map(self._floats, own)

    def to_host(self) -> list[np.ndarray]:
        """Leaves of the states, lanes in their own order."""
        return [self._own(x) for x in jax.tree.leaves(batch.fetch(self.states))]

    def slow_steps(self) -> list[int] | None:
        """Steps in the eps phase, which GroupRMSprop counts itself."""
        counting = jax.tree.leaves(self.states, is_leaf=lambda x: hasattr(x, "slow_steps"))
        found = [x.slow_steps for x in counting if hasattr(x, "slow_steps")]
        return self._own(batch.fetch(found[0])).tolist() if found else None

    def _floats(self, x: np.ndarray) -> np.ndarray:
        """Integers and booleans as float64, which holds them, NaN for lanes that rest."""
        if x.dtype.kind not in "biu":
            return x
        rest = ~self.going.reshape(-1, *[1] * (x.ndim - 1))
        return np.where(rest, np.nan, x.astype(np.float64))

    def _own(self, x: np.ndarray) -> np.ndarray:
        return x[np.argsort(self.order)[: self.count]]

    def _longest(self, active: np.ndarray, order: np.ndarray) -> int:
        """Work of the place that has most of it."""
        places = batch.places(self.session.mesh)
        groups = active[order].reshape(places, -1, self.width).any(axis=2)
        return int(groups.sum(axis=1).max())


def _pad(x: np.ndarray, slots: int) -> np.ndarray:
    return np.concatenate([x, np.repeat(x[:1], slots - len(x), axis=0)])
