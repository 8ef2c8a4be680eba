"""A session's way to the cluster: it outlives any one connection, and ends in time when the lease does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from . import answers, frame, jsonrpc
from .connection import Connection, Outgoing, TLSFailed, now
from .directory import Door, known, seconds
from .errors import Busy, Error, MethodError, NotTried, Refused, SessionLost, Unknown, from_coordinator, lost
from .frame import Message, new_conversation
from .timing import within

COORDINATOR = "COORDINATOR"
MAX_UNDER_WAY = 4096  # messages without an outcome
MAX_BYTES_UNDER_WAY = 32 << 20
_LARGEST_SIGN_IN = 4 << 10
_DIAL, _DIAL_HOME = 1.0, 0.3  # seconds; home has just gone, so it gets less
_SIGN_IN = 5.0
_FINAL_BYES = frozenset(("not_found", "conflict", "invalid", "too_large", "forbidden"))


@dataclass
class Config:
    """What a session is opened with."""

    addresses: Sequence[str]
    name: str
    namespace: str = ""
    session: str = ""
    secret: str = ""
    token: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: {})
    place: Mapping[str, str] = field(default_factory=lambda: {})
    lease: float = 10.0
    runtimes: Sequence[str] = ()
    slots: int = 0
    ping: int = 2
    tls: Optional[ssl.SSLContext] = None


class _Sent(Outgoing):
    """A message on its way, until its outcome is known."""

    __slots__ = ("message", "number", "outcome", "repeat", "timer")

    def __init__(
        self, number: int, message: Message, receiver: str, outcome: asyncio.Future[None], repeat: bool
    ) -> None:
        super().__init__(receiver, frame.encode(message))
        self.number = number  # in the order handed in
        self.message = message
        self.outcome = outcome
        self.timer: Optional[asyncio.TimerHandle] = None
        self.repeat = repeat

    @property
    def dropped(self) -> bool:
        return self.outcome.done()


Answer = Tuple[Message, jsonrpc.Object]


class Link:
    """Owned by a Session. Everything here runs on one event loop."""

    def __init__(self, config: Config, on_message: Callable[[Message, Any], None], on_home: Callable[[], None]) -> None:
        self.config = config
        self.welcome: answers.Welcome = {}
        self.error: Optional[SessionLost] = None
        self.lost = asyncio.Event()
        self._on_message, self._on_home = on_message, on_home
        self._loop = asyncio.get_running_loop()
        self._connection: Optional[Connection] = None
        self._candidate: Optional[Connection] = None  # being signed in
        self._sign_again = asyncio.Event()
        self._key = new_conversation().hex()
        self._doors: List[str] = []
        self._trouble = "none"
        self._tls_trouble = ""  # the last failure of TLS since the last sign-in
        self._uncertain = False  # a sign-in was sent and its outcome is not known
        self._next = 0  # the attempt that the next sign-in is; 0: it cannot be numbered yet
        self._unsure: bool = False  # a take-over without a number may still be carried out
        self._until = float("inf")  # the lease holds at least until then
        self._sent: Dict[int, _Sent] = {}  # by message id
        self._requests: Dict[bytes, _Sent] = {}  # to COORDINATOR, by conversation
        self._answers: Dict[bytes, asyncio.Future[Answer]] = {}  # awaited, by conversation
        self._given_up: Dict[bytes, None] = {}  # conversations whose answer comes too late
        self._waiting: List[_Sent] = []  # for a connection
        self._bytes = 0
        self._room = asyncio.Event()
        self._last_id = self._number = 0
        self._tasks: List[asyncio.Task[None]] = []
        self._leaving = False  # by stop: nobody signs in again

    # The life of the session.

    async def start(self, timeout: float) -> None:
        """Signs in at the first coordinator that can. Raises Refused (name_taken, ...), NotTried or Unknown."""
        try:
            await within(self._enter_any(self.config.addresses, _DIAL), timeout)
        except asyncio.TimeoutError:
            kind = Unknown if self._uncertain else NotTried
            raise kind(
                f"no coordinator took the sign-in within {timeout} s; the last trouble: {self._told_trouble()}"
            ) from None
        self._tasks = [asyncio.ensure_future(self._keep()), asyncio.ensure_future(self._watch_lease())]

    async def stop(self, timeout: float) -> None:
        """Signs out if that is still possible, says bye and waits for all that was started."""
        if self.error is None:
            under_way = [s.outcome for s in self._sent.values()]
            if under_way:
                await asyncio.wait(under_way, timeout=timeout)
            self._leaving = True
            with contextlib.suppress(Error):  # the lease frees the name
                await self.ask("sign_out", None, timeout=timeout, repeat=True)
            connection = self._connection
            self._end(lost(None))
            if connection is not None:
                await asyncio.wait({connection.closed}, timeout=timeout)
        tasks, self._tasks = self._tasks, []
        await asyncio.gather(*tasks, return_exceptions=True)

    def check(self) -> None:
        """Raises SessionLost as soon as the session must not be used any more."""
        if self.error is None and now() >= self._until:
            self._end(self._ran_out())
        if self.error is not None:
            raise SessionLost(self.error.message, code=self.error.code)

    def _told_trouble(self) -> str:
        """Returns the last trouble, and what TLS had to say if that was another."""
        if self._tls_trouble in ("", self._trouble):
            return self._trouble
        return f"{self._trouble}; {self._tls_trouble}"

    def _ran_out(self) -> SessionLost:
        why = f"; no other coordinator took it: {self._told_trouble()}" if self._tls_trouble else ""
        return SessionLost(f"the session is lost: its lease ran out{why}", code="not_found")

    def remaining(self) -> float:
        """Returns the seconds of the lease that are certainly left."""
        return 0.0 if self.error else max(0.0, self._until - now())

    def _end(self, why: SessionLost) -> None:
        if self.error is not None:
            return
        self.error = why
        for connection in (self._connection, self._candidate):
            if connection is not None:
                connection.unwritten()
                connection.goodbye(NotTried("the session's client stops"))
        self._connection = None
        for sent in [*self._sent.values(), *self._requests.values()]:
            uncertain = Unknown(f"it was under way when the session ended: {why.message}")
            self._settle(sent, uncertain if sent.written else NotTried(why.message))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Unknown(f"no answer before the session ended: {why.message}"))
                answer.exception()
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        self.lost.set()
        self._room.set()

    async def _watch_lease(self) -> None:
        while self.error is None:
            await asyncio.sleep(max(self._until - now(), 0.001))
            if now() >= self._until:
                self._end(self._ran_out())

    def _pong(self, connection: Connection, sent: float) -> None:
        if connection is self._connection and not self._sign_again.is_set():
            self._renew(sent)

    def _renew(self, sent: float) -> None:
        lease = seconds(self.welcome.get("lease", self.config.lease))
        # The home counts from when it heard us, which is not before we spoke.
        # What is taken off is for clocks that run at different speeds.
        self._until = sent + lease - min(lease / 20, 0.5)

    async def _keep(self) -> None:
        """Finds the next coordinator whenever a connection ends."""
        while True:
            connection = self._connection
            assert connection is not None
            again = asyncio.ensure_future(self._sign_again.wait())
            try:
                ends: Set[asyncio.Future[Any]] = {connection.closed, again}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                again.cancel()
            try:
                if not connection.closed.done():
                    self._sign_again.clear()
                    try:
                        await self._sign_in(connection)
                        self._flush()
                    except (NotTried, Unknown, Busy) as error:
                        connection.abort(error)
                    continue
                why = connection.closed.result()
                if connection.told_bye and why.code in _FINAL_BYES:
                    if why.code != "conflict" or not self._unsure:
                        raise why
                    self._unsure = False  # an own attempt may have moved the session: it is gone back on once
                self._connection = None
                self._waiting += [out for out in connection.unwritten() if isinstance(out, _Sent)]
                self._cut_off()
                home = connection.address
                others = [a for a in [*self._doors, *self.config.addresses] if a != home]
                # The home first, since it may still hold our mail, unless it has said that it stops.
                stops = connection.told_bye and why.code == "unavailable"
                order = [*others, home] if stops else [home, *others]
                await self._enter_any(list(dict.fromkeys(order)), _DIAL_HOME)
            except Error as error:
                self._end(lost(error))
                return

    async def _enter_any(self, addresses: Sequence[str], patience: float) -> None:
        """Signs in at the first coordinator that can, for as long as it takes. Raises Refused."""
        pause = 0.05
        while True:
            for address in addresses:
                try:
                    await self._enter(address, patience)
                    return
                except Busy as error:
                    self._trouble = error.message
                except Refused as error:
                    # A conflict may be with an own attempt of before that was carried out.
                    if error.code != "conflict" or not (self._uncertain or self._unsure):
                        raise
                    self._trouble = error.message
                    if not self.welcome and not self.config.session:  # the session of the key came about and is over
                        self._key, self._next = new_conversation().hex(), 0
                except TLSFailed as error:
                    self._trouble = self._tls_trouble = error.message
                except Error as error:  # not tried or unknown: the key, or the secret, makes a repeat harmless
                    self._trouble = error.message
                patience = _DIAL
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(1.0, pause * 2)

    async def _enter(self, address: str, patience: float) -> None:
        connection = await Connection.open(
            address, wish=self.config.ping, tls=self.config.tls, timeout=patience, curious=not self.welcome,
            on_message=self._message, on_receipt=self._receipt, on_pong=self._pong,
        )  # fmt: skip
        self._candidate = connection
        try:
            await self._sign_in(connection)
        except BaseException:
            connection.abort()
            raise
        finally:
            self._candidate = None
        if self.error is not None:
            connection.abort()
            raise self.error
        self._connection = connection
        for sent in list(self._requests.values()):
            if sent.written:
                self._repeat(sent)
        self._flush()
        self._on_home()

    async def _sign_in(self, connection: Connection) -> None:
        c, w = self.config, self.welcome
        session, secret = w.get("session", c.session), w.get("secret", c.secret)
        attempt, unnumbered = self._next, bool(session) and not self._next
        params: Dict[str, Any] = {"name": c.name, "lease": c.lease, "namespace": w.get("namespace", c.namespace)}
        params.update(attempt=attempt, address=connection.own_end)
        params.update({"session": session, "secret": secret} if session else {"key": self._key})
        params.update(
            token=c.token, labels=dict(c.labels), place=dict(c.place), runtimes=list(c.runtimes), slots=c.slots
        )
        request = _request("sign_in", {k: v for k, v in params.items() if v})
        request.sender = ""
        encoded = frame.encode(request)
        if len(encoded) > _LARGEST_SIGN_IN:
            why = "give fewer or shorter labels"
            raise Refused(
                f"a sign-in of {len(encoded)} bytes is above the limit of {_LARGEST_SIGN_IN}: {why}", code="too_large"
            )
        answer = self._answers[request.conversation] = self._loop.create_future()
        sent_at = now()
        before = self._uncertain, self._unsure
        self._uncertain = True
        if unnumbered:  # the session was begun by others, whose attempts are not known
            self._unsure = True
        else:  # once the next is carried out, this one changes nothing any more
            self._next = attempt + 1
        connection.send(Outgoing(COORDINATOR, encoded))
        try:
            ends: Set[asyncio.Future[Any]] = {answer, connection.closed}
            await asyncio.wait(ends, timeout=_SIGN_IN, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._answers.pop(request.conversation, None)
        if not answer.done():
            raise connection.closed.result() if connection.closed.done() else Unknown("the sign-in was not answered")
        told = answer.result()[1]
        if told.get("error") is not None:
            error = from_coordinator(told["error"])
            if error.code not in ("unknown", "internal"):
                self._uncertain, self._unsure = before
                if error.code != "conflict":
                    self._next = attempt
            raise error
        self._uncertain, self._unsure, self._tls_trouble = False, before[1], ""
        result: answers.Welcome = told["result"]
        self._next = result.get("attempt", 0) + 1
        result["secret"] = result.get("secret") or secret
        self.welcome = result
        doors = [known(Door, d) for d in result.get("coordinators") or ()]
        self._doors = [d.address for d in doors if d.address] or self._doors
        self._renew(sent_at)

    # What goes out.

    async def room(self, timeout: float) -> None:
        """Waits until another message may be under way. Raises Busy."""
        end = self._loop.time() + timeout
        while self.error is None and (len(self._sent) >= MAX_UNDER_WAY or self._bytes >= MAX_BYTES_UNDER_WAY):
            self._room.clear()
            try:
                await within(self._room.wait(), end - self._loop.time())
            except asyncio.TimeoutError:
                raise Busy(f"no room for another message within {timeout} s") from None

    def post(self, message: Message, timeout: float) -> asyncio.Future[None]:
        """Sends a message, which gets an id here. The future is done with its outcome: None when delivered."""
        self.check()
        if len(self._sent) >= MAX_UNDER_WAY or self._bytes >= MAX_BYTES_UNDER_WAY:
            raise Busy(f"{len(self._sent)} messages of {self._bytes} bytes are under way")
        while True:
            self._last_id = self._last_id % frame.MAX_ID + 1
            if self._last_id not in self._sent:
                break
        message.id = self._last_id
        sent = self._put(message, timeout, repeat=False)
        self._sent[message.id] = sent
        self._bytes += len(sent.bytes)
        return sent.outcome

    def expect(self, conversation: bytes) -> asyncio.Future[Answer]:
        """Returns a future of the answer in a conversation; forget it with ``forget``."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answers[conversation] = answer
        return answer

    def forget(self, conversation: bytes) -> None:
        """Gives up waiting for an answer; one that comes late is dropped."""
        answer = self._answers.pop(conversation, None)
        if answer is not None and (not answer.done() or answer.cancelled() or answer.exception()):
            self._given_up[conversation] = None
            if len(self._given_up) > MAX_UNDER_WAY:
                del self._given_up[next(iter(self._given_up))]

    @property
    def asking(self) -> bool:
        """Whether a request to COORDINATOR is not answered yet."""
        return bool(self._requests)

    async def ask(
        self, method: str, params: jsonrpc.Params, *, timeout: float, repeat: bool, conversation: bytes = b""
    ) -> Any:
        """Asks COORDINATOR. ``repeat`` says that asking twice does no harm."""
        self.check()
        request = _request(method, params)
        request.conversation = conversation or request.conversation
        answer = self.expect(request.conversation)
        sent = self._put(request, timeout, repeat)
        self._requests[request.conversation] = sent
        fail_with(answer, sent.outcome)
        try:
            told = (await answer)[1]
        finally:
            self.forget(request.conversation)
            self._settle(sent, None)
        error = told.get("error")
        if error is None:
            return told.get("result")
        failure, details = from_coordinator(error), jsonrpc.as_object(error) or {}
        if details.get("code") == jsonrpc.METHOD_NOT_FOUND:
            raise MethodError(jsonrpc.METHOD_NOT_FOUND, failure.message, details.get("data"))
        raise failure

    def _put(self, message: Message, timeout: float, repeat: bool) -> _Sent:
        message.sender = self.welcome.get("full_name", "")
        receiver = (
            message.to
            if "." in message.to or message.to == COORDINATOR
            else f"{self.welcome.get('namespace')}.{message.to}"
        )
        self._number += 1
        sent = _Sent(self._number, message, receiver, self._loop.create_future(), repeat)
        sent.timer = self._loop.call_later(timeout, self._expire, sent, timeout)
        if self._connection is not None and not self._waiting:
            self._connection.send(sent)
        else:
            self._waiting.append(sent)
        return sent

    def _expire(self, sent: _Sent, timeout: float) -> None:
        if sent.written:
            self._settle(sent, Unknown(f"nothing was heard of it within {timeout} s"))
        else:
            self._settle(sent, NotTried(f"it could not be sent within {timeout} s"))

    def _settle(self, sent: _Sent, error: Optional[Error]) -> None:
        if sent.timer is not None:
            sent.timer.cancel()
        if self._sent.get(sent.message.id) is sent:
            del self._sent[sent.message.id]
            self._bytes -= len(sent.bytes)
            self._room.set()
        if self._requests.get(sent.message.conversation) is sent:
            del self._requests[sent.message.conversation]
        if sent.outcome.done():
            return
        if error is None:
            sent.outcome.set_result(None)
        else:
            sent.outcome.set_exception(error)
            sent.outcome.exception()  # looked at: not everybody waits for it

    def _cut_off(self) -> None:
        """Ends what was under way on a connection that is lost: no receipt comes any more, at whichever coordinator."""
        for sent in [*self._sent.values(), *self._requests.values()]:
            if sent.written and not sent.repeat:
                self._settle(sent, Unknown("it was under way when the connection was lost"))

    def _repeat(self, sent: _Sent) -> None:
        sent.written = False
        self._waiting.append(sent)

    def _flush(self) -> None:
        waiting, self._waiting = sorted(self._waiting, key=lambda sent: sent.number), []
        for sent in waiting:
            assert self._connection is not None
            self._connection.send(sent)

    # What comes in.

    def _receipt(self, ids: List[int]) -> None:
        for id in ids:
            sent = self._sent.get(id)
            if sent is not None:
                self._settle(sent, None)

    def _message(self, connection: Connection, m: Message) -> None:
        if now() >= self._until:
            self._end(self._ran_out())
        if self.error is not None or connection not in (self._connection, self._candidate):
            return
        content = None
        if m.type == frame.JSON and m.payload:
            with contextlib.suppress(ValueError, RecursionError):  # whoever receives it may judge
                content = json.loads(m.payload[0])
        answer = jsonrpc.as_object(content) or {}
        is_answer = "method" not in answer and ("result" in answer or "error" in answer)
        if is_answer and self._answered(m, answer):
            return
        self._on_message(m, content)

    def _answered(self, m: Message, content: jsonrpc.Object) -> bool:
        error = jsonrpc.as_object(content.get("error"))
        if m.from_coordinator and error is not None:
            sent = self._sent.get(m.id) if m.id else self._requests.get(m.conversation)
            if sent is not None and sent.message.conversation == m.conversation:
                if error.get("code") == jsonrpc.NOT_SIGNED_IN:  # it was not sent
                    if self._leaving:
                        self._settle(sent, NotTried("the session is closed"))
                        return True
                    self._repeat(sent)
                    self._sign_again.set()
                    return True
                if m.id:
                    self._settle(sent, from_coordinator(error))
                    return True
        answer = self._answers.get(m.conversation)
        if answer is None:
            return m.conversation in self._given_up
        if not answer.done():
            answer.set_result((m, content))
        return True


def _request(method: str, params: jsonrpc.Params) -> Message:
    return Message(
        COORDINATOR, "", new_conversation(), 0, frame.JSON, [jsonrpc.encode(jsonrpc.request(method, params))]
    )


def fail_with(answer: asyncio.Future[Answer], outcome: asyncio.Future[None]) -> None:
    """Lets an answer fail when the question was not delivered."""

    def told(done: asyncio.Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None and not answer.done():
            answer.set_exception(error)

    outcome.add_done_callback(told)
