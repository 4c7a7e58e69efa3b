"""Every testbed scenario loads, and what cannot be is refused with its file and key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from edge_rllib.config.paths import config_names
from edge_rllib.testbed.params import least_scale
from edge_rllib.testbed.rates import OwnRates, SharedRates, rate_model
from edge_rllib.testbed.scenarios import KIND, dump, load_scenario
from envs.errors import ConfigError, UnknownName


@pytest.mark.parametrize("name", config_names(KIND))
def test_scenario_loads_and_fits_on_two_cores(name: str) -> None:
    scenario = load_scenario(name)

    assert scenario.name == name
    assert scenario.cores() <= 2.0
    assert least_scale(scenario) <= 1.0


def test_names_tell_the_numbers_of_devices_and_servers() -> None:
    sizes = {name: (s.n_devices, s.n_servers) for name in config_names(KIND) for s in [load_scenario(name)]}

    assert {sizes[f"testbed_{n}"] for n in range(3, 9)} == {(n, 1) for n in range(3, 9)}
    assert sizes["testbed_2bs_3md"] == (3, 2)
    assert sizes["testbed_2bs_5md"] == (5, 2)
    assert sizes["testbed_3bs_5md"] == (5, 3)
    assert sizes["testbed_3bs_7md"] == (7, 3)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    scenario = load_scenario("testbed_2bs_3md", ["epoch_s=0.5", "work.side_px=128"])
    file = tmp_path / "testbed_2bs_3md.yaml"
    file.write_text(dump(scenario), encoding="utf-8")

    assert load_scenario(str(file)) == scenario
    assert scenario.work.side_px == 128


def test_file_may_hold_only_what_differs(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: testbed_5\nseed: 9\n", encoding="utf-8")

    mine = load_scenario(str(file))

    assert (mine.name, mine.n_devices, mine.seed) == ("mine", 5, 9)


def test_file_based_on_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: b.yaml\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n", encoding="utf-8")

    with pytest.raises(ConfigError, match="based on this file itself"):
        load_scenario(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=3", "unknown key 'epochs'; did you mean 'epoch_s'"),
        ("n_devices=0", "n_devices = 0: expected 1 to 64"),
        ("device_cores=[1.5]", r"device_cores = \[1.5\]: expected shares of a core"),
        ("servers=[]", "0 servers: expected 1 to 16"),
        ("work.frames=[5, 2]", r"frames = \[5, 2\]"),
        ("work.jpeg_quality=100", "jpeg_quality = 100: expected 1 to 95"),
        ("link.up_bps=[[0]]", r"up_bps = \[\[0.0\]\]: expected rows of rates"),
        ("work.detector=lpb", "expected one of 'lbp', 'haar', got 'lpb'; did you mean 'lbp'"),
        ("cost.late=-1", "late = -1.0: expected 0.0 to inf"),
    ],
)
def test_impossible_value_is_refused_with_its_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_scenario("testbed_3", [override])


def test_unknown_scenario_is_refused_with_the_near_name() -> None:
    with pytest.raises(UnknownName, match="did you mean 'testbed_3'"):
        load_scenario("testbed3")


def test_rows_of_rates_and_shares_of_cores_repeat() -> None:
    scenario = load_scenario("testbed_2bs_3md", ["n_devices=4", "device_cores=[0.1, 0.2, 0.3]"])
    rates = yaml.safe_load("[[3.1e+7, 2.8e+7], [2.9e+7, 2.9e+7], [2.8e+7, 3.1e+7]]")

    assert scenario.cores_of(3) == 0.1
    assert scenario.up_bps(3, 1) == rates[0][1]
    assert scenario.up_bps(2, 1) == rates[2][1]


# devices 0 and 1 upload to server 0, nobody to server 1
BUSY = np.array([[True, False], [True, False], [False, False]])


def test_own_rates_do_not_depend_on_others() -> None:
    scenario = load_scenario("testbed_2bs_3md")

    assert isinstance(rate_model(scenario), OwnRates)
    assert rate_model(scenario).rates_bps(BUSY).tolist()[0] == [3.1e7, 2.8e7]


def test_shared_rates_are_divided_by_those_who_upload() -> None:
    scenario = load_scenario("testbed_2bs_3md", ["link.sharing=shared"])

    assert isinstance(rate_model(scenario), SharedRates)
    # server 0 has two uploads, server 1 none, and a rate that nobody uses is whole
    assert rate_model(scenario).rates_bps(BUSY).tolist()[0] == [1.55e7, 2.8e7]


def test_least_scale_is_that_of_the_lane_with_most_cores() -> None:
    # the server's 0.5 cores are two lanes of 0.25; four times as fast, each would need a whole core
    scenario = load_scenario("testbed_ci", ["device_cores=[0.2]"])

    assert least_scale(scenario) == 0.25
