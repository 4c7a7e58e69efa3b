"""A population: whom it waits for, what it refuses, and that it goes on where it was."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from edge_rllib.collective.errors import PushError
from edge_rllib.collective.joining import Cem, Elites
from edge_rllib.collective.population import Entry, Mode, Population
from edge_rllib.collective.vectors import Layout
from envs.errors import ConfigError

LAYOUT = Layout(2, np.array([True, False]))


def population(kind="barrier", sites=("a", "b", "c"), rule=None, layout=LAYOUT, **values):
    mode = Mode(kind, **{"quorum_frac": 0.5, "limit_s": 10.0, "most_stale": 1, **values})
    made = Population(rule or Elites(), mode, layout, seed=1)
    for site in sites:
        made.join(site)
    return made


def entry(site, generation=0, fitness=0.0, number=1.0):
    return Entry(site, generation, fitness, 0.1, 100, 0, np.full(2, number, np.float32))


def test_a_barrier_waits_for_all_and_a_quorum_for_a_share():
    everyone, some = population(), population("quorum")
    joined = [[p.push(entry(site), 0.0).is_joined for site in "abc"] for p in (everyone, some)]
    assert joined == [[False, False, True], [False, True, False]]  # half of three is two


def test_unawaited_each_push_makes_a_policy_of_what_all_sent_last():
    made = population("unawaited")
    assert made.push(entry("a", number=2.0), 0.0).version == 1
    np.testing.assert_array_equal(made.offer("b").vector, [2, 2])
    assert made.push(entry("b", number=4.0), 0.0).version == 2
    np.testing.assert_array_equal(made.offer("a").vector, [3, 3])  # equal fitness: both are elites


def test_who_is_late_is_not_waited_for(caplog):
    made = population()
    made.push(entry("a"), 0.0)
    assert not made.tick(9.0)
    assert made.tick(10.0)
    assert made.counts["late"] == 2
    assert "joined without b, c: nothing for 10 s" in caplog.text


def test_a_policy_of_long_ago_does_not_count():
    made = population("unawaited", most_stale=1)
    made.push(entry("a", 0, number=9.0), 0.0)
    for generation in range(3):
        made.push(entry("b", generation), 0.0)
    assert made.weights() == {"b": 1.0}
    assert made.counts["stale"] == 1  # a's of generation 0, beside b's of generation 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vector": np.array([1.0, np.nan], np.float32)}, "site 'a', generation 1: 1 of 2 numbers are not finite"),
        ({"vector": np.ones(3, np.float32)}, r"site 'a', generation 1: a vector of float32 \(3,\); expected"),
        ({"vector": np.ones(2)}, r"a vector of float64 \(2,\); expected float32 \(2,\)"),
        ({"fitness": float("inf")}, r"fitness inf \+- 0.1; expected finite numbers"),
        ({"site": "z"}, "site 'z', generation 1: no member; present: a, b, c"),
        ({"generation": 0}, "generation 0: generation 0 is there; expected a later one"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_name_and_changes_nothing(change, message, caplog):
    made = population("unawaited")
    made.push(entry("a"), 0.0)
    before = pickle.dumps({**made.get_state(), "counts": None})
    with pytest.raises(PushError, match=message):
        made.push(entry("a", 1)._replace(**{"vector": np.full(2, 5.0, np.float32), **change}), 0.0)
    assert pickle.dumps({**made.get_state(), "counts": None}) == before
    assert made.counts["refused"] == 1
    assert "site" in caplog.text


def test_a_message_that_comes_twice_counts_once():
    made = population()
    first, again = made.push(entry("a"), 0.0), made.push(entry("a"), 0.0)
    assert (first.is_joined, again.is_joined, made.counts["pushes"]) == (False, False, 1)


def test_those_who_waited_for_a_leaver_have_a_policy():
    made = population()
    made.push(entry("a"), 0.0)
    made.push(entry("b"), 0.0)
    assert made.leave("c")
    assert made.version == 1
    assert made.present == ("a", "b")


def test_a_joiner_is_waited_for():
    made = population(sites=("a",))
    made.push(entry("a"), 0.0)
    made.join("d")
    assert not made.push(entry("a", 1), 0.0).is_joined
    assert made.push(entry("d", 1), 0.0).is_joined


def test_the_order_of_arrival_changes_no_bit():
    numbers = {"a": 0.1, "b": 1e8, "c": -1e8}  # whose sum depends on its order
    found = []
    for order in ("abc", "cab"):
        made = population()
        for site in order:
            made.push(entry(site, number=numbers[site]), 0.0)
        found.append((made.offer("a").vector, made.fittest()))
    np.testing.assert_array_equal(found[0], found[1])


def test_the_sender_may_write_into_its_vector_afterwards():
    made = population("unawaited")
    sent = entry("a")
    made.push(sent, 0.0)
    sent.vector[:] = 7.0
    np.testing.assert_array_equal(made.offer("b").vector, [1, 1])


def test_a_population_goes_on_where_it_was():
    made, other = (population("quorum", rule=Cem()) for _ in range(2))
    for site in "abc":
        made.push(entry(site, fitness=float(ord(site)), number=float(ord(site))), 0.0)
    other.set_state(pickle.loads(pickle.dumps(made.get_state())))
    for p in (made, other):
        p.push(entry("a", 1, 5.0, 3.0), 1.0)
        p.push(entry("b", 1, 6.0, 4.0), 1.0)
    assert made.version == other.version == 2
    np.testing.assert_array_equal(made.offer("c").vector, other.offer("c").vector)  # drawn
    assert made.counts == other.counts


def test_a_population_of_other_policies_is_refused():
    made = population("unawaited")
    made.push(entry("a"), 0.0)
    with pytest.raises(ConfigError, match="population: site 'a' has 2 numbers; expected 3"):
        population(layout=Layout(3, np.ones(3, np.bool_))).set_state(made.get_state())
