"""Everything private or fragile of RLlib that this package touches, in one place.

Written against Ray 2.60. Each touch has a test in tests/conformance/test_contract_rllib.py that fails when a later
version of RLlib breaks it, and a way out in its docstring.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from torch import Tensor

ADVANTAGES: str = Postprocessing.ADVANTAGES
VALUE_TARGETS: str = Postprocessing.VALUE_TARGETS

SAMPLE_TAG = "sample"  # tag of sampling requests in flight


def sync_runner_states(config: Any, is_on: bool) -> None:
    """Switch on or off that ``Algorithm.step`` fetches and sends connector states, in a blocking round trip.

    Only stock runners have such states. Way out: drop the call; training is right without it, only slower.
    """
    config._dont_auto_sync_env_runner_states = not is_on


def local_learner(algorithm: Any) -> Any:
    """Return the Learner that an Algorithm without remote learners holds in its own process.

    Way out: ``learner_group.foreach_learner``, which wraps what it returns.
    """
    return algorithm.learner_group._learner


def count_weights(learner: Any) -> None:
    """Give a Learner's weights a new number, as an update does: runners take weights whose number they have not seen.

    Way out: send the modules' states to the runners without a number.
    """
    learner._weights_seq_no += 1


def rollouts_of(data: Any) -> list[Any]:
    """Fetch what a learner was given and return it as a list, empty if it is RLlib episodes.

    ``LearnerGroup`` hands over a ``TrainingData`` with a batch, several batches or references.
    Way out: own ``ray.get``.
    """
    data.solve_refs()
    if data.batches is not None:
        return list(data.batches)
    return [] if data.batch is None or isinstance(data.batch, MultiAgentBatch) else [data.batch]


def training_data(batch: Any) -> TrainingData:
    """Return a learner's own prepared batch in the form that ``Learner.update`` passes on untouched."""
    return TrainingData(batch=batch)


def minibatch(columns: Mapping[str, Mapping[str, Any]], env_steps: int) -> MultiAgentBatch:
    """Return module columns as the batch type that ``Learner._update`` and its step counters expect.

    Both types are marked for removal in RLlib. Way out: whatever ``Learner.update`` iterates over then.
    """
    batches = {}
    for module_id, module_columns in columns.items():
        batch = SampleBatch()
        dict.update(batch, module_columns)  # the constructor counts rows by walking through every column
        batch.count = len(module_columns["obs"])
        batches[module_id] = batch
    return MultiAgentBatch(batches, env_steps=env_steps)


def n_data_parallel() -> int:
    """Return the number of learners that must agree on a step."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 1
    return int(torch.distributed.get_world_size())


def rank() -> int:
    """Return this learner's index among those that agree on a step."""
    return int(torch.distributed.get_rank()) if n_data_parallel() > 1 else 0


def skip_ddp(modules: Any) -> None:
    """Give each module the same first weights on all learners, and the one method that RLlib expects of DDP.

    Losses that do not go through ``DDP.forward`` break DDP's hooks; gradients are summed in ``compute_gradients``
    instead. Way out: wrap in ``TorchDDPRLModule`` as stock RLlib does.
    """
    for module_id in modules.keys():  # noqa: SIM118  (a MultiRLModule is not a dict)
        module = modules[module_id]
        if not isinstance(module, torch.nn.Module):
            continue
        for tensor in (*module.parameters(), *module.buffers()):
            torch.distributed.broadcast(tensor.data, src=0)
        module.no_sync = contextlib.nullcontext


def sum_over_learners(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over the learners, in one message."""
    if n_data_parallel() == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(flat)
    begin = 0
    for tensor in tensors:
        tensor.copy_(flat[begin : begin + tensor.numel()].view_as(tensor))
        begin += tensor.numel()


def gather_objects(value: Any) -> list[Any]:
    """Return the values of all learners, by rank; they must be picklable and small."""
    if n_data_parallel() == 1:
        return [value]
    values: list[Any] = [None] * n_data_parallel()
    torch.distributed.all_gather_object(values, value)
    return values


def wants(runner: Any, component: str, components: Any, not_components: Any) -> bool:
    """Return whether a caller of ``get_state`` asked for a component; RLlib's own rule."""
    return bool(runner._check_component(component, components, not_components))


def subcomponents(runner: Any, component: str, components: Any) -> Any:
    """Return what a caller of ``get_state`` asked for within a component; RLlib's own rule."""
    return runner._get_subcomponents(component, components)


def count_env_steps(runner: Any, n_steps: int) -> None:
    """Add to the runner's counter in Ray's own metrics."""
    runner._log_env_steps(runner._metrics_num_env_steps_sampled, n_steps)


def as_tensor(array: Any, device: Any) -> Tensor:
    """Return an array as a tensor on a device, without a copy on the CPU.

    Arrays from the object store are read-only, which torch warns about; nobody here writes to them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array).to(device)
