"""Rows of a comparison: what they have, what we have, how far apart, and whether that is within tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from envs.arrays import F8

MAX_Z = 3.0  # standard errors; a row beyond is outside its tolerance
_ROUNDING = 6e-5  # published means have four decimals
_NOISE = 1e-12  # of float64 sums
# ok, out: compared. info: shown beside each other. unknown: nothing of ours to compare with. refused: cannot be played
State = Literal["ok", "out", "info", "unknown", "refused"]


@dataclass(frozen=True)
class Row:
    """One comparison."""

    file: str
    scenario: str
    policy: str
    metric: str
    theirs: float | None
    ours: float | None
    score: float | None  # distance in the unit of the tolerance
    tolerance: str  # what the score is and how large it may be; the reason where nothing is compared
    state: State


@dataclass(frozen=True)
class Report:
    """All rows, and the files that gave none."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def is_ok(self) -> bool:
        """Whether every row that counts is within its tolerance."""
        return not any(row.state in ("out", "refused") for row in self.rows)

    @property
    def n_compared(self) -> int:
        """Number of rows that were compared."""
        return sum(row.state in ("ok", "out") for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return plain values; numbers that JSON cannot hold become null."""
        rows = [{key: _plain(value) for key, value in asdict(row).items()} for row in self.rows]
        return {"ok": self.is_ok, "compared": self.n_compared, "rows": rows, "notes": list(self.notes)}

    def as_text(self) -> str:
        """Return a table with a summary below it."""
        lines = []
        if self.rows:
            lines += _table([_HEAD, *(_cells(row) for row in self.rows)])
        lines += list(self.notes)
        counts = {
            state: sum(row.state == state for row in self.rows) for state in ("out", "refused", "unknown", "info")
        }
        others = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        lines.append(f"{self.n_compared} rows compared" + (f"; {others}" if others else "") + f": {_verdict(self)}")
        return "\n".join(lines)


_HEAD = ("scenario", "policy", "metric", "theirs", "ours", "score", "tolerance", "")


def join(reports: Iterable[Report]) -> Report:
    """Return one report of several."""
    listed = list(reports)
    return Report(
        tuple(row for report in listed for row in report.rows),
        tuple(note for report in listed for note in report.notes),
    )


def z_row(
    file: str, scenario: str, policy: str, metric: str, theirs: Sample, ours: F8, limit: float = MAX_Z, better: str = ""
) -> Row:
    """Return the comparison of two means; cells without variance on either side must be equal.

    Where ``better`` is "low" or "high", ours may differ in that direction as far as it likes.
    """
    values = ours[np.isfinite(ours)]
    if not len(values):
        return Row(file, scenario, policy, metric, theirs.mean, None, None, "no finite value of ours", "out")
    mean, sd = float(values.mean()), deviation(values)
    theirs_sd = theirs.sd if theirs.sd > 0.0 else sd  # a rare event that their few episodes do not have
    error = math.sqrt(theirs_sd**2 / theirs.n + sd**2 / len(values))
    is_better = (better == "low" and mean <= theirs.mean) or (better == "high" and mean >= theirs.mean)
    if error == 0.0:
        is_equal = abs(mean - theirs.mean) <= _ROUNDING
        expected = "equal or better" if better else "equal"
        state = _state(is_equal or is_better)
        return Row(file, scenario, policy, metric, theirs.mean, mean, mean - theirs.mean, expected, state)
    z = (mean - theirs.mean) / error
    expected = f"|z| < {limit:.3g}" + (" or better" if better else "")
    return Row(file, scenario, policy, metric, theirs.mean, mean, z, expected, _state(abs(z) < limit or is_better))


def worst_row(file: str, scenario: str, policy: str, metric: str, theirs: Sequence[Sample], ours: F8) -> Row:
    """Return the comparison of a list of means (n,) with ours (worlds, n) by the one that is farthest off.

    The tolerance makes the farthest of n lawful means as rarely too far as a single one.
    """
    each = [z_row(file, scenario, policy, metric, cell, ours[:, i]) for i, cell in enumerate(theirs)]
    scores = [math.inf if row.score is None else abs(row.score) for row in each]
    limit = joint_limit(len(each))
    is_ok = all(
        score < limit if row.tolerance.startswith("|z|") else row.state == "ok"
        for row, score in zip(each, scores, strict=True)
    )
    mean, what = float(np.mean([cell.mean for cell in theirs])), f"worst |z| of {len(each)} < {limit:.3g}"
    own = float(np.mean([math.nan if row.ours is None else row.ours for row in each]))
    return Row(file, scenario, policy, metric, mean, own, max(scores), what, _state(is_ok))


def deviation(values: F8) -> float:
    """Return the standard deviation of numbers; 0 of a single one, and of equal ones whatever the rounding of sums."""
    sd = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return sd if sd > _NOISE * max(1.0, float(np.abs(values).max())) else 0.0


def joint_limit(n_rows: int) -> float:
    """Return the standard errors that the farthest of n lawful means exceeds as rarely as one exceeds MAX_Z."""
    return -NormalDist().inv_cdf(NormalDist().cdf(-MAX_Z) / max(n_rows, 1))


@dataclass(frozen=True)
class Sample:
    """Mean, standard deviation and size of what they measured."""

    mean: float
    sd: float
    n: int


def equal_row(file: str, scenario: str, metric: str, theirs: float, ours: float, tolerance: float = 0.0) -> Row:
    """Return the comparison of two numbers that chance has no part in."""
    expected = "equal" if tolerance == 0.0 else f"within {tolerance:g}"
    difference = ours - theirs
    return Row(file, scenario, "-", metric, theirs, ours, difference, expected, _state(abs(difference) <= tolerance))


def largest_row(
    file: str, scenario: str, metric: str, theirs: F8, ours: F8, tolerance: float, is_relative: bool = False
) -> Row:
    """Return the comparison of arrays of one shape by the pair that differs most; with tolerance 0 all must be equal.

    ``is_relative`` divides differences by theirs where that is larger than 1.
    """
    theirs, ours = np.atleast_1d(theirs).ravel(), np.atleast_1d(ours).ravel()
    scale = np.maximum(np.abs(theirs), 1.0) if is_relative else 1.0
    with np.errstate(invalid="ignore"):  # two infinite numbers
        error = np.abs(ours - theirs) / scale
    error = np.where(np.isfinite(error), error, np.inf)
    error[theirs == ours] = 0.0
    i = int(error.argmax())
    expected = f"largest of {len(error)} <= {tolerance:g}" if tolerance > 0.0 else f"all {len(error)} equal"
    state = _state(bool(error[i] <= tolerance))
    return Row(file, scenario, "-", metric, float(theirs[i]), float(ours[i]), float(error[i]), expected, state)


def within_row(file: str, metric: str, theirs: float, ours: float, score: float, limit: float, what: str) -> Row:
    """Return the comparison of a statistic of a workload; ``what`` says what the score is."""
    return Row(file, "-", "-", metric, theirs, ours, score, f"{what} <= {limit:g}", _state(score <= limit))


def info_row(file: str, scenario: str, metric: str, theirs: float | None, ours: float | None, why: str) -> Row:
    """Return a row that shows numbers and judges nothing."""
    return Row(file, scenario, "-", metric, theirs, ours, None, why, "info")


def unknown_row(file: str, scenario: str, policy: str, metric: str, theirs: float | None, why: str) -> Row:
    """Return a row for what cannot be compared."""
    return Row(file, scenario, policy, metric, theirs, None, None, why, "unknown")


def refused_row(file: str, scenario: str, policy: str, why: str) -> Row:
    """Return a row for what cannot be played; it counts as outside its tolerance."""
    return Row(file, scenario, policy, "-", None, None, None, why, "refused")


def _state(is_ok: bool) -> State:
    return "ok" if is_ok else "out"


def _verdict(report: Report) -> str:
    if not report.is_ok:
        return "NOT within tolerance"
    return "all within tolerance" if report.n_compared else "nothing was compared"


def _cells(row: Row) -> tuple[str, ...]:
    numbers = ["" if value is None else f"{value:.5g}" for value in (row.theirs, row.ours, row.score)]
    return (row.scenario, row.policy, row.metric, *numbers, row.tolerance, row.state)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    is_number = [3 <= column <= 5 for column in range(len(_HEAD))]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ).rstrip()
        for row in rows
    ]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
