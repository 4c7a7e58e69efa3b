"""What the features of an observation and the entries of a global state are called, and so how many there are."""

from __future__ import annotations

from envs.mec.params import MecParams

TARGET_FEATURES = (
    "is_server",
    "share",
    "speed",
    "backlog",
    "backlog_age",
    "transfer",
    "startup",
    "service",
    "offload",
    "was_last",
)
_OWN = ("work", "deadline", "local_service", "local_backlog", "energy_left")
_DEVICE = ("work", "mean_work", "deadline", "local_backlog", "energy_left", "mean_cost")
_PLACE = ("x", "y", "east", "north", "west", "south")
_CHANNEL = ("fading", "shadowing", "transfer")


def own_features(params: MecParams, n_agents: int, n_servers: int) -> list[str]:
    """Return the names of an agent's own features; those of its targets follow them."""
    seen, progress = params.observation, _progress(params)
    if seen.layout == "released":
        servers, profiles = range(n_servers), range(n_agents)
        return [
            *(f"speed_of_server_{e}" for e in servers),
            "own_speed",
            "own_work",
            "own_deadline",
            *(f"work_of_profile_{p}" for p in profiles),
            *(f"holds_profile_{p}" for p in profiles),
            *(f"transfer_to_server_{e}" for e in servers),
            *(f"backlog_of_server_{e}" for e in servers),
            "last_server",
            *progress,
        ]
    names = [f"own/{name}" for name in _OWN] + progress
    if seen.scope != "local":
        names += [f"profile_{p}/work" for p in range(n_agents)]
        names += [f"own/holds_profile_{p}" for p in range(n_agents)]
    if seen.scope == "full":
        names += [f"state/{name}" for name in state_entries(params, n_agents, n_servers)]
    if params.decision.kind == "box":
        names += [f"server_{e}/{name}" for e in range(n_servers) for name in TARGET_FEATURES]
    return names


def target_features(params: MecParams) -> tuple[str, ...]:
    """Return the names of a target's features; the box has one target and the released layout knows none."""
    has_some = params.decision.kind != "box" and params.observation.layout == "targets"
    return TARGET_FEATURES if has_some else ()


def state_entries(params: MecParams, n_agents: int, n_servers: int) -> list[str]:
    """Return the names of the global state."""
    names = ["slot_frac", "mean_cost", *(f"server_{e}/backlog" for e in range(n_servers))]
    for n in range(n_agents):
        names += [f"device_{n}/{name}" for name in _DEVICE]
        names += [f"device_{n}/started_{e}" for e in range(n_servers)]
        if params.transfer == "radio":
            names += [f"device_{n}/{name}" for name in _PLACE]
            names += [f"device_{n}/{name}_{e}" for e in range(n_servers) for name in _CHANNEL]
    return names


def _progress(params: MecParams) -> list[str]:
    seen = params.observation
    return ["slot_frac"] * seen.slot_index + ["mean_cost"] * seen.running_cost
