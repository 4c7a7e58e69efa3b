"""Episodes in the middle: what somebody else needs in order to go on with them, as bytes that are equal if they are."""

from __future__ import annotations

import io
import pickle
from typing import Any, NamedTuple

from edge_rllib.runners.row_policy import Columns, Ending


class Paused(NamedTuple):
    """Episodes side by side, before a step."""

    step: int
    columns: Columns  # (step, B, N, ...); what is seen and allowed has an entry more, for the step to come
    ending: Ending  # what is known of episodes so far
    world: dict[str, Any]  # snapshot

    def packed(self) -> bytes:
        """Return the bytes of the state.

        Without the memory of what it has written, pickle makes equal bytes of equal values; with it, they depend on
        which of them were one object.
        """
        stream = io.BytesIO()
        pickler = pickle.Pickler(stream, pickle.DEFAULT_PROTOCOL)
        pickler.fast = True
        pickler.dump((self.step, tuple(self.columns), tuple(self.ending), self.world))
        return stream.getvalue()

    @classmethod
    def unpacked(cls, state: bytes) -> Paused:
        """Return the state of such bytes."""
        step, columns, ending, world = pickle.loads(state)
        return cls(step, Columns(*columns), Ending(*ending), world)
