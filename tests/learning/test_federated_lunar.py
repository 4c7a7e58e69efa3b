"""LunarLander by federated policy gradients, in far fewer episodes than were published.

Published for five clients: a return of 12 after 8,000 episodes of each. A policy that is not trained has about -170.
"""

from __future__ import annotations

import numpy as np
import pytest

from edge_rllib.config.load import load_run
from edge_rllib.experiment.build import algorithm_config
from edge_rllib.federated.build import without_ray


@pytest.mark.slow
def test_five_clients_learn_to_land() -> None:
    rounds = without_ray(algorithm_config(load_run("run/federated_lunar_lander", {"seed": 1})))
    returns = [rounds.play().honest_return for _ in range(50)]  # of 10 episodes of each client

    assert np.mean(returns[:2]) < -100.0
    assert np.mean(returns[-5:]) > 12.0  # 64 of this seed, 160 of seed 101
