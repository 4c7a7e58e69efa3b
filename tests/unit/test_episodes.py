"""Files of episodes: they give back what was played, lead to the same transitions, and bad ones are refused."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_rllib.config.load import load_rule, load_scenario
from edge_rllib.runners import stored_episodes
from edge_rllib.runners.replay import Replay
from edge_rllib.runners.rollout import Rollout
from edge_rllib.runners.stored_episodes import (
    SIMULATION,
    EpisodeWriter,
    Recorded,
    count_steps,
    fragments,
    read_episodes,
    wrong_name,
)
from envs.baselines.base import Player
from envs.errors import ConfigError
from envs.matching.world import MatchingParams
from envs.scenario import Scenario, make

MATCHING = Scenario("matching", "matching", None, 0, None, MatchingParams(3, 4, 10, 0.5, 0.6, 0, 0))
AMOUNTS = replace(MATCHING, params=replace(MATCHING.params, n_amounts=2))


def write(path, scenario, n_steps, n_worlds=1, n_each=None, with_state=True):
    """Play random targets into a file; return the steps as (seen, decision, amounts, outcome) and the spec."""
    world = make(scenario, n_worlds, seed=3)
    generator, out, played = np.random.default_rng(1), world.outcome(), []
    shape = (n_worlds, world.spec.n_agents)
    with EpisodeWriter(path, world.spec, SIMULATION, with_state=with_state, n_each=n_each) as writer:
        recorded = Recorded(world, writer)
        recorded.reset(None, out)
        for _ in range(n_steps):
            seen = tuple(part.copy() for part in (out.observation, out.target_mask, out.state))
            decision = (generator.random((*shape, world.spec.n_targets)) * out.target_mask).argmax(-1)
            amounts = generator.random((*shape, world.spec.n_amounts)) if world.spec.n_amounts else None
            recorded.step(decision, out, amounts)
            played.append((seen, decision, amounts, type(out)(*(part.copy() for part in out))))
        assert writer.n_episodes == sum(int((p[3].terminated | p[3].truncated).sum()) for p in played) or n_each
    return played, world.spec


def change(path: Path, **arrays) -> Path:
    """Rewrite a file with some arrays changed; None leaves one out."""
    with np.load(path) as old:
        kept = {name: old[name] for name in old.files}
    changed = {name: array for name, array in {**kept, **arrays}.items() if array is not None}
    np.savez_compressed(path, **changed)
    return path


def changed_header(path: Path, **values) -> Path:
    with np.load(path) as old:
        header = json.loads(str(old["header"]))
    return change(path, header=np.array(json.dumps({**header, **values})))


def test_a_file_gives_back_what_was_played(tmp_path):
    # 25 steps of episodes of 10: two whole ones, the third is left out
    played, spec = write(tmp_path / "a.npz", AMOUNTS, 25)
    stored = read_episodes(tmp_path / "a.npz", spec)

    assert (stored.n_steps, stored.n_episodes, count_steps(tmp_path / "a.npz", spec)) == (20, 2, 20)
    for t, (seen, decision, amounts, out) in enumerate(played[:20]):
        for array, expected in zip((stored.observation, stored.target_mask, stored.state), seen, strict=True):
            np.testing.assert_array_equal(array[t], expected[0])
        np.testing.assert_array_equal(stored.decision[t], decision[0])
        np.testing.assert_array_equal(stored.amounts[t], amounts[0])
        np.testing.assert_array_equal(stored.reward[t], out.reward[0])
    np.testing.assert_array_equal(np.flatnonzero(stored.truncated), [9, 19])
    assert not stored.terminated.any()
    for e, t in enumerate((9, 19)):
        out = played[t][3]
        np.testing.assert_array_equal(stored.final_observation[e], out.final_observation[0])
        np.testing.assert_array_equal(stored.final_target_mask[e], out.final_target_mask[0])
        np.testing.assert_array_equal(stored.final_state[e], out.final_state[0])
    header = stored.header
    assert (header.scenario, header.source, header.agents) == ("matching", "simulation", spec.agents)
    assert (header.feature_names, header.amount_names) == (spec.feature_names, spec.amount_names)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_episodes_of_several_worlds_lie_whole_one_after_another(tmp_path):
    scenario = load_scenario("cartpole_v1")
    played, spec = write(tmp_path / "a.npz", scenario, 120, n_worlds=3)
    stored = read_episodes(tmp_path / "a.npz", spec)

    assert stored.terminated.sum() == stored.n_episodes > 6
    ends = np.flatnonzero(stored.terminated) + 1
    # the episodes of each world, cut by hand
    expected, begin = [], [0, 0, 0]
    for t, (*_, out) in enumerate(played):
        for b in np.flatnonzero(out.terminated):
            expected.append(np.stack([played[s][0][0][b] for s in range(begin[b], t + 1)]))
            begin[b] = t + 1
    found = np.split(stored.observation, ends[:-1])
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_the_first_episodes_of_each_world_count_if_asked_so(tmp_path):
    _, spec = write(tmp_path / "a.npz", MATCHING, 35, n_worlds=4, n_each=2)
    stored = read_episodes(tmp_path / "a.npz", spec)
    assert (stored.n_episodes, stored.n_steps) == (8, 80)


def test_a_masked_target_is_stored_as_target_0(tmp_path):
    world = make(MATCHING, 1)
    out, masked = world.outcome(), 0
    with EpisodeWriter(tmp_path / "a.npz", world.spec, SIMULATION) as writer:
        recorded = Recorded(world, writer)
        recorded.reset(None, out)
        for _ in range(10):
            masked += int((~out.target_mask[0, :, 3]).sum())
            recorded.step(np.full((1, 3), 3), out)
    stored = read_episodes(tmp_path / "a.npz")
    assert masked > 0
    assert (stored.decision == 0).sum() == masked
    assert (stored.decision == 3).sum() == 30 - masked


def test_a_recorded_world_can_be_played_by_a_rule_that_encodes(tmp_path):
    world = make(load_scenario("mec_2es_3md_v1"), 2, 1, 5)
    out = world.outcome()
    with EpisodeWriter(tmp_path / "a.npz", world.spec, SIMULATION) as writer:
        recorded = Recorded(world, writer)
        recorded.reset([5, 6], out)
        player = Player(load_rule("random"), world.spec, [5, 6], 0)
        while writer.n_episodes < 2:
            player.step(recorded, out)
    stored = read_episodes(tmp_path / "a.npz", world.spec)
    assert stored.amounts.shape[1:] == (3, world.spec.n_amounts)
    assert stored.amounts.std() > 0.0


def live_rollout(played, spec):
    """Return steps as a runner hands them over."""
    outs = [out for *_, out in played]
    seen = [part for part, *_ in played]
    columns = {
        "obs": np.stack([*(part[0] for part in seen), outs[-1].observation]),
        "action_mask": np.stack([*(part[1] for part in seen), outs[-1].target_mask]),
        "actions": np.stack([decision for _, decision, *_ in played]),
        "rewards": np.stack([out.reward for out in outs]),
    }
    endings = np.stack([out.terminated for out in outs]), np.stack([out.truncated for out in outs])
    agents = {"m": np.arange(spec.n_agents)}
    return Rollout({"m": columns}, agents, *endings, None, None, np.arange(spec.n_worlds), 0)


def transitions(replay):
    """Return the transitions that can be drawn as rows of numbers, in an order of their own."""
    ring, ready = replay.ring, np.flatnonzero(replay.tree.priorities)
    behind = np.where(ring.discount[ready, None] > 0.0, ring.observation[ring.following[ready]], 0.0)
    numbers = (ring.observation[ready], ring.decision[ready, None], ring.returns[ready, None])
    rows = np.concatenate((*numbers, ring.discount[ready, None], behind), 1)
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("is_every_step", [True, False], ids=["all", "decisions"])
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("name", ["matching", "cartpole_v1"])
def test_n_step_returns_are_those_of_the_same_steps_played_live(tmp_path, name, n_step, is_every_step):
    scenario = MATCHING if name == "matching" else load_scenario(name)
    played, spec = write(tmp_path / "a.npz", scenario, 90, n_worlds=3)
    sizes = (spec.n_features, spec.n_targets)
    live, stored = (Replay(2000, sizes, n_step, 0.9, is_every_step, 0.0) for _ in range(2))

    # episodes under way are no part of the file, and were played behind those that are
    ended = np.stack([out.terminated | out.truncated for *_, out in played])
    for b in range(spec.n_worlds):
        last = np.flatnonzero(ended[:, b])[-1] + 1
        live.add(live_rollout(played[:last], spec)._part(b, b + 1), "m")
    n_added = 0
    for rollout in fragments(read_episodes(tmp_path / "a.npz", spec), {"m": np.arange(spec.n_agents)}, 7, False):
        n_added += stored.add(rollout, "m")

    assert n_added == stored.n_ready == live.n_ready > 100
    np.testing.assert_array_equal(transitions(stored), transitions(live))


def test_fragments_have_the_final_observations_of_truncated_episodes_alone(tmp_path):
    _, spec = write(tmp_path / "a.npz", MATCHING, 40)
    stored = read_episodes(tmp_path / "a.npz", spec)
    found = list(fragments(stored, {"m": np.array([2, 0])}, 15, True))

    assert [rollout.n_steps for rollout in found] == [15, 15, 10]
    # episodes of 10 steps end at 9 | 19, 29 | 39
    assert [rollout.finals.t.tolist() for rollout in found] == [[9], [4, 14], [9]]
    np.testing.assert_array_equal(found[1].finals.observation, stored.final_observation[1:3])
    np.testing.assert_array_equal(found[1].columns["m"]["obs"][:, 0], stored.observation[15:31][:, [2, 0]])
    np.testing.assert_array_equal(found[2].columns["m"]["obs"][-1, 0], stored.final_observation[-1][[2, 0]])
    np.testing.assert_array_equal(found[0].state[:, 0], stored.state[:16])


def test_a_file_without_states_has_none(tmp_path):
    _, spec = write(tmp_path / "a.npz", MATCHING, 20, with_state=False)
    stored = read_episodes(tmp_path / "a.npz", spec)
    assert (stored.header.n_state, stored.state, stored.final_state) == (0, None, None)


def test_a_writer_without_a_whole_episode_or_with_an_error_leaves_nothing(tmp_path):
    with pytest.raises(ConfigError, match="no episode is over after 9 steps"):
        write(tmp_path / "a.npz", MATCHING, 9)
    world = make(MATCHING, 1)
    with (
        pytest.raises(ConfigError, match=r"expected begin\(\)"),
        EpisodeWriter(tmp_path / "a.npz", world.spec, SIMULATION) as writer,
    ):
        writer.step(np.zeros((1, 3), np.int64), world.outcome())
    with (
        pytest.raises(ConfigError, match=r"observation has shape \(2, 3, 10\); expected \(1, 3, 10\)"),
        EpisodeWriter(tmp_path / "a.npz", world.spec, SIMULATION) as writer,
    ):
        writer.begin(make(MATCHING, 2).outcome())
        writer.step(np.zeros((2, 3), np.int64), make(MATCHING, 2).outcome())
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_the_end_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    written = []

    def fill_up(archive, name, *rest):
        written.append(name)
        if name == "reward":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored_episodes, "_add_array", fill_up)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a.npz", MATCHING, 20)
    assert written[-1] == "reward"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:900]), "no file of episodes"),
        (lambda path: path.write_text("hello"), "no file of episodes"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: change(path, header=None), "no header"),
        (lambda path: change(path, header=np.array("{")), "cannot be read"),
        (lambda path: changed_header(path, format=2), "episodes of format 2; this version reads format 1"),
        (lambda path: changed_header(path, colour="red"), "colour"),
        (lambda path: changed_header(path, agents=3), "cannot be read"),
        (lambda path: change(path, reward=None), "the array 'reward' is missing"),
        (lambda path: change(path, reward=np.zeros((20, 3))), r"reward is float64 \(20, 3\); expected float32"),
        (lambda path: change(path, reward=np.zeros((19, 3), np.float32)), r"\(19, 3\); expected float32 \(20, 3\)"),
        (lambda path: change(path, reward=np.full((20, 3), np.nan, np.float32)), "reward .* not finite"),
        (lambda path: change(path, decision=np.full((20, 3), 4)), "a decision 4; expected targets from 0 to 3"),
        (lambda path: change(path, truncated=np.zeros(20, np.bool_)), "ends no episode"),
        (lambda path: change(path, truncated=np.ones(20, np.bool_)), "20 steps end an episode, but 2"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_in_one_line_with_its_name(tmp_path, damage, words):
    write(tmp_path / "a.npz", MATCHING, 20)
    damage(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match=words) as error:
        read_episodes(tmp_path / "a.npz")
    assert str(tmp_path / "a.npz") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_byte_that_changed_on_disk_is_found(tmp_path):
    write(tmp_path / "a.npz", MATCHING, 20)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        place = archive.getinfo("observation.npy").header_offset + 200
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[place] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ConfigError, match="cannot be read as episodes"):
        read_episodes(tmp_path / "a.npz")


def test_episodes_of_other_agents_features_or_targets_do_not_fit(tmp_path):
    _, spec = write(tmp_path / "a.npz", MATCHING, 20)
    for changes, words in (
        ({"feature_names": ("has_tasks", *spec.feature_names[1:])}, "feature 0 is 'has_task', expected 'has_tasks'"),
        ({"feature_names": (*spec.feature_names, "more")}, "it has no feature 10, expected 'more'"),
        ({"agents": spec.agents[:2]}, "it has 3 agents, expected 2"),
        ({"amount_names": ("share",)}, "it has no amount 0, expected 'share'"),
        ({"n_targets": 5}, "n_targets is 4, expected 5"),
    ):
        with pytest.raises(ConfigError, match=words) as error:
            count_steps(tmp_path / "a.npz", replace(spec, **changes))
        assert "a.npz: episodes of matching do not fit scenario matching" in str(error.value)


def test_of_names_in_another_order_the_first_is_told():
    assert wrong_name("feature", ("a", "b"), ("a", "b")) == ""
    assert wrong_name("feature", ("wait_s", "size_bits"), ("wait_slots", "size_bits")) == (
        "feature 0 is 'wait_s', expected 'wait_slots'; the nearest that it has is 'wait_s'"
    )
