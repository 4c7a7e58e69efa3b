"""Names of what is logged: RLlib's nested results become flat tags, grouped by subject and with their units."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

_RUNNERS = {  # env_runners/<key> -> tag
    "episode_return_mean": "return/mean",
    "episode_return_min": "return/min",
    "episode_return_max": "return/max",
    "episode_len_mean": "return/episode_steps_mean",
    "agent_steps_per_s": "speed/agent_steps_per_s_of_a_runner",
    "world_time_share": "time_share/worlds_of_sampling",
    "weights_seq_no": "learning/weights_number",
}
_TIMERS = {  # timers/<key> -> tag of its share of the iteration
    "env_runner_sampling_timer": "time_share/sampling",
    "learner_update_timer": "time_share/learning",
    "synch_weights": "time_share/sending_weights",
}
_LEARNING = {  # learners/<module>/<key> -> tag below learning/<module>/
    "total_loss": "loss_total",
    "policy_loss": "loss_policy",
    "vf_loss": "loss_value",
    "entropy": "entropy_nats",
    "mean_kl_loss": "kl_of_loss_nats",
    "approximate_kl": "kl_nats",
    "vf_loss_unclipped": "loss_value_unclipped",
    "vf_explained_var": "explained_variance_frac",
    "default_optimizer_learning_rate": "learning_rate",
    "gradients_default_optimizer_global_norm": "gradient_norm",
}
_FAULTS = ("num_healthy_workers", "num_remote_worker_restarts", "num_env_runners_dropped_lifetime")
_HIDDEN = ("num_", "module_train_batch_size", "weights_seq_no", "curr_")  # counters that other tags tell
_TIERS = ("device", "edge", "cloud")
_GROUPS = (  # prefix of a world's figure -> group; what follows the prefix is the name in it
    ("response_time_s_", "response_time_s/"),
    ("drop_", "drops/"),
    ("run_on_", "served_by/"),
    ("busy_", "busy_cores/"),
    ("occupancy_", "occupancy/"),
)
_WORLD = {
    **{f"{part}_s_mean": f"response_parts_s/{part}_mean" for part in ("upload", "wait", "service", "return")},
    **{f"to_{tier}_frac": f"decisions/to_{tier}_frac" for tier in _TIERS},
    "drop_frac": "drops/all_frac",
    "in_time_frac": "tasks/in_time_frac",
    "late_frac": "tasks/late_frac",
    "lateness_s_mean": "tasks/lateness_s_mean",
    "tasks_per_s": "tasks/created_per_s",
    "in_flight_tasks": "tasks/in_flight_at_horizon",
    "offload_frac": "decisions/offload_frac",
    "refused_frac": "decisions/refused_frac",
    "hops_mean": "decisions/hops_mean",
    "full_frac": "occupancy/full_frac",
    "update_s_mean": "model_updates/s_mean",
    "energy_j_per_task": "energy/j_per_task",
    "compute_w_mean": "energy/compute_w_mean",
    "transmit_w_mean": "energy/transmit_w_mean",
    "idle_w_mean": "energy/idle_w_mean",
}


def world_tag(name: str) -> str:
    """Return the tag of a world's figure; figures of unknown worlds stand under ``world/``."""
    if name == "return":
        return name
    if name in _WORLD:
        return _WORLD[name]
    for prefix, group in _GROUPS:
        if name.startswith(prefix):
            return group + name.removeprefix(prefix)
    return f"world/{name}"


def _federated_tag(name: str) -> str:
    """Return the tag of a figure of rounds: what the ledger counted, where clients' time went, or the rest."""
    if name.startswith("ledger_"):
        return f"ledger/{name.removeprefix('ledger_')}"
    if name.startswith("round_") and name.endswith("_frac"):
        return f"round_time/{name.removeprefix('round_')}"
    return f"federated/{name}"


def scalars(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the tags and values of one RLlib result; values that are missing or NaN are left out."""
    found: dict[str, float] = {}
    runners = result.get("env_runners", {})
    for key, tag in _RUNNERS.items():
        found[tag] = runners.get(key, math.nan)
    for name, value in _flat(runners.get("world", {})):
        found[world_tag(name)] = value
    for agent, value in runners.get("agent_episode_returns_mean", {}).items():
        found[f"return_by_agent/{agent}"] = value
    for module, values in result.get("learners", {}).items():
        for name, value in values.items():
            if module != "__all_modules__" and not isinstance(value, Mapping) and not name.startswith(_HIDDEN):
                found[f"learning/{module}/{_LEARNING.get(name, name)}"] = value
    for term, figures in result.get("learners", {}).get("__all_modules__", {}).get("reward_terms", {}).items():
        found |= {f"{term}/{name}": value for name, value in figures.items()}
    for name, value in result.get("learners", {}).get("__all_modules__", {}).get("federated", {}).items():
        found[_federated_tag(name)] = value
    iteration_s = result.get("time_this_iter_s", 0.0)
    if iteration_s:
        shares = {tag: result.get("timers", {}).get(key, math.nan) / iteration_s for key, tag in _TIMERS.items()}
        found |= {**shares, "time_share/other": 1.0 - sum(share for share in shares.values() if share == share)}
    for key in _FAULTS:
        found[f"faults/{key.removeprefix('num_')}"] = result.get("fault_tolerance", {}).get(key, math.nan)
    return {tag: float(value) for tag, value in found.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    try:
        return not math.isnan(float(value))
    except (TypeError, ValueError):
        return False


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value
