"""The simulated twin of a testbed scenario: the same devices, links and tasks, as calibration has measured them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from edge_rllib.config.load import dump
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.testbed.params import BedScenario, lane_share
from edge_rllib.testbed.vision.clips import draw_clip
from edge_rllib.testbed.vision.stages import STAGE_NAMES
from envs.errors import ConfigError
from envs.scenario import Scenario
from envs.testbed.params import BedCost, BedDecision, BedRandomisation, BedReward
from envs.topologies.edge_lan import EdgeServer

KIND = "testbed"  # of the world
_WORK_OF_DEFAULTS: tuple[int, int, Literal["lbp"]] = (
    256,
    80,
    "lbp",
)  # side, quality and detector that the twin's own figures are of
_DEFAULTS = Source(None, "defaults of the testbed's twin")
FITTED_KEYS = (
    "device_frame_s",
    "device_frame_cpu_s",
    "server_frame_s",
    "server_frame_cpu_s",
    "stage_cpu_s",
    "crowding",
    "goodput_share",
    "delay_s",
    "decision_delay_s",
    "frame_bytes",
    "work_spread_frac",
    "bytes_spread_frac",
)


def read_fitted(path: Path) -> dict[str, Any]:
    """Return what ``edge-rllib testbed calibrate`` has fitted; raises ConfigError for another file."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    missing = [key for key in FITTED_KEYS if not isinstance(found, dict) or key not in found]
    if missing:
        raise ConfigError(f"{path}: no fitted.yaml of `edge-rllib testbed calibrate`: it has no {', '.join(missing)}")
    return dict(found)


def twin(
    scenario: BedScenario,
    fitted: Mapping[str, Any] | None = None,
    decision: str = "cuts",
    randomise: Mapping[str, float] | None = None,
    same_tasks: bool = False,
) -> Scenario:
    """Return the scenario of world ``testbed`` that a testbed scenario stands for.

    ``fitted`` is that of a calibration; None takes the figures of the machine on which the defaults were measured,
    and is refused for other work than theirs. With ``same_tasks`` the clips have as many frames as on the testbed.
    """
    if fitted is None and (scenario.work.side_px, scenario.work.jpeg_quality, scenario.work.detector) != (
        _WORK_OF_DEFAULTS
    ):
        raise ConfigError(
            f"testbed scenario {scenario.name}: frames of {scenario.work.side_px} pixels, quality "
            f"{scenario.work.jpeg_quality} and detector {scenario.work.detector} need figures of their own: "
            "`edge-rllib testbed calibrate` first, then --fitted FILE"
        )
    lan, clips = load_part("topology", "edge_lan", _DEFAULTS), load_part("workload", "camera_clips", _DEFAULTS)
    params = load_part("world_params", KIND, _DEFAULTS)
    link, cost = scenario.link, scenario.cost
    lan = dataclasses.replace(
        lan,
        n_devices=scenario.n_devices,
        device_cores=scenario.device_cores,
        servers=tuple(EdgeServer(each.cores, each.n_lanes, each.discipline) for each in scenario.servers),
        core_hz=cost.core_hz,
        up_bps=link.up_bps,
        down_bps=link.down_bps,
        delay_s=link.delay_s,
        sharing=link.sharing,
    )
    clips = dataclasses.replace(
        clips, period_s=scenario.epoch_s, frames=scenario.work.frames, deadline_s=scenario.deadline_s
    )
    if fitted is not None:
        lan, clips = _as_fitted(scenario, lan, clips, fitted)
    if same_tasks:
        clips = dataclasses.replace(clips, listed_frames=_frames_of(scenario))
    local_price = cost.local_per_gcycle
    if fitted is not None:  # the same frame may cost a device more CPU time than a server
        local_price *= fitted["device_frame_cpu_s"] / fitted["server_frame_cpu_s"]
    params = dataclasses.replace(
        params,
        horizon_slots=scenario.n_epochs,
        decision=BedDecision(decision if scenario.is_partial else "whole"),  # type: ignore[arg-type]
        patience_frac=scenario.patience_frac,
        drain_s=scenario.drain_s,
        decision_delay_s=params.decision_delay_s if fitted is None else max(fitted["decision_delay_s"], 0.0),
        cost=BedCost(local_price / 1e9, cost.edge_per_gcycle / 1e9, cost.per_joule, cost.late, cost.transmit_w),
        reward=BedReward(params.reward.scale, params.reward.team),
        randomise=BedRandomisation(**{**dataclasses.asdict(params.randomise), **(randomise or {})}),
    )
    return Scenario(f"twin of {scenario.name}", KIND, lan, scenario.seed, clips, params)


def scenario_file(scenario: Scenario) -> str:
    """Return the text of a file that `edge-rllib train` takes as a scenario; its name is that of the file."""
    tree = yaml.safe_load(dump(scenario))
    del tree["name"]
    return f"# {scenario.name}\n" + yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=120)


def like_defaults(scenario: BedScenario) -> BedScenario:
    """Return a scenario whose frames are those of the twin's own figures: its sizes are right, its times are not."""
    side_px, quality, detector = _WORK_OF_DEFAULTS
    work = dataclasses.replace(scenario.work, side_px=side_px, jpeg_quality=quality, detector=detector)
    return dataclasses.replace(scenario, work=work)


def _frames_of(scenario: BedScenario) -> tuple[tuple[int, ...], ...]:
    """Return the frames of the clip that each device of the testbed films in each epoch."""
    work = scenario.work
    return tuple(
        tuple(draw_clip(scenario.seed, n, epoch, work.clips, work.frames)[1] for epoch in range(scenario.n_epochs))
        for n in range(scenario.n_devices)
    )


def _as_fitted(scenario: BedScenario, lan: Any, clips: Any, fitted: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return network and clips with the figures of a calibration: a frame takes as long as was measured at each place.

    Cycles are those of the server's CPU time. Cores of the twin are as fast as servers were; devices have so much of
    one that their frames take as long as was measured.
    """
    core_hz, sizes = scenario.cost.core_hz, fitted["frame_bytes"]
    frame_cpu_s = sum(fitted["stage_cpu_s"].values())
    lane_cores = sum(lane_share(server) for server in scenario.servers) / scenario.n_servers
    server_speed = frame_cpu_s / (fitted["server_frame_s"] * lane_cores)
    device_speed = frame_cpu_s / (fitted["device_frame_s"] * scenario.device_cores[0])
    shares = tuple(min(cores * device_speed / server_speed, 1.0) for cores in scenario.device_cores)
    lan = dataclasses.replace(
        lan,
        core_hz=core_hz * server_speed,
        device_cores=shares,
        delay_s=max(fitted["delay_s"], 0.0),
        goodput_frac=min(fitted["goodput_share"], 1.0),
        crowding=max(fitted["crowding"], 0.0),
    )
    clips = dataclasses.replace(
        clips,
        stage_cycles=tuple(fitted["stage_cpu_s"][name] * core_hz for name in STAGE_NAMES),
        overhead_s=0.0,
        cut_bytes=(sizes["raw"], *(sizes[name] for name in STAGE_NAMES[:-1])),
        result_bytes=sizes[STAGE_NAMES[-1]],
        work_spread_frac=fitted["work_spread_frac"],
        bytes_spread_frac=fitted["bytes_spread_frac"],
    )
    return lan, clips
