"""Rules decide as they say, decisions are checked, and what was seen becomes features in a known order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_rllib.testbed.params import BedScenario
from edge_rllib.testbed.policies import RULES, checked, cuts_of, load_policy
from edge_rllib.testbed.scenarios import load_scenario
from edge_rllib.testbed.sight import Sight, feature_names, observation
from envs.arrays import BOOL
from envs.errors import ConfigError, DecisionError, UnknownName

ALL = np.ones((3, 3), np.bool_)  # three devices, two servers


@pytest.fixture
def scenario() -> BedScenario:
    return load_scenario("testbed_2bs_3md")


def sight(**changes: object) -> Sight:
    """Return three devices with a task of ten frames each before two idle servers."""
    seen = Sight(
        n_frames=np.full(3, 10.0),
        payload_bits=np.tile([4e6, 4e5, 2e5, 1e5], (3, 1)),
        local_backlog_s=np.zeros(3),
        local_service_s=np.full(3, 2.0),
        server_backlog_s=np.zeros(2),
        server_service_s=np.full((3, 2), 0.5),
        rate_bps=np.full((3, 2), 1e7),
        is_up=np.ones((3, 2), np.bool_),
        deadline_s=2.0,
    )
    return seen._replace(**changes)


def no_feature(mask: BOOL) -> np.ndarray:
    return np.zeros((len(mask), 1), np.float32)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_decides_what_is_allowed(name: str, scenario: BedScenario) -> None:
    policy = load_policy(name, scenario)
    seen = sight(is_up=np.array([[True, False], [False, True], [False, False]]))

    for _ in range(5):
        targets, cuts, n_refused = checked(
            policy.decide(observation(seen), seen.target_mask), seen.target_mask, is_partial=True
        )
        assert n_refused == 0
        assert targets[2] == 0
        assert ((cuts == 4) == (targets == 0)).all()


def test_edge_rule_spreads_devices_and_avoids_servers_that_are_down(scenario: BedScenario) -> None:
    policy = load_policy("edge", scenario)

    assert policy.decide(no_feature(ALL), ALL)[0].tolist() == [1, 2, 1]
    only_second = np.array([[True, False, True]] * 3)
    assert policy.decide(no_feature(ALL), only_second)[0].tolist() == [2, 2, 2]
    none = np.array([[True, False, False]] * 3)
    assert policy.decide(no_feature(ALL), none)[0].tolist() == [0, 0, 0]


def test_round_robin_takes_turns(scenario: BedScenario) -> None:
    policy = load_policy("round_robin", scenario)

    turns = [policy.decide(no_feature(ALL), ALL)[0].tolist() for _ in range(3)]

    assert turns == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]


def test_random_rule_is_a_function_of_the_seed(scenario: BedScenario) -> None:
    first, second = (load_policy("random", scenario) for _ in range(2))

    for _ in range(3):
        assert np.array_equal(first.decide(no_feature(ALL), ALL)[0], second.decide(no_feature(ALL), ALL)[0])


def test_least_response_time_by_hand(scenario: BedScenario) -> None:
    policy = load_policy("least_response_time", scenario)

    # raw 4e6 bits at 1e7 bit/s take 0.4 s, decoded 0.04 s; with 0.5 s of service the second server's wait decides
    seen = sight(server_backlog_s=np.array([1.0, 0.0]))
    targets, amounts = policy.decide(observation(seen), seen.target_mask)
    assert targets.tolist() == [2, 2, 2]
    assert amounts.tolist() == [0.75, 0.75, 0.75]

    # a device whose lane is busy for 1 s sends the raw clip; one that is free and quick works itself
    seen = sight(local_backlog_s=np.array([1.0, 0.0, 0.0]), local_service_s=np.array([2.0, 0.1, 2.0]))
    targets, amounts = policy.decide(observation(seen), seen.target_mask)
    assert targets.tolist() == [1, 0, 1]
    assert amounts.tolist() == [1.0, 1.0, 0.75]


def test_features_are_in_the_order_of_their_names() -> None:
    seen = sight(local_backlog_s=np.array([1.0, 0.0, 0.0]), server_backlog_s=np.array([0.0, 3.0]))
    names = feature_names(2)

    shown = observation(seen)

    assert shown.shape == (3, len(names))
    assert shown.dtype == np.float32
    first = dict(zip(names, shown[0].tolist(), strict=True))
    # seconds over the deadline of 2 s; bits over 1e7
    assert first["local_backlog"] == 0.5
    assert first["local_service"] == 1.0
    assert first["payload_0"] == pytest.approx(0.4)
    assert first["server_0_upload"] == pytest.approx(0.2)
    assert first["server_1_backlog"] == 1.5
    assert first["server_1_service"] == 0.25
    assert first["server_1_is_up"] == 1.0


def test_amount_is_the_share_of_stages_that_the_server_does() -> None:
    targets = np.array([0, 1, 1, 1, 1, 1])
    amounts = np.array([1.0, 1.0, 0.75, 0.6, 0.25, 0.0])

    # four stages: 0.75 leaves one to the device, 0.6 one and a half, of which one; the last is never the device's
    assert cuts_of(targets, amounts, is_partial=True).tolist() == [4, 0, 1, 1, 3, 3]
    assert cuts_of(targets, amounts, is_partial=False).tolist() == [4, 0, 0, 0, 0, 0]


def test_masked_target_is_replaced_and_counted() -> None:
    mask = np.array([[True, False], [True, True]])

    targets, cuts, n_refused = checked((np.array([1, 1]), np.ones(2)), mask, is_partial=True)

    assert (targets.tolist(), cuts.tolist(), n_refused) == ([0, 1], [4, 0], 1)


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        ((np.zeros(2, np.int64), np.ones(3)), r"targets int64 \(2,\)"),
        ((np.zeros(3), np.ones(3)), "expected whole numbers"),
        ((np.array([0, 3, 0]), np.ones(3)), "targets below 3"),
        ((np.zeros(3, np.int64), np.full(3, 1.5)), "amounts from 0 to 1"),
        ((np.zeros(3, np.int64), np.full(3, np.nan)), "amounts from 0 to 1"),
    ],
)
def test_decision_that_is_none_is_refused(decision: tuple[np.ndarray, np.ndarray], message: str) -> None:
    with pytest.raises(DecisionError, match=message):
        checked(decision, ALL, is_partial=True)


def test_policy_of_a_users_file_is_made_with_the_scenario(tmp_path: Path, scenario: BedScenario) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np\n"
        "class Mine:\n"
        "    def __init__(self, scenario): self.n = scenario.n_devices\n"
        "    def decide(self, observation, mask): return np.full(self.n, 2), np.ones(self.n)\n"
        "class Not: \n"
        "    def __init__(self, scenario): pass\n",
        encoding="utf-8",
    )

    assert load_policy(f"{file}:Mine", scenario).decide(no_feature(ALL), ALL)[0].tolist() == [2, 2, 2]
    with pytest.raises(ConfigError, match="has no 'Other'"):
        load_policy(f"{file}:Other", scenario)
    with pytest.raises(ConfigError, match="has no method decide"):
        load_policy(f"{file}:Not", scenario)
    with pytest.raises(ConfigError, match="no such file"):
        load_policy(f"{tmp_path / 'none.py'}:Mine", scenario)


def test_unknown_rule_is_refused_with_the_near_name(scenario: BedScenario) -> None:
    with pytest.raises(UnknownName, match="did you mean 'local'"):
        load_policy("lokal", scenario)
