"""What the bench of collective training measures is what it says."""

from __future__ import annotations

import pytest

from edge_rllib.experiment.bench import collective as bench

pytestmark = [
    pytest.mark.usefixtures("ray_session"),
    # Ray leaves pipes and sockets of its processes to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.slow
def test_every_site_pushes_in_each_generation_and_pulls_what_there_is():
    pushes, pulls = bench.latencies("unawaited", n_sites=3, n_numbers=50, n_generations=2)
    assert (len(pushes), len(pulls)) == (6, 6)
    _, of_barrier = bench.latencies("barrier", n_sites=3, n_numbers=50, n_generations=2)
    assert 3 < len(of_barrier) < 6  # before the first three have pushed there is nothing to pull
