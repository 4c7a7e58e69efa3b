"""Values of how a round's work is cut, shared out, checked and credited."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edge_rllib.federated.clients import ChunkEpisodes, Client
from edge_rllib.federated.collectors.actors import ActorCollector
from edge_rllib.federated.collectors.base import Collector
from edge_rllib.federated.collectors.sizing import PartSteps, Sizing
from edge_rllib.federated.collectors.virtual import VirtualCollector
from edge_rllib.federated.pipeline import named_part
from edge_rllib.federated.stealing.network import Network, check_edges, network
from edge_rllib.federated.stealing.policies import ChunkSizes, Scheduler
from edge_rllib.federated.stealing.records import LedgerRules
from edge_rllib.federated.stealing.speeds import SpeedProfile
from envs.errors import ConfigError

LEAST_VOTES = 2  # equal results of one chunk that settle a dispute


@dataclass(frozen=True)
class StealingParams:
    """Values of work stealing."""

    # in_process: each client's chunks by itself, in order; virtual: the same, by whom and when a simulation of clients
    # and a network says; actors: processes of Ray
    collector: Literal["in_process", "virtual", "actors"]
    # most of a chunk, whose episodes are judged by each other; 0: a client's batch is one. auto: as many as take the
    # time below; clients send episodes, and each is judged by the whole batch, however that was cut
    chunk_episodes: ChunkEpisodes
    least_chunk_s: float  # auto: time of a chunk at the average speed
    most_chunk_s: float  # beyond it running chunks can be handed over, see part_steps
    least_latencies: float  # auto: and so many times the time from asking for a chunk until it is there
    # env steps after which a running chunk can be handed over to who has nothing to do; 0: never; auto: as many as take
    # the time of a chunk. The rest is played from the state of the worlds, so that learning stays what it is
    part_steps: PartSteps
    scheduler: str  # who executes what, such as central_queue(n_chunks=2)
    # whose a chunk's result is; auto: the executor's where chunks are stolen and a server expects faulty clients
    attribution: Literal["auto", "executor", "owner"]
    most_weight: float  # of an executor, in medians of all; more lets thieves count for more
    speed_profile: str  # of clients or actors, such as linear(ratio=4.0)
    virtual_step_s: float  # virtual: time of an env step at speed 1
    # virtual: of a message, one way: of all edges, of each client's access, or a table by client and edge such as
    # {default: 0.001, 3: 0.02, 0-1: 0.005, 2>server: 0.1}; see stealing.network
    delay_s: Any
    bandwidth_bps: Any  # virtual: likewise
    n_actors: int  # 0: one for each client; fewer have several
    cpus_per_actor: float  # that Ray sets aside; 0: actors share what there is
    emulated_step_s: float  # actors: time of an env step at speed 1, slept; 0: as long as it takes
    limit_s: float  # actors: a round without a sign of life for so long ends with an error
    lease_s: float  # after which an actor that does not answer is ended
    most_leases: int  # of others' chunks that one may have at a time
    check_prob: float  # share of others' chunks that somebody else repeats
    n_votes: int  # equal results that settle a dispute; 0: one more than clients may be faulty
    may_steal_from: Literal["all", "same_world"]

    def __post_init__(self) -> None:
        if self.n_actors < 0 or (self.chunk_episodes != "auto" and self.chunk_episodes < 0):
            raise ConfigError(
                f"chunk_episodes = {self.chunk_episodes}, n_actors = {self.n_actors}: expected 0 or more, or auto for "
                "chunk_episodes"
            )
        if self.part_steps != "auto" and self.part_steps < 0:
            raise ConfigError(f"part_steps = {self.part_steps}: expected 0 for never, or more, or auto")
        self.sizes()
        if not (self.virtual_step_s > 0.0 and self.emulated_step_s >= 0.0 and self.limit_s > 0.0):
            raise ConfigError(
                f"virtual_step_s = {self.virtual_step_s}, emulated_step_s = {self.emulated_step_s}, limit_s = "
                f"{self.limit_s}: expected positive seconds, or 0 for emulated_step_s"
            )
        self._check_network()
        self.rules(n_faulty=0, has_server=True)
        self._parts()

    def _check_network(self) -> None:
        """Refuse delays and bandwidths that no number of clients could have."""
        for name, least in (("delay_s", 0.0), ("bandwidth_bps", math.nextafter(0.0, 1.0))):
            where = f"algorithm.stealing.{name}"
            value = check_edges(getattr(self, name), where)
            given = value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else (value,)
            wrong = [each for each in given if not each >= least or (name == "delay_s" and math.isinf(each))]
            if wrong:
                expected = "0 or more, finite" if name == "delay_s" else "a positive number"
                raise ConfigError(f"{where} = {wrong[0]}: expected {expected}")

    def network(self, n_clients: int) -> Network:
        """Return the network of so many clients and a server."""
        return network(self.delay_s, self.bandwidth_bps, n_clients)

    def _parts(self) -> tuple[Scheduler, SpeedProfile]:
        where = "algorithm.stealing"
        scheduler = named_part(self.scheduler.strip(), "scheduler", f"{where}.scheduler", "steal_half(amount=balanced)")
        profile = named_part(self.speed_profile.strip(), "speed_profile", f"{where}.speed_profile", "linear(ratio=4.0)")
        return scheduler, profile

    def sizes(self) -> ChunkSizes:
        """Return the limits of chunks whose size is not fixed."""
        return ChunkSizes(self.least_chunk_s, self.most_chunk_s, self.least_latencies)

    def profile(self) -> SpeedProfile:
        """Return the speeds of clients."""
        return self._parts()[1]

    def rules(self, n_faulty: int, has_server: bool) -> LedgerRules:
        """Return the ledger's rules; credit by weight is clipped only where somebody may lie."""
        can_steal = self.collector != "in_process"
        auto: Literal["executor", "owner"] = "executor" if can_steal and n_faulty and has_server else "owner"
        return LedgerRules(
            lease_s=self.lease_s,
            max_leases=self.most_leases,
            check_prob=self.check_prob,
            n_votes=self.n_votes or max(LEAST_VOTES, n_faulty + 1),
            attribution=auto if self.attribution == "auto" else self.attribution,
            w_max=self.most_weight if n_faulty else math.inf,
        )

    def collect_with(self, clients: Sequence[Client], n_faulty: int, has_server: bool, seed: int) -> Collector:
        """Return the collector of some clients; actors are started."""
        rules, (scheduler, profile) = self.rules(n_faulty, has_server), self._parts()
        is_cut = self.part_steps != "auto" or rules.attribution == "owner"  # else a chunk of several belongs to none
        sizing = Sizing(self.sizes(), self.part_steps if is_cut else 0)
        common: dict[str, Any] = {"may_execute": self._whitelist(clients), "seed": seed, "sizing": sizing}
        if self.collector == "virtual":
            timing = (self.virtual_step_s, self.network(len(clients)))
            return VirtualCollector(clients, rules, scheduler, profile, *timing, **common)
        if self.collector == "actors":
            n_actors = self.n_actors or len(clients)
            limits = (self.emulated_step_s, self.cpus_per_actor, self.limit_s)
            return ActorCollector(clients, rules, scheduler, profile, n_actors, *limits, **common)
        return Collector(clients, rules, **common)

    def _whitelist(self, clients: Sequence[Client]) -> list[list[bool]] | None:
        if self.may_steal_from == "all":
            return None
        return [[owner.scenario == executor.scenario for owner in clients] for executor in clients]
