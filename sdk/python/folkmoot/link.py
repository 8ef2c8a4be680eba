"""A session's link to the cluster: it outlives any one connection, and ends before the lease does."""

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
from .directory import Door, from_json, parse_duration
from .errors import Busy, Error, MethodError, NotTried, Refused, SessionLost, Unknown, from_coordinator, lost
from .frame import Message, new_conversation
from .timing import within
from .tokenfile import Token

COORDINATOR = "COORDINATOR"
MAX_IN_FLIGHT = 4096  # messages without an outcome
MAX_BYTES_IN_FLIGHT = 32 << 20
_LARGEST_SIGN_IN = 4 << 10
_DIAL_TIMEOUT, _HOME_DIAL_TIMEOUT = 1.0, 0.3  # seconds; home has just gone, so it gets less
_SIGN_IN_TIMEOUT = 5.0
_FINAL_BYE_CODES = frozenset(("not_found", "conflict", "invalid", "too_large", "forbidden"))


@dataclass
class Config:
    """What a session is opened with."""

    addresses: Sequence[str]
    name: str
    namespace: str = ""
    session: str = ""
    secret: str = ""
    token: Token = field(default_factory=Token)
    labels: Mapping[str, str] = field(default_factory=lambda: {})
    place: Mapping[str, str] = field(default_factory=lambda: {})
    lease: float = 10.0
    runtimes: Sequence[str] = ()
    slots: int = 0
    ping: int = 2
    tls: Optional[ssl.SSLContext] = None


class _Sent(Outgoing):
    """A message in flight, until its outcome is known."""

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

    def __init__(
        self, config: Config, on_message: Callable[[Message, Any], None], on_signed_in: Callable[[], None]
    ) -> None:
        self.config = config
        self.welcome: answers.Welcome = {}
        self.error: Optional[SessionLost] = None
        self.lost = asyncio.Event()
        self._on_message, self._on_signed_in = on_message, on_signed_in
        self._loop = asyncio.get_running_loop()
        self._connection: Optional[Connection] = None
        self._candidate: Optional[Connection] = None  # being signed in
        self._sign_in_again = asyncio.Event()
        self._key = new_conversation().hex()
        self._coordinator_addresses: List[str] = []
        self._last_failure = "none"
        self._tls_failure = ""  # the last failure of TLS since the last sign-in
        self._sign_in_unknown = False  # a sign-in was sent and its outcome is not known
        self._next_attempt = 0  # the attempt that the next sign-in is; 0: it cannot be numbered yet
        self._takeover_unknown: bool = False  # a take-over without a number may still be carried out
        self._lease_until = float("inf")  # the lease holds at least until then
        self._sent: Dict[int, _Sent] = {}  # by message id
        self._requests: Dict[bytes, _Sent] = {}  # to COORDINATOR, by conversation
        self._answers: Dict[bytes, asyncio.Future[Answer]] = {}  # awaited, by conversation
        self._abandoned: Dict[bytes, None] = {}  # conversations whose answer comes too late
        self._waiting: List[_Sent] = []  # for a connection
        self._sent_bytes = 0
        self._room_available = asyncio.Event()
        self._last_id = self._sequence = 0
        self._tasks: List[asyncio.Task[None]] = []
        self._stopping = False  # by stop: nobody signs in again

    # Lifecycle.

    async def start(self, timeout: float) -> None:
        """Signs in at the first coordinator that can. Raises Refused (name_taken, ...), NotTried or Unknown."""
        try:
            await within(self._connect_any(self.config.addresses, _DIAL_TIMEOUT), timeout)
        except asyncio.TimeoutError:
            kind = Unknown if self._sign_in_unknown else NotTried
            raise kind(
                f"no coordinator took the sign-in within {timeout} s; the last trouble: {self._describe_failures()}"
            ) from None
        self._tasks = [asyncio.ensure_future(self._maintain_connection()), asyncio.ensure_future(self._watch_lease())]

    async def stop(self, timeout: float) -> None:
        """Signs out if that is still possible, writes a bye and waits for every task it started."""
        if self.error is None:
            in_flight = [s.outcome for s in self._sent.values()]
            if in_flight:
                await asyncio.wait(in_flight, timeout=timeout)
            self._stopping = True
            with contextlib.suppress(Error):  # the lease frees the name
                await self.call_coordinator("sign_out", None, timeout=timeout, repeat=True)
            connection = self._connection
            self._end(lost(None))
            if connection is not None:
                await asyncio.wait({connection.closed}, timeout=timeout)
        tasks, self._tasks = self._tasks, []
        await asyncio.gather(*tasks, return_exceptions=True)

    def check(self) -> None:
        """Raises SessionLost as soon as the session must not be used any more."""
        if self.error is None and now() >= self._lease_until:
            self._end(self._lease_expired())
        if self.error is not None:
            raise SessionLost(self.error.message, code=self.error.code)

    def _describe_failures(self) -> str:
        """Returns the last failure, and the last one of TLS if that was another."""
        if self._tls_failure in ("", self._last_failure):
            return self._last_failure
        return f"{self._last_failure}; {self._tls_failure}"

    def _lease_expired(self) -> SessionLost:
        why = f"; no other coordinator took it: {self._describe_failures()}" if self._tls_failure else ""
        return SessionLost(f"the session is lost: its lease ran out{why}", code="not_found")

    def remaining(self) -> float:
        """Returns the seconds of the lease that are certainly left."""
        return 0.0 if self.error else max(0.0, self._lease_until - now())

    def _end(self, why: SessionLost) -> None:
        if self.error is not None:
            return
        self.error = why
        for connection in (self._connection, self._candidate):
            if connection is not None:
                connection.take_unwritten()
                connection.close_with_bye(NotTried("the session's client stops"))
        self._connection = None
        for sent in [*self._sent.values(), *self._requests.values()]:
            uncertain = Unknown(f"it was under way when the session ended: {why.message}")
            self._resolve(sent, uncertain if sent.written else NotTried(why.message))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Unknown(f"no answer before the session ended: {why.message}"))
                answer.exception()
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        self.lost.set()
        self._room_available.set()

    async def _watch_lease(self) -> None:
        while self.error is None:
            await asyncio.sleep(max(self._lease_until - now(), 0.001))
            if now() >= self._lease_until:
                self._end(self._lease_expired())

    def _handle_pong(self, connection: Connection, sent: float) -> None:
        if connection is self._connection and not self._sign_in_again.is_set():
            self._renew_lease(sent)

    def _renew_lease(self, sent: float) -> None:
        lease = parse_duration(self.welcome.get("lease", self.config.lease))
        # The home counts from when it received our frame, which is not before we sent it.
        # The margin is for clocks that run at different speeds.
        self._lease_until = sent + lease - min(lease / 20, 0.5)

    async def _maintain_connection(self) -> None:
        """Signs in at the next coordinator whenever a connection ends."""
        while True:
            connection = self._connection
            assert connection is not None
            again = asyncio.ensure_future(self._sign_in_again.wait())
            try:
                ends: Set[asyncio.Future[Any]] = {connection.closed, again}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                again.cancel()
            try:
                if not connection.closed.done():
                    self._sign_in_again.clear()
                    try:
                        await self._sign_in(connection)
                        self._flush()
                    except (NotTried, Unknown, Busy) as error:
                        connection.abort(error)
                    continue
                why = connection.closed.result()
                if connection.received_bye and why.code in _FINAL_BYE_CODES:
                    if why.code != "conflict" or not self._takeover_unknown:
                        raise why
                    self._takeover_unknown = False  # one of our own attempts may have moved the session: try once more
                self._connection = None
                self._waiting += [out for out in connection.take_unwritten() if isinstance(out, _Sent)]
                self._fail_in_flight()
                home = connection.address
                others = [a for a in [*self._coordinator_addresses, *self.config.addresses] if a != home]
                # The home first, since it may still hold our mailbox, unless its bye said that it stops.
                stops = connection.received_bye and why.code == "unavailable"
                order = [*others, home] if stops else [home, *others]
                await self._connect_any(list(dict.fromkeys(order)), _HOME_DIAL_TIMEOUT)
            except Error as error:
                self._end(lost(error))
                return

    async def _connect_any(self, addresses: Sequence[str], dial_timeout: float) -> None:
        """Tries the coordinators until one signs the session in. Raises Refused."""
        backoff = 0.05
        while True:
            for address in addresses:
                try:
                    await self._connect(address, dial_timeout)
                    return
                except Busy as error:
                    self._last_failure = error.message
                except Refused as error:
                    # The conflict may be with an earlier attempt of ours that was carried out.
                    if error.code != "conflict" or not (self._sign_in_unknown or self._takeover_unknown):
                        raise
                    self._last_failure = error.message
                    if not self.welcome and not self.config.session:  # the session of the key was created and has ended
                        self._key, self._next_attempt = new_conversation().hex(), 0
                except TLSFailed as error:
                    self._last_failure = self._tls_failure = error.message
                except Error as error:  # not tried or unknown: the key, or the secret, makes a retry harmless
                    self._last_failure = error.message
                dial_timeout = _DIAL_TIMEOUT
            await asyncio.sleep(random.uniform(backoff / 2, backoff))
            backoff = min(1.0, backoff * 2)

    async def _connect(self, address: str, dial_timeout: float) -> None:
        connection = await Connection.open(
            address, ping_interval=self.config.ping, tls=self.config.tls, timeout=dial_timeout,
            probe_silent=not self.welcome,
            on_message=self._handle_message, on_receipt=self._handle_receipt, on_pong=self._handle_pong,
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
                self._send_again(sent)
        self._flush()
        self._on_signed_in()

    async def _sign_in(self, connection: Connection) -> None:
        c, w = self.config, self.welcome
        session, secret = w.get("session", c.session), w.get("secret", c.secret)
        attempt, unnumbered = self._next_attempt, bool(session) and not self._next_attempt
        params: Dict[str, Any] = {"name": c.name, "lease": c.lease, "namespace": w.get("namespace", c.namespace)}
        params.update(attempt=attempt, address=connection.local_address)
        params.update({"session": session, "secret": secret} if session else {"key": self._key})
        params.update(token=c.token.current(), labels=dict(c.labels), place=dict(c.place))
        params.update(runtimes=list(c.runtimes), slots=c.slots)
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
        before = self._sign_in_unknown, self._takeover_unknown
        self._sign_in_unknown = True
        if unnumbered:  # another process opened the session; its attempt numbers are not known
            self._takeover_unknown = True
        else:  # once the next is carried out, this one changes nothing any more
            self._next_attempt = attempt + 1
        connection.send(Outgoing(COORDINATOR, encoded))
        try:
            ends: Set[asyncio.Future[Any]] = {answer, connection.closed}
            await asyncio.wait(ends, timeout=_SIGN_IN_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._answers.pop(request.conversation, None)
        if not answer.done():
            raise connection.closed.result() if connection.closed.done() else Unknown("the sign-in was not answered")
        response = answer.result()[1]
        if response.get("error") is not None:
            error = from_coordinator(response["error"])
            if error.code not in ("unknown", "internal"):
                self._sign_in_unknown, self._takeover_unknown = before
                if error.code != "conflict":
                    self._next_attempt = attempt
            raise error
        self._sign_in_unknown, self._takeover_unknown, self._tls_failure = False, before[1], ""
        result: answers.Welcome = response["result"]
        self._next_attempt = result.get("attempt", 0) + 1
        result["secret"] = result.get("secret") or secret
        self.welcome = result
        doors = [from_json(Door, d) for d in result.get("coordinators") or ()]
        self._coordinator_addresses = [d.address for d in doors if d.address] or self._coordinator_addresses
        self._renew_lease(sent_at)

    # Sending.

    async def wait_for_room(self, timeout: float) -> None:
        """Waits until another message may be under way. Raises Busy."""
        end = self._loop.time() + timeout
        while self.error is None and (len(self._sent) >= MAX_IN_FLIGHT or self._sent_bytes >= MAX_BYTES_IN_FLIGHT):
            self._room_available.clear()
            try:
                await within(self._room_available.wait(), end - self._loop.time())
            except asyncio.TimeoutError:
                raise Busy(f"no room for another message within {timeout} s") from None

    def post(self, message: Message, timeout: float) -> asyncio.Future[None]:
        """Sends a message, which gets an id here. The future is done with its outcome: None when delivered."""
        self.check()
        if len(self._sent) >= MAX_IN_FLIGHT or self._sent_bytes >= MAX_BYTES_IN_FLIGHT:
            raise Busy(f"{len(self._sent)} messages of {self._sent_bytes} bytes are under way")
        while True:
            self._last_id = self._last_id % frame.MAX_ID + 1
            if self._last_id not in self._sent:
                break
        message.id = self._last_id
        sent = self._send(message, timeout, repeat=False)
        self._sent[message.id] = sent
        self._sent_bytes += len(sent.bytes)
        return sent.outcome

    def expect(self, conversation: bytes) -> asyncio.Future[Answer]:
        """Returns a future of the answer in a conversation; forget it with ``forget``."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answers[conversation] = answer
        return answer

    def forget(self, conversation: bytes) -> None:
        """Stops waiting for an answer; one that comes late is dropped."""
        answer = self._answers.pop(conversation, None)
        if answer is not None and (not answer.done() or answer.cancelled() or answer.exception()):
            self._abandoned[conversation] = None
            if len(self._abandoned) > MAX_IN_FLIGHT:
                del self._abandoned[next(iter(self._abandoned))]

    @property
    def asking(self) -> bool:
        """Whether a request to COORDINATOR is not answered yet."""
        return bool(self._requests)

    async def call_coordinator(
        self, method: str, params: jsonrpc.Params, *, timeout: float, repeat: bool, conversation: bytes = b""
    ) -> Any:
        """Calls a method of COORDINATOR. ``repeat`` says that calling it twice does no harm."""
        self.check()
        request = _request(method, params)
        request.conversation = conversation or request.conversation
        answer = self.expect(request.conversation)
        sent = self._send(request, timeout, repeat)
        self._requests[request.conversation] = sent
        fail_with(answer, sent.outcome)
        try:
            response = (await answer)[1]
        finally:
            self.forget(request.conversation)
            self._resolve(sent, None)
        error = response.get("error")
        if error is None:
            return response.get("result")
        failure, details = from_coordinator(error), jsonrpc.as_object(error) or {}
        if details.get("code") == jsonrpc.METHOD_NOT_FOUND:
            raise MethodError(jsonrpc.METHOD_NOT_FOUND, failure.message, details.get("data"))
        raise failure

    def _send(self, message: Message, timeout: float, repeat: bool) -> _Sent:
        message.sender = self.welcome.get("full_name", "")
        receiver = (
            message.to
            if "." in message.to or message.to == COORDINATOR
            else f"{self.welcome.get('namespace')}.{message.to}"
        )
        self._sequence += 1
        sent = _Sent(self._sequence, message, receiver, self._loop.create_future(), repeat)
        sent.timer = self._loop.call_later(timeout, self._time_out, sent, timeout)
        if self._connection is not None and not self._waiting:
            self._connection.send(sent)
        else:
            self._waiting.append(sent)
        return sent

    def _time_out(self, sent: _Sent, timeout: float) -> None:
        if sent.written:
            self._resolve(sent, Unknown(f"nothing was heard of it within {timeout} s"))
        else:
            self._resolve(sent, NotTried(f"it could not be sent within {timeout} s"))

    def _resolve(self, sent: _Sent, error: Optional[Error]) -> None:
        if sent.timer is not None:
            sent.timer.cancel()
        if self._sent.get(sent.message.id) is sent:
            del self._sent[sent.message.id]
            self._sent_bytes -= len(sent.bytes)
            self._room_available.set()
        if self._requests.get(sent.message.conversation) is sent:
            del self._requests[sent.message.conversation]
        if sent.outcome.done():
            return
        if error is None:
            sent.outcome.set_result(None)
        else:
            sent.outcome.set_exception(error)
            sent.outcome.exception()  # marks it as retrieved: not everybody waits for it

    def _fail_in_flight(self) -> None:
        """Fails what was written to a lost connection: no coordinator sends a receipt for it any more."""
        for sent in [*self._sent.values(), *self._requests.values()]:
            if sent.written and not sent.repeat:
                self._resolve(sent, Unknown("it was under way when the connection was lost"))

    def _send_again(self, sent: _Sent) -> None:
        sent.written = False
        self._waiting.append(sent)

    def _flush(self) -> None:
        waiting, self._waiting = sorted(self._waiting, key=lambda sent: sent.number), []
        for sent in waiting:
            assert self._connection is not None
            self._connection.send(sent)

    # Receiving.

    def _handle_receipt(self, ids: List[int]) -> None:
        for id in ids:
            sent = self._sent.get(id)
            if sent is not None:
                self._resolve(sent, None)

    def _handle_message(self, connection: Connection, m: Message) -> None:
        if now() >= self._lease_until:
            self._end(self._lease_expired())
        if self.error is not None or connection not in (self._connection, self._candidate):
            return
        content = None
        if m.type == frame.JSON and m.payload:
            with contextlib.suppress(ValueError, RecursionError):  # the receiver decides what to do with it
                content = json.loads(m.payload[0])
        answer = jsonrpc.as_object(content) or {}
        is_answer = "method" not in answer and ("result" in answer or "error" in answer)
        if is_answer and self._handle_response(m, answer):
            return
        self._on_message(m, content)

    def _handle_response(self, m: Message, content: jsonrpc.Object) -> bool:
        error = jsonrpc.as_object(content.get("error"))
        if m.from_coordinator and error is not None:
            sent = self._sent.get(m.id) if m.id else self._requests.get(m.conversation)
            if sent is not None and sent.message.conversation == m.conversation:
                if error.get("code") == jsonrpc.NOT_SIGNED_IN:  # it was not sent
                    if self._stopping:
                        self._resolve(sent, NotTried("the session is closed"))
                        return True
                    self._send_again(sent)
                    self._sign_in_again.set()
                    return True
                if m.id:
                    self._resolve(sent, from_coordinator(error))
                    return True
        answer = self._answers.get(m.conversation)
        if answer is None:
            return m.conversation in self._abandoned
        if not answer.done():
            answer.set_result((m, content))
        return True


def _request(method: str, params: jsonrpc.Params) -> Message:
    return Message(
        COORDINATOR, "", new_conversation(), 0, frame.JSON, [jsonrpc.encode(jsonrpc.request(method, params))]
    )


def fail_with(answer: asyncio.Future[Answer], outcome: asyncio.Future[None]) -> None:
    """Fails an answer when the request was not delivered."""

    def forward_error(done: asyncio.Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None and not answer.done():
            answer.set_exception(error)

    outcome.add_done_callback(forward_error)
