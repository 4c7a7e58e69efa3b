"""How long work takes an actor that is as slow as a client: what it takes, and a wait behind it."""

from __future__ import annotations

from typing import Any

import pytest

from edge_rllib.federated.collectors import actors
from edge_rllib.federated.collectors.actors import Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a list whose only entry is the time."""
    time_s = [10.0]
    monkeypatch.setattr(actors.time, "monotonic", lambda: time_s[0])
    return time_s


def test_a_step_costs_what_it_is_said_to_at_the_speed(clock: Any) -> None:
    pace = Pace(step_s=0.5, speed=2.0)

    clock[0] = 10.3
    assert pace.wait_s(4) == pytest.approx(0.7)  # 4 * 0.5 / 2 = 1 s, of which 0.3 have gone
    clock[0] = 11.2  # it has slept until 11, or a little longer
    assert pace.wait_s(6) == pytest.approx(0.3)  # 6 steps end at 11.5: a late waking is made up for
    assert pace.demand_s == pytest.approx(3.0)
    clock[0] = 12.5
    assert pace.wait_s(8) == 0.0  # real work took longer


def test_real_work_takes_a_slow_client_longer(clock: Any) -> None:
    pace = Pace(step_s=0.0, speed=0.5)

    clock[0] = 10.3
    assert pace.wait_s(4) == pytest.approx(0.3)
    clock[0] = 10.8  # 0.3 s of sleep, 0.2 s of work
    assert pace.wait_s(7) == pytest.approx(0.2)
    assert pace.demand_s == pytest.approx(0.5)
