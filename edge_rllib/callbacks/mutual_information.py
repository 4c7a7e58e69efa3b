"""The mutual-information reward, for any algorithm that learns from rollouts, and the callback that adds it.

In a run's yaml one line, ``mutual_information: explaboff``; in Python ``add_mutual_information(config, params)``.

Several learners hold equal copies: finished episodes of all of them go to all, and every draw comes from the same seed.
So no gradient travels, the reward of a step does not depend on who learns from it, and the state of one learner, which
is what RLlib saves, is that of all.
"""

from __future__ import annotations

import copy
import logging
import math
from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.utils.metrics import ALL_MODULES, LEARNER_RESULTS
from torch import Tensor

from edge_rllib import compat
from edge_rllib.algorithms.preparation import global_moments
from edge_rllib.algorithms.reward_terms import REWARD_TERMS, JointBatch, RewardTerm
from edge_rllib.callbacks.mutual_information_models import Bound, Entropies
from edge_rllib.callbacks.mutual_information_params import Data, MutualInformationParams
from edge_rllib.ops.hybrid import Sizes
from edge_rllib.ops.moments import Moments, combine
from edge_rllib.ops.mutual_information.episodes import Columns, Entry, EpisodeBuffer, EpisodeCutter, Threshold
from edge_rllib.ops.mutual_information.variables import Pairing, WorldSizes
from edge_rllib.ops.mutual_information.weights import Factor
from edge_rllib.runners.joint import JointRows
from envs.arrays import I8
from envs.errors import ConfigError
from envs.rng import key_from_seed
from envs.scenario import make

log = logging.getLogger(__name__)

NAME = "mutual_information"
SHARE = "share_of_reward"
TERM_MEMORY = 512  # values of earlier batches that count in the term's deviation, which grows as estimators learn
REWARD_MEMORY = 100_000  # likewise in that of rewards, which may be rare
LOOK_ROWS = 256  # rows of each buffer on which estimates are logged
LOOK_ENV_STEPS = 1000  # between two such looks; logs in between repeat the last one
LEAST_STD = 1e-8  # below it a term or a reward is constant


class MutualInformationReward(RewardTerm):
    """Fits estimators on superior and inferior episodes, and adds what they say of each step to its reward."""

    name = NAME

    def __init__(self, params: MutualInformationParams, sizes: WorldSizes, seed: int, device: Any) -> None:
        self.params, self.device = params, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key_from_seed(seed, NAME) % 2**63)
            given = {"lower": params.lower, "upper": params.upper}
            self.bounds = {key: Bound(params, bound, sizes, device) for key, bound in given.items() if bound}
            self.entropies = Entropies(params, sizes, device) if params.entropies else None
        kept = params.buffers
        self.buffers: dict[Data, EpisodeBuffer] = {
            "superior": EpisodeBuffer(kept.capacity, kept.unit, keeps_best=True),
            "inferior": EpisodeBuffer(kept.capacity, kept.unit, keeps_best=False),
            "all": EpisodeBuffer(kept.capacity, kept.unit, keeps_best=False),
        }
        self.threshold = Threshold(kept.thresholds, kept.window_episodes, kept.least_episodes, kept.quantile)
        self.factor = Factor(params.weights)
        self.env_steps, self.n_episodes, self._owed_steps = 0, 0, 0
        # draws are the same on all learners; orders depend on the rows that a learner was given
        self._draws, self._orders, self._cuts = (
            np.random.default_rng([key_from_seed(seed, NAME), i]) for i in range(3)
        )
        self._cutter = EpisodeCutter(kept.rows_per_episode, self._cuts)
        self._raw_seen: Moments | None = None  # of the term as it is, (1,)
        self._reward_seen: Moments | None = None
        self._sums: defaultdict[str, list[float]] = defaultdict(list)  # figures of batches since the last log
        self._looked: dict[str, dict[Data, float]] = {}  # estimates on buffers by bound, as last seen
        self._look_at = 0  # environment steps from which on to look again

    def observe(self, rows: JointRows, world_ids: I8) -> None:
        """Judge the episodes that end in a fragment, and fit the estimators as often as its steps allow."""
        ended = rows.terminated | rows.truncated
        columns = {"target": rows.target, "amounts": rows.amounts, "observation": rows.observation[:-1]}
        if rows.state is not None:
            columns["state"] = rows.state[:-1]
        reward = rows.reward.mean(-1, dtype=np.float64)
        first, behind = rows.observation[0], rows.observation[-1]
        finished = self._cutter.add(columns, reward, ended, world_ids, first, behind)
        everyone = compat.gather_objects((finished, world_ids.tolist(), len(ended)))
        # learners with a joint replay are all given the same worlds, others each their own
        new = {(entry.world_id, entry.number): entry for entries, _, _ in everyone for entry in entries}
        n_steps = sum({world_id: steps for _, ids, steps in everyone for world_id in ids}.values())
        self.env_steps += n_steps
        self._owed_steps += n_steps
        for entry in new.values():
            self._judge(entry)
        if new:
            self._observe_scales([entry.columns for entry in new.values()])
        n_gradient_steps, self._owed_steps = divmod(self._owed_steps, self.params.env_steps_per_gradient_step)
        for _ in range(n_gradient_steps):
            self._fit()

    def _judge(self, entry: Entry) -> None:
        is_superior = entry.total > self.threshold.value(self.buffers["superior"])
        self.buffers["superior" if is_superior else "inferior"].push(entry)
        self.buffers["all"].push(entry)
        self.threshold.observe(entry.total)
        self.factor.observe(entry.total)
        self.n_episodes += 1

    def _observe_scales(self, parts: list[Columns]) -> None:
        steps = self._steps({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
        for fitted in (model.fitted for model in (*self.bounds.values(), self.entropies) if model):
            fitted.observe(steps)

    def _steps(self, columns: Columns) -> JointBatch:
        def load(name: str) -> Tensor:
            return torch.from_numpy(columns[name]).to(self.device)

        state = load("state") if "state" in columns else None
        return JointBatch(load("observation"), state, load("target"), load("amounts"))

    def _fit(self) -> None:
        """Do a gradient step of everything whose buffer is full enough."""
        models: list[tuple[Data, Any]] = [(bound.params.data, bound) for bound in self.bounds.values()]
        if self.entropies is not None:
            models.append(("all", self.entropies))
        for data, model in models:
            buffer = self.buffers[data]
            if buffer.n_rows >= self.params.start_rows:
                drawn = buffer.draw(self.params.batch_rows, self._draws, self.params.with_replacement)
                model.fit(self._steps(drawn), self._draws)

    @torch.no_grad()
    def bonus(self, batch: JointBatch, reward: Tensor) -> Tensor:
        """Return the term of each step and agent; zero until the estimators have begun to learn, or while it is off."""
        factor = self.factor.value(self.env_steps, self.n_episodes)
        raw = self._raw(batch, reward.shape[1], is_off=factor == 0.0)
        if raw is None:
            return torch.zeros_like(reward)
        params = self.params
        self._raw_seen = _fading(self._raw_seen, raw, TERM_MEMORY)
        self._reward_seen = _fading(self._reward_seen, reward, REWARD_MEMORY)
        raw_std, reward_std = _std(self._raw_seen), _std(self._reward_seen)
        if params.share_of_reward:
            scale = params.share_of_reward * reward_std
            term = (raw - self._raw_seen.mean.item()) / max(raw_std, LEAST_STD)
            term = term.clamp(-params.clip, params.clip) if params.clip else term
            term = scale * term
        else:
            term = raw.clamp(-params.clip, params.clip) if params.clip else raw
        term = (factor * term).to(reward.dtype)
        self._note("bonus_mean", term.mean().item())
        self._note("bonus_std", term.std().item())
        self._note("reward_std", reward_std)
        if reward_std > LEAST_STD:
            self._note(SHARE, term.std().item() / reward_std)
        return term

    def _raw(self, batch: JointBatch, n_agents: int, is_off: bool) -> Tensor | None:
        """Return the weighted sum (R, N) of all that is fitted, None where nothing is; note the estimates.

        What does not count is measured on the first batch after each log only, with draws of its own.
        """
        parts: list[Tensor] = []
        for key, bound in self.bounds.items():
            is_idle = is_off or not bound.params.weight
            if not bound.fitted.n_fitted or (is_idle and f"{key}_on_batch_std" in self._sums):
                continue
            values = bound.values(batch, self._looks() if is_idle else self._orders)
            self._note(f"{key}_on_batch_{bound.unit}", values.mean().item())
            self._note(f"{key}_on_batch_std", values.std().item())
            parts.append((bound.params.weight if key == "lower" else -bound.params.weight) * values)
        given = self.params.entropies
        if given and self.entropies and self.entropies.fitted.n_fitted:
            if not is_off and (given.exploration_weight or given.collaboration_weight):
                surprises = self.entropies.surprises(batch)
                parts.append(given.exploration_weight * surprises.joint.unsqueeze(-1))
                parts.append(-given.collaboration_weight * surprises.others_given_own)
            if "joint_entropy_nats" not in self._sums:
                self._measure(batch)
        return sum(parts).expand(-1, n_agents) if parts else None

    def _measure(self, batch: JointBatch) -> None:
        """Note the three entropies of some rows of a batch, each by itself."""
        assert self.params.entropies is not None
        assert self.entropies is not None
        n_rows = len(batch.target)
        chosen = self._looks().permutation(n_rows)[: self.params.entropies.measured_rows]
        index = torch.from_numpy(chosen).to(batch.target.device)
        surprises = self.entropies.surprises(
            JointBatch(*(None if column is None else column[index] for column in batch))
        )
        self._note("joint_entropy_nats", surprises.joint.mean().item())
        self._note("own_entropy_given_state_nats", surprises.own_given_state.mean().item())
        self._note("others_entropy_given_own_and_state_nats", surprises.others_given_own.mean().item())
        self._note("information_by_entropies_nats", surprises.information.mean().item())

    def _looks(self) -> np.random.Generator:
        """Return draws for what is only logged, so that logging changes nothing."""
        return np.random.default_rng(self.env_steps)

    def _note(self, name: str, value: float) -> None:
        self._sums[name].append(value)

    def figures(self) -> dict[str, float]:
        """Return the estimates on each kind of data, the size of the term, and the state of the buffers."""
        found = {name: float(np.mean(values)) for name, values in self._sums.items()}
        self._sums.clear()
        fitted = {key: bound for key, bound in self.bounds.items() if bound.fitted.n_fitted}
        if self.env_steps >= self._look_at or set(fitted) != set(self._looked):
            self._looked = {key: self._look(bound) for key, bound in fitted.items()}
            self._look_at = self.env_steps + LOOK_ENV_STEPS
        for key, bound in fitted.items():
            found |= self._estimates(key, bound, found)
        for data, buffer in self.buffers.items():
            found[f"{data}_rows"] = float(buffer.n_rows)
            found[f"{data}_episodes"] = float(len(buffer))
            if len(buffer):
                found[f"{data}_return_mean"] = float(np.mean(buffer.totals()))
        threshold = self.threshold.value(self.buffers["superior"])
        if math.isfinite(threshold):
            found["threshold_return"] = threshold
        found["factor"] = self.factor.value(self.env_steps, self.n_episodes)
        return found

    def _estimates(self, key: str, bound: Bound, found: dict[str, float]) -> dict[str, float]:
        """Return a bound's estimates on buffers, and the gap between the data of its fit and the batch."""
        estimates = self._looked[key]
        result = {f"{key}_on_{data}_{bound.unit}": value for data, value in estimates.items()}
        on_batch = f"{key}_on_batch_{bound.unit}"
        if bound.params.data in estimates and on_batch in found:
            result[f"{key}_gap_{bound.unit}"] = estimates[bound.params.data] - found[on_batch]
        return result

    def _look(self, bound: Bound) -> dict[Data, float]:
        """Return a bound's estimates on some rows of each buffer."""
        looks, estimates = self._looks(), {}
        for data, buffer in self.buffers.items():
            n_rows = min(LOOK_ROWS, buffer.n_rows)
            if n_rows >= 2:
                drawn = self._steps(buffer.draw(n_rows, looks, with_replacement=False))
                estimates[data] = bound.values(drawn, looks).mean().item()
        return estimates

    def get_state(self) -> dict[str, Any]:
        """Return everything that the future depends on, open episodes included."""
        return {
            "models": {key: model.fitted.get_state() for key, model in self._models().items()},
            "buffers": {data: buffer.get_state() for data, buffer in self.buffers.items()},
            "returns": list(self.threshold.returns),
            "factor": self.factor.get_state(),
            "cutter": self._cutter.get_state(),
            "counters": (self.env_steps, self.n_episodes, self._owed_steps),
            "generators": [g.bit_generator.state for g in (self._draws, self._orders, self._cuts)],
            "seen": copy.deepcopy((self._raw_seen, self._reward_seen)),
            "looked": (copy.deepcopy(self._looked), self._look_at),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        for key, model in self._models().items():
            model.fitted.set_state(state["models"][key])
        for data, buffer in self.buffers.items():
            buffer.set_state(state["buffers"][data])
        self.threshold.returns.extend(state["returns"])
        self.factor.set_state(state["factor"])
        self._cutter.set_state(state["cutter"])
        self.env_steps, self.n_episodes, self._owed_steps = state["counters"]
        for generator, saved in zip((self._draws, self._orders, self._cuts), state["generators"], strict=True):
            generator.bit_generator.state = saved
        self._raw_seen, self._reward_seen = copy.deepcopy(state["seen"])
        self._looked, self._look_at = copy.deepcopy(state.get("looked", ({}, 0)))  # earlier ones lack it

    def _models(self) -> dict[str, Bound | Entropies]:
        entropies = {"entropies": self.entropies} if self.entropies is not None else {}
        return {**self.bounds, **entropies}


def _fading(known: Moments | None, values: Tensor, memory: int) -> Moments:
    """Return the moments (1,) of a batch on all learners and of those before, which count as ``memory`` values."""
    batch = Moments(*(part.cpu() for part in global_moments(values.reshape(-1, 1))))
    if known is None:
        return batch
    kept = min(1.0, memory / float(known.count))
    return combine(Moments(known.count * kept, known.mean, known.squares * kept), batch)


def _std(seen: Moments) -> float:
    return float((seen.squares / seen.count).sqrt())


class MutualInformation(RLlibCallback):
    """Adds the reward to every Learner when the Algorithm is made, and warns once where it outweighs the task's."""

    def __init__(self, params: MutualInformationParams) -> None:
        super().__init__()
        self.params = params
        self._has_warned = False

    def on_algorithm_init(self, *, algorithm: Any, **kwargs: Any) -> None:
        """Attach the reward term; a state that is restored later finds it there."""
        if not getattr(algorithm, "is_batched", False):
            raise ConfigError(
                "the mutual-information reward needs rollouts: it does not work with RLlib's stock runner"
            )
        if not algorithm.takes_reward_terms:
            raise ConfigError(
                "the mutual-information reward is added where a Learner makes batches; "
                f"{type(algorithm).__name__.lower()} training has none"
            )
        config = algorithm.config
        params, sizes, seed = self.params, checked_sizes(config, self.params), config.seed or 0

        def attach(learner: Any) -> None:
            learner.reward_terms.append(MutualInformationReward(params, sizes, seed, learner.device))

        for result in algorithm.learner_group.foreach_learner(attach):
            result.get()  # a failure in a remote learner would else only take it out of service

    def on_train_result(self, *, algorithm: Any, result: dict[str, Any], **kwargs: Any) -> None:
        """Warn, once, where the term is larger than the reward."""
        figures = result.get(LEARNER_RESULTS, {}).get(ALL_MODULES, {}).get(REWARD_TERMS, {}).get(NAME, {})
        share = float(figures.get(SHARE, 0.0))
        if share > 1.0 and not self._has_warned:
            self._has_warned = True
            log.warning(
                "mutual_information: the term's deviation is %.3g times that of the reward, so it drowns the task; "
                "lower its weights, or set share_of_reward",
                share,
            )


def checked_sizes(config: Any, params: MutualInformationParams) -> WorldSizes:
    """Return the sizes of the config's world; variables that it does not have raise ConfigError."""
    settings = config.env_config
    spec = make(settings["scenario"], 1, settings["seed"]).spec
    decision = Sizes(spec.n_targets, spec.n_amounts, spec.amount_low, spec.amount_high)
    n_state = spec.n_state if settings["with_state"] else 0
    sizes = WorldSizes(spec.n_agents, spec.n_features, n_state, decision)
    for bound in (params.lower, params.upper):
        if bound is not None:
            Pairing(bound.variables, params.state, params.decisions, sizes)
    if params.entropies is not None:
        Pairing("state_joint", params.state, "vectors", sizes)
    return sizes


def add_mutual_information(config: Any, params: MutualInformationParams) -> Any:
    """Add the reward to a config of any algorithm here, beside callbacks that it has already, and return the config."""
    checked_sizes(config, params)
    given = config.callbacks_class if isinstance(config.callbacks_class, list) else [config.callbacks_class]
    return config.callbacks([*given, partial(MutualInformation, params)])
