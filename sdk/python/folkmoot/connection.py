"""One connection to one coordinator: preamble, pings, frames in and out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
import time
from collections import deque
from typing import Callable, Deque, Dict, Iterator, List, Optional, Tuple

from . import frame
from .errors import Error, NotTried, from_wire
from .frame import Message
from .timing import within

DEFAULT_PORT = 7370
DEAD_AFTER = 3  # pings without a byte
_MAX_BATCH = 64 << 10
_WRITE_BUFFER = 256 << 10
_MAX_NOTSENT = 128 << 10  # what the system may hold and cannot send yet: pings wait behind it
_TCP_NOTSENT_LOWAT: Optional[int] = getattr(socket, "TCP_NOTSENT_LOWAT", None)
if sys.platform == "linux":
    import fcntl
    import termios

    def _unacknowledged(fd: int) -> Optional[int]:
        """Bytes that the other side's system has not acknowledged; None when that is not known."""
        return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

else:

    def _unacknowledged(fd: int) -> Optional[int]:
        return None


def now() -> float:
    """Seconds on a clock that goes on while the machine sleeps, where there is one: leases run on, too."""
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()


_CLOCK: Optional[int] = getattr(time, "CLOCK_BOOTTIME", None)


def split_address(address: str) -> Tuple[str, int]:
    """Reads "host", "host:port", "[::1]" or "[::1]:port"."""
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = address, str(DEFAULT_PORT)
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is no address: write host:port")
    return host.strip("[]"), int(port)


def identify_protocol(first: bytes) -> str:
    """Identifies, by its first bytes, what answers instead of a coordinator's native sessions; "" if unknown."""
    sessions = "Native sessions have another, --component-addr of the coordinator"
    if first.startswith(b"HTTP/"):
        return f"it speaks HTTP: is this the port of REST? {sessions}"
    if first[:1] in (b"\x15", b"\x16") and first[1:2] == b"\x03":
        return "it speaks TLS, and this program does not: give tls=ssl.create_default_context(cafile=...)"
    if first[:1] == b"\xff":
        return f"it speaks ZMTP: is this the port of LECO? {sessions}"
    return ""


class TLSFailed(NotTried):
    """There is a coordinator, and TLS with it failed: no repeat helps, and no other trouble explains more."""


class Outgoing:
    """A frame to send; ``written`` once all of it was handed to the system."""

    __slots__ = ("bytes", "to", "written")

    def __init__(self, to: str, frame: bytes) -> None:
        self.to = to
        self.bytes = frame
        self.written = False

    @property
    def dropped(self) -> bool:
        """Whether nobody waits for it any more, so that it need not be written."""
        return False


class _Transfer:
    """A frame that is sent in chunks, and the later frames to the same receiver, which wait for it."""

    __slots__ = ("chunks", "number", "out", "queued")

    def __init__(self, out: Outgoing, number: int) -> None:
        self.out = out
        self.number = number
        self.chunks: Iterator[bytes] = frame.cut(out.bytes, number)
        self.queued: List[Outgoing] = []


class Connection(asyncio.Protocol):
    """Use ``open``. Callbacks run on the loop; ``closed`` is done when the connection ended, with the reason."""

    def __init__(
        self,
        address: str,
        ping_interval: int,
        on_message: Callable[[Connection, Message], None],
        on_receipt: Callable[[List[int]], None],
        on_pong: Callable[[Connection, float], None],
    ) -> None:
        self.address = address
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[Error] = self._loop.create_future()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self._on_message, self._on_receipt, self._on_pong = on_message, on_receipt, on_pong
        self._ping_interval = ping_interval
        self._transport: Optional[asyncio.Transport] = None
        self._received: List[bytes] = []  # and not decoded yet
        self._received_bytes, self._needed_bytes = 0, frame.PREAMBLE_SIZE
        self._chunks = frame.Chunks()
        self._queue: Deque[Outgoing] = deque()
        self._transfers: Dict[str, _Transfer] = {}  # by receiver
        self._transfer_number = 0
        self._paused = False
        self._scheduled = False
        self._last_received = self._next_ping = now()
        self._pings: Dict[bytes, float] = {}  # under way: when sent
        self._ping_number = 0
        self._written = 0  # bytes
        self._acknowledged = 0  # bytes of them that the other side's system had acknowledged when last measured
        self._acknowledged_at = self._last_received  # when that number last grew
        self._unanswered_ping_end: Optional[int] = None  # where the first unanswered ping ends, in bytes written
        self._ping_delayed_at = self._last_received  # when that ping was last seen to wait behind other bytes
        self._heartbeat_timer: Optional[asyncio.TimerHandle] = None
        self._close_reason: Optional[Error] = None
        self._uses_tls = False
        self.received_bye = False  # the coordinator gave a reason for closing

    @classmethod
    async def open(
        cls,
        address: str,
        *,
        ping_interval: int,
        tls: Optional[ssl.SSLContext],
        timeout: float,
        probe_silent: bool,
        on_message: Callable[[Connection, Message], None],
        on_receipt: Callable[[List[int]], None],
        on_pong: Callable[[Connection, float], None],
    ) -> Connection:
        """Dials and waits for the coordinator's preamble. Raises NotTried.

        ``probe_silent``: when there is none in time, half a second more is spent to identify what listens instead.
        """
        host, port = split_address(address)
        self = cls(address, ping_interval, on_message, on_receipt, on_pong)
        self._uses_tls = tls is not None

        async def dial() -> None:
            await self._loop.create_connection(lambda: self, host, port, ssl=tls)
            await asyncio.shield(self.opened)

        try:
            await within(dial(), timeout)
        except ssl.SSLError as error:  # by its own text nobody sees whose certificate it is about
            self.abort()
            none = (
                " (it speaks no TLS: is this the port of REST, or is TLS not wanted?)"
                if "WRONG_VERSION" in str(error)
                else ""
            )
            raise TLSFailed(f"{address}: TLS failed: {error}{none}") from error
        except asyncio.TimeoutError as error:
            try:
                why = (await self._probe_protocol() if probe_silent else "") or TimeoutError.__name__
            finally:  # also when the caller gives up meanwhile
                self.abort()
            raise NotTried(f"{address}: {why}") from error
        except (OSError, Error) as error:
            self.abort()
            if (
                tls is not None
                and isinstance(error, (ConnectionResetError, ConnectionAbortedError))
                and self._transport is None
            ):
                raise TLSFailed(f"{address}: TLS failed: {error} (does it speak TLS at all?)") from error
            raise NotTried(f"{address}: {error or type(error).__name__}") from error
        except BaseException:
            self.abort()
            raise
        return self

    async def _probe_protocol(self) -> str:
        """Makes a peer that did not answer the preamble say something: an HTTP server waits for the end of a line."""
        if self._transport is None or self._received_bytes or self.opened.done():
            return ""
        self._write(b"\r\n\r\n")
        await asyncio.wait({self.closed}, timeout=0.5)
        return self.closed.result().message if self.closed.done() else ""

    # Sending.

    def send(self, out: Outgoing) -> None:
        """Queues a frame; frames to one receiver keep their order."""
        self._queue.append(out)
        if not self._scheduled and not self._paused:
            self._scheduled = True
            self._loop.call_soon(self._write_queued)

    def _write_queued(self) -> None:
        self._scheduled = False
        while (self._queue or self._transfers) and not self._paused and self._alive():
            batch: List[bytes] = []
            size, blocked = 0, False
            while size < _MAX_BATCH and (self._transfers or (self._queue and not blocked)):
                if self._queue and not blocked:
                    out = self._queue.popleft()
                    before = self._transfers.get(out.to)
                    if out.dropped:
                        pass
                    elif before:
                        before.queued.append(out)
                    elif len(out.bytes) <= frame.MAX_WHOLE:
                        out.written = True
                        batch.append(out.bytes)
                        size += len(out.bytes)
                    elif len(self._transfers) < frame.MAX_TRANSFERS:
                        self._transfer_number = self._transfer_number % frame.MAX_ID + 1
                        self._transfers[out.to] = _Transfer(out, self._transfer_number)
                    else:
                        self._queue.appendleft(out)
                        blocked = True
                for transfer in list(self._transfers.values()):
                    piece = None if transfer.out.dropped else next(transfer.chunks, None)
                    if piece is not None:
                        batch.append(piece)
                        size += len(piece)
                        continue
                    if transfer.out.dropped:
                        batch.append(frame.about(frame.CHUNK, [bytes((frame.ABORT,))], transfer.number))
                    else:
                        transfer.out.written = True
                    del self._transfers[transfer.out.to]
                    self._queue.extendleft(reversed(transfer.queued))
                    blocked = False
            self._write(b"".join(batch))

    def take_unwritten(self) -> List[Outgoing]:
        """Removes and returns the frames that were not handed to the system, in order."""
        rest: List[Outgoing] = []
        for transfer in self._transfers.values():
            rest += [transfer.out, *transfer.queued]
        rest += self._queue
        self._transfers.clear()
        self._queue.clear()
        return rest

    def _alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _write(self, b: bytes) -> None:
        if self._transport is not None and b and not self._transport.is_closing():
            self._written += len(b)
            self._transport.write(b)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write_queued()

    def _measure_progress(self, at: float) -> None:
        """Measures how many of the written bytes were acknowledged. A ping that waits behind a long message cannot be
        answered yet."""
        left = self._unacknowledged_bytes()
        if left is None:
            return
        if self._written - left > self._acknowledged:
            self._acknowledged, self._acknowledged_at = self._written - left, at
        ping_waits = self._unanswered_ping_end is not None and self._acknowledged < self._unanswered_ping_end
        if ping_waits and at - self._acknowledged_at < DEAD_AFTER * self._ping_interval:
            self._ping_delayed_at = at

    def _unacknowledged_bytes(self) -> Optional[int]:
        """Returns how many written bytes are not acknowledged yet; None where the system does not tell."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is None or self._transport is None:
            return None
        try:
            left = _unacknowledged(sock.fileno())
        except (OSError, ValueError):
            return None
        return None if left is None else left + self._transport.get_write_buffer_size()

    def _deadline(self) -> float:
        return max(self._last_received, self._ping_delayed_at) + DEAD_AFTER * self._ping_interval

    def _check_heartbeat(self) -> None:
        """Sends a ping when one is due, and gives the connection up when nothing was received in time."""
        at = now()
        self._measure_progress(at)
        if at >= self._deadline():
            self.abort(NotTried(f"{self.address}: nothing heard for {at - self._last_received:.1f} s"))
            return
        if at >= self._next_ping:
            self._ping_number += 1
            data = self._ping_number.to_bytes(8, "big")
            self._pings[data] = at
            self._next_ping = at + self._ping_interval
            self._write(frame.about(frame.PING, [data]))
            if self._unanswered_ping_end is None:
                self._unanswered_ping_end = self._written
        due = min(self._next_ping, self._deadline())
        self._heartbeat_timer = self._loop.call_later(max(due - now(), 0.001), self._check_heartbeat)

    # Receiving.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if _TCP_NOTSENT_LOWAT is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _MAX_NOTSENT)
        if self._close_reason is not None:  # given up while dialling
            transport.abort()
            return
        self._write(frame.preamble(self._ping_interval))

    def data_received(self, data: bytes) -> None:
        self._last_received = now()
        self._received.append(data)
        self._received_bytes += len(data)
        if self._received_bytes < self._needed_bytes or self._close_reason is not None:
            return
        b, at = b"".join(self._received), 0
        try:
            if not self.opened.done():
                at = frame.PREAMBLE_SIZE
                self._handle_preamble(b[:at])
            while self._close_reason is None:
                m, at = frame.decode(b, at)
                self._handle_frame(m)
            self._needed_bytes = 1
        except frame.Short as short:
            self._needed_bytes = short.need
        except Error as error:
            self._write(frame.bye(error))
            self.close(error)
        self._received = [b[at:]] if at < len(b) else []
        self._received_bytes = len(b) - at

    def _handle_preamble(self, b: bytes) -> None:
        what = identify_protocol(b)
        if what:
            raise NotTried(what)
        version, ping = frame.parse_preamble(b)
        if version != frame.VERSION:
            raise NotTried(f"{self.address} does not speak version {frame.VERSION} of the protocol")
        self._ping_interval = ping or self._ping_interval
        self._next_ping = now() + self._ping_interval
        self.opened.set_result(None)
        self._check_heartbeat()

    def _handle_frame(self, m: Message) -> None:
        if m.to:
            self._on_message(self, m)
        elif m.type == frame.PING:
            self._write(frame.about(frame.PONG, m.payload))
        elif m.type == frame.PONG:
            sent = self._pings.pop(m.payload[0], None) if m.payload else None
            if sent is not None:
                self._measure_progress(now())
                if self._unanswered_ping_end is not None and self._acknowledged >= self._unanswered_ping_end:
                    self._unanswered_ping_end = None  # else it was the answer to one before
                self._on_pong(self, sent)
        elif m.type == frame.CHUNK:
            for whole in self._chunks.add(m):
                self._on_message(self, whole)
        elif m.type == frame.RECEIPT:
            self._on_receipt(frame.receipt_ids(m))
        elif m.type == frame.BYE:
            self.received_bye = True
            try:
                self.close(from_wire(m.content))
            except ValueError:
                self.close(Error("a bye that cannot be read"))

    # Closing.

    def close_with_bye(self, why: Error) -> None:
        """Writes a bye with the reason, and closes the connection once it is written."""
        self._write(frame.bye(why))
        self.close(why)

    def close(self, why: Optional[Error] = None) -> None:
        """Closes the connection once what was handed to the system is written."""
        self._close_reason = self._close_reason or why or NotTried("the connection is closed")
        if self._transport is not None:
            self._transport.close()

    def abort(self, why: Optional[Error] = None) -> None:
        """Resets the connection at once: an orderly end would tell the coordinator that the session is given up."""
        self._close_reason = self._close_reason or why or NotTried("the connection is given up")
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            if sock is not None and not self._transport.is_closing():
                with contextlib.suppress(OSError):  # it has ended already
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    @property
    def local_address(self) -> str:
        """The local address of the connection, host:port; "" when it is not known."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
            return ""
        try:
            host, port = sock.getsockname()[:2]
        except OSError:
            return ""  # it has ended already
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if self._heartbeat_timer is not None:
            self._heartbeat_timer.cancel()
        why = self._close_reason or NotTried(f"{self.address}: {self._describe_loss(exc)}")
        self._close_reason = why
        if not self.opened.done():
            self.opened.set_exception(why)
            self.opened.exception()  # marks it as retrieved: dial may have given up already
        if not self.closed.done():
            self.closed.set_result(why)

    def _describe_loss(self, exc: Optional[Exception]) -> str:
        first = b"" if self.opened.done() else b"".join(self._received)
        what = f"connection lost{f': {exc}' if exc else ''}"
        if not self.opened.done() and not first and not self._uses_tls:
            what += " before anything came: does it want TLS?"
        return identify_protocol(first) or what
