"""The gap between simulation and testbed as markdown, from its figures alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_DASH = "-"


def text(found: Mapping[str, Any]) -> str:
    """Return the report: tables by policy, figures over policies, the verdict, and how everything was computed."""
    parts = [_head(found), _outcomes(found), _distances(found), _over_policies(found), _verdict(found)]
    if found["notes"]:
        parts.append("**Mind**\n\n" + "\n".join(f"- {line}" for line in found["notes"]))
    return "\n\n".join([*parts, _method(found)]) + "\n"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in markdown."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def number(value: float | None, form: str = ".3g") -> str:
    """Return a number, or a dash where there is none."""
    return _DASH if value is None or math.isnan(value) else f"{value:{form}}"


def percent(value: float | None, sign: str = "") -> str:
    """Return a share in percent, or a dash where there is none."""
    return _DASH if value is None or math.isnan(value) else f"{100.0 * value:{sign}.0f} %"


def between(estimate: Mapping[str, float | None] | None, form: str = ".3g") -> str:
    """Return a value with its interval."""
    if estimate is None:
        return _DASH
    return f"{number(estimate['value'], form)} [{number(estimate['low'], form)}, {number(estimate['high'], form)}]"


def between_percent(estimate: Mapping[str, float | None], sign: str = "") -> str:
    """Return a share in percent with its interval."""
    ends = (percent(estimate[end], sign).removesuffix(" %") for end in ("low", "high"))
    return f"{percent(estimate['value'], sign)} [{', '.join(ends)}]"


def _head(found: Mapping[str, Any]) -> str:
    policies = found["policies"].values()
    tiers = sorted({tier for row in policies for tier in row["tier"]})
    scales = sorted({scale for row in policies for scale in row["scale"]})
    return (
        f"# Gap between simulation and testbed: {found['scenario']}\n\n"
        f"{len(policies)} policies, {found['devices']} devices, {found['epochs']} epochs, seed {found['seed']}; "
        f"testbed: tier {', '.join(tiers)}, time x {', '.join(f'{scale:g}' for scale in scales)}."
    )


def _outcomes(found: Mapping[str, Any]) -> str:
    costs, times = [], []
    for policy, row in found["policies"].items():
        cost, late, time = row["cost_per_task"], row["late_frac"], row["response_time_s_mean"]
        p95 = [
            ("at least " if each["is_at_least"] else "") + number(each["value"])
            for each in (row["response_time_s_p95"][side] for side in ("simulated", "real"))
        ]
        costs.append(
            [
                policy,
                *(between(cost[side]) for side in ("simulated", "real")),
                between_percent(cost["gap_frac"], "+"),
                *(percent(late[side]["value"]) for side in ("simulated", "real")),
                between_percent(late["gap"], "+"),
            ]
        )
        sides = [between(time[side]) for side in ("simulated", "real")]
        times.append([policy, *sides, between_percent(time["gap_frac"], "+"), *p95])
    cost_heads = ["policy", "cost a task: simulated", "real", "gap", "late: simulated", "real", "gap"]
    time_heads = ["policy", "mean, s: simulated", "real", "gap", "95th percentile, s: simulated", "real"]
    return (
        "**Cost and missed deadlines** (gap: simulated minus real; of cost over the real cost)\n\n"
        f"{markdown_table(cost_heads, costs)}\n\n"
        f"**Response time** (gap over the real mean)\n\n{markdown_table(time_heads, times)}"
    )


def _distances(found: Mapping[str, Any]) -> str:
    heads = [
        "policy", "Wasserstein-1, s", "over the real mean", "KS", "its p", "same target", "same target and cut",
        "real runs among themselves: Wasserstein-1, s", "same target", "in flight: simulated", "real",
    ]  # fmt: skip
    rows = []
    for policy, row in found["policies"].items():
        apart, same, among = row["distance"], row["agreement"], row["among_real"] or {}
        counts = [row["tasks"][side] for side in ("simulated", "real")]
        flying = (f"{each['in_flight']} of {each['tasks']}" for each in counts)
        rows.append(
            [
                policy,
                number(apart["wasserstein_s"]),
                percent(apart["wasserstein_over_real_mean"]),
                number(apart["ks_statistic"], ".2f"),
                number(apart["ks_p_value"], ".2g"),
                percent(same["same_target"]),
                percent(same["same_both"]),
                number(among.get("wasserstein_s")),
                percent(among.get("same_target")),
                *flying,
            ]
        )
    return "**Distance of response times, and decisions**\n\n" + markdown_table(heads, rows)


def _over_policies(found: Mapping[str, Any]) -> str:
    over = found["over_policies"]
    rows = [
        [label, between(over["ranks"][name]["spearman"], ".2f"), between(over["ranks"][name]["kendall"], ".2f")]
        for name, label in (("cost_per_task", "cost"), ("response_time_s_mean", "mean response time"))
    ]
    gap = over["cost_gap_frac"]
    few = "" if over["ranks"]["cost_per_task"]["spearman"] else " An order needs three policies or more."
    return (
        "**Over all policies**\n\n"
        + markdown_table(["rank correlation of", "Spearman", "Kendall"], rows)
        + f"\n\nCost gap, each policy weighted equally: mean {between_percent(gap['mean'])}, worst "
        f"{between_percent(gap['worst'])} ({gap['worst_policy']}).{few}"
    )


def _verdict(found: Mapping[str, Any]) -> str:
    said = {True: "met", False: "not met", None: "not known"}
    lines = []
    for name, row in found["over_policies"]["targets"].items():
        if "least" in row:
            shown, wanted = number(row["value"], ".2f"), f"at least {row['least']:g}"
        else:
            shown, wanted = percent(row["value"]), f"at most {percent(row['most'])}"
        lines.append(f"- {name}: {shown}, wanted {wanted}: {said[row['is_met']]}")
    return "**Is it near enough?**\n\n" + "\n".join(lines)


def _method(found: Mapping[str, Any]) -> str:
    return f"""**How**

Values are over all tasks. A task in flight when the run ended is late, and counts with the time that it had waited:
the end is {found["epochs"]} epochs and the time to drain after the start on both sides, so that tasks are cut alike.
The mean response time is therefore another than that of summary.json, which is over finished tasks.

Intervals are 95 % percentile bootstraps, {found["resamples"]} resamples: of the simulation whole episodes are redrawn,
of the testbed whole runs and within them blocks of {found["block_epochs"]} consecutive epochs, independently. They are
too narrow for a single run whose queues last longer than a block; repeats mend that. The tasks of a run depend on each
other, so the p-values of the Kolmogorov-Smirnov test are indicative only. Decisions agree where the same device chose
the same in the same epoch; the share is the mean over all couples of a simulated episode and a real run."""
