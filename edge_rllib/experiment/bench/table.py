"""Rows of a measurement, as text, and as JSON beside the machine that they were taken on."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Row:
    """One figure. ``reference`` is measured in the same run unless ``reference_is`` says otherwise."""

    what: str
    value: float
    unit: str
    must: float  # smallest accepted ratio, or value where there is no reference; for seconds and bytes the largest
    aim: float
    reference: float | None = None
    reference_is: str = ""

    @property
    def ratio(self) -> float | None:
        """Value over reference."""
        return self.value / self.reference if self.reference else None


def rate(work: Callable[[], int], repeats: int = 5, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the median units per second over repeats, after one unmeasured; ``work`` returns how many it did.

    ``clock`` is ``time.process_time`` where the core's own time counts, whoever else uses the machine.
    """
    work()
    rates = []
    for _ in range(repeats):
        begin = clock()
        n_units = work()
        rates.append(n_units / (clock() - begin))
    return float(np.median(rates))


def machine() -> dict[str, str | int | float]:
    """Return what the figures depend on beside the code."""
    packages = {name: version(name) for name in ("ray", "torch", "numpy", "numba")}
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "load_average_1min": os.getloadavg()[0],
        "python": platform.python_version(),
        **packages,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def save(rows: list[Row], path: Path) -> None:
    """Write rows and machine as JSON, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "rows": [{**asdict(row), "ratio": row.ratio} for row in rows]}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1))
    part.replace(path)


def text(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| what | value | unit | reference | ratio | must | aim |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        reference = f"{_short(row.reference)} ({row.reference_is})" if row.reference else "-"
        ratio = f"{row.ratio:.2f}" if row.ratio else "-"
        cells = (row.what, _short(row.value), row.unit, reference, ratio, _short(row.must), _short(row.aim))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
