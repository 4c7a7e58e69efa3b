"""From rollouts to minibatches: which rows, which values, which state, on one learner and on two."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_rllib import compat
from edge_rllib.algorithms import preparation
from edge_rllib.algorithms.ippo import IppoParams
from edge_rllib.algorithms.mappo import MappoParams
from edge_rllib.algorithms.minibatches import Minibatches, Table, layout
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.modules.gru import GruModel
from edge_rllib.modules.mlp import MlpModel
from edge_rllib.runners.batched import BatchedEnvRunner
from envs.matching.world import MatchingParams
from envs.scenario import Scenario

N_WORLDS, N_AGENTS, HORIZON, N_STEPS, SEQUENCE = 4, 3, 7, 20, 5
SCENARIO = Scenario("matching", "matching", None, 0, None, MatchingParams(N_AGENTS, 4, HORIZON, 0.6, 0.5, 0, 0))
MLP = MlpModel((8,), (8,), "tanh", False)
GRU = GruModel((8,), 6, (8,), (8,), SEQUENCE, "tanh", False)
VALUES = {
    "fragment_steps": N_STEPS,
    "learning_rate": 0.001,
    "final_learning_rate": 0.001,
    "gamma": 0.9,
    "gae_lambda": 0.8,
    "entropy_coeff": 0.01,
    "value_coeff": 0.5,
    "grad_clip": 0.5,
    "normalise_value": True,
    "train_on": "all",
    "minibatch_rows": 50,
    "epochs": 1,
    "clip": 0.2,
    "value_clip": 10.0,
    "kl_coeff": 0.0,
    "kl_target": 0.01,
}


def runner_and_learner(params, model, **values):
    config = params(**{**VALUES, **values}).to_config(RunSettings(SCENARIO, n_worlds=N_WORLDS), model)
    runner = BatchedEnvRunner(config=config, worker_index=0, num_workers=0)
    learner = config.build_learner(spaces=runner.get_spaces())
    runner.set_state({"rl_module": learner.module.get_state(inference_only=True)})
    return runner, learner


def test_values_of_a_recurrent_module_are_those_of_single_steps_with_the_runners_memory():
    runner, learner = runner_and_learner(IppoParams, GRU)
    runner.sample()  # the second fragment starts in the middle of an episode, with a memory
    rollout = runner.sample()[0]
    module = learner.module["shared"]
    part = preparation.fragment(rollout, "shared", with_state=False, device="cpu")
    before, after = preparation.values(module, part)

    memory = part.memory[0].flatten(0, 1)
    ended = (part.terminated | part.truncated).squeeze(-1)
    finals = {(int(t), int(b)): n for n, (t, b) in enumerate(zip(*part.final_at, strict=True))}
    n_truncated = 0
    with torch.no_grad():
        for t in range(N_STEPS + 1):
            features, memory = module.core(part.observation[t].flatten(0, 1).unsqueeze(1), memory)
            value = module.critic(features).view(N_WORLDS, N_AGENTS)
            value = value * module.value_scale.std + module.value_scale.mean
            if t < N_STEPS:
                torch.testing.assert_close(before[t], value)
            if t > 0:
                kept = ~ended[t - 1]
                torch.testing.assert_close(after[t - 1][kept], value[kept])
            if t < N_STEPS:
                for b in torch.nonzero(ended[t]).flatten().tolist():
                    own = memory.view(N_WORLDS, N_AGENTS, -1)[b]
                    final = part.final_observation[finals[t, b]].unsqueeze(1)
                    last = module.critic(module.core(final, own)[0]).squeeze(-1)
                    last = last * module.value_scale.std + module.value_scale.mean
                    torch.testing.assert_close(after[t, b], last)
                    n_truncated += 1
                memory = memory.view(N_WORLDS, N_AGENTS, -1) * ~ended[t].view(-1, 1, 1)
                memory = memory.flatten(0, 1)
    assert n_truncated == 3 * N_WORLDS  # steps 20 .. 39 hold the ends at 20, 27 and 34


def test_rows_without_a_choice_are_left_out_and_the_state_follows_its_rows():
    runner, learner = runner_and_learner(MappoParams, MLP, train_on="decisions")
    rollout = runner.sample()[0]
    table = learner.tables([rollout])["shared"]
    has_choice = rollout.columns["shared"]["action_mask"][:-1, ..., 1:].any(-1)
    assert 0 < has_choice.sum() < has_choice.size
    rows = torch.arange(has_choice.sum())
    taken = table.take(rows)
    t, b, _ = np.nonzero(has_choice)
    np.testing.assert_array_equal(taken["state"], rollout.state[t, b])
    np.testing.assert_array_equal(taken["obs"], rollout.columns["shared"]["obs"][:-1][has_choice])
    np.testing.assert_array_equal(table.world, rollout.world_ids[b])
    advantages = taken[compat.ADVANTAGES]
    assert advantages.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert advantages.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)


def test_sequences_hold_consecutive_steps_of_one_agent_with_its_memory_and_state():
    runner, learner = runner_and_learner(MappoParams, GRU)
    rollout = runner.sample()[0]
    table = learner.tables([rollout])["shared"]
    n_sequences = N_STEPS // SEQUENCE
    taken = table.take(torch.arange(n_sequences * N_WORLDS * N_AGENTS))
    columns, checked = rollout.columns["shared"], 0
    ended = np.concatenate((np.zeros((1, N_WORLDS), bool), rollout.truncated))
    for c in range(n_sequences):
        steps = slice(c * SEQUENCE, (c + 1) * SEQUENCE)
        for b in range(N_WORLDS):
            for n in range(N_AGENTS):
                row = (c * N_WORLDS + b) * N_AGENTS + n
                np.testing.assert_array_equal(taken["obs"][row], columns["obs"][steps, b, n])
                np.testing.assert_array_equal(taken["actions"][row], columns["actions"][steps, b, n])
                np.testing.assert_array_equal(taken["state"][row], rollout.state[steps, b])
                np.testing.assert_array_equal(taken["memory"][row], columns["memory"][c, b, n])
                np.testing.assert_array_equal(taken["starts"][row], ended[steps, b])
                assert table.world[row] == rollout.world_ids[b]
                checked += 1
    assert checked == len(table.world)


def numbered_table(worlds):
    """Return a table whose rows are numbered by world id and place within the world: 100 * world + place."""
    places = dict.fromkeys(worlds, 0)
    numbers = []
    for world in worlds:
        numbers.append(100 * world + places[world])
        places[world] += 1
    column = torch.tensor(numbers)
    return Table({"obs": column}, {}, torch.arange(len(worlds)), torch.tensor(worlds))


def test_an_epoch_visits_every_row_once_in_minibatches_of_equal_size():
    minibatches = Minibatches({"m": numbered_table([0, 1, 2] * 7)}, env_steps=21)
    minibatches.plan(n_epochs=2, minibatch_rows=5, seed=3)
    batches = [batch.policy_batches["m"]["obs"] for batch in minibatches]
    assert [len(batch) for batch in batches] == [6, 5, 5, 5] * 2  # 21 rows, round(21 / 5) minibatches
    for epoch in (batches[:4], batches[4:]):
        assert sorted(torch.cat(epoch).tolist()) == sorted(numbered_table([0, 1, 2] * 7).columns["obs"].tolist())
    assert not torch.equal(batches[0], batches[4])
    assert minibatches.is_last


def test_modules_of_different_size_step_in_lockstep():
    tables = {"large": numbered_table([0] * 12), "small": numbered_table([0] * 4)}
    minibatches = Minibatches(tables, env_steps=12)
    minibatches.plan(n_epochs=1, minibatch_rows=3, seed=0)
    sizes = [{m: len(batch["obs"]) for m, batch in b.policy_batches.items()} for b in minibatches]
    assert sizes == [{"large": 3, "small": 1}] * 4


def test_two_learners_take_the_rows_of_one_learners_minibatches_and_share_the_weight(monkeypatch):
    worlds = [3, 0, 2, 1, 2, 0, 3, 3, 1, 0, 2]
    whole = Minibatches({"m": numbered_table(worlds)}, env_steps=11)
    # learner 0 has worlds 1 and 2, learner 1 worlds 0 and 3; each row keeps its place within its world
    own = [[w for w in worlds if w in (1, 2)], [w for w in worlds if w in (0, 3)]]
    counts = [([1, 2], [2, 3]), ([0, 3], [3, 3])]
    monkeypatch.setattr(compat, "gather_objects", lambda value: counts)
    parts = [Minibatches({"m": numbered_table(mine)}, env_steps=5) for mine in own]
    for minibatches in (whole, *parts):
        minibatches.plan(n_epochs=2, minibatch_rows=4, seed=7)
    n_compared = 0
    for batch, first, second in zip(whole, *parts, strict=True):
        expected = sorted(batch.policy_batches["m"]["obs"].tolist())
        shares = [part.share_of["m"] for part in parts]
        rows = [
            b.policy_batches["m"]["obs"].tolist() if share else []
            for b, share in zip((first, second), shares, strict=True)
        ]
        assert sorted(rows[0] + rows[1]) == expected
        assert shares == [len(rows[0]) / len(expected), len(rows[1]) / len(expected)]
        n_compared += 1
    assert n_compared == 6


def test_rows_are_placed_by_world_id_and_by_their_order_within_it():
    place = layout(torch.tensor([5, 2, 5, 2, 9]))
    assert place.n_total == 5
    assert place.row_at.tolist() == [1, 3, 0, 2, 4]
