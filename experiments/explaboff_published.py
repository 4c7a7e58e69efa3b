"""Numbers of others that experiments/explaboff_paper.py sets beside its own, with where they come from.

The paper: T. Ren, Z. Hu, J. Niu, Y. Yao, IEEE INFOCOM 2025, doi 10.1109/INFOCOM55648.2025.11044758, section V: a
million episodes, weights 3.5 and 1. Values are those of its text where it has them, else read off its curves (to about
0.05). Its AvgCost is the cost that the released code logs: of a failed episode the largest delay of its last slot.
"""

from __future__ import annotations

from typing import Any

PUBLISHED: dict[str, dict[str, dict[str, float]]] = {  # setting -> policy -> figures at the end
    "2es_3md": {
        "explaboff": {"reported_cost": 0.95, "met_frac": 1.0},
        "mdoff": {"reported_cost": 1.25, "met_frac": 0.83},
        "cmoff": {"reported_cost": 1.25, "met_frac": 0.78},
        "mpoff": {"reported_cost": 1.95, "met_frac": 0.3},
        "mtoff": {"reported_cost": 1.65, "met_frac": 0.43},
    },
    "2es_5md": {
        "explaboff": {"reported_cost": 1.35, "met_frac": 0.9},
        "mdoff": {"reported_cost": 1.65, "met_frac": 0.6},
        "cmoff": {"reported_cost": 1.75, "met_frac": 0.68},
        "mpoff": {"reported_cost": 2.1, "met_frac": 0.6},
        "mtoff": {"reported_cost": 1.9, "met_frac": 0.6},
    },
    "3es_7md": {
        "explaboff": {"reported_cost": 1.2, "met_frac": 0.93},
        "mdoff": {"reported_cost": 5.1, "met_frac": 0.0},
        "cmoff": {"reported_cost": 1.65, "met_frac": 0.78},
        "mpoff": {"reported_cost": 1.85, "met_frac": 0.58},
        "mtoff": {"reported_cost": 5.5, "met_frac": 0.0},
    },
}

# The released code (huzheyuan740/ExplabOff, commit 5a90daf), run on 2ES-3MD: means over the last window of training, a
# twentieth of the episodes, of decisions with their exploration; one seed each. Its AvgCost is the logged one, too.
RELEASED: tuple[dict[str, Any], ...] = (
    {
        "policy": "explaboff",
        "seed": 4,
        "env_steps": 180_417,
        "updates": 980,
        "reported_cost": 1.60,
        "survived_frac": 0.53,
    },
    {
        "policy": "explaboff",
        "seed": 1,
        "env_steps": 218_588,
        "updates": 812,
        "reported_cost": 1.76,
        "survived_frac": 0.43,
    },
    {
        "policy": "cmoff",
        "seed": 1,
        "env_steps": 641_724,
        "updates": 1_479,
        "reported_cost": 1.62,
        "survived_frac": 0.51,
    },
    {"policy": "mdoff", "seed": 2, "env_steps": 275_814, "updates": 2_758, "reported_cost": 3.23, "survived_frac": 0.0},
    {"policy": "mtoff", "seed": 0, "env_steps": 166_164, "updates": 1_661, "reported_cost": 6.53, "survived_frac": 0.0},
    {"policy": "mpoff", "seed": 0, "env_steps": 6_685, "updates": 2_785, "reported_cost": 2.31, "survived_frac": 0.15},
)
