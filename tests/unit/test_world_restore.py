"""A snapshot of another world is refused before anything of it is taken over."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import edge_rllib
from envs.errors import ConfigError
from envs.matching.world import MatchingParams
from envs.scenario import Scenario, make
from envs.world import World

MATCHING = Scenario("matching", "matching", None, 0, None, MatchingParams(2, 3, 8, 0.7, 0.6, 0, 0))


def played(world: World, n_steps: int = 3) -> World:
    out = world.outcome()
    world.reset(None, out)
    for _ in range(n_steps):
        world.step(np.zeros((world.spec.n_worlds, world.spec.n_agents), np.int64), out)
    return world


@pytest.fixture(scope="module")
def of_seed_1() -> dict[str, Any]:
    return played(edge_rllib.make("fog_ring_8", 2, seed=1)).snapshot()


def shorten(arrays: dict[str, Any], name: str) -> None:
    arrays[name] = arrays[name][:, :-1]


def retype(arrays: dict[str, Any], name: str) -> None:
    arrays[name] = arrays[name].astype(np.float32)


def unend(arrays: dict[str, Any]) -> None:
    arrays["created_s"][1, -1] = 1.0


def widen(arrays: dict[str, Any]) -> None:
    for name in arrays:
        arrays[name] = np.repeat(arrays[name], 2, axis=0)


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another scenario": (lambda s: s.update(scenario="fog_pair"), "of scenario 'fog_pair'; expected 'fog_ring_8'"),
    "no key": (lambda s: s.pop("key"), "'key' is missing"),
    "no number as key": (lambda s: s.update(key="1"), "key is '1'; expected a whole number"),
    "too large a key": (lambda s: s.update(key=2**64), "key is 18446744073709551616; expected a whole number"),
    "no state": (lambda s: s.pop("state"), "'state' is missing"),
    "no arrays": (lambda s: s.update(state=[1]), "state: expected arrays by name, got list"),
    "an array less": (lambda s: s["state"].pop("sums"), "state: 'sums' is missing"),
    "an array more": (lambda s: s["state"].update(sumz=s["key"]), "state: 'sumz' is unknown"),
    "another shape": (lambda s: shorten(s["state"], "sums"), r"state: sums has shape \(2, \d+\); expected \(2, \d+\)"),
    "another dtype": (lambda s: retype(s["state"], "sums"), "state: sums has dtype float32; expected float64"),
    "no array": (lambda s: s["state"].update(sums=[0.0]), "state: sums is of type list; expected an array"),
    "a column of tasks less": (lambda s: s["arrivals"].pop("due_s"), "arrivals: 'due_s' is missing"),
    "columns of other lengths": (lambda s: shorten(s["arrivals"], "due_s"), r"arrivals: due_s has shape"),
    "tasks of more worlds": (
        lambda s: widen(s["arrivals"]),
        r"arrivals: created_s has shape \(4, \d+\); expected \(2,",
    ),
    "tasks of another dtype": (
        lambda s: retype(s["arrivals"], "node"),
        "arrivals: node has dtype float32; expected int64",
    ),
    "tasks without an end": (lambda s: unend(s["arrivals"]), "arrivals: the tasks of world 1 have no end"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_fog_refuses_what_does_not_fit_and_stays_as_it_was(damage: str, of_seed_1: dict[str, Any]) -> None:
    change, message = DAMAGES[damage]
    snapshot = copy.deepcopy(of_seed_1)
    change(snapshot)
    world = played(edge_rllib.make("fog_ring_8", 2, seed=2), n_steps=5)
    before = pickle.dumps(world.snapshot())

    with pytest.raises(ConfigError, match=message) as caught:
        world.restore(snapshot)

    assert "\n" not in str(caught.value)
    assert pickle.dumps(world.snapshot()) == before


def test_fog_takes_tables_of_another_length(of_seed_1: dict[str, Any]) -> None:
    snapshot = copy.deepcopy(of_seed_1)
    for name, column in snapshot["arrivals"].items():
        spare = np.full((2, 3), np.inf) if name == "created_s" else np.zeros((2, 3), column.dtype)
        snapshot["arrivals"][name] = np.hstack([column, spare])
    world = edge_rllib.make("fog_ring_8", 2, seed=2)

    world.restore(snapshot)

    assert pickle.dumps(world.snapshot()["state"]) == pickle.dumps(of_seed_1["state"])


def test_matching_refuses_what_does_not_fit_and_stays_as_it_was() -> None:
    world, larger = played(make(MATCHING, 2)), played(make(MATCHING, 3))
    before = pickle.dumps(world.snapshot())

    with pytest.raises(ConfigError, match=r"snapshot of matching: _ids has shape \(3,\); expected \(2,\)"):
        world.restore(larger.snapshot())

    assert pickle.dumps(world.snapshot()) == before
