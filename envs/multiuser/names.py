"""What the features of an observation and the entries of a global state are called, and so how many there are."""

from __future__ import annotations

from envs.multiuser.params import MultiuserParams

_OWN = (
    "own/speed",
    "own/backlog",
    "own/work",
    "own/deadline",
    "own/size",
    "own/urgency",
    "edge/backlog",
    "edge/urgency",
    "others/backlog_mean",
    "others/backlog_max",
    "others/late_frac",
    "slot",
)
_TARGET = ("is_channel", "urgency")


def own_features(params: MultiuserParams, n_users: int) -> list[str]:
    """Return the names of an agent's own features; those of its targets follow them."""
    seen = params.observation
    if params.is_central:
        return vector_entries(n_users, seen.gains, seen.ranks)
    return [*_OWN, *["own/gain"] * seen.gains, *["own/rank"] * seen.ranks]


def target_features(params: MultiuserParams) -> tuple[str, ...]:
    """Return the names of a target's features; a central agent sees users, and the box has one target."""
    if params.is_central or params.decision.kind == "box":
        return ()
    return (*_TARGET, *["has_rank"] * params.observation.ranks)


def vector_entries(n_users: int, gains: bool, ranks: bool) -> list[str]:
    """Return the names of the released vector, (7 U + 3), and of what follows it."""
    released = ("speed", "backlog", "x", "y", "work", "deadline", "size")
    names = [f"user_{u}/{name}" for u in range(n_users) for name in released]
    names += ["edge/speed", "edge/backlog", "slot"]
    names += [f"user_{u}/gain" for u in range(n_users)] * gains
    return names + [f"user_{u}/rank" for u in range(n_users)] * ranks
