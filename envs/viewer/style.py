"""What pictures share: colours, words and numbers as a person reads them. The palette is that of Okabe and Ito."""

from __future__ import annotations

import math
from dataclasses import dataclass

from envs.viewer.recording import FIRST_DROP, Figures


@dataclass(frozen=True)
class Palette:
    """Colours of one theme."""

    paper: str
    ink: str
    faint: str
    link: str
    node: str
    levels: tuple[str, str, str]  # of a queue that is calm, half full, nearly full
    busy: str
    upload: str
    result: str
    late: str
    drop: str
    decision: str
    in_time: str


LIGHT = Palette(
    paper="#FFFFFF",
    ink="#1F2933",
    faint="#6B7680",
    link="#D5DADF",
    node="#FFFFFF",
    levels=("#A9CCE8", "#F3C56B", "#E57B5F"),
    busy="#3C7A55",
    upload="#0072B2",
    result="#009E73",
    late="#B0478F",
    drop="#D32F1E",
    decision="#E69F00",
    in_time="#009E73",
)
DARK = Palette(
    paper="#14181D",
    ink="#E6EAEE",
    faint="#93A0AC",
    link="#343C45",
    node="#1E252C",
    levels=("#2F6C9C", "#A87A1C", "#B4462F"),
    busy="#6CC08F",
    upload="#56B4E9",
    result="#2FCFA0",
    late="#E38CC6",
    drop="#FF6B57",
    decision="#F0B429",
    in_time="#2FCFA0",
)
FILL_HALF, FILL_NEARLY = 0.5, 0.9  # shares of places from which a queue has the second and the third colour
N_PIPS = 8  # marks for cores below a node; of a node with more cores each stands for several
_DROPS = ("#D93A2B", "#A0672F", "#7A8087", "#B8479F")
TIER_SIGNS = ("●", "■", "◆")


def seconds(value_s: float) -> str:
    """Return a time of three digits with its unit."""
    if not math.isfinite(value_s):
        return "-"
    if value_s < 1.0:
        return f"{1e3 * value_s:.3g} ms"
    return f"{value_s:.3g} s" if value_s < 1000.0 else f"{value_s:.0f} s"


def share(value: float) -> str:
    """Return a share as a percentage."""
    return f"{100.0 * value:.0f} %" if math.isfinite(value) else "-"


def figures_line(figures: Figures, drop_reasons: tuple[str, ...]) -> str:
    """Return the figures so far in one line."""
    reasons = ", ".join(
        f"{count} {reason.replace('_', ' ')}"
        for count, reason in zip(figures.dropped, drop_reasons, strict=True)
        if count
    )
    n_dropped = sum(figures.dropped)
    return (
        f"mean response {seconds(figures.response_s_mean)}   in time {share(figures.in_time_frac)}   "
        f"late {figures.late}   dropped {n_dropped}{f' ({reasons})' if reasons else ''}   "
        f"tasks {figures.created}, {figures.created - figures.left} in the system"
    )


def short(names: tuple[str, ...], longest: int = 12) -> tuple[str, ...]:
    """Return names that fit under a node: the end is what tells them apart."""
    return tuple(name if len(name) <= longest else "…" + name[1 - longest :] for name in names)


def level(fill_frac: float) -> int:
    """Return which of the palette's levels a share of places has."""
    return int(fill_frac >= FILL_HALF) + int(fill_frac >= FILL_NEARLY)


def drop_colour(outcome: int) -> str:
    """Return the colour of a reason of drops, in both themes."""
    return _DROPS[(outcome - FIRST_DROP) % len(_DROPS)]
