"""The bytes of the native session protocol (docs/protocol.md): preamble, frames, chunks. No sockets."""

from __future__ import annotations

import json
import os
import struct
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from .errors import Busy, Error, Refused

VERSION = 1  # of the protocol
PREAMBLE_SIZE = 8
MAX_NAME = 511  # bytes of a full name
MAX_MESSAGE = 64 << 20  # bytes of all payload frames
MAX_PAYLOAD_FRAMES = 65_535
MAX_ID = (1 << 24) - 1
MAX_WHOLE = 64 << 10  # a longer frame is cut
PIECE = 32 << 10
MAX_TRANSFERS = 4
_SHORTEST = 27
_LONGEST = MAX_MESSAGE + _SHORTEST + 2 * MAX_NAME + 4 * MAX_PAYLOAD_FRAMES

PING, PONG, CHUNK, RECEIPT, BYE = 2, 3, 4, 5, 6  # types of frames about the connection
ANY, JSON = 0, 1  # types of messages
FIRST, LAST, ABORT = 1, 2, 4  # flags of a chunk
NO_CONVERSATION = bytes(16)

_LENGTH = struct.Struct(">I")
_SHORT = struct.Struct(">H")
_TAIL = struct.Struct(">16sIH")  # conversation, message id and type, number of payload frames


class Short(Exception):
    """The frame is cut off; ``need`` bytes, counted from its start, would tell more."""

    def __init__(self, need: int) -> None:
        super().__init__(f"frame cut short: {need} bytes are needed")
        self.need = need


@dataclass
class Message:
    """One message, or, with an empty receiver, one frame about the connection."""

    to: str = ""
    sender: str = ""
    conversation: bytes = NO_CONVERSATION
    id: int = 0
    type: int = ANY
    payload: List[bytes] = field(default_factory=lambda: [])

    @property
    def conversation_id(self) -> uuid.UUID:
        return uuid.UUID(bytes=self.conversation)

    @property
    def content(self) -> Any:
        """The first payload frame, read as JSON. Raises ValueError."""
        return json.loads(self.payload[0]) if self.payload else None

    @property
    def from_coordinator(self) -> bool:
        return self.sender == "COORDINATOR" or self.sender.endswith(".COORDINATOR")


def new_conversation() -> bytes:
    """Makes a conversation id: a UUIDv7."""
    b = bytearray((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10))
    b[6] = b[6] & 0x0F | 0x70
    b[8] = b[8] & 0x3F | 0x80
    return bytes(b)


def preamble(ping: int, version: int = VERSION) -> bytes:
    return b"FOLK" + bytes((version, ping, 0, 0))


def parse_preamble(b: bytes) -> Tuple[int, int]:
    """Returns version and seconds between two pings."""
    if len(b) != PREAMBLE_SIZE or b[:4] != b"FOLK" or b[6:] != b"\0\0":
        raise Refused("the first bytes are not FOLK: this is no native session", field="preamble")
    return b[4], b[5]


def encode(m: Message) -> bytes:
    """Returns the message as one frame. Raises Refused (invalid, too_large)."""
    to, sender = m.to.encode(errors="surrogateescape"), m.sender.encode(errors="surrogateescape")
    size = sum(map(len, m.payload))
    if len(to) > MAX_NAME or len(sender) > MAX_NAME:
        raise Refused(f"a name has more than {MAX_NAME} bytes", field="to")
    if len(m.conversation) != 16:
        raise Refused("a conversation id has 16 bytes", field="conversation")
    if not 0 <= m.id <= MAX_ID or not 0 <= m.type <= 255:
        raise Refused(f"message id {m.id} or type {m.type} is out of range", field="id")
    if len(m.payload) > MAX_PAYLOAD_FRAMES:
        raise Refused(f"more than {MAX_PAYLOAD_FRAMES} payload frames", field="payload")
    if size > MAX_MESSAGE:
        raise Refused(
            f"a message of {size} bytes is above the limit of {MAX_MESSAGE}: cut it in several, "
            "or send the place where its content is",
            code="too_large",
        )
    length = _SHORTEST + len(to) + len(sender) + 4 * len(m.payload) + size
    parts = [
        _LENGTH.pack(length), b"\1", _SHORT.pack(len(to)), to, _SHORT.pack(len(sender)), sender,
        _TAIL.pack(m.conversation, m.id << 8 | m.type, len(m.payload)),
    ]  # fmt: skip
    for p in m.payload:
        parts += (_LENGTH.pack(len(p)), p)
    return b"".join(parts)


def decode(b: bytes, at: int = 0) -> Tuple[Message, int]:
    """Reads the frame that begins at b[at] and returns it with where the next one begins. Raises Short when
    it is cut off and Refused (invalid, too_large) when the stream is out of step."""
    if len(b) - at < 4:
        raise Short(4)
    (length,) = _LENGTH.unpack_from(b, at)
    if length < _SHORTEST:
        raise Refused(f"frame length {length}, the shortest is {_SHORTEST}", field="frame")
    if length > _LONGEST:
        raise Refused(f"frame length {length} is above the limit of {_LONGEST}", code="too_large")
    end = at + 4 + length
    if len(b) < end:
        raise Short(4 + length)
    if b[at + 4] != 1:
        raise Refused(f"frame version {b[at + 4]}, this build speaks 1", field="frame")
    to, at = _name(b, at + 5, end)
    sender, at = _name(b, at, end)
    if end - at < _TAIL.size:
        raise Refused("the frame ends inside the header", field="frame")
    conversation, id_and_type, count = _TAIL.unpack_from(b, at)
    at += _TAIL.size
    if 4 * count > end - at:
        raise Refused(f"{count} payload frames announced in {end - at} bytes", field="frame")
    payload: List[bytes] = []
    size = 0
    for _ in range(count):
        if end - at < 4:
            raise Refused("the frame ends before its last payload frame", field="frame")
        (n,) = _LENGTH.unpack_from(b, at)
        at += 4
        if n > end - at:
            raise Refused(f"a payload frame announces {n} bytes where {end - at} are left", field="frame")
        payload.append(b[at : at + n])
        at += n
        size += n
    if at != end:
        raise Refused(f"{end - at} bytes after the last payload frame", field="frame")
    if size > MAX_MESSAGE:
        raise Refused(f"a message of {size} bytes is above the limit of {MAX_MESSAGE}", code="too_large")
    return Message(to, sender, conversation, id_and_type >> 8, id_and_type & 0xFF, payload), end


def _name(b: bytes, at: int, end: int) -> Tuple[str, int]:
    if end - at < 2:
        raise Refused("the frame ends before the name", field="frame")
    (n,) = _SHORT.unpack_from(b, at)
    at += 2
    if n > MAX_NAME or n > end - at:
        raise Refused(f"a name of {n} bytes where {end - at} are left and {MAX_NAME} are possible", field="frame")
    return b[at : at + n].decode(errors="surrogateescape"), at + n


def about(kind: int, payload: Sequence[bytes] = (), id: int = 0) -> bytes:
    """Returns a frame about the connection."""
    return encode(Message(id=id, type=kind, payload=list(payload)))


def bye(why: Error) -> bytes:
    return about(BYE, [json.dumps({"code": why.code, "message": why.message}).encode()])


def receipt_ids(m: Message) -> List[int]:
    """Returns the message ids of a receipt."""
    b = m.payload[0] if m.payload else b""
    if len(b) % 3:
        raise Refused("a receipt is message ids of three bytes each", field="receipt")
    return [int.from_bytes(b[i : i + 3], "big") for i in range(0, len(b), 3)]


def cut(frame: bytes, transfer: int) -> Iterator[bytes]:
    """Cuts a frame into chunks."""
    for at in range(0, len(frame), PIECE):
        flags = (FIRST if at == 0 else 0) | (LAST if at + PIECE >= len(frame) else 0)
        head = bytes((flags,)) + (_LENGTH.pack(len(frame)) if at == 0 else b"")
        yield about(CHUNK, (head, frame[at : at + PIECE]), transfer)


class Chunks:
    """Puts the frames together that come in chunks."""

    def __init__(self) -> None:
        self._under_way: Dict[int, Tuple[int, bytearray]] = {}

    def add(self, chunk: Message) -> List[Message]:
        """Takes one chunk and returns the message it completed, if any. Raises Refused."""
        if not 1 <= len(chunk.payload) <= 2 or not chunk.payload[0]:
            raise Refused("a chunk has its flags and one piece", field="chunk")
        head, piece = chunk.payload[0], chunk.payload[1] if len(chunk.payload) == 2 else b""
        flags, known = head[0], chunk.id in self._under_way
        if flags & ~(FIRST | LAST | ABORT):
            raise Refused(f"a chunk has unknown flags {flags}", field="chunk")
        if flags & ABORT:
            self._under_way.pop(chunk.id, None)
            return []
        if bool(flags & FIRST) == known:
            raise Refused(f"transfer {chunk.id} {'begins twice' if known else 'has not begun'}", field="chunk")
        if len(head) != (1 if known else 5):
            raise Refused(f"a chunk has flags of {len(head)} bytes", field="chunk")
        if not known:
            (total,) = _LENGTH.unpack_from(head, 1)
            if total > 4 + _LONGEST:
                raise Refused(f"a frame of {total} bytes is above the limit", code="too_large")
            if len(self._under_way) >= MAX_TRANSFERS:
                raise Busy(f"more than {MAX_TRANSFERS} frames come in chunks at once")
            self._under_way[chunk.id] = total, bytearray()
        total, have = self._under_way[chunk.id]
        if len(have) + len(piece) > total:
            raise Refused(f"transfer {chunk.id} is longer than its {total} bytes", field="chunk")
        have += piece
        if not flags & LAST:
            return []
        del self._under_way[chunk.id]
        whole = bytes(have)
        try:
            m, end = decode(whole)
        except Short as short:
            raise Refused(f"transfer {chunk.id} is not one whole frame: {short}", field="chunk") from None
        if end != len(whole) or end != total or not m.to:
            raise Refused(f"transfer {chunk.id} is not one whole message", field="chunk")
        return [m]
