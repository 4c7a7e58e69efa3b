"""The urban scenario: every algorithm beats least-queue on worlds that it never saw, whatever the seed."""

from __future__ import annotations

import pytest

SEEDS = (1, 2, 3)
# The values of the others are for the few agents and rare tasks of a MEC cell.
ALGORITHMS = ("a2c", "ddqn", "ippo", "mappo")


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_algorithm_beats_least_queue_on_held_out_worlds(judge, name, seed):
    judged = judge({"name": name}, "fog_ether_urban_19", ("least_queue",), 150_000, seed=seed)
    learned, rule = judged.learned, judged.rules["least_queue"]
    assert learned["response_time_s_mean"] < rule["response_time_s_mean"]
    assert learned["in_time_frac"] > rule["in_time_frac"]
