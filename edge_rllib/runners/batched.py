"""The batched EnvRunner: B worlds stepped as arrays, one forward pass per module and step, rollouts as columns."""

from __future__ import annotations

import math
import pickle
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils import force_list
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO

from edge_rllib import compat
from edge_rllib.runners.acting import Manner, ModuleActor
from edge_rllib.runners.agents import agent_spaces, groups
from edge_rllib.runners.buffers import Buffers
from edge_rllib.runners.episodes import Episodes
from edge_rllib.runners.report import log_fragment, log_results
from edge_rllib.runners.rollout import (
    AMOUNTS,
    DECISION,
    LOGITS,
    LOGP,
    MASK,
    MEMORY,
    OBSERVATION,
    REWARD,
    Finals,
    Rollout,
)
from envs.arrays import F8, I8
from envs.rng import key_from_seed
from envs.scenario import make
from envs.world import World

COMPONENT_WORLD = "world"
EPISODE_CHUNK_STEPS = 64  # steps between two looks at whether enough episodes have finished


class BatchedEnvRunner(EnvRunner, Checkpointable):
    """Collects rollouts from one batch of worlds.

    ``config.env_config`` holds ``scenario``, ``seed``, ``first_world_id`` and ``with_state``; the worlds of runner w
    (1, 2, ..., or 0 for the local one) have the ids first_world_id + max(w - 1, 0) * B and following. A rollout is a
    function of the seed, the world ids and the weights; a restarted runner begins its worlds anew. On a local runner a
    rollout's arrays stay valid until the second call of ``sample`` after it.
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        """Build worlds and modules; a local runner beside remote ones has no worlds."""
        super().__init__(config=config, **kwargs)
        torch.set_num_threads(1)  # B small products gain nothing from threads and lose tenfold where cores are busy
        self.is_local = not self.worker_index
        self._spaces: dict[str, Any] = kwargs.get("spaces") or {}
        self._callbacks = [callback() for callback in force_list(self.config.callbacks_class)]
        self._weights_seq_no = 0
        self.num_envs = 0
        self.env: World | None = None
        self.module: Any = None
        if not self.is_local or self.config.num_env_runners == 0 or self.config.create_env_on_local_worker:
            self.make_env()
        self.make_module()

    def make_env(self) -> None:
        """Build the worlds and resolve which module decides for which agent."""
        settings = self.config.env_config
        self.num_envs = self.config.num_envs_per_env_runner
        first_id = settings["first_world_id"] + max((self.worker_index or 0) - 1, 0) * self.num_envs
        self.env = make(settings["scenario"], self.num_envs, settings["seed"], first_id)
        self._with_state = bool(settings["with_state"])
        self._key = np.uint64(key_from_seed(settings["seed"], "decision"))
        self.world_ids: I8 = np.arange(first_id, first_id + self.num_envs, dtype=np.int64)
        spec = self.env.spec
        self.groups = groups(spec, self.config.policy_mapping_fn)
        self.episodes = Episodes(spec.n_worlds, spec.n_agents, len(spec.sum_names))
        self._buffers: dict[int, list[Buffers]] = {}
        self._last: Buffers | None = None  # None before the first reset
        self._step = 0  # steps since the reset; the counter of the random numbers of decisions
        self._call("on_environment_created", env=self.env, env_context=settings)

    def make_module(self) -> None:
        """Build the modules' inference copies."""
        spec = self.config.get_multi_rl_module_spec(env=None, spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build()
        self.actors: list[ModuleActor] = []
        if self.env is not None:
            n_agents = self.env.spec.n_agents
            self.actors = [
                ModuleActor(module_id, self.module[module_id], agents, n_agents, self.num_envs)
                for module_id, agents in self.groups.items()
            ]

    def get_spaces(self) -> dict[str, Any]:
        """Return the observation and action space of each module, and of one agent as the environment's own."""
        if self.env is None:
            return self._spaces
        spaces = agent_spaces(self.env.spec, self._with_state)
        return {INPUT_ENV_SPACES: spaces, INPUT_ENV_SINGLE_SPACES: spaces, **dict.fromkeys(self.groups, spaces)}

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
        **kwargs: Any,
    ) -> list[Rollout]:
        """Return rollouts of a fragment, of at least ``num_timesteps`` environment steps, or of whole episodes.

        With ``num_episodes`` all worlds start anew and the first episodes of each world count, equally many, so that
        short episodes are not favoured; such rollouts count their steps and hold no columns.
        """
        assert num_timesteps is None or num_episodes is None
        manner = Manner(
            explore=self.config.explore if explore is None else explore,
            is_random=random_actions,
            keep_logits=self.config.keep_logits,
            env_steps=self.num_env_steps_sampled_lifetime,
        )
        begin = time.perf_counter()
        if force_reset or num_episodes is not None:
            self._last = None
        if num_episodes is not None:
            rollouts = self._sample_episodes(math.ceil(num_episodes / self.num_envs), manner)
        else:
            n_steps = self.config.get_rollout_fragment_length(self.worker_index or 0)
            if num_timesteps is not None:
                n_steps = math.ceil(num_timesteps / self.num_envs)
            buffers, finals, world_s = self._fragment(n_steps, manner)
            rollouts = [self._rollout(buffers, finals)]
            log_fragment(self, n_steps, time.perf_counter() - begin, world_s)
        self._call("on_sample_end", samples=rollouts)
        return rollouts

    def sample_refs(self) -> tuple[list[list[Any]], int, Any, tuple[F8, int]]:
        """Sample, and return references to the parts of each rollout, env steps, metrics and the worlds' sums.

        A rollout has one part for each learner. Data stay in the object store; only the rest travels by value.
        """
        rollouts = self.sample()
        n_parts = max(1, self.config.num_learners)
        parts = [[ray.put(part) for part in rollout.split(n_parts)] for rollout in rollouts]
        sums = self.episodes.take_sums()
        return parts, sum(rollout.env_steps() for rollout in rollouts), self.get_metrics(), sums

    @torch.inference_mode()
    def _fragment(self, n_steps: int, manner: Manner) -> tuple[Buffers, Finals | None, float]:
        """Step the worlds and return the filled buffers, the final observations and the seconds spent in worlds."""
        assert self.env is not None
        buffers = self._lend(n_steps)
        if self._last is None:
            self._reset(buffers)
        else:
            buffers.continue_from(self._last)
        finals: list[tuple[int, I8, Any, Any, Any]] = []
        world_ids, world_s = self.world_ids.astype(np.uint64), 0.0
        for t in range(n_steps):
            for actor in self.actors:
                actor.act(buffers, t, manner, self._key, world_ids, np.uint64(self._step))
            begin = time.perf_counter()
            amounts = buffers.amounts_for_world(t)
            if amounts is None:
                self.env.step(buffers.decision[t], buffers.outcomes[t])
            else:
                self.env.step(buffers.decision[t], buffers.outcomes[t], amounts)
            world_s += time.perf_counter() - begin
            self._step += 1
            ended = buffers.terminated[t] | buffers.truncated[t]
            if ended.any():
                self.episodes.add_sums(buffers.final.final_sums, ended)
                for actor in self.actors:
                    actor.forget(ended)
                worlds = np.flatnonzero(buffers.truncated[t])
                if len(worlds):
                    final = buffers.final
                    mask = final.final_target_mask[worlds]
                    finals.append((t, worlds, final.final_observation[worlds], mask, final.final_state[worlds]))
        self.episodes.add_fragment(buffers.reward, buffers.terminated | buffers.truncated)
        self._last = buffers
        self.num_env_steps_sampled_lifetime += n_steps * self.num_envs
        return buffers, self._join(finals), world_s

    def _join(self, finals: list[tuple[int, I8, Any, Any, Any]]) -> Finals | None:
        if not finals:
            return None
        times = np.concatenate([np.full(len(entry[1]), entry[0], np.int64) for entry in finals])
        worlds, observation, mask, state = (np.concatenate([entry[part] for entry in finals]) for part in (1, 2, 3, 4))
        return Finals(times, worlds, observation, mask, state if self._with_state else None)

    def _reset(self, buffers: Buffers) -> None:
        assert self.env is not None
        self.env.reset(self.world_ids, buffers.first)
        self.episodes.restart()
        self._step = 0
        for actor in self.actors:
            actor.forget()

    def _lend(self, n_steps: int) -> Buffers:
        """Return buffers; a local runner takes turns between two, as its caller holds on to the arrays."""
        assert self.env is not None
        sets = self._buffers.setdefault(n_steps, [])
        if len(sets) < (2 if self.is_local else 1):
            sets.append(Buffers(self.env, n_steps, self._with_state))
        else:
            sets.append(sets.pop(0))
        return sets[-1]

    def _rollout(self, buffers: Buffers, finals: Finals | None) -> Rollout:
        columns = {}
        for actor in self.actors:
            members = actor.members
            columns[actor.module_id] = {
                OBSERVATION: buffers.observation[:, :, members],
                MASK: buffers.mask[:, :, members],
                DECISION: buffers.decision[:, :, members],
                AMOUNTS: buffers.amounts[:, :, members],
                LOGP: buffers.logp[:, :, members],
                REWARD: buffers.reward[:, :, members],
            }
            if actor.module_id in buffers.logits:
                columns[actor.module_id][LOGITS] = buffers.logits[actor.module_id]
            if actor.memory is not None:
                columns[actor.module_id][MEMORY] = np.stack(actor.kept)
        return Rollout(
            columns,
            self.groups,
            buffers.terminated,
            buffers.truncated,
            buffers.state if self._with_state else None,
            finals,
            self.world_ids,
            self._weights_seq_no,
        )

    def _sample_episodes(self, n_each: int, manner: Manner) -> list[Rollout]:
        assert self.env is not None
        self.episodes.count_first(n_each)
        rollouts = []
        chunk = min(EPISODE_CHUNK_STEPS, self.env.spec.horizon_steps)
        while not self.episodes.is_complete():
            begin = time.perf_counter()
            buffers, _, world_s = self._fragment(chunk, manner)
            endings = (buffers.terminated.copy(), buffers.truncated.copy())
            rollouts.append(Rollout({}, self.groups, *endings, None, None, self.world_ids, self._weights_seq_no))
            log_fragment(self, chunk, time.perf_counter() - begin, world_s)
        self.episodes.count_first(None)
        self._last = None
        return rollouts

    def get_metrics(self) -> Any:
        """Return what was logged since the last call, with the results of finished episodes."""
        if self.env is not None:
            log_results(self)
        return self.metrics.reduce()

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Return weights, counters and, for bit-equal continuation, the state of the worlds."""
        state: dict[str, Any] = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime}
        if compat.wants(self, COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(
                components=compat.subcomponents(self, COMPONENT_RL_MODULE, components),
                not_components=compat.subcomponents(self, COMPONENT_RL_MODULE, not_components),
                **kwargs,
            )
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        if compat.wants(self, COMPONENT_WORLD, components, not_components):
            world = self.world_state()
            if world is not None:
                state[COMPONENT_WORLD] = world
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over weights, counters and, where they are of the same worlds, the state of the worlds.

        Weights are taken whenever their number differs: after a restore to an earlier iteration it is smaller.
        """
        if COMPONENT_RL_MODULE in state:
            number = state.get(WEIGHTS_SEQ_NO, 0)
            if number == 0 or number != self._weights_seq_no:
                weights = state[COMPONENT_RL_MODULE]
                self.module.set_state(ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights)
            self._weights_seq_no = number or self._weights_seq_no
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = state[NUM_ENV_STEPS_SAMPLED_LIFETIME]
        if COMPONENT_WORLD in state:
            self.set_world_state(state[COMPONENT_WORLD])

    def world_state(self) -> dict[str, Any] | None:
        """Return everything that the next rollout depends on beside the weights; None before the first step."""
        if self.env is None or self._last is None or self.config.in_evaluation:
            return None
        return {
            "world_ids": self.world_ids,
            "snapshot": zlib.compress(pickle.dumps(self.env.snapshot()), level=1),  # a sixth of the size
            "seen": tuple(part[-1].copy() for part in (self._last.observation, self._last.mask, self._last.state)),
            "step": self._step,
            "episodes": self.episodes.get_state(),
            "noise": {a.module_id: a.noise_state() for a in self.actors},
            "memory": {a.module_id: a.memory.numpy().copy() for a in self.actors if a.memory is not None},
        }

    def set_world_state(self, state: dict[str, Any]) -> None:
        """Continue from ``world_state`` of a runner with the same worlds; that of other worlds is left alone.

        RLlib hands the training runner's state to the evaluation runner too.
        """
        if self.env is None or not np.array_equal(state["world_ids"], self.world_ids):
            return
        self.env.restore(pickle.loads(zlib.decompress(state["snapshot"])))
        self._last = self._lend(1)
        for part, seen in zip((self._last.observation, self._last.mask, self._last.state), state["seen"], strict=True):
            part[-1] = seen
        self._step = state["step"]
        self.episodes.set_state(state["episodes"])
        for actor in self.actors:
            actor.set_noise_state(state["noise"][actor.module_id])
            if actor.memory is not None:
                actor.memory = torch.from_numpy(state["memory"][actor.module_id].copy())

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what builds an equal runner."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """Return the parts that save themselves."""
        return [(COMPONENT_RL_MODULE, self.module)]

    def assert_healthy(self) -> None:
        """Raise unless worlds and modules are built."""
        assert self.env is not None
        assert self.module is not None

    def _call(self, event: str, **kwargs: Any) -> None:
        functions: Callable[..., None] | list[Callable[..., None]] | None = getattr(self.config, f"callbacks_{event}")
        make_callback(
            event,
            callbacks_objects=self._callbacks,
            callbacks_functions=functions,
            kwargs={"env_runner": self, "metrics_logger": self.metrics, **kwargs},
        )
