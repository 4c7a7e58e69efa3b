"""A site: its own worlds and its own learner, in any process."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from ray.rllib.core.columns import Columns

from edge_rllib import compat
from edge_rllib.collective.errors import PushError
from edge_rllib.collective.experience import ExperienceParams, Seen
from edge_rllib.collective.judging import Judging
from edge_rllib.collective.mutation import Mutator
from edge_rllib.collective.population import Entry, Offer, Receipt
from edge_rllib.collective.pulling import Fitness, PullRule
from edge_rllib.collective.vectors import flat, load_vector, vector_of
from edge_rllib.runners.rollout import MASK, OBSERVATION, REWARD, Rollout
from envs.arrays import F4
from envs.baselines.base import Rule
from envs.errors import DecisionError
from envs.rng import key_from_seed


class SharedPopulation(Protocol):
    """A population near or far; each call is answered whole or not at all."""

    def push(self, entry: Entry) -> Receipt:
        """Hand over an entry."""

    def offer(self, site: str) -> Offer | None:
        """Return what the site may take over."""


class SharedExperience(Protocol):
    """Shards near or far."""

    def add(self, fragments: list[Seen]) -> None:
        """Hand over a site's fragments."""


class SiteParams(NamedTuple):
    """Values of every site."""

    generation_steps: int  # env steps of a generation
    fitness_worlds: int
    rule: Rule  # whose score on the same worlds is the unit of fitness
    mutator: Mutator
    pull: PullRule
    optimizer: Literal["keep", "reset"]  # what becomes of the optimisers' memory with a pull: keep or reset
    experience: ExperienceParams


class Report(NamedTuple):
    """What a site tells of a generation."""

    site: str
    generation: int
    n_steps: int
    cost: float  # minus all rewards while it explored
    fitness: Fitness
    version: int  # of the population's policy that it took over last
    has_pulled: bool
    is_refused: bool  # the population did not take what it made
    push_s: float
    pull_s: float
    train_s: float
    bytes_pushed: int
    bytes_pulled: int
    bytes_seen: int


class Site:
    """Learns, is judged, shares."""

    def __init__(self, name: str, config: Any, values: SiteParams, start: F4 | None, seed: int) -> None:
        """Build an Algorithm that samples and learns in this process, at the policy ``start`` (d,), if given."""
        torch.set_num_threads(1)
        self.name, self.values = name, values
        self._samples: list[Rollout] = []
        config = config.copy(copy_frozen=False)
        config.callbacks(on_sample_end=_Keeper(self._samples))
        self.algorithm = config.build_algo()
        self._judging = Judging(config, values.fitness_worlds, values.rule)
        if start is not None:
            self.load(start)
        self.generation = 0
        self.version = 0
        self.fitness: Fitness | None = None
        self._sent = vector_of(self.modules)
        self._last: Rollout | None = None  # fragment, for mutations
        self._generator = np.random.default_rng(key_from_seed(seed, f"site {name}"))

    @property
    def modules(self) -> Any:
        """Return the learner's modules."""
        return compat.local_learner(self.algorithm).module

    def load(self, vector: F4) -> None:
        """Take over a vector (d,), in the learner and in the runner."""
        load(self.algorithm, vector)

    def play(self, population: SharedPopulation, shards: Sequence[SharedExperience], shard: int) -> Report:
        """Do a generation: take over the population's policy or not, learn, mutate, be judged, share."""
        values = self.values
        begin = time.perf_counter()
        has_pulled, bytes_pulled = self._pull(population)
        pulled = time.perf_counter()
        n_steps, cost, bytes_seen = self._train(shards, shard)
        trained = time.perf_counter()
        vector = values.mutator(vector_of(self.modules), self._judging.layout, self._sensitivity, self._generator)
        is_finite = bool(np.isfinite(vector).all())
        fitness = Fitness(math.nan, math.nan)
        if is_finite:
            self.load(vector)
            fitness = self._judging(vector)
        entry = Entry(self.name, self.generation, *fitness, n_steps, self.version, vector)
        sent = time.perf_counter()
        try:
            population.push(entry)
        except PushError:  # told of by the population, with this site's name
            is_refused = True
            self._go_back()
        else:
            is_refused, self._sent, self.fitness = False, vector, fitness
            self.generation += 1
        seconds = time.perf_counter() - sent, pulled - begin, trained - pulled
        sizes = vector.nbytes, bytes_pulled, bytes_seen
        told = entry.generation, n_steps, cost, fitness, self.version, has_pulled, is_refused
        return Report(self.name, *told, *seconds, *sizes)

    def _go_back(self) -> None:
        """Go on from what was sent last, with optimisers that remember nothing: what they knew may not be finite."""
        self.load(self._sent)
        self._forget_moments()

    def _forget_moments(self) -> None:
        for _, optimizer in compat.local_learner(self.algorithm).get_optimizers_for_module():
            optimizer.state.clear()

    def _pull(self, population: SharedPopulation) -> tuple[bool, int]:
        """Ask for the population's policy and take it over if the rule says so; return that, and the bytes received."""
        if self.fitness is None:
            return False, 0
        offer = population.offer(self.name)
        if offer is None:
            return False, 0
        if offer.version == self.version or not self.values.pull(
            self.fitness, offer, lambda given: self._judging(given.vector), self._generator
        ):
            return False, offer.vector.nbytes
        self.load(offer.vector)
        self.version = offer.version
        if self.values.optimizer == "reset":
            self._forget_moments()
        return True, offer.vector.nbytes

    def _train(self, shards: Sequence[SharedExperience], shard: int) -> tuple[int, float, int]:
        """Learn for a generation; return env steps, what they cost, and the bytes of experience sent."""
        values = self.values
        shares = values.experience.share and self._generator.random() < values.experience.prob
        n_steps, cost, kept = 0, 0.0, []
        self._samples.clear()
        while n_steps < values.generation_steps:
            try:
                self.algorithm.train()
            except DecisionError:  # worlds refuse decisions that are not finite
                if np.isfinite(vector_of(self.modules)).all():
                    raise
                break
            for rollout in self._samples:
                steps = rollout.env_steps()
                n_steps += steps
                cost -= sum(float(columns[REWARD].sum()) for columns in rollout.columns.values())
                if shares:  # the runner writes into the same arrays again
                    kept.append(Seen(self.name, self.generation, self.version, steps, copy.deepcopy(rollout)))
                self._last = rollout
            self._samples.clear()
        if not kept:
            return n_steps, cost, 0
        shards[shard].add(kept)
        return n_steps, cost, sum(n_bytes(seen.rollout) for seen in kept)

    def _sensitivity(self) -> F4:
        """Return by how much decisions in the last fragment change with each number of the policy, (d,)."""
        return sensitivity(self.modules, self._last)

    def get_state(self) -> dict[str, Any]:
        """Return everything that the site goes on from."""
        return {
            "algorithm": self.algorithm.get_state(),
            "generation": self.generation,
            "version": self.version,
            "sent": self._sent,
            "fitness": None if self.fitness is None else tuple(self.fitness),
            "generator": self._generator.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state``."""
        self.algorithm.set_state(state["algorithm"])
        self.generation, self.version = state["generation"], state["version"]
        self._sent = state["sent"]
        self.fitness = None if state["fitness"] is None else Fitness(*state["fitness"])
        self._generator.bit_generator.state = state["generator"]

    def stop(self) -> None:
        """End what it holds."""
        self.algorithm.stop()


def policy_of(algorithm: Any) -> F4:
    """Return what an Algorithm's learners know, (d,)."""
    found = algorithm.learner_group.foreach_learner(lambda learner: vector_of(learner.module))
    vector: F4 = next(iter(found)).get()
    return vector


def load(algorithm: Any, vector: F4) -> None:
    """Let an Algorithm's learners and runners take over a vector (d,)."""

    def take(learner: Any) -> None:
        load_vector(learner.module, vector)
        compat.count_weights(learner)

    algorithm.learner_group.foreach_learner(take)
    algorithm.env_runner_group.sync_weights(from_worker_or_learner_group=algorithm.learner_group, inference_only=True)


def sensitivity(modules: Any, rollout: Rollout | None) -> F4:
    """Return the norm over decisions' numbers of their mean gradient in each number of the policy, (d,); 1 unseen.

    [Lehman et al. 2018, section 3.3, SM-G-SUM]
    """
    squares: dict[Any, Any] = {}
    if rollout is not None:
        for module_id, columns in rollout.columns.items():
            module = modules[module_id].unwrapped()
            seen = {Columns.OBS: columns[OBSERVATION][:-1], "action_mask": columns[MASK][:-1]}
            batch = {name: torch.from_numpy(np.array(column)).flatten(0, 1) for name, column in seen.items()}
            outputs = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS].mean(0).flatten()
            parameters = [each for each in module.parameters() if each.requires_grad]
            for output in outputs:
                gradients = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    if gradient is not None:
                        squares[parameter] = squares.get(parameter, 0.0) + gradient.square()
    return flat(modules, {tensor: square.sqrt() for tensor, square in squares.items()}, 1.0 if rollout is None else 0.0)


def n_bytes(rollout: Rollout) -> int:
    """Return the bytes of a rollout's columns."""
    return sum(column.nbytes for columns in rollout.columns.values() for column in columns.values())


class _Keeper:
    """Keeps rollouts as they are sampled; a copy of a config copies no list."""

    def __init__(self, samples: list[Rollout]) -> None:
        self._samples = samples

    def __call__(self, *, samples: list[Rollout], **told: Any) -> None:
        self._samples.extend(samples)

    def __deepcopy__(self, memo: Any) -> _Keeper:
        return self
