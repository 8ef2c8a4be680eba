"""The directory: who is signed in, and the events of its changes."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any, Callable, Deque, Dict, FrozenSet, List, Mapping, Optional, Tuple, Type, TypeVar

from . import jsonrpc
from .errors import Busy, Error
from .timing import within

T = TypeVar("T")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
MAX_EVENTS = 10_000  # queued for one watch


def parse_duration(duration: Any) -> float:
    """Reads "1m30s", or a number of seconds."""
    if isinstance(duration, (int, float)):
        return float(duration)
    matches = re.findall(r"([0-9.]+)(h|ms|m|s|us|µs|ns)", str(duration))
    if "".join(n + u for n, u in matches) != duration and duration != "0":
        raise ValueError(f"{duration!r} is no duration")
    return sum(float(n) * _UNITS[u] for n, u in matches)


def from_json(kind: Type[T], members: Mapping[str, object]) -> T:
    """Makes a dataclass of the members that it has, and ignores those that a newer coordinator may add."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: v for k, v in members.items() if k in names and v is not None})


@dataclass(frozen=True)
class Component:
    """A component that is signed in."""

    full_name: str
    name: str = ""
    namespace: str = ""
    home: str = ""
    session: str = ""
    kind: str = ""
    labels: Dict[str, str] = field(default_factory=lambda: {})
    place: Dict[str, str] = field(default_factory=lambda: {})
    lease: str = ""
    runtimes: List[str] = field(default_factory=lambda: [])
    slots: int = 0
    since: str = ""
    index: int = 0


@dataclass(frozen=True)
class Door:
    """A coordinator's address for sessions like ours; "" when it has none."""

    id: str = ""
    namespace: str = ""
    address: str = ""


@dataclass(frozen=True)
class Event:
    """One piece of news. ``kind`` is ``lagged`` when some were missed: list again, at least as new as ``index``."""

    index: int = 0
    seq: int = 0
    topic: str = ""
    kind: str = ""
    key: str = ""
    reason: str = ""
    at: str = ""
    data: Any = None

    @property
    def component(self) -> Optional[Component]:
        """The component after the change, for topic ``component``."""
        data = jsonrpc.as_object(self.data)
        return from_json(Component, data) if self.topic == "component" and data is not None else None


class Watch:
    """News in order, without gaps: iterate over it with ``async for``. It goes on when the session moves, and ends
    with SessionLost or with close."""

    def __init__(self, topics: FrozenSet[str], on_close: Callable[[Watch], None]) -> None:
        self.topics = topics
        self.index = 0  #: of the state the news begins after
        self._accepted = False  # by the subscription, once
        self._on_close = on_close
        self._queue: Deque[Event] = deque()
        self._changed = asyncio.Event()
        self._failure: Optional[Error] = None
        self._closed = False

    def append(self, event: Event) -> None:
        if event.kind != "lagged" and event.topic not in self.topics:
            return
        if len(self._queue) >= MAX_EVENTS:
            self._failure = Busy(f"more than {MAX_EVENTS} events waited to be read")
        elif self._failure is None:
            self._queue.append(event)
        self._changed.set()

    def fail(self, why: Error) -> None:
        self._failure = self._failure or why
        self._changed.set()

    async def next(self, timeout: Optional[float] = None) -> Event:
        """Waits for the next event. Raises asyncio.TimeoutError, SessionLost, Busy."""
        while not self._queue:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await within(self._changed.wait(), timeout)
        return self._queue.popleft()

    def close(self) -> None:
        """Ends the watch."""
        self._closed = True
        self._changed.set()
        self._on_close(self)

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Event:
        return await self.next()

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.close()


def parse_position(at: str) -> Tuple[int, int]:
    """Reads "812.3"."""
    index, _, seq = str(at).partition(".")
    return int(index), int(seq or 0)
