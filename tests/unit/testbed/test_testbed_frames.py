"""Frames arrive whole or not at all; a peer that does wrong is let go, and the others notice nothing."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from edge_rllib.testbed import frames
from edge_rllib.testbed.errors import FrameError, PeerGone, PeerSilent, SetupError
from edge_rllib.testbed.frames import Channel
from edge_rllib.testbed.listening import LOOPBACK, Listener, address_of, call, is_loopback, listening_socket

TOKEN = b"a token of this test"
WAIT_S = 60.0  # longest wait for anything that must come: machines can be busy
HELLO_BYTES, PREFIX_BYTES, CODE_BYTES = 22, 16, 32  # 4 + 2 + 16; 4 + 3 * 4; SHA-256


@contextlib.contextmanager
def two_ends(token: bytes = TOKEN, stall_s: float = 60.0) -> Iterator[tuple[Channel, Channel]]:
    near, far = socket.socketpair()
    made: list[Channel] = []
    thread = threading.Thread(target=lambda: made.append(Channel(far, token, is_caller=False, stall_s=stall_s)))
    thread.start()
    caller = Channel(near, TOKEN, is_caller=True, stall_s=stall_s)
    thread.join()
    with caller, made[0] as listener:
        yield caller, listener


class Raw:
    """A peer that says hello properly and then sends what it likes."""

    def __init__(self, stall_s: float = 60.0) -> None:
        near, self.socket = socket.socketpair()
        self.socket.sendall(struct.pack(">4sH16s", frames.MAGIC, frames.VERSION, b"n" * 16))
        self.channel = Channel(near, TOKEN, is_caller=True, stall_s=stall_s)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.channel.close()


def test_frame_arrives_as_it_was_sent() -> None:
    payload = bytes(range(256)) * 4096  # 1 MiB: more than a socket holds, so both sides must work in pieces

    with two_ends() as (caller, listener):
        sender = threading.Thread(target=lambda: caller.send("task", payload, number=7, names=["a", "ä"], share=0.5))
        sender.start()
        frame = listener.receive(WAIT_S)
        sender.join()

    assert (frame.kind, frame.fields) == ("task", {"number": 7, "names": ["a", "ä"], "share": 0.5})
    assert frame.payload == payload
    assert 0.0 < frame.first_byte_s <= frame.last_byte_s


def test_frames_keep_their_order_both_ways() -> None:
    with two_ends() as (caller, listener):
        for number in range(3):
            caller.send("up", number=number)
            listener.send("down", number=-number)

        assert [listener.receive(WAIT_S).fields["number"] for _ in range(3)] == [0, 1, 2]
        assert [caller.receive(WAIT_S).fields["number"] for _ in range(3)] == [0, -1, -2]


def test_other_token_is_refused() -> None:
    with two_ends(token=b"another token") as (caller, listener):
        caller.send("task")

        with pytest.raises(FrameError, match="another token"):
            listener.receive(WAIT_S)


def test_frame_of_another_connection_is_refused() -> None:
    # the bytes of a frame, recorded and played to a second connection with the same token: its numbers are others
    with Raw() as first, Raw() as second:
        first.channel.send("task", b"payload")
        first.socket.recv(HELLO_BYTES)
        second.socket.sendall(first.socket.recv(4096))

        with pytest.raises(FrameError, match="authentication code"):
            second.channel.receive(WAIT_S)


def test_frame_sent_back_to_its_sender_is_refused() -> None:
    with Raw() as peer:
        peer.channel.send("task")
        peer.socket.recv(HELLO_BYTES)
        peer.socket.sendall(peer.socket.recv(4096))

        with pytest.raises(FrameError, match="authentication code"):
            peer.channel.receive(WAIT_S)


@pytest.mark.parametrize(
    ("hello", "message"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "no peer of the testbed"),
        (struct.pack(">4sH16s", frames.MAGIC, 7, b"n" * 16), "version 7 of the protocol, expected 1"),
    ],
)
def test_stranger_is_refused_at_the_greeting(hello: bytes, message: str) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(hello)

        with pytest.raises(FrameError, match=message):
            Channel(near, TOKEN, is_caller=False)


def test_garbage_after_the_greeting_is_refused() -> None:
    with Raw() as peer:
        peer.socket.sendall(b"\x00" * 64)

        with pytest.raises(FrameError, match="expected a frame that begins with"):
            peer.channel.receive(WAIT_S)


@pytest.mark.parametrize(("n_header", "n_payload"), [(2**32 - 1, 0), (8, 2**32 - 1)])
def test_huge_length_is_refused_before_anything_of_it_is_read(n_header: int, n_payload: int) -> None:
    with Raw() as peer:
        peer.socket.sendall(struct.pack(">4sIII", frames.MAGIC, n_header, n_payload, 0))

        with pytest.raises(FrameError, match="4294967295"):
            peer.channel.receive(WAIT_S)


def test_half_a_frame_and_an_end_tells_how_much_came() -> None:
    with Raw() as peer:
        peer.socket.sendall(frames.MAGIC)
        peer.socket.shutdown(socket.SHUT_WR)

        # the first byte and three of the 15 others of the prefix
        with pytest.raises(PeerGone, match="after 3 of 15 bytes"):
            peer.channel.receive(WAIT_S)


def test_half_a_frame_and_silence_is_given_up() -> None:
    with Raw(stall_s=0.05) as peer:
        peer.socket.sendall(frames.MAGIC)

        with pytest.raises(PeerSilent, match="after 3 of 15 bytes"):
            peer.channel.receive(WAIT_S)


def test_damaged_payload_is_refused() -> None:
    with two_ends() as (caller, listener), Raw() as wire:
        wire.channel._key = caller._key  # the first frame of the same caller, with its last bit changed on the way
        wire.channel.send("task", b"payload")
        wire.socket.recv(HELLO_BYTES)
        sent = bytearray(wire.socket.recv(4096))
        sent[-1] ^= 1
        caller._write(bytes(sent))

        with pytest.raises(FrameError, match="checksum of a payload of 7 bytes"):
            listener.receive(WAIT_S)


def test_header_that_is_no_msgpack_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with two_ends() as (caller, listener):
        with monkeypatch.context() as patched:
            patched.setattr(frames.msgpack, "packb", lambda _: b"\xc1")  # the one byte that msgpack never uses
            caller.send("task")

        with pytest.raises(FrameError, match="no msgpack"):
            listener.receive(WAIT_S)


def test_too_large_a_frame_is_refused_by_its_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "PAYLOAD_LIMIT_BYTES", 10)
    with two_ends() as (caller, _), pytest.raises(FrameError, match="a payload of 11 bytes"):
        caller.send("task", b"x" * 11)


def test_bad_peers_do_not_disturb_a_good_one(caplog: pytest.LogCaptureFixture) -> None:
    def echo(channel: Channel, _: str) -> None:
        while True:
            channel.send("echo", number=channel.receive().fields["number"])

    caplog.set_level(logging.INFO, "edge_rllib.testbed")
    with Listener(LOOPBACK, 0, TOKEN, echo) as listener, call(LOOPBACK, listener.port, TOKEN, WAIT_S) as good:
        good.send("echo", number=1)
        assert good.receive(WAIT_S).fields["number"] == 1
        for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", frames.MAGIC):
            with socket.create_connection((LOOPBACK, listener.port)) as bad:
                bad.sendall(garbage)
                bad.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):  # closed with something of it unread
                    while bad.recv(1024):
                        pass  # until the listener has let it go
        with call(LOOPBACK, listener.port, b"another token", WAIT_S) as bad_channel:
            bad_channel.send("echo", number=2)
            with pytest.raises(PeerGone):
                bad_channel.receive(WAIT_S)
        good.send("echo", number=3)

        assert good.receive(WAIT_S).fields["number"] == 3
    refused = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert len(refused) == 2  # the greeting of a browser and the other token; a half greeting is only gone
    assert all(line.startswith("127.0.0.1:") for line in refused)


def test_port_in_use_is_said_in_one_line() -> None:
    with listening_socket(LOOPBACK, 0) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(SetupError, match=f"port {port} of 127.0.0.1 is in use") as caught:
            Listener(LOOPBACK, port, TOKEN, lambda channel, address: None)
    assert "\n" not in str(caught.value)


def test_port_is_free_after_a_listener_closed() -> None:
    with Listener(LOOPBACK, 0, TOKEN, lambda channel, address: None) as first:
        port = first.port
        call(LOOPBACK, port, TOKEN, WAIT_S).close()

    with Listener(LOOPBACK, port, TOKEN, lambda channel, address: None) as second:
        assert second.port == port


def test_nobody_there_is_said_with_the_address() -> None:
    with listening_socket(LOOPBACK, 0) as once:
        port = once.getsockname()[1]

    with pytest.raises(PeerGone, match=f"nobody answers at 127.0.0.1:{port}"):
        call(LOOPBACK, port, TOKEN, 0.0)


@pytest.mark.parametrize("text", ["7700", "host", ":7700", "host:port", "host:70000"])
def test_address_without_host_or_port_is_refused(text: str) -> None:
    with pytest.raises(SetupError, match="expected HOST:PORT"):
        address_of(text, "--listen")


def test_addresses_of_this_machine_are_told_from_others() -> None:
    assert address_of("[::1]:80", "--listen") == ("::1", 80)
    assert is_loopback("127.0.0.1")
    assert not is_loopback("0.0.0.0")
