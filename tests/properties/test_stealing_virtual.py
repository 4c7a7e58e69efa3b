"""Rounds in virtual time: work is conserved, intervals add up, no bound is beaten, nobody idles who could work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rllib.federated.stealing.accounting import WORK, Kind
from edge_rllib.federated.stealing.bounds import exact_makespan_s
from edge_rllib.federated.stealing.network import uniform_network
from edge_rllib.federated.stealing.policies import (
    CentralQueue,
    Guided,
    Proportional,
    RandomVictim,
    Scheduler,
    Static,
    StealHalf,
)
from edge_rllib.federated.stealing.speeds import Bimodal, Constant, LogNormal, Markov, SpeedProfile, Transient
from edge_rllib.federated.stealing.virtual import Crash, RoundSetting, VirtualRound, _Round, simulate

ROUNDING = 1e-9

policies = st.sampled_from(
    [
        Static(),
        Proportional(),
        CentralQueue(1),
        CentralQueue(5),
        Guided(),
        RandomVictim(),
        RandomVictim("one", "proportional"),
        StealHalf(),
        StealHalf("one", asks_ahead=False),
        StealHalf("balanced", "proportional", hand_over=False),
        StealHalf(hand_over=False, copy=True),
        StealHalf("balanced", copy=True),
    ]
)
profiles = st.sampled_from(
    [Constant(), Bimodal(1, 5.0), LogNormal(0.7), Markov(5.0, 0.5, 0.3), Transient(0.4, 4.0)],
)


@st.composite
def rounds(draw: Any, with_crashes: bool = False) -> tuple[Any, list[int], RoundSetting]:
    """Return demands, owners and the setting of a small round."""
    n_clients = draw(st.integers(1, 6))
    owners = draw(st.lists(st.integers(0, n_clients - 1), min_size=1, max_size=40))
    seed = draw(st.integers(0, 1000))
    generator = np.random.default_rng(seed)
    profile: SpeedProfile = draw(profiles)
    may = generator.random((n_clients, n_clients)) < draw(st.sampled_from([0.5, 1.0]))
    np.fill_diagonal(may, True)
    crashes = [
        Crash(int(generator.integers(n_clients)), at, at + 0.5) for at in (generator.random(2) if with_crashes else [])
    ]
    demand = generator.exponential(0.1, len(owners)) + 0.001
    cuts_s = [np.sort(generator.uniform(0.0, work_s, int(generator.integers(4)))).tolist() for work_s in demand]
    setting = RoundSetting(
        profile.traces(n_clients, seed),
        uniform_network(n_clients, draw(st.sampled_from([0.0, 0.001, 0.05])), 1e6),
        may.tolist(),
        part_s=draw(st.sampled_from([np.inf, 0.02])),
        cuts_s=draw(st.sampled_from([None, cuts_s])),
        chunk_bytes=draw(st.sampled_from([0.0, 1000.0])),
        crashes=crashes[:1],  # one client cannot be down twice at a time
        detect_s=0.2,
        seed=seed,
    )
    return demand, owners, setting


def useful_work(played: VirtualRound, setting: RoundSetting) -> float:
    """Return the work in the intervals that counted."""
    return sum(
        trace.work_s(entry.start_s, entry.end_s)
        for line, trace in zip(played.account.timelines, setting.traces, strict=True)
        for entry in line.intervals
        if entry.kind in WORK and not entry.is_wasted
    )


def check_shares(played: VirtualRound) -> None:
    """Check what holds of any round; that intervals have no gap, its account has checked when it was made."""
    account = played.account
    figures = account.metrics()
    assert sum(account.spent_s(kind) for kind in Kind) == pytest.approx(len(account.timelines) * account.round_s)
    assert sum(figures[f"round_{kind.value}_frac"] for kind in Kind) == pytest.approx(1.0)
    assert all(0.0 <= figures[name] <= 1.0 for name in ("idle_frac", "stolen_frac", "wasted_frac", "crashed_frac"))


@settings(max_examples=150)
@given(policy=policies, given_round=rounds())
def test_work_is_conserved_and_no_round_is_shorter_than_its_bound(policy: Scheduler, given_round: Any) -> None:
    demand, owners, setting = given_round

    played = simulate(demand, owners, policy, setting)

    assert played.missing == []
    assert useful_work(played, setting) == pytest.approx(demand.sum())
    assert played.account.makespan_s >= played.account.bound_s * (1.0 - ROUNDING)
    assert played.account.makespan_s == pytest.approx(np.nanmax(played.ends_s))
    check_shares(played)
    may = setting.may_execute
    assert may is not None
    for owner, executor in zip(owners, played.executors, strict=True):
        assert may[executor][owner]
    assert isinstance(policy, StealHalf) or played.account.wasted_s == 0.0
    if isinstance(policy, Static):
        assert played.account.makespan_s == pytest.approx(played.account.static_s)
        assert played.account.traffic.n_messages == 0


@settings(max_examples=100)
@given(policy=policies, given_round=rounds(with_crashes=True))
def test_crashes_lose_time_and_no_chunks(policy: Scheduler, given_round: Any) -> None:
    demand, owners, setting = given_round

    played = simulate(demand, owners, policy, setting)

    assert played.missing == []  # whoever crashed comes back
    # the wasted work is that of the crash and of copies; what counts is the same
    assert useful_work(played, setting) == pytest.approx(demand.sum(), rel=1e-6)
    check_shares(played)


class Watched(_Round):
    """A round that counts who idles though there is work."""

    n_checks = 0
    idle_with_work: int = 0

    def _occupy(self) -> None:
        super()._occupy()
        for k in self.idle:
            self.n_checks += 1
            if self.asked[k] is None and self.scheduler.steal(self.pool, k) is not None:
                self.idle_with_work += 1


@given(policy=st.sampled_from([StealHalf(), StealHalf("balanced", copy=True), CentralQueue()]), given_round=rounds())
def test_nobody_idles_while_work_that_pays_may_be_stolen(policy: Scheduler, given_round: Any) -> None:
    from edge_rllib.federated.stealing.estimates import Estimates

    demand, owners, setting = given_round
    watched = Watched(demand, owners, policy, setting, Estimates(len(setting.traces), float(demand.mean())))

    watched.play()

    assert watched.idle_with_work == 0
    assert not any(watched.pool.deques)


def test_watch_finds_a_policy_that_lets_clients_idle() -> None:
    from edge_rllib.federated.stealing.estimates import Estimates

    class Lazy(Watched):
        def _ask(self, k: int) -> None:
            """Ask for nothing."""

    setting = RoundSetting(Constant().traces(2, 0), uniform_network(2))
    watched = Lazy(np.ones(6), [0] * 6, StealHalf(), setting, Estimates(2, 1.0))

    watched.play()

    assert watched.idle_with_work > 0


@given(seed=st.integers(0, 1000))
def test_small_rounds_with_whole_episodes_are_not_shorter_than_the_best_schedule(seed: int) -> None:
    generator = np.random.default_rng(seed)
    demand, owners = generator.exponential(1.0, 8) + 0.01, generator.integers(0, 3, 8).tolist()
    setting = RoundSetting(LogNormal(0.5).traces(3, seed), uniform_network(3))
    best_s = exact_makespan_s(demand, [trace.speed_at(0.0) for trace in setting.traces])

    for policy in (Static(), CentralQueue(), StealHalf("balanced")):
        assert simulate(demand, owners, policy, setting).account.makespan_s >= best_s * (1.0 - 1e-6)
