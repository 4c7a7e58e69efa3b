"""The population: who belongs to it, what each last sent, and the policy that they make together.

A push carries a whole policy with its fitness, and is taken or refused at once; nobody ever sees half of one. Nothing
in here waits, and time is what callers say it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from edge_rllib.algorithms import checks
from edge_rllib.collective.errors import PushError
from edge_rllib.collective.joining import Joined, JoiningRule, Members
from edge_rllib.collective.vectors import Layout
from envs.arrays import F4
from envs.errors import ConfigError
from envs.rng import key_from_seed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mode:
    """When a population makes a policy of what it was sent.

    ``unawaited``: with each push, of what all sent last. ``quorum``: as soon as a share of the present has sent a
    generation. ``barrier``: all of them. Who is late after ``limit_s`` is not waited for.
    """

    kind: Literal["unawaited", "quorum", "barrier"]
    quorum_frac: float  # of the members present, one at least
    limit_s: float  # after a generation's first push
    most_stale: int  # generations that what somebody sent may be behind the newest

    def __post_init__(self) -> None:
        checks.in_unit_interval(self, "quorum_frac")
        checks.positive(self, "quorum_frac", "limit_s")
        checks.not_negative(self, "most_stale")


class Entry(NamedTuple):
    """What a site sends when it has done a generation."""

    site: str
    generation: int  # of the site, 0, 1, ...
    fitness: float  # greedy, on its own worlds, against a rule's score; higher is better
    fitness_error: float  # standard error
    n_steps: int  # env steps of the generation
    version: int  # of the population's policy that the site took over last
    vector: F4  # (d,)


class Receipt(NamedTuple):
    """What a push led to."""

    version: int  # number of the population's policy, 0 before there is one
    is_joined: bool  # it is a new one


class Offer(NamedTuple):
    """What a site may take over."""

    version: int
    fitness: float  # mean of the members
    fitness_error: float  # of this mean
    vector: F4  # (d,)


class Population:
    """The members' latest entries, and what was made of them."""

    def __init__(self, rule: JoiningRule, mode: Mode, layout: Layout, seed: int) -> None:
        """Begin without members."""
        self.rule, self.mode, self.layout = rule, mode, layout
        self.version = 0
        self.counts = {"pushes": 0, "refused": 0, "stale": 0, "late": 0, "pulls": 0}
        self._seed = seed
        self._present: list[str] = []  # members, in the order in which they joined
        self._entries: dict[str, Entry] = {}
        self._seen: dict[str, int] = {}  # generations that were there when the present policy was made
        self._first_push_s: float | None = None  # of what is not joined yet
        self._members: tuple[tuple[str, ...], Members] | None = None
        self._joined: Joined | None = None
        self._error = 0.0

    @property
    def present(self) -> tuple[str, ...]:
        """Return the members' names."""
        return tuple(self._present)

    def join(self, site: str) -> None:
        """Take in a member; one that is back after it was lost goes on."""
        if site not in self._present:
            self._present.append(site)

    def leave(self, site: str, now_s: float = 0.0) -> bool:
        """Forget a member and what it sent; return whether those who waited for it alone have a new policy."""
        self._present = [each for each in self._present if each != site]
        self._entries.pop(site, None)
        return self._join_if_due(now_s)

    @property
    def generation(self) -> int:
        """Return the newest generation that anybody has sent; -1 before the first."""
        return max((entry.generation for entry in self._entries.values()), default=-1)

    def push(self, entry: Entry, now_s: float) -> Receipt:
        """Take an entry, whole or not at all: PushError names who sent what cannot be used, and nothing changes."""
        last = self._entries.get(entry.site)
        if last is not None and last.generation == entry.generation and np.array_equal(last.vector, entry.vector):
            return Receipt(self.version, False)  # a message that was sent twice
        try:
            self._check(entry)
        except PushError as error:
            self.counts["refused"] += 1
            log.warning("%s", error)
            raise
        self.counts["pushes"] += 1
        self.version = max(self.version, entry.version)  # one that was started again counts on
        self._entries[entry.site] = entry._replace(vector=np.array(entry.vector))
        if self._first_push_s is None:
            self._first_push_s = now_s
        is_joined = self._join_if_due(now_s)
        return Receipt(self.version, is_joined)

    def tick(self, now_s: float) -> bool:
        """Join without those who are late, if it is time; return whether there is a new policy."""
        return self._join_if_due(now_s)

    def offer(self, site: str) -> Offer | None:
        """Return what a site may take over; None before there is a policy, or where the rule has nothing for it."""
        if self._members is None:
            return None
        names, members = self._members
        joined = self._join_members(members)
        me = names.index(site) if site in names else None
        # the same whoever asks first
        generator = np.random.default_rng(key_from_seed(self._seed, f"offer {self.version} {site}"))
        vector = self.rule.offer(members, joined, me, generator)
        if vector is None:
            return None
        self.counts["pulls"] += 1
        return Offer(self.version, float(members.fitness.mean()), self._error, vector)

    def last_of(self, site: str) -> tuple[int, F4 | None]:
        """Return the generation and the vector (d,) that a site sent last; what all have before that is -1 and None."""
        entry = self._entries.get(site)
        return (-1, None) if entry is None else (entry.generation, entry.vector)

    def fittest(self) -> F4 | None:
        """Return what the fittest member sent, (d,); None before anybody sent anything."""
        if not self._entries:
            return None
        by_name = sorted(self._entries.values(), key=lambda entry: entry.site)
        return max(by_name, key=lambda entry: entry.fitness).vector

    def weights(self) -> dict[str, float]:
        """Return the weights of members in the present policy."""
        if self._members is None:
            return {}
        names, members = self._members
        return dict(zip(names, self.rule.weights(members).tolist(), strict=True))

    def _join_members(self, members: Members) -> Joined:
        """Return what the members make, worked out when it is first asked for: pushes may come faster than pulls."""
        if self._joined is None:
            self._joined = self.rule(members)
        return self._joined

    def _check(self, entry: Entry) -> None:
        who = f"site {entry.site!r}, generation {entry.generation}"
        if entry.site not in self._present:
            raise PushError(f"{who}: no member; present: {', '.join(self._present) or 'nobody'}")
        self.layout.check(entry.vector, who)
        if not np.isfinite([entry.fitness, entry.fitness_error]).all():
            raise PushError(f"{who}: fitness {entry.fitness} +- {entry.fitness_error}; expected finite numbers")
        last = self._entries.get(entry.site)
        if last is not None and entry.generation <= last.generation:
            raise PushError(f"{who}: generation {last.generation} is there; expected a later one")

    def _join_if_due(self, now_s: float) -> bool:
        """Make a policy if the mode says so; return whether it did."""
        if self._first_push_s is None:
            return False
        newest, by_name = self.generation, sorted(self._entries.values(), key=lambda entry: entry.site)
        # in the order of names, not of arrival: sums are the same to the last bit, and so is who wins a tie
        fresh = [entry for entry in by_name if newest - entry.generation <= self.mode.most_stale]
        reported = [site for site in self._present if site in self._entries and self._is_new(site)]
        wanted = {
            "unawaited": 1,
            "quorum": max(1, int(np.ceil(self.mode.quorum_frac * len(self._present)))),
            "barrier": len(self._present),
        }[self.mode.kind]
        is_late = now_s - self._first_push_s >= self.mode.limit_s
        if not reported or (len(reported) < wanted and not is_late):
            return False
        self.counts["stale"] += len(self._entries) - len(fresh)
        if len(reported) < wanted:
            missing = sorted(set(self._present) - set(reported))
            self.counts["late"] += len(missing)
            log.warning("joined without %s: nothing for %.3g s", ", ".join(missing), self.mode.limit_s)
        self._make(fresh)
        return True

    def _is_new(self, site: str) -> bool:
        """Return whether what a site sent last was not there when the present policy was made."""
        return self._seen.get(site, -1) < self._entries[site].generation

    def _make(self, entries: list[Entry]) -> None:
        members = Members(
            np.array([entry.fitness for entry in entries]),
            np.array([float(entry.n_steps) for entry in entries]),
            tuple(entry.vector for entry in entries),
        )
        self._members = tuple(entry.site for entry in entries), members
        self._joined = None
        errors = np.array([entry.fitness_error for entry in entries])
        self._error = float(np.sqrt(np.square(errors).sum()) / len(errors))
        self.version += 1
        self._seen.update({entry.site: entry.generation for entry in self._entries.values()})
        self._first_push_s = None

    def get_state(self) -> dict[str, Any]:
        """Return a copy of everything, without a clock: a generation's first push counts anew after a resume."""
        names, members = self._members if self._members is not None else ((), None)
        return {
            "version": self.version,
            "counts": dict(self.counts),
            "present": list(self._present),
            "entries": {site: tuple(entry) for site, entry in self._entries.items()},
            "seen": dict(self._seen),
            "members": None if members is None else (names, tuple(members)),
            "error": self._error,
            "is_waiting": self._first_push_s is not None,
        }

    def set_state(self, state: dict[str, Any], now_s: float = 0.0) -> None:
        """Go on from ``get_state`` of a population of policies of the same layout."""
        for site, entry in state["entries"].items():
            if len(entry[-1]) != self.layout.n_numbers:
                raise ConfigError(
                    f"population: site {site!r} has {len(entry[-1])} numbers; expected {self.layout.n_numbers}"
                )
        self.version, self.counts = state["version"], dict(state["counts"])
        self._present = list(state["present"])
        self._entries = {site: Entry(*entry) for site, entry in state["entries"].items()}
        self._seen = dict(state["seen"])
        members = state["members"]
        self._members = None if members is None else (tuple(members[0]), Members(*members[1]))
        self._joined = None
        self._error = state["error"]
        self._first_push_s = now_s if state["is_waiting"] else None
