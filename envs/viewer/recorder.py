"""Play a world and record it; the recorder that fits a world is found here."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from envs.arrays import I8
from envs.errors import ConfigError
from envs.viewer.base import Recorder
from envs.viewer.event_recorder import EventRecorder
from envs.viewer.recording import Recording
from envs.viewer.slot_recorder import SlotRecorder
from envs.world import World

Watch = Callable[[Iterable[int]], Iterable[int]]
# What the state of a world must have to be recorded.
_KINDS: tuple[tuple[type[Recorder], tuple[str, ...]], ...] = (
    (EventRecorder, ("world", "task", "event", "node", "agent", "channel", "path_link", "sums", "log")),
    (SlotRecorder, ("world", "task", "entry", "node", "agent", "machine", "path", "sums")),
)


def can_be_watched(world: World) -> bool:
    """Return whether a world has nodes, links and tasks to look at."""
    return _kind(world) is not None


def new_recorder(world: World, b: int = 0, policy: str = "", keep_steps: int | None = None) -> Recorder:
    """Return a recorder of world ``b`` that begins before the first step; ConfigError for a world without nodes."""
    kind = _kind(world)
    if kind is None:
        raise ConfigError(
            f"{world.spec.scenario}: a {type(world).__name__} has no nodes, links and tasks that could be drawn; "
            "expected a world such as 'fog'"
        )
    return kind(world, b, policy, keep_steps)


def _kind(world: World) -> type[Recorder] | None:
    state = getattr(world, "state", None)
    if not hasattr(world, "topology"):
        return None
    return next((kind for kind, needed in _KINDS if all(hasattr(state, name) for name in needed)), None)


def record(
    world: World, play_step: Callable[[], I8], n_steps: int, b: int = 0, policy: str = "", watch: Watch = iter
) -> Recording:
    """Return what happens in world ``b`` in up to ``n_steps`` steps of an episode that is at its beginning.

    ``play_step`` advances the world by one step and returns the decisions (B, N) or (B, N, D). The world should be of
    a ``watchable`` scenario. ``watch`` may wrap the steps to show progress. The last step of an episode cannot be
    seen: the world is at the beginning of the next one when it is over.
    """
    recorder = new_recorder(world, b, policy)
    for _ in watch(range(n_steps)):
        if not recorder.see(play_step()):
            break
    return recorder.recording()
