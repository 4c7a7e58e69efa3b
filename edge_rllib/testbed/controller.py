"""The controller: brings the processes of a run up, asks and decides every epoch, and collects what was measured."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_rllib.testbed.errors import SetupError
from edge_rllib.testbed.frames import Frame
from edge_rllib.testbed.gathering import Gathering, Peer
from edge_rllib.testbed.ground import MACHINES, Ground
from edge_rllib.testbed.meter import TaskRecord, record_of
from edge_rllib.testbed.params import BedScenario
from edge_rllib.testbed.policies import Policy, checked
from edge_rllib.testbed.rates import RateModel, rate_model, up_rates
from edge_rllib.testbed.sight import Sight, observation, seen_of
from edge_rllib.testbed.vision.stages import N_STAGES
from envs.arrays import BOOL, F8

log = logging.getLogger(__name__)

START_WAIT_S = 120.0  # for processes that are started here; machines are waited for as long as it takes
_REPORT_FRAC = 0.5  # share of an epoch that reports may take; who is later is decided on by what was heard last
_STOP_WAIT_S = 3.0
_DEVICE_NUMBERS, _SERVER_NUMBERS = ("frames", "backlog_s", "frame_s"), ("backlog_s", "frame_s")  # of a report
_NEW_WEIGHT = 0.3  # of the newest clip in the moving averages of payloads


@dataclass
class Played:
    """What came of a run."""

    tasks: list[TaskRecord] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    lost: list[dict[str, Any]] = field(default_factory=list)  # processes that ended before they were told to
    frame_cpu_s: dict[str, float] = field(default_factory=dict)  # of each node, measured before the start
    lane_cpu_s: dict[str, float] = field(default_factory=dict)  # that its lanes used in all
    group_cpu_s: dict[str, float] = field(default_factory=dict)  # of control groups, tiers 1 and 2
    n_refused: int = 0  # masked targets that the policy chose


class Controller:
    """Leads one run."""

    def __init__(
        self, scenario: BedScenario, ground: Ground, gathering: Gathering, radio: RateModel | None = None
    ) -> None:
        """Take a model of the rates; None takes the scenario's own."""
        self._scenario, self._ground, self._gathering = scenario, ground, gathering
        self._scale = ground.scale
        self._played = Played()
        self._radio = radio or rate_model(scenario)
        n, m = scenario.n_devices, scenario.n_servers
        self._n_uploads = np.zeros((n, m), np.int64)
        self._rates_bps: F8 = up_rates(scenario)  # with which links start
        self._device_reports: dict[int, Frame] = {}
        self._server_reports: dict[int, Frame] = {}
        self._bits_per_frame = np.full(N_STAGES, 24.0 * scenario.work.side_px**2)  # until devices have tried
        self._start_s = float("nan")

    def bring_up(self) -> None:
        """Tell servers, the relay and devices what to be, and wait until they are ready; raises SetupError.

        Other machines may come, go and come again for as long as one is missing.
        """
        self._wait_for_all()
        servers = self._gathering.all("server")
        for peer in servers:
            peer.send("setup", **self._ground.server_setup(peer.index))
        ready = self._ready(servers)
        ports = [ready["server", peer.index].fields["port"] for peer in servers]
        relay_ports: list[int] = []
        for peer in self._gathering.all("relay"):  # one, but between machines
            peer.send("setup", **self._ground.relay_setup(ports))
            relay_ports = self._ready([peer])["relay", peer.index].fields["ports"]
        there = [(peer.host, port) for peer, port in zip(servers, ports, strict=True)]
        devices = self._gathering.all("device")
        for peer in devices:
            addresses = self._ground.relay_addresses(peer.index, relay_ports) if relay_ports else there
            peer.send("setup", **self._ground.device_setup(peer.index, addresses))
        ready = self._ready(devices)
        tried = [ready["device", peer.index].fields["frame_bytes"] for peer in devices]
        self._bits_per_frame = 8.0 * np.mean(tried, 0)

    def _wait_for_all(self) -> None:
        is_elsewhere = self._ground.tier == MACHINES
        end_s = time.monotonic() + (float("inf") if is_elsewhere else START_WAIT_S)
        while missing := self._gathering.missing():
            said = self._gathering.next(min(end_s, time.monotonic() + 5.0))
            if said is not None and said[1] is None:
                if not is_elsewhere:
                    raise SetupError(f"{said[0].label} has ended before the run began; see the log of the run")
                log.info("%s has gone again", said[0].label)
                self._gathering.forget(said[0])
            if time.monotonic() > end_s:
                late = ", ".join(missing)
                raise SetupError(f"{late} did not come within {START_WAIT_S:.0f} s; see the log of the run")

    def play(self, policy: Policy) -> Played:
        """Decide for every epoch, let the tasks come to their end, and return what was measured."""
        scenario = self._scenario
        self._set_rates(self._radio.rates_bps(self._n_uploads > 0))
        self._start_s = time.monotonic()
        for epoch in range(scenario.n_epochs):
            self._listen_until(self._start_s + epoch * scenario.epoch_s * self._scale)
            if not self._gathering.all("device"):
                log.error("no device is left; the run ends at epoch %d of %d", epoch, scenario.n_epochs)
                break
            self._epoch(epoch, policy)
        end_s = time.monotonic() + (scenario.epoch_s + scenario.drain_s) * self._scale
        n_created = len(self._played.epochs) * scenario.n_devices
        while len(self._played.tasks) < n_created and time.monotonic() < end_s and self._gathering.all("device"):
            self._listen_until(min(end_s, time.monotonic() + 0.05))
        self._stop()
        return self._played

    def _epoch(self, epoch: int, policy: Policy) -> None:
        """Ask, decide, tell."""
        scenario, now_s = self._scenario, time.monotonic()
        devices, servers = self._gathering.all("device"), self._gathering.all("server")
        for peer in devices:
            peer.send("epoch", epoch=epoch)
        for peer in servers:
            peer.send("report", epoch=epoch)
        end_s = now_s + _REPORT_FRAC * scenario.epoch_s * self._scale
        heard = self._gathering.collect("report", [*devices, *servers], end_s, self._heard)
        for peer in [*devices, *servers]:
            if (peer.role, peer.index) in heard:
                self._take_report(peer, heard[peer.role, peer.index])
        sight = self._sight()
        decide_s = time.monotonic()
        shown = policy.observe(sight) if hasattr(policy, "observe") else observation(sight)
        decision = policy.decide(shown, sight.target_mask)
        decided_s = time.monotonic()
        targets, cuts, n_refused = checked(decision, sight.target_mask, scenario.is_partial)
        self._played.n_refused += n_refused
        for peer in devices:
            peer.send("decision", epoch=epoch, target=int(targets[peer.index]), cut=int(cuts[peer.index]))
        self._played.epochs.append(
            {
                "epoch": epoch,
                "start_s": (now_s - self._start_s) / self._scale,
                "report_s": (decide_s - now_s) / self._scale,
                "decide_s": (decided_s - decide_s) / self._scale,
                "devices": len(devices),
                "servers": len(servers),
                "late_reports": len(devices) + len(servers) - len(heard),
                "targets": targets.tolist(),
                "cuts": cuts.tolist(),
                **seen_of(sight),
                "observation": shown.tolist(),
            }
        )

    def _sight(self) -> Sight:
        """Return what was reported, in seconds and rates of the scenario; who was silent is as at its last report."""
        scenario, scale = self._scenario, self._scale
        n, m = scenario.n_devices, scenario.n_servers
        frames, backlog_s, frame_s = np.ones(n), np.zeros(n), np.full(n, scenario.deadline_s)
        rate_bps, is_up = np.array(self._radio.rates_bps(np.zeros((n, m), np.bool_))), np.zeros((n, m), np.bool_)
        for index, frame in self._device_reports.items():
            said = frame.fields
            frames[index], backlog_s[index], frame_s[index] = said["frames"], said["backlog_s"], said["frame_s"] / scale
            rate_bps[index] = np.array(said["rates_bps"]) * scale
            is_up[index] = said["is_up"]
        server_backlog_s, server_frame_s = np.zeros(m), np.zeros(m)
        for index, frame in self._server_reports.items():
            server_backlog_s[index] = frame.fields["backlog_s"] / scale
            server_frame_s[index] = frame.fields["frame_s"] / scale
        for peer in self._gathering.all("server", is_up=False):
            is_up[:, peer.index] &= peer.is_up
        return Sight(
            n_frames=frames,
            payload_bits=frames[:, None] * self._bits_per_frame,
            local_backlog_s=backlog_s / scale,
            local_service_s=frames * frame_s,
            server_backlog_s=server_backlog_s,
            server_service_s=frames[:, None] * server_frame_s,
            rate_bps=rate_bps,
            is_up=is_up,
            deadline_s=scenario.deadline_s,
        )

    def _listen_until(self, end_s: float) -> None:
        while (said := self._gathering.next(end_s)) is not None:
            self._heard(*said)

    def _heard(self, peer: Peer, frame: Frame | None) -> None:
        """Take in what a peer says while nothing was asked; one that says what cannot be is let go."""
        if frame is None:
            self._lose(peer)
        elif frame.kind == "report":  # too late for its epoch
            self._take_report(peer, frame)
        else:
            try:
                self._note(peer, frame)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                self._refuse(peer, f"a frame {frame.kind!r} with {type(error).__name__}: {error}")

    def _note(self, peer: Peer, frame: Frame) -> None:
        """Take in a finished task, or that an upload begins or ends."""
        if frame.kind == "done":
            record = record_of(frame.fields["record"])
            self._learn_payloads(record)
            self._played.tasks.append(record)
        elif frame.kind == "link":
            self._n_uploads[peer.index, int(frame.fields["server"])] += 1 if frame.fields["is_busy"] else -1
            self._set_rates(self._radio.rates_bps(self._n_uploads > 0))

    def _take_report(self, peer: Peer, frame: Frame) -> None:
        """Keep a report of numbers above 0, of the right length."""
        names, lists = (_DEVICE_NUMBERS, ("rates_bps", "is_up")) if peer.role == "device" else (_SERVER_NUMBERS, ())
        try:
            numbers = [float(frame.fields[name]) for name in names]
            rows = [np.array(frame.fields[name], np.float64) for name in lists]
        except (KeyError, TypeError, ValueError) as error:
            self._refuse(peer, f"a report with {type(error).__name__}: {error}")
            return
        if not all(0.0 <= number < np.inf for number in numbers) or any(
            row.shape != (self._scenario.n_servers,) for row in rows
        ):
            self._refuse(peer, f"a report with {dict(frame.fields)}")
        else:
            (self._device_reports if peer.role == "device" else self._server_reports)[peer.index] = frame

    def _refuse(self, peer: Peer, what: str) -> None:
        """Close the connection of a peer that said what cannot be; it counts as lost."""
        log.warning("%s is let go: it sent %s", peer.label, what)
        peer.channel.close()

    def _lose(self, peer: Peer) -> None:
        at_s = (time.monotonic() - self._start_s) / self._scale
        log.warning("%s has gone after %.3g s of the scenario; the run goes on without it", peer.label, at_s)
        self._played.lost.append({"role": peer.role, "index": peer.index, "at_s": at_s})
        if peer.role == "device":
            self._n_uploads[peer.index] = 0

    def _learn_payloads(self, record: TaskRecord) -> None:
        """Take a clip's payloads into the moving averages of bits a frame at each cut."""
        for cut, stage in enumerate(record.stages[: N_STAGES - 1], start=1):
            if len(record.stages) == N_STAGES:
                bits = 8.0 * stage.n_bytes / record.n_frames
                self._bits_per_frame[cut] += _NEW_WEIGHT * (bits - self._bits_per_frame[cut])

    def _set_rates(self, rates_bps: F8) -> None:
        """Bring the links to the rates of the radio, where they differ."""
        changed: BOOL = rates_bps != self._rates_bps
        self._rates_bps = np.array(rates_bps)
        for device, server in np.argwhere(changed):
            up_bps = float(rates_bps[device, server]) / self._scale
            if self._ground.is_kernel_shaped:
                self._ground.set_rate(int(device), int(server), up_bps)
            else:
                down_bps = self._scenario.down_bps(int(device), int(server)) / self._scale
                link = int(device) * self._scenario.n_servers + int(server)
                for relay in self._gathering.all("relay"):
                    relay.send("rates", link=link, up_bps=up_bps, down_bps=down_bps)

    def _ready(self, peers: list[Peer]) -> dict[tuple[str, int], Frame]:
        """Wait until peers are ready; raises SetupError with the name of one that is not."""

        def gone(peer: Peer, frame: Frame | None) -> None:
            if frame is None:
                raise SetupError(f"{peer.label} has ended while it got ready; see the log of the run")

        ready = self._gathering.collect("ready", peers, time.monotonic() + START_WAIT_S, gone)
        late = [peer.label for peer in peers if (peer.role, peer.index) not in ready]
        if late:
            raise SetupError(f"{', '.join(late)} did not get ready within {START_WAIT_S:.0f} s; see the log of the run")
        for peer in peers:
            cpu_s = ready[peer.role, peer.index].fields.get("frame_cpu_s")
            if cpu_s is not None:
                self._played.frame_cpu_s[peer.label] = cpu_s
        return ready

    def _stop(self) -> None:
        """Tell everybody to end, and take their last words."""
        self._played.group_cpu_s = dict(self._ground.cpu_s())
        peers = [peer for role in ("device", "server", "relay") for peer in self._gathering.all(role)]
        for peer in peers:
            peer.send("stop")
        speakers = [peer for peer in peers if peer.role != "relay"]

        def ending(peer: Peer, frame: Frame | None) -> None:
            if frame is not None:
                self._heard(peer, frame)

        bye = self._gathering.collect("bye", speakers, time.monotonic() + _STOP_WAIT_S, ending)
        for (role, index), frame in bye.items():
            self._played.lane_cpu_s[f"{role} {index}"] = frame.fields["cpu_s"]
