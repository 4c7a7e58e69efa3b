"""What a user gets wrong in settings is refused in one line that says what, where and what is near."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_rllib.config.load import load_run, load_scenario
from envs.errors import ConfigError, EdgeError

CASES = [
    ("algorithm.gama=0.9", ["override 'algorithm.gama'", "did you mean 'gamma'?"]),
    ("algorithm=ipo", ["no algorithm named 'ipo'", "'ippo'", "override 'algorithm'"]),
    ("model=mlpp", ["no model named 'mlpp'", "'mlp'"]),
    ("modle=mlp", ["unknown key 'modle'", "'model'"]),
    ("scenario=fog_ring", ["no scenario named 'fog_ring'", "'fog_ring_8'"]),
    ("scenario.topology=rin", ["no topology named 'rin'", "'ring'"]),
    ("scenario.wrold=fog", ["unknown key 'wrold'", "'world'"]),
    ("scenario.params.slot=0.1", ["unknown key 'slot'", "'slot_s'"]),
    ("scenario.params.horizon_slots=0", ["horizon_slots = 0", "at least 1"]),
    ("scenario.topology=nowhere.py:Mine", ["no file 'nowhere.py'"]),
    ("scenario.topology=envs.errors:Mine", ["envs.errors has no class 'Mine'"]),
    ("scenario.topology=no.such.module:Mine", ["module 'no.such.module' cannot be imported"]),
    ("total_env_steps=0", ["total_env_steps = 0", "at least 1"]),
    ("n_worlds=many", ["override 'n_worlds'", "whole number", "'many'"]),
    ("evaluation.decisions=greedily", ["expected one of 'greedy', 'sampled'", "did you mean 'greedy'?"]),
    ("algorithm.gamma=2", ["gamma = 2.0", "[0, 1]"]),
    ("seed", ["override 'seed'", "key=value"]),
    ("seed.x=1", ["override 'seed'"]),
    ("algorithm.gamma=[", ["not valid YAML"]),
]


@pytest.mark.parametrize(("override", "words"), CASES)
def test_wrong_override_is_refused_in_one_line(override: str, words: list[str]) -> None:
    with pytest.raises(EdgeError) as caught:
        load_run("quickstart", [override])

    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_users_python_file_with_an_error_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise ValueError('oops')\n")

    with pytest.raises(ConfigError, match=r"mine\.py: cannot be imported: ValueError: oops"):
        load_scenario("fog_ring_8", {"topology": f"{tmp_path}/mine.py:Mine"})


def test_missing_run_file_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="looked for"):
        load_run(str(tmp_path / "nowhere.yaml"))
