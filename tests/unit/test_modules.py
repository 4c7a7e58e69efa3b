"""RLModules: masks, memory, equivariance, what runners leave out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns

from edge_rllib.modules.actor_critic import MEMORY, STARTS, ActorCritic, unpack
from edge_rllib.modules.gru import GruModel
from edge_rllib.modules.mlp import MlpModel
from edge_rllib.modules.shape import ObservationShape
from edge_rllib.modules.target_mlp import TargetMlpModel
from edge_rllib.ops.moments import moments
from edge_rllib.runners.agents import agent_spaces
from envs.errors import ConfigError
from envs.matching.world import MatchingParams
from envs.scenario import Scenario, make

SPEC = make(Scenario("matching", "matching", None, 0, None, MatchingParams(2, 4, 5, 0.5, 0.5, 0, 0)), 1).spec
SHAPE = ObservationShape.of(SPEC)
MLP = MlpModel((8,), (8,), "tanh", True)
GRU = GruModel((8,), 6, (8,), (8,), 5, "tanh", False)
TARGET = TargetMlpModel(8, (8,), (8,), "tanh", False)
MODELS = pytest.mark.parametrize("model", [MLP, GRU, TARGET], ids=["mlp", "gru", "target_mlp"])


def build(model, is_central=False, scale_value=True, inference_only=False):
    torch.manual_seed(0)
    observation_space, action_space = agent_spaces(SPEC, is_central)
    return ActorCritic(
        observation_space=observation_space,
        action_space=action_space,
        inference_only=inference_only,
        model_config={"model": model, "shape": SHAPE, "is_central": is_central, "scale_value": scale_value},
    )


def batch_of(n_rows, model, n_steps=3):
    generator = torch.Generator().manual_seed(1)
    lead = (n_rows, n_steps) if model.is_recurrent else (n_rows,)
    mask = torch.rand(*lead, SHAPE.n_targets, generator=generator) < 0.5
    mask[..., 0] = True
    batch = {
        Columns.OBS: torch.randn(*lead, SHAPE.n_features, generator=generator),
        "action_mask": mask,
        "state": torch.randn(*lead, SHAPE.n_state, generator=generator),
    }
    if model.is_recurrent:
        batch[Columns.STATE_IN] = {MEMORY: torch.randn(n_rows, model.memory, generator=generator)}
    return batch


@MODELS
@pytest.mark.parametrize("is_central", [False, True])
def test_masked_targets_get_no_probability_and_values_have_one_entry_a_row(model, is_central):
    module, batch = build(model, is_central), batch_of(5, model)
    output = module.forward_train(batch)
    probs = torch.softmax(output[Columns.ACTION_DIST_INPUTS], -1)
    assert (probs[~batch["action_mask"]] == 0.0).all()
    assert (~batch["action_mask"]).any()
    values = module.compute_values(batch, output[Columns.EMBEDDINGS])
    assert values.shape == batch[Columns.OBS].shape[:-1]
    torch.testing.assert_close(values, module.compute_values(batch))


@MODELS
def test_runners_have_no_critic_and_accept_the_learners_state(model):
    learner, runner = build(model, is_central=True), build(model, is_central=True, inference_only=True)
    assert not hasattr(runner, "critic")
    state = learner.get_state(inference_only=True)
    assert not any(name.startswith(("critic", "value_scale")) for name in state)
    runner.set_state(state)
    batch = batch_of(4, model)
    ours = runner.forward_exploration(batch)[Columns.ACTION_DIST_INPUTS]
    assert torch.equal(ours, learner.forward_exploration(batch)[Columns.ACTION_DIST_INPUTS])


def test_dictionary_observations_of_stock_rllib_are_understood():
    flat = batch_of(4, MLP)
    nested = {Columns.OBS: {**flat, "action_mask": flat["action_mask"].to(torch.int8)}}
    module = build(MLP, is_central=True)
    first, second = (module.forward_train(batch)[Columns.ACTION_DIST_INPUTS] for batch in (flat, nested))
    assert torch.equal(first, second)
    assert torch.equal(unpack(nested).state, flat["state"])


def test_target_mlp_scores_follow_a_permutation_of_targets_and_its_value_does_not_change():
    module, batch = build(TARGET), batch_of(6, TARGET)
    batch["action_mask"][:] = True
    order = torch.tensor([2, 0, 3, 1])
    own, targets = batch[Columns.OBS][:, : SHAPE.own_features], batch[Columns.OBS][:, SHAPE.own_features :]
    shuffled = targets.reshape(6, SHAPE.n_targets, -1)[:, order].reshape(6, -1)
    permuted = {**batch, Columns.OBS: torch.cat((own, shuffled), -1)}
    scores = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
    torch.testing.assert_close(module.forward_train(permuted)[Columns.ACTION_DIST_INPUTS], scores[:, order])
    torch.testing.assert_close(module.compute_values(permuted), module.compute_values(batch))


def test_gru_over_a_sequence_with_an_episode_start_equals_single_steps_with_a_cleared_memory():
    module = build(GRU)
    batch = batch_of(2, GRU, n_steps=4)
    starts = torch.tensor([[False, False, True, False], [False, True, False, False]])
    whole = module.forward_train({**batch, STARTS: starts})[Columns.ACTION_DIST_INPUTS]
    memory = batch[Columns.STATE_IN][MEMORY]
    for t in range(4):
        memory = memory * ~starts[:, t : t + 1]
        step = {name: column[:, t : t + 1] for name, column in batch.items() if name != Columns.STATE_IN}
        output = module.forward_train({**step, Columns.STATE_IN: {MEMORY: memory}})
        memory = output[Columns.STATE_OUT][MEMORY]
        torch.testing.assert_close(output[Columns.ACTION_DIST_INPUTS][:, 0], whole[:, t])


def test_moving_the_values_scale_changes_no_value_but_the_targets_units():
    module, batch = build(MLP), batch_of(50, MLP)
    before = module.compute_values(batch).detach()
    module.merge_value_moments(moments(torch.randn(100, 1) * 30.0 + 500.0))
    torch.testing.assert_close(module.compute_values(batch), before, rtol=1e-4, atol=1e-3)
    with module.raw_values():
        raw = module.compute_values(batch)
    torch.testing.assert_close(module.scale_targets(before), raw, rtol=1e-4, atol=1e-4)


def test_state_survives_a_round_trip_unchanged():
    module, other = build(MLP), build(MLP)
    module.observation_scale.merge(moments(torch.randn(70, SHAPE.n_features) * 3.0))
    module.merge_value_moments(moments(torch.randn(70, 1)))
    other.set_state(module.get_state())
    for name, value in module.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize(
    "change",
    [{"hidden": ()}, {"hidden": (0,)}, {"activation": "sigmoidal"}],
    ids=["no layer", "empty layer", "unknown activation"],
)
def test_impossible_models_are_refused(change):
    values = {"hidden": (8,), "critic_hidden": (8,), "activation": "relu", "normalise_observation": False, **change}
    with pytest.raises(ConfigError):
        MlpModel(**values)


def test_distribution_agrees_with_torch():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))
    ours = build(MLP).get_train_action_dist_cls().from_logits(logits)
    theirs = torch.distributions.Categorical(logits=logits)
    decisions = torch.tensor([0, 1, 2, 3, 0])
    torch.testing.assert_close(ours.logp(decisions), theirs.log_prob(decisions))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    other = torch.randn(5, 4, generator=torch.Generator().manual_seed(4))
    expected = torch.distributions.kl_divergence(theirs, torch.distributions.Categorical(logits=other))
    torch.testing.assert_close(ours.kl(type(ours).from_logits(other)), expected)
    assert torch.equal(ours.to_deterministic().sample(), logits.argmax(-1))
    torch.manual_seed(0)
    shares = ours.sample(sample_shape=(20_000,))[:, 0].bincount(minlength=4) / 20_000
    np.testing.assert_allclose(shares, theirs.probs[0], atol=0.02)  # four standard errors of a share are 0.014
