"""Whole episodes of a few worlds, played by given modules: what a client learns from, and the content of a chunk.

An episode is a function of the seed, its world's id and the modules' weights. Of multilayer perceptrons it is bit-equal
in any company, and clients with different weights can share a batch of worlds (``Players``). Other models multiply the
rows of a batch at once: there an episode is the same in the same company; in another one, sums in other orders may
change the last digit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from edge_rllib.federated.attacks.data import DataAttack
from edge_rllib.federated.pausing import Paused
from edge_rllib.federated.perceptrons import RowActor, perceptron
from edge_rllib.federated.vectors import Vectors, load_vectors, vector_of
from edge_rllib.ops import categorical, hybrid
from edge_rllib.runners.acting import Manner, ModuleActor
from edge_rllib.runners.buffers import Buffers
from edge_rllib.runners.row_policy import Columns, Ending, note_step, take_streams
from envs.arrays import F8, I8, U8
from envs.errors import ConfigError
from envs.rng import key_from_seed
from envs.scenario import Scenario, make
from envs.world import World

FIRST_STEPS = 64  # that buffers have room for; they are doubled when an episode is longer
MOST_WORLDS = 1024  # of a batch: more do not make a step cheaper
MOST_BYTES = 2**28  # of a batch whose episodes all last to the horizon
MOST_PLAYERS = 4  # kept for batches of the same size


class Streams(NamedTuple):
    """Steps T of streams E, an agent of the module in an episode each; zero behind an episode's end."""

    observation: Tensor  # (T, E, F)
    mask: Tensor  # (T, E, K)
    target: Tensor  # (T, E)
    amounts: Tensor  # (T, E, A)
    logp: Tensor  # (T, E) of the decision, as it was drawn
    reward: Tensor  # (T, E)
    is_alive: Tensor  # (T, E)
    is_choice: Tensor  # (T, E), alive and with more than one allowed target, or with amounts

    @property
    def n_streams(self) -> int:
        """Return E."""
        return int(self.reward.shape[1])


class Spoiling(NamedTuple):
    """How a faulty client spoils its own data."""

    attack: DataAttack
    generator: np.random.Generator


class Played(NamedTuple):
    """What became of some episodes."""

    streams: dict[str, Streams]  # by module
    sums: F8  # (B, G) metric sums of each episode
    returns: F8  # (B,) sums of rewards, mean over agents
    n_steps: I8  # (B,)


class Part(NamedTuple):
    """Episodes that one client asks for."""

    world_ids: I8  # (E,)
    row: int = 0  # of the parameters that decide
    spoiling: Spoiling | None = None


Pauses = Callable[[int, I8], bool]  # of the step to come, and of the steps (B,) that episodes have had


class EpisodePlayer:
    """Plays one episode in each of B worlds.

    A world whose episode has ended is stepped on, undecided, until all have: of a pole that costs 44 ns a step, while
    one that is decided on costs 210. Worlds in which a step is dear leave it out.
    """

    def __init__(
        self, scenario: Scenario, n_worlds: int, seed: int, modules: Mapping[str, Any], groups: dict[str, I8]
    ) -> None:
        """Build worlds; ``groups`` has the indices of each module's agents. Modules may change their weights later."""
        self.world = make(scenario, n_worlds, seed)
        self.groups = groups
        self._modules = {module_id: modules[module_id] for module_id in groups}
        self._key: U8 = np.array([key_from_seed(seed, "decision")], np.uint64)
        self._actors = self._row_actors() or self._module_actors()
        self._buffers = Buffers(self.world, FIRST_STEPS, with_state=False)

    def _row_actors(self) -> list[RowActor] | None:
        """Return actors that decide row by row; None where a module is no perceptron."""
        policies = {name: perceptron(module) for name, module in self._modules.items()}
        actors = [RowActor(name, policy, self.groups[name]) for name, policy in policies.items() if policy is not None]
        return actors if len(actors) == len(policies) else None

    def _module_actors(self) -> list[ModuleActor]:
        """Return actors of any modules."""
        spec = self.world.spec
        return [
            ModuleActor(name, self._modules[name], agents, spec.n_agents, spec.n_worlds)
            for name, agents in self.groups.items()
        ]

    def play(self, world_ids: I8, explore: bool = True, spoiling: Spoiling | None = None) -> Played:
        """Return the first episode of the worlds with these ids (B,), played by the modules; greedy if not ``explore``.

        A faulty client may spoil its decisions, observations and the rewards that it learns from; the returns are
        what its worlds paid.
        """
        vectors = {name: vector_of(module).unsqueeze(0) for name, module in self._modules.items()}
        (played,) = self._play([Part(world_ids)], vectors, explore, spoiling)
        return played

    def play_together(self, parts: Sequence[Part], vectors: Vectors, explore: bool = True) -> list[Played]:
        """Return of each part what it would be alone, played by its row of the parameters (G, d) of each module.

        The parts must have B worlds together and no spoiling. Modules other than perceptrons raise ConfigError.
        """
        if not all(isinstance(actor, RowActor) for actor in self._actors):
            raise ConfigError("play_together: expected perceptrons; other models can only play with their own weights")
        return self._play(parts, vectors, explore, None)

    def play_on(self, part: Part, vectors: Vectors, paused: Paused | None, pauses: Pauses) -> Played | Paused:
        """Go on with episodes, or begin them, until all have ended or ``pauses`` says so; they explore.

        However often that happens, and wherever they go on, they become what they are in one piece.
        """
        self._load(vectors)
        rows = np.full(len(part.world_ids), part.row, np.int64)
        ending, step = self._run(part.world_ids, rows, True, part.spoiling, paused, pauses)
        if not ending.is_over.all():
            return self._paused(step, ending)
        return self._played(ending, 0, len(rows), part.spoiling)

    def _play(self, parts: Sequence[Part], vectors: Vectors, explore: bool, spoiling: Spoiling | None) -> list[Played]:
        world_ids = np.concatenate([part.world_ids for part in parts])
        if len(world_ids) != self.world.spec.n_worlds:
            raise ConfigError(f"{len(world_ids)} episodes for a player of {self.world.spec.n_worlds} worlds")
        self._load(vectors)
        rows = np.repeat([part.row for part in parts], [len(part.world_ids) for part in parts])
        ending, _ = self._run(world_ids, rows.astype(np.int64), explore, spoiling)
        bounds = np.cumsum([0, *(len(part.world_ids) for part in parts)]).tolist()
        return [self._played(ending, *bound, spoiling) for bound in pairwise(bounds)]

    def _load(self, vectors: Vectors) -> None:
        for actor in self._actors:
            if isinstance(actor, RowActor):
                actor.load(vectors[actor.module_id])
            else:
                actor.forget()

    @torch.inference_mode()
    def _run(
        self,
        world_ids: I8,
        rows: I8,
        explore: bool,
        spoiling: Spoiling | None,
        paused: Paused | None = None,
        pauses: Pauses | None = None,
    ) -> tuple[Ending, int]:
        """Fill the buffers; return what became of each world's first episode, and the step that would be next."""
        ending, t = self._begin(world_ids) if paused is None else self._resume(paused)
        ids, n_alive, first = world_ids.astype(np.uint64), int(np.count_nonzero(~ending.is_over)), t
        while n_alive and not (pauses is not None and t > first and pauses(t, ending.n_steps)):
            if t == self._buffers.n_steps:
                self._buffers = self._grown()
            buffers = self._buffers
            if spoiling is not None:
                seen, generator = buffers.observation[t], spoiling.generator
                seen[...] = spoiling.attack.observations(seen, np.ones(seen.shape[:-1], np.bool_), generator)
            self._decide(t, explore, rows, ending, ids)
            if spoiling is not None:
                self._spoil_decisions(t, spoiling)
            self._step(t)
            endings = (buffers.terminated, buffers.truncated, buffers.final.final_sums)
            n_alive = note_step(*ending, buffers.reward, *endings, t)
            t += 1
        return ending, t

    def _begin(self, world_ids: I8) -> tuple[Ending, int]:
        spec = self.world.spec
        n_worlds = spec.n_worlds
        self.world.reset(world_ids, self._buffers.first)
        rewards, sums = np.zeros((n_worlds, spec.n_agents)), np.zeros((n_worlds, len(spec.sum_names)))
        return Ending(np.zeros(n_worlds, np.bool_), np.zeros(n_worlds, np.int64), rewards, sums), 0

    def _resume(self, paused: Paused) -> tuple[Ending, int]:
        """Put a state into world and buffers."""
        self.world.restore(paused.world)
        while self._buffers.n_steps < paused.step:
            self._buffers = self._grown()
        for name, column in paused.columns._asdict().items():
            getattr(self._buffers, name)[: len(column)] = column
        return copy.deepcopy(paused.ending), paused.step

    def _paused(self, step: int, ending: Ending) -> Paused:
        """Return the state before a step."""
        seen = ("observation", "mask")
        columns = Columns(*(getattr(self._buffers, name)[: step + (name in seen)].copy() for name in Columns._fields))
        return Paused(step, columns, ending, self.world.snapshot())

    def _decide(self, t: int, explore: bool, rows: I8, ending: Ending, ids: U8) -> None:
        buffers = self._buffers
        for actor in self._actors:
            if isinstance(actor, RowActor):
                actor.act(buffers, t, explore, self._key, rows, ending.is_over, ids)
            else:
                if t:
                    actor.forget(buffers.terminated[t - 1] | buffers.truncated[t - 1])
                manner = Manner(explore, is_random=False, keep_logits=False, env_steps=0)
                actor.act(buffers, t, manner, self._key[0], ids, np.uint64(t))

    def _spoil_decisions(self, t: int, spoiling: Spoiling) -> None:
        """Write other decisions over those of step t."""
        spec, attack, buffers = self.world.spec, spoiling.attack, self._buffers
        decision, amounts = buffers.decision[t], buffers.amounts[t]
        decision[...] = attack.actions(decision, buffers.mask[t], spoiling.generator)
        if amounts.size:
            amounts[...] = attack.amounts(amounts, spec.amount_low, spec.amount_high, spoiling.generator)

    def _step(self, t: int) -> None:
        buffers = self._buffers
        amounts = buffers.amounts_for_world(t)
        if amounts is None:
            self.world.step(buffers.decision[t], buffers.outcomes[t])
        else:
            self.world.step(buffers.decision[t], buffers.outcomes[t], amounts)

    def _grown(self) -> Buffers:
        """Return buffers of twice the steps, with what was played so far."""
        old = self._buffers
        grown = Buffers(self.world, 2 * old.n_steps, with_state=False)
        for name in ("observation", "mask", "reward", "decision", "amounts", "logp"):
            column = getattr(old, name)
            getattr(grown, name)[: len(column)] = column
        return grown

    def _played(self, ending: Ending, first: int, behind: int, spoiling: Spoiling | None) -> Played:
        """Return the episodes of a range of worlds."""
        n_steps = ending.n_steps[first:behind]
        streams = {actor.module_id: self._streams(actor.agents, n_steps, first) for actor in self._actors}
        if spoiling is not None:
            streams = {name: self._spoilt(name, part, spoiling) for name, part in streams.items()}
        return Played(streams, ending.sums[first:behind], ending.rewards[first:behind].mean(-1), n_steps)

    def _streams(self, agents: I8, n_steps: I8, first: int) -> Streams:
        spec, buffers = self.world.spec, self._buffers
        shape = (int(n_steps.max()), len(n_steps) * len(agents))
        out = Columns(
            np.zeros((*shape, spec.n_features), np.float32),
            np.zeros((*shape, spec.n_targets), np.bool_),
            np.zeros(shape, np.int64),
            np.zeros((*shape, spec.n_amounts), np.float32),
            np.zeros(shape, np.float32),
            np.zeros(shape, np.float32),
        )
        is_alive, is_choice = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        columns = Columns(*(getattr(buffers, name) for name in Columns._fields))
        take_streams(out, is_alive, is_choice, columns, n_steps, first, agents)
        return Streams(*(torch.from_numpy(column) for column in (*out, is_alive, is_choice)))

    def _spoilt(self, module_id: str, streams: Streams, spoiling: Spoiling) -> Streams:
        """Return streams with other rewards, and the log probabilities of what was really decided."""
        alive = streams.is_alive.numpy()
        is_last = alive & ~np.concatenate((alive[1:], np.zeros_like(alive[:1])))
        reward = spoiling.attack.rewards(streams.reward.numpy(), is_last, alive, spoiling.generator)
        with torch.no_grad():
            logp = log_probs(self._modules[module_id], streams)
        return streams._replace(reward=torch.from_numpy(reward.astype(np.float32)), logp=logp)


class Players:
    """Plays the episodes of many clients, those of several in one batch of worlds where the models allow it."""

    def __init__(self, scenario: Scenario, seed: int, modules: Mapping[str, Any], groups: dict[str, I8]) -> None:
        """Take modules, whose weights are changed by some calls, and the indices of each one's agents."""
        self._arguments = (scenario, seed, modules, groups)
        self._is_shared = all(perceptron(modules[module_id]) is not None for module_id in groups)
        self._most = _most_worlds(make(scenario, 1, seed))
        self._players: dict[int, EpisodePlayer] = {}

    def play(self, parts: Sequence[Part], vectors: Vectors, explore: bool = True) -> list[Played]:
        """Return of each part what it is alone, played by its row of the parameters (G, d) of each module.

        What is spoilt, and what models other than perceptrons play, is played part by part.
        """
        played: dict[int, Played] = {}
        alone = [i for i, part in enumerate(parts) if not self._is_shared or part.spoiling is not None]
        for i in alone:
            part = parts[i]
            load_vectors(self._arguments[2], {name: rows[part.row] for name, rows in vectors.items()})
            played[i] = self._player(len(part.world_ids)).play(part.world_ids, explore, part.spoiling)
        for batch in self._batches(parts, [i for i in range(len(parts)) if i not in played]):
            together = [parts[i] for i in batch]
            player = self._player(sum(len(part.world_ids) for part in together))
            played.update(zip(batch, player.play_together(together, vectors, explore), strict=True))
        return [played[i] for i in range(len(parts))]

    def play_on(self, part: Part, vectors: Vectors, paused: Paused | None, pauses: Pauses) -> Played | Paused:
        """Go on with episodes of a part by itself; see ``EpisodePlayer.play_on``."""
        load_vectors(self._arguments[2], {name: rows[part.row] for name, rows in vectors.items()})
        return self._player(len(part.world_ids)).play_on(part, vectors, paused, pauses)

    def _batches(self, parts: Sequence[Part], indices: Sequence[int]) -> Iterator[list[int]]:
        """Yield parts that are played together: in order, as many as fit, a large one alone."""
        batch: list[int] = []
        n_worlds = 0
        for i in indices:
            n_own = len(parts[i].world_ids)
            if batch and n_worlds + n_own > self._most:
                yield batch
                batch, n_worlds = [], 0
            batch.append(i)
            n_worlds += n_own
        if batch:
            yield batch

    def _player(self, n_worlds: int) -> EpisodePlayer:
        """Return a player of a size, the last few of which are kept."""
        player = self._players.pop(n_worlds, None)
        if player is None:
            scenario, seed, modules, groups = self._arguments
            player = EpisodePlayer(scenario, n_worlds, seed, modules, groups)
            if len(self._players) == MOST_PLAYERS:
                del self._players[next(iter(self._players))]
        self._players[n_worlds] = player
        return player


def _most_worlds(world: World) -> int:
    """Return how many worlds a batch may have."""
    spec = world.spec
    n_bytes = 4 * (spec.n_features + spec.n_amounts + 2) + spec.n_targets + 8
    return max(1, min(MOST_WORLDS, MOST_BYTES // (n_bytes * spec.n_agents * spec.horizon_steps)))


def log_probs(module: Any, streams: Streams) -> Tensor:
    """Return log pi of the decisions (T, E) under a module's weights, with a gradient; zero where nothing was chosen.

    Modules with memory are not evaluated here.
    """
    rows = streams.is_choice
    output = module.forward_train({"obs": streams.observation[rows], "action_mask": streams.mask[rows]})
    sizes = module.model_config["shape"].decision
    parts = hybrid.split(output["action_dist_inputs"], sizes)
    chances = categorical.log_softmax(parts.logits)
    logp = hybrid.logp(parts, chances, streams.target[rows], streams.amounts[rows], sizes)
    return torch.zeros(rows.shape, dtype=logp.dtype, device=logp.device).masked_scatter(rows, logp)
