"""Around the estimators: which variables, which episodes, how much weight, and the entropies by themselves."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_rllib.ops.hybrid import Sizes
from edge_rllib.ops.mutual_information.base import EstimatorParams, Layout
from edge_rllib.ops.mutual_information.entropies import JointEntropies
from edge_rllib.ops.mutual_information.episodes import Entry, EpisodeBuffer, EpisodeCutter, Threshold
from edge_rllib.ops.mutual_information.softplus_sums import SoftplusSums
from edge_rllib.ops.mutual_information.variables import Pairing, WorldSizes
from edge_rllib.ops.mutual_information.weights import Factor, WeightParams
from envs.errors import ConfigError


class Steps(NamedTuple):
    observation: Tensor
    state: Tensor | None
    target: Tensor
    amounts: Tensor


# one step of three agents with one feature each, two targets and one amount
STEPS = Steps(
    torch.tensor([[[0.1], [0.2], [0.3]]]),
    torch.tensor([[7.0, 8.0]]),
    torch.tensor([[1, 0, 1]]),
    torch.tensor([[[0.5], [0.6], [0.7]]]),
)
SIZES = WorldSizes(3, 1, 2, Sizes(2, 1))


def pairing(variables: Any, state: Any = "observations", decisions: Any = "vectors", sizes: Any = SIZES) -> Pairing:
    return Pairing(variables, state, decisions, sizes)


@pytest.mark.parametrize(
    ("pairs", "agent", "x", "y"),
    [
        (pairing("state_joint"), 0, [0.1, 0.2, 0.3], [0, 1, 0.5, 1, 0, 0.6, 0, 1, 0.7]),
        (pairing("state_joint", "global", "decoded"), 0, [7, 8], [1, 0.5, 0, 0.6, 1, 0.7]),
        (pairing("own_state_own"), 1, [0, 1, 0, 0.2], [1, 0, 0.6]),
        # others of agent 1: agent 2, then agent 0
        (pairing("own_others"), 1, [0, 1, 0, 1, 0, 0.6], [0, 1, 0.7, 0, 1, 0.5]),
        (pairing("own_others_given_state", "global"), 0, [1, 0, 0, 0, 1, 0.5, 7, 8], [1, 0, 0.6, 0, 1, 0.7]),
    ],
)
def test_rows_of_variables(pairs: Pairing, agent: int, x: list[float], y: list[float]) -> None:
    found_x, found_y = pairs.rows(STEPS, agent)

    assert found_x.tolist() == [pytest.approx(x)]
    assert found_y.tolist() == [pytest.approx(y)]
    assert (pairs.n_x, pairs.layout.width) == (len(x), len(y))


@pytest.mark.parametrize(
    ("variables", "state", "sizes", "message"),
    [
        ("state_joint", "global", WorldSizes(3, 1, 0, Sizes(2, 1)), "the world has no global state"),
        ("own_others", "observations", WorldSizes(1, 1, 0, Sizes(2, 1)), "one agent, so there are no others"),
        ("state_joint", "observations", WorldSizes(3, 1, 0, Sizes(1, 0)), "have nothing to decide"),
    ],
)
def test_variables_that_a_world_has_not_are_refused(variables: Any, state: Any, sizes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pairing(variables, state, sizes=sizes)


def cutter(n_kept: int = 0) -> EpisodeCutter:
    return EpisodeCutter(n_kept, np.random.default_rng(1))


def feed(cut: EpisodeCutter, values: list[list[float]], ends: list[list[int]], first: list[int]) -> list[Entry]:
    """Hand over a fragment of worlds 10, 11, ...; steps are numbered by their reward, observations by ``first``."""
    reward = np.array(values, np.float64).T
    ended = np.zeros(reward.shape, bool)
    for b, steps in enumerate(ends):
        ended[steps, b] = True
    begin = np.array(first, np.float32)[:, None]
    world_ids = np.arange(10, 10 + len(values))
    return cut.add({"step": reward.copy()}, reward, ended, world_ids, begin, begin + 1)


def test_an_episode_is_put_together_from_the_fragments_of_its_world() -> None:
    cut = cutter()

    assert feed(cut, [[1, 2], [30, 40]], [[], [0]], [0, 5])[0].columns["step"].tolist() == [30]
    finished = feed(cut, [[3, 4], [50, 60]], [[0], [1]], [1, 6])

    # world 10: 1, 2, 3 | 4 open; world 11: 30 | 40, 50, 60
    assert [(entry.world_id, entry.number, entry.total) for entry in finished] == [(10, 1, 6.0), (11, 2, 150.0)]
    assert [entry.columns["step"].tolist() for entry in finished] == [[1, 2, 3], [40, 50, 60]]


def test_two_episodes_of_a_fragment_come_apart() -> None:
    finished = feed(cutter(), [[1, 2, 3, 4]], [[0, 2]], [0])

    assert [entry.columns["step"].tolist() for entry in finished] == [[1], [2, 3]]


def test_a_restarted_world_forgets_its_open_episode() -> None:
    cut = cutter()
    feed(cut, [[1, 2]], [[]], [0])

    finished = feed(cut, [[3, 4]], [[1]], [99])  # the last fragment left observation 1 behind

    assert [entry.total for entry in finished] == [7.0]


def test_open_episodes_survive_a_state_and_unknown_worlds_wait_for_their_next_beginning() -> None:
    cut, resumed = cutter(), cutter()
    feed(cut, [[1, 2]], [[]], [0])
    resumed.set_state(cut.get_state())

    finished = feed(resumed, [[3, 4], [5, 6]], [[1], [0]], [1, 0])  # world 11 is in the middle of an episode
    later = feed(resumed, [[7, 8], [9, 10]], [[1], [1]], [2, 1])

    assert [entry.total for entry in finished] == [10.0]
    assert [(entry.world_id, entry.total) for entry in later] == [(10, 15.0), (11, 6.0 + 9.0 + 10.0)]


def test_of_a_long_episode_a_uniform_sample_is_kept_and_the_whole_return() -> None:
    counts = np.zeros(12)
    for seed in range(400):
        cut = EpisodeCutter(3, np.random.default_rng(seed))
        first = [float(v) for v in range(6)]
        feed(cut, [first], [[]], [0])
        (entry,) = feed(cut, [[v + 6 for v in first]], [[5]], [1])
        assert entry.n_rows == 3
        assert entry.total == 66.0
        assert entry.columns["step"].tolist() == sorted(entry.columns["step"])
        counts[entry.columns["step"].astype(int)] += 1

    # 100 expected of each step; the deviation of a count is sqrt(400 * 1/4 * 3/4) = 8.7
    assert np.abs(counts - 100).max() < 4 * 8.7


def entry(total: float, n_rows: int = 1) -> Entry:
    return Entry(total, {"total": np.full(n_rows, total), "step": np.arange(n_rows)}, 0, 0)


def held(buffer: EpisodeBuffer) -> list[float]:
    rows = buffer.draw(buffer.n_rows, np.random.default_rng(0), with_replacement=False)
    return sorted(rows["total"].tolist())


def test_the_worst_episode_leaves_the_superior_buffer_and_the_oldest_the_inferior() -> None:
    best, latest = EpisodeBuffer(3, "episodes", keeps_best=True), EpisodeBuffer(3, "episodes", keeps_best=False)
    for total in (5.0, 9.0, 2.0, 7.0):
        best.push(entry(total))
        latest.push(entry(total))

    assert held(best) == [5.0, 7.0, 9.0]
    assert held(latest) == [2.0, 7.0, 9.0]
    assert best.worst == 5.0


def test_in_transitions_the_one_to_leave_loses_its_earliest_rows() -> None:
    buffer = EpisodeBuffer(5, "transitions", keeps_best=True)
    for total in (1.0, 3.0):
        buffer.push(entry(total, 2))
    buffer.push(entry(2.0, 2))  # six rows: the worst episode loses one

    rows = buffer.draw(5, np.random.default_rng(0), with_replacement=False)

    assert sorted(zip(rows["total"].tolist(), rows["step"].tolist(), strict=True)) == [
        (1.0, 1),
        (2.0, 0),
        (2.0, 1),
        (3.0, 0),
        (3.0, 1),
    ]


def test_an_episode_longer_than_the_buffer_fills_it_with_its_last_rows() -> None:
    buffer = EpisodeBuffer(3, "transitions", keeps_best=False)
    buffer.push(entry(1.0))
    buffer.push(entry(2.0, 8))

    rows = buffer.draw(3, np.random.default_rng(0), with_replacement=False)

    assert sorted(rows["step"].tolist()) == [5, 6, 7]


def test_a_buffer_s_state_continues_its_order() -> None:
    buffer, copy = (EpisodeBuffer(2, "episodes", keeps_best=True) for _ in range(2))
    for total in (4.0, 6.0):
        buffer.push(entry(total))
    copy.set_state(buffer.get_state())
    for each in (buffer, copy):
        each.push(entry(5.0))

    assert held(copy) == held(buffer) == [5.0, 6.0]


def test_threshold_is_the_largest_of_its_rules() -> None:
    superior = EpisodeBuffer(10, "episodes", keeps_best=True)
    released = Threshold(("minimum", "moving_average"), window=3, least_episodes=2, quantile=0.5)
    upper_half = Threshold(("quantile",), window=4, least_episodes=2, quantile=0.5)

    assert released.value(superior) == -math.inf
    superior.push(entry(1.0))
    assert released.value(superior) == 1.0  # the minimum alone: too few returns
    for total in (9.0, 2.0, 4.0, 6.0):
        released.observe(total)
        upper_half.observe(total)

    assert released.value(superior) == 4.0  # mean of 2, 4, 6
    assert upper_half.value(superior) == 5.0  # median of 9, 2, 4, 6


WEIGHTS = {
    "rule": "fixed",
    "start_env_steps": 100,
    "start_episodes": 2,
    "final_factor": 0.0,
    "anneal_env_steps": 200,
    "factors": (0.0, 1.0),
    "period_episodes": 2,
    "window_periods": 8,
}


def weights(**changes: Any) -> WeightParams:
    return WeightParams(**{**WEIGHTS, **changes})


def test_a_term_is_off_until_its_steps_and_episodes_have_passed() -> None:
    factor = Factor(weights())

    assert [factor.value(99, 9), factor.value(100, 1), factor.value(100, 2)] == [0.0, 0.0, 1.0]


def test_an_annealed_factor_goes_linearly_from_the_start_to_its_end() -> None:
    factor = Factor(weights(rule="annealed", final_factor=0.2))

    assert [factor.value(steps, 2) for steps in (100, 200, 300, 900)] == pytest.approx([1.0, 0.6, 0.2, 0.2])


def test_a_learned_factor_settles_on_what_makes_returns_rise() -> None:
    factor = Factor(weights(rule="learned", start_env_steps=0, start_episodes=0, window_periods=20))
    total, chosen = 0.0, []
    for _ in range(60):
        chosen.append(factor.arm)
        total += 1.0 if factor.arm == 1 else -1.0
        for _ in range(2):
            factor.observe(total)

    assert set(chosen[:4]) == {0, 1}  # both are tried
    assert chosen[20:].count(1) > 30  # of 40


def test_a_learned_factor_continues_from_its_state() -> None:
    first, second = (Factor(weights(rule="learned")) for _ in range(2))
    for total in (0.0, 1.0, 3.0):
        first.observe(total)
    second.set_state(first.get_state())
    for total in (3.0, 1.0, 1.0, 9.0, 9.0):
        first.observe(total)
        second.observe(total)

    assert first.get_state() == second.get_state()
    assert len(first.get_state()["payoffs"]) == 3  # periods of means 0.5, 3, 1, 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_env_steps": -1}, "start_env_steps = -1"),
        ({"rule": "annealed", "anneal_env_steps": 0}, "anneal_env_steps = 0"),
        ({"rule": "learned", "factors": (1.0,)}, "two or more"),
        ({"rule": "learned", "window_periods": 1}, "a window of 2 periods"),
    ],
)
def test_weights_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        weights(**changes)


PARAMS = EstimatorParams("separable", (), (32,), 8, False, 63, 5.0, 0.1, 4.0)


def test_the_three_entropies_add_up_to_the_information() -> None:
    entropies = JointEntropies(PARAMS, 2, Layout(3, 2, 0))
    x, y = torch.randn(5, 2), torch.nn.functional.one_hot(torch.randint(0, 2, (5, 3)), 2).flatten(1).float()

    found = entropies.surprises(x, y)

    # I(a; s) = H(a) - H(others | own, s) - H(own | s), for each agent as the own one
    for m in range(3):
        total = found.joint - found.others_given_own[:, m] - found.own_given_state[:, m]
        assert total.tolist() == pytest.approx(found.information.tolist(), abs=1e-5)


def test_entropies_of_a_known_joint_decision() -> None:
    # two agents, state s = 0 or 1: both choose target s with probability 0.9, and always the same one
    torch.manual_seed(2)
    generator = torch.Generator().manual_seed(2)

    def sample(n_rows: int) -> tuple[Tensor, Tensor]:
        state = torch.randint(0, 2, (n_rows,), generator=generator)
        is_other = torch.rand(n_rows, generator=generator) < 0.1
        choice = torch.nn.functional.one_hot(state ^ is_other.long(), 2).float()
        return state.unsqueeze(-1).float(), torch.cat((choice, choice), -1)

    entropies = JointEntropies(PARAMS, 1, Layout(2, 2, 0))
    optimizer = torch.optim.Adam(entropies.parameters(), lr=2e-2, fused=True)
    for _ in range(200):
        optimizer.zero_grad()
        entropies.loss(*sample(256), generator).backward()
        optimizer.step()
    found = entropies.surprises(*sample(4000))

    # H(a) = log 2; H(a_m | s) = H(0.1) = 0.325; H(other | own, s) = 0; I(a; s) = log 2 - 0.325 = 0.368
    noise = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert found.joint.mean().item() == pytest.approx(math.log(2), abs=0.05)
    assert found.own_given_state.mean().item() == pytest.approx(noise, abs=0.05)
    assert found.others_given_own.mean().item() == pytest.approx(0.0, abs=0.05)
    assert found.information.mean().item() == pytest.approx(math.log(2) - noise, abs=0.07)


@pytest.mark.parametrize("n_rows", [7, 300, 512])  # less than a slab, and not divided by what is multiplied
@pytest.mark.parametrize("size", [0.3, 30.0])  # the larger one overflows in products
def test_sums_of_softplus_are_those_of_the_whole_matrix_with_their_gradient(n_rows, size):
    generator = torch.Generator().manual_seed(n_rows)
    x, y = (size * torch.randn((2, n_rows, 4), generator=generator) for _ in range(2))
    outer = torch.rand((2, n_rows), generator=generator)
    x.requires_grad_()
    y.requires_grad_()

    found = SoftplusSums.apply(x, y)

    expected = torch.nn.functional.softplus((x @ y.transpose(-1, -2)).double()).sum(-2).float()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    gradients = torch.autograd.grad((found * outer).sum(), (x, y))
    wanted = torch.autograd.grad((expected * outer).sum(), (x, y))
    torch.testing.assert_close(gradients, wanted, rtol=1e-4, atol=1e-3 * size)
