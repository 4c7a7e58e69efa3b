"""How a run comes by its Ray: its own, unless an address was given."""

from __future__ import annotations

import logging
import os
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


LEVEL_LINE = b"[I 1 1] logging.cc:303: Set ray log level from environment variable RAY_BACKEND_LOG_LEVEL to 3\n"


def tell(seen: dict[str, Any], error: type[Exception] | None = None) -> Any:
    """Return a stand-in for ``ray.init`` that notes the level and writes to stderr as Ray's C++ does."""

    def init(**kwargs: Any) -> None:
        seen["level"] = os.environ.get("RAY_BACKEND_LOG_LEVEL")
        os.write(2, LEVEL_LINE + b"something else\n")
        if error is not None:
            raise error("no")

    return init


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize("error", [None, ConnectionError])
def test_harmless_lines_of_ray_do_not_reach_the_user(
    error: type[Exception] | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL", raising=False)
    seen: dict[str, Any] = {}
    monkeypatch.setattr(ray, "init", tell(seen, error))

    if error is None:
        start_ray(n_slots=3)
    else:
        with pytest.raises(error):
            start_ray(n_slots=3)

    assert seen["level"] == "fatal"
    assert "RAY_BACKEND_LOG_LEVEL" not in os.environ  # what the user starts next is as talkative as ever
    os.write(2, b"and afterwards\n")
    assert capfd.readouterr().err == "something else\nand afterwards\n"


@pytest.mark.usefixtures("given")
def test_level_that_the_user_set_is_the_users(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "debug")
    seen: dict[str, Any] = {}
    monkeypatch.setattr(ray, "init", tell(seen))

    start_ray(n_slots=3)

    assert seen["level"] == os.environ["RAY_BACKEND_LOG_LEVEL"] == "debug"
    assert capfd.readouterr().err == LEVEL_LINE.decode() + "something else\n"


@pytest.mark.usefixtures("given")
def test_ray_does_not_ask_for_widgets_in_notebooks(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("ray.widgets").setLevel(logging.INFO)

    start_ray(n_slots=1)
    logging.getLogger("ray.widgets.util").info("Missing packages: ['ipywidgets'].")

    assert not caplog.records
