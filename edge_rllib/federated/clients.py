"""A client: its batches, cut into chunks, and how a chunk of it is executed. Many clients share a process.

Whoever executes a chunk gets the same numbers: they depend on the chunk, on what its owner was told, and on nothing
else. A client's estimate is the mean of its chunks, added in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from edge_rllib.federated.batches import columns, joined
from edge_rllib.federated.episodes import MOST_WORLDS, Part, Played, Players, Spoiling, Streams
from edge_rllib.federated.estimators import EstimatorParams, corrected, estimate
from edge_rllib.federated.lies import Lie
from edge_rllib.federated.pausing import Paused
from edge_rllib.federated.perceptrons import perceptron
from edge_rllib.federated.stealing.chunks import Chunk, ChunkResult, bytes_digest, result_of
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.vectors import Vectors, load_vectors, vector_of
from edge_rllib.modules.shape import ObservationShape
from envs.arrays import F8, I8
from envs.constants import EVALUATION_WORLD_ID
from envs.errors import ConfigError
from envs.scenario import Scenario, make
from envs.world import World, WorldSpec

VECTOR = "vector/"  # in front of a module's name, in a result's arrays
ChunkEpisodes = int | Literal["auto"]


class Order(NamedTuple):
    """What a client is told at the start of a round."""

    round: int
    is_large: bool
    vectors: Vectors  # parameters
    older: Vectors | None  # parameters that ``known`` belongs to; None in a large round
    known: Vectors | None  # what is known of the gradient there


class Message(NamedTuple):
    """What a client sends of a round, and what is told of it."""

    vectors: Vectors  # of the gradient, by module
    effective_share: float
    mean_return: float  # of its episodes, mean over agents, not discounted
    n_steps: int  # of its worlds
    n_agent_steps: int
    n_episodes: int
    sums: dict[int, F8]  # metric sums (G,) of the episodes, by owner


@dataclass(frozen=True)
class Networks:
    """What the clients of a process share: modules, which their parameters are put into, and worlds."""

    now: Mapping[str, Any]
    older: Mapping[str, Any]
    players: dict[tuple[int, int], Players] = field(default_factory=dict, compare=False)
    worlds: dict[int, World] = field(default_factory=dict, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let another process have the modules, and build its own worlds."""
        return Networks, (self.now, self.older)


class Client:
    """Owns worlds of a scenario, and has batches of episodes in them."""

    def __init__(
        self,
        index: int,
        n_clients: int,
        scenario: Scenario,
        seed: int,
        params: EstimatorParams,
        networks: Networks,
        groups: dict[str, I8],
        chunk_episodes: ChunkEpisodes = 0,
    ) -> None:
        """Take a number among all clients: no two of them ever play the same world.

        Batches are cut into chunks of at most ``chunk_episodes``, as equal as can be; 0 leaves them whole. An episode
        is judged by the others of its chunk. With ``auto`` whoever asks for chunks says how long they are, and their
        results are episodes, of which ``estimated`` makes the estimate of the whole batch. Worlds that the modules do
        not fit raise ConfigError.
        """
        self.index, self.n_clients, self.scenario, self.seed = index, n_clients, scenario, seed
        self.params, self.networks, self.groups = params, networks, groups
        self.sends_episodes = chunk_episodes == "auto"
        most = 0 if chunk_episodes == "auto" else chunk_episodes
        self.sizes = {is_large: cut(self.n_episodes(is_large), most) for is_large in (True, False)}
        least = min(min(sizes) for sizes in self.sizes.values())
        if params.baseline != "none" and least < 2:
            raise ConfigError(
                f"chunk_episodes = {chunk_episodes} of {params.large_episodes} and {params.small_episodes} episodes "
                f"leaves chunks of {least}; baseline = {params.baseline} needs 2 in each, of which one judges the other"
            )
        self._check_modules()

    def _check_modules(self) -> None:
        """Raise ConfigError unless all modules take what this client's worlds show, and how chunks are cut."""
        spec = self.spec
        who = f"client {self.index} ({spec.scenario})"
        if set(self.groups) != set(self.networks.now.keys()):
            known = ", ".join(self.networks.now.keys())
            raise ConfigError(f"{who}: modules {', '.join(self.groups)}; known: {known}")
        rough = [name for name in self.groups if self.sends_episodes and perceptron(self.networks.now[name]) is None]
        if rough:
            raise ConfigError(
                f"{who}: chunk_episodes = auto with module {rough[0]}, whose decisions depend in the last digit on how "
                "many are taken at once; expected a perceptron, or a number of episodes"
            )
        for module_id in self.groups:
            shape = self.networks.now[module_id].model_config["shape"]
            given, expected = _sizes(ObservationShape.of(spec)), _sizes(shape)
            if given != expected:
                raise ConfigError(f"{who}: an agent sees {given}; module {module_id} is for {expected}")

    @property
    def spec(self) -> WorldSpec:
        """Return the sizes of its worlds."""
        return self.world.spec

    @property
    def world(self) -> World:
        """Return a world that nobody plays in, which knows sizes and derives figures."""
        key = id(self.scenario)
        if key not in self.networks.worlds:
            self.networks.worlds[key] = make(self.scenario, 1, self.seed)
        return self.networks.worlds[key]

    def n_episodes(self, is_large: bool) -> int:
        """Return the number of episodes of a batch."""
        return self.params.large_episodes if is_large else self.params.small_episodes

    def chunks(
        self, order: Order, most_episodes: int = 0, least_episodes: int = 1, part_steps: int | None = None
    ) -> list[Chunk]:
        """Return the round's batch, in chunks that can be cut after each so many steps.

        A client that sends episodes cuts it as it is told, whole for 0, and calls a chunk by its first episode, so that
        an episode's world does not depend on how the batch is cut.
        """
        sizes = self.sizes[order.is_large]
        if self.sends_episodes:
            sizes = cut(self.n_episodes(order.is_large), most_episodes, least_episodes)
        places = [0, *accumulate(sizes)] if self.sends_episodes else range(len(sizes) + 1)
        horizon = self.spec.horizon_steps
        names = ("federation", order.round, self.index)
        return [
            Chunk(*names, index, order.round, self.seed, horizon, n_episodes=size, part_steps=part_steps)
            for index, size in zip(places, sizes, strict=False)
        ]

    def execute(self, chunk: Chunk, order: Order, lie: Lie | None = None) -> ChunkResult:
        """Play a chunk's episodes, spoilt or not, and return what they say, vectors (d,) without ``known``."""
        (result,) = execute([self], [Job(0, chunk, order, lie)])
        return result

    def execute_on(
        self, chunk: Chunk, order: Order, lie: Lie | None, state: bytes | None, stops: Callable[[int], bool]
    ) -> ChunkResult:
        """Go on with a chunk from the state of its first part, until it ends or is to stop.

        ``stops`` is asked at the end of each part, with the steps that were played so far. A state that is not the
        chunk's raises StealingError.
        """
        if (bytes_digest(state) if state is not None else "") != chunk.start:
            raise StealingError(f"{chunk.label}: the state is not the one that it goes on from")
        paused = None if state is None else Paused.unpacked(state)
        part_steps = chunk.part_steps or chunk.horizon
        first, n_before = chunk.part * part_steps, 0 if paused is None else int(paused.ending.n_steps.sum())

        def pauses(step: int, n_steps: I8) -> bool:
            n_parts, behind = divmod(step - first, part_steps)
            if behind:
                return False
            is_asked = stops(int(n_steps.sum()) - n_before)
            return n_parts == chunk.n_parts if chunk.n_parts else is_asked

        vectors = {name: order.vectors[name].unsqueeze(0) for name in self.groups}
        part = Part(self.worlds_of(chunk), 0, None if lie is None else lie.spoiling)
        with one_thread():
            _load(self.networks, order)
            played = self.players.play_on(part, vectors, paused, pauses)
            if isinstance(played, Paused):
                n_steps, n_parts = int(played.ending.n_steps.sum()) - n_before, (played.step - first) // part_steps
                return result_of(chunk, 0, n_steps, {}, played.packed(), n_parts)
            return self.result(Job(0, chunk, order, lie), played, n_before)

    def result(self, job: Job, played: Played, n_before: int = 0) -> ChunkResult:
        """Return what a chunk's episodes say, with the modules at the order's parameters; or the episodes.

        ``n_before`` of their steps were played in earlier parts.
        """
        n_steps = int(played.n_steps.sum())
        figures: dict[str, Any] = {"return": played.returns, "lengths": played.n_steps, "sums": played.sums.sum(0)}
        figures["agent_steps"] = np.array([float(n_steps * self.spec.n_agents)])
        chunk, longest = job.chunk, int(played.n_steps.max())
        n_parts = 1 if chunk.part_steps is None else -(-longest // chunk.part_steps) - chunk.part
        said: dict[str, Any] = (
            columns(played.streams) if self.sends_episodes else self._estimate(job.order, played.streams)
        )
        if job.lie is not None:
            said |= job.lie.forged({name: array for name, array in said.items() if _is_believed(name)})
        return result_of(chunk, chunk.size, n_steps - n_before, {**said, **figures}, n_parts=n_parts)

    def _estimate(self, order: Order, streams: Mapping[str, Streams]) -> dict[str, Any]:
        """Return the vectors of streams by module, and the share of them that is effective, as arrays with names."""
        said: dict[str, Any] = {}
        shares = []
        for module_id, each in streams.items():
            module, vector = self.networks.now[module_id], order.vectors[module_id]
            n_members = len(self.groups[module_id])  # who share an episode, and do not judge each other
            if order.older is None:
                found = estimate(self.params, module, each, n_members)
            else:
                older = self.networks.older[module_id]
                found = corrected(self.params, module, older, torch.zeros_like(vector), each, n_members)
            said[VECTOR + module_id] = found.vector.numpy()
            shares.append(found.effective_share)
        return {**said, "share": np.array([min(shares)])}

    def estimated(self, results: Sequence[ChunkResult], order: Order) -> ChunkResult:
        """Return the estimate of episodes that results of this client have, in their order, as one result."""
        with one_thread():
            _load(self.networks, order)
            said = self._estimate(order, joined(results))
        names = ("return", "lengths", "agent_steps")
        figures = {name: np.concatenate([each.arrays[name] for each in results]) for name in names}
        figures["agent_steps"] = figures["agent_steps"].sum(keepdims=True)
        figures["sums"] = np.sum([each.arrays["sums"] for each in results], axis=0)
        n_episodes, n_steps = sum(each.n_episodes for each in results), sum(each.n_steps for each in results)
        return ChunkResult(results[0].id, results[0].version, n_episodes, n_steps, {**said, **figures})

    def message(self, order: Order, lie: Callable[[Chunk], Lie | None] | None = None) -> Message:
        """Execute all chunks of a round, one after another, and return the estimate."""
        chunks = self.chunks(order)
        jobs = [Job(0, chunk, order, lie(chunk) if lie else None) for chunk in chunks]
        results = execute([self], jobs)
        return combined([self.estimated(results, order)] if self.sends_episodes else results, order.known)

    def play(self, round_: int, n_episodes: int, spoiling: Spoiling | None = None) -> Played:
        """Play episodes in worlds that belong to this client and round, with the networks as they are."""
        vectors = {module_id: vector_of(self.networks.now[module_id]).unsqueeze(0) for module_id in self.groups}
        (played,) = self.players.play([Part(self.world_ids(round_, n_episodes), 0, spoiling)], vectors)
        return played

    @property
    def players(self) -> Players:
        """Return what plays its episodes, for all clients with the same worlds."""
        players, key = self.networks.players, (id(self.scenario), self.seed)
        if key not in players:
            players[key] = Players(self.scenario, self.seed, self.networks.now, self.groups)
        return players[key]

    def prepare(self) -> None:
        """Play chunks of all sizes, so that the first one that counts is as fast as the others.

        Kernels are compiled, or read from their cache, when they are first called.
        """
        for size in {size for sizes in self.sizes.values() for size in sizes}:
            self.play(0, size)

    def world_ids(self, round_: int, n_episodes: int) -> I8:
        """Return the names of the random streams of a round's worlds."""
        return self._world_ids(round_, 0, n_episodes)

    def worlds_of(self, chunk: Chunk) -> I8:
        """Return those of a chunk's worlds."""
        return self._world_ids(chunk.round, chunk.index, chunk.size)

    def _world_ids(self, round_: int, index: int, n_episodes: int) -> I8:
        most = max(len(sizes) * max(sizes) for sizes in self.sizes.values())
        widest = 1 if self.sends_episodes else max(max(sizes) for sizes in self.sizes.values())
        first = (round_ * self.n_clients + self.index) * most
        if first + most > EVALUATION_WORLD_ID:
            raise ConfigError(
                f"round {round_} of {self.n_clients} clients with up to {most} episodes: worlds have no names left"
            )
        return first + index * widest + np.arange(n_episodes, dtype=np.int64)


class Job(NamedTuple):
    """A chunk to be executed."""

    owner: int  # place of its client among those given
    chunk: Chunk
    order: Order  # that the owner was told
    lie: Lie | None


def execute(clients: Sequence[Client], jobs: Sequence[Job]) -> list[ChunkResult]:
    """Return the results of chunks, each the same as if it was executed alone; clients share their networks.

    Episodes of chunks in the same worlds are played together, a bounded number at a time. Torch works on one thread, as
    sums on several are others in the last digit.
    """
    found: dict[int, ChunkResult] = {}
    with one_thread():
        for batch in _batches(clients, jobs):
            first = clients[jobs[batch[0]].owner]
            orders = {id(jobs[i].order): jobs[i].order for i in batch}
            rows = {key: row for row, key in enumerate(orders)}
            vectors = {name: torch.stack([order.vectors[name] for order in orders.values()]) for name in first.groups}
            parts = [
                Part(
                    clients[job.owner].worlds_of(job.chunk),
                    rows[id(job.order)],
                    None if job.lie is None else job.lie.spoiling,
                )
                for job in (jobs[i] for i in batch)
            ]
            loaded = None
            for i, played in zip(batch, first.players.play(parts, vectors), strict=True):
                job = jobs[i]
                if loaded is not job.order:
                    _load(first.networks, job.order)
                    loaded = job.order
                found[i] = clients[job.owner].result(job, played)
    return [found[i] for i in range(len(jobs))]


def _batches(clients: Sequence[Client], jobs: Sequence[Job]) -> Iterator[list[int]]:
    """Yield jobs in worlds of the same scenario, in order, as many as may be in memory."""
    alike: dict[int, list[int]] = {}
    for i, job in enumerate(jobs):
        alike.setdefault(id(clients[job.owner].scenario), []).append(i)
    for indices in alike.values():
        batch: list[int] = []
        for i in indices:
            if batch and sum(jobs[j].chunk.size for j in batch) + jobs[i].chunk.size > MOST_WORLDS:
                yield batch
                batch = []
            batch.append(i)
        yield batch


def _load(networks: Networks, order: Order) -> None:
    load_vectors(networks.now, order.vectors)
    if order.older is not None:
        load_vectors(networks.older, order.older)


def _is_believed(name: str) -> bool:
    """Return whether an array of a result is one whose numbers a forger would make up: vectors, or rewards."""
    return name.startswith(VECTOR) or name.endswith("/reward")


def cut(n_episodes: int, chunk_episodes: int, least_episodes: int = 1) -> list[int]:
    """Return the sizes of a batch's chunks: as few as can be, equal up to one.

    None is larger than allowed, unless some would be smaller than allowed.
    """
    if chunk_episodes < 0:
        raise ConfigError(f"chunk_episodes = {chunk_episodes}: expected 0, for batches that stay whole, or more")
    n_chunks = -(-n_episodes // chunk_episodes) if chunk_episodes else 1
    n_chunks = max(1, min(n_chunks, n_episodes // least_episodes))
    least, n_larger = divmod(n_episodes, n_chunks)
    return [least + (index < n_larger) for index in range(n_chunks)]


def combined(results: Sequence[ChunkResult], known: Vectors | None) -> Message:
    """Return the estimate of all chunks: the mean over episodes, added in float64 in the order given, and ``known``."""
    n_episodes = sum(result.n_episodes for result in results)
    vectors: Vectors = {}
    for name in (name for name in results[0].arrays if name.startswith(VECTOR)):
        total = np.zeros(results[0].arrays[name].shape)
        for result in results:
            total += result.n_episodes * result.arrays[name].astype(np.float64)
        mean, module_id = torch.from_numpy(total / n_episodes), name.removeprefix(VECTOR)
        vectors[module_id] = (mean if known is None else mean + known[module_id]).float()
    share = float(np.median([result.arrays["share"][0] for result in results]))
    mean_return = sum(float(result.arrays["return"].sum()) for result in results) / n_episodes
    n_agent_steps = int(sum(result.arrays["agent_steps"][0] for result in results))
    n_steps = sum(int(result.arrays["lengths"].sum()) for result in results)
    sums: dict[int, Any] = {}
    for result in results:
        owner = result.id.owner
        sums[owner] = sums.get(owner, 0.0) + result.arrays["sums"]
    return Message(vectors, share, mean_return, n_steps, n_agent_steps, n_episodes, sums)


def world_figures(clients: Sequence[Client], messages: Sequence[Message]) -> dict[str, float]:
    """Return what clients' worlds say of the episodes that messages are of, as ``world/`` and the figure's name.

    Worlds with other sums than the first client's are counted apart, under the name of their scenario.
    """
    totals: dict[tuple[str, ...], Any] = {}
    first: dict[tuple[str, ...], World] = {}
    for message in messages:
        for owner, sums in message.sums.items():
            names = clients[owner].spec.sum_names
            totals[names] = totals.get(names, 0.0) + sums
            first.setdefault(names, clients[owner].world)
    figures = {}
    for names, total in totals.items():
        world = first[names]
        apart = "" if names == clients[0].spec.sum_names else f"{world.spec.scenario}/"
        for name, value in world.summarise(total).items():
            figures[f"world/{apart}{name}"] = value
    return figures


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work on one thread inside."""
    n_threads = torch.get_num_threads()
    if n_threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _sizes(shape: ObservationShape) -> str:
    decision = shape.decision
    return f"{shape.n_features} features, {decision.n_targets} targets and {decision.n_amounts} amounts"
