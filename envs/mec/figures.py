"""The figures that are derived from a MEC world's metric sums."""

from __future__ import annotations

import math

from envs.arrays import F8
from envs.mec import state as s
from envs.metrics import Metric

_TASKS, _SENT, _EPISODES = "tasks", "tasks sent to a server", "episodes"


def metrics(n_servers: int) -> tuple[Metric, ...]:
    """Return the figures of a world with so many servers."""
    complete = "tasks of episodes without a miss"
    return (
        Metric("cost_mean", "1", _TASKS, "AvgCost over all episodes: weighted delay and energy", "low"),
        Metric("cost_mean_complete", "1", complete, "AvgCost as the paper defines it; says nothing of failures", "low"),
        Metric(
            "reported_cost", "1", _EPISODES, "as the released code logs it: mean, or largest delay at a miss", "low"
        ),
        Metric("success_frac", "1", _EPISODES, "all tasks of all slots in time", "high"),
        Metric("survived_frac", "1", _EPISODES, "released success rate: (slots played - 1) / (horizon - 1)", "high"),
        Metric("met_frac", "1", _EPISODES, "published success rate: slots in which all meet over the horizon", "high"),
        Metric("length_slots", "1", _EPISODES, "slots played", "high"),
        Metric("miss_frac", "1", _TASKS, "later than the deadline, or out of energy", "low"),
        Metric("over_budget_frac", "1", _TASKS, "out of energy", "low"),
        Metric("outage_frac", "1", _TASKS, "their transfer was given up", "low"),
        Metric("delay_s_mean", "s", _TASKS, "until both parts are done", "low"),
        Metric("local_s_mean", "s", _TASKS, "of the part on the device, 0 for none", "low"),
        Metric("transfer_s_mean", "s", _SENT, "on the way to the server", "low"),
        Metric("wait_s_mean", "s", _SENT, "in the server's queue", "low"),
        Metric("startup_s_mean", "s", _SENT, "start-up of the server", "low"),
        Metric("service_s_mean", "s", _SENT, "service of the part that was sent", "low"),
        Metric("energy_j_mean", "J", _TASKS, "sending and local work", "low"),
        Metric("transmit_j_mean", "J", _TASKS, "sending", "low"),
        Metric("local_j_mean", "J", _TASKS, "local work", "low"),
        Metric("fairness", "1", _EPISODES, "Jain's index of the devices' mean delays in an episode", "high"),
        Metric("sent_frac", "1", _TASKS, "something of them is sent"),
        Metric("sent_share_mean", "1", _SENT, "share of the work that is sent"),
        *(Metric(f"to_server_{e}_frac", "1", _SENT, f"sent to server {e}") for e in range(n_servers)),
        Metric("refused_frac", "1", _TASKS, "masked targets chosen by the caller: there are none to choose", "low"),
    )


def summarise(sums: F8) -> dict[str, float]:
    """Return every figure from metric sums (G,); NaN where there is nothing to take it over."""
    tasks, sent, episodes = sums[s.TASKS], sums[s.SENT_TASKS], sums[s.EPISODES]
    over_tasks = {
        "cost_mean": s.COST,
        "miss_frac": s.MISSED_TASKS,
        "over_budget_frac": s.OVER_BUDGET_TASKS,
        "outage_frac": s.OUTAGE_TASKS,
        "delay_s_mean": s.DELAY_S,
        "local_s_mean": s.LOCAL_S,
        "transmit_j_mean": s.TRANSMIT_J,
        "local_j_mean": s.LOCAL_J,
        "sent_frac": s.SENT_TASKS,
        "refused_frac": s.REFUSED,
    }
    over_sent = {
        "transfer_s_mean": s.TRANSFER_S,
        "wait_s_mean": s.WAIT_S,
        "startup_s_mean": s.STARTUP_S,
        "service_s_mean": s.SERVICE_S,
        "sent_share_mean": s.SENT_SHARE,
        **{f"to_server_{e}_frac": s.TO_SERVER + e for e in range(len(sums) - s.TO_SERVER)},
    }
    over_episodes = {
        "reported_cost": s.REPORTED_COST,
        "success_frac": s.COMPLETE_EPISODES,
        "survived_frac": s.SURVIVED_FRAC,
        "met_frac": s.MET_FRAC,
        "length_slots": s.SLOTS,
        "fairness": s.FAIRNESS,
    }
    figures = {name: _ratio(sums[place], tasks) for name, place in over_tasks.items()}
    figures |= {name: _ratio(sums[place], sent) for name, place in over_sent.items()}
    figures |= {name: _ratio(sums[place], episodes) for name, place in over_episodes.items()}
    figures["cost_mean_complete"] = _ratio(sums[s.COMPLETE_COST], sums[s.COMPLETE_TASKS])
    figures["energy_j_mean"] = _ratio(sums[s.TRANSMIT_J] + sums[s.LOCAL_J], tasks)
    return {metric.name: figures[metric.name] for metric in metrics(len(sums) - s.TO_SERVER)}


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom > 0.0 else math.nan
