"""Links and processors are slowed to what was asked, tiers are found by trying, and nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edge_rllib.testbed.errors import SetupError
from edge_rllib.testbed.frames import Channel
from edge_rllib.testbed.listening import LOOPBACK, Listener, call
from edge_rllib.testbed.shaping import cgroups, namespaces, probe
from edge_rllib.testbed.shaping.bucket import TokenBucket
from edge_rllib.testbed.shaping.cgroups import CpuGroups
from edge_rllib.testbed.shaping.probe import TierState
from edge_rllib.testbed.shaping.relay import Relay, RelayLink
from edge_rllib.testbed.shaping.throttle import Throttle
from envs.errors import ConfigError

TOKEN = b"token"
WAIT_S = 60.0  # longest wait for anything that must come: machines can be busy
ROOT = pytest.mark.skipif(not all(state.is_there for state in probe.probe()), reason="this machine has no tier 2")


def test_bits_leave_a_link_one_after_another() -> None:
    bucket = TokenBucket(1000.0, burst_s=0.0)

    # 500 bits at 1000 bit/s take 0.5 s; the next 500 wait for them; after a pause the link is free at once
    assert bucket.leave_s(500, now_s=0.0) == 0.5
    assert bucket.leave_s(500, now_s=0.1) == 1.0
    assert bucket.leave_s(500, now_s=3.0) == 3.5


def test_burst_lets_a_late_waker_catch_up_but_nothing_leaves_before_it_came() -> None:
    bucket = TokenBucket(1000.0, burst_s=0.2)

    # free since 0: at 10 s the bucket is 0.2 s ahead, so 100 bits (0.1 s) leave at once and 200 more take 0.1 s
    assert bucket.leave_s(100, now_s=10.0) == 10.0
    assert bucket.leave_s(200, now_s=10.0) == pytest.approx(10.1)


def test_rate_changes_for_bits_to_come() -> None:
    bucket = TokenBucket(1000.0, burst_s=0.0)
    bucket.leave_s(1000, now_s=0.0)
    bucket.set_rate(100.0)

    assert bucket.leave_s(100, now_s=0.0) == 2.0
    with pytest.raises(ConfigError, match="rate_bps = 0"):
        bucket.set_rate(0.0)


class Machine:
    """Clocks of a made-up machine: work uses the core in part, sleep uses none."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.cpu_s = 0.0

    def work(self, cpu_s: float, core_frac: float) -> None:
        """Compute while others take the rest of the core."""
        self.cpu_s += cpu_s
        self.now_s += cpu_s / core_frac

    def sleep(self, wait_s: float) -> None:
        self.now_s += wait_s

    def throttle(self, share: Callable[[], float]) -> Throttle:
        return Throttle(share, lambda: self.now_s, lambda: self.cpu_s, self.sleep)


@pytest.mark.parametrize("core_frac", [1.0, 0.6, 0.25])
def test_throttled_work_takes_as_long_on_a_busy_machine_as_on_an_idle_one(core_frac: float) -> None:
    machine = Machine()
    throttle = machine.throttle(lambda: 0.25)

    machine.work(0.1, core_frac)
    throttle.pause()

    # 0.1 s of CPU at a quarter of a core takes 0.4 s, whoever had the core in between
    assert machine.now_s == pytest.approx(0.4, abs=1e-9)


def test_throttle_makes_up_for_what_others_took() -> None:
    machine = Machine()
    throttle = machine.throttle(lambda: 0.5)

    machine.work(0.1, 0.25)  # took 0.4 s, twice as long as allowed
    throttle.pause()
    machine.work(0.1, 1.0)
    throttle.pause()

    # 0.2 s of CPU at a half: 0.4 s; the first part was late already, so the second need not wait beyond its own time
    assert machine.now_s == pytest.approx(0.5)


def test_throttle_follows_a_share_that_changes_while_it_sleeps() -> None:
    machine = Machine()
    throttle = machine.throttle(lambda: 0.5 if machine.now_s < 0.2 else 0.25)

    machine.work(0.15, 1.0)
    throttle.pause()

    # 0.1 s of CPU is earned until 0.2 s, the other 0.05 s at a quarter: 0.2 s more, to within one poll of 5 ms
    assert machine.now_s == pytest.approx(0.4, abs=0.006)


def test_throttle_earns_nothing_while_idle() -> None:
    machine = Machine()
    throttle = machine.throttle(lambda: 0.5)
    machine.now_s = 100.0

    throttle.begin()
    machine.work(0.1, 1.0)
    throttle.pause()

    assert machine.now_s == pytest.approx(100.2)


def through_relay(links: Sequence[RelayLink], use: Callable[[Relay, list[int]], None]) -> None:
    """Run a relay and, in a thread, what uses it."""

    async def main() -> None:
        relay = Relay(links)
        ports = await relay.start()
        try:
            await asyncio.to_thread(use, relay, ports)
        finally:
            await relay.stop()

    asyncio.run(main())


def confirm(channel: Channel, _: str) -> None:
    """Tell when each frame was complete."""
    while True:
        channel.send("confirmed", at_s=channel.receive().last_byte_s)


def upload_s(channel: Channel, n_bytes: int) -> float:
    """Return how long a payload took."""
    channel.send("first")
    start_s = channel.receive(WAIT_S).fields["at_s"]
    channel.send("payload", bytes(n_bytes))
    return float(channel.receive(WAIT_S).fields["at_s"] - start_s)


def test_relay_lets_bytes_through_at_its_rate_which_may_change() -> None:
    took_s: list[float] = []

    def use(relay: Relay, ports: list[int]) -> None:
        with call(LOOPBACK, ports[0], TOKEN, WAIT_S) as channel:
            took_s.append(upload_s(channel, 50_000))
            relay.set_rates(0, 8e6, 8e6)
            took_s.append(upload_s(channel, 50_000))

    with Listener(LOOPBACK, 0, TOKEN, confirm) as listener:
        through_relay([RelayLink(LOOPBACK, LOOPBACK, listener.port, 2e6, 2e6, 0.0)], use)

    # 400,000 bits: 0.2 s at 2 Mbit/s less at most 20 ms of burst; 0.05 s at 8 Mbit/s. A busy machine adds, never takes.
    assert took_s[0] >= 0.179
    assert took_s[1] >= 0.029


def test_relay_delays_both_ways() -> None:
    trips_s: list[float] = []

    def use(_: Relay, ports: list[int]) -> None:
        with call(LOOPBACK, ports[0], TOKEN, WAIT_S) as channel:
            channel.send("first")
            channel.receive(WAIT_S)
            channel.send("second")
            frame = channel.receive(WAIT_S)
            trips_s.append(frame.last_byte_s - frame.fields["at_s"])

    with Listener(LOOPBACK, 0, TOKEN, confirm) as listener:
        through_relay([RelayLink(LOOPBACK, LOOPBACK, listener.port, float("inf"), float("inf"), 0.05)], use)

    assert trips_s[0] >= 0.049  # the way back alone


def test_relay_closes_a_connection_whose_server_is_not_there() -> None:
    closed: list[type] = []

    def use(_: Relay, ports: list[int]) -> None:
        try:
            call(LOOPBACK, ports[0], TOKEN, 0.0)
        except Exception as error:
            closed.append(type(error))

    with Listener(LOOPBACK, 0, TOKEN, confirm) as listener:
        port = listener.port
    through_relay([RelayLink(LOOPBACK, LOOPBACK, port, 1e6, 1e6, 0.0)], use)

    assert [error.__name__ for error in closed] == ["PeerGone"]


def test_relay_that_has_not_started_takes_no_rates() -> None:
    with pytest.raises(SetupError, match="has not started"):
        Relay([]).set_rates(0, 1.0, 1.0)


def v2_tree(folder: Path, controllers: str) -> Path:
    folder.mkdir()
    (folder / "cgroup.controllers").write_text(controllers)
    mounts = folder.parent / "mounts"
    mounts.write_text(f"proc /proc proc rw 0 0\ncgroup2 {folder} cgroup2 rw,relatime 0 0\n")
    return mounts


def test_second_version_of_control_groups_gets_its_quota(tmp_path: Path) -> None:
    mounts = v2_tree(tmp_path / "tree", "cpuset cpu io")
    cpu, accounting, is_v2 = cgroups.controllers(mounts)
    groups = CpuGroups(cpu, accounting, is_v2, "run")

    files = groups.add("device", 0.25)

    # a quarter of a core is 2,500 of every 10,000 microseconds
    assert groups.version == 2
    assert (cpu / "run" / "device" / "cpu.max").read_text() == "2500 10000"
    assert (cpu / "run" / "cgroup.subtree_control").read_text() == "+cpu"
    assert (cpu / "run" / "cpu.weight").read_text() == "10000"  # the most of version 2
    assert files == [str(cpu / "run" / "device" / "cgroup.procs")]
    (cpu / "run" / "device" / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    assert groups.cpu_s("device") == 1.5


def test_first_version_of_control_groups_gets_its_quota(tmp_path: Path) -> None:
    for name in ("cpu", "cpuacct"):
        (tmp_path / name).mkdir()
    lines = [f"cgroup {tmp_path / name} cgroup rw,relatime,{name} 0 0\n" for name in ("cpu", "cpuacct")]
    (tmp_path / "mounts").write_text("".join(lines))
    cpu, accounting, is_v2 = cgroups.controllers(tmp_path / "mounts")
    groups = CpuGroups(cpu, accounting, is_v2, "run")

    groups.add("device", 0.01)

    # 1 % of 10,000 microseconds is 100, and the kernel takes no less than 1,000: that is 1 % of 100,000
    assert groups.version == 1
    assert (cpu / "run" / "device" / "cpu.cfs_quota_us").read_text() == "1000"
    assert (cpu / "run" / "device" / "cpu.cfs_period_us").read_text() == "100000"
    assert (cpu / "run" / "cpu.shares").read_text() == "262144"  # the most of version 1
    (accounting / "run" / "device" / "cpuacct.usage").write_text("2000000000\n")
    assert groups.cpu_s("device") == 2.0


@pytest.mark.parametrize(
    ("controllers", "message"), [("cpuset io", "have no cpu controller"), (None, "no control groups are mounted")]
)
def test_reason_is_given_where_control_groups_cannot_serve(
    tmp_path: Path, controllers: str | None, message: str
) -> None:
    mounts = tmp_path / "mounts"
    if controllers is None:
        mounts.write_text("proc /proc proc rw 0 0\n")
    else:
        mounts = v2_tree(tmp_path / "tree", controllers)

    with pytest.raises(SetupError, match=message):
        cgroups.controllers(mounts)


def test_lack_of_rights_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = v2_tree(tmp_path / "tree", "cpu")
    monkeypatch.setattr(cgroups.os, "access", lambda *_: False)

    with pytest.raises(SetupError, match="no right to make control groups"):
        cgroups.controllers(mounts)


@pytest.mark.parametrize(
    ("asked", "tier", "line"),
    [
        ("auto", 1, ""),
        ("0", 0, ""),
        ("2", 1, "tier 2 is not there: network namespaces need root; tier 1 will be used"),
    ],
)
def test_tier_is_the_one_asked_for_or_one_line_says_which_will_be_used(asked: str, tier: int, line: str) -> None:
    states = [
        TierState(0, True, ""),
        TierState(1, True, ""),
        TierState(2, False, "network namespaces need root"),
    ]

    assert probe.choose(asked, states) == (tier, line)


def test_unknown_tier_is_refused() -> None:
    with pytest.raises(SetupError, match="expected auto, 0, 1 or 2"):
        probe.choose("3", [TierState(0, True, "")])


def test_tier_needs_the_one_below(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_groups() -> None:
        raise SetupError("no right to make control groups")

    monkeypatch.setattr(probe.cgroups, "open_groups", no_groups)
    monkeypatch.setattr(probe.namespaces, "check", lambda: None)

    zero, one, two = probe.probe()

    assert (zero.is_there, one.is_there, two.is_there) == (True, False, False)
    assert one.line().endswith("(no right to make control groups)")
    assert two.reason == "it needs tier 1"


def test_user_without_root_gets_no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces.shutil, "which", lambda name: name)
    monkeypatch.setattr(namespaces.os, "geteuid", lambda: 1000)

    with pytest.raises(SetupError, match="need root"):
        namespaces.check()


def test_runs_take_networks_that_nobody_has() -> None:
    addresses = "2: eth0    inet 10.64.3.7/16 brd x\n3: e1d0s0a    inet 10.65.0.1/30 scope global\n"

    assert namespaces.free_octet(addresses, start=0) == 66
    assert namespaces.free_octet("", start=191) == 255
    assert namespaces.free_octet("1: x    inet 10.255.0.1/30", start=191) == 64


def test_machine_without_a_free_network_is_told() -> None:
    full = "\n".join(f"1: x    inet 10.{octet}.0.1/16" for octet in range(64, 256))

    with pytest.raises(SetupError, match="no range from"):
        namespaces.free_octet(full, start=5)


@ROOT
def test_kernel_link_carries_frames_and_leaves_nothing() -> None:
    cables = namespaces.Cables(1, 1)
    own = cables.namespace(0)
    took_s: list[float] = []

    def device() -> None:  # in a thread: a network namespace belongs to the thread that enters it
        namespaces.enter(own)
        with call(cables.host(0, 0), listener.port, TOKEN, WAIT_S) as channel:
            took_s.append(upload_s(channel, 50_000))

    try:
        cables.set_rate(0, 0, 2e6, 2e6)
        with Listener(cables.host(0, 0), 0, TOKEN, confirm) as listener:
            thread = threading.Thread(target=device)
            thread.start()
            thread.join()
    finally:
        cables.close()

    # 400,000 bits at 2 Mbit/s, less a burst of 6,000 bytes
    assert took_s and took_s[0] > 0.17
    assert not (namespaces.FOLDER / own).exists()
    assert not Path("/sys/class/net", f"e{os.getpid()}d0s0a").exists()


@ROOT
def test_control_group_of_this_machine_counts_cpu_time_and_goes_away() -> None:
    groups = cgroups.open_groups()
    try:
        files = groups.add("device", 0.5)
        assert all(Path(file).exists() for file in files)
        assert groups.cpu_s("device") == 0.0
    finally:
        groups.close()
    assert not Path(files[0]).exists()


def test_cables_that_cannot_all_be_laid_are_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[str, ...]] = []

    def output(*command: str, is_checked: bool = True) -> str:
        commands.append(command)
        if command[:3] == ("ip", "netns", "add") and command[3].endswith("d1"):
            raise SetupError("no more namespaces")
        return ""

    monkeypatch.setattr(namespaces, "_output", output)

    with pytest.raises(SetupError, match="no more namespaces"):
        namespaces.Cables(2, 1)

    name = f"ertb{os.getpid()}d0"
    assert ("ip", "netns", "add", name) in commands
    assert ("ip", "netns", "del", name) in commands


@pytest.mark.parametrize(
    ("rate_bps", "burst"), [(2e6, "6000"), (1e9, "625000")]
)  # four packets at least; what 5 ms bring
def test_kernel_bucket_holds_some_packets(rate_bps: float, burst: str) -> None:
    words = namespaces._bucket(rate_bps)

    assert words[:2] == ("tbf", "rate")
    assert words[words.index("burst") + 1] == burst
