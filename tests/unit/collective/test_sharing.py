"""Mutations, pulls, experience and the ledger, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rllib.collective import pulling
from edge_rllib.collective.experience import ExperienceParams, Seen, Shard, shard_of
from edge_rllib.collective.ledger import Ledger
from edge_rllib.collective.mutation import Isotropic, NoMutation, Relative, ReleasedMutation, Safe
from edge_rllib.collective.population import Offer
from edge_rllib.collective.vectors import Layout

LAYOUT = Layout(4000, np.arange(4000) < 2000)
VECTOR = np.full(4000, 2.0, np.float32)


def changes(mutator, sensitivity=None):
    mutated = mutator(VECTOR, LAYOUT, lambda: sensitivity, np.random.default_rng(0))
    assert mutated.dtype == np.float32
    return mutated - VECTOR


@pytest.mark.parametrize(("mutator", "std"), [(Isotropic(std=0.1, prob=1.0), 0.1), (Relative(frac=0.1, prob=1.0), 0.2)])
def test_mutations_change_what_decides_and_not_what_judges(mutator, std):
    found = changes(mutator)
    assert found[:2000].std() == pytest.approx(std, rel=0.05)
    assert not found[2000:].any()


def test_a_safe_mutation_is_small_where_decisions_depend_on_a_number():
    sensitivity = np.where(np.arange(4000) < 1000, 10.0, 0.0).astype(np.float32)
    found = changes(Safe(std=0.01, prob=1.0), sensitivity)
    assert found[:1000].std() == pytest.approx(0.001, rel=0.1)
    assert found[1000:2000].std() == pytest.approx(10.0, rel=0.1)  # 0.01 over the least sensitivity, 0.001


def test_the_released_mutation_ruins_the_critic():
    found = changes(ReleasedMutation(std=0.01, prob=1.0))
    assert found[:2000].std() == pytest.approx(0.01, rel=0.05)
    assert found[2000:].std() == pytest.approx(1.0, rel=0.05)


def test_a_mutation_comes_by_chance_and_none_never():
    assert not changes(Isotropic(std=0.1, prob=0.0)).any()
    assert not changes(NoMutation()).any()
    generator = np.random.default_rng(0)
    mutated = [
        Isotropic(std=0.1, prob=0.2)(VECTOR, LAYOUT, lambda: VECTOR, generator) is not VECTOR for _ in range(1000)
    ]
    assert np.mean(mutated) == pytest.approx(0.2, abs=0.04)


OFFER = Offer(3, fitness=1.0, fitness_error=0.3, vector=VECTOR)


def decides(rule, mean, error=0.4, offered=2.0):
    return rule(
        pulling.Fitness(mean, error), OFFER, lambda offer: pulling.Fitness(offered, 0.0), np.random.default_rng(0)
    )


def test_pull_rules_compare_what_they_are_named_after():
    assert not decides(pulling.Never(), -9.0)
    assert decides(pulling.Always(), 9.0)
    assert [decides(pulling.BelowMean(1.0), mean) for mean in (0.9, 1.0, 1.1)] == [True, False, False]
    assert not decides(pulling.BelowMean(0.0), -9.0)
    # the difference has a standard error of 0.5: 1.64 of them are 0.82
    assert [decides(pulling.SurelyBelowMean(1.64), mean) for mean in (0.17, 0.19)] == [True, False]
    assert [decides(pulling.Tested(), mean) for mean in (1.9, 2.1)] == [True, False]


def values(**changed):
    standard = {"share": True, "n_shards": 2, "most_stale": 1, "most_steps": 250, "prob": 1.0}
    return ExperienceParams(**{**standard, **changed})


def seen(site, generation):
    return Seen(site, generation, 0, 100, f"{site}{generation}")


def test_a_shard_keeps_the_latest_of_each_site_and_hands_out_what_is_young_enough():
    shard = Shard(values())
    shard.add([seen("b", 0), seen("b", 1), seen("b", 2)])
    shard.add([seen("a", 0)])
    # of b 250 steps fit two fragments; beside generation 2 those of generation 0 are too old
    assert [each.rollout for each in shard.take(newest=0)] == ["b1", "b2"]
    assert shard.counts == {"taken_steps": 200, "stale_steps": 100, "crowded_steps": 100}
    assert shard.take(newest=2) == []


def test_sites_keep_to_their_shard_and_shards_have_about_as_many_sites():
    shards = [shard_of(f"site_{i}", 4) for i in range(400)]
    assert shards == [shard_of(f"site_{i}", 4) for i in range(400)]
    assert min(np.bincount(shards, minlength=4)) > 70


def test_the_ledger_adds_up_costs_and_bytes():
    ledger = Ledger()
    ledger.explored("a", 5.0, 100)
    ledger.explored("b", 2.0, 50)
    ledger.sent("site_to_population", 10)
    first = ledger.take_generation()
    ledger.explored("a", 1.0, 10)
    ledger.sent("site_to_population", 7)
    other = Ledger()
    other.set_state(ledger.get_state())
    second = other.take_generation()
    assert (first["exploration_cost"], first["bytes/site_to_population"]) == (7.0, 10.0)
    assert (second["exploration_cost"], second["bytes/site_to_population"]) == (8.0, 7.0)
    assert second["bytes_lifetime"] == 17.0
    assert other.of_sites == {"a": 6.0, "b": 2.0}
