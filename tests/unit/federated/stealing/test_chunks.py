"""A chunk says in full what is to be done; its result belongs to it and to nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_rllib.federated.stealing.chunks import Chunk, ChunkId, bytes_digest, result_of, wrong_count
from edge_rllib.federated.stealing.errors import StealingError


def chunk(**changes: Any) -> Chunk:
    settings = {"run_id": "r", "round": 3, "owner": 1, "index": 2, "version": 7, "run_seed": 5, "horizon": 100}
    return Chunk(**{**settings, "n_episodes": 1, **changes})


def test_random_numbers_follow_from_run_owner_round_and_index() -> None:
    first = chunk().seeds.generate_state(4)

    assert np.array_equal(first, np.random.SeedSequence((5, 1, 3, 2)).generate_state(4))
    assert np.array_equal(first, chunk(version=8).seeds.generate_state(4))
    for change in ({"run_seed": 6}, {"owner": 2}, {"round": 4}, {"index": 3}):
        assert not np.array_equal(first, chunk(**change).seeds.generate_state(4))


def test_digest_depends_on_each_bit_of_fields_counts_and_arrays() -> None:
    arrays = {"gradient": np.array([1.0, 2.0]), "lengths": np.array([30])}
    digest = result_of(chunk(), 1, 30, arrays).digest

    assert digest == result_of(chunk(), 1, 30, {name: arrays[name].copy() for name in reversed(arrays)}).digest
    other = {**arrays, "gradient": np.array([1.0, np.nextafter(2.0, 3.0)])}
    others = [
        result_of(chunk(version=8), 1, 30, arrays),
        result_of(chunk(index=3), 1, 30, arrays),
        result_of(chunk(), 1, 31, arrays),
        result_of(chunk(), 1, 30, other),
        result_of(chunk(), 1, 30, {**arrays, "gradient": arrays["gradient"].astype(np.float32)}),
        result_of(chunk(), 1, 30, arrays, end=b"state"),
    ]
    assert digest not in {result.digest for result in others}
    assert len({result.digest for result in others}) == 6


def test_next_part_goes_on_from_the_last_state() -> None:
    first = chunk(part_steps=40)

    second = first.next_part(b"state")

    assert second.id == ChunkId(3, 1, 2, 1)
    assert second.start == bytes_digest(b"state")
    assert np.array_equal(first.seeds.generate_state(2), second.seeds.generate_state(2))
    # 100 steps at most: parts of 40, 40 and 20
    assert [first.most_steps, second.most_steps, second.next_part(b"x").most_steps] == [40, 40, 20]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_steps": 5}, "expected exactly one"),
        ({"n_episodes": None}, "expected exactly one"),
        ({"n_episodes": 0}, "1 or more"),
        ({"horizon": 0}, "horizon = 0"),
        ({"owner": -1}, "owner = -1"),
        ({"part_steps": 10, "n_episodes": None, "n_steps": 20}, "whole episodes"),
        ({"n_parts": 1}, "not cut into parts"),
        ({"part": 1, "start": "x"}, "not cut into parts"),
        ({"part": 1, "part_steps": 10}, "later parts have a start"),
    ],
)
def test_impossible_chunk_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StealingError, match=message):
        chunk(**changes)


@pytest.mark.parametrize(
    ("given", "episodes", "steps", "end", "is_wrong"),
    [
        (chunk(n_episodes=2), 2, 200, None, False),
        (chunk(n_episodes=2), 1, 50, None, True),
        (chunk(n_episodes=2), 2, 201, None, True),
        (chunk(n_episodes=2), 2, 1, None, True),  # an episode has at least one step
        (chunk(n_episodes=2), 2, 50, b"s", True),  # not cut into parts
        (chunk(n_episodes=None, n_steps=50), 3, 50, None, False),
        (chunk(n_episodes=None, n_steps=50), 3, 49, None, True),
        (chunk(part_steps=40), 0, 40, b"s", False),
        (chunk(part_steps=40), 0, 39, b"s", True),
        (chunk(part_steps=40), 1, 39, None, False),
        (chunk(part_steps=40), 1, 41, None, True),
        (chunk(part_steps=40, part=2, start="d"), 0, 20, b"s", True),  # step 100 ends the episode
        (chunk(part_steps=40, n_episodes=3), 0, 40, b"s", False),  # one of the three has not ended
        (chunk(part_steps=40, n_episodes=3), 0, 120, b"s", False),
        (chunk(part_steps=40, n_episodes=3), 0, 39, b"s", True),
        (chunk(part_steps=40, n_episodes=3), 0, 121, b"s", True),
        (chunk(part_steps=40, n_parts=2), 1, 30, None, True),  # one part is not two
    ],
)
def test_counts_must_be_those_of_the_chunk(
    given: Chunk, episodes: int, steps: int, end: bytes | None, is_wrong: bool
) -> None:
    assert bool(wrong_count(given, result_of(given, episodes, steps, {}, end))) is is_wrong


def test_who_goes_on_says_how_many_parts_he_played() -> None:
    # two parts of 40 steps: the next begins with the third, whose 20 steps are the last of 100
    whole = chunk(part_steps=40, n_episodes=2)
    result = result_of(whole, 0, 130, {}, b"s", n_parts=2)

    assert wrong_count(whole, result) == ""
    assert wrong_count(whole, replace(result, n_parts=1)) != ""
    assert wrong_count(whole, replace(result, n_parts=3)) != ""
    behind = whole.next_part(b"s", 2)
    assert (behind.part, behind.most_steps) == (2, 40)
    assert wrong_count(behind, result_of(behind, 2, 21, {})) == ""
    # the same digest whether the executor was told to stop there, or did so of itself
    assert result_of(whole.of_parts(2), 0, 130, {}, b"s", n_parts=2).digest == result.digest


def test_result_keeps_its_digest_when_replaced_by_hand() -> None:
    result = result_of(chunk(), 1, 30, {})

    assert replace(result, n_steps=31).digest == result.digest  # which the ledger then refuses
