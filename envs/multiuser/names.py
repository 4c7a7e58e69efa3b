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
_TURN = ("edge/sent", "turn")  # what a user sees of those before it in the slot
_TARGET_TURN = ("decided", "power")


def own_features(params: MultiuserParams, n_users: int) -> list[str]:
    """Return the names of an agent's own features; those of its targets follow them."""
    seen = params.observation
    if params.is_central and not params.takes_turns:
        return vector_entries(n_users, seen.gains, seen.ranks)
    names = [*_OWN, *["own/gain"] * seen.gains, *["own/rank"] * seen.ranks]
    return [*names, *_TURN] if params.takes_turns else names


def target_features(params: MultiuserParams) -> tuple[str, ...]:
    """Return the names of a target's features; a central agent of all users sees them, and the box has one target."""
    if params.decision.kind == "box" or (params.is_central and not params.takes_turns):
        return ()
    names = (*_TARGET, *["has_rank"] * params.observation.ranks)
    return (*names, *_TARGET_TURN) if params.takes_turns else names


def state_entries(params: MultiuserParams, n_users: int) -> list[str]:
    """Return the names of a global state's entries; in turns it holds what was decided in the slot."""
    names = vector_entries(n_users, gains=True, ranks=False)
    if params.takes_turns:
        names += [f"user_{u}/{name}" for u in range(n_users) for name in ("has_decided", "decided")]
    return names


def vector_entries(n_users: int, gains: bool, ranks: bool) -> list[str]:
    """Return the names of the released vector, (7 U + 3), and of what follows it."""
    released = ("speed", "backlog", "x", "y", "work", "deadline", "size")
    names = [f"user_{u}/{name}" for u in range(n_users) for name in released]
    names += ["edge/speed", "edge/backlog", "slot"]
    names += [f"user_{u}/gain" for u in range(n_users)] * gains
    return names + [f"user_{u}/rank" for u in range(n_users)] * ranks
