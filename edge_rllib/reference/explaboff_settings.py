"""ExplabOff's shipped settings: scenarios made of them, and their comparison with the scenarios of this project."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from edge_rllib.config.load import load_scenario
from edge_rllib.config.paths import config_names
from edge_rllib.reference.rows import Report, Row, info_row, largest_row, refused_row, unknown_row
from envs.errors import ConfigError, EdgeError
from envs.mec.features import CYCLES, DEADLINE_S, HZ_DEVICE, HZ_SERVER, TRANSFER_S
from envs.scenario import Scenario

GIGA = 1e9  # their sizes are gigacycles, their speeds gigacycles a second
_TOLERANCE = 1e-12
_MODEL = "mec_2es_3md_v1"  # has the released semantics; devices, servers and tasks come from the settings
_NEEDED = ("num_servers", "num_devices", "server_capacity", "tx_time_s", "task_mean", "startup_time_s", "deadline_s")
_DEAD = ("total_timesteps", "lowest_reward")  # lengths of their runs, and a threshold before there is any return


def is_parameters(contents: Any) -> bool:
    """Return whether a file's contents are settings by name."""
    if not isinstance(contents, Mapping) or not isinstance(contents.get("parameters"), Mapping):
        return False
    settings = contents["parameters"].values()
    return bool(settings) and all(isinstance(each, Mapping) and "server_capacity" in each for each in settings)


def check_parameters(contents: Mapping[str, Any], file: str) -> Report:
    """Return the comparison of every setting with the scenario of as many servers and devices."""
    rows: list[Row] = []
    for label, settings in contents["parameters"].items():
        name = short_name(label)
        try:
            rows += _compare(file, name, settings, released_scenario(settings, f"{file}, {label}"), _own(name))
        except EdgeError as error:
            rows.append(refused_row(file, name, "-", str(error)))
    return Report(tuple(rows), ())


def short_name(label: str) -> str:
    """Return "2ES-3MD" of a setting's name; names without such a beginning stay as they are."""
    found = re.match(r"\d+ES-\d+MD", label)
    return found.group() if found else label


def scenario_for(n_servers: int, n_devices: int, beside: Mapping[str, Any] | None, where: str) -> Scenario:
    """Return the released scenario of these sizes: of the settings in the file beside, or else our own."""
    for label, settings in (beside or {"parameters": {}})["parameters"].items():
        if (settings.get("num_servers"), settings.get("num_devices")) == (n_servers, n_devices):
            return released_scenario(settings, label)
    own = _own(f"{n_servers}ES-{n_devices}MD")
    if own is None:
        raise ConfigError(
            f"{where}: no settings for {n_servers} servers and {n_devices} devices: expected them in a file of "
            "parameters in the same folder"
        )
    return with_released_interface(own)


def released_scenario(settings: Mapping[str, Any], where: str) -> Scenario:
    """Return the scenario of a setting, with the released decisions and observations."""
    for key in _NEEDED:
        if key not in settings:
            raise ConfigError(f"{where}: {key!r} is missing")
    model = load_scenario(_MODEL)
    cell: Any = model.topology
    profiles: Any = model.workload
    n_devices, n_servers = int(settings["num_devices"]), int(settings["num_servers"])
    reward = settings.get("reward", {})
    slot_s = float(settings.get("slot_s", 1.0))
    try:
        return with_released_interface(
            dataclasses.replace(
                model,
                name=short_name(where.rpartition(", ")[2]),
                topology=dataclasses.replace(
                    cell,
                    device_hz=(float(settings.get("device_capacity", 1.0)) * GIGA,) * n_devices,
                    server_hz=tuple(hz * GIGA for hz in _numbers(settings["server_capacity"])),
                    transfer_s=tuple(map(_numbers, settings["tx_time_s"])),
                    startup_s=tuple(map(_numbers, settings["startup_time_s"])),
                    server_position_m=((0.0, 0.0),) * n_servers,
                ),
                workload=dataclasses.replace(
                    profiles,
                    period_s=slot_s,
                    mean_work_cycles=tuple(mean * GIGA for mean in _numbers(settings["task_mean"])),
                    work_sd_cycles=_single(settings.get("task_std", 0.1)) * GIGA,
                    deadline_s=_numbers(settings["deadline_s"]),
                ),
                params=dataclasses.replace(
                    model.params,
                    horizon_slots=int(settings.get("episode_slots", model.params.horizon_slots)),
                    cost=dataclasses.replace(model.params.cost, time_weight=float(reward.get("time_cost_weight", 1.0))),
                    reward=dataclasses.replace(
                        model.params.reward,
                        success_numerator=float(reward.get("success_numerator", 60.0)),
                        miss_weight=-float(reward.get("cost_to_reward", -10.0)),
                    ),
                ),
            )
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None


def with_released_interface(scenario: Scenario) -> Scenario:
    """Return the scenario with box decisions and the released observation."""
    params = scenario.params
    decision = dataclasses.replace(params.decision, kind="box", explicit_local=False)
    observation = dataclasses.replace(
        params.observation,
        layout="released",
        scope="near_global",
        server_queues="now",
        slot_index=False,
        running_cost=False,
    )
    return dataclasses.replace(scenario, params=dataclasses.replace(params, decision=decision, observation=observation))


@cache
def _own(name: str) -> Scenario | None:
    """Return our scenario of a setting's name, or None."""
    ours = f"mec_{name.lower().replace('-', '_')}_v1"
    return load_scenario(ours) if ours in config_names("scenario") else None


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _single(value: Any) -> float:
    return float(value[0]) if isinstance(value, (list, tuple)) else float(value)


def _compare(file: str, name: str, settings: Mapping[str, Any], theirs: Scenario, ours: Scenario | None) -> list[Row]:
    if ours is None:
        return [unknown_row(file, name, "-", "-", None, "no scenario of ours has these sizes")]
    pairs = {
        "server_capacity": (theirs.topology, ours.topology, "server_hz"),
        "device_capacity": (theirs.topology, ours.topology, "device_hz"),
        "tx_time_s": (theirs.topology, ours.topology, "transfer_s"),
        "startup_time_s": (theirs.topology, ours.topology, "startup_s"),
        "task_mean": (theirs.workload, ours.workload, "mean_work_cycles"),
        "task_std": (theirs.workload, ours.workload, "work_sd_cycles"),
        "deadline_s": (theirs.workload, ours.workload, "deadline_s"),
        "slot_s": (theirs.workload, ours.workload, "period_s"),
        "episode_slots": (theirs.params, ours.params, "horizon_slots"),
        "reward.cost_to_reward": (theirs.params.reward, ours.params.reward, "miss_weight"),
        "reward.success_numerator": (theirs.params.reward, ours.params.reward, "success_numerator"),
        "reward.time_cost_weight": (theirs.params.cost, ours.params.cost, "time_weight"),
    }
    rows = []
    for metric, (their_part, our_part, key) in pairs.items():
        their_values, our_values = (np.array(getattr(part, key), np.float64) for part in (their_part, our_part))
        if their_values.shape != our_values.shape:
            why = f"ours is of shape {our_values.shape}"
            rows.append(unknown_row(file, name, "-", metric, None, why))
            continue
        rows.append(largest_row(file, name, metric, their_values, our_values, _TOLERANCE, is_relative=True))
    divisors = {
        "server_capacity_norm_max": HZ_SERVER / GIGA,
        "device_capacity_norm_max": HZ_DEVICE / GIGA,
        "task_norm_max": CYCLES / GIGA,
        "deadline_norm_max": DEADLINE_S,
        "tx_time_norm_max": TRANSFER_S,
    }
    for metric, divisor in divisors.items():
        if metric in settings:
            one = (np.array([float(settings[metric])]), np.array([divisor]))
            rows.append(largest_row(file, name, metric, *one, _TOLERANCE))
    flat = {**settings, **settings.get("reward", {})}
    rows += [
        info_row(file, name, key, float(flat[key]), None, "of their training, without part in the world")
        for key in _DEAD
        if key in flat
    ]
    return rows
