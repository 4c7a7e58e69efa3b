"""The module of value-based algorithms: masks, exploration, dueling heads and copied networks."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns

from edge_rllib.modules.mlp import MlpModel
from edge_rllib.modules.q_module import VALUES, QModule
from edge_rllib.modules.shape import ObservationShape
from edge_rllib.modules.target_mlp import TargetMlpModel
from edge_rllib.ops.hybrid import Sizes

N_OWN, N_TARGETS, N_TARGET = 2, 4, 3
SHAPE = ObservationShape(N_OWN + N_TARGETS * N_TARGET, N_TARGETS, N_OWN, N_TARGET, 0, Sizes(N_TARGETS, 0))
MODELS = {
    "mlp": MlpModel((8,), (8,), "tanh", False),
    "mlp normalised": MlpModel((8,), (8,), "tanh", True),
    "target_mlp": TargetMlpModel(8, (8,), (8,), "tanh", False),
}


def module_of(model="mlp", is_dueling=True, epsilon=1.0, inference_only=False):
    torch.manual_seed(0)
    module = QModule(
        observation_space=gym.spaces.Box(-1, 1, (SHAPE.n_features,), np.float32),
        action_space=gym.spaces.Discrete(N_TARGETS),
        inference_only=inference_only,
        model_config={"model": MODELS[model], "shape": SHAPE, "is_dueling": is_dueling, "epsilon": epsilon},
    )
    if not inference_only:
        module.make_target_networks()
    return module


def batch_of(*shape):
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(*shape, N_TARGETS, generator=generator) < 0.5
    mask[..., 0] = True
    return {Columns.OBS: torch.randn(*shape, SHAPE.n_features, generator=generator), "action_mask": mask}


@pytest.mark.parametrize("is_dueling", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_runners_prefer_the_allowed_target_of_highest_value(model, is_dueling):
    module, batch = module_of(model, is_dueling), batch_of(3, 50)
    values = module.forward_train(batch)[VALUES]
    assert values.shape == (3, 50, N_TARGETS)
    best = values.masked_fill(~batch["action_mask"], -1e9).argmax(-1)
    logits = module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]
    assert torch.equal(logits.argmax(-1), best)
    assert len(best.unique()) > 1


def test_exploration_spreads_its_share_over_allowed_targets():
    module, batch = module_of(epsilon=0.3), batch_of(100)
    probs = module.forward_exploration(batch)[Columns.ACTION_DIST_INPUTS].softmax(-1)
    mask = batch["action_mask"]
    best = module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS].argmax(-1, keepdim=True)
    expected = mask * 0.3 / mask.sum(-1, keepdim=True)
    expected = expected.scatter_add(-1, best, torch.full((100, 1), 0.7))
    torch.testing.assert_close(probs, expected)


def test_dueling_scores_count_from_their_mean_over_allowed_targets():
    module, batch = module_of(), batch_of(20)
    values, mask = module.forward_train(batch)[VALUES], batch["action_mask"]
    mean = (values * mask).sum(-1) / mask.sum(-1)
    torch.testing.assert_close(mean, module.base(batch[Columns.OBS]))


def test_copied_networks_stay_behind_and_have_no_gradient():
    module, batch = module_of(), batch_of(20)
    before = module.forward_target(batch)
    torch.testing.assert_close(before, module.forward_train(batch)[VALUES])
    with torch.no_grad():
        for main, _ in module.get_target_network_pairs():
            for parameter in main.parameters():
                parameter.add_(0.5)
    torch.testing.assert_close(module.forward_target(batch), before)
    assert not torch.allclose(module.forward_train(batch)[VALUES], before)
    copies = [p for _, target in module.get_target_network_pairs() for p in target.parameters()]
    assert copies
    assert not any(parameter.requires_grad for parameter in copies)


def test_runners_receive_all_they_need_and_no_more():
    learner, runner = module_of("mlp normalised"), module_of("mlp normalised", inference_only=True)
    learner.epsilon.fill_(0.125)
    learner.observation_scale.mean.fill_(0.5)
    state = learner.get_state(inference_only=True)
    assert not any(name.startswith(("base", "target")) for name in state)
    runner.set_state(state)
    batch = batch_of(30)
    for forward in ("forward_inference", "forward_exploration"):
        ours, theirs = (getattr(module, forward)(batch)[Columns.ACTION_DIST_INPUTS] for module in (learner, runner))
        torch.testing.assert_close(ours, theirs)


def test_values_change_units_and_back():
    module = module_of()
    module.value_mean.fill_(10.0)
    module.value_std.fill_(4.0)
    values = torch.tensor([-1.0, 0.0, 2.0])
    assert module.to_reward_units(values).tolist() == [6.0, 10.0, 18.0]
    torch.testing.assert_close(module.to_unit_scale(module.to_reward_units(values)), values)
