"""The controller uses what peers report, goes on without those that are gone, and lets those go that talk nonsense."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from edge_rllib.testbed.controller import Controller
from edge_rllib.testbed.errors import PeerGone, SetupError
from edge_rllib.testbed.frames import Channel, Frame
from edge_rllib.testbed.gathering import Gathering, Peer
from edge_rllib.testbed.ground import MACHINES, Ground
from edge_rllib.testbed.listening import LOOPBACK, Listener, call
from edge_rllib.testbed.meter import TaskRecord
from edge_rllib.testbed.scenarios import load_scenario
from edge_rllib.testbed.sight import Sight
from envs.errors import DecisionError

TOKEN = b"token"
WAIT_S = 60.0  # longest wait for anything that must come: machines can be busy
SCENARIO = load_scenario("testbed_3", ["n_devices=2", "n_epochs=2", "epoch_s=0.05", "drain_s=0.0"])


class FakeChannel:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.is_closed = False

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append((kind, fields))

    def close(self) -> None:
        self.is_closed = True


class FakeGathering:
    """Two devices, a server and a relay, whose reports are given."""

    def __init__(self, reports: dict[tuple[str, int], dict[str, Any]]) -> None:
        self.reports = reports
        self.said: deque[tuple[Peer, Frame | None]] = deque()
        self.peers = {
            (role, index): Peer(role, index, FakeChannel(), LOOPBACK)  # type: ignore[arg-type]
            for role, index in (("device", 0), ("device", 1), ("server", 0), ("relay", 0))
        }

    def all(self, role: str, is_up: bool = True) -> list[Peer]:
        return [peer for peer in self.peers.values() if peer.role == role and (peer.is_up or not is_up)]

    def next(self, end_s: float) -> tuple[Peer, Frame | None] | None:
        if not self.said:
            time.sleep(max(0.0, end_s - time.monotonic()))
            return None
        return self.said.popleft()

    def collect(self, kind: str, peers: Collection[Peer], end_s: float, other: Any) -> dict[tuple[str, int], Frame]:
        wanted = {(peer.role, peer.index) for peer in peers if kind == "report"}
        return {key: Frame(kind, fields) for key, fields in self.reports.items() if key in wanted}


def device_report(**changes: Any) -> dict[str, Any]:
    return {"frames": 8, "backlog_s": 1.0, "frame_s": 0.2, "rates_bps": [1e7], "is_up": [True], **changes}


REPORTS = {
    ("device", 0): device_report(),
    ("device", 1): device_report(frames=4, rates_bps=[5e6]),
    ("server", 0): {"backlog_s": 0.5, "frame_s": 0.03},
}


class Watcher:
    """Sends everything to the server and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[Sight] = []

    def observe(self, sight: Sight) -> np.ndarray:
        self.seen.append(sight)
        return np.zeros((2, 1), np.float32)

    def decide(self, observation: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(2, np.int64), np.array([1.0, 0.75])


def controller(gathering: Any, scale: float = 1.0, scenario: Any = SCENARIO) -> Controller:
    return Controller(scenario, Ground(scenario, 0, scale), gathering)


def test_reports_become_sight_in_seconds_of_the_scenario() -> None:
    gathering, watcher = FakeGathering(REPORTS), Watcher()

    played = controller(gathering, scale=2.0).play(watcher)

    sight = watcher.seen[0]
    # wall-clock times are twice those of the scenario, rates half
    assert sight.local_backlog_s.tolist() == [0.5, 0.5]
    assert sight.local_service_s == pytest.approx([8 * 0.1, 4 * 0.1])
    assert sight.server_backlog_s.tolist() == [0.25]
    assert sight.server_service_s == pytest.approx(np.array([[8 * 0.015], [4 * 0.015]]))
    assert sight.rate_bps.tolist() == [[2e7], [1e7]]
    assert len(played.epochs) == 2


def test_decisions_are_told_to_devices_with_their_cut() -> None:
    gathering = FakeGathering(REPORTS)

    controller(gathering).play(Watcher())

    sent = [fields for kind, fields in gathering.peers["device", 1].channel.sent if kind == "decision"]  # type: ignore[attr-defined]
    assert sent == [{"epoch": 0, "target": 1, "cut": 1}, {"epoch": 1, "target": 1, "cut": 1}]


def test_server_that_has_gone_is_masked_and_noted() -> None:
    gathering, watcher = FakeGathering(REPORTS), Watcher()
    server = gathering.peers["server", 0]
    server.is_up = False
    gathering.said.append((server, None))

    played = controller(gathering).play(watcher)

    assert not watcher.seen[0].is_up.any()
    assert played.n_refused == 4  # two devices and epochs, sent to a server that is not there
    assert [(lost["role"], lost["index"]) for lost in played.lost] == [("server", 0)]


@pytest.mark.parametrize(
    "changes",
    [{"frames": "many"}, {"backlog_s": -1.0}, {"frame_s": float("nan")}, {"rates_bps": [1.0, 2.0]}, {"is_up": None}],
)
def test_device_that_reports_nonsense_is_let_go(changes: dict[str, Any]) -> None:
    gathering = FakeGathering({**REPORTS, ("device", 1): device_report(**changes)})
    watcher = Watcher()

    controller(gathering).play(watcher)

    assert gathering.peers["device", 1].channel.is_closed  # type: ignore[attr-defined]
    assert not gathering.peers["device", 0].channel.is_closed  # type: ignore[attr-defined]
    assert watcher.seen[0].n_frames.tolist()[0] == 8.0


@pytest.mark.parametrize("frame", [Frame("done", {"record": {"device": 1}}), Frame("link", {"server": 7})])
def test_device_that_tells_nonsense_is_let_go(frame: Frame) -> None:
    gathering = FakeGathering(REPORTS)
    gathering.said.append((gathering.peers["device", 1], frame))

    played = controller(gathering).play(Watcher())

    assert gathering.peers["device", 1].channel.is_closed  # type: ignore[attr-defined]
    assert played.tasks == []


def test_shared_rates_follow_who_uploads() -> None:
    scenario = load_scenario(
        "testbed_3", ["n_devices=2", "n_epochs=1", "epoch_s=0.05", "link.sharing=shared", "drain_s=0"]
    )
    gathering = FakeGathering(REPORTS)
    for index, is_busy in ((0, True), (1, True), (0, False)):
        gathering.said.append((gathering.peers["device", index], Frame("link", {"server": 0, "is_busy": is_busy})))

    controller(gathering, scenario=scenario).play(Watcher())

    sent = [fields for kind, fields in gathering.peers["relay", 0].channel.sent if kind == "rates"]  # type: ignore[attr-defined]
    # alone 20 Mbit/s, which is what it was; two have 10 each; then the other is alone again
    assert [(row["link"], row["up_bps"]) for row in sent] == [(0, 1e7), (1, 1e7), (0, 2e7), (1, 2e7)]


def test_finished_tasks_are_kept() -> None:
    record = TaskRecord(
        0, 0, 0, 4, 1, 10, 0, 0.0, 0.0, None, None, 1.0, 3.0, "device", "", (), 0.0, 0.5, 0.5, 0.0, 1, 0, 0
    )
    gathering = FakeGathering(REPORTS)
    gathering.said.append((gathering.peers["device", 0], Frame("done", {"record": asdict(record)})))

    assert controller(gathering).play(Watcher()).tasks == [record]


def test_run_ends_when_no_device_is_left() -> None:
    gathering = FakeGathering(REPORTS)
    for index in (0, 1):
        gathering.peers["device", index].is_up = False

    assert controller(gathering).play(Watcher()).epochs == []


def test_wrong_decision_ends_the_run_with_one_line() -> None:
    class Wrong(Watcher):
        def decide(self, observation: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.ones(3, np.int64), np.ones(3)

    with pytest.raises(DecisionError, match=r"amounts \(3,\); expected"):
        controller(FakeGathering(REPORTS)).play(Wrong())


def test_collecting_waits_for_those_who_are_there_and_hands_on_the_rest() -> None:
    others: list[str] = []
    with (
        Gathering(LOOPBACK, 0, TOKEN, {"device": 2}) as gathering,
        call(LOOPBACK, gathering.port, TOKEN, WAIT_S) as first,
        call(LOOPBACK, gathering.port, TOKEN, WAIT_S) as second,
    ):
        first.send("hello", role="device", index=-1)
        while len(gathering.missing()) > 1:
            time.sleep(0.001)
        second.send("hello", role="device", index=-1)
        while gathering.missing():
            time.sleep(0.001)
        peers = gathering.all("device")
        first.send("done")
        first.send("report", epoch=0)
        second.close()
        found = gathering.collect(
            "report",
            peers,
            time.monotonic() + WAIT_S,
            lambda peer, frame: others.append(frame.kind if frame else "gone"),
        )

    assert list(found) == [("device", 0)]
    assert sorted(others) == ["done", "gone", "hello", "hello"]


def test_frame_that_lacks_a_field_closes_only_its_own_connection() -> None:
    def serve(channel: Channel, _: str) -> None:
        while True:
            channel.send("ok", number=channel.receive().fields["number"])

    with (
        Listener(LOOPBACK, 0, TOKEN, serve) as listener,
        call(LOOPBACK, listener.port, TOKEN, WAIT_S) as good,
        call(LOOPBACK, listener.port, TOKEN, WAIT_S) as bad,
    ):
        bad.send("task")
        with pytest.raises(PeerGone):
            bad.receive(WAIT_S)
        good.send("task", number=1)

        assert good.receive(WAIT_S).fields["number"] == 1


def test_channel_closed_by_its_own_side_ends_a_waiting_receiver() -> None:
    near, far = socket.socketpair()
    made: list[Channel] = []
    thread = threading.Thread(target=lambda: made.append(Channel(far, TOKEN, is_caller=False)))
    thread.start()
    channel = Channel(near, TOKEN, is_caller=True)
    thread.join()
    ended: list[str] = []

    def wait() -> None:
        try:
            channel.receive()
        except PeerGone:
            ended.append("gone")

    receiver = threading.Thread(target=wait)
    receiver.start()
    channel.close()
    receiver.join(WAIT_S)
    made[0].close()

    assert ended == ["gone"]


def test_place_of_a_machine_that_went_is_free_for_another() -> None:
    scenario = load_scenario("testbed_3", ["n_devices=1"])
    with Gathering(LOOPBACK, 0, TOKEN, {"server": 1, "device": 1}) as gathering:
        leader = Controller(scenario, Ground(scenario, MACHINES, 1.0), gathering)
        with call(LOOPBACK, gathering.port, TOKEN, WAIT_S) as first:
            first.send("hello", role="device", index=-1)
            while gathering.missing() == ["server 0", "device 0"]:
                time.sleep(0.001)
        failed: list[str] = []

        def lead() -> None:
            try:
                leader.bring_up()
            except SetupError as error:
                failed.append(str(error))

        thread = threading.Thread(target=lead)
        thread.start()  # hears that the first has gone
        while gathering.all("device", is_up=False):
            time.sleep(0.001)
        with (
            call(LOOPBACK, gathering.port, TOKEN, WAIT_S) as second,
            call(LOOPBACK, gathering.port, TOKEN, WAIT_S) as server,
        ):
            second.send("hello", role="device", index=-1)
            server.send("hello", role="server", index=-1)
            assert server.receive(WAIT_S).kind == "setup"  # nobody is missing any more
        thread.join(WAIT_S)

    assert [message.split(" ", 2)[2] for message in failed] == ["has ended while it got ready; see the log of the run"]
