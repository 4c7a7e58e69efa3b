"""The lander is that of Gymnasium to the last bit, and a world of it can be left and taken up anywhere."""

from __future__ import annotations

import builtins
import pickle
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest

from edge_rllib.config.load import load_scenario
from envs.errors import ConfigError, DecisionError
from envs.lunar_lander.world import ENGINES, LARGEST, LunarLanderParams, LunarLanderWorld
from envs.scenario import make
from envs.testing import check_world
from envs.world import Outcome

LANDED, CRASHED = 100.0, -100.0
NONE, LEFT, MAIN, RIGHT = range(len(ENGINES))


def world_of(n_worlds: int = 1, seed: int = 3, **params: float) -> tuple[LunarLanderWorld, Outcome]:
    scenario = load_scenario("lunar_lander_v3", [f"params.{name}={value}" for name, value in params.items()])
    world: Any = make(scenario, n_worlds, seed, 0)
    out = world.outcome()
    world.reset(None, out)
    return world, out


def pilot(seen: Any, height: float = 0.0) -> int:
    """Return the engine that steers a lander to above the pad, by what an agent sees (F,), as Gymnasium's own rule."""
    x, y, x_speed, y_speed, angle, turning, left, right = (float(v) for v in np.asarray(seen) * LARGEST)
    has_touched = bool(left or right)
    wanted_angle = min(0.4, max(-0.4, 0.5 * x + x_speed))
    turn = 0.0 if has_touched else 0.5 * (wanted_angle - angle) - turning
    rise = -0.5 * y_speed + (0.0 if has_touched else 0.5 * (height + 0.55 * abs(x) - y))
    if rise > max(abs(turn), 0.05):
        return MAIN
    return RIGHT if turn < -0.05 else LEFT if turn > 0.05 else NONE


def test_a_lander_that_is_steered_comes_to_rest_and_one_that_falls_crashes() -> None:
    world, out = world_of(2)
    ended: list[bool] = [False, False]
    for _ in range(999):
        steered = pilot(out.observation[0, 0]) if not ended[0] else NONE
        world.step(np.array([[steered], [NONE]]), out)
        for b in np.flatnonzero(out.terminated & ~np.array(ended)):
            ended[b] = True
            assert out.reward[b, 0] == (LANDED, CRASHED)[b]
            assert out.final_sums[b, world.spec.sum_names.index("landed")] == (1.0, 0.0)[b]
            figures = world.summarise(out.final_sums[b])
            assert figures["return_mean"] > 200.0 if b == 0 else figures["return_mean"] < -50.0
        if all(ended):
            break
    assert ended == [True, True]


@pytest.mark.parametrize(
    ("changes", "theirs"),
    [
        ({}, {}),
        (
            {"gravity_m_per_s2": 5.0, "wind_power": 15.0, "turbulence_power": 1.5},
            {"gravity": -5.0, "enable_wind": True, "wind_power": 15.0, "turbulence_power": 1.5},
        ),
    ],
)
def test_every_step_is_that_of_gymnasium(changes: dict[str, float], theirs: dict[str, Any]) -> None:
    world, out = world_of(2, **changes)
    generator, n_steps = np.random.default_rng(0), 0
    lander = gymnasium.make("LunarLander-v3", **theirs)
    for _ in range(6):
        seen, _ = lander.reset(seed=world.episode_seed(1))
        has_ended, total = False, 0.0
        while not has_ended:
            np.testing.assert_allclose(out.observation[1, 0], np.clip(seen / np.array(LARGEST), -1.0, 1.0), atol=1e-6)
            engine = int(generator.integers(4))
            seen, reward, is_terminated, is_truncated, _ = lander.step(engine)
            world.step(np.array([[NONE], [engine]]), out)
            has_ended, total, n_steps = is_terminated or is_truncated, total + float(reward), n_steps + 1
            assert out.reward[1, 0] == np.float32(reward)
            assert (bool(out.terminated[1]), bool(out.truncated[1])) == (is_terminated, is_truncated)
        np.testing.assert_allclose(out.final_observation[1, 0], np.clip(seen / np.array(LARGEST), -1, 1), atol=1e-6)
        assert world.summarise(out.final_sums[1])["return_mean"] == pytest.approx(total, rel=1e-12)
    lander.close()
    assert n_steps > 400


def test_the_horizon_of_a_thousand_steps_truncates() -> None:
    world, out = world_of()
    n_steps = 0
    while not (out.terminated[0] or out.truncated[0]):
        world.step(np.array([[pilot(out.observation[0, 0], height=0.8)]]), out)
        n_steps += 1
    assert (n_steps, bool(out.terminated[0]), bool(out.truncated[0])) == (1000, False, True)
    assert world.state.step[0] == 0
    assert abs(float(out.final_observation[0, 0, 1]) * LARGEST[1] - 0.8) < 0.5


def test_a_crash_in_the_last_step_terminates() -> None:
    world, out = world_of()
    while not out.terminated[0]:
        world.step(np.array([[NONE]]), out)
    n_steps = int(out.final_sums[0, 1])
    shorter, out = world_of(horizon_slots=n_steps)
    for _ in range(n_steps):
        shorter.step(np.array([[NONE]]), out)
    assert (bool(out.terminated[0]), bool(out.truncated[0])) == (True, False)


@pytest.mark.parametrize("horizon", [60, 150])  # shorter than an episode, and longer than most
def test_worlds_keep_the_contract(horizon: int) -> None:
    scenario = load_scenario("lunar_lander_v3", {"params.horizon_slots": horizon, "params.wind_power": 10.0})
    report = check_world(scenario, n_worlds=2, n_episodes=1 if horizon == 150 else 2)
    assert report.n_episodes >= 2


def test_a_restored_world_goes_on_to_the_last_bit() -> None:
    world, out = world_of(3)
    generator = np.random.default_rng(1)
    engines = generator.integers(0, 4, (200, 3, 1))
    for engine in engines[:130]:
        world.step(engine, out)
    assert world.state.episode.max() > 0
    saved = pickle.loads(pickle.dumps(world.snapshot()))
    seen = []
    for engine in engines[130:]:
        world.step(engine, out)
        seen.append((out.observation.tobytes(), out.reward.tobytes(), out.terminated.tobytes()))
    other, out = world_of(3, seed=8)
    other.restore(saved)
    again = []
    for engine in engines[130:]:
        other.step(engine, out)
        again.append((out.observation.tobytes(), out.reward.tobytes(), out.terminated.tobytes()))
    assert again == seen


def test_a_snapshot_that_cannot_be_played_is_refused() -> None:
    world, _ = world_of(horizon_slots=20)
    for name, value, message in (
        ("step", 20, r"step is \[20\]; expected numbers below 20"),
        ("decisions", 4, "decisions from 0 to 4; expected 0 to 3"),
    ):
        saved = world.snapshot()
        saved["state"][name].flat[0] = value
        with pytest.raises(ConfigError, match=message):
            world.restore(saved)
    with pytest.raises(ConfigError, match=r"decisions has shape \(1, 20\); expected \(1, 30\)"):
        world_of(horizon_slots=30)[0].restore(world.snapshot())


def test_worlds_that_nobody_looks_at_stand_still() -> None:
    world, out = world_of(2)
    alone, seen = world_of(1)
    world.unwatched = np.array([False, True])
    for step in range(100):
        world.step(np.full((2, 1), step % 4), out)
        alone.step(np.full((1, 1), step % 4), seen)
        assert out.observation[0].tobytes() == seen.observation[0].tobytes()
        assert out.reward.tolist() == [*seen.reward.tolist(), [0.0]]
    assert (world.state.step[1], world.state.episode[1]) == (0, 0)


def test_episodes_and_worlds_differ() -> None:
    world, out = world_of(20)
    starts = {out.observation[b].tobytes() for b in range(20)}
    for _ in range(150):
        world.step(np.full((20, 1), NONE), out)
    assert len(starts) == 20
    assert len({world.episode_seed(b) for b in range(20)}) == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gravity_m_per_s2": 12.0}, r"gravity_m_per_s2 = 12\.0: expected a number above 0 and below 12"),
        ({"wind_power": -1.0}, r"wind_power = -1\.0: expected a number in \[0, 20\]"),
        ({"turbulence_power": float("nan")}, r"turbulence_power = nan: expected a number in \[0, 2\]"),
        ({"horizon_slots": 0}, "horizon_slots = 0: expected 1 or more"),
    ],
)
def test_impossible_moons_are_refused(change: dict[str, Any], message: str) -> None:
    values = {"horizon_slots": 10, "gravity_m_per_s2": 10.0, "wind_power": 0.0, "turbulence_power": 0.0}
    with pytest.raises(ConfigError, match=message):
        LunarLanderParams(**{**values, **change})


def test_an_engine_that_is_none_is_refused() -> None:
    world, out = world_of(2)
    with pytest.raises(DecisionError, match="world 1, agent 'lander': target 4 is none; expected 0"):
        world.step(np.array([[0], [4]]), out)


def test_without_box2d_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("gymnasium.envs.box2d"):
            raise ModuleNotFoundError("No module named 'Box2D'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError) as caught:
        world_of()
    assert str(caught.value) == (
        "scenario lunar_lander_v3: world lunar_lander needs Box2D and pygame: No module named 'Box2D'; "
        '`pip install "edge-rllib[lunar]"`'
    )
