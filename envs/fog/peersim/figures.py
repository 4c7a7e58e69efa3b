"""The figures of a PeersimGym world. A name that the fog world has, too, has the same meaning here."""

from __future__ import annotations

import math

import numpy as np

from envs.arrays import F8
from envs.constants import TIER_NAMES
from envs.fog.peersim import state as s
from envs.metrics import N_BINS, Metric, percentile_from_bins

_FINISHED = "finished tasks"
_LEFT = "tasks that finished or were dropped"
METRICS: tuple[Metric, ...] = (
    Metric("response_time_s_mean", "s", _FINISHED, "creation to return of the result; drops are not in it", "low"),
    Metric("response_time_s_p50", "s", _FINISHED, "median", "low"),
    Metric("response_time_s_p95", "s", _FINISHED, "95th percentile", "low"),
    Metric("response_time_s_p99", "s", _FINISHED, "99th percentile", "low"),
    Metric("upload_s_mean", "s", _FINISHED, "on links to where it runs, that of its client included", "low"),
    Metric("wait_s_mean", "s", _FINISHED, "in nodes before service", "low"),
    Metric("service_s_mean", "s", _FINISHED, "first to last slot of service; 0 within one slot", "low"),
    Metric("return_s_mean", "s", _FINISHED, "way of the result", "low"),
    Metric("in_time_frac", "1", _LEFT, "finished before their deadline", "high"),
    Metric("drop_frac", "1", _LEFT, "dropped", "low"),
    *(Metric(f"drop_{reason}_frac", "1", _LEFT, f"dropped: {reason}", "low") for reason in s.DROP_REASONS),
    Metric("late_frac", "1", _LEFT, "finished after their deadline", "low"),
    Metric("gave_up_frac", "1", "tasks created", "given up by their clients until the horizon", "low"),
    Metric("tasks_per_s", "1/s", "time", "tasks created"),
    Metric("offload_frac", "1", "decisions", "sent to another node"),
    *(Metric(f"to_{tier}_frac", "1", "decisions", f"target is of tier {tier}") for tier in TIER_NAMES),
    *(Metric(f"run_on_{tier}_frac", "1", "served tasks", f"served by tier {tier}") for tier in TIER_NAMES),
    *(Metric(f"busy_{tier}_frac", "1", "nodes x time", f"cycles of tier {tier} in use") for tier in TIER_NAMES),
    *(
        Metric(f"occupancy_{tier}_frac", "1", "nodes x slots", f"queue places of tier {tier} taken")
        for tier in TIER_NAMES
    ),
    Metric("full_frac", "1", "nodes x slots", "no queue place left (overload)", "low"),
    Metric("tasks_in_node_mean", "1", "nodes x instants of observation", "tasks in a node; clouds left out"),
    Metric("hops_mean", "1", "served tasks", "links crossed on the way out"),
    Metric("energy_per_task", "price units", _FINISHED, "work, reports and results at PeersimGym's prices", "low"),
    Metric("in_flight_tasks", "1", "episodes", "tasks in the system at the horizon"),
    Metric("refused_frac", "1", "decisions", "masked targets chosen by the caller", "low"),
)


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0.0 else math.nan


def summarise(sums: F8) -> dict[str, float]:
    """Return every figure of METRICS from metric sums (G,); NaN where there is nothing to take it over."""
    completed = float(sums[s.COMPLETED] + sums[s.UNCLAIMED])
    claimed = sums[s.COMPLETED]
    dropped = sums[s.DROPPED : s.DROPPED + len(s.DROP_REASONS)]
    left = completed + float(dropped.sum())
    decisions, served = sums[s.DECISIONS], sum(sums[s.RUN_ON_TIER : s.RUN_ON_TIER + 3])
    bins = sums[s.HISTOGRAM : s.HISTOGRAM + N_BINS]
    figures = {
        "response_time_s_mean": _ratio(sums[s.RESPONSE_S], claimed),
        **{f"response_time_s_p{p}": percentile_from_bins(bins, p / 100.0) for p in (50, 95, 99)},
        "upload_s_mean": _ratio(sums[s.UPLOAD_S], claimed),
        "wait_s_mean": _ratio(sums[s.WAIT_S], claimed),
        "service_s_mean": _ratio(sums[s.SERVICE_S], claimed),
        "return_s_mean": _ratio(sums[s.RETURN_S], claimed),
        "in_time_frac": _ratio(sums[s.IN_TIME], left),
        "drop_frac": _ratio(float(dropped.sum()), left),
        **{f"drop_{reason}_frac": _ratio(dropped[i], left) for i, reason in enumerate(s.DROP_REASONS)},
        "late_frac": _ratio(completed - sums[s.IN_TIME], left),
        "gave_up_frac": _ratio(sums[s.CLIENT_DROPPED], sums[s.CREATED]),
        "tasks_per_s": _ratio(sums[s.CREATED], sums[s.ELAPSED_S]),
        "offload_frac": _ratio(sums[s.OFFLOADS], decisions),
        "full_frac": _ratio(sums[s.FULL_NODE_SLOTS], sums[s.NODE_SLOTS]),
        "tasks_in_node_mean": _ratio(sums[s.SEEN_TASKS], sums[s.SEEN_NODES]),
        "hops_mean": _ratio(sums[s.HOPS], served),
        "energy_per_task": _ratio(sums[s.ENERGY], claimed),
        "in_flight_tasks": _ratio(sums[s.IN_FLIGHT], sums[s.EPISODES]),
        "refused_frac": _ratio(sums[s.REFUSED], decisions + sums[s.REFUSED]),
    }
    for index, tier in enumerate(TIER_NAMES):
        figures[f"to_{tier}_frac"] = _ratio(sums[s.TO_TIER + index], decisions)
        figures[f"run_on_{tier}_frac"] = _ratio(sums[s.RUN_ON_TIER + index], served)
        figures[f"busy_{tier}_frac"] = _ratio(sums[s.BUSY_S_TIER + index], sums[s.CORE_S_TIER + index])
        slots = sums[s.OCCUPANCY_SLOTS_TIER + index]
        figures[f"occupancy_{tier}_frac"] = _ratio(sums[s.OCCUPANCY_TIER + index], slots)
    return {metric.name: float(figures[metric.name]) for metric in METRICS}


def reference_figures(sums: F8) -> dict[str, F8]:
    """Return the figures of episodes (B, G) under the names of the reference data, each (B,); times in seconds."""

    def column(name: str) -> F8:
        return np.asarray(sums[:, s.SUM_NAMES.index(name)], np.float64)

    with np.errstate(invalid="ignore"):  # an episode without a finished task has no mean
        return {
            "created": column("created"),
            "finished": column("completed"),
            "mean_response_time": column("response_s") / column("completed"),
            "client_dropped": column("client_dropped"),
            "worker_dropped_on_arrival": column("dropped_queue_full"),
            "worker_expired": column("dropped_expired"),
            "worker_received": column("received"),
            "worker_processed": column("processed"),
            "offloaded_from": column("offloads"),
            "offloaded_to": column("offloads_accepted"),
            "times_overloaded": column("full_node_slots"),
            "mean_tasks_in_node": column("seen_tasks") / column("seen_nodes"),
            "in_nodes_at_end": column("in_nodes"),
            "completed_reported_to_agents": column("reported"),
            "energy": column("energy"),
            "reports": column("reports"),
            "results": column("results"),
            "world_full": column("dropped_world_full"),  # of ours alone: tasks for which max_alive_tasks had no place
        }
