"""Chunks in training: learning is the same wherever and by whomever they are executed; lies stay with who lies."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import ray
import torch

from edge_rllib.config.load import load_scenario
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.federated.clients import Client, Networks, Order, combined, cut, execute, one_thread, world_figures
from edge_rllib.federated.collectors.base import Collector
from edge_rllib.federated.pipeline import pipeline
from edge_rllib.federated.stealing.chunks import Chunk, result_of
from edge_rllib.federated.stealing.errors import StealingError
from edge_rllib.federated.stealing.ledger import Ledger
from edge_rllib.federated.stealing.records import LedgerRules
from edge_rllib.ops.aggregation.base import Received
from edge_rllib.runners.agents import groups
from envs.errors import ConfigError, UnknownName
from envs.scenario import make

DEFAULTS: Any = load_part("algorithm", "federated", Source(None))

CUT = {"chunk_episodes": 3}
VIRTUAL = {**CUT, "collector": "virtual", "speed_profile": "linear(ratio=4.0)", "delay_s": 0.0002}
SIZE = {"n_clients": 4, "large_episodes": 12, "small_episodes": 6}


def vectors_after(federation, n_rounds=4):
    """Return reports and the parameters behind them."""
    reports = [federation.play() for _ in range(n_rounds)]
    return reports, federation.vectors["shared"].clone()


@pytest.mark.parametrize(("n", "most", "sizes"), [(10, 0, [10]), (10, 4, [4, 3, 3]), (12, 4, [4, 4, 4]), (2, 8, [2])])
def test_batches_are_cut_into_as_few_chunks_as_can_be(n, most, sizes):
    assert cut(n, most) == sizes


def test_chunks_have_worlds_of_their_own(server):
    federation = server(stealing=CUT, **SIZE)

    ids = [
        client.worlds_of(chunk)
        for round_ in (0, 1)
        for client in federation.clients
        for chunk in client.chunks(told(federation, round_))
    ]

    assert len(ids) == 2 * 4 * 4
    assert len(np.unique(np.concatenate(ids))) == 2 * 4 * 12


def told(federation, round_=0):
    """Return the order of a large round."""
    return Order(round_, True, federation.vectors, None, None)


def test_estimate_is_the_mean_of_its_chunks():
    # two episodes with (1, 2) and one with (4, 8): ((2 + 4) / 3, (4 + 8) / 3), and what was known
    chunks = [Chunk("run", 0, 0, i, 0, 0, horizon=9, n_episodes=n) for i, n in enumerate((2, 1))]
    arrays = [
        {
            "vector/a": np.array(v, np.float32),
            "return": np.array(r),
            "share": np.array([s]),
            "agent_steps": np.full(1, 15.0),
            "lengths": np.array([5]),
            "sums": np.array([1.0, s]),
        }
        for v, r, s in (((1.0, 2.0), (3.0, 5.0), 0.25), ((4.0, 8.0), (10.0,), 0.75))
    ]
    results = [result_of(c, c.size, 5, a) for c, a in zip(chunks, arrays, strict=True)]

    message = combined(results, {"a": torch.tensor([10.0, 20.0])})

    assert message.vectors["a"].tolist() == [12.0, 24.0]
    assert (message.mean_return, message.n_steps, message.n_agent_steps, message.n_episodes) == (6.0, 10, 30, 3)
    assert message.effective_share == 0.5
    assert message.sums[0].tolist() == [2.0, 1.0]  # of owner 0, both chunks


def test_chunk_alone_is_the_chunk_among_others(server):
    federation = server(stealing=CUT, **SIZE)
    order = told(federation)
    chunks = [chunk for client in federation.clients for chunk in client.chunks(order)]

    digests = [federation.clients[chunk.owner].execute(chunk, order).digest for chunk in chunks]

    assert [
        result.digest for result in federation.collector._results(chunks, [0] * 16, [order] * 4, lambda *_: None)
    ] == digests
    assert len(set(digests)) == 16
    assert execute([], []) == []


@pytest.mark.parametrize("correction", ["none", "page"])
@pytest.mark.parametrize("scheduler", ["static", "steal_half", "central_queue", "random_victim(amount=one)"])
def test_learning_is_bit_identical_with_stealing(server, scheduler, correction):
    alone = server(stealing=CUT, correction=correction, **SIZE)
    shared = server(stealing={**VIRTUAL, "scheduler": scheduler}, correction=correction, **SIZE)

    reports, vectors = vectors_after(alone)
    other_reports, other_vectors = vectors_after(shared)

    assert other_reports == reports
    assert torch.equal(other_vectors, vectors)
    assert (shared.figures["stolen_frac"] > 0.0) == (scheduler != "static")


@pytest.mark.parametrize("graph", ["", "complete"])
@pytest.mark.parametrize("profile", ["log_normal(each_round=true)", "transient(probability=0.5)", "markov"])
def test_learning_is_bit_identical_whoever_is_fast(server, profile, graph):
    more = {"graph": graph, "agreement": "mean", **SIZE}
    alone, shared = server(stealing=CUT, **more), server(stealing={**VIRTUAL, "speed_profile": profile}, **more)

    assert vectors_after(alone, 3)[0] == vectors_after(shared, 3)[0]
    assert torch.equal(alone.vectors["shared"], shared.vectors["shared"])


def test_credit_to_executors_leaves_a_mean_what_it_is(server):
    alone = server(stealing=CUT, **SIZE)
    shared = server(stealing={**VIRTUAL, "attribution": "executor"}, **SIZE)

    _, expected = vectors_after(alone, 6)
    _, found = vectors_after(shared, 6)

    assert shared.figures["stolen_frac"] > 0.0
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("attribution", ["owner", "executor"])
def test_saved_run_goes_on_as_it_would_have(server, attribution):
    # with a rule that is not a mean, whose result depends on who executed what, and so on what is believed of speeds
    stealing = {
        **VIRTUAL,
        "attribution": attribution,
        "check_prob": 0.5,
        "speed_profile": "log_normal(each_round=true)",
    }
    settings = {"stealing": stealing, "n_faulty": 1, "aggregator": "geometric_median", "attack": "alie", **SIZE}
    whole, begun, resumed = (server(**settings) for _ in range(3))
    vectors_after(whole, 3)
    vectors_after(begun, 3)
    resumed.set_state(begun.get_state())

    (expected, vectors), (found, resumed_vectors) = vectors_after(whole), vectors_after(resumed)

    assert found == expected
    assert torch.equal(resumed_vectors, vectors)
    assert resumed.figures == pytest.approx(whole.figures, nan_ok=True)


def test_poisoned_chunks_spoil_their_owners_or_their_executors(server):
    # the faulty client is the first, which is made the fastest: it steals from all others
    profile = "bimodal(n_slow=1, slowdown=0.1)"
    settings = {"n_faulty": 1, "attack": "chunk_poisoning", "aggregator": "geometric_median", **SIZE}
    by_owner, by_executor = (
        server(stealing={**VIRTUAL, "speed_profile": profile, "attribution": how, "delay_s": 0.0}, **settings)
        for how in ("owner", "executor")
    )

    spoilt, kept = by_owner.play(), by_executor.play()

    assert by_owner.figures["steals"] >= 2.0
    assert spoilt.distance > 50.0
    assert kept.distance < 10.0


def test_spot_checks_shut_a_poisoner_out_and_learning_is_what_it_was(server):
    profile = "bimodal(n_slow=1, slowdown=0.1)"
    stealing = {**VIRTUAL, "speed_profile": profile, "attribution": "owner", "delay_s": 0.0, "check_prob": 0.5}
    settings = {"n_faulty": 1, "aggregator": "geometric_median", **SIZE}
    honest = server(stealing=CUT, **settings)
    checked = server(stealing=stealing, attack="chunk_poisoning", **settings)

    _, expected = vectors_after(honest, 3)
    reports, found = vectors_after(checked, 1)

    assert checked.figures["ledger_caught"] == 1.0
    assert checked.figures["ledger_withdrawn"] >= 1.0
    assert checked.figures["repair_s"] > 0.0
    assert checked.collector.ledger.quarantined == {0}
    assert reports[0].distance < 10.0
    assert torch.equal(vectors_after(checked, 2)[1], expected)
    assert checked.figures["ledger_mismatch"] == 0.0  # it steals no more
    assert found.isfinite().all()


def test_liars_data_stay_in_what_they_execute(server):
    # all that the faulty client executes is spoilt, its own chunks too; nothing else is
    settings = {"n_faulty": 1, "attack": "constant_action", "stealing": {**VIRTUAL, "attribution": "executor"}, **SIZE}
    lying = server(**settings)
    collected = lying._collect([told(lying)] * 4)
    honest = {
        result.id: result.digest
        for result in lying.collector._results(
            [c for client in lying.clients for c in client.chunks(told(lying))],
            [0] * 16,
            [told(lying)] * 4,
            lambda *_: None,
        )
    }

    for client, contribution in collected.contributions.items():
        assert len(contribution.results) > 0
        for result in contribution.results:
            assert (result.digest == honest[result.id]) == (client != 0)


def test_weights_of_executors_are_clipped(server):
    stealing = {**VIRTUAL, "speed_profile": "bimodal(n_slow=1, slowdown=0.02)", "delay_s": 0.0, "most_weight": 1.5}
    federation = server(n_faulty=1, aggregator="geometric_median", stealing=stealing, **SIZE)

    contributions = federation._collect([told(federation)] * 4).contributions

    sizes = sorted(each.size for each in contributions.values())
    assert contributions[0].size == sizes[-1] > sizes[-2]
    assert contributions[0].weight == 1.5 * (sizes[1] + sizes[2]) / 2  # times the median of four
    assert sum(each.size for each in contributions.values()) == 48


def test_chunk_that_is_no_number_is_a_crash_of_its_owner(server, monkeypatch):
    federation = server(n_faulty=1, aggregator="trimmed_mean", stealing=CUT, **SIZE)
    true = Collector._results

    def spoilt(self, chunks, *arguments):
        results = true(self, chunks, *arguments)
        nan = {**results[5].arrays, "vector/shared": np.full(58, np.nan, np.float32)}
        results[5] = result_of(chunks[5], results[5].n_episodes, results[5].n_steps, nan)  # the second of client 1
        return results

    monkeypatch.setattr(Collector, "_results", spoilt)

    report = federation.play()

    assert report.n_refused == 1
    assert federation.figures["ledger_not_finite"] == 1.0
    assert report.aggregate_norm < 1e3
    peers = server(graph="complete", stealing=CUT, **SIZE)
    with pytest.raises(Exception, match=r"round 0: clients \[1\] have no estimate"):
        peers.play()


@pytest.mark.parametrize("n_stolen", [0, 3, 6, 9, 12])
@pytest.mark.parametrize("rule", ["geometric_median", "coordinate_median", "trimmed_mean", "nnm > trimmed_mean"])
def test_stolen_chunks_leave_the_aggregate_where_it_was(rule, n_stolen):
    # 13 clients of 5 chunks each, three of which lie and forge what they stole: noise up to 1000 in 386 numbers. The
    # error is the distance to the mean of all honest clients over their deviation: an honest vector's is about 1
    errors = {how: attributed_error(rule, n_stolen, how) for how in ("executor", "owner")}

    assert errors["executor"] <= 0.4
    if n_stolen >= 9:
        assert errors["owner"] > 20.0


@pytest.mark.parametrize("n_stolen", [20, 30, 40])
def test_thieves_of_most_chunks_only_make_the_sample_smaller(n_stolen):
    # judged by the mean of the 50 - n chunks that the honest have executed
    assert attributed_error("nnm > trimmed_mean", n_stolen, "executor", of_what_is_left=True) < 0.01
    assert attributed_error("geometric_median", n_stolen, "executor", of_what_is_left=True) < 0.4


def attributed_error(rule, n_stolen, attribution, of_what_is_left=False):
    """Return the mean error over draws of what is credited to owners or executors."""
    n, f, n_chunks, d = 13, 3, 5, 386
    errors = []
    for seed in range(5):
        draws = np.random.default_rng(seed)
        chunks = [Chunk("run", 0, owner, i, 0, 0, 9, n_episodes=1) for owner in range(n) for i in range(n_chunks)]
        # a client's mean of five chunks has deviation 1 in each number
        truth = {c.id: np.sqrt(n_chunks) * draws.standard_normal(d).astype(np.float32) + 10.0 for c in chunks}
        ledger = Ledger(n, LedgerRules(lease_s=1.0, attribution=attribution))
        ledger.open_round(chunks)
        stealable = [c.id for c in chunks if c.owner >= f]
        stolen = {name: k % f for k, name in enumerate(sorted(stealable, key=lambda c: (c.number, c.owner))[:n_stolen])}
        for chunk in chunks:
            executor = stolen.get(chunk.id, chunk.owner)
            vector = draws.uniform(-1e3, 1e3, d).astype(np.float32) if executor < f else truth[chunk.id]
            lease = ledger.lease(chunk.id, executor, 0.0)
            ledger.commit(lease.id, executor, result_of(chunk, 1, 5, {"vector/a": vector}), 0.5)
        parts = [each for each in ledger.contributions(0).values() if each.results]
        vectors = torch.tensor(np.stack([np.mean([r.arrays["vector/a"] for r in p.results], 0) for p in parts]))
        weights = torch.tensor([p.weight for p in parts]) if attribution == "executor" else None
        found = pipeline(rule)(Received(vectors.double(), f, weights)).numpy()
        mean = np.mean([truth[name] for name in stealable if not (of_what_is_left and name in stolen)], 0)
        errors.append(np.linalg.norm(found - mean) / np.sqrt(d))
    return float(np.mean(errors))


def test_clients_of_different_worlds_learn_together(server):
    federation = server(stealing={**CUT, "may_steal_from": "same_world"}, **SIZE)
    heavy = load_scenario("cartpole_v1", {"params": {"gravity_m_per_s2": 20.0}})
    clients = [federation.clients[0], *rebuilt(federation, heavy)]

    lengths = [client.message(told(federation)).n_steps for client in clients]

    assert len(set(lengths)) == 4
    assert replace(DEFAULTS.stealing, may_steal_from="same_world")._whitelist(clients)[0] == [True, False, False, False]
    assert clients[0].spec.scenario == "cartpole_v1"


def test_figures_of_worlds_are_those_of_honest_clients_episodes(server):
    # a pole that is up for n steps has a reward of n: the mean length of the episodes of clients 1 to 3
    federation = server(n_faulty=1, attack="constant_action", aggregator="trimmed_mean", correction="none", **SIZE)
    honest = [client.message(told(federation)) for client in federation.clients[1:]]

    federation.play()

    n_steps = sum(message.n_steps for message in honest)
    assert federation.figures["world/balanced_steps_mean"] == pytest.approx(n_steps / 36)


def test_worlds_with_other_sums_are_told_apart(server):
    federation = server(**SIZE)
    message = federation.clients[0].message(told(federation))
    other = replace_world(federation.clients[1], "mec_2es_3md_v1")
    zeros = np.zeros(len(other.spec.sum_names))

    figures = world_figures([federation.clients[0], other], [message, message._replace(sums={1: zeros})])

    assert figures["world/balanced_steps_mean"] > 1.0
    assert any(name.startswith("world/mec_2es_3md_v1/") for name in figures)


def replace_world(client, name):
    """Return a client that only knows another world."""
    other = copy.copy(client)
    other.scenario = load_scenario(name)
    return other


def test_client_that_sees_something_else_is_named(server):
    federation = server(**SIZE)

    with pytest.raises(
        ConfigError, match=r"client 1 \(mec_2es_3md_v1\): an agent sees .* module shared is for 4 features"
    ):
        rebuilt(federation, load_scenario("mec_2es_3md_v1"))


def rebuilt(federation, scenario):
    """Return clients 1, 2, 3 in another world, with the networks that there are."""
    spec = make(scenario, 1).spec
    members = groups(spec, lambda *_: "shared")
    old = federation.clients[1:]
    return [Client(c.index, c.n_clients, scenario, c.seed, c.params, c.networks, members, 3) for c in old]


def test_networks_take_no_worlds_to_another_process(server):
    federation = server(**SIZE)
    federation.play()
    networks = federation.clients[0].networks
    assert networks.players

    rebuild, arguments = networks.__reduce__()

    assert rebuild is Networks
    assert not rebuild(*arguments).players


def test_actors_without_ray_are_refused(server, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(StealingError, match=r"collector = actors: Ray does not run; call ray\.init first"):
        server(stealing={"collector": "actors"}, **SIZE)


def test_threads_are_as_many_behind_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(2)

    with one_thread():
        inside = torch.get_num_threads()

    assert (inside, torch.get_num_threads()) == (1, 2)
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"chunk_episodes": -1}, ConfigError, "chunk_episodes = -1"),
        ({"scheduler": "steal_halff"}, UnknownName, "did you mean 'steal_half'"),
        ({"speed_profile": "linear(ratio=-1)"}, ConfigError, r"ratio = -1\.0"),
        ({"virtual_step_s": 0.0}, ConfigError, r"virtual_step_s = 0\.0"),
        ({"delay_s": -1.0}, ConfigError, r"algorithm\.stealing\.delay_s = -1\.0: expected 0 or more, finite"),
        ({"delay_s": [0.1, float("inf")]}, ConfigError, r"delay_s = inf: expected 0 or more, finite"),
        ({"bandwidth_bps": {"default": 0.0}}, ConfigError, r"bandwidth_bps = 0\.0: expected a positive number"),
        ({"check_prob": 2.0}, StealingError, r"check_prob = 2\.0"),
        ({"lease_s": 0.0}, StealingError, r"lease_s = 0\.0"),
        ({"limit_s": 0.0}, ConfigError, r"limit_s = 0\.0"),
    ],
)
def test_values_out_of_range_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        replace(DEFAULTS.stealing, **changes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stealing": {"chunk_episodes": 5}, "small_episodes": 6, "large_episodes": 11}, None),
        ({"stealing": {"chunk_episodes": 1}}, "leaves chunks of 1; baseline = time_mean needs 2"),
        ({"attack": "chunk_poisoning", "n_faulty": 1, "n_clients": 3}, "nobody executes the chunks of others"),
        ({"graph": "complete", "stealing": {**VIRTUAL, "attribution": "executor"}}, "parameters of their own"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(server, settings, message):
    if message is None:
        assert server(**settings).clients[0].sizes == {True: [4, 4, 3], False: [3, 3]}
        return
    with pytest.raises(ConfigError, match=message):
        server(**settings)
