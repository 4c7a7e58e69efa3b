"""Which rules are played in which world, and what a user is told who asks for another."""

import pytest

from edge_rllib.experiment.evaluation import rule_names
from envs.errors import ConfigError


def test_all_stands_for_the_rules_that_the_world_can_show_what_they_read():
    fog, mec = rule_names(["all"], "fog"), rule_names(["all"], "mec")
    assert {"least_queue", "local", "random"} <= set(fog)
    assert {"local", "one_server", "random", "size_rank"} <= set(mec)
    assert set(fog) & set(mec) == {"local", "random"}
    assert rule_names(["all"], "matching") == []


def test_named_rules_come_first_and_once():
    names = rule_names(["random", "all", "random"], "fog")
    assert names[0] == "random"
    assert sorted(names) == rule_names(["all"], "fog")


def test_rule_of_another_world_is_refused_with_the_rules_of_this_one():
    message = (
        r"evaluation\.rules: least_queue cannot be played in world mec, only in fog; the rules of that world are: "
    )
    with pytest.raises(ConfigError, match=message + r"(\w+, )*local, .*size_rank"):
        rule_names(["local", "least_queue"], "mec")
    with pytest.raises(ConfigError, match="size_rank cannot be played in world fog, only in mec"):
        rule_names(["size_rank"], "fog")


def test_rule_in_a_world_without_rules_is_refused():
    message = "local cannot be played in world matching, only in fog, mec, multiuser, testbed; no rule can"
    with pytest.raises(ConfigError, match=message):
        rule_names(["local"], "matching")


def test_users_rule_is_a_fog_rule_unless_it_says_otherwise(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "from envs.baselines.local import Local\n"
        "from envs.baselines.base import Rule\n"
        "@dataclass(frozen=True)\n"
        "class Stay(Rule):\n"
        "    def decide(self, view, step, draws):\n"
        "        return Local().decide(view, step, draws)\n"
        "@dataclass(frozen=True)\n"
        "class StayOnACell(Stay):\n"
        "    worlds = ('mec',)\n"
    )
    assert rule_names([f"{file}:Stay"], "fog") == [f"{file}:Stay"]
    assert rule_names([f"{file}:StayOnACell"], "mec") == [f"{file}:StayOnACell"]
    with pytest.raises(ConfigError, match="Stay cannot be played in world mec, only in fog"):
        rule_names([f"{file}:Stay"], "mec")
