"""Each rule on views made by hand."""

import numpy as np
import pytest

from envs.baselines.cloud_only import CloudOnly
from envs.baselines.draws import RuleDraws, _fill_pairs
from envs.baselines.least_queue import LeastQueue
from envs.baselines.least_response_time import LeastResponseTime
from envs.baselines.local import Local
from envs.baselines.power_of_two import PowerOfTwo
from envs.baselines.random import Random
from envs.baselines.round_robin import RoundRobin
from envs.fog.observe import View

INF = np.inf


def see(mask, **columns):
    """Return the view of one world: mask (N, K), the other columns (N, K) default to 0 seconds, 0 tasks, tier 0."""
    mask = np.array(mask, np.bool_)
    zeros = np.where(mask, 0.0, INF)
    floats = ("upload_s", "wait_s", "service_s", "return_s", "queue_tasks", "fill_frac")
    values = {name: np.array(columns.get(name, zeros), np.float64)[None] for name in floats}
    tier = np.array(columns.get("target_tier", np.where(mask, 0, -1)), np.int64)
    return View(target_mask=mask[None], has_task=mask[None, :, 1:].any(-1), target_tier=tier, **values)


def draws(n_agents, seed=0, world_ids=(0,)):
    return RuleDraws(seed, world_ids, n_agents)


def decide(rule, view, step=0):
    return rule.decide(view, step, draws(view.has_task.shape[1])).tolist()[0]


def test_local_never_offloads():
    assert decide(Local(), see([[1, 1, 1], [1, 0, 0]])) == [0, 0]


@pytest.mark.parametrize(
    "rule", [CloudOnly(), LeastQueue(), LeastResponseTime(), Local(), PowerOfTwo(), Random(), RoundRobin()]
)
def test_agent_without_a_task_stays_local_whatever_its_targets_promise(rule):
    # the own node is the worst in every respect, but it is the only allowed target
    view = see(
        [[1, 0, 0]] * 50,
        wait_s=[[9.0, 0.0, 0.0]] * 50,
        queue_tasks=[[9.0, 0.0, 0.0]] * 50,
        target_tier=[[0, 1, 2]] * 50,
    )
    assert decide(rule, view) == [0] * 50


def test_least_queue_takes_the_fewest_tasks_the_own_node_first_and_then_the_lower_target():
    view = see(
        [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0]],
        queue_tasks=[[3.0, 2.0, 1.0], [2.0, 2.0, 2.0], [3.0, 2.0, 2.0], [3.0, 2.0, 1.0]],
    )
    assert decide(LeastQueue(), view) == [2, 0, 1, 1]


def test_least_response_time_adds_up_all_four_parts():
    # sums 4.0, 3.9, 4.1; each part alone points elsewhere than target 1
    view = see(
        [[1, 1, 1]],
        upload_s=[[0.0, 1.0, 0.1]],
        wait_s=[[2.0, 0.9, 0.5]],
        service_s=[[2.0, 1.0, 0.5]],
        return_s=[[0.0, 1.0, 3.0]],
    )
    assert decide(LeastResponseTime(), view) == [1]


def test_least_response_time_stays_local_on_equal_promises():
    assert decide(LeastResponseTime(), see([[1, 1, 1]], wait_s=[[1.0, 1.0, 1.0]])) == [0]


def test_cloud_only_takes_the_highest_tier_it_has():
    view = see(
        [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]],
        upload_s=[[0.0, 1.0, 9.0, 1.0], [0.0, 1.0, 2.0, INF], [0.0, 1.0, INF, INF], [0.0, 1.0, 3.0, 2.0]],
        target_tier=[[0, 0, 2, 1], [0, 0, 1, -1], [1, 0, -1, -1], [0, 0, 2, 2]],
    )
    # the cloud; the edge server where there is no cloud; home where nothing is higher; the nearer of two clouds
    assert decide(CloudOnly(), view) == [2, 2, 0, 3]


def test_round_robin_gives_each_allowed_target_one_turn():
    # targets 0, 2 and 3 are allowed; turns 0 .. 6 walk over them in order
    view = see([[1, 0, 1, 1]])
    memory, seen = draws(1), []
    for step in range(7):
        seen.append(int(RoundRobin().decide(view, step, memory)[0, 0]))
        memory.turns += 1
    assert seen == [0, 2, 3, 0, 2, 3, 0]


def test_random_takes_every_allowed_target_equally_often():
    view = see([[1, 0, 1, 1, 1]] * 40_000)
    shares = np.bincount(decide(Random(), view), minlength=5) / 40_000
    # a share of 1/4 of 40,000 has a standard deviation of 0.0022
    assert shares[1] == 0.0
    np.testing.assert_allclose(shares[[0, 2, 3, 4]], 0.25, atol=0.01)


def test_power_of_two_takes_the_shorter_of_two_different_targets():
    # Of three targets the longest queue can never win against another one, so it is never taken; the shortest is
    # drawn in two of three pairs, the middle one wins the third.
    view = see([[1, 1, 0, 1]] * 40_000, queue_tasks=[[5.0, 2.0, 0.0, 1.0]] * 40_000)
    shares = np.bincount(decide(PowerOfTwo(), view), minlength=4) / 40_000
    assert shares[0] == shares[2] == 0.0
    np.testing.assert_allclose(shares[[1, 3]], [1 / 3, 2 / 3], atol=0.01)


def test_power_of_two_spreads_equal_queues_evenly():
    view = see([[1, 1, 1, 1]] * 40_000, queue_tasks=[[2.0] * 4] * 40_000)
    shares = np.bincount(decide(PowerOfTwo(), view), minlength=4) / 40_000
    np.testing.assert_allclose(shares, 0.25, atol=0.01)


def test_draws_are_a_function_of_seed_world_step_and_stream():
    one, batch = draws(3, world_ids=(7,)), draws(3, world_ids=(5, 7, 2**31 + 9))
    np.testing.assert_array_equal(one.uniforms(4)[:, 0], batch.uniforms(4)[:, 1])
    others = [
        draws(3, seed=1, world_ids=(7,)).uniforms(4),
        draws(3, world_ids=(8,)).uniforms(4),
        one.uniforms(5),
        one.uniforms(4, stream=1),
    ]
    for other in others:
        assert not np.isin(other, one.uniforms(4)).any()


def test_draws_of_agents_and_of_a_pair_are_independent_uniforms():
    first, second = (half.ravel() for half in draws(20_000).uniforms(0))
    # mean 1/2, variance 1/12; 20,000 draws: standard errors 0.002 and 0.0005; correlations 0.007
    for half in (first, second):
        assert abs(half.mean() - 0.5) < 0.01
        assert abs(half.var() - 1 / 12) < 0.003
        assert abs(np.corrcoef(half[1:], half[:-1])[0, 1]) < 0.03
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


def test_kernel_of_draws_is_compiled_for_one_signature():
    RuleDraws(np.int64(1), [np.int32(2)], 3).uniforms(np.int64(4), np.int32(5))
    RuleDraws(1, np.array([2], np.int32), np.int64(3)).uniforms(4)
    if not hasattr(_fill_pairs, "signatures"):
        pytest.skip("NUMBA_DISABLE_JIT is set: nothing is compiled")
    assert len(_fill_pairs.signatures) == 1
