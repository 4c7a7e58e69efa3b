"""The relay: a process between devices and servers that lets bytes through at the rate of a link, after its delay.

Each link has a port of its own here. Both ways are limited apart; every connection of a link shares its two buckets.
The rates can be changed while bytes are under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from edge_rllib.testbed.errors import SetupError
from edge_rllib.testbed.shaping.bucket import TokenBucket

log = logging.getLogger(__name__)

_CHUNK_S = 0.005  # time on the link of what is let through at once
_LEAST_CHUNK_BYTES, _MOST_CHUNK_BYTES = 1_024, 65_536
_MOST_WAITING_CHUNKS = 512  # on a link's way, beyond which its sender waits: 1 Gbit/s through a delay of 0.25 s
_BURST_S = 0.02  # what a link may catch up after its relay woke late


@dataclass(frozen=True)
class RelayLink:
    """What the relay knows of a link."""

    host: str  # where the relay listens
    target_host: str  # where the bytes go
    target_port: int
    up_bps: float  # inf: not limited here
    down_bps: float
    delay_s: float  # each way


class _Way:
    """One direction of a link."""

    def __init__(self, rate_bps: float, delay_s: float) -> None:
        self.bucket = TokenBucket(rate_bps, _BURST_S)
        self.delay_s = delay_s

    def chunk_bytes(self) -> int:
        size = self.bucket.rate_bps * _CHUNK_S / 8
        return _MOST_CHUNK_BYTES if math.isinf(size) else min(_MOST_CHUNK_BYTES, max(_LEAST_CHUNK_BYTES, int(size)))


class Relay:
    """All links of a run; its methods are called in the thread of its event loop, but for ``set_rates``."""

    def __init__(self, links: Sequence[RelayLink]) -> None:
        self._links = links
        self._ways = [(_Way(link.up_bps, link.delay_s), _Way(link.down_bps, link.delay_s)) for link in links]
        self._servers: list[asyncio.Server] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._joined: set[asyncio.Task[None]] = set()

    async def start(self) -> list[int]:
        """Listen for every link and return the ports."""
        self._loop = asyncio.get_running_loop()
        for index, link in enumerate(self._links):
            self._servers.append(await self._listen(index, link))
        return [server.sockets[0].getsockname()[1] for server in self._servers]

    def set_rates(self, link: int, up_bps: float, down_bps: float) -> None:
        """Change a link's rates, from any thread."""
        if self._loop is None:
            raise SetupError("the relay has not started")
        for way, rate_bps in zip(self._ways[link], (up_bps, down_bps), strict=True):
            self._loop.call_soon_threadsafe(way.bucket.set_rate, rate_bps)

    async def stop(self) -> None:
        """Close every port and connection."""
        for server in self._servers:
            server.close()
        for task in self._joined:
            task.cancel()
        await asyncio.gather(*self._joined, return_exceptions=True)

    async def _listen(self, index: int, link: RelayLink) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._join(index, reader, writer))
            self._joined.add(task)
            task.add_done_callback(self._joined.discard)

        try:
            return await asyncio.start_server(serve, link.host, 0, limit=_MOST_CHUNK_BYTES)
        except OSError as error:
            raise SetupError(f"the relay cannot listen on {link.host}: {error.strerror or error}") from error

    async def _join(self, index: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection; when either side ends, both are closed."""
        link, (up, down) = self._links[index], self._ways[index]
        try:
            far_reader, far_writer = await asyncio.open_connection(
                link.target_host, link.target_port, limit=_MOST_CHUNK_BYTES
            )
        except OSError as error:
            log.info("link %d: %s:%d does not answer: %s", index, link.target_host, link.target_port, error)
            writer.close()
            return
        ways = [
            asyncio.ensure_future(_carry(reader, far_writer, up)),
            asyncio.ensure_future(_carry(far_reader, writer, down)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, far_writer):
                end.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Way) -> None:
    """Carry bytes one way until the sender ends; reading waits for the bucket, so the sender feels the rate."""
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_WAITING_CHUNKS)
    deliver = asyncio.ensure_future(_deliver(under_way, writer))
    try:
        while chunk := await reader.read(way.chunk_bytes()):
            now_s = time.monotonic()
            leave_s = now_s if math.isinf(way.bucket.rate_bps) else way.bucket.leave_s(8 * len(chunk), now_s)
            await under_way.put((leave_s + way.delay_s, chunk))
            if leave_s > now_s:
                await asyncio.sleep(leave_s - now_s)
        await under_way.put((time.monotonic() + way.delay_s, b""))
        await deliver
    except OSError:
        pass  # an end is gone: the caller closes the other
    finally:
        deliver.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await deliver


async def _deliver(under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    while True:
        due_s, chunk = await under_way.get()
        wait_s = due_s - time.monotonic()
        if wait_s > 0.0:
            await asyncio.sleep(wait_s)
        if not chunk:
            return
        writer.write(chunk)
        await writer.drain()
