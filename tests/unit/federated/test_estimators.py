"""What clients make of their episodes, in a game of two decisions whose exact gradient is a sum over four ways to play.

The policy has a logit for the first decision and one for the second after each first one. Episodes are drawn once; what
is estimated from groups of them has to be right in the mean, and z is the deviation from it in standard errors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edge_rllib.federated.episodes import Streams, log_probs
from edge_rllib.federated.estimators import Estimate, EstimatorParams, Plan, corrected, estimate
from edge_rllib.federated.vectors import gradient_of, load_vector, vector_of
from edge_rllib.ops import policy_gradient as pg
from edge_rllib.ops.hybrid import Sizes
from envs.errors import ConfigError

GAMMA = 0.8
REWARDS = {(0,): 1.0, (1,): -0.5, (0, 0): 2.0, (0, 1): 0.0, (1, 0): -1.0, (1, 1): 3.0}
NOW, OLDER = (0.3, -0.4, 0.8), (-0.2, 0.3, 0.4)


class Game(nn.Module):
    """A policy with one parameter for each of the three things that may be seen."""

    def __init__(self, theta: tuple[float, ...]) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))
        self.model_config = {"shape": SimpleNamespace(decision=Sizes(2, 0))}

    def get_non_inference_attributes(self) -> list[str]:
        return []

    def forward_train(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logit = batch["obs"] @ self.theta
        return {"action_dist_inputs": torch.stack((torch.zeros_like(logit), logit), -1)}


def play(theta: tuple[float, ...], n: int, seed: int) -> Streams:
    """Return n episodes of two steps, played by a policy."""
    uniform = torch.rand(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    first = (uniform[0] < torch.sigmoid(torch.tensor(theta[0]))).long()
    logit = torch.where(first == 0, theta[1], theta[2]).double()
    second = (uniform[1] < torch.sigmoid(logit)).long()
    observation = torch.zeros(2, n, 3, dtype=torch.float64)
    observation[0, :, 0] = 1.0
    observation[1, torch.arange(n), 1 + first] = 1.0
    reward = torch.stack(
        (
            torch.tensor([REWARDS[0,], REWARDS[1,]], dtype=torch.float64)[first],
            torch.tensor([[REWARDS[a, b] for b in (0, 1)] for a in (0, 1)], dtype=torch.float64)[first, second],
        )
    )
    alive = torch.ones(2, n, dtype=torch.bool)
    mask = torch.ones(2, n, 2, dtype=torch.bool)
    played = Streams(
        observation=observation,
        mask=mask,
        target=torch.stack((first, second)),
        amounts=torch.zeros(2, n, 0),
        logp=torch.zeros(2, n, dtype=torch.float64),
        reward=reward,
        is_alive=alive,
        is_choice=alive,
    )
    with torch.no_grad():
        return played._replace(logp=log_probs(Game(theta), played))


def group(streams: Streams, size: int, index: int) -> Streams:
    """Return ``size`` streams of many."""
    own = slice(index * size, (index + 1) * size)
    return streams._replace(**{name: getattr(streams, name)[:, own] for name in Streams._fields})


def exact_gradient(theta: tuple[float, ...]) -> Tensor:
    """Return the gradient of the sum over all ways to play of chance times return."""
    game, value = Game(theta), torch.zeros((), dtype=torch.float64)
    for first, second in itertools.product((0, 1), repeat=2):
        seen = torch.zeros(2, 3, dtype=torch.float64)
        seen[0, 0] = seen[1, 1 + first] = 1.0
        logits = game.forward_train({"obs": seen})["action_dist_inputs"].log_softmax(-1)
        chance = (logits[0, first] + logits[1, second]).exp()
        value = value + chance * (REWARDS[first,] + GAMMA * REWARDS[first, second])
    return gradient_of(value, game)


def vectors(find: Callable[[Streams], Estimate], streams: Streams, size: int) -> Tensor:
    """Return the estimates (G, 3) from groups of streams."""
    n_groups = streams.n_streams // size
    return torch.stack([find(group(streams, size, index)).vector for index in range(n_groups)])


def z(found: Tensor, expected: Tensor) -> float:
    """Return the largest deviation of the mean of (G, d) from (d,), in standard errors."""
    error = found.std(0) / math.sqrt(len(found))
    assert (error > 0.0).all()
    return float(((found.mean(0) - expected) / error).abs().max())


@pytest.fixture
def values(estimator: Callable[..., EstimatorParams]) -> Callable[..., EstimatorParams]:
    return lambda **changes: estimator(**{"gamma": GAMMA, "baseline": "none", "correction": "none", **changes})


@pytest.mark.parametrize(
    ("form", "baseline"),
    [
        ("reinforce", "none"),
        ("reinforce", "time_mean"),
        ("gpomdp", "none"),
        ("gpomdp", "time_mean"),
        ("gpomdp", "value"),
    ],
)
def test_estimates_are_unbiased(values: Any, form: str, baseline: str) -> None:
    params, game = values(form=form, baseline=baseline), Game(NOW)

    found = vectors(lambda streams: estimate(params, game, streams), play(NOW, 2000, seed=1), 4)

    assert z(found, exact_gradient(NOW)) < 4.0


@pytest.mark.parametrize("baseline", ["none", "time_mean", "value"])
@pytest.mark.parametrize("is_per_decision", [False, True], ids=["whole", "per decision"])
def test_corrections_are_unbiased(values: Any, is_per_decision: bool, baseline: str) -> None:
    # from the older policy's exact gradient to that of the policy that played, with episodes of the latter alone
    params = values(correction="page", is_per_decision=is_per_decision, baseline=baseline)
    game, older, known = Game(NOW), Game(OLDER), exact_gradient(OLDER)

    found = vectors(lambda streams: corrected(params, game, older, known, streams), play(NOW, 2000, seed=2), 4)

    assert z(found, exact_gradient(NOW)) < 4.0
    assert z(found, known) > 4.0  # the way between the two is seen


@pytest.mark.parametrize("baseline", ["time_mean", "value"])
def test_agents_who_share_a_reward_do_not_judge_each_other(values: Any, baseline: str) -> None:
    # both agents of an episode are paid what both earn; one judged by the other would be judged by itself
    params, game, streams = values(baseline=baseline), Game(NOW), play(NOW, 3200, seed=10)
    both = streams.reward.unflatten(1, (-1, 2)).sum(-1).repeat_interleave(2, 1)
    streams = streams._replace(reward=both)

    right, wrong = (
        vectors(lambda part, n=n: estimate(params, game, part, n), streams, 8)  # type: ignore[misc]
        for n in (2, 1)
    )

    assert z(right, exact_gradient(NOW)) < 4.0
    assert wrong.mean(0).norm() < 0.95 * right.mean(0).norm()


def test_a_value_may_stand_for_what_follows(values: Any) -> None:
    # what is seen says all of the value here, so that there is no bias
    params, game = values(baseline="value", gae_lambda=0.0), Game(NOW)
    streams = play(NOW, 3200, seed=3)

    found = vectors(lambda part: estimate(params, game, part), streams, 8)

    assert z(found, exact_gradient(NOW)) < 4.0
    whole = estimate(values(baseline="value"), game, group(streams, 8, 0)).vector
    assert not torch.allclose(found[0], whole)


@pytest.mark.parametrize("is_per_decision", [False, True], ids=["whole", "per decision"])
def test_small_steps_are_followed_with_less_noise_than_small_batches_have(values: Any, is_per_decision: bool) -> None:
    # the noise of a difference falls with the square of the way: a tenth of the way, a hundredth of the variance
    params = values(correction="page", is_per_decision=is_per_decision)
    game, streams = Game(NOW), play(NOW, 1200, seed=4)
    plain = vectors(lambda part: estimate(params, game, part), streams, 4).var(0).sum()
    variances = []
    for way in (0.1, 0.01):
        older = Game(tuple(value - way for value in NOW))
        found = vectors(lambda part, o=older: corrected(params, game, o, torch.zeros(3), part), streams, 4)  # type: ignore[misc]
        variances.append(found.var(0).sum())

    assert variances[0] < 0.1 * plain
    assert variances[1] < 0.02 * variances[0]


@pytest.mark.parametrize("is_per_decision", [False, True], ids=["whole", "per decision"])
def test_corrections_are_those_of_finite_differences(values: Any, is_per_decision: bool) -> None:
    # weights and ratios are constants of both objectives: known + d/dtheta of one less d/dtheta' of the other
    params = values(correction="page", is_per_decision=is_per_decision)
    game, older, streams = Game(NOW), Game(OLDER), play(NOW, 5, seed=5)
    rewards = streams.reward * torch.tensor([[1.0], [GAMMA]], dtype=torch.float64)
    ratio = (log_probs(older, streams).detach() - streams.logp).cumsum(0).exp()
    to_go = rewards.flip(0).cumsum(0).flip(0)
    reweighted = (ratio * rewards).flip(0).cumsum(0).flip(0) if is_per_decision else ratio[-1] * to_go

    found = corrected(params, game, older, torch.zeros(3, dtype=torch.float64), streams).vector

    for i in range(3):
        slopes = []
        for module, weights in ((game, to_go), (older, reweighted)):
            start, sides = vector_of(module), []
            for sign in (1.0, -1.0):
                step = torch.zeros_like(start)
                step[i] = sign * 1e-6
                load_vector(module, start + step)
                sides.append(float((weights * log_probs(module, streams).detach()).sum()) / 5)
            load_vector(module, start)
            slopes.append((sides[0] - sides[1]) / 2e-6)
        assert found[i].item() == pytest.approx(slopes[0] - slopes[1], abs=1e-7)


def test_the_first_local_step_goes_up_the_gradient_by_the_rate(values: Any) -> None:
    # Adam's first step is the rate in each coordinate, whatever the gradient's length
    game, streams = Game(NOW), play(NOW, 50, seed=6)
    gradient = estimate(values(), game, streams).vector

    way = estimate(values(local_steps=1, local_learning_rate=0.03), game, streams).vector

    assert way.tolist() == pytest.approx((0.03 * gradient.sign()).tolist(), rel=1e-4)
    assert vector_of(game).tolist() == pytest.approx(NOW)


def test_local_steps_end_where_ratios_gain_nothing(values: Any) -> None:
    # one decision that pays: its ratio grows to 1 + clip and no farther, whatever the number of steps
    streams = play(NOW, 1, seed=7)
    reward = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    streams = streams._replace(reward=reward, is_choice=torch.tensor([[False], [True]]))
    game = Game(NOW)
    steps = [values(local_steps=n, local_learning_rate=0.02, local_clip=0.2, gamma=1.0) for n in (5, 60, 200)]
    ratios = []
    for params in steps:
        way = estimate(params, game, streams).vector
        moved = Game(tuple((vector_of(game) + way).tolist()))
        ratios.append(float((log_probs(moved, streams) - log_probs(game, streams)).detach()[1, 0].exp()))

    assert 1.0 < ratios[0] < 1.2
    assert 1.2 <= ratios[1] < 1.35  # Adam's momentum carries it past the edge, where the gradient ends
    assert ratios[2] == pytest.approx(ratios[1], abs=0.02)


def test_ways_are_functions_of_parameters_and_episodes(values: Any) -> None:
    streams, params = play(NOW, 20, seed=8), values(local_steps=7, baseline="time_mean", normalise=True)

    one, same = (estimate(params, Game(NOW), streams).vector for _ in range(2))

    assert torch.equal(one, same)
    assert one.norm() > 0.0


def test_a_ratio_that_drifts_makes_the_next_round_large(values: Any) -> None:
    drifting = values(correction="scsg", most_ratio_drift=0.005, large_episodes=100)
    game, streams, known = Game(NOW), play(NOW, 8, seed=9), torch.zeros(3)
    near, far = Game(tuple(value + 1e-4 for value in NOW)), Game(tuple(value + 0.5 for value in NOW))

    shares = [corrected(drifting, game, older, known, streams).effective_share for older in (near, far)]

    assert shares[0] == pytest.approx(1.0, abs=1e-3)
    assert shares[1] == 0.0
    assert corrected(values(correction="scsg"), game, far, known, streams).effective_share > 0.1
    assert [Plan(drifting, 3).next(share) for share in shares] == [True, True]  # the first is large anyway
    plan = Plan(drifting, 3)
    assert [plan.next(share) for share in (1.0, shares[0], shares[1], 1.0)] == [True, False, True, False]


def test_episodes_of_vanishing_chance_still_have_an_effective_share() -> None:
    # two episodes, whose ratios are e ** -200 and e ** -201: 0 in single precision, (1 + e)**2 / (2 (1 + e**2)) by hand
    log_ratio = torch.tensor([[-200.0, -201.0]])

    share = pg.effective_share(log_ratio, torch.ones(1, 2, dtype=torch.bool), 1e6).item()

    assert share == pytest.approx((1.0 + math.e) ** 2 / (2.0 * (1.0 + math.e**2)), rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "value", "large_episodes": 1}, "baseline = value: needs 2 episodes"),
        ({"baseline": "value", "form": "reinforce"}, "baseline = value with form = reinforce: expected form = gpomdp"),
        ({"gae_lambda": 0.9}, "gae_lambda = 0.9 with baseline = none"),
        (
            {"gae_lambda": 0.9, "baseline": "value", "correction": "page"},
            "correction = page: expected baseline = value",
        ),
        ({"gae_lambda": 1.5}, "gae_lambda = 1.5"),
        ({"most_ratio_drift": 0.0}, "most_ratio_drift = 0.0"),
        ({"local_steps": -1}, "local_steps = -1"),
        ({"local_steps": 2, "correction": "page"}, "local_steps = 2 with correction = page: expected none"),
    ],
)
def test_values_that_do_not_go_together_are_refused(values: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        values(**changes)
