"""What stands at a node: cores, memory or queue places, power; and the table of published node types.

Cores and memory are those of the node library of Ether (T. Rausch et al., "Synthesizing plausible infrastructure
configurations for evaluating edge computing systems", HotEdge 2020), which has neither clocks nor power. These come
from the vendors' data sheets and from measurements, as each line says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from envs.topologies.checks import require, require_count, require_not_negative

GIB = 1024.0**3
KIB = 1024.0

# 0.1 W radiated, the limit of ETSI EN 300 328 at 2.4 GHz, at an amplifier efficiency of 20 % (assumed).
WIRELESS_TRANSMIT_W = 0.5
# No figure beyond that of the idle port is published for the network cards of these machines: 1 W is assumed.
WIRED_TRANSMIT_W = 1.0


@dataclass(frozen=True)
class NodeSettings:
    """The figures of one node that a simulation needs."""

    n_cores: int  # tasks that run at once; >= 1
    core_hz: float  # cycles per second of one core; 0: serves nothing
    queue_places: int  # tasks that fit, those in service counted; >= n_cores
    idle_w: float  # power when no core is busy
    busy_w: float  # power when all cores are busy; >= idle_w
    transmit_w: float  # additional power while transmitting
    queue_bits: float  # bits of input that fit, those in service counted; > 0, .inf for no limit

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require_count(self, 1, "n_cores", "queue_places")
        require(self, "queue_places", self.queue_places >= self.n_cores, f"at least n_cores = {self.n_cores}")
        require_not_negative(self, "core_hz", "idle_w", "busy_w", "transmit_w")
        require(self, "queue_bits", self.queue_bits > 0.0, "a number > 0, or .inf for no limit")
        require(self, "busy_w", self.busy_w >= self.idle_w, f"at least idle_w = {self.idle_w}")


@dataclass(frozen=True)
class NodeType:
    """A machine that one can buy or rent."""

    n_cores: int
    core_hz: float
    memory_bytes: float
    idle_w: float
    busy_w: float
    transmit_w: float

    def settings(self, task_memory_bytes: float, machines: int = 1) -> NodeSettings:
        """Return the figures of a node that stands for equal machines behind one queue.

        The queue holds memory / task memory tasks, rounded as in PeersimGym (M. Freitas et al., ECML PKDD 2024),
        and never fewer than there are cores.
        """
        n_cores = machines * self.n_cores
        return NodeSettings(
            n_cores=n_cores,
            core_hz=self.core_hz,
            queue_places=max(n_cores, round(machines * self.memory_bytes / task_memory_bytes)),
            idle_w=machines * self.idle_w,
            busy_w=machines * self.busy_w,
            transmit_w=self.transmit_w,
            queue_bits=math.inf,
        )


NODE_TYPES: dict[str, NodeType] = {
    # Raspberry Pi 3B+: 4 x Cortex-A53 at 1.4 GHz (product brief); 350 mA idle, 980 mA at full load (Pi Dramble).
    "rpi3": NodeType(4, 1.4e9, 999_036 * KIB, 1.9, 5.1, WIRELESS_TRANSMIT_W),
    # Raspberry Pi 4B: 4 x Cortex-A72 at 1.5 GHz (product brief); 540 mA idle, 1280 mA at full load (Pi Dramble).
    "rpi4": NodeType(4, 1.5e9, 1.0 * GIB, 2.7, 6.4, WIRELESS_TRANSMIT_W),
    # Jetson modules: CPU clocks of the data sheets; their lower and upper power mode stand for idle and busy.
    "nano": NodeType(4, 1.43e9, 4.0 * GIB, 5.0, 10.0, WIRELESS_TRANSMIT_W),
    "tx2": NodeType(4, 2.0e9, 8_047_252 * KIB, 7.5, 15.0, WIRELESS_TRANSMIT_W),
    "nx": NodeType(6, 1.4e9, 8.0 * GIB, 10.0, 15.0, WIRELESS_TRANSMIT_W),
    # NUC with a Core i5-8259U: 4 cores, 2.3 GHz base clock, 28 W TDP (Intel ARK) above 5 W of the board (assumed).
    "nuc": NodeType(4, 2.3e9, 16.0 * GIB, 5.0, 33.0, WIRED_TRANSMIT_W),
    # 2 x Xeon E5-2699 v4: 88 threads at 2.2 GHz base clock, 2 x 145 W TDP (Intel ARK) above 100 W idle (assumed).
    "server": NodeType(88, 2.2e9, 188.0e9, 100.0, 390.0, WIRED_TRANSMIT_W),
    # Four threads of that server, and their share of its power.
    "vm": NodeType(4, 2.2e9, 8_167_784 * KIB, 100.0 * 4 / 88, 390.0 * 4 / 88, WIRED_TRANSMIT_W),
}
