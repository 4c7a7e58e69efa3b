"""How a run comes by its Ray: its own, unless an address was given."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from edge_rllib.experiment.build import start_ray


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what ``ray.init`` is given; no Ray is started."""
    options: dict[str, Any] = {}
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **kwargs: options.update(kwargs))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0})
    return options


def test_without_an_address_a_run_starts_its_own_ray_beside_any_head(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    assert start_ray(n_slots=3)
    assert given["address"] == "local"
    assert given["num_cpus"] >= 3


def test_with_an_address_a_run_joins_and_says_nothing_about_sizes(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")

    assert start_ray(n_slots=3)
    assert not {"address", "num_cpus", "object_store_memory"} & set(given)


def test_cluster_with_too_few_slots_is_told(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")

    start_ray(n_slots=2)  # this process and one env runner, for which there is a slot
    assert not caplog.records
    start_ray(n_slots=3)

    assert "has 1 CPU slots, the run asks for 2" in caplog.text
