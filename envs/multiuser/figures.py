"""The figures that are derived from a multi-user world's metric sums."""

from __future__ import annotations

import math

from envs.arrays import F8
from envs.metrics import Metric
from envs.multiuser import state as s

_TASKS, _SENT, _EPISODES = "tasks", "tasks sent to the edge server", "episodes"

METRICS = (
    Metric("episode_cost", "1", _EPISODES, "sum over users and slots: minus the return at a reward scale of 1", "low"),
    Metric("cost_mean", "1", _TASKS, "energy, payment, transmission and penalty", "low"),
    Metric("local_cost_mean", "1", _TASKS, "energy of work on the user's processor", "low"),
    Metric("edge_cost_mean", "1", _TASKS, "payment to the edge server", "low"),
    Metric("transmit_cost_mean", "1", _TASKS, "energy of the transmission", "low"),
    Metric("miss_cost_mean", "1", _TASKS, "penalty for tasks that are late", "low"),
    Metric("miss_frac", "1", _TASKS, "done later than their deadline", "low"),
    Metric("miss_sent_frac", "1", _SENT, "done later than their deadline", "low"),
    Metric("delay_s_mean", "s", _TASKS, "from the start of the slot until they are done", "low"),
    Metric("local_s_mean", "s", "tasks on the user's processor", "wait and work", "low"),
    Metric("upload_s_mean", "s", _SENT, "on the way to the edge server", "low"),
    Metric("edge_s_mean", "s", _SENT, "from there until they are done", "low"),
    Metric("sent_frac", "1", _TASKS, "sent to the edge server"),
    Metric("shared_frac", "1", _SENT, "somebody else sent on their channel", "low"),
    Metric("lost_frac", "1", _SENT, "their upload was given up at the deadline", "low"),
    Metric("phantom_frac", "1", _SENT, "sent on the channel that there is not"),
    Metric("user_backlog_s_mean", "s", _TASKS, "work on the user's processor at the start of their slot", "low"),
    Metric("edge_backlog_s_mean", "s", "slots", "work on the edge server at their start", "low"),
    Metric("refused_frac", "1", _TASKS, "masked targets chosen by the caller: there are none to choose", "low"),
)

_OVER_TASKS = {
    "cost_mean": s.COST,
    "local_cost_mean": s.LOCAL_COST,
    "edge_cost_mean": s.EDGE_COST,
    "transmit_cost_mean": s.TRANSMIT_COST,
    "miss_cost_mean": s.MISS_COST,
    "miss_frac": s.MISSED_TASKS,
    "delay_s_mean": s.DELAY_S,
    "sent_frac": s.SENT_TASKS,
    "user_backlog_s_mean": s.USER_BACKLOG_S,
    "refused_frac": s.REFUSED,
}
_OVER_SENT = {
    "miss_sent_frac": s.MISSED_SENT_TASKS,
    "upload_s_mean": s.UPLOAD_S,
    "edge_s_mean": s.EDGE_S,
    "shared_frac": s.SHARED_TASKS,
    "lost_frac": s.LOST_TASKS,
    "phantom_frac": s.PHANTOM_TASKS,
}


def summarise(sums: F8) -> dict[str, float]:
    """Return every figure from metric sums (G,); NaN where there is nothing to take it over."""
    tasks, sent = sums[s.TASKS], sums[s.SENT_TASKS]
    figures = {name: _ratio(sums[place], tasks) for name, place in _OVER_TASKS.items()}
    figures |= {name: _ratio(sums[place], sent) for name, place in _OVER_SENT.items()}
    figures["episode_cost"] = _ratio(sums[s.COST], sums[s.EPISODES])
    figures["local_s_mean"] = _ratio(sums[s.LOCAL_S], tasks - sent)
    figures["edge_backlog_s_mean"] = _ratio(sums[s.EDGE_BACKLOG_S], sums[s.SLOTS])
    return {metric.name: figures[metric.name] for metric in METRICS}


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom > 0.0 else math.nan
