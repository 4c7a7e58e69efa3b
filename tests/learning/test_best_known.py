"""One device, one server, best decision known: every algorithm finds it."""

from __future__ import annotations

import pytest

from edge_rllib.config.registry import names

# MDOff, MPOff and MTOff are MADDPG, MAPPO and MATD3 with values for MEC cells.
ALGORITHMS = sorted(set(names("algorithm")) - {"mdoff", "mpoff", "mtoff"})
SLOW = (
    *("collective", "ddpg", "sac", "td3"),  # the same steps as maddpg, masac and matd3, another critic
    *("cmoff", "masac"),  # coma and matd3 stand for their families
)
REPLAYED = ("maddpg", "matd3", "masac", "ddpg", "td3", "sac")
# Small fragments: few worlds, and a decision at most every second step
VALUES = {
    "ippo": {"fragment_steps": 20, "minibatch_rows": 200, "learning_rate": 0.003, "final_learning_rate": 0.001},
    "mappo": {"fragment_steps": 20, "minibatch_rows": 200, "learning_rate": 0.003, "final_learning_rate": 0.001},
    "a2c": {"fragment_steps": 5, "learning_rate": 0.005, "final_learning_rate": 0.002},
    "cmoff": {"fragment_steps": 10},
    "coma": {"fragment_steps": 10},
    "ddqn": {"fragment_steps": 5},
    "collective": {
        "learner": {"name": "ddpg", "warm_up_steps": 500, "minibatch_steps": 256},
        "n_sites": 2,
        "generation_steps": 1_600,
    },
    "federated": {"n_clients": 4, "n_faulty": 1, "attack": "sign_flip"},
    **{name: {"warm_up_steps": 1_000, "minibatch_steps": 256} for name in REPLAYED},
}
STEPS = {**dict.fromkeys(REPLAYED, 12_000), "collective": 16_000}  # a replay makes more of a step


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ALGORITHMS]
)
def test_algorithm_reaches_95_percent_of_the_best_return(judge, name):
    judged = judge({"name": name, **VALUES[name]}, "pair_best_known", ("cloud_only", "local"), STEPS.get(name, 40_000))
    best, worst = judged.rules["cloud_only"]["return"], judged.rules["local"]["return"]
    assert best > worst + 10.0  # the decision matters
    assert judged.learned["return"] >= worst + 0.95 * (best - worst)
