"""The cheapest plan of each task when time on cores and channels has a price: inner problem of linear_program."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from envs.accelerate import inlined, kernel
from envs.arrays import F8, I8
from envs.bounds.routes import Routes
from envs.workloads.workload import TaskTable

_ENOUGH = 1e-12  # a charge below this is none


class Prices(NamedTuple):
    """Prices of time, constant within each bin of ``bin_s``; nothing costs anything after the last bin."""

    bin_s: float
    node: Annotated[F8, "M T", "of a core-second at a node"]
    channel: Annotated[F8, "C T", "of a second on a channel"]
    node_sum: Annotated[F8, "M T+1", "price of a core from time 0 to each edge of a bin"]
    channel_sum: Annotated[F8, "C T+1", "price of a channel from time 0 to each edge of a bin"]


class Rules(NamedTuple):
    """What of the physics the kernel reads, and what a plan is judged by."""

    step_slots: int  # 0: decisions at any instant
    slot_s: float
    time_weight: float  # 1: a second of response costs one; 0: only the charges count
    shares_nodes: bool  # a service may be spread over more time than it needs alone, in pieces
    shares_channels: bool  # so may a transmission


class Plans(NamedTuple):
    """The cheapest plan of each task; ``route`` -1 where none is home by the limit."""

    cost: Annotated[F8, "A", "seconds and charges; infinite for no plan"]
    response_s: Annotated[F8, "A", "creation to result"]
    route: Annotated[I8, "A", "row of Routes"]
    start_s: Annotated[F8, "A", "start of service"]
    until_s: Annotated[F8, "A", "end of service; between the two it may be in pieces"]
    send_s: Annotated[F8, "A H", "start of the transmission over each link"]
    sent_s: Annotated[F8, "A H", "end of the transmission; between the two it may be in pieces"]


@inlined
def next_decision(rules: Rules, at_s: float) -> float:
    """Return the first decision after ``at_s``; see Physics.next_decision_s."""
    if rules.step_slots == 0:
        return at_s
    step = math.floor(at_s / (rules.step_slots * rules.slot_s)) + 1.0
    if ((step - 1.0) * rules.step_slots) * rules.slot_s > at_s:
        step -= 1.0
    if (step * rules.step_slots) * rules.slot_s <= at_s:
        step += 1.0
    return float((step * rules.step_slots) * rules.slot_s)


@inlined
def _paid(price: F8, price_sum: F8, bin_s: float, until_s: float) -> float:
    """Return the price of a resource (T,) from time 0 to ``until_s``."""
    k = int(until_s / bin_s)
    if k >= price.size:
        return float(price_sum[price.size])
    return float(price_sum[k] + (until_s - k * bin_s) * price[k])


@inlined
def _charge(price: F8, price_sum: F8, bin_s: float, from_s: float, duration_s: float) -> float:
    """Return the price of a resource from ``from_s`` on."""
    return _paid(price, price_sum, bin_s, from_s + duration_s) - _paid(price, price_sum, bin_s, from_s)


@inlined
def _cheapest_charge(
    price: F8, price_sum: F8, bin_s: float, duration_s: float, earliest_s: float, latest_s: float
) -> tuple[float, float]:
    """Return (charge, start) of the cheapest stretch that starts in [earliest, latest].

    The charge is piecewise linear in the start: it is least at an end of the window, or where the stretch begins or
    ends at an edge of a bin.
    """
    best, start_s = _charge(price, price_sum, bin_s, earliest_s, duration_s), earliest_s
    if best <= _ENOUGH or latest_s <= earliest_s:
        return best, start_s
    last = _charge(price, price_sum, bin_s, latest_s, duration_s)
    if last < best:
        best, start_s = last, latest_s
    for shift in range(2):
        offset_s = duration_s * shift
        k = int((earliest_s + offset_s) / bin_s) + 1
        while best > _ENOUGH and k * bin_s - offset_s < latest_s:
            at_s = max(k * bin_s - offset_s, earliest_s)
            charge = _charge(price, price_sum, bin_s, at_s, duration_s)
            if charge < best:
                best, start_s = charge, at_s
            k += 1
    return best, start_s


@inlined
def _least_in_pieces(price: F8, bin_s: float, duration_s: float, earliest_s: float, end_s: float) -> float:
    """Return the price of the cheapest ``duration_s`` seconds in [earliest, end], in pieces, cheapest bins first."""
    charge, left_s, done = 0.0, duration_s, -1.0
    while left_s > 0.0:
        next_price, length_s = math.inf, 0.0
        for k in range(int(earliest_s / bin_s), price.size):
            if k * bin_s >= end_s:
                break
            if done < price[k] <= next_price:
                piece_s = max(min(end_s, (k + 1) * bin_s) - max(earliest_s, k * bin_s), 0.0)
                length_s = piece_s + (length_s if price[k] == next_price else 0.0)
                next_price = price[k]
        if next_price == math.inf:
            return charge  # nothing is charged after the last bin
        charge += next_price * min(left_s, length_s)
        left_s -= length_s
        done = next_price
    return charge


@inlined
def _consider(
    plans: Plans,
    routes: Routes,
    prices: Prices,
    rules: Rules,
    earliest_s: F8,
    i: int,
    r: int,
    start_s: float,
    ahead_s: float,
    ready_s: float,
    size_bits: float,
    service_s: float,
    offset_s: float,
) -> None:
    """Keep the plan that starts service in [start, start + ahead] on route r if it is cheaper than the best so far.

    Time is counted as at ``start_s`` and charges are the least of the whole interval, so the cost is never too high.
    ``offset_s`` is what the response is longer than ``start_s``.
    """
    node = routes.node[r]
    price, price_sum = prices.node[node], prices.node_sum[node]
    cost = rules.time_weight * (start_s + offset_s)
    begin_s, until_s = ready_s, start_s + ahead_s + service_s
    if rules.shares_nodes:
        cost += _least_in_pieces(price, prices.bin_s, service_s, begin_s, until_s)
    else:
        charge, begin_s = _cheapest_charge(price, price_sum, prices.bin_s, service_s, start_s, start_s + ahead_s)
        until_s = begin_s + service_s
        cost += charge
    rest_s = 0.0
    n_hops = routes.n_hops[r]
    for back in range(n_hops):
        h = n_hops - 1 - back
        sending_s = size_bits * routes.bit_s[r, h]
        rest_s += sending_s + routes.delay_s[r, h]
        c = routes.channel[r, h]
        latest_s = start_s + ahead_s - rest_s
        charge, send_s = _cheapest_charge(
            prices.channel[c], prices.channel_sum[c], prices.bin_s, sending_s, earliest_s[h], latest_s
        )
        sent_s = send_s + sending_s
        if rules.shares_channels and charge > 0.0:
            send_s, sent_s = earliest_s[h], max(latest_s, earliest_s[h]) + sending_s
            charge = _least_in_pieces(prices.channel[c], prices.bin_s, sending_s, send_s, sent_s)
        earliest_s[n_hops + h] = send_s
        earliest_s[2 * n_hops + h] = sent_s
        cost += charge
    if cost < plans.cost[i]:
        plans.cost[i] = cost
        plans.response_s[i] = start_s + offset_s
        plans.route[i] = r
        plans.start_s[i], plans.until_s[i] = begin_s, until_s
        for h in range(n_hops):
            plans.send_s[i, h], plans.sent_s[i, h] = earliest_s[n_hops + h], earliest_s[2 * n_hops + h]


@inlined
def _try_route(
    plans: Plans,
    routes: Routes,
    prices: Prices,
    rules: Rules,
    earliest_s: F8,
    i: int,
    r: int,
    created_s: float,
    size_bits: float,
    service_s: float,
    home_s: float,
    limit_s: float,
) -> None:
    """Try the starts of service on one route at which the cost can be least.

    For given charges a later start costs more. The least cost is at the first start, or where the service begins or
    ends at an edge of a bin, or where a transmission that does so just arrives.
    """
    at_s = created_s
    n_hops = routes.n_hops[r]
    for h in range(n_hops):
        earliest_s[h] = next_decision(rules, at_s)
        at_s = earliest_s[h] + size_bits * routes.bit_s[r, h] + routes.delay_s[r, h]
    ready_s = next_decision(rules, at_s) if routes.is_held[r] == 1 else at_s
    offset_s = service_s + home_s - created_s
    last_s = limit_s - service_s - home_s + 1e-9
    if ready_s > last_s:
        return
    is_shared = rules.shares_nodes or rules.shares_channels
    k = int(ready_s / prices.bin_s)
    ahead_s = (k + 1) * prices.bin_s - ready_s if is_shared else 0.0
    _consider(plans, routes, prices, rules, earliest_s, i, r, ready_s, ahead_s, ready_s, size_bits, service_s, offset_s)
    n_kinds = 1 if is_shared else 2 + 2 * n_hops
    shift_s, rest_s = 0.0, 0.0
    for kind in range(n_kinds):
        if kind == 1:
            shift_s = -service_s
        elif kind > 1:
            h = n_hops - kind // 2
            if kind % 2 == 0:
                rest_s += size_bits * routes.bit_s[r, h] + routes.delay_s[r, h]
                shift_s = rest_s
            else:
                shift_s = rest_s - size_bits * routes.bit_s[r, h]
        k = int(max(ready_s - shift_s, 0.0) / prices.bin_s)
        while k <= prices.node.shape[1]:
            start_s = k * prices.bin_s + shift_s
            if start_s > last_s or rules.time_weight * (start_s + offset_s) >= plans.cost[i] - 1e-12:
                break
            if start_s > ready_s:
                _consider(
                    plans, routes, prices, rules, earliest_s, i, r,
                    start_s, prices.bin_s if is_shared else 0.0, ready_s, size_bits, service_s, offset_s,
                )  # fmt: skip
            k += 1


@kernel
def cheapest_plans(
    plans: Plans,
    earliest_s: F8,
    routes: Routes,
    prices: Prices,
    rules: Rules,
    core_hz: F8,
    tasks: TaskTable,
    limit_s: F8,
) -> None:
    """Fill ``plans`` with each task's cheapest plan that is home by ``limit_s`` (A,); ``earliest_s`` is scratch."""
    for i in range(tasks.node.size):
        plans.cost[i] = math.inf
        plans.response_s[i] = math.inf
        plans.route[i] = -1
        work, created_s = tasks.work_cycles[i], tasks.created_s[i]
        for r in range(routes.first[tasks.node[i]], routes.first[tasks.node[i] + 1]):
            service_s = work / core_hz[routes.node[r]] if work > 0.0 else 0.0
            home_s = tasks.result_bits[i] * routes.home_bit_s[r] + routes.home_delay_s[r]
            _try_route(
                plans, routes, prices, rules, earliest_s, i, r,
                created_s, tasks.size_bits[i], service_s, home_s, limit_s[i],
            )  # fmt: skip
