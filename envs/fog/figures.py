"""The figures that are derived from a fog world's metric sums."""

from __future__ import annotations

import math

from envs.arrays import F8
from envs.constants import TIER_NAMES
from envs.fog import state as s
from envs.metrics import N_BINS, Metric, percentile_from_bins

_FINISHED = "finished tasks"
METRICS: tuple[Metric, ...] = (
    Metric("response_time_s_mean", "s", _FINISHED, "creation to return of the result; drops are not in it", "low"),
    Metric("response_time_s_p50", "s", _FINISHED, "median", "low"),
    Metric("response_time_s_p95", "s", _FINISHED, "95th percentile", "low"),
    Metric("response_time_s_p99", "s", _FINISHED, "99th percentile", "low"),
    Metric("upload_s_mean", "s", _FINISHED, "on links to where it runs, waiting for channels included", "low"),
    Metric("wait_s_mean", "s", _FINISHED, "in queues of nodes", "low"),
    Metric("service_s_mean", "s", _FINISHED, "on a core", "low"),
    Metric("return_s_mean", "s", _FINISHED, "way of the result", "low"),
    Metric("in_time_frac", "1", "tasks that finished or were dropped", "finished before their deadline", "high"),
    Metric("drop_frac", "1", "tasks that finished or were dropped", "dropped", "low"),
    *(
        Metric(f"drop_{reason}_frac", "1", "tasks that finished or were dropped", f"dropped: {reason}", "low")
        for reason in s.DROP_REASONS
    ),
    Metric("late_frac", "1", "tasks that finished or were dropped", "finished after their deadline", "low"),
    Metric("lateness_s_mean", "s", "late tasks", "from the deadline to the return of the result", "low"),
    Metric("tasks_per_s", "1/s", "time", "tasks created"),
    Metric("offload_frac", "1", "decisions", "sent to another node"),
    *(Metric(f"to_{tier}_frac", "1", "decisions", f"target is of tier {tier}") for tier in TIER_NAMES),
    *(Metric(f"run_on_{tier}_frac", "1", "served tasks", f"served by tier {tier}") for tier in TIER_NAMES),
    *(Metric(f"busy_{tier}_frac", "1", "cores x time", f"cores of tier {tier} in use") for tier in TIER_NAMES),
    *(
        Metric(f"occupancy_{tier}_frac", "1", "nodes x slots", f"queue places of tier {tier} taken")
        for tier in TIER_NAMES
    ),
    Metric("full_frac", "1", "nodes x slots", "no queue place left (overload)", "low"),
    Metric("hops_mean", "1", "served tasks", "links crossed on the way out"),
    Metric("energy_j_per_task", "J", _FINISHED, "computing and sending; idle power left out", "low"),
    Metric("compute_w_mean", "W", "time", "power of computing, whole network", "low"),
    Metric("transmit_w_mean", "W", "time", "power of sending, whole network", "low"),
    Metric("idle_w_mean", "W", "time", "idle power, whole network", "low"),
    Metric("in_flight_tasks", "1", "episodes", "tasks in the system at the horizon"),
    Metric("update_s_mean", "s", "model updates that arrived", "from sending to arrival", "low"),
    Metric("refused_frac", "1", "decisions", "masked targets chosen by the caller, taken as local", "low"),
)


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0.0 else math.nan


def summarise(sums: F8) -> dict[str, float]:
    """Return every figure of METRICS from metric sums (G,); NaN where there is nothing to take it over."""
    completed, created_s = sums[s.COMPLETED], sums[s.ELAPSED_S]
    dropped = sums[s.DROPPED : s.DROPPED + len(s.DROP_REASONS)]
    left = float(completed + dropped.sum())
    decisions, served = sums[s.DECISIONS], sum(sums[s.RUN_ON_TIER : s.RUN_ON_TIER + 3])
    bins = sums[s.HISTOGRAM : s.HISTOGRAM + N_BINS]
    figures = {
        "response_time_s_mean": _ratio(sums[s.RESPONSE_S], completed),
        **{f"response_time_s_p{p}": percentile_from_bins(bins, p / 100.0) for p in (50, 95, 99)},
        "upload_s_mean": _ratio(sums[s.UPLOAD_S], completed),
        "wait_s_mean": _ratio(sums[s.WAIT_S], completed),
        "service_s_mean": _ratio(sums[s.SERVICE_S], completed),
        "return_s_mean": _ratio(sums[s.RETURN_S], completed),
        "in_time_frac": _ratio(sums[s.IN_TIME], left),
        "drop_frac": _ratio(float(dropped.sum()), left),
        **{f"drop_{reason}_frac": _ratio(dropped[i], left) for i, reason in enumerate(s.DROP_REASONS)},
        "late_frac": _ratio(completed - sums[s.IN_TIME], left),
        "lateness_s_mean": _ratio(sums[s.SUM_LATENESS_S], completed - sums[s.IN_TIME]),
        "tasks_per_s": _ratio(sums[s.CREATED], created_s),
        "offload_frac": _ratio(sums[s.OFFLOADS], decisions),
        "full_frac": _ratio(sums[s.FULL_NODE_SLOTS], sums[s.NODE_SLOTS]),
        "hops_mean": _ratio(sums[s.HOPS], served),
        "energy_j_per_task": _ratio(sums[s.COMPUTE_J] + sums[s.TRANSMIT_J], completed),
        "compute_w_mean": _ratio(sums[s.COMPUTE_J], created_s),
        "transmit_w_mean": _ratio(sums[s.TRANSMIT_J], created_s),
        "idle_w_mean": _ratio(sums[s.IDLE_J], created_s),
        "in_flight_tasks": _ratio(sums[s.IN_FLIGHT], sums[s.EPISODES]),
        "update_s_mean": _ratio(sums[s.UPDATE_S], sums[s.UPDATES_ARRIVED]),
        "refused_frac": _ratio(sums[s.REFUSED], decisions + sums[s.REFUSED]),
    }
    for index, tier in enumerate(TIER_NAMES):
        figures[f"to_{tier}_frac"] = _ratio(sums[s.TO_TIER + index], decisions)
        figures[f"run_on_{tier}_frac"] = _ratio(sums[s.RUN_ON_TIER + index], served)
        figures[f"busy_{tier}_frac"] = _ratio(sums[s.BUSY_S_TIER + index], sums[s.CORE_S_TIER + index])
        slots = sums[s.OCCUPANCY_SLOTS_TIER + index]
        figures[f"occupancy_{tier}_frac"] = _ratio(sums[s.OCCUPANCY_TIER + index], slots)
    return {metric.name: float(figures[metric.name]) for metric in METRICS}
