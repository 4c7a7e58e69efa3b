"""The switches of nodes and of time, each with numbers worked out by hand.

Where nothing else is said, tasks leave their client in slot 0 and arrive in slot 1. A device of half a cycle a second
serves nothing: PeersimGym rounds the cycles of a slot down.
"""

from __future__ import annotations

import numpy as np
import pytest

IDLE_HZ = 0.5
THREE = {0: [0], 1: [0], 2: [0]}  # a task in each of the slots 0, 1 and 2, from the client to its own node


def marks(hand):
    tasks = hand.world.state.task[0]
    return int(tasks["is_marked"][tasks["stage"] == 3].sum())


@pytest.mark.parametrize(("order", "queue"), [("lifo", [2, 1]), ("fifo", [1, 2])])
def test_queue_serves_the_last_or_the_first_task_next(lab, order, queue):
    # task 0 is in service from slot 1; task 1 enters in slot 2, task 2 arrives in slot 3 and enters in slot 4
    hand = lab.hand([lab.layer()], [lab.task_type(100.0)], queue_order=order).to(5, THREE)
    assert hand.queue(0) == queue
    assert hand.node(0).current >= 0


@pytest.mark.parametrize(("serialisation", "queued", "received"), [("even_slots", [1], 1), ("at_once", [2, 1], 0)])
def test_tasks_enter_the_queue_in_even_slots_or_at_once(lab, serialisation, queued, received):
    # the look of slot 4 precedes the turn in which task 2, which arrived in slot 3, enters
    hand = lab.hand([lab.layer()], [lab.task_type(100.0)], serialisation=serialisation).to(4, THREE)
    assert (hand.queue(0), int(hand.node(0).n_received)) == (queued, received)


@pytest.mark.parametrize(("twice", "seen"), [(True, 4.0), (False, 3.0)])
def test_own_and_reported_tasks_that_wait_beside_the_queue_count_twice(lab, twice, seen):
    layers = [lab.layer(1, IDLE_HZ), lab.servers()]
    hand = lab.hand(layers, [lab.task_type(9.0)], links=[(0, 1)], counts_unserialised_twice=twice).to(4, THREE)
    # in slot 3 two tasks are queued and one waits beside; the report of that turn arrives in slot 4, after the look
    assert hand.seen_queue(0, 0) == seen
    assert hand.to(5).seen_queue(1, 1) == seen
    # all three are queued since slot 4, which no report says
    assert hand.seen_queue(0, 0) == 3.0
    assert hand.to(9).seen_queue(1, 1) == seen


@pytest.mark.parametrize(("broadcast", "at_ten"), [("changes", 1.0), ("every_slot", 0.0)])
def test_a_node_reports_after_arrivals_and_offloads_but_not_when_it_drains(lab, broadcast, at_ten):
    layers = [lab.layer(1, IDLE_HZ), lab.servers(1, 1.0)]
    hand = lab.hand(layers, [lab.task_type(3.0)], links=[(0, 1)], broadcast=broadcast)
    hand.to(3, {0: [0]}, {2: [1, 0]})
    assert hand.seen_queue(1, 1) == 1.0  # the device's report of slot 1, when the task arrived
    assert hand.to(4).seen_queue(1, 1) == 0.0  # that of slot 2, when it left again
    # the server gets it in slot 3 and serves it in the slots 3 to 5; its report of slot 3 arrives in slot 4
    assert hand.to(5).seen_queue(0, 1) == 1.0
    assert hand.to(10).seen_queue(0, 1) == at_ten
    assert int(hand.node(1).n_queued) == 0 and int(hand.node(1).current) == -1


@pytest.mark.parametrize(("self_hop", "way_back"), [(True, 3.0), (False, 2.0)])
def test_result_begins_its_way_with_a_message_of_its_node_to_itself(lab, self_hop, way_back):
    layers = [lab.layer(1, IDLE_HZ), lab.servers(1, 3.0)]
    hand = lab.hand(layers, [lab.task_type(3.0)], links=[(0, 1)], self_hop=self_hop)
    # slot 1 at the device, sent on at look 2, served by the server in slot 3, then server, (itself,) device, client
    sums = hand.to(9, {0: [0]}, {2: [1, 0]}).sums()
    assert (sums["completed"], sums["return_s"]) == (1.0, way_back)
    assert (sums["upload_s"], sums["wait_s"], sums["service_s"]) == (2.0, 1.0, 0.0)
    assert sums["response_s"] == 3.0 + way_back
    assert sums["hops"] == sums["offloads"] == sums["offloads_accepted"] == 1.0


def test_result_walks_back_the_way_of_its_task_with_all_loops(lab):
    # 0 -> 1 -> 2 -> 1, where it is served: back over 2 and 1 to 0, and to the client
    layers = [lab.layer(1, IDLE_HZ), lab.servers(1, 3.0), lab.servers(1, IDLE_HZ, name="slow")]
    hand = lab.hand(layers, [lab.task_type(99.0)], links=[(0, 1), (1, 2)], self_hop=False, params={"undecided": "hold"})
    hand.to(4, {0: [0]}, {2: [1, 0, 0]})  # node 1 holds the task, which arrived in slot 3, for a decision
    hand.to(6, None, {4: [0, 2, 0]})  # to node 2, where it arrives in slot 5
    hand.to(8, None, {6: [0, 0, 1]})  # and back to node 1, slot 7
    hand.world.state.task["left_cycles"] = 3.0
    sums = hand.to(13).sums()  # it is decided at look 8 and served in slot 8; results reach 2, 1, 0 in 9, 10, 11
    assert (sums["hops"], sums["completed"], sums["return_s"]) == (3.0, 1.0, 4.0)


@pytest.mark.parametrize(("least", "response"), [(1, 2.0), (0, 0.0)])
def test_message_takes_a_slot_at_least_or_none(lab, least, response):
    # sent in slot 0; with a delay of none it arrives, is served, and its result arrives in slot 0, too
    sums = lab.hand([lab.layer()], [lab.task_type(1.0)], min_delay_slots=least).to(4, {0: [0]}).sums()
    assert (sums["completed"], sums["response_s"]) == (1.0, response)


@pytest.mark.parametrize(
    ("grace", "counts"), [(0, {3: 0.0, 4: 1.0, 5: 2.0, 6: 3.0}), (5, {8: 0.0, 9: 1.0, 10: 2.0, 11: 3.0})]
)
def test_queued_tasks_expire_with_the_grace_past_their_deadline(lab, grace, counts):
    # deadlines in the slots 3, 4 and 5; the turn of a slot comes after its look
    hand = lab.hand([lab.layer(1, IDLE_HZ)], [lab.task_type(9.0, deadline_s=3.0)], expiry_grace_slots=grace)
    sends = THREE
    for slot, count in counts.items():
        assert hand.to(slot, sends).sums()["dropped_expired"] == count
    assert hand.node(0).left_cycles == 0.0


@pytest.mark.parametrize(("expires", "at_2", "at_3"), [("queued", 0.0, 1.0), ("waiting", 1.0, 1.0)])
def test_tasks_beside_the_queue_expire_where_they_shall(lab, expires, at_2, at_3):
    # the deadline is slot 1, in which the task arrives; it enters the queue at the end of that turn
    types = [lab.task_type(9.0, deadline_s=1.0)]
    hand = lab.hand([lab.layer(1, IDLE_HZ)], types, expires=expires, expiry_grace_slots=0)
    assert hand.to(2, {0: [0]}).sums()["dropped_expired"] == at_2
    assert hand.to(3).sums()["dropped_expired"] == at_3


@pytest.mark.parametrize(("expires", "count", "late"), [("waiting", 0.0, 1.0), ("all", 1.0, 0.0)])
def test_task_in_service_expires_where_it_shall(lab, expires, count, late):
    # served from slot 1 to 10, with a deadline in slot 3
    types = [lab.task_type(10.0, deadline_s=3.0)]
    hand = lab.hand([lab.layer()], types, expires=expires, expiry_grace_slots=0, client_deadline="doubled")
    assert hand.to(4, {0: [0]}).sums()["dropped_expired"] == count
    sums = hand.to(13).sums()
    assert sums["unclaimed"] == late  # its client had given it up in slot 4
    assert sums["completed"] == sums["in_time"] == 0.0


@pytest.mark.parametrize("places", [10, 1])
@pytest.mark.parametrize(("rule", "given_up"), [("absolute", 2.0), ("doubled", 1.0)])
def test_clients_give_up_at_the_deadline_or_at_the_doubled_one(lab, rule, given_up, places):
    # deadlines 3, 4, 5: given up in the turns of 4, 5, 6, or of 0+3+1, 1+4+1, 2+5+1; the last look, 6, precedes turn 6
    layers = [lab.layer(1, IDLE_HZ, queue_places=places)]
    types = [lab.task_type(9.0, deadline_s=3.0)]
    hand = lab.hand(layers, types, client_deadline=rule, params={"horizon_slots": 7}).to(5, THREE)
    hand.world.step(np.zeros((1, 1), np.int64), hand.out)
    names = hand.world.spec.sum_names
    assert hand.out.truncated.all()
    assert hand.out.final_sums[0, names.index("client_dropped")] == given_up
    # where one place is taken, the client does not know that two tasks are lost
    assert hand.out.final_sums[0, names.index("dropped_queue_full")] == (0.0 if places == 10 else 2.0)


@pytest.mark.parametrize(("price", "energy"), [("communication", 50.0), ("computation", 5.0)])
def test_energy_is_charged_at_the_price_of_communication(lab, price, energy):
    # 5 cycles at 10 or at 1; a megabyte of result at 10; one report of 4.16 bits to the only entry, the node itself
    hand = lab.hand([lab.layer(1, 3.0)], [lab.task_type(5.0, size_mb=1.0)], energy_price=price)
    assert hand.to(6, {0: [0]}).sums()["energy"] == pytest.approx(energy + 10.0 + 5.2e-6, abs=1e-9)


@pytest.mark.parametrize(("capacity", "finished"), [("unlimited", 180.0), ("real", 39.0)])
def test_cloud_machine_finishes_every_task_that_fits_in_a_slot(lab, capacity, finished):
    # five devices send a task each slot, and pass it on at look 2, 3, ...; the cloud gets five in each slot from 3 on
    # and has had the turns 3 to 38 at look 39: 36 x 5 tasks, or 36 x 1.1 cycles
    layers = [lab.layer(5, IDLE_HZ, reaches_cloud=True)]
    hand = lab.hand(
        layers,
        [lab.task_type(1.0)],
        links=[(0, 1), (1, 2), (2, 3), (3, 4)],
        behind=lab.cloud(1, 1.1),
        pieces=[(1.0, 1e9)],
        cloud_capacity=capacity,
        params={"horizon_slots": 41},
    )
    to_cloud = [[int(np.argmax(row)) for row in hand.world.spec.target_node]] * 40
    sums = hand.to(39, None, dict(enumerate(to_cloud))).sums()
    assert sums["run_on_cloud"] == finished
    assert sums["processed"] == 0.0
    assert sums["offloads"] - sums["offloads_accepted"] == sums["offloads"] == 5 * 37


@pytest.mark.parametrize(("offloads", "sent"), [("one", 1.0), ("all", 3.0)])
def test_decision_to_offload_concerns_one_task_or_all(lab, offloads, sent):
    hand = lab.crowd(IDLE_HZ, 9.0, offloads=offloads)
    assert len(hand.queue(0)) == 3
    sums = hand.to(3, None, {2: [3, 0, 0, 0]}).sums()
    assert (sums["offloads"], len(hand.queue(0))) == (sent, 3 - int(sent))


@pytest.mark.parametrize(
    ("mark", "offloads", "after"), [("top", "one", [1, 1]), ("undecided", "one", [1, 2]), ("undecided", "all", [3, 3])]
)
def test_local_marks_the_top_again_and_again_or_the_next_undecided_task(lab, mark, offloads, after):
    hand = lab.crowd(IDLE_HZ, 9.0, local_mark=mark, offloads=offloads)
    assert [marks(hand.to(slot)) for slot in (3, 4)] == after


def test_marked_task_is_not_offloaded_but_the_next_one_is(lab):
    hand = lab.crowd(IDLE_HZ, 9.0).to(3)
    first = int(hand.node(0).first)
    for slot in (3, 4, 5):
        hand.to(slot + 1, None, {slot: [3, 0, 0, 0]})
    assert hand.sums()["offloads"] == 2.0
    assert int(hand.node(0).first) == first


@pytest.mark.parametrize(("undecided", "response"), [("run", 4.0), ("hold", 5.0)])
def test_held_task_waits_for_its_decision(lab, undecided, response):
    # it arrives in slot 1 and is seen at look 2: served in the slots 1 to 3, or 2 to 4
    hand = lab.hand([lab.layer()], [lab.task_type(3.0)], params={"undecided": undecided})
    assert hand.to(7, {0: [0]}).sums()["response_s"] == response


def test_task_at_its_limit_of_hops_stays(lab):
    layers = [lab.layer(1, IDLE_HZ), lab.servers(1, IDLE_HZ)]
    hand = lab.hand(layers, [lab.task_type(9.0)], links=[(0, 1)], max_hops=1)
    hand.to(5, {0: [0]}, {2: [1, 0], 4: [0, 1]})
    assert (hand.sums()["offloads"], len(hand.queue(1))) == (1.0, 1)


@pytest.mark.parametrize("order", ["random", "fixed"])
def test_between_two_looks_a_node_has_its_turn_never_once_or_twice(lab, order):
    # The turn of slot t is after its look with chance 1/2, that of slot t + 1 before its look with chance 1/2.
    n_worlds, looks = 500, range(10, 39)
    hand = lab.hand([lab.layer()], [lab.task_type(1e6)], n_worlds=n_worlds, event_order=order).to(10, {0: [0]})
    turns = []
    for slot in looks:
        before = hand.world.state.node["left_cycles"][:, 0].copy()
        hand.to(slot + 1) if slot + 1 < 39 else None
        turns.append(before - hand.world.state.node["left_cycles"][:, 0])
    shares = [(np.array(turns[:-1]) == n).mean() for n in (0.0, 1.0, 2.0)]
    # 14 000 differences, those of neighbours dependent: three standard errors are below 0.02
    assert shares == pytest.approx([0.25, 0.5, 0.25] if order == "random" else [0.0, 1.0, 0.0], abs=0.02)
    assert sum(shares) == 1.0
