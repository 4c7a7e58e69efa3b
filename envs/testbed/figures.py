"""The figures that are derived from a twin's metric sums."""

from __future__ import annotations

import math

from envs.arrays import F8
from envs.metrics import Metric
from envs.testbed import state as s

_TASKS, _FINISHED, _EPOCHS = "tasks", "finished tasks", "epochs"

METRICS = (
    Metric("episode_cost", "1", "episodes", "sum over tasks", "low"),
    Metric("cost_per_task", "1", _TASKS, "work, energy and penalty", "low"),
    Metric("local_cost_mean", "1", _TASKS, "work on devices that led to results", "low"),
    Metric("edge_cost_mean", "1", _TASKS, "work on servers that led to results", "low"),
    Metric("transmit_cost_mean", "1", _TASKS, "energy of uploads", "low"),
    Metric("late_cost_mean", "1", _TASKS, "penalty for tasks that are late or in flight at the end", "low"),
    Metric("late_frac", "1", _TASKS, "done after their deadline, or not at all", "low"),
    Metric("in_flight_frac", "1", _TASKS, "not done when the episode ended", "low"),
    Metric("response_time_s_mean", "s", _FINISHED, "upload + wait + service + return", "low"),
    Metric("upload_s_mean", "s", _FINISHED, "on the way to the server that did them", "low"),
    Metric("wait_s_mean", "s", _FINISHED, "for a decision, a lane, the link, or a server that did not answer", "low"),
    Metric("service_s_mean", "s", _FINISHED, "of the stages that led to the result", "low"),
    Metric("return_s_mean", "s", _FINISHED, "of the result", "low"),
    Metric("offloaded_frac", "1", _TASKS, "sent to servers"),
    Metric("done_by_server_frac", "1", _TASKS, "finished by servers"),
    Metric("fallback_frac", "1", _TASKS, "their device stopped waiting for a server", "low"),
    Metric("sent_bytes_per_task", "B", _TASKS, "uploaded", "low"),
    Metric("local_backlog_s_mean", "s", _TASKS, "of the device when they were created, as it expects", "low"),
    Metric("server_backlog_s_mean", "s", _EPOCHS, "of the servers, as they expect", "low"),
    Metric("refused_frac", "1", _TASKS, "masked targets chosen by the caller: there are none to choose", "low"),
)

_OVER_TASKS = {
    "cost_per_task": s.COST,
    "local_cost_mean": s.LOCAL_COST,
    "edge_cost_mean": s.EDGE_COST,
    "transmit_cost_mean": s.TRANSMIT_COST,
    "late_cost_mean": s.LATE_COST,
    "late_frac": s.LATE,
    "offloaded_frac": s.OFFLOADED,
    "done_by_server_frac": s.DONE_BY_SERVER,
    "fallback_frac": s.FALLBACKS,
    "sent_bytes_per_task": s.SENT_BYTES,
    "local_backlog_s_mean": s.LOCAL_BACKLOG_S,
    "refused_frac": s.REFUSED,
}
_OVER_FINISHED = {
    "response_time_s_mean": s.RESPONSE_S,
    "upload_s_mean": s.UPLOAD_S,
    "wait_s_mean": s.WAIT_S,
    "service_s_mean": s.SERVICE_S,
    "return_s_mean": s.RETURN_S,
}


def summarise(sums: F8) -> dict[str, float]:
    """Return every figure from metric sums (G,); NaN where there is nothing to take it over."""
    tasks, finished = sums[s.TASKS], sums[s.FINISHED]
    figures = {name: _ratio(sums[place], tasks) for name, place in _OVER_TASKS.items()}
    figures |= {name: _ratio(sums[place], finished) for name, place in _OVER_FINISHED.items()}
    figures["episode_cost"] = _ratio(sums[s.COST], sums[s.EPISODES])
    figures["in_flight_frac"] = _ratio(tasks - finished, tasks)
    figures["server_backlog_s_mean"] = _ratio(sums[s.SERVER_BACKLOG_S], sums[s.EPOCHS])
    return {metric.name: figures[metric.name] for metric in METRICS}


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom > 0.0 else math.nan
