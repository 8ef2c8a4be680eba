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
_WRITE_AT_ONCE = 64 << 10
_WRITE_BUFFER = 256 << 10
_UNSENT = 128 << 10  # what the system may hold and cannot send yet: pings wait behind it
_NOTSENT: Optional[int] = getattr(socket, "TCP_NOTSENT_LOWAT", None)
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


def found(first: bytes) -> str:
    """Says what answers instead of a coordinator's native sessions, by the first bytes; "" if they tell nothing."""
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
    """One frame on its way out; ``written`` once all of it was handed to the system."""

    __slots__ = ("bytes", "to", "written")

    def __init__(self, to: str, frame: bytes) -> None:
        self.to = to
        self.bytes = frame
        self.written = False

    @property
    def dropped(self) -> bool:
        """Nobody waits for it any more; it need not be written."""
        return False


class _Transfer:
    """A frame that goes out in chunks, and what must not overtake it."""

    __slots__ = ("behind", "chunks", "number", "out")

    def __init__(self, out: Outgoing, number: int) -> None:
        self.out = out
        self.number = number
        self.chunks: Iterator[bytes] = frame.cut(out.bytes, number)
        self.behind: List[Outgoing] = []


class Connection(asyncio.Protocol):
    """Use ``open``. Callbacks run on the loop; ``closed`` is done when the connection ended, with the reason."""

    def __init__(
        self,
        address: str,
        wish: int,
        on_message: Callable[[Connection, Message], None],
        on_receipt: Callable[[List[int]], None],
        on_pong: Callable[[Connection, float], None],
    ) -> None:
        self.address = address
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[Error] = self._loop.create_future()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self._on_message, self._on_receipt, self._on_pong = on_message, on_receipt, on_pong
        self._ping = wish
        self._transport: Optional[asyncio.Transport] = None
        self._parts: List[bytes] = []  # what came and is not read yet
        self._have, self._need = 0, frame.PREAMBLE_SIZE
        self._chunks = frame.Chunks()
        self._queue: Deque[Outgoing] = deque()
        self._transfers: Dict[str, _Transfer] = {}  # by receiver
        self._transfer_number = 0
        self._paused = False
        self._scheduled = False
        self._heard = self._next_ping = now()
        self._pings: Dict[bytes, float] = {}  # under way: when sent
        self._ping_number = 0
        self._written = self._taken = 0  # bytes written, and of them what the other side's system had at the last look
        self._asked: Optional[int] = None  # where the first ping ends that is not answered, in bytes written
        self._moved = self._under_way = (
            self._heard
        )  # when bytes were last taken; when that ping was last seen under way
        self._beat: Optional[asyncio.TimerHandle] = None
        self._why: Optional[Error] = None
        self._secure = False
        self.told_bye = False  # the coordinator said why it closes

    @classmethod
    async def open(
        cls,
        address: str,
        *,
        wish: int,
        tls: Optional[ssl.SSLContext],
        timeout: float,
        curious: bool,
        on_message: Callable[[Connection, Message], None],
        on_receipt: Callable[[List[int]], None],
        on_pong: Callable[[Connection, float], None],
    ) -> Connection:
        """Dials and waits for the coordinator's preamble. Raises NotTried.

        curious: when there is none in time, half a second more is spent to find out what is there instead.
        """
        host, port = split_address(address)
        self = cls(address, wish, on_message, on_receipt, on_pong)
        self._secure = tls is not None

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
                why = (await self._provoke() if curious else "") or TimeoutError.__name__
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

    async def _provoke(self) -> str:
        """Asks what said nothing to a preamble for a word: a server of HTTP waits for the end of a line."""
        if self._transport is None or self._have or self.opened.done():
            return ""
        self._write(b"\r\n\r\n")
        await asyncio.wait({self.closed}, timeout=0.5)
        return self.closed.result().message if self.closed.done() else ""

    # What goes out.

    def send(self, out: Outgoing) -> None:
        """Queues a frame; frames to one receiver keep their order."""
        self._queue.append(out)
        if not self._scheduled and not self._paused:
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._scheduled = False
        while (self._queue or self._transfers) and not self._paused and self._alive():
            batch: List[bytes] = []
            size, blocked = 0, False
            while size < _WRITE_AT_ONCE and (self._transfers or (self._queue and not blocked)):
                if self._queue and not blocked:
                    out = self._queue.popleft()
                    before = self._transfers.get(out.to)
                    if out.dropped:
                        pass
                    elif before:
                        before.behind.append(out)
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
                    self._queue.extendleft(reversed(transfer.behind))
                    blocked = False
            self._write(b"".join(batch))

    def unwritten(self) -> List[Outgoing]:
        """Takes back what was not handed to the system, in order."""
        rest: List[Outgoing] = []
        for transfer in self._transfers.values():
            rest += [transfer.out, *transfer.behind]
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
        self._pump()

    def _look(self, at: float) -> None:
        """Sees how far what was written has got. A ping on its way behind a long message cannot be answered yet."""
        left = self._left()
        if left is None:
            return
        if self._written - left > self._taken:
            self._taken, self._moved = self._written - left, at
        if self._asked is not None and self._taken < self._asked and at - self._moved < DEAD_AFTER * self._ping:
            self._under_way = at

    def _left(self) -> Optional[int]:
        """How many bytes the other side's system has not taken yet; None where ours does not tell."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is None or self._transport is None:
            return None
        try:
            left = _unacknowledged(sock.fileno())
        except (OSError, ValueError):
            return None
        return None if left is None else left + self._transport.get_write_buffer_size()

    def _dead_at(self) -> float:
        return max(self._heard, self._under_way) + DEAD_AFTER * self._ping

    def _tick(self) -> None:
        """Pings when it is time to and gives up when nothing is heard."""
        at = now()
        self._look(at)
        if at >= self._dead_at():
            self.abort(NotTried(f"{self.address}: nothing heard for {at - self._heard:.1f} s"))
            return
        if at >= self._next_ping:
            self._ping_number += 1
            data = self._ping_number.to_bytes(8, "big")
            self._pings[data] = at
            self._next_ping = at + self._ping
            self._write(frame.about(frame.PING, [data]))
            if self._asked is None:
                self._asked = self._written
        due = min(self._next_ping, self._dead_at())
        self._beat = self._loop.call_later(max(due - now(), 0.001), self._tick)

    # What comes in.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if _NOTSENT is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT, _UNSENT)
        if self._why is not None:  # given up while dialling
            transport.abort()
            return
        self._write(frame.preamble(self._ping))

    def data_received(self, data: bytes) -> None:
        self._heard = now()
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need or self._why is not None:
            return
        b, at = b"".join(self._parts), 0
        try:
            if not self.opened.done():
                at = frame.PREAMBLE_SIZE
                self._greeted(b[:at])
            while self._why is None:
                m, at = frame.decode(b, at)
                self._take(m)
            self._need = 1
        except frame.Short as short:
            self._need = short.need
        except Error as error:
            self._write(frame.bye(error))
            self.close(error)
        self._parts = [b[at:]] if at < len(b) else []
        self._have = len(b) - at

    def _greeted(self, b: bytes) -> None:
        what = found(b)
        if what:
            raise NotTried(what)
        version, ping = frame.parse_preamble(b)
        if version != frame.VERSION:
            raise NotTried(f"{self.address} does not speak version {frame.VERSION} of the protocol")
        self._ping = ping or self._ping
        self._next_ping = now() + self._ping
        self.opened.set_result(None)
        self._tick()

    def _take(self, m: Message) -> None:
        if m.to:
            self._on_message(self, m)
        elif m.type == frame.PING:
            self._write(frame.about(frame.PONG, m.payload))
        elif m.type == frame.PONG:
            sent = self._pings.pop(m.payload[0], None) if m.payload else None
            if sent is not None:
                self._look(now())
                if self._asked is not None and self._taken >= self._asked:
                    self._asked = None  # else it was the answer to one before
                self._on_pong(self, sent)
        elif m.type == frame.CHUNK:
            for whole in self._chunks.add(m):
                self._on_message(self, whole)
        elif m.type == frame.RECEIPT:
            self._on_receipt(frame.receipt_ids(m))
        elif m.type == frame.BYE:
            self.told_bye = True
            try:
                self.close(from_wire(m.content))
            except ValueError:
                self.close(Error("a bye that cannot be read"))

    # The end.

    def goodbye(self, why: Error) -> None:
        """Says why we go, and goes once that is written."""
        self._write(frame.bye(why))
        self.close(why)

    def close(self, why: Optional[Error] = None) -> None:
        """Ends the connection once what was handed to the system is written."""
        self._why = self._why or why or NotTried("the connection is closed")
        if self._transport is not None:
            self._transport.close()

    def abort(self, why: Optional[Error] = None) -> None:
        """Ends the connection at once, by a reset: an orderly end would say that the session is given up."""
        self._why = self._why or why or NotTried("the connection is given up")
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            if sock is not None and not self._transport.is_closing():
                with contextlib.suppress(OSError):  # it has ended already
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    @property
    def own_end(self) -> str:
        """Our end of the connection, host:port; "" when that is not known."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
            return ""
        try:
            host, port = sock.getsockname()[:2]
        except OSError:
            return ""  # it has ended already
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if self._beat is not None:
            self._beat.cancel()
        why = self._why or NotTried(f"{self.address}: {self._lost(exc)}")
        self._why = why
        if not self.opened.done():
            self.opened.set_exception(why)
            self.opened.exception()  # looked at: dial may have given up already
        if not self.closed.done():
            self.closed.set_result(why)

    def _lost(self, exc: Optional[Exception]) -> str:
        first = b"" if self.opened.done() else b"".join(self._parts)
        what = f"connection lost{f': {exc}' if exc else ''}"
        if not self.opened.done() and not first and not self._secure:
            what += " before anything came: does it want TLS?"
        return found(first) or what
