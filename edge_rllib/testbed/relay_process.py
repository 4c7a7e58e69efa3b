"""The process of the relay: what the controller says of links, it does."""

from __future__ import annotations

import asyncio
import logging

from edge_rllib.testbed.errors import PeerGone
from edge_rllib.testbed.frames import Channel
from edge_rllib.testbed.peers import join
from edge_rllib.testbed.shaping.relay import Relay, RelayLink

log = logging.getLogger(__name__)


def main(host: str, port: int, token: bytes, index: int) -> None:
    """Carry the bytes of all links until the controller says stop or is gone."""
    control, setup = join(host, port, token, "relay", index)
    with control:
        asyncio.run(_carry(control, [RelayLink(*row) for row in setup["links"]]))


async def _carry(control: Channel, links: list[RelayLink]) -> None:
    relay = Relay(links)
    try:
        control.send("ready", ports=await relay.start())
        await asyncio.to_thread(_obey, control, relay)
    finally:
        await relay.stop()


def _obey(control: Channel, relay: Relay) -> None:
    try:
        while (frame := control.receive()).kind == "rates":
            relay.set_rates(frame.fields["link"], frame.fields["up_bps"], frame.fields["down_bps"])
    except PeerGone as error:
        log.info("the controller has gone: %s", error)
