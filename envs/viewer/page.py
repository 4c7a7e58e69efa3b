"""A recording as one HTML file that plays in any browser: data, program and style inside, nothing is fetched."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from envs.arrays import F8
from envs.constants import TIER_NAMES
from envs.viewer.layout import node_radius, places
from envs.viewer.recording import Recording
from envs.viewer.style import DARK, FILL_HALF, FILL_NEARLY, LIGHT, N_PIPS, drop_colour

_TEMPLATE = Path(__file__).with_name("page.html")
_MARK = "/*recording*/"
_BOX = (1000.0, 620.0)
_SIDE, _TOP, _BOTTOM = 48.0, 34.0, 54.0  # margins around the centres of the nodes
_DIGITS = 4  # decimal places of a step that times are written with


def page(recording: Recording, speed: float) -> str:
    """Return the page; ``speed`` is in simulated seconds a second, and can be changed in it."""
    text = json.dumps(payload(recording, speed), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    # Inside a script element "<" could end it; U+2028 and U+2029 are line ends to old browsers.
    for sign, code in (("<", "\\u003c"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):
        text = text.replace(sign, code)
    return _TEMPLATE.read_text(encoding="utf-8").replace(_MARK, text)


def payload(recording: Recording, speed: float) -> dict[str, Any]:
    """Return everything that the page shows, as JSON has it; times in seconds, null for never."""
    digits = _DIGITS + max(-math.floor(math.log10(max(recording.duration_s, 1e-9) / max(recording.n_steps, 1))), 0)

    def times(values: F8) -> list[float | None]:
        return [round(value, digits) if math.isfinite(value) else None for value in values.tolist()]

    stretches, endings, decisions = recording.stretches, recording.endings, recording.decisions
    shown = (stretches.start_s < recording.step_s[-1]) & (stretches.end_s >= recording.step_s[0])
    return {
        "scenario": recording.scenario,
        "policy": recording.policy,
        "world": recording.world_id,
        "speed": speed,
        "before": recording.n_steps_before,
        "steps": times(recording.step_s),
        "box": _BOX,
        **_network(recording),
        "created": times(recording.created_s),
        "stretches": {
            "kind": stretches.kind[shown].tolist(),
            "place": stretches.place[shown].tolist(),
            "start": times(stretches.start_s[shown]),
            "move": times(stretches.move_s[shown]),
            "end": times(stretches.end_s[shown]),
            "due": times(stretches.due_s[shown]),
        },
        "endings": {
            "time": times(endings.time_s),
            "node": endings.node.tolist(),
            "outcome": endings.outcome.tolist(),
            "response": times(endings.response_s),
        },
        "decisions": {
            "time": times(decisions.time_s),
            "node": decisions.node.tolist(),
            "target": decisions.target.tolist(),
        },
        "outcomes": [{"name": name, "colour": drop_colour(i)} for i, name in enumerate(recording.outcomes)],
        "tiers": TIER_NAMES,
        "fills": (FILL_HALF, FILL_NEARLY),
        "pips": N_PIPS,
        "palettes": {"light": asdict(LIGHT), "dark": asdict(DARK)},
    }


def _network(recording: Recording) -> dict[str, Any]:
    """Return nodes, with places in the box from its top left corner, and links."""
    topology = recording.topology
    inner = (_BOX[0] - 2.0 * _SIDE, _BOX[1] - _TOP - _BOTTOM)
    radius = node_radius(topology.n_nodes, *inner)
    at = places(topology.position_m, *inner, radius) + (_SIDE, _BOTTOM)
    agents = set(recording.agent_node.tolist())
    return {
        "radius": round(radius, 2),
        "nodes": [
            {
                "name": topology.node_name[m],
                "type": topology.node_type[m],
                "tier": int(topology.tier[m]),
                "cores": int(topology.n_cores[m]),
                "ghz": float(f"{topology.core_hz[m] / 1e9:.3g}"),
                "places": int(topology.queue_places[m]),
                "decides": m in agents,
                "x": round(float(at[m, 0]), 1),
                "y": round(_BOX[1] - float(at[m, 1]), 1),
            }
            for m in range(topology.n_nodes)
        ],
        "links": np.stack((recording.link_source, recording.link_target), axis=1).tolist(),
    }
