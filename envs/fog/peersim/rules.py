"""From the switches to the scalars that the kernels read."""

from __future__ import annotations

import numpy as np

from envs.fog.params import FogParams
from envs.fog.peersim.setup import BITS_PER_MB
from envs.fog.peersim.state import RewardRules, Rules, Setup
from envs.workloads.task_types import TaskTypes


def build_rules(params: FogParams, setup: Setup, key: int) -> Rules:
    """Return the scalars of a world."""
    switches = params.peersim
    shares = np.diff(setup.type["cumulative"], prepend=0.0)
    is_worker = setup.node["is_cloud"] == 0
    return Rules(
        key=np.uint64(key),
        slot_s=float(params.slot_s),
        slots_per_step=params.slots_per_step,
        horizon_slots=params.horizon_slots,
        is_random_order=switches.event_order == "random",
        own_first=switches.client_targets == "own_first",
        rounds_arrivals=switches.arrivals == "rounded",
        searches_types=switches.type_sampler == "binary_search",
        doubles_deadline=switches.client_deadline == "doubled",
        is_lifo=switches.queue_order == "lifo",
        serialises_late=switches.serialisation == "even_slots",
        expires=bool((setup.type["due_low"] >= 0).any()),
        expires_received=switches.expires != "queued",
        expires_current=switches.expires == "all",
        grace_slots=switches.expiry_grace_slots,
        cycle_price=float(
            switches.energy_per_mb if switches.energy_price == "communication" else switches.energy_per_cycle
        ),
        mb_price=float(switches.energy_per_mb),
        report_mb=switches.report_bits / BITS_PER_MB,
        reports_always=switches.broadcast == "every_slot",
        received_weight=2 if switches.counts_unserialised_twice else 1,
        offloads_one=switches.offloads == "one",
        marks_top=switches.local_mark == "top",
        offers_without_task=switches.offers_without_task,
        penalises=switches.invalid_target == "penalty",
        holds=params.undecided == "hold",
        self_hop=switches.self_hop,
        cloud_is_unlimited=switches.cloud_capacity == "unlimited",
        time_scale_s=float(params.time_scale_s),
        shows_next=switches.state_info in ("next", "queue_next", "qaggr_next"),
        shows_total=switches.state_info in ("qaggr", "qaggr_next"),
        n_listed=switches.listed_tasks if switches.state_info in ("queue", "queue_next") else 0,
        repeats_next=switches.queue_repeats_next,
        mean_hz=float(setup.node["hz"][is_worker].mean()),
        mean_cycles=float(shares @ setup.type["work_cycles"]),
    )


def build_rewards(params: FogParams, workload: TaskTypes) -> RewardRules:
    """Return the scalars of the reward."""
    reward = params.peersim.reward
    is_implemented = reward.formula == "as_implemented"
    cycles = np.array([each.work_cycles for each in workload.types])
    shares = np.array([each.share for each in workload.types])
    return RewardRules(
        is_dense=reward.form == "dense",
        as_implemented=is_implemented,
        utility=float(reward.utility),
        wait=float(reward.wait_weight),
        service=float(reward.service_weight),
        transfer=float(reward.transfer_weight),
        overload=float(reward.overload_weight),
        no_op=float(reward.no_op_reward),
        tasks_per_slot=float(reward.tasks_per_s * params.slot_s),
        cycles=float(cycles[-1] if is_implemented else np.average(cycles, weights=shares)),
        tick_s=float(params.slot_s * params.peersim.scale),
    )
