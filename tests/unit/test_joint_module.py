"""The joint module: what runners hold, how they explore, and which agents share parameters."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns

from edge_rllib.modules.joint import JointModule
from edge_rllib.modules.mlp import MlpModel
from edge_rllib.modules.shape import ObservationShape
from edge_rllib.ops import hybrid
from edge_rllib.ops.hybrid import Sizes

N, F = 3, 4
HYBRID = Sizes(2, 1, low=0.0, high=2.0)


def module_of(sizes=HYBRID, groups=(0, 1, 0), is_stochastic=False, inference_only=False, parameter_noise_frac=0.0):
    torch.manual_seed(0)
    shape = ObservationShape(F, sizes.n_targets, F, 0, 0, sizes, N)
    module = JointModule(
        observation_space=gym.spaces.Box(-1, 1, (F,), np.float32),
        action_space=gym.spaces.Discrete(sizes.n_targets),
        inference_only=inference_only,
        model_config={
            "model": MlpModel((8,), (8,), "tanh", True),
            "shape": shape,
            "is_central": False,
            "group_of_agent": groups,
            "critic": "shared",
            "n_critics": 2,
            "initial": "orthogonal",
            "is_stochastic": is_stochastic,
            "temperature": 0.5,
            "noise_rate": 1.0,
            "parameter_noise_frac": parameter_noise_frac,
        },
    )
    if not inference_only:
        module.make_target_networks()
    return module


def batch_of(rows=5, n_targets=2):
    observation = torch.randn(rows, N, F, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(rows, N, n_targets, dtype=torch.bool)
    mask[0, 0, 1:] = False
    return {Columns.OBS: observation, "action_mask": mask}


def parts_of(output, sizes=HYBRID):
    return hybrid.split(output[Columns.ACTION_DIST_INPUTS], sizes)


@pytest.mark.parametrize("is_stochastic", [False, True])
def test_runners_hold_policies_and_schedules_alone_and_decide_as_learners_do(is_stochastic):
    learner = module_of(is_stochastic=is_stochastic)
    runner = module_of(is_stochastic=is_stochastic, inference_only=True)
    runner.set_state(learner.get_state(inference_only=True))
    held = {name.split(".")[0] for name in runner.state_dict()}
    schedules = {"epsilon", "noise_std", "is_random", "value_mean", "value_std"}
    assert held == {"policy", "observation_scale"} | schedules
    batch = batch_of()
    for first, second in zip(
        parts_of(runner.forward_inference(batch)), parts_of(learner.forward_train(batch)), strict=True
    ):
        torch.testing.assert_close(first, second)


def test_before_learning_every_allowed_target_is_as_likely_and_amounts_spread_over_the_range():
    parts = parts_of(module_of().forward_exploration(batch_of()))
    probs = parts.logits.softmax(-1)
    torch.testing.assert_close(probs[0, 0], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(probs[1:], torch.full((4, N, 2), 0.5))
    torch.testing.assert_close(hybrid.squash(parts.mean, HYBRID), torch.ones(5, N, 2, 1))  # the middle of 0 and 2
    torch.testing.assert_close(parts.log_std.exp(), torch.full((5, N, 2, 1), 2.0 / 12.0**0.5))


def test_exploration_mixes_the_policy_with_an_even_choice():
    module, batch = module_of(), batch_of()
    module.is_random.fill_(0.0)
    module.epsilon.fill_(0.2)
    module.noise_std.fill_(0.3)
    greedy, parts = parts_of(module.forward_inference(batch)), parts_of(module.forward_exploration(batch))
    even = torch.full((5, N, 2), 0.5)
    even[0, 0] = torch.tensor([1.0, 0.0])
    torch.testing.assert_close(parts.logits.softmax(-1), 0.8 * greedy.logits.softmax(-1) + 0.2 * even)
    torch.testing.assert_close(parts.mean, greedy.mean)
    torch.testing.assert_close(parts.log_std.exp(), torch.full_like(parts.mean, 0.3))


def test_stochastic_policies_explore_by_themselves():
    module, batch = module_of(is_stochastic=True), batch_of()
    module.is_random.fill_(0.0)
    assert not module.noise_is_added
    for first, second in zip(
        parts_of(module.forward_exploration(batch)), parts_of(module.forward_train(batch)), strict=True
    ):
        torch.testing.assert_close(first, second)


def test_agents_of_a_group_share_parameters_and_others_do_not():
    module = module_of(groups=(0, 1, 0))
    observation = torch.randn(1, 1, F).expand(1, N, F)
    mean = parts_of(
        module.forward_inference({Columns.OBS: observation, "action_mask": torch.ones(1, N, 2).bool()})
    ).mean
    torch.testing.assert_close(mean[0, 0], mean[0, 2])
    assert not torch.allclose(mean[0, 0], mean[0, 1])


def test_values_at_unit_scale_obey_the_scaled_rewards():
    module = module_of()
    module.value_mean.fill_(10.0)
    module.value_std.fill_(4.0)
    # reward 2 and half of a value of 14 are worth 9; at unit scale 14 is 1 and 9 is -0.25
    returns = module.to_unit_scale(torch.tensor([[2.0]]), torch.tensor([0.5]))
    assert (returns + 0.5 * 1.0).item() == pytest.approx(-0.25)


def test_noise_on_parameters_keeps_to_the_wanted_change_of_decisions():
    module = module_of(parameter_noise_frac=0.1)
    seen = batch_of(200)
    observation, mask = module.scaled(seen[Columns.OBS]), seen["action_mask"]
    module.is_random.fill_(0.0)
    with torch.no_grad():
        for draw in range(400):
            module.perturbed.redraw(observation, mask, draw)
        changes = []
        for draw in range(20):
            module.perturbed.redraw(observation, mask, 1000 + draw)
            changes.append(module.perturbed.distance(observation, mask))
    assert 0.05 < np.mean(changes) < 0.2  # a step of the deviation is 1 %


def test_the_same_noise_on_parameters_comes_with_the_same_seed_and_stays_until_it_is_drawn_anew():
    module, other = module_of(parameter_noise_frac=0.1), module_of(parameter_noise_frac=0.1)
    seen = batch_of()
    for each in (module, other):
        each.is_random.fill_(0.0)
    plain = module.forward_exploration(seen)[Columns.ACTION_DIST_INPUTS]
    for each in (module, other):
        each.perturbed.redraw(each.scaled(seen[Columns.OBS]), seen["action_mask"], 7)
    first, second = (each.forward_exploration(seen)[Columns.ACTION_DIST_INPUTS] for each in (module, other))
    assert torch.equal(first, second)
    assert torch.equal(first, module.forward_exploration(seen)[Columns.ACTION_DIST_INPUTS])
    assert not torch.allclose(first, plain)
    # the policy that is evaluated has none
    torch.testing.assert_close(module.forward_inference(seen)[Columns.ACTION_DIST_INPUTS][..., 2:4], plain[..., 2:4])
