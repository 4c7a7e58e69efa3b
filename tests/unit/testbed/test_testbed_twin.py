"""A testbed scenario and its twin: the same tasks, the same features, the same accounts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rllib.cli.main import main
from edge_rllib.config import load as config
from edge_rllib.results.files import ResultError
from edge_rllib.runners.stored_episodes import read_episodes
from edge_rllib.testbed.identify import identify
from edge_rllib.testbed.learned import LearnedPolicy
from edge_rllib.testbed.policies import load_policy
from edge_rllib.testbed.scenarios import load_scenario
from edge_rllib.testbed.simulate import play, sight_of, simulate
from edge_rllib.testbed.twin import read_fitted, scenario_file, twin
from edge_rllib.testbed.vision.clips import draw_clip
from envs.errors import ConfigError
from envs.scenario import make
from envs.testbed import state as s
from envs.testbed.decode import decision_of, n_targets, placement
from envs.testbed.world import BedWorld

SHORT = ("n_epochs=8", "n_devices=3")
FITTED: dict[str, Any] = {
    "device_frame_s": 0.4,
    "device_frame_cpu_s": 0.05,
    "server_frame_s": 0.03,
    "server_frame_cpu_s": 0.025,
    "stage_cpu_s": {"decode": 0.001, "detect": 0.02, "crop": 0.0003, "encode": 0.0004},
    "goodput_share": 0.8,
    "delay_s": 0.01,
    "decision_delay_s": 0.02,
    "crowding": 0.7,
    "frame_bytes": {"raw": 1e5, "decode": 9e3, "detect": 8e3, "crop": 2e3, "encode": 700.0},
    "work_spread_frac": 0.2,
    "bytes_spread_frac": 0.1,
}


def test_twin_has_the_figures_of_the_calibration():
    made = twin(load_scenario("testbed_5"), FITTED)
    lan, clips, params = made.topology, made.workload, made.params
    assert (lan.goodput_frac, lan.delay_s, lan.crowding, params.decision_delay_s) == (0.8, 0.01, 0.7, 0.02)
    assert clips.stage_cycles == pytest.approx((0.001 * 2.8e9, 0.02 * 2.8e9, 0.0003 * 2.8e9, 0.0004 * 2.8e9))
    assert (clips.cut_bytes, clips.result_bytes) == ((1e5, 9e3, 8e3, 2e3), 700.0)
    assert (clips.period_s, clips.deadline_s, params.horizon_slots) == (1.2, 3.0, 60)
    # a frame takes as long as was measured, and costs a device twice the CPU time of a server
    assert sum(clips.stage_cycles) / (lan.core_hz * lan.device_cores[0]) == pytest.approx(0.4)
    assert sum(clips.stage_cycles) / lan.core_hz == pytest.approx(0.03)
    assert params.cost.local_per_cycle == pytest.approx(2 * 0.025e-9)


def test_identified_figures_are_those_of_the_twin_that_played(tmp_path: Path):
    bed = load_scenario("testbed_5", ["n_epochs=60", "patience_frac=100.0"])
    fitted = {**FITTED, "work_spread_frac": 0.0, "bytes_spread_frac": 0.0, "crowding": 1.0}
    policies = ("local", "edge", "random")
    for policy in policies:
        simulate(bed, fitted, policy, 1, 0, tmp_path / policy)
        summary = tmp_path / policy / "summary.json"  # passes for a run on processes
        summary.write_text(summary.read_text(encoding="utf-8").replace('"simulated"', "0"), encoding="utf-8")
    found = identify(bed, [tmp_path / policy for policy in policies])
    for name in ("device_frame_s", "goodput_share", "delay_s", "decision_delay_s"):
        assert found[name] == pytest.approx(fitted[name], rel=0.02), name
    assert found["server_frame_s"] == pytest.approx(0.03, rel=0.02)
    assert found["device_frame_cpu_s"] / found["server_frame_cpu_s"] == pytest.approx(2.0, rel=0.02)
    assert found["work_spread_frac"] == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(ResultError, match="0 tasks done by devices; expected at least 10"):
        identify(bed, [tmp_path / "edge"])
    with pytest.raises(ResultError, match="its servers differ from those of testbed scenario testbed_2bs_3md"):
        identify(load_scenario("testbed_2bs_3md"), [tmp_path / "edge"])


def test_twin_as_a_file_is_the_same_scenario(tmp_path: Path):
    made = twin(load_scenario("testbed_2bs_3md"), FITTED, "shares", {"rate_frac": 0.2})
    path = tmp_path / "twin.yaml"
    path.write_text(scenario_file(made), encoding="utf-8")
    again = config.load_scenario(str(path))
    assert (again.topology, again.workload, again.params) == (made.topology, made.workload, made.params)


def test_tasks_are_those_of_the_testbed():
    bed = load_scenario("testbed_5", SHORT)
    world = make(twin(bed, same_tasks=True), 2)
    world.reset(None, world.outcome())
    work = bed.work
    expected = [draw_clip(bed.seed, n, 0, work.clips, work.frames)[1] for n in range(3)]
    assert world.state.task["frames"][:, :, 0].tolist() == [expected] * 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("policy", ["local", "edge", "round_robin", "random", "least_response_time"])
def test_the_judge_finds_in_the_records_what_the_world_has_summed(policy, tmp_path: Path):
    bed = load_scenario("testbed_5", [*SHORT, "patience_frac=0.5", "drain_s=2.0"])  # some fall back, some are in flight
    figures = simulate(bed, None, policy, 1, 0, tmp_path)
    world = make(twin(bed, same_tasks=True), 1, 0)
    assert isinstance(world, BedWorld)
    out = world.outcome()
    world.reset(np.array([0]), out)
    for row in json.loads((tmp_path / "epochs.json").read_text(encoding="utf-8")):
        world.step(decision_of("cuts", np.array([row["targets"]]), np.array([row["cuts"]]))[0], out)
    sums = world.summarise(out.final_sums[0])
    for name in ("late_frac", "offloaded_frac", "done_by_server_frac", "fallback_frac", "cost_per_task"):
        assert figures[name] == pytest.approx(sums[name], rel=1e-6), name
    for name in ("response_time_s_mean", "upload_s_mean", "wait_s_mean", "service_s_mean", "return_s_mean"):
        assert figures[name] == pytest.approx(sums[name], rel=1e-6, abs=1e-9), name
    assert figures["in_flight"] == pytest.approx(sums["in_flight_frac"] * 24)
    assert figures["sent_bytes_per_task"] == pytest.approx(sums["sent_bytes_per_task"], abs=1.0)


class _Spoken:
    """Stands for an exported policy: it says what it is told, and keeps what it was shown."""

    def __init__(self, world: BedWorld, decision: np.ndarray, amounts: np.ndarray) -> None:
        from types import SimpleNamespace

        spec = world.spec
        self.about = SimpleNamespace(
            feature_names=spec.feature_names,
            n_features=spec.n_features,
            n_targets=spec.n_targets,
            n_amounts=spec.n_amounts,
            scenario=spec.scenario,
            agents=spec.agents,
            groups=(None,),
        )
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []
        self._said = decision, amounts

    def reset(self) -> None:
        self.seen.clear()

    def decide(self, observation: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.seen.append((observation, mask))
        return self._said


@pytest.mark.parametrize("kind", ["cuts", "shares", "whole"])
def test_a_learned_policy_sees_on_the_testbed_what_it_saw_in_the_twin(kind):
    bed = load_scenario("testbed_3bs_5md", ["n_epochs=8", *(["is_partial=false"] if kind == "whole" else [])])
    world = make(twin(bed, FITTED, kind), 1)
    assert isinstance(world, BedWorld)
    spec, out = world.spec, world.outcome()
    world.reset(None, out)
    rng = np.random.default_rng(0)
    decision = rng.integers(0, spec.n_targets, 5)
    amounts = rng.uniform(size=(5, spec.n_amounts)).astype(np.float32)
    spoken = _Spoken(world, decision, amounts)
    policy = LearnedPolicy(spoken, bed, "policy p")  # type: ignore[arg-type]
    for epoch in range(6):
        sight = sight_of(world.view(), np.ones(5), bed.deadline_s)
        shown = policy.observe(sight)
        np.testing.assert_array_equal(shown, out.observation[0])
        policy.decide(shown, sight.target_mask)
        np.testing.assert_array_equal(spoken.seen[-1][1], out.target_mask[0])
        drawn = rng.integers(0, spec.n_targets, (1, 5))
        world.step(drawn, out, rng.uniform(size=(1, 5, 1)) if spec.n_amounts else None)
        assert epoch == 0 or not np.array_equal(shown, out.observation[0])
    sight = sight._replace(is_up=np.zeros((5, 3), np.bool_))
    policy.decide(policy.observe(sight), sight.target_mask)
    assert spoken.seen[-1][1].sum() == 5  # nobody but the device itself


@pytest.mark.parametrize("kind", ["cuts", "shares"])
def test_what_is_decided_and_what_it_stands_for_are_one(kind):
    targets = np.array([0, 1, 1, 2, 2])
    cuts = np.array([4, 0, 1, 2, 3])
    decision, amounts = decision_of(kind, targets, cuts)
    placed = placement(kind, decision, amounts)
    assert (placed.target.tolist(), placed.cut.tolist()) == (targets.tolist(), cuts.tolist())
    assert n_targets(kind, 2) == (9 if kind == "cuts" else 3)


def test_playing_an_episode_again_gives_the_same_records():
    bed = load_scenario("testbed_5", SHORT)
    world = make(twin(bed, same_tasks=True), 1, 4)
    assert isinstance(world, BedWorld)
    first = play(world, bed, load_policy("least_response_time", bed), 3)
    play(world, bed, load_policy("edge", bed), 1)
    again = play(world, bed, load_policy("least_response_time", bed), 3)
    assert first.tasks == again.tasks
    assert world.ended["by"].max() == s.BY_SERVER


def test_stored_episodes_are_those_that_the_twin_plays(tmp_path: Path):
    bed = load_scenario("testbed_5", [*SHORT, "patience_frac=0.5", "drain_s=2.0"])
    simulate(bed, None, "random", 2, 0, tmp_path)
    stored = read_episodes(tmp_path / "episodes.npz")
    world = make(twin(bed, same_tasks=True), 1, 0)
    out = world.outcome()
    assert (stored.n_episodes, stored.n_steps, stored.header.source) == (2, 16, "simulation")
    assert stored.header.feature_names == world.spec.feature_names
    for episode in range(2):
        world.reset(np.array([episode]), out)
        for step in range(8 * episode, 8 * episode + 8):
            np.testing.assert_array_equal(stored.observation[step], out.observation[0])
            np.testing.assert_array_equal(stored.target_mask[step], out.target_mask[0])
            world.step(stored.decision[step][None], out)
            np.testing.assert_allclose(stored.reward[step], out.reward[0], rtol=1e-5, atol=1e-7)
            assert stored.terminated[step] == out.terminated[0]


def test_commands_simulate_and_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    common = ["testbed", "simulate", "testbed_5", "--devices", "3", "--set", "n_epochs=6"]
    for seed in ("0", "1"):
        assert (
            main([*common, "--policy", "edge", "--episodes", "2", "--seed", seed, "--into", str(tmp_path / seed)]) == 0
        )
    assert "testbed_5, policy edge, simulated, 2 episodes" in capsys.readouterr().out
    summary = tmp_path / "1" / "summary.json"  # passes for a run on processes
    summary.write_text(summary.read_text(encoding="utf-8").replace('"simulated"', "0"), encoding="utf-8")
    folders = ["--simulated", str(tmp_path / "0"), "--real", str(tmp_path / "1")]
    assert main(["testbed", "compare", *folders, "--into", str(tmp_path / "gap")]) == 0
    (row,) = json.loads((tmp_path / "gap" / "gap.json").read_text(encoding="utf-8"))["policies"].values()
    assert row["agreement"]["same_both"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "egde"], "'egde'; did you mean 'edge'"),
        (["--episodes", "0"], "--episodes 0: expected at least 1"),
        (["--set", "work.side_px=128"], "frames of 128 pixels, quality 80 and detector lbp need figures of their own"),
        (["--fitted", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_simulated_is_one_line(arguments, message, capsys: pytest.CaptureFixture[str]):
    assert main(["testbed", "simulate", "testbed_5", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_another_file_is_no_calibration(tmp_path: Path):
    path = tmp_path / "other.yaml"
    path.write_text("goodput_share: [1, 1, 1]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no fitted.yaml of .* it has no device_frame_s, device_frame_cpu_s"):
        read_fitted(path)


def test_policies_of_other_worlds_or_sizes_are_refused():
    bed = load_scenario("testbed_5")
    other = make(twin(load_scenario("testbed_3bs_5md"), FITTED), 1)
    assert isinstance(other, BedWorld)
    spoken = _Spoken(other, np.zeros(5, np.int64), np.zeros((5, 0), np.float32))
    with pytest.raises(
        ConfigError, match="policy p has 13 targets and 0 amounts; testbed scenario testbed_5 has 1 ser"
    ):
        LearnedPolicy(spoken, bed, "policy p")  # type: ignore[arg-type]
    spoken.about.feature_names = ("own/speed",)
    with pytest.raises(ConfigError, match="features such as 'own/speed'; a testbed shows those of a world 'testbed'"):
        LearnedPolicy(spoken, bed, "policy p")  # type: ignore[arg-type]
