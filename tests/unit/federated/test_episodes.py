"""Episodes of perceptrons are bit-equal in any company; other models play theirs alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES

from edge_rllib.config.load import load_run
from edge_rllib.experiment.build import algorithm_config
from edge_rllib.federated import episodes
from edge_rllib.federated.attacks.data import RandomActions
from edge_rllib.federated.episodes import EpisodePlayer, Part, Played, Players, Spoiling, log_probs
from edge_rllib.federated.perceptrons import perceptron
from edge_rllib.federated.vectors import load_vector, vector_of
from edge_rllib.runners.acting import ModuleActor
from edge_rllib.runners.agents import agent_spaces, groups
from edge_rllib.runners.row_policy import _tanh, decide, note_step, places_for, take_streams
from envs.errors import ConfigError
from envs.scenario import make

CARTPOLE, MEC, FOG = "cartpole_v1", "mec_2es_3md_v1", "fog_ring_8"
SHORT_FOG = {"scenario.params.horizon_slots": 20}
CAREFUL = {"scenario.params.gravity_m_per_s2": 0.5, "scenario.params.force_n": 1.0}  # long episodes whoever plays


class Stage:
    """A scenario with modules, and what builds players of them."""

    def __init__(self, scenario: str = CARTPOLE, over: dict[str, Any] | None = None) -> None:
        torch.manual_seed(0)
        names = {"scenario": scenario, "n_env_runners": 0, "algorithm": "ippo", "model.hidden": [8, 6], **(over or {})}
        run = load_run("run/quickstart", names)
        config, spec = algorithm_config(run), make(run.scenario, 1).spec
        self.scenario, self.groups = run.scenario, groups(spec, config.policy_mapping_fn)
        keys = (INPUT_ENV_SPACES, INPUT_ENV_SINGLE_SPACES, *self.groups)
        spaces = dict.fromkeys(keys, agent_spaces(spec, False))
        self.modules = config.get_multi_rl_module_spec(env=None, spaces=spaces, inference_only=False).build()

    def player(self, n_worlds: int) -> EpisodePlayer:
        return EpisodePlayer(self.scenario, n_worlds, 3, self.modules, self.groups)

    def players(self) -> Players:
        return Players(self.scenario, 3, self.modules, self.groups)

    def vectors(self, n_rows: int, spread: float = 0.3) -> dict[str, torch.Tensor]:
        """Return parameters (G, d) around those of the modules."""
        noise = torch.Generator().manual_seed(1)
        own = {name: vector_of(self.modules[name]) for name in self.groups}
        return {name: v + spread * torch.randn(n_rows, len(v), generator=noise) for name, v in own.items()}

    def load(self, vectors: dict[str, torch.Tensor], row: int) -> None:
        for name, rows in vectors.items():
            load_vector(self.modules[name], rows[row])


def assert_equal(one: Played, other: Played) -> None:
    for name, streams in one.streams.items():
        for ours, theirs in zip(streams, other.streams[name], strict=True):
            assert torch.equal(ours, theirs)
    for ours, theirs in zip(one[1:], other[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def ids(first: int, n: int) -> np.ndarray:
    return np.arange(first, first + n)


STAGES = {scenario: Stage(scenario, over) for scenario, over in ((CARTPOLE, {}), (MEC, {}), (FOG, SHORT_FOG))}


@pytest.mark.parametrize("scenario", [CARTPOLE, MEC, FOG])
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_episodes_are_bit_equal_in_any_company(scenario, data):
    stage = STAGES[scenario]
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    rows = [data.draw(st.integers(0, 2)) for _ in sizes]
    first = data.draw(st.integers(0, 10_000))
    explore = data.draw(st.booleans())
    parts = [Part(ids(first + 10 * i, n), row) for i, (n, row) in enumerate(zip(sizes, rows, strict=True))]
    vectors = stage.vectors(3)

    together = stage.player(sum(sizes)).play_together(parts, vectors, explore)

    for part, played in zip(parts, together, strict=True):
        stage.load(vectors, part.row)
        assert_equal(played, stage.player(len(part.world_ids)).play(part.world_ids, explore))
        single = stage.player(1).play(part.world_ids[-1:], explore)
        n_steps = int(played.n_steps[-1])
        assert single.n_steps[0] == n_steps
        assert single.returns[0] == played.returns[-1]
        for name, streams in single.streams.items():
            n_own = streams.n_streams
            for ours, theirs in zip(streams, played.streams[name], strict=True):
                assert torch.equal(ours, theirs[:n_steps, -n_own:])


@pytest.mark.parametrize("most", [1, 4, 7, 100])
def test_batches_may_be_cut_anywhere(monkeypatch, most):
    stage = STAGES[CARTPOLE]
    monkeypatch.setattr(episodes, "MOST_WORLDS", most)
    parts = [Part(ids(10 * i, 1 + i % 4), i % 3) for i in range(9)]
    vectors = stage.vectors(3)

    found = stage.players().play(parts, vectors)

    for part, played in zip(parts, found, strict=True):
        stage.load(vectors, part.row)
        assert_equal(played, stage.player(len(part.world_ids)).play(part.world_ids))


def test_players_are_used_again_and_the_last_few_are_kept():
    players, vectors = STAGES[CARTPOLE].players(), STAGES[CARTPOLE].vectors(1)
    expected = players.play([Part(ids(0, 3))], vectors)[0]

    for n in (1, 2, 4, 5, 6):
        players.play([Part(ids(0, n))], vectors)

    assert list(players._players) == [2, 4, 5, 6]
    assert_equal(expected, players.play([Part(ids(0, 3))], vectors)[0])


@pytest.mark.parametrize(
    ("scenario", "over"),
    [
        (CARTPOLE, {"model.activation": "relu"}),
        (CARTPOLE, {"model.activation": "elu"}),
        (CARTPOLE, {"model.activation": "silu", "model.hidden": [5]}),
        (CARTPOLE, {"model.activation": "tanh", "model.normalise_observation": True}),
        (FOG, {**SHORT_FOG, "model.activation": "tanh"}),
        (MEC, {"model.activation": "tanh"}),
        (MEC, {"scenario.params.decision.kind": "box"}),
    ],
)
@pytest.mark.parametrize("explore", [True, False])
def test_decisions_are_those_of_the_module(scenario, over, explore):
    stage = Stage(scenario, over)
    stage.load(stage.vectors(1), 0)
    for module in (stage.modules[name] for name in stage.groups):
        if module.observation_scale is not None:
            module.observation_scale.mean.uniform_(-0.2, 0.2)
            module.observation_scale.std.uniform_(0.01, 2.0)
    by_row, by_module = stage.player(6), stage.player(6)
    spec = by_module.world.spec
    by_module._actors = [
        ModuleActor(name, stage.modules[name], agents, spec.n_agents, 6) for name, agents in stage.groups.items()
    ]

    found, expected = (player.play(ids(0, 6), explore) for player in (by_row, by_module))

    np.testing.assert_array_equal(found.n_steps, expected.n_steps)
    for name, streams in found.streams.items():
        for ours, theirs in zip(streams, expected.streams[name], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
        if explore:
            logp = log_probs(stage.modules[name], streams).detach()
            np.testing.assert_allclose(logp[streams.is_choice], streams.logp[streams.is_choice], atol=2e-4)


def test_a_policy_worked_out_by_hand():
    # one hidden unit tanh(0.5 + x_0), logits 2 h and -h: the cart's place decides, and nothing else
    stage = Stage(over={"model.hidden": [1], "model.activation": "tanh"})
    (name,) = stage.groups
    vector = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.5, 2.0, -1.0, 0.0, 0.0])  # weights, bias, weights, biases
    load_vector(stage.modules[name], vector)

    streams = stage.player(4).play(ids(0, 4)).streams[name]

    rows = streams.is_alive
    hidden = np.tanh(0.5 + streams.observation[rows][:, 0].numpy().astype(np.float64))
    gap = 3.0 * hidden  # of the first logit to the second
    left = 1.0 / (1.0 + np.exp(-gap))
    chosen = np.where(streams.target[rows] == 0, left, 1.0 - left)
    np.testing.assert_allclose(streams.logp[rows], np.log(chosen), atol=1e-6)
    assert 0.7 < np.mean(streams.target[rows].numpy() == 0) < 0.9  # 3 tanh(0.5) = 1.39: 80 %


def test_the_rational_tangent_is_near_the_hyperbolic_one():
    numbers = np.concatenate((np.linspace(-12.0, 12.0, 2001), [0.0, 1e-6, -1e-3, 1e4])).astype(np.float32)

    found = np.array([_tanh(number) for number in numbers], np.float64)

    np.testing.assert_allclose(found, np.tanh(numbers.astype(np.float64)), rtol=0, atol=4e-7)
    assert np.abs(found).max() <= 1.0


def test_nothing_is_left_behind_an_episodes_end():
    stage = STAGES[CARTPOLE]
    player = stage.player(6)
    for first in (0, 50):  # the second time over what is in the buffers
        played = player.play(ids(first, 6))
        (streams,) = played.streams.values()
        dead = ~streams.is_alive
        assert dead.any()
        assert streams.is_alive.sum(0).tolist() == played.n_steps.tolist()
        assert len(dead) == played.n_steps.max()
        assert not any(column[dead].any() for column in streams)


def test_buffers_grow_with_the_episodes():
    stage = Stage(over=CAREFUL)
    player = stage.player(3)

    played = player.play(ids(0, 3))

    assert played.n_steps.max() > episodes.FIRST_STEPS
    assert player._buffers.n_steps >= played.n_steps.max()
    assert_equal(played, player.play(ids(0, 3)))
    (streams,) = played.streams.values()
    assert streams.observation[streams.is_alive].abs().sum(-1).min() > 0.0
    np.testing.assert_array_equal(played.returns, played.n_steps)  # each step pays 1


def test_spoilt_parts_are_played_as_if_they_were_alone():
    stage = STAGES[MEC]
    vectors = stage.vectors(2)

    def spoiling() -> Spoiling:
        return Spoiling(RandomActions(), np.random.default_rng(5))

    parts = [Part(ids(0, 4), 1), Part(ids(10, 4), 1, spoiling()), Part(ids(20, 3), 0)]
    found = stage.players().play(parts, vectors)

    for part, played in zip(parts, found, strict=True):
        stage.load(vectors, part.row)
        again = None if part.spoiling is None else spoiling()
        assert_equal(played, stage.player(len(part.world_ids)).play(part.world_ids, spoiling=again))


def test_models_that_multiply_all_rows_at_once_play_alone():
    stage = Stage(FOG, {**SHORT_FOG, "model": "target_mlp", "model.hidden": [8]})
    (name,) = stage.groups
    assert perceptron(stage.modules[name]) is None
    vectors = stage.vectors(2, spread=0.05)
    parts = [Part(ids(0, 3), 1), Part(ids(10, 2), 0)]

    found = stage.players().play(parts, vectors)

    for part, played in zip(parts, found, strict=True):
        stage.load(vectors, part.row)
        assert_equal(played, stage.player(len(part.world_ids)).play(part.world_ids))
    with pytest.raises(ConfigError, match="play_together: expected perceptrons"):
        stage.player(5).play_together(parts, vectors)


def test_a_wrong_number_of_episodes_is_refused():
    with pytest.raises(ConfigError, match="3 episodes for a player of 2 worlds"):
        STAGES[CARTPOLE].player(2).play(ids(0, 3))


def test_where_an_episode_is_over_something_allowed_is_written():
    places = places_for(np.array([2, 3], np.int64), 1, 3, 0)
    decision, logp = np.full((1, 2, 1), 9), np.ones((1, 2, 1), np.float32)
    mask = np.array([[[[False, False, True]], [[False, True, True]]]])
    parameters = np.array([[0.0, 0.0, 50.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]], np.float32)  # target 2 is the best by far

    decide(
        *(decision, np.zeros((1, 2, 1, 0), np.float32), logp, *places, np.zeros((1, 2, 1, 2), np.float32), mask),
        *(np.array([2, 3], np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32)),
        np.array([10.0, -1e8, 0.0, 1.0, -5.0, 1.0, 1e-6]),
        *(parameters, np.zeros(2, np.int64), np.zeros(1, np.int64), np.array([False, True])),
        *(np.zeros(2, np.uint64), np.zeros(1, np.uint64), 0, True, 0),
    )

    assert decision[0, :, 0].tolist() == [2, 1]
    assert logp[0, :, 0].tolist() == [0.0, 0.0]


def test_kernels_are_compiled_for_one_set_of_types():
    for kernel in (decide, note_step, take_streams):
        if hasattr(kernel, "signatures"):  # not where numba is switched off
            assert len(kernel.signatures) <= 1
