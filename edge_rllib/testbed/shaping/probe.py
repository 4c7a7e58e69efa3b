"""Finds out what a machine allows: the highest tier, and for each that it has not, why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_rllib.testbed.errors import SetupError
from edge_rllib.testbed.shaping import cgroups, namespaces

AUTO = "auto"
MEANINGS = (
    "user space: relay with token bucket and delay, throttle by CPU time",
    "as 0, and CPU quotas of control groups",
    "as 1, and network namespaces with the kernel's token bucket",
)


@dataclass(frozen=True)
class TierState:
    """Whether this machine has a tier."""

    tier: int
    is_there: bool
    reason: str  # why not; empty where it is there

    def line(self) -> str:
        """Return one line for people."""
        return f"tier {self.tier}: {'yes' if self.is_there else 'no '}  {MEANINGS[self.tier]}" + (
            f" ({self.reason})" if self.reason else ""
        )


def probe() -> list[TierState]:
    """Return the state of each tier, found by trying; nothing of the trial is left."""
    states = [TierState(0, True, "")]
    for tier, attempt in ((1, _try_groups), (2, namespaces.check)):
        states.append(TierState(tier, *_outcome(states[-1], attempt)))
    return states


def choose(asked: str, states: Sequence[TierState]) -> tuple[int, str]:
    """Return the tier to use, and a line for people where it is not the one asked for."""
    best = max(state.tier for state in states if state.is_there)
    if asked == AUTO:
        return best, ""
    if asked not in ("0", "1", "2"):
        raise SetupError(f"--tier {asked}: expected auto, 0, 1 or 2")
    state = states[int(asked)]
    if state.is_there:
        return state.tier, ""
    return best, f"tier {asked} is not there: {state.reason}; tier {best} will be used"


def _try_groups() -> None:
    groups = cgroups.open_groups()
    try:
        groups.add("try", 0.5)
    finally:
        groups.close()


def _outcome(below: TierState, attempt: Callable[[], None]) -> tuple[bool, str]:
    try:
        attempt()
    except (SetupError, OSError) as error:
        return False, str(error)
    return (True, "") if below.is_there else (False, f"it needs tier {below.tier}")
