"""Exact optima of tiny fog scenarios: closed forms, the world itself, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_rllib.config.load import load_rule, load_scenario
from envs.baselines.base import play
from envs.bounds.backlogs import TwoNodes, solve_backlogs
from envs.bounds.base import NoBound
from envs.bounds.choose import bound_for
from envs.bounds.tiny import optimal_backlog, optimal_table, tiny_network, two_nodes
from envs.errors import ConfigError
from envs.fog import state as s
from envs.scenario import Scenario, make


def tiny(**params: Any) -> Scenario:
    scenario = load_scenario("tiny_exact")
    return replace(scenario, params=replace(scenario.params, **params))


@pytest.mark.parametrize(("is_exponential", "mean_s", "width_s"), [(False, 1.5, 0.1), (True, 2.0, 0.2)])
def test_second_node_that_is_never_worth_it_leaves_m_g_1(is_exponential: bool, mean_s: float, width_s: float) -> None:
    # load 1/2 at a mean of 1 s: M/D/1 takes 1 + 1/2 s, M/M/1 2 s; the other node takes a million seconds
    nodes = TwoNodes(0.5, (1.0, 1e6), is_exponential)
    found = solve_backlogs(nodes, width_s, reach_s=20.0, tolerance=1e-6)

    assert found.response_s_mean == pytest.approx(mean_s, rel=1e-3)


def test_halved_width_changes_less_than_what_is_said() -> None:
    nodes = TwoNodes(1.6, (1.0, 2.0 / 3.0), True)
    coarse, fine = (solve_backlogs(nodes, width_s, 12.0, 1e-5) for width_s in (0.2, 0.1))

    assert abs(fine.response_s_mean - coarse.response_s_mean) < 0.1 * fine.error_s
    assert fine.error_s == pytest.approx(coarse.error_s / 4.0, rel=0.1)  # falls with the square of the width


@pytest.mark.parametrize("bad", [(2.6, (1.0, 2 / 3)), (0.0, (1.0, 1.0)), (1.0, (0.0, 1.0)), (1.0, (1.0, math.inf))])
def test_nodes_that_cannot_hold_the_load_are_refused(bad: tuple[float, tuple[float, float]]) -> None:
    with pytest.raises(ConfigError, match="two nodes:"):
        TwoNodes(*bad, is_exponential=True)


def measured_s(scenario: Scenario, rule: Any, n_worlds: int, horizon_slots: int) -> tuple[float, float]:
    """Return (mean response time, its standard error) over worlds."""
    scenario = replace(scenario, params=replace(scenario.params, horizon_slots=horizon_slots))
    world: Any = make(scenario, n_worlds, 5)
    sums, _ = play(world, rule, np.arange(n_worlds))
    error_s = np.std(sums[:, s.RESPONSE_S] / sums[:, s.COMPLETED]) / math.sqrt(n_worlds)
    return float(sums[:, s.RESPONSE_S].sum() / sums[:, s.COMPLETED].sum()), float(error_s)


@pytest.mark.slow
def test_fog_world_under_the_optimum_takes_what_value_iteration_says() -> None:
    scenario = tiny()
    rule, best = optimal_backlog(scenario)
    response_s, error_s = measured_s(scenario, rule, 256, 50_000)
    greedy_s, _ = measured_s(scenario, load_rule("least_response_time"), 256, 50_000)

    assert error_s < 0.003 * best.response_s_mean
    assert response_s == pytest.approx(best.response_s_mean, rel=0.01)
    assert greedy_s > 1.03 * response_s  # there is something to learn beyond the greedy choice


@pytest.mark.slow
def test_fog_world_under_the_optimal_table_takes_what_value_iteration_says() -> None:
    scenario = tiny()
    rule, best = optimal_table(scenario)
    response_s, error_s = measured_s(scenario, rule, 256, 50_000)

    assert error_s < 0.003 * best.response_s_mean
    assert response_s == pytest.approx(best.response_s_mean, rel=0.01)


def test_tiny_scenario_is_read_as_its_yaml_says() -> None:
    network, nodes = tiny_network(tiny()), two_nodes(tiny())

    assert nodes == TwoNodes(1.6, (1.0, 2.0 / 3.0), True)
    assert network.arrivals_hz == 1.6
    assert [(node.n_cores, node.service_hz, node.places) for node in network.nodes] == [(1, 1.0, 64), (1, 1.5, 64)]
    assert network.entry == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decide_on": "slots"}, "expected decide_on: events, not slots"),
        ({"information": "reports"}, "expected information: exact, not reports"),
        ({"undecided": "run"}, "expected undecided: hold"),
        ({"deadlines": "hard"}, "expected deadlines: soft"),
        ({"discipline": "lifo"}, "expected discipline: fifo, not lifo"),
        ({"agents": "all"}, "one device that decides"),
        ({"max_hops": 0}, "all nodes next to the device"),
    ],
)
def test_rules_that_the_process_does_not_have_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(NoBound, match=message):
        two_nodes(tiny(**change))


def test_network_with_slow_links_or_short_queues_is_refused() -> None:
    scenario = tiny()
    slow = replace(scenario, topology=replace(scenario.topology, delay_s=0.1))
    short = replace(
        scenario, topology=replace(scenario.topology, device=replace(scenario.topology.device, queue_places=9))
    )

    with pytest.raises(NoBound, match=r"one takes 0\.1 s"):
        two_nodes(slow)
    with pytest.raises(NoBound, match="at least 50 queue places"):
        two_nodes(short)
    assert tiny_network(short).nodes[0].places == 9


def test_bound_that_fits_best_is_chosen_and_the_reason_given_where_there_is_none() -> None:
    ring = load_scenario("fog_ring_8")
    matching = replace(ring, world="matching")

    assert bound_for("zero_queue", tiny(), "response_time_s_mean", 2, 0, 0).name == "zero_queue"
    assert bound_for("linear_program", ring, "in_time_frac", 2, 0, 0).name == "linear_program"
    assert bound_for("auto", ring, "in_time_frac", 2, 0, 0).name == "linear_program"
    assert bound_for("auto", ring, "in_time_frac", 64, 0, 0).name == "zero_queue"  # 64 worlds x 1200 tasks
    assert bound_for("auto", matching, "return", 2, 0, 0).name == "best_known"
    with pytest.raises(NoBound, match="zero_queue bounds response_time_s_mean, in_time_frac; not return"):
        bound_for("zero_queue", ring, "return", 2, 0, 0)
