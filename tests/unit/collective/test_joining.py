"""What populations make of their members, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rllib.collective.joining import Best, Cem, Elites, Exploit, FedAvg, Members, Rank, Released, Softmax
from edge_rllib.config.registry import names, resolve
from envs.errors import ConfigError

FITNESS = np.array([1.0, 3.0, 2.0, -2.0])  # mean 1


def members(fitness=FITNESS, n_steps=(1.0, 1.0, 1.0, 1.0)):
    vectors = np.arange(8, dtype=np.float32).reshape(4, 2)  # rows 01, 23, 45, 67
    return Members(np.asarray(fitness), np.asarray(n_steps), vectors)


@pytest.mark.parametrize("name", names("joining_rule"))
def test_weights_add_up_to_one_and_the_mean_is_theirs(name):
    rule = resolve("joining_rule", name)()
    joined = rule(members())
    assert joined.weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(joined.mean, joined.weights @ members().vectors, rtol=1e-6)
    assert joined.mean.dtype == np.float32


def test_elites_are_those_of_at_least_mean_fitness():
    np.testing.assert_allclose(Elites()(members()).weights, [1 / 3, 1 / 3, 1 / 3, 0])
    # above the worst by 3, 5, 4
    np.testing.assert_allclose(Elites("shifted")(members()).weights, [3 / 12, 5 / 12, 4 / 12, 0])
    np.testing.assert_allclose(Elites("shifted")(members([2.0] * 4)).weights, [0.25] * 4)


def test_ranks_fall_by_their_logarithm():
    # best two of four: log(3 / 1) and log(3 / 2)
    total = np.log(3.0) + np.log(1.5)
    np.testing.assert_allclose(Rank(0.5)(members()).weights, [0, np.log(3.0) / total, np.log(1.5) / total, 0])


def test_softmax_weighs_by_deviations_of_fitness():
    scaled = np.exp((FITNESS - 3.0) / (0.5 * FITNESS.std()))
    np.testing.assert_allclose(Softmax(0.5)(members()).weights, scaled / scaled.sum())
    np.testing.assert_allclose(Softmax()(members([1.0] * 4)).weights, [0.25] * 4)


def test_federated_averaging_weighs_by_steps_alone():
    np.testing.assert_allclose(FedAvg()(members(n_steps=[1, 2, 3, 4])).weights, [0.1, 0.2, 0.3, 0.4])


def test_the_released_rule_favours_the_worse_of_negative_elites():
    # the specification's figures: -571 and -821 weigh .41 and .59
    weights = Released()(members([-571.0, -821.0, -2000.0, -2000.0])).weights
    np.testing.assert_allclose(weights, [571 / 1392, 821 / 1392, 0, 0])


def test_the_best_is_one_member():
    np.testing.assert_allclose(Best()(members()).mean, [2, 3])


def test_the_cross_entropy_method_draws_around_the_elites():
    rule = Cem(0.5)
    joined = rule(members())  # elites 23 and 45
    np.testing.assert_allclose(joined.mean, [3, 4])
    np.testing.assert_allclose(joined.std, [1, 1], rtol=1e-6)
    generator = np.random.default_rng(0)
    drawn = np.stack([rule.offer(members(), joined, 0, generator) for _ in range(2000)])
    np.testing.assert_allclose(drawn.mean(0), [3, 4], atol=0.1)
    np.testing.assert_allclose(drawn.std(0), [1, 1], atol=0.1)


def test_exploiting_offers_one_of_the_best_to_one_of_the_worst():
    rule, generator = Exploit(0.25), np.random.default_rng(0)
    joined = rule(members())
    assert [rule.offer(members(), joined, me, generator) is None for me in range(4)] == [True, True, True, False]
    np.testing.assert_array_equal(rule.offer(members(), joined, 3, generator), [2, 3])
    np.testing.assert_array_equal(rule.offer(members(), joined, None, generator), [2, 3])


def test_shares_beyond_one_are_refused():
    with pytest.raises(ConfigError, match=r"share = 1.5: expected a value in \[0, 1\]"):
        Rank(1.5)
