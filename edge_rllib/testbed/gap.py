"""The gap between simulation and testbed: how far the simulated outcome of each policy is from what was measured.

Every policy was played on the testbed, once or several times, and in its simulated twin, with the same tasks. A task in
flight when the run ended is late, and its response time is cut at that end, on both sides at the same time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_rllib.results.estimates import N_RESAMPLES
from edge_rllib.results.files import FIGURES, write_json, write_text
from edge_rllib.testbed import gap_measures as measures
from edge_rllib.testbed.gap_runs import Pair, Side, pairs
from edge_rllib.testbed.gap_text import text
from edge_rllib.testbed.judge import TOO_SLOW_FRAC
from envs.arrays import F8

GAP, GAP_TEXT, GAP_PICTURE = "gap.json", "gap.md", "gap.png"
RANK_TARGET, COST_TARGET_FRAC = 0.8, 0.15  # of the rank correlation of costs, and of the gap between them
_SPEEDS = ("device_speed_frac", "server_speed_frac")


def compare(simulated: Sequence[Path], real: Sequence[Path], into: Path) -> dict[str, Any]:
    """Compare result folders by policy, write gap.json, gap.md and the picture into a folder, and return the figures.

    Folders of one policy on one side are put together. Raises ResultError for folders that cannot be compared.
    """
    paired, notes = pairs(simulated, real)
    return report(short_names(paired), notes, into)


def short_names(paired: Sequence[Pair]) -> list[Pair]:
    """Return pairs under the last part of their policies' names, a folder or a class, where that is one policy's."""
    last = [pair.policy.rstrip("/").rpartition("/")[2].rpartition(":")[2] for pair in paired]
    return [
        dataclasses.replace(pair, policy=name if last.count(name) == 1 else pair.policy)
        for pair, name in zip(paired, last, strict=True)
    ]


def report(paired: Sequence[Pair], notes: Sequence[str], into: Path) -> dict[str, Any]:
    """Write the comparison of pairs into a folder, with notes of one's own, and return its figures."""
    from edge_rllib.results.plots import save
    from edge_rllib.testbed.gap_picture import draw

    found = figures(paired)
    found["notes"] += notes
    write_json(into / GAP, found)
    write_text(into / GAP_TEXT, text(found))
    save(draw(found, paired), into / FIGURES / GAP_PICTURE)
    return found


def figures(paired: Sequence[Pair]) -> dict[str, Any]:
    """Return all figures of the comparison, plain values."""
    rng = np.random.default_rng(0)
    drawn = {
        pair.policy: (
            measures.resampled_sums(pair.simulated, True, N_RESAMPLES, rng),
            measures.resampled_sums(pair.real, False, N_RESAMPLES, rng),
        )
        for pair in paired
    }
    real = paired[0].real
    return {
        "scenario": real.config.get("name"),
        "devices": real.config["n_devices"],
        "epochs": real.config["n_epochs"],
        "seed": real.config.get("seed"),
        "deadline_s": real.config["deadline_s"],
        "block_epochs": measures.block_epochs(real.config["n_epochs"]),
        "resamples": N_RESAMPLES,
        "policies": {pair.policy: _of_policy(pair, *drawn[pair.policy]) for pair in paired},
        "over_policies": _over_policies(paired, drawn),
        "notes": [line for pair in paired for line in _notes(pair)],
    }


def _of_policy(pair: Pair, drawn_here: F8, drawn_there: F8) -> dict[str, Any]:
    sums = [measures.added_sums(side) for side in (pair.simulated, pair.real)]
    drawn = (drawn_here, drawn_there)
    found: dict[str, Any] = {
        "folders": {"simulated": _names(pair.simulated), "real": _names(pair.real)},
        "tier": sorted({str(summary["tier"]) for summary in pair.real.summaries}),
        "scale": sorted({summary.get("scale", 1.0) for summary in pair.real.summaries}),
        "tasks": {"simulated": measures.in_flight(pair.simulated), "real": measures.in_flight(pair.real)},
    }
    columns = {"cost_per_task": measures.COST, "response_time_s_mean": measures.RESPONSE, "late_frac": measures.LATE}
    for name, column in columns.items():
        values = [measures.per_task(each, column) for each in sums]
        samples = [measures.per_task(each, column) for each in drawn]
        found[name] = {
            "simulated": measures.estimate(values[0], samples[0]),
            "real": measures.estimate(values[1], samples[1]),
            "gap": measures.estimate(values[0] - values[1], samples[0] - samples[1]),
        }
        if name != "late_frac":  # often 0 on the testbed
            gap_frac = [measures.ratio(a - b, b) for a, b in (values, samples)]
            found[name]["gap_frac"] = measures.estimate(*gap_frac)
    p95 = {"simulated": measures.quantile_s(pair.simulated, 0.95), "real": measures.quantile_s(pair.real, 0.95)}
    found["response_time_s_p95"] = {
        side: {"value": value_s, "is_at_least": is_cut} for side, (value_s, is_cut) in p95.items()
    }
    found["distance"] = measures.distance(pair.simulated, pair.real)
    found["agreement"] = measures.agreement(pair.simulated, pair.real)
    found["among_real"] = measures.among(pair.real)
    return found


def _over_policies(paired: Sequence[Pair], drawn: dict[str, tuple[F8, F8]]) -> dict[str, Any]:
    found: dict[str, Any] = {"policies": len(paired), "ranks": {}}
    for name, column in (("cost_per_task", measures.COST), ("response_time_s_mean", measures.RESPONSE)):
        here = np.array([measures.per_task(measures.added_sums(pair.simulated), column) for pair in paired])
        there = np.array([measures.per_task(measures.added_sums(pair.real), column) for pair in paired])
        samples = [np.stack([measures.per_task(drawn[pair.policy][i], column) for pair in paired], 1) for i in (0, 1)]
        found["ranks"][name] = measures.ranks(here, there, (samples[0], samples[1]))
        if column == measures.COST:
            apart = np.abs(measures.ratio(here - there, there))
            resampled = np.abs(measures.ratio(samples[0] - samples[1], samples[1]))
            found["cost_gap_frac"] = {
                "mean": measures.estimate(apart.mean(), resampled.mean(1)),
                "worst": measures.estimate(apart.max(), resampled.max(1)),
                "worst_policy": paired[int(np.argmax(apart))].policy,
            }
    found["targets"] = _targets(found)
    return found


def _targets(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return whether each figure meets what is asked for; None where it has no value."""
    rank, gap = found["ranks"]["cost_per_task"]["spearman"], found["cost_gap_frac"]
    rows = {
        "rank correlation of cost": (None if rank is None else rank["value"], RANK_TARGET, "least"),
        "mean cost gap": (gap["mean"]["value"], COST_TARGET_FRAC, "most"),
        "worst cost gap": (gap["worst"]["value"], COST_TARGET_FRAC, "most"),
    }
    verdicts = {}
    for name, (value, wanted, direction) in rows.items():
        is_met = None
        if value is not None and not np.isnan(value):
            is_met = bool(value >= wanted if direction == "least" else value <= wanted)
        verdicts[name] = {"value": value, direction: wanted, "is_met": is_met}
    return verdicts


def _notes(pair: Pair) -> list[str]:
    """Return what makes the measurements of a policy doubtful."""
    lines, side = [], pair.real
    n_other, n_seen = measures.other_tasks(pair.simulated, side)
    if n_other:
        lines.append(
            f"{side.policy}: {n_other} of {n_seen} tasks have another number of frames in the simulation; the sides "
            "were made by versions that draw other clips"
        )
    for (
        folder,
        summary,
    ) in zip(side.folders, side.summaries, strict=True):
        for name in _SPEEDS:
            had_frac = summary.get(name)
            if had_frac is not None and had_frac < TOO_SLOW_FRAC:
                place = name.partition("_")[0]
                lines.append(
                    f"{side.policy}, {folder.name}: {place}s had {100 * had_frac:.0f} % of the speed that was asked "
                    "for; the machine was too busy for its figures to mean much"
                )
    n_lost = sum(episode.n_lost for episode in side.episodes)
    if n_lost:
        lines.append(f"{side.policy}: {n_lost} tasks have no record, since their devices went away; they count nowhere")
    return lines


def _names(side: Side) -> list[str]:
    return [folder.name for folder in side.folders]
