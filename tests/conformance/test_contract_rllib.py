"""Every private or fragile part of RLlib that compat touches: one test each, red when an upgrade breaks it."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from edge_rllib import compat
from edge_rllib.runners.rollout import Rollout


def parameters(function):
    """Return a function's parameters, without the one that Ray adds to a class once an actor was made of it."""
    return [name for name in inspect.signature(function).parameters if name != "_ray_trace_ctx"]


def a_rollout():
    flags = np.zeros((2, 1), np.bool_)
    return Rollout({}, {"shared": np.arange(1)}, flags, flags, None, None, np.zeros(1, np.int64), 0)


def test_the_config_has_the_switch_for_syncing_runner_states_and_step_reads_it():
    config = PPOConfig()
    assert config._dont_auto_sync_env_runner_states is False
    compat.sync_runner_states(config, is_on=False)
    assert config._dont_auto_sync_env_runner_states is True
    assert "_dont_auto_sync_env_runner_states" in inspect.getsource(Algorithm.step)


def test_training_data_carries_a_rollout_untouched():
    rollout = a_rollout()
    for data in (TrainingData(batch=rollout), TrainingData(batches=[rollout])):
        data.validate()
        assert compat.rollouts_of(data) == [rollout]
    assert compat.rollouts_of(TrainingData(episodes=[])) == []
    assert compat.rollouts_of(TrainingData(batch=MultiAgentBatch({}, env_steps=0))) == []


@pytest.mark.usefixtures("ray_session")
def test_training_data_fetches_references_and_shards_them_in_runs():
    references = [ray.put(a_rollout()) for _ in range(4)]
    shards = TrainingData(batch_refs=references).shard(num_shards=2)
    assert [len(data.batch_refs) for data, _ in shards] == [2, 2]
    assert shards[0][0].batch_refs == references[:2]
    rollouts = compat.rollouts_of(shards[0][0])
    assert [type(rollout) for rollout in rollouts] == [Rollout, Rollout]


def test_learner_update_and_its_hooks_have_the_arguments_that_are_overridden():
    assert {"batch", "training_data", "timesteps", "num_epochs", "minibatch_size", "_no_metrics_reduce"} <= set(
        parameters(Learner.update)
    )
    assert {"training_data", "num_epochs", "minibatch_size"} <= set(parameters(Learner._create_iterator_if_necessary))
    assert parameters(Learner._make_batch_if_necessary) == ["self", "training_data"]
    assert parameters(TorchLearner._make_modules_ddp_if_necessary) == ["self"]
    assert {"module_id", "config", "kl_loss"} <= set(parameters(PPOTorchLearner._update_module_kl_coeff))
    assert {"batches", "batch_refs", "timesteps"} <= set(parameters(LearnerGroup.update))
    source = inspect.getsource(Learner.update)
    assert "self._weights_seq_no += 1" in source  # seeds the permutation of rows
    assert source.index("_weights_seq_no += 1") < source.index("_create_iterator_if_necessary")


def test_a_learner_steps_only_through_hooks_that_exist():
    source = inspect.getsource(TorchLearner._uncompiled_update)
    for hook in ("forward_train", "compute_losses", "compute_gradients", "postprocess_gradients", "apply_gradients"):
        assert hook in source
    assert "mod.no_sync()" in source  # what compat.skip_ddp provides


def test_a_minibatch_has_its_columns_and_counts_its_rows():
    columns = {"obs": torch.zeros(5, 2), "memory": torch.zeros(5, 3)}
    batch = compat.minibatch({"shared": columns}, env_steps=7)
    assert batch.env_steps() == 7
    module_batch = batch.policy_batches["shared"]
    assert isinstance(module_batch, SampleBatch)
    assert len(module_batch) == 5
    assert module_batch["obs"] is columns["obs"]


def test_ppos_loss_reads_the_columns_that_are_prepared():
    source = inspect.getsource(PPOTorchLearner.compute_loss_for_module)
    for column in ("ACTION_DIST_INPUTS", "ACTIONS", "ACTION_LOGP", "ADVANTAGES", "VALUE_TARGETS"):
        assert column in source
    assert (compat.ADVANTAGES, compat.VALUE_TARGETS) == ("advantages", "value_targets")
    assert "entropy_coeff_schedulers_per_module" in source


def test_component_rules_of_get_state():
    assert parameters(Checkpointable._check_component) == ["self", "name", "components", "not_components"]

    class Runner(Checkpointable):
        def get_state(self, components=None, *, not_components=None, **kwargs):
            return {}

        def set_state(self, state):
            pass

        def get_ctor_args_and_kwargs(self):
            return (), {}

    runner = Runner()
    assert compat.wants(runner, "world", None, None)
    assert not compat.wants(runner, "world", None, ["world"])
    assert not compat.wants(runner, "world", ["rl_module"], None)
    assert compat.subcomponents(runner, "rl_module", ["rl_module/shared"]) == ["shared"]


def test_runner_states_arrive_under_the_keyword_state_and_weights_with_their_number():
    assert "kwargs=dict(state=env_runner_states)" in inspect.getsource(EnvRunnerGroup.sync_env_runner_states)
    assert parameters(EnvRunner.sample_get_state_and_metrics) == ["self"]
    source = inspect.getsource(EnvRunnerGroup.sync_weights)
    assert "WEIGHTS_SEQ_NO" in source
    assert WEIGHTS_SEQ_NO == "weights_seq_no"


def test_env_runner_has_the_counter_of_rays_own_metrics():
    assert parameters(EnvRunner._log_env_steps) == ["self", "metric", "num_steps"]
    assert "_metrics_num_env_steps_sampled" in inspect.getsource(EnvRunner.__init__)


def test_async_requests_keep_their_tag():
    assert {"func", "tag"} <= set(parameters(EnvRunnerGroup.foreach_env_runner_async))
    assert {"tags", "timeout_seconds"} <= set(parameters(EnvRunnerGroup.fetch_ready_async_reqs))
    assert parameters(EnvRunnerGroup.num_in_flight_async_reqs) == ["self", "tag"]


def test_state_conversion_keeps_float32_and_int64_but_not_float64():
    # RunningScale keeps its buffers in the two types that a checkpoint returns bit-equal
    kept = convert_to_torch_tensor({"a": np.array([0.1], np.float32), "b": np.array(2**40)})
    assert (kept["a"].dtype, kept["b"].dtype) == (torch.float32, torch.int64)
    assert convert_to_torch_tensor(np.array([0.1])).dtype == torch.float32


def test_a_single_learner_needs_no_process_group():
    assert compat.n_data_parallel() == 1
    value = torch.ones(3)
    compat.sum_over_learners([value])
    assert value.tolist() == [1.0, 1.0, 1.0]
    assert compat.gather_objects("own") == ["own"]


def test_metrics_are_logged_nested_where_the_algorithm_adds_them_up():
    source = inspect.getsource(inspect.getmodule(Algorithm))
    assert "NUM_AGENT_STEPS_SAMPLED_LIFETIME" in source
    logger = MetricsLogger(root=True)
    logger.log_value(("num", "all"), 3, reduce="sum")
    logger.log_value(("num", "all"), 4, reduce="sum")
    assert logger.peek(("num", "all")) == 7


def test_read_only_arrays_become_tensors_without_a_copy_or_a_warning():
    array = np.arange(3.0, dtype=np.float32)
    array.flags.writeable = False
    tensor = compat.as_tensor(array, "cpu")
    assert tensor.data_ptr() == array.ctypes.data
