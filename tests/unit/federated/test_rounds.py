"""Rounds with a server: what clients play and send, what the server makes of it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from edge_rllib.federated.attacks.data import RewardFlip
from edge_rllib.federated.clients import Order
from edge_rllib.federated.episodes import Spoiling, log_probs
from edge_rllib.federated.estimators import Plan, corrected, estimate
from edge_rllib.federated.rounds import accepted
from edge_rllib.federated.vectors import gradient_of, load_vector, policy_parameters, vector_of
from envs.errors import ConfigError, EdgeError


def played(server):
    """Return a module, a copy for older parameters, and streams that the module played."""
    client = server.clients[0]
    (module_id,) = client.groups
    streams = client.play(0, 6).streams[module_id]
    return client.networks.now[module_id], client.networks.older[module_id], streams


def reports(server, n_rounds):
    return [server.play() for _ in range(n_rounds)]


def test_a_vector_is_the_policy_and_nothing_of_the_critic(server):
    module, other, _ = played(server())
    vector = vector_of(module)

    load_vector(other, 2.0 * vector)

    assert len(vector) == 4 * 8 + 8 + 8 * 2 + 2  # four features, a hidden layer of eight, two targets
    assert torch.equal(vector_of(other), 2.0 * vector)
    assert sum(p.numel() for p in policy_parameters(module)) == len(vector)
    with pytest.raises(ConfigError, match=r"a vector of shape \(3,\) for a policy of 58 parameters"):
        load_vector(module, vector[:3])


def test_streams_hold_first_episodes_only(server):
    _, _, streams = played(server())

    lengths = streams.is_alive.sum(0)

    assert streams.n_streams == 6
    assert (streams.is_alive.cumprod(0).bool() == streams.is_alive).all()  # no way back to life
    assert lengths.min() >= 8
    assert lengths.max() == len(streams.reward)
    assert torch.equal(streams.is_choice, streams.is_alive)


@pytest.mark.parametrize("scenario", ["cartpole_v1", "mec_2es_3md_v1", "fog_ring_8"])
def test_log_probabilities_are_those_of_the_draw(server, scenario):
    over = {} if scenario != "fog_ring_8" else {"scenario.params.horizon_slots": 30}
    module, _, streams = played(server(scenario=scenario, over=over))

    found = log_probs(module, streams)

    assert streams.is_choice.sum() >= 6
    np.testing.assert_allclose(found.detach()[streams.is_choice], streams.logp[streams.is_choice], atol=1e-5)
    assert not found[~streams.is_choice].any()


def test_the_gradient_is_that_of_finite_differences(server, estimator):
    # of the weighted sum of log probabilities, with the episodes as they were played
    module, _, streams = played(server())
    module.double()
    streams = streams._replace(observation=streams.observation.double(), reward=streams.reward.double())
    values = estimator(baseline="none")
    vector, found = vector_of(module), estimate(values, module, streams).vector
    for i in (0, 17, 41, 57):
        sides = []
        for sign in (1.0, -1.0):
            moved = vector.clone()
            moved[i] += sign * 1e-5
            load_vector(module, moved)
            rewards = streams.reward * 0.99 ** torch.arange(len(streams.reward), dtype=torch.float64)[:, None]
            rewards = torch.where(streams.is_alive, rewards, 0.0)
            weights = rewards.flip(0).cumsum(0).flip(0)
            sides.append((weights * log_probs(module, streams)).sum() / 6)
        load_vector(module, vector)
        assert found[i].item() == pytest.approx((sides[0] - sides[1]).item() / 2e-5, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("is_per_decision", [False, True])
def test_a_correction_to_the_same_parameters_is_none(server, estimator, is_per_decision):
    module, older, streams = played(server())
    load_vector(older, vector_of(module))
    known = torch.arange(58.0)

    found = corrected(estimator(is_per_decision=is_per_decision), module, older, known, streams)

    np.testing.assert_allclose(found.vector, known, atol=1e-4)
    assert found.effective_share == pytest.approx(1.0, abs=1e-5)


def test_a_correction_counts_the_way_from_the_older_parameters(server, estimator):
    # worked out again from its parts: known + g(now) - mean of ratio * g of the older policy, in log space
    module, older, streams = played(server())
    load_vector(older, vector_of(module) + 0.05 * torch.randn(58, generator=torch.Generator().manual_seed(1)))
    values, known = estimator(baseline="none"), torch.zeros(58)
    discount = 0.99 ** torch.arange(len(streams.reward))[:, None]
    to_go = (streams.reward * discount * streams.is_alive).flip(0).cumsum(0).flip(0)
    logp = log_probs(older, streams)
    ratio = (logp.detach() - streams.logp * streams.is_alive).sum(0).exp()
    expected = gradient_of((to_go * log_probs(module, streams)).sum() / 6, module)
    expected = expected - gradient_of((ratio * to_go * logp).sum() / 6, older)

    found = corrected(values, module, older, known, streams)

    np.testing.assert_allclose(found.vector, expected, rtol=1e-3, atol=1e-3)
    assert 0.0 < found.effective_share < 1.0
    assert found.vector.norm() > 0.1


def test_small_rounds_use_the_parameters_before_the_step(server):
    federation = server(large_prob=0.01)
    first = {name: vector.clone() for name, vector in federation.vectors.items()}

    large, _ = federation.play(), federation.play()

    assert large.is_large
    (name,) = first
    assert not torch.equal(federation._older[name], federation.vectors[name])
    assert not torch.equal(federation._older[name], first[name])  # of the second round, which moved too


def test_plans_toss_one_coin_a_round(estimator):
    page, same = (Plan(estimator(large_prob=0.25), seed=5) for _ in range(2))
    tosses = [page.next(1.0) for _ in range(4000)]

    assert tosses[0]
    assert tosses == [same.next(1.0) for _ in range(4000)]
    assert np.mean(tosses) == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 4000))
    svrpg = Plan(estimator(correction="svrpg", epoch_rounds=2), seed=5)
    assert [svrpg.next(1.0) for _ in range(7)] == [True, False, False, True, False, False, True]
    scsg = Plan(estimator(correction="scsg", large_episodes=12, small_episodes=4), seed=5)
    small = 1.0 / np.mean([scsg.next(1.0) for _ in range(8000)]) - 1.0
    assert small == pytest.approx(3.0, rel=0.1)  # 12 / 4 in the mean
    assert all(Plan(estimator(correction="none"), 5).next(1.0) for _ in range(5))


def test_a_small_effective_sample_makes_the_next_round_large(estimator):
    plan = Plan(estimator(large_prob=0.001, least_effective_share=0.3), seed=5)

    assert [plan.next(share) for share in (1.0, 0.5, 0.29, 0.5)] == [True, False, True, False]


def test_clients_never_play_the_same_world(server):
    federation = server(n_clients=3)
    ids = [client.world_ids(round_, n) for client in federation.clients for round_ in (0, 1, 7) for n in (10,)]

    assert len(np.unique(np.concatenate(ids))) == 90
    with pytest.raises(ConfigError, match="worlds have no names left"):
        federation.clients[0].world_ids(2**31, 10)


def test_runs_are_equal_by_seed_and_differ_by_it(server):
    one, same, other = (server(seed=seed) for seed in (3, 3, 4))

    assert reports(one, 4) == reports(same, 4)
    assert [r.honest_return for r in reports(other, 4)] != [r.honest_return for r in reports(one, 4)]


def test_a_saved_run_goes_on_as_it_would_have(server):
    whole, begun, resumed = server(), server(), server(seed=0)
    reports(whole, 3)
    reports(begun, 3)
    resumed.set_state(begun.get_state())

    assert reports(resumed, 4) == reports(whole, 4)
    (name,) = whole.vectors
    assert torch.equal(resumed.vectors[name], whole.vectors[name])


def test_what_is_not_finite_counts_as_a_crash(server):
    lying, absent = server(n_clients=4, n_faulty=1, aggregator="trimmed_mean", attack="nan_inf"), server(n_clients=4)

    report = lying.play()

    assert report.n_refused == 1
    assert report.distance == pytest.approx(0.0, abs=1e-6)  # the mean of the three others
    assert absent.play().n_refused == 0


def test_a_round_without_any_vector_is_an_error():
    with pytest.raises(EdgeError, match="no client sent a finite vector"):
        accepted(torch.full((2, 3), torch.inf))


def test_a_lie_moves_the_mean_and_not_the_median(server):
    mean, median = (
        server(n_clients=4, n_faulty=1, aggregator=rule, attack="large_noise").play()
        for rule in ("mean", "geometric_median")
    )

    assert mean.distance > 500.0  # a quarter of 58 numbers up to 1000, root of their squares about 1100
    assert median.distance < 100.0


@pytest.mark.parametrize(
    "attack", ["random_actions", "constant_action", "reward_flip", "reward_shuffle", "observation_noise"]
)
def test_spoilt_data_are_what_the_faulty_client_learns_from_and_no_other(server, attack):
    over = {"scenario": "mec_2es_3md_v1", "over": {"scenario.params.on_miss": "go_on"}}  # rewards that differ by step
    honest, spoilt = server(n_clients=3, **over), server(n_clients=3, n_faulty=1, attack=attack, **over)
    told = Order(0, True, honest.vectors, None, None)

    fair = [client.message(told).vectors["shared"] for client in honest.clients]
    own = [
        client.message(told, partial(spoilt.faults.lie, client.index)).vectors["shared"] for client in spoilt.clients
    ]

    assert [torch.equal(a, b) for a, b in zip(fair, own, strict=True)] == [False, True, True]
    assert spoilt.faults.lie(1, spoilt.clients[1].chunks(told)[0]) is None


def test_rewards_of_the_other_sign_turn_the_gradient_round(server, estimator):
    client = server(n_clients=1).clients[0]
    flip = Spoiling(RewardFlip(), np.random.default_rng(0))
    module = client.networks.now["shared"]

    fair, spoilt = (client.play(0, 6, spoiling) for spoiling in (None, flip))

    np.testing.assert_array_equal(fair.returns, spoilt.returns)  # what the worlds paid
    one, other = (estimate(estimator(), module, played.streams["shared"]).vector for played in (fair, spoilt))
    np.testing.assert_allclose(one, -other, rtol=1e-5, atol=1e-6)


def test_a_rule_that_cannot_serve_is_refused_before_anything_is_played(server):
    with pytest.raises(ConfigError, match=r"krum: n = 4 clients of which f = 1"):
        server(n_clients=4, n_faulty=1, aggregator="krum")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": 0.0}, "gamma = 0.0"),
        ({"large_prob": 1.5}, "large_prob = 1.5"),
        ({"small_episodes": 0}, "small_episodes = 0: expected 1 or more"),
        ({"most_ratio": 0.5}, "most_ratio = 0.5"),
        ({"small_episodes": 1}, "baseline = time_mean: needs 2 episodes"),
        ({"form": "reinforce"}, "form = reinforce with correction = page"),
    ],
)
def test_values_out_of_range_are_refused(estimator, changes, message):
    with pytest.raises(ConfigError, match=message):
        estimator(**changes)


def test_a_pole_is_balanced_after_a_few_hundred_episodes(server):
    # one step pays 1; an untrained policy keeps the pole up for some 20 steps
    federation = server(normalise=True, correction="none", large_episodes=10, rate=0.02, gamma=0.999)

    found = [report.honest_return for report in reports(federation, 50)]

    assert np.mean(found[:3]) < 40.0
    assert np.mean(found[-5:]) > 150.0


def test_a_client_that_falls_silent_is_one_that_is_not_there(server):
    # three of four clients are heard from the second round on, and the rule then has nobody left to make up for
    given = {"n_clients": 4, "n_faulty": 1, "aggregator": "trimmed_mean", "correction": "none"}
    silent = server(**given, attack="crash(round=1)")

    found = [silent.play().n_refused for _ in range(3)]

    assert found == [0, 1, 1]


def test_a_delayed_vector_is_that_of_an_earlier_round(server):
    late = server(n_clients=3, n_faulty=1, aggregator="coordinate_median", attack="delay(rounds=2)")
    (name,) = late.vectors
    told = torch.arange(12, dtype=torch.float32).reshape(4, 3)  # of four rounds: three clients, a number each

    heard = [late.faults.forged(round_, name, told[round_].unsqueeze(-1), range(3), 1, None) for round_ in range(4)]

    assert [vectors[1:, 0].tolist() for vectors in heard] == told[:, 1:].tolist()  # the honest ones
    assert [vectors[0, 0].isnan().item() for vectors in heard[:2]] == [True, True]
    assert [vectors[0, 0].item() for vectors in heard[2:]] == [0.0, 3.0]


def test_what_is_delayed_survives_a_checkpoint(server):
    given = {"n_clients": 4, "n_faulty": 1, "aggregator": "trimmed_mean", "attack": "delay(rounds=2)"}
    first, second = server(**given), server(**given)
    reports(first, 3)
    second.set_state(first.get_state())

    assert reports(first, 2) == reports(second, 2)


@pytest.mark.parametrize("attack", ["omission(prob=0.5)", "crash(round=1)", "delay"])
def test_clients_on_a_graph_make_up_for_one_that_is_silent_or_late(server, attack):
    peers = server(n_clients=5, n_faulty=1, aggregator="trimmed_mean", attack=attack, graph="complete")

    found = reports(peers, 4)

    assert sum(report.n_refused for report in found) > 0
    assert all(np.isfinite(report.aggregate_norm) for report in found)
