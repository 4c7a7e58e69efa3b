"""PeersimGym worlds keep the contract of worlds, whatever their switches; and no task is lost uncounted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from envs.errors import ConfigError
from envs.fog.peersim.params import PeersimParams
from envs.fog.peersim.state import DROP_REASONS, SUM_NAMES
from envs.scenario import make
from envs.testing import check_world
from envs.workloads.task_types import NodeSchedule, RatePattern

PAIRS = [(0, 1), (0, 2), (1, 2), (0, 3), (2, 3)]
CORRECT = {
    "event_order": "fixed",
    "min_delay_slots": 0,
    "delay_rounding": "slots_up",
    "noise_bandwidth": "channel",
    "client_targets": "own",
    "arrivals": "exact",
    "type_sampler": "exact",
    "client_deadline": "absolute",
    "cloud_client_tasks": "none",
    "queue_order": "fifo",
    "serialisation": "at_once",
    "expires": "all",
    "expiry_grace_slots": 0,
    "energy_price": "computation",
    "broadcast": "every_slot",
    "counts_unserialised_twice": False,
    "report_bits": 4160.0,
    "offloads": "all",
    "local_mark": "undecided",
    "offers_without_task": False,
    "self_hop": False,
    "cloud_capacity": "real",
    "queue_repeats_next": False,
}
VARIANTS = {
    "peersim": {},
    "correct": CORRECT,
    "dense queue_next": {"state_info": "queue_next", "reward": {"form": "dense"}},
    "published qaggr_next": {"state_info": "qaggr_next", "reward": {"form": "dense", "formula": "as_published"}},
    "masked next": {"offers_without_task": False, "state_info": "next"},
    **{
        f"{name}={value}": {name: value}
        for name, value in CORRECT.items()
        if name not in ("energy_price", "report_bits", "noise_bandwidth", "delay_rounding")
    },
}


def busy(lab, n_worlds=3, params=None, **switches):
    """Return worlds of four nodes and a cloud, of two types of tasks, where every queue fills and tasks expire."""
    types = [lab.task_type(4.0, 2.0, 6.0, deadline_high_s=11.0), lab.task_type(2.0, 12.0, 9.0, deadline_high_s=9.0)]
    layers = [lab.layer(2, 1.0, queue_places=4, reaches_cloud=True), lab.servers(2, 2.0, queue_places=3)]
    return lab.build(
        layers,
        types,
        links=PAIRS,
        behind=lab.cloud(2, 1.5),
        pieces=[(15.0, 0.7), (5.0, 0.0), (30.0, 0.5)],
        n_worlds=n_worlds,
        params=params,
        **{"event_order": "random", **switches},
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_world_keeps_the_contract(lab, variant):
    scenario = busy(lab, **VARIANTS[variant]).scenario
    report = check_world(scenario)
    assert (report.n_steps, report.n_episodes) == (78, 6)
    assert report.n_masked > 0
    assert report.raises_in_debug


@pytest.mark.parametrize("params", [{"slots_per_step": 4}, {"undecided": "hold"}, {"max_alive_tasks": 6}])
def test_world_with_other_parameters_keeps_the_contract(lab, params):
    steps = 40 // params.get("slots_per_step", 1) - 1  # the last look has no decision
    assert check_world(busy(lab, params=params).scenario).n_steps == 2 * steps


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_task_is_finished_dropped_given_up_or_in_flight(lab, variant):
    world, sums, _ = played(lab, **VARIANTS[variant])
    assert (sums["created"] == sums["completed"] + sums["unclaimed"] + lost(sums) + sums["in_flight"]).all()
    assert sums["created"].min() > 5.0
    parts = sums["upload_s"] + sums["wait_s"] + sums["service_s"] + sums["return_s"]
    assert parts == pytest.approx(sums["response_s"])
    assert (sums["in_time"] <= sums["completed"]).all()
    assert (sums["offloads_accepted"] <= sums["offloads"]).all()
    figures = world.summarise(np.array([column.sum() for column in sums.values()]))
    assert 0.0 < figures["drop_frac"] < 1.0
    assert figures["tasks_per_s"] == pytest.approx(sums["created"].sum() / (16 * 39))


def played(lab, n_worlds=16, **switches):
    """Return a world, its final sums (G, B) by name, and returns (B, N), of an episode of random decisions."""
    world = busy(lab, n_worlds=n_worlds, **switches)
    out = world.outcome()
    world.reset(None, out)
    rng = np.random.default_rng(0)
    returns = np.zeros(out.reward.shape)
    for _ in range(39):
        world.step(rng.integers(0, world.spec.n_targets, (n_worlds, 4)), out)
        returns += out.reward
    return world, dict(zip(SUM_NAMES, out.final_sums.T, strict=True)), returns


def lost(sums):
    return sum(sums[f"dropped_{reason}"] for reason in DROP_REASONS)


@pytest.mark.parametrize("seed", range(20))
def test_no_task_is_lost_uncounted_under_any_mixture_of_switches(lab, seed):
    rng = np.random.default_rng(seed)
    mixture = {name: value for name, value in CORRECT.items() if rng.random() < 0.5}
    _, sums, _ = played(lab, **mixture)
    assert (sums["created"] == sums["completed"] + sums["unclaimed"] + lost(sums) + sums["in_flight"]).all()
    assert (sums["client_dropped"] <= sums["created"] - sums["completed"]).all()
    assert sums["completed"].sum() > 0.0


def test_sparse_return_is_what_was_reported_less_what_was_dropped(lab):
    # measured in PeersimGym, utility 1: 328 reported - 45 dropped = 283; all nodes are agents
    reward = {"form": "sparse", "utility": 2.0}
    _, sums, returns = played(lab, reward=reward)
    dropped = sums["dropped_queue_full"] + sums["dropped_expired"]
    assert returns.sum(axis=1) == pytest.approx(2.0 * (sums["reported"] - dropped))
    assert dropped.sum() > 30.0


def test_every_switch_has_a_correct_choice():
    others = {"scale", "energy_per_mb", "energy_per_cycle", "invalid_target", "max_hops", "state_info", "listed_tasks"}
    assert {field.name for field in dataclasses.fields(PeersimParams)} == set(CORRECT) | others | {"reward"}


def test_every_switch_changes_the_course_or_what_is_shown(lab):
    seen = {}
    for variant in [name for name in VARIANTS if name == "peersim" or "=" in name]:
        _, sums, returns = played(lab, 8, **VARIANTS[variant])
        seen[variant] = [column.tolist() for column in (*sums.values(), *returns)]
    same = [name for name in seen if name != "peersim" and seen[name] == seen["peersim"]]
    # the first of these shows in the observed queues, the last in a listed one, each with a test of its own
    assert same == ["counts_unserialised_twice=False", "queue_repeats_next=False"]
    assert len(seen) == 20


def test_schedules_by_pattern_are_drawn_for_each_world_and_episode(lab):
    world = busy(lab, n_worlds=4)
    workload = dataclasses.replace(
        world.scenario.workload,
        schedules=(NodeSchedule("", ()),),
        pattern=RatePattern("uniform", 0.1, 1.0, 0.1, 10.0),
    )
    scenario = dataclasses.replace(world.scenario, workload=workload)
    assert check_world(scenario).n_episodes == 6
    drawn = make(scenario, 4).state.piece["per_slot"][:, 0]
    assert drawn.shape == (4, 4)
    assert len(np.unique(drawn)) == 16


def test_other_networks_are_devices_that_take_tasks_over_links_of_their_own_rates(lab, part):
    scenario = busy(lab).scenario
    ether = dataclasses.replace(scenario, topology=part("topology", "ether_urban"))
    world = make(ether, 1)
    assert check_world(ether).n_episodes == 6
    assert (world.setup.node["is_client"] == world.topology.is_device).all()
    assert not world.setup.node["is_cloud"].any()


@pytest.mark.parametrize("params", [{"decisions_per_step": 2}, {"slots_per_step": 40}, {"max_targets": 2}])
def test_parameters_without_meaning_here_are_refused(lab, params):
    with pytest.raises(ConfigError, match=r"peersim|targets"):
        busy(lab, params=params)


@pytest.mark.parametrize(
    ("switch", "value"), [("queue_order", "fito"), ("scale", 0), ("report_bits", -1.0), ("max_hops", 0)]
)
def test_switches_out_of_range_are_refused(lab, switch, value):
    with pytest.raises(ConfigError, match=rf"peersim.*{switch}"):
        busy(lab, **{switch: value})
