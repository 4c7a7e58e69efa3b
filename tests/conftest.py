"""What every test shares: one Ray session, single-threaded torch, figures without a screen, small hypothesis runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

# Before anything imports them: Ray and matplotlib read these once.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray 2.60 warns in each process that has no GPU
os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's threads fight with Ray's processes for the cores

import pytest
from hypothesis import HealthCheck, settings

OBJECT_STORE_BYTES = 300_000_000
RAY_CPUS = 6  # slots for actors, not cores: most actors of a test wait

settings.register_profile("few", max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("many", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "few"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs the extra ``lunar`` where that is not installed; the lock file has it."""
    if find_spec("Box2D") is None:
        skipped = pytest.mark.skip(reason='Box2D is not installed: pip install "edge-rllib[lunar]"')
        for item in items:
            if "lunar" in item.nodeid:
                item.add_marker(skipped)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Start one local Ray for the whole session and shut down that one, and only that one, at the end."""
    import ray

    ray.init(
        address="local",  # a head that runs on this machine is somebody else's
        num_cpus=RAY_CPUS,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=OBJECT_STORE_BYTES,
        configure_logging=False,
    )
    yield
    ray.shutdown()
