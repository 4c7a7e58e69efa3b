"""The mutual-information reward on hand-made rollouts: who is superior, how large the term is, what is refused."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any

import numpy as np
import pytest
import torch

from edge_rllib.algorithms.reward_terms import JointBatch, joint_batch
from edge_rllib.callbacks.mutual_information import MutualInformation, MutualInformationReward
from edge_rllib.callbacks.mutual_information_params import ExplaboffReleased, MutualInformationParams
from edge_rllib.config.load import dump, load_run, override_run
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.ops.hybrid import Sizes
from edge_rllib.ops.mutual_information.variables import WorldSizes
from edge_rllib.runners.joint import JointRows

SIZES = WorldSizes(n_agents=2, n_features=3, n_state=0, decision=Sizes(3, 1))
SMALL = {
    "estimator": {"n_negatives": 31, "critic_hidden": [16], "density_hidden": [16]},
    "buffers": {"capacity": 400, "rows_per_episode": 0, "least_episodes": 4},
    "batch_rows": 64,
    "start_rows": 64,
    "env_steps_per_gradient_step": 20,
}


def params(name: str = "explaboff", **changes: Any) -> Any:
    return load_part("mutual_information", {"name": name, **SMALL, **changes}, Source(None))


def reward_of(values: Any, sizes: WorldSizes = SIZES) -> MutualInformationReward:
    return MutualInformationReward(values, sizes, seed=3, device="cpu")


def fragments(n_fragments: int, seed: int = 0, n_steps: int = 10, n_worlds: int = 8) -> list[JointRows]:
    """Return fragments of one episode each, in which targets follow the first feature, the better, the larger it is."""
    draws = np.random.default_rng(seed)
    found = []
    for _ in range(n_fragments):
        observation = draws.normal(size=(n_steps + 1, n_worlds, 2, 3)).astype(np.float32)
        is_near = draws.random((n_steps, n_worlds, 2)) < np.linspace(0.2, 1.0, n_worlds)[:, None]
        best = np.clip(np.round(observation[:-1, ..., 0]) + 1, 0, 2).astype(np.int64)
        target = np.where(is_near, best, draws.integers(0, 3, best.shape))
        reward = np.repeat((target == best).mean(-1, keepdims=True), 2, -1).astype(np.float32)
        truncated = np.zeros((n_steps, n_worlds), bool)
        truncated[-1] = True
        amounts = draws.random((n_steps, n_worlds, 2, 1)).astype(np.float32)
        mask = np.ones((n_steps + 1, n_worlds, 2, 3), bool)
        found.append(
            JointRows(
                observation, mask, None, target, amounts, reward, reward, np.zeros_like(truncated), truncated, None
            )
        )
    return found


def play(term: MutualInformationReward, rows: list[JointRows]) -> list[torch.Tensor]:
    terms = []
    for part in rows:
        term.observe(part, np.arange(part.terminated.shape[1]))
        terms.append(term.bonus(*batch_of(part)))
    return terms


def batch_of(rows: JointRows) -> tuple[JointBatch, torch.Tensor]:
    return joint_batch(rows, "cpu"), torch.from_numpy(rows.reward).flatten(0, 1)


def test_the_term_is_zero_until_there_is_enough_to_learn_from() -> None:
    term = reward_of(params(start_rows=81))

    first, *_, last = play(term, fragments(12))

    assert first.shape == (80, 2)  # 8 episodes of 10 rows: no buffer can hold 81
    assert not first.any()
    assert last.any()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_term_has_the_stated_share_of_the_reward_s_deviation(share: float) -> None:
    term = reward_of(params(share_of_reward=share, clip=0.0))
    rows = fragments(24)

    late = torch.stack(play(term, rows)[14:])

    reward_std = np.stack([part.reward for part in rows]).std()
    # the deviations are fading means, so that they lag behind a little
    assert late.std().item() / reward_std == pytest.approx(share, rel=0.25)
    assert abs(late.mean().item()) < 0.25 * share * reward_std


def test_the_clip_bounds_a_scaled_term_in_its_own_deviations() -> None:
    term = reward_of(params(share_of_reward=0.2, clip=0.5))
    rows = fragments(12)

    last = play(term, rows)[-1]

    reward_std = term.figures()["reward_std"]  # the mean of twelve batches, which are alike
    assert last.abs().max().item() == pytest.approx(0.5 * 0.2 * reward_std, rel=0.02)


def test_a_raw_term_is_the_weighted_difference_of_the_bounds() -> None:
    term = reward_of(params("explaboff_released", batch_rows=64, start_rows=40))
    rows = fragments(12)
    play(term, rows)
    batch, reward = batch_of(rows[-1])
    looks = np.random.default_rng(0)
    lower, upper = (term.bounds[key].values(batch, looks) for key in ("lower", "upper"))

    # blocks of 32 hold other rows each time, so means agree better than rows
    bonus = term.bonus(batch, reward)

    assert bonus.mean().item() == pytest.approx((3.5 * lower - upper).mean().item(), abs=0.05)
    assert torch.equal(bonus[:, 0], bonus[:, 1])  # joint variables: the same for all agents


def test_terms_of_own_variables_differ_by_agent() -> None:
    own = {"estimator": "infonce", "variables": "own_others", "data": "all", "weight": 1.0}
    term = reward_of(params(lower=own, upper=None))

    last = play(term, fragments(12))[-1]

    assert not torch.allclose(last[:, 0], last[:, 1])


def test_better_episodes_are_superior_and_the_estimates_tell() -> None:
    term = reward_of(params())
    play(term, fragments(24))

    found = term.figures()

    assert found["superior_return_mean"] > found["all_return_mean"] > found["inferior_return_mean"]
    assert found["lower_on_superior_nats"] > found["lower_on_inferior_nats"]  # superior worlds follow the state
    gap = found["lower_on_superior_nats"] - found["lower_on_batch_nats"]
    assert found["lower_gap_nats"] == pytest.approx(gap, abs=1e-6)
    assert found["information_by_entropies_nats"] == pytest.approx(
        found["joint_entropy_nats"]
        - found["own_entropy_given_state_nats"]
        - found["others_entropy_given_own_and_state_nats"],
        abs=1e-4,
    )
    assert all(math.isfinite(value) for value in found.values())


def test_without_a_split_both_bounds_learn_from_all_episodes() -> None:
    values = params()
    one = dataclasses.replace(values.lower, data="all"), dataclasses.replace(values.upper, data="all")
    term = reward_of(dataclasses.replace(values, lower=one[0], upper=one[1]))

    play(term, fragments(2))  # 16 episodes of 10 rows; no buffer but the undivided one is asked

    assert {key: bound.fitted.n_fitted > 0 for key, bound in term.bounds.items()} == {"lower": True, "upper": True}


def test_a_switched_off_term_is_measured_all_the_same() -> None:
    values = params()
    late = dataclasses.replace(values, weights=dataclasses.replace(values.weights, start_env_steps=10**6))
    term = reward_of(late)

    assert not any(part.any() for part in play(term, fragments(12)))
    found = term.figures()
    assert found["factor"] == 0.0
    assert "lower_on_batch_nats" in found


@pytest.mark.parametrize("name", ["explaboff", "explaboff_paper", "explaboff_released"])
def test_a_restored_term_goes_on_as_the_saved_one(name: str) -> None:
    rows = fragments(8)
    first, second = (reward_of(params(name, with_replacement=True)) for _ in range(2))
    play(first, rows[:5])
    second.set_state(first.get_state())

    expected, found = play(first, rows[5:]), play(second, rows[5:])

    assert any(part.any() for part in expected)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(expected, found, strict=True))


def test_two_terms_of_one_seed_are_equal() -> None:
    rows = fragments(8)

    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(play(reward_of(params()), rows), play(reward_of(params()), rows), strict=True)
    )


def test_the_callback_warns_once_of_a_term_larger_than_the_reward(caplog: pytest.LogCaptureFixture) -> None:
    callback = MutualInformation(params())

    def result(share: float) -> dict[str, Any]:
        return {"learners": {"__all_modules__": {"reward_terms": {"mutual_information": {"share_of_reward": share}}}}}

    with caplog.at_level(logging.WARNING):
        for share in (0.9, 1.5, 2.0):
            callback.on_train_result(algorithm=None, result=result(share))

    assert len(caplog.messages) == 1
    assert "1.5 times that of the reward" in caplog.messages[0]


def run_with(spec: Any, **overrides: Any) -> Any:
    return load_run("tiny_exact", {"mutual_information": spec, **overrides})


def test_a_run_has_no_such_reward_unless_it_asks_for_one() -> None:
    run = load_run("tiny_exact")

    assert run.mutual_information is None
    assert "mutual_information: none" in dump(run)
    assert run_with("none") == run


def test_a_run_s_one_line_is_dumped_in_full_and_loaded_again() -> None:
    run = run_with("explaboff_released", **{"mutual_information.lower.weight": 2.0})

    assert isinstance(run.mutual_information, ExplaboffReleased)
    assert run.mutual_information.lower.weight == 2.0
    assert "name: explaboff_released" in dump(run)
    assert override_run(run, {}) == run
    assert override_run(run, {"mutual_information": "none"}).mutual_information is None
    assert isinstance(
        override_run(run, {"mutual_information": "explaboff"}).mutual_information, MutualInformationParams
    )
