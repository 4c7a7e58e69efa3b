"""Value iteration against closed forms of queueing theory, against its own structure, and against a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from envs.bounds.value_iteration import TinyNetwork, TinyNode, judge, solve, solve_discounted
from envs.errors import ConfigError


def at_once(n_cores: int = 1, service_hz: float = 1.0, places: int = 5) -> TinyNode:
    return TinyNode(n_cores, service_hz, places, math.inf, 0)


def network(*nodes: TinyNode, arrivals_hz: float = 0.8, drop_cost_s: float = 50.0, entry: int = -1) -> TinyNetwork:
    return TinyNetwork(arrivals_hz, drop_cost_s, nodes, entry)


def birth_death(arrivals_hz: float, node: TinyNode) -> np.ndarray:
    """Return the stationary shares of M/M/c/K."""
    weights = [1.0]
    for n in range(1, node.places + 1):
        weights.append(weights[-1] * arrivals_hz / (node.service_hz * min(n, node.n_cores)))
    return np.array(weights) / sum(weights)


@pytest.mark.parametrize("node", [at_once(), at_once(n_cores=2, places=7), at_once(n_cores=3, places=3)])
def test_one_node_is_m_m_c_k(node: TinyNode) -> None:
    share = birth_death(0.8, node)
    found = solve(network(node))

    assert found.drop_frac == pytest.approx(share[-1], rel=1e-9)
    assert found.tasks_mean == pytest.approx(share @ np.arange(len(share)), rel=1e-9)
    assert found.response_s_mean == pytest.approx(found.tasks_mean / (0.8 * (1 - share[-1])), rel=1e-9)
    assert found.cost == pytest.approx(found.tasks_mean + 50.0 * 0.8 * share[-1], rel=1e-7)


def test_way_of_one_place_and_node_of_one_place_are_the_chain_worked_by_hand() -> None:
    # States (on the way, at the node), all rates 1; an arrival enters an empty way, a transmission ends (and is lost at
    # a full node), a service ends. The shares are p = (p00, p10, p01, p11) = (2, 3, 2, 1) / 8, as what leaves a state
    # is what enters it: 00: 1 * 2 = p01; 10: 1 * 3 = p00 + p11; 01: 2 * 2 = p10 + p11; 11: 2 * 1 = p01.
    node = TinyNode(n_cores=1, service_hz=1.0, places=1, transfer_hz=1.0, transfer_places=1)
    found = solve(network(node, arrivals_hz=1.0))

    # lost: arrivals at a full way (3 + 1) / 8, transmissions into a full node 1 / 8
    assert found.drop_frac == pytest.approx(5 / 8, rel=1e-9)
    assert found.tasks_mean == pytest.approx((3 + 2 + 2 * 1) / 8, rel=1e-9)


def test_two_equal_nodes_get_the_shorter_queue() -> None:
    found = solve(network(at_once(places=8), at_once(places=8), arrivals_hz=1.6))
    table = found.table[0, 0]
    first, second = np.indices(table.shape)

    assert (table[first < second] == 0).all()
    assert (table[first > second] == 1).all()


def test_two_equal_nodes_share_is_no_worse_than_any_other_rule() -> None:
    tiny = network(at_once(places=6), at_once(places=6), arrivals_hz=1.4)
    best = solve(tiny)
    rng = np.random.default_rng(1)
    costs = [judge(tiny, rng.integers(0, 2, best.table.shape)).cost for _ in range(20)]

    assert min(costs) > best.cost
    assert judge(tiny, best.table).cost == pytest.approx(best.cost, rel=1e-7)


def test_slow_node_is_used_from_a_threshold_on_that_grows_with_its_queue() -> None:
    # [W. Lin and P. R. Kumar, 1984; here with a queue at either node]: the faster node until it is long enough.
    found = solve(network(at_once(service_hz=2.0, places=12), at_once(service_hz=0.25, places=12), arrivals_hz=1.5))
    goes_slow = found.table[0, 0] == 1
    thresholds = [int(np.argmax(goes_slow[:, slow])) if goes_slow[:, slow].any() else 99 for slow in range(4)]

    assert not goes_slow[0, 0]  # 1 / 2 s beats 4 s
    assert all((np.diff(goes_slow[:12, slow].astype(int)) >= 0).all() for slow in range(12))
    assert thresholds == sorted(thresholds)
    assert 2 < thresholds[0] < 12


def test_discounted_cost_tends_to_the_average_cost_and_its_policy() -> None:
    tiny = network(at_once(service_hz=1.5), at_once(service_hz=0.5), arrivals_hz=1.0)
    average, discounted = solve(tiny), solve_discounted(tiny, 1e-3, 1e-8)

    assert discounted.cost == pytest.approx(average.cost, rel=5e-3)
    assert (discounted.table == average.table).all()


def test_discounted_cost_of_one_place_is_the_equation_worked_by_hand() -> None:
    # V0 = (l V1) / (l + a), V1 = (1 + l (V1 + c) + m V0) / (l + m + a) with l = m = a = 1 and c = 0, as a lost task
    # costs nothing: V0 = V1 / 2; 3 V1 = 1 + V1 + V1 / 2, V1 = 2 / 3, V0 = 1 / 3
    found = solve_discounted(network(at_once(places=1), arrivals_hz=1.0, drop_cost_s=0.0), 1.0)

    assert found.cost == pytest.approx(1 / 3, rel=1e-8)
    assert found.value[1] - found.value[0] == pytest.approx(1 / 3, rel=1e-8)


def test_entry_node_that_is_full_loses_what_the_other_could_take() -> None:
    # Two places of node 0 hold a task for 100 s each; the quick node 1 would never be full.
    nodes = at_once(places=2, service_hz=0.01), at_once(places=9, service_hz=5.0)
    always_0 = np.zeros((1, 1, 3, 10), np.int64)
    open_, gated = judge(network(*nodes), 1 - always_0), judge(network(*nodes, entry=0), always_0)

    assert open_.drop_frac < 1e-6
    # all to node 0 is M/M/1/2 at load 80: lost is 80^2 / (1 + 80 + 80^2)
    assert gated.drop_frac == pytest.approx(6400 / 6481, rel=1e-9)
    full = network(at_once(places=1, service_hz=0.01), nodes[1], entry=0)
    first_to_0 = np.ones((1, 1, 2, 10), np.int64)
    first_to_0[0, 0, 0, :] = 0
    # a task at node 0 shuts the entry for 100 s, then the next one takes its place: lost is 80 / (1 + 80)
    assert judge(full, first_to_0).drop_frac == pytest.approx(80 / 81, rel=1e-9)
    assert solve(full).table[0, 0][0, 0] == 1


def simulate(tiny: TinyNetwork, table: np.ndarray, n_events: int, seed: int) -> tuple[float, float]:
    """Return (tasks in the system, share dropped) of the table, event by event; ways take no time."""
    rng = np.random.default_rng(seed)
    queue = [0] * len(tiny.nodes)
    ways = (0,) * len(tiny.nodes)
    elapsed_s = task_s = 0.0
    n_arrived = n_dropped = 0
    gaps, picks = rng.exponential(size=n_events).tolist(), rng.random(n_events).tolist()
    for gap, pick in zip(gaps, picks, strict=True):
        rates = [tiny.arrivals_hz] + [n.service_hz * min(q, n.n_cores) for n, q in zip(tiny.nodes, queue, strict=True)]
        total = sum(rates)
        elapsed_s += gap / total
        task_s += sum(queue) * gap / total
        threshold, event = pick * total, 0
        while threshold > rates[event]:
            threshold -= rates[event]
            event += 1
        if event:
            queue[event - 1] -= 1
            continue
        n_arrived += 1
        j = int(table[(*ways, *queue)])
        if queue[j] < tiny.nodes[j].places:
            queue[j] += 1
        else:
            n_dropped += 1
    return task_s / elapsed_s, n_dropped / n_arrived


def test_simulated_table_costs_what_was_computed() -> None:
    tiny = network(at_once(service_hz=0.5, places=3), at_once(n_cores=2, places=4), at_once(service_hz=2.0, places=4),
                   arrivals_hz=3.5)  # fmt: skip
    best = solve(tiny)
    tasks_mean, drop_frac = simulate(tiny, best.table, 400_000, seed=3)

    assert tasks_mean == pytest.approx(best.tasks_mean, rel=0.02)
    assert drop_frac == pytest.approx(best.drop_frac, rel=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network(*[at_once()] * 4), "4 nodes; expected 1 to 3"),
        (lambda: network(*[at_once(places=99)] * 3), "1000000 states; at most"),
        (lambda: network(TinyNode(1, 1.0, 3, math.inf, 2)), "node 0: a way has places and a rate"),
        (lambda: network(TinyNode(1, 1.0, 3, 2.0, 0)), "node 0: a way has places and a rate"),
        (lambda: network(at_once(places=0)), "must be positive"),
        (lambda: network(at_once(), entry=1), "entry = 1: expected a node or -1"),
        (lambda: network(at_once(), arrivals_hz=0.0), r"expected arrivals_hz > 0"),
    ],
)
def test_what_cannot_be_solved_is_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
