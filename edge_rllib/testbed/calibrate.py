"""Measures what a simulator needs to know of a machine and a tier: service times, goodput, crowding; and fits them.

Edge servers with several quotas and a relay are started as in a run; this process acts as the device. Each figure is
repeated and has a 95 % interval (Student's t).
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats

from edge_rllib.experiment.versions import versions
from edge_rllib.results.estimates import LEVEL, Estimate
from edge_rllib.results.files import CONFIG, VERSIONS, explained, write_json, write_text
from edge_rllib.testbed.errors import SetupError
from edge_rllib.testbed.frames import Channel
from edge_rllib.testbed.gathering import Gathering
from edge_rllib.testbed.ground import Ground
from edge_rllib.testbed.launcher import Launcher
from edge_rllib.testbed.listening import LOOPBACK, call
from edge_rllib.testbed.params import BedScenario, ServerParams, lane_share
from edge_rllib.testbed.peers import expect
from edge_rllib.testbed.run import LOG
from edge_rllib.testbed.scenarios import dump
from edge_rllib.testbed.shaping import namespaces, probe
from edge_rllib.testbed.twin import scenario_file, twin
from edge_rllib.testbed.vision.clips import make_clip
from edge_rllib.testbed.vision.detectors import detector
from edge_rllib.testbed.vision.stages import STAGE_NAMES, WorkSettings, decode, raw_payload
from envs.errors import ConfigError, EdgeError

MEASURED, FITTED, TWIN = "calibration.json", "fitted.yaml", "twin.yaml"
RATES_BPS = (5e6, 1e7, 2e7, 5e7)  # of the links whose goodput is measured
CROWD_RATE_BPS = 2e8  # of the link to the server that is crowded, so that its tasks come together
_UPLOAD_S = 0.25  # of a measured upload at its rate
_MOST_FRAMES, _N_CLIPS = 4, 12
_ANSWER_S = 120.0
_START_S = 60.0


def calibrate(scenario: BedScenario, asked_tier: str, repeats: int, folder: Path) -> dict[str, Any]:
    """Measure, fit, write the result into a folder, and return it."""
    if repeats < 2:
        raise ConfigError(f"--repeats {repeats}: expected at least 2, for an interval")
    detector(scenario.work.detector)  # refuses at once where a package or a file is missing
    tier, note = probe.choose(asked_tier, probe.probe())
    bench, load_before = bench_scenario(scenario), os.getloadavg()[0]
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, dump(scenario))
    write_json(folder / VERSIONS, versions())
    with _servers(bench, tier, folder / LOG) as (channels, enter):
        measured = _in_thread(lambda: _measure(bench, channels, repeats), enter)
    found = {
        "scenario": scenario.name,
        "tier": tier,
        "tier_note": note,
        "repeats": repeats,
        "load_before": load_before,
        **measured,
    }
    found["fitted"] = fit(found, scenario)
    write_json(folder / MEASURED, found)
    write_fitted(folder, scenario, found["fitted"])
    return found


def write_fitted(folder: Path, scenario: BedScenario, fitted: dict[str, Any]) -> dict[str, Any]:
    """Write the parameters of the twin and the twin as a scenario to train in; return the parameters."""
    write_text(folder / FITTED, yaml.safe_dump(fitted, sort_keys=False, default_flow_style=None, width=120))
    write_text(folder / TWIN, scenario_file(twin(scenario, fitted)))
    return fitted


def bench_scenario(scenario: BedScenario) -> BedScenario:
    """Return a scenario whose servers have the quotas to be measured, and whose links the rates.

    The last server shares its cores among its lanes, for crowding; the others have a lane each.
    """
    least = min(scenario.device_cores)
    quotas = sorted({least, min(1.0, 2 * least), 0.5, 1.0})
    crowd = max(scenario.servers, key=lambda server: server.n_lanes)
    servers = [ServerParams(cores=quota, n_lanes=1, discipline="fifo") for quota in quotas]
    servers.append(ServerParams(min(1.0, crowd.cores), max(2, crowd.n_lanes), "processor_sharing"))
    rates = (*(RATES_BPS[number % len(RATES_BPS)] for number in range(len(quotas))), CROWD_RATE_BPS)
    link = dataclasses.replace(scenario.link, up_bps=(rates,), down_bps=(rates,))
    return dataclasses.replace(scenario, n_devices=1, servers=tuple(servers), link=link)


def interval(values: Sequence[float]) -> Estimate:
    """Return the mean of some values and its 95 % interval by Student's t."""
    sample = np.asarray(values, np.float64)
    mean = float(sample.mean())
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(sample) - 1) * sample.std(ddof=1) / np.sqrt(len(sample)))
    return Estimate(mean, mean - half, mean + half)


def slope_through(x: Sequence[float], y: Sequence[float]) -> tuple[Estimate, Estimate]:
    """Return intercept and slope of the least-squares line through points, each with its 95 % interval."""
    line = stats.linregress(x, y)
    factor = stats.t.ppf((1 + LEVEL) / 2, len(x) - 2) if len(x) > 2 else float("nan")
    return (
        Estimate(
            line.intercept,
            line.intercept - factor * line.intercept_stderr,
            line.intercept + factor * line.intercept_stderr,
        ),
        Estimate(line.slope, line.slope - factor * line.stderr, line.slope + factor * line.stderr),
    )


def fit(found: Mapping[str, Any], scenario: BedScenario) -> dict[str, Any]:
    """Return the parameters of the twin, and the intervals of what was fitted as [value, low, high].

    The time of a frame is that measured at the quota of a device, and of a server's lane that is alone: it need not be
    proportional to 1 / quota, for caches cool while a process waits. Beside it stands the fit as overhead + CPU time /
    quota. Goodput is a share of the rate; crowding is 1 + a (c - 1) for c tasks at once, where a = 1 is processor
    sharing and 0 is no crowding. The CPU time of stages and the bytes behind them are means over clips.
    """
    points = [(1.0 / row["quota"], value) for row in found["service"] for value in row["frame_s_all"]]
    overhead, frame_cpu = slope_through(*zip(*points, strict=True))
    shares = [value / row["rate_bps"] for row in found["goodput"] for value in row["goodput_bps_all"]]
    crowd = [(row["at_once"] - 1.0, value) for row in found["crowding"] for value in row["slowdown_all"]]
    _, sharing = slope_through(*zip(*crowd, strict=True))
    cpu_s = np.array([clip["cpu_s"] for clip in found["clips"]])  # (clips, stages)
    n_bytes = np.array([clip["bytes"] for clip in found["clips"]])  # (clips, 1 + stages)
    lane_cores = np.mean([lane_share(server) for server in scenario.servers])
    return {
        "device_frame_s": _at_quota(found["service"], "frame_s", scenario.device_cores[0]),
        "device_frame_cpu_s": _at_quota(found["service"], "frame_cpu_s", scenario.device_cores[0]),
        "server_frame_s": _at_quota(found["service"], "frame_s", float(lane_cores)),
        "server_frame_cpu_s": _at_quota(found["service"], "frame_cpu_s", float(lane_cores)),
        "stage_cpu_s": {name: float(cpu_s[:, i].mean()) for i, name in enumerate(STAGE_NAMES)},
        "crowding": float(sharing.value),
        "goodput_share": float(np.mean(shares)),
        "delay_s": found["round_trip_s"][0] / 2.0,
        "decision_delay_s": found["round_trip_s"][0],
        "frame_bytes": {name: float(n_bytes[:, i].mean()) for i, name in enumerate(("raw", *STAGE_NAMES))},
        "work_spread_frac": _spread(cpu_s.sum(1)),
        "bytes_spread_frac": _spread(n_bytes[:, 1]),
        "intervals": {
            "frame_cpu_s": _plain(frame_cpu),
            "frame_overhead_s": _plain(overhead),
            "goodput_share": _plain(interval(shares)),
            "round_trip_s": found["round_trip_s"][:3],
            "crowding": _plain(sharing),
        },
    }


def _at_quota(rows: Sequence[Mapping[str, Any]], figure: str, quota: float) -> float:
    """Return a figure of a frame at a quota, between the measured ones by a line over 1 / quota."""
    points = np.array(sorted((1.0 / row["quota"], row[figure][0]) for row in rows))
    return float(np.interp(1.0 / quota, points[:, 0], points[:, 1]))


def _spread(values: Any) -> float:
    """Return the standard deviation of some values over their mean."""
    return float(np.std(values, ddof=1) / np.mean(values))


def text(found: Mapping[str, Any]) -> str:
    """Return the measurements for people."""
    lines = [
        f"tier {found['tier']}, {found['repeats']} repeats, load of the machine before {found['load_before']:.1f}; "
        "means with 95 % intervals"
    ]
    lines += ["quota [cores]   a frame takes [s]           CPU [s]   share of a core that was had"]
    for row in found["service"]:
        (mean, low, high), cpu_s, share = row["frame_s"], row["frame_cpu_s"][0], row["share"][0]
        lines.append(f"{row['quota']:<15.3g} {mean:.4f} [{low:.4f}, {high:.4f}]   {cpu_s:.4f}    {share:.3f}")
    lines.append("rate [Mbit/s]   goodput [Mbit/s]")
    for row in found["goodput"]:
        mean, low, high = (value / 1e6 for value in row["goodput_bps"])
        lines.append(f"{row['rate_bps'] / 1e6:<15.3g} {mean:.3f} [{low:.3f}, {high:.3f}]")
    lines.append("tasks at once   times as long as alone")
    for row in found["crowding"]:
        mean, low, high = row["slowdown"]
        lines.append(f"{row['at_once']:<15} {mean:.2f} [{low:.2f}, {high:.2f}]")
    fitted = found["fitted"]
    overhead, frame_cpu = (fitted["intervals"][name][0] for name in ("frame_overhead_s", "frame_cpu_s"))
    lines.append(
        f"fitted: a frame = {overhead * 1e3:.2f} ms + {frame_cpu * 1e3:.2f} ms / quota; goodput = "
        f"{fitted['goodput_share']:.3f} x rate; crowding {fitted['crowding']:.2f}"
    )
    return "\n".join(lines)


Enter = Callable[[], None]


@contextmanager
def _servers(bench: BedScenario, tier: int, log_file: Path) -> Iterator[tuple[list[tuple[str, int, bytes]], Enter]]:
    """Start a relay and the servers; yield by which address and token each is reached, and what a caller does first."""
    token = secrets.token_bytes(32)
    wanted = {"relay": 1, "server": bench.n_servers}
    with ExitStack() as stack:
        ground = stack.enter_context(Ground(bench, tier, 1.0))
        launcher = Launcher(log_file)
        stack.callback(launcher.close)
        gathering = stack.enter_context(Gathering(LOOPBACK, 0, token, wanted))
        for role, number in wanted.items():
            for index in range(number):
                launcher.start(role, index, LOOPBACK, gathering.port, token)
        end_s = time.monotonic() + _START_S
        while gathering.missing():
            if gathering.next(end_s) is None:
                raise SetupError(
                    f"{', '.join(gathering.missing())} did not come within {_START_S:.0f} s; see {log_file}"
                )
        servers = gathering.all("server")
        for peer in servers:
            peer.send("setup", **ground.server_setup(peer.index))
        ready = gathering.collect("ready", servers, end_s, lambda peer, frame: None)
        if len(ready) < len(servers):
            raise SetupError(f"a server did not get ready; see {log_file}")
        (relay,) = gathering.all("relay")
        relay.send("setup", **ground.relay_setup([ready["server", peer.index].fields["port"] for peer in servers]))
        ports = gathering.collect("ready", [relay], end_s, lambda peer, frame: None)["relay", 0].fields["ports"]
        addresses = [(host, port, token) for host, port in ground.relay_addresses(0, ports)]
        namespace = ground.namespace(0)
        yield addresses, (lambda: namespaces.enter(namespace)) if namespace else (lambda: None)


def _in_thread(measure: Callable[[], dict[str, Any]], enter: Enter) -> dict[str, Any]:
    """Measure in a thread of its own, which may enter a network namespace and take nobody with it."""
    found: list[dict[str, Any]] = []
    failed: list[EdgeError] = []

    def body() -> None:
        try:
            enter()
            found.append(measure())
        except EdgeError as error:
            failed.append(error)

    thread = threading.Thread(target=body, name="calibrate", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)  # in pieces, so that Ctrl-C is heard
    if failed:
        raise failed[0]
    return found[0]


def _measure(bench: BedScenario, addresses: Sequence[tuple[str, int, bytes]], repeats: int) -> dict[str, Any]:
    work = bench.work
    n_frames = min(work.frames[1], _MOST_FRAMES)
    clips = [make_clip((bench.seed, number), n_frames, work.side_px, work.most_faces) for number in range(_N_CLIPS)]
    raws = [raw_payload(clip) for clip in clips]
    clip = max(clips, key=lambda clip: sum(map(len, clip.true_boxes)))  # one with faces, for the last stages
    jpeg = decode(raw_payload(clip), WorkSettings(work.jpeg_quality, work.detector))
    with ExitStack() as stack:
        channels = [stack.enter_context(call(host, port, token, 5.0)) for host, port, token in addresses]
        trips_s = [_ping(channels[-1], b"")[0] for _ in range(repeats)]
        goodput = [_goodput(bench, m, channels[m], repeats) for m in range(min(len(RATES_BPS), len(channels) - 1))]
        service = []
        for m, channel in enumerate(channels[:-1]):
            rows = [_serve(channel, [(0, raws[i % len(raws)])], n_frames)[0] for i in range(repeats)]
            service.append(_service_row(bench.servers[m].cores, rows, n_frames))
        by_clip = [_serve(channels[-2], [(0, raw)], n_frames)[0] for raw in raws]  # at a whole core
        crowding = _crowding(channels[-1], jpeg, n_frames, bench.servers[-1].n_lanes, repeats)
    return {
        "service": service,
        "goodput": goodput,
        "crowding": crowding,
        "round_trip_s": _plain(interval(trips_s)),
        "clips": [
            {
                "cpu_s": [stage[3] / n_frames for stage in stages],
                "bytes": [len(raw) / n_frames, *(stage[4] / n_frames for stage in stages)],
            }
            for raw, stages in zip(raws, by_clip, strict=True)
        ],
    }


def _service_row(quota: float, rows: Sequence[Sequence[Sequence[Any]]], n_frames: int) -> dict[str, Any]:
    """Return the figures of tasks at one quota, for a frame; rows are those of ``StageTime`` of each task."""
    frame_s = [(task[-1][2] - task[0][1]) / n_frames for task in rows]
    cpu_s = [sum(stage[3] for stage in task) / n_frames for task in rows]
    stages = {
        name: {
            "s": _plain(interval([(task[i][2] - task[i][1]) / n_frames for task in rows])),
            "cpu_s": _plain(interval([task[i][3] / n_frames for task in rows])),
        }
        for i, name in enumerate(STAGE_NAMES)
    }
    return {
        "quota": quota,
        "frame_s": _plain(interval(frame_s)),
        "frame_s_all": frame_s,
        "frame_cpu_s": _plain(interval(cpu_s)),
        "share": _plain(interval([cpu / took for cpu, took in zip(cpu_s, frame_s, strict=True)])),
        "stages": stages,
    }


def _goodput(bench: BedScenario, server: int, channel: Channel, repeats: int) -> dict[str, Any]:
    rate_bps = bench.up_bps(0, server)
    payload = secrets.token_bytes(int(rate_bps * _UPLOAD_S / 8))
    took_s = [_ping(channel, payload)[1] - bench.link.delay_s for _ in range(repeats)]
    goodput = [8 * len(payload) / s for s in took_s]
    return {"rate_bps": rate_bps, "goodput_bps": _plain(interval(goodput)), "goodput_bps_all": goodput}


def _crowding(channel: Channel, jpeg: bytes, n_frames: int, most: int, repeats: int) -> list[dict[str, Any]]:
    """Return how much longer tasks take the more of them are served at once; they come decoded, which is quick."""
    found: list[dict[str, Any]] = []
    alone_s = float("nan")
    for at_once in range(1, most + 1):
        took_s = []
        for _ in range(repeats):
            tasks = _serve(channel, [(1, jpeg)] * at_once, n_frames)
            took_s.append(float(np.mean([rows[-1][2] - rows[0][1] for rows in tasks])))
        if at_once == 1:
            alone_s = float(np.mean(took_s))
        slowdown = [s / alone_s for s in took_s]
        found.append({"at_once": at_once, "slowdown": _plain(interval(slowdown)), "slowdown_all": slowdown})
    return found


def _ping(channel: Channel, payload: bytes) -> tuple[float, float]:
    """Return the time of a round trip and of the way there."""
    start_s = time.monotonic()
    channel.send("ping", payload)
    pong = expect(channel.receive(_ANSWER_S), "pong")
    return pong.last_byte_s - start_s, pong.fields["at_s"] - start_s


def _serve(channel: Channel, tasks: Sequence[tuple[int, bytes]], n_frames: int) -> list[list[list[Any]]]:
    """Have tasks served, all at once; each is its first stage and its payload. Return the stages' rows of each."""
    for number, (first, payload) in enumerate(tasks):
        channel.send("task", payload, task=number, first=first, frames=n_frames)
    found: dict[int, list[list[Any]]] = {}
    while len(found) < len(tasks):
        frame = channel.receive(_ANSWER_S)
        if frame.kind == "result":
            if frame.fields["error"]:
                raise SetupError(f"a server could not do its task: {frame.fields['error']}")
            found[frame.fields["task"]] = frame.fields["stages"]
    return [found[number] for number in range(len(tasks))]


def _plain(estimate: Estimate) -> list[float]:
    return [float(value) for value in estimate]
