"""Seeds of the roles that chance plays in an experiment: one root, one child a role, none shared."""

from __future__ import annotations

import numpy as np

ROLES = ("search", "repeat", "rules")  # appended only, as a role's place is its spawn key


def child_seed(seed: int, role: str, index: int = 0) -> int:
    """Return a seed below 2**31 for a role under a root seed; ``index`` tells its members apart."""
    sequence = np.random.SeedSequence(seed, spawn_key=(ROLES.index(role), index))
    return int(sequence.generate_state(1, np.uint32)[0] >> 1)
