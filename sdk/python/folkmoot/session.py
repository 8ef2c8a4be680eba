"""A signed-in component: what most programs use."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import uuid
from collections import deque
from dataclasses import dataclass
from typing import (
    Any,
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Deque,
    Dict,
    Generator,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Union,
    cast,
)

from . import answers, frame, jsonrpc
from .directory import Component, Door, Event, Watch, from_json, parse_duration, parse_position
from .errors import Busy, Error, MethodError, NotTried, Refused, SessionLost, Unknown, from_coordinator, lost
from .frame import Message, new_conversation
from .jobs import Job
from .jsonrpc import Params
from .link import Config, Link, fail_with
from .methods import Methods, Reply
from .timing import within
from .tokenfile import Path, Token

Frame = Union[bytes, bytearray, memoryview, str]  # one frame of a payload; a str goes as UTF-8

TIMEOUT = 10.0
MAX_INBOX = 1000  # messages not received yet, and requests being carried out
MAX_INBOX_BYTES = 16 << 20  # and one message
_TOPICS = ("component", "job", "member")


@dataclass(frozen=True)
class Delivered:
    """The receiver's mailbox has taken the message."""

    conversation: bytes


class Session:
    """Made by ``connect``. Lives until ``close`` or until it is lost; meanwhile it keeps its lease and finds another
    coordinator, under the same full name, whenever its own goes away."""

    def __init__(self, config: Config, methods: Optional[Methods] = None) -> None:
        self.methods = methods or Methods()  #: what others may call
        self.method = self.methods.method  #: decorator: offers a function to others
        self.refused = 0  #: messages that found the inbox full; their senders were told
        self._link = Link(config, self._handle_message, self._on_signed_in)
        self._inbox: Deque[Message] = deque()
        self._inbox_bytes = 0
        self._inbox_changed = asyncio.Event()
        self._serving: Set[asyncio.Task[None]] = set()
        self._end_task: Optional[asyncio.Task[None]] = None
        self._watches: Set[Watch] = set()
        self._watch_conversation = b""
        self._watch_asked = b""  # the conversation of the subscription that is asked for
        self._watch_position = ""  # "index.seq" of the newest event seen
        self._watch_cluster = ""  # the id of the cluster that the position belongs to
        self._watch_tasks: Set[asyncio.Task[None]] = set()
        self._subscribe_lock = asyncio.Lock()  # held while the subscription changes
        self._closing = False

    # Identity.

    @property
    def full_name(self) -> str:
        """namespace.name: what others send to."""
        return self._link.welcome.get("full_name", "")

    @property
    def namespace(self) -> str:
        return self._link.welcome.get("namespace", "")

    @property
    def home(self) -> str:
        """The coordinator that has the session now."""
        return self._link.welcome.get("home", "")

    @property
    def id(self) -> str:
        """Stays the same when the session moves."""
        return self._link.welcome.get("session", "")

    @property
    def secret(self) -> str:
        """With ``id`` it lets another process take the name over: keep it to yourself."""
        return self._link.welcome.get("secret", "")

    @property
    def lease(self) -> float:
        """Seconds the name stays ours after the last sign of life."""
        return parse_duration(self._link.welcome.get("lease", 0))

    @property
    def lost(self) -> asyncio.Event:
        """Set when the session has ended; ``error`` says why."""
        return self._link.lost

    @property
    def error(self) -> Optional[SessionLost]:
        return self._link.error

    def check(self) -> None:
        """Raises SessionLost when the name may be somebody else's by now. Cheap: ask before what only the owner of
        the name may do."""
        self._link.check()

    @contextlib.asynccontextmanager
    async def guard(self) -> AsyncGenerator[None, None]:
        """Cancels its body when the session is lost, before somebody else can have the name, and raises SessionLost."""
        self.check()
        task = asyncio.current_task()
        assert task is not None
        session_ended = False

        async def watch() -> None:
            nonlocal session_ended
            await self.lost.wait()
            session_ended = True
            task.cancel()

        watcher = asyncio.ensure_future(watch())
        try:
            yield
        except asyncio.CancelledError:
            if not session_ended:
                raise
            uncancel = getattr(task, "uncancel", None)
            if uncancel is not None:
                uncancel()
            raise lost(self.error) from None
        finally:
            watcher.cancel()

    # Messages.

    def post(
        self, to: str, *payload: Frame, conversation: bytes = b"", type: int = frame.ANY, timeout: float = TIMEOUT
    ) -> asyncio.Future[None]:
        """Sends a message without waiting. The future's result is None when it was delivered, else it raises
        ReceiverUnknown, Refused, NotTried or Unknown. Busy is raised at once when too much is under way."""
        return self._link.post(
            Message(to, "", conversation or new_conversation(), 0, type, [_frame(p) for p in payload]), timeout
        )

    async def send(
        self, to: str, *payload: Frame, conversation: bytes = b"", type: int = frame.ANY, timeout: float = TIMEOUT
    ) -> Delivered:
        """Sends a message and waits for its one outcome. A str goes as UTF-8. Raises ReceiverUnknown, Refused, NotTried
        or Unknown."""
        await self._link.wait_for_room(timeout)
        conversation = conversation or new_conversation()
        await self.post(to, *payload, conversation=conversation, type=type, timeout=timeout)
        return Delivered(conversation)

    async def receive(self, timeout: Optional[float] = None) -> Message:
        """Waits for the next message that is neither an answer nor a request. Raises asyncio.TimeoutError or
        SessionLost."""
        while not self._inbox:
            self.check()
            self._inbox_changed.clear()
            await within(self._inbox_changed.wait(), timeout)
        m = self._inbox.popleft()
        self._inbox_bytes -= sum(map(len, m.payload))
        return m

    async def messages(self) -> AsyncIterator[Message]:
        """Yields what ``receive`` returns until the session ends."""
        while True:
            try:
                yield await self.receive()
            except SessionLost:
                return

    # Calls.

    async def call(
        self, to: str, method: str, params: Params = None, *, timeout: float = TIMEOUT, repeat: bool = False
    ) -> Any:
        """Calls a component's method and returns its result. Raises MethodError when the component answered with
        an error, and what ``send`` raises. ``repeat``: the method does no harm when it runs twice, so an unknown
        outcome is tried again within the time."""
        return (await self.request(to, method, params, timeout=timeout, repeat=repeat)).result

    async def request(
        self,
        to: str,
        method: str,
        params: Params = None,
        *,
        attachments: Sequence[Frame] = (),
        timeout: float = TIMEOUT,
        repeat: bool = False,
    ) -> Reply:
        """Like ``call``, with bytes attached to the question and to the answer."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while True:
            try:
                return await self._request(to, method, params, attachments, end - loop.time())
            except Unknown:
                # A share of the time is left only if the outcome, not the answer, was unknown.
                if not repeat or end - loop.time() < 0.05 or self.error is not None:
                    raise

    async def _request(
        self, to: str, method: str, params: Params, attachments: Sequence[Frame], timeout: float
    ) -> Reply:
        content = jsonrpc.encode(jsonrpc.request(method, params))
        m = Message(to, "", new_conversation(), 0, frame.JSON, [content, *map(_frame, attachments)])
        await self._link.wait_for_room(timeout)
        answer = self._link.expect(m.conversation)
        try:
            sent = self._link.post(m, timeout)
            fail_with(answer, sent)
            try:
                message, response = await within(answer, timeout)
            except asyncio.TimeoutError:
                raise Unknown(f"{to} did not answer {method} within {timeout:.3g} s") from None
        finally:
            self._link.forget(m.conversation)
        error = response.get("error")
        if error is None:
            return Reply(response.get("result"), message.payload[1:])
        if message.from_coordinator:
            raise from_coordinator(error)
        error = jsonrpc.as_object(error) or {}
        code = error.get("code")
        raise MethodError(
            code if isinstance(code, int) else jsonrpc.SERVER_ERROR, str(error.get("message", "")), error.get("data")
        )

    async def notify(self, to: str, method: str, params: Params = None, *, timeout: float = TIMEOUT) -> Delivered:
        """Calls a method that does not answer; returns when the receiver's mailbox has the message."""
        return await self.send(
            to, jsonrpc.encode(jsonrpc.notification(method, params)), type=frame.JSON, timeout=timeout
        )

    async def coordinator(
        self, method: str, params: Params = None, *, timeout: float = TIMEOUT, repeat: bool = True
    ) -> Any:
        """Asks a method of COORDINATOR. ``repeat``: it may be asked again when a connection was lost meanwhile, which
        all those of docs/protocol.md allow. ``folkmoot.answers`` has the types of what they answer."""
        return await self._link.call_coordinator(method, params, timeout=timeout, repeat=repeat)

    @property
    def asking(self) -> bool:
        """Whether COORDINATOR has a request of this session that is not answered yet: it answers them in order."""
        return self._link.asking

    # The directory.

    async def lookup(self, name: str) -> Component:
        """Looks a component up by its full name, or its plain name in the own namespace. Raises NotFound."""
        return from_json(Component, await self.coordinator("lookup", {"name": name}))

    async def components(
        self, *, namespace: str = "", prefix: str = "", labels: Optional[Mapping[str, str]] = None, index: int = 0
    ) -> List[Component]:
        """Lists who is signed in, by full name; with ``index`` at least as new as that."""
        params: Dict[str, Any] = {
            "namespace": namespace,
            "prefix": prefix,
            "labels": dict(labels or {}),
            "index": index,
        }
        params = {k: v for k, v in params.items() if v}
        found: List[Component] = []
        while True:
            page: answers.Components = await self.coordinator("components", params)
            found += [from_json(Component, c) for c in page.get("components") or ()]
            following = page.get("next")
            if not following:
                return found
            params["after"] = following

    async def coordinators(self) -> List[Door]:
        """Lists the coordinators, ours first."""
        doors: answers.Doors = await self.coordinator("coordinators")
        return [from_json(Door, d) for d in doors.get("coordinators") or ()]

    async def watch(self, *topics: str) -> Watch:
        """Returns the news of some topics (component, job, member; component when none is given) from now on. To
        keep a list: watch, then list with ``index=watch.index``, then apply the news."""
        topics = topics or ("component",)
        if not set(topics) <= set(_TOPICS):
            raise Refused(f"topics are {', '.join(_TOPICS)}", field="topics")
        watch = Watch(frozenset(topics), self._unwatch)
        self._watches.add(watch)
        try:
            watch.index = await self._subscribe(watch)
        except BaseException:
            self._watches.discard(watch)
            raise
        return watch

    async def _subscribe(self, own: Optional[Watch] = None) -> int:
        """Asks for the news of the watches that were accepted and of own: one that is refused fails alone."""
        async with self._subscribe_lock:
            wanted = [w for w in self._watches if w._accepted or w is own]
            if not wanted:
                return 0
            params: Dict[str, Any] = {"topics": sorted({t for w in wanted for t in w.topics})}
            if self._watch_position:
                params["after"] = self._watch_position
                if self._watch_cluster:
                    params["cluster"] = self._watch_cluster
            self._watch_asked = conversation = new_conversation()
            try:
                subscribed: answers.Subscribed = await self._link.call_coordinator(
                    "subscribe", params, timeout=TIMEOUT, repeat=True, conversation=conversation
                )
            except Refused:  # the subscription of before goes on
                self._watch_asked = b""
                raise
            self._watch_conversation, self._watch_asked = conversation, b""
            if own is not None:
                own._accepted = True
            at = subscribed.get("at", "")
            if not self._watch_position:
                self._watch_position, self._watch_cluster = at, subscribed.get("cluster", "")
            return parse_position(at)[0]

    async def _resubscribe(self) -> None:
        while self._watches and self.error is None:
            try:
                await self._subscribe()
                return
            except (Busy, NotTried, Unknown):
                await asyncio.sleep(0.2)

    async def _unsubscribe(self) -> None:
        async with self._subscribe_lock:
            if not self._watches:
                self._watch_position = ""
                await self.coordinator("unsubscribe")

    def _unwatch(self, watch: Watch) -> None:
        self._watches.discard(watch)
        if not self._watches and self.error is None:
            self._background(self._unsubscribe())

    def _handle_event(self, m: Message, content: jsonrpc.Object) -> None:
        params = jsonrpc.as_object(content.get("params")) or {}
        if m.conversation not in (self._watch_conversation, self._watch_asked):
            return  # from a subscription that was replaced
        if content["method"] == "lagged":
            self._watch_position = str(params.get("at", self._watch_position))
            self._watch_cluster = str(params.get("cluster", ""))
            event = Event(index=parse_position(self._watch_position)[0], kind="lagged")
        else:
            event = from_json(Event, params)
            if self._watch_position and (event.index, event.seq) <= parse_position(self._watch_position):
                return
            self._watch_position = f"{event.index}.{event.seq}"
        for watch in list(self._watches):
            watch.append(event)

    # Jobs.

    async def submit(self, script: str, *, runtime: str = "python3", id: str = "", **spec: Any) -> Job:
        """Hands a job in: ``items=[...]``, or any other iterable of what JSON knows, or ``range={"from": 0, "to": 1000,
        "chunk": 50}``, and what else POST /v1/jobs takes (args, name, priority, parallel, max_attempts, part_timeout,
        labels, namespace, ...). The same id twice is the same job."""
        if "items" in spec:
            spec["items"] = _items(spec["items"])
        if isinstance(spec.get("range"), range):
            raise TypeError(
                'range is {"from": 0, "to": 1000, "chunk": 50}; '
                "of a Python range every number is a part by items=range(1000)"
            )
        body = {"id": id or uuid.UUID(bytes=new_conversation()).hex, "runtime": runtime, "script": script, **spec}
        return Job(self, await self.coordinator("jobs.submit", body))

    async def job(self, id: str) -> Job:
        """Finds a job. Raises NotFound."""
        return Job(self, await self.coordinator("jobs.get", {"id": id}))

    # Receiving.

    def _handle_message(self, m: Message, content: Any) -> None:
        one, batch = jsonrpc.as_object(content) or {}, jsonrpc.as_list(content) or []
        method = one.get("method")
        if isinstance(method, str):
            if m.from_coordinator and "id" not in one and method in ("event", "lagged"):
                return self._handle_event(m, one)
            if "id" in one or method in self.methods:  # a coordinator asks for those who call over REST
                return self._serve(m, content)
        elif any("method" in (jsonrpc.as_object(c) or {}) for c in batch):
            return self._serve(m, content)
        if len(self._inbox) >= MAX_INBOX or self._inbox_bytes >= MAX_INBOX_BYTES:
            self.refused += 1
            if not m.from_coordinator and "error" not in one:
                self._reply_busy(m, None, "inbox")
            return
        self._inbox.append(m)
        self._inbox_bytes += sum(map(len, m.payload))
        self._inbox_changed.set()

    def _serve(self, m: Message, content: Any) -> None:
        one = jsonrpc.as_object(content)
        if self._closing or len(self._serving) >= MAX_INBOX:
            if one is None or "id" in one:
                self._reply_busy(m, None if one is None else one["id"], "methods")
            return
        task = asyncio.ensure_future(self._run_methods(m, content))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _run_methods(self, m: Message, content: Any) -> None:
        result = await self.methods.answer(content, m)
        if result is None:
            return
        answer, attachments = result
        try:
            await self._link.wait_for_room(TIMEOUT)
            self._reply(m, answer, attachments)
        except (Busy, SessionLost):
            pass  # the caller gets no answer: its outcome is unknown
        except Error as error:
            id = (jsonrpc.as_object(content) or {}).get("id")
            self._reply(m, jsonrpc.encode(jsonrpc.failure(id, jsonrpc.SERVER_ERROR, error.message)), [])

    def _reply_busy(self, m: Message, id: Any, what: str) -> None:
        message = (
            f"the {what} of {self.full_name} are full"
            if what == "methods"
            else f"the inbox of {self.full_name} is full"
        )
        answer = jsonrpc.failure(id, jsonrpc.SERVER_ERROR, message, {"code": "busy", "message": message})
        with contextlib.suppress(Error):
            self._reply(m, jsonrpc.encode(answer), [])

    def _reply(self, m: Message, answer: bytes, attachments: Sequence[bytes]) -> None:
        self._link.post(Message(m.sender, "", m.conversation, 0, frame.JSON, [answer, *attachments]), TIMEOUT)

    def _on_signed_in(self) -> None:
        if self._watch_position:  # else the first subscription is still being asked for, and is asked again
            self._background(self._resubscribe())

    def _background(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            try:
                await work
            except Error as error:
                for watch in self._watches:
                    watch.fail(error)

        task = asyncio.ensure_future(run())
        self._watch_tasks.add(task)
        task.add_done_callback(self._watch_tasks.discard)

    # Lifecycle.

    async def start(self, timeout: float) -> None:
        """Signs in; ``connect`` does it."""
        await self._link.start(timeout)
        self._end_task = asyncio.ensure_future(self._clean_up_at_end())

    async def _clean_up_at_end(self) -> None:
        await self.lost.wait()
        for task in [*self._serving, *self._watch_tasks]:
            task.cancel()
        for watch in self._watches:
            watch.fail(lost(self.error))
        self._inbox_changed.set()

    async def close(self, timeout: float = 5.0) -> None:
        """Finishes the methods being carried out and what is being sent, each within ``timeout`` seconds, signs out,
        and waits for everything the session started. Closing twice does no harm."""
        self._closing = True
        if self._serving and self.error is None:
            await asyncio.wait(set(self._serving), timeout=timeout)
        await self._link.stop(timeout)
        if self._end_task is not None:
            await self._end_task
        await asyncio.gather(*self._serving, *self._watch_tasks, return_exceptions=True)
        if self.methods.in_threads:
            await asyncio.get_running_loop().run_in_executor(None, self.methods.close)

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()


def _frame(payload: Frame) -> bytes:
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(cast(object, payload), (bytes, bytearray, memoryview)):
        return bytes(payload)
    raise TypeError(
        f"a payload frame is bytes or str, not {payload.__class__.__name__}: encode it, for example by json.dumps"
    )


def _items(items: object) -> Optional[List[Any]]:
    if items is None or isinstance(items, list):
        return cast(Optional[List[Any]], items)
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
        kind = cast(object, items).__class__.__name__
        raise TypeError(
            f"items is a list, or another iterable, of what each part works on, not {kind}: [item] is one item"
        )
    return list(cast(Iterable[Any], items))


class Connecting:
    """What ``connect`` returns: ``await`` it, or use it with ``async with``."""

    def __init__(self, open: Callable[[], Coroutine[Any, Any, Session]]) -> None:
        self._open = open
        self._session: Optional[Session] = None

    def __await__(self) -> Generator[Any, None, Session]:
        return (yield from self._open().__await__())

    async def __aenter__(self) -> Session:
        self._session = await self
        return self._session

    async def __aexit__(self, *_: Any) -> None:
        assert self._session is not None
        await self._session.close()


def connect(
    addresses: Union[str, Sequence[str]],
    name: str,
    *,
    namespace: str = "",
    session: str = "",
    secret: str = "",
    token: str = "",
    token_file: Optional[Path] = None,
    labels: Optional[Mapping[str, str]] = None,
    place: Optional[Mapping[str, str]] = None,
    lease: float = 10.0,
    ping: int = 0,
    runtimes: Sequence[str] = (),
    slots: int = 0,
    tls: Optional[ssl.SSLContext] = None,
    methods: Optional[Methods] = None,
    timeout: float = TIMEOUT,
) -> Connecting:
    """Signs in at the first of the addresses that answers ("host:port", or several with commas; port 7370 when none
    is given).

    ``lease`` is how many seconds (3 to 86,400) the name stays ours when nothing is heard of us; ``ping`` is how many
    seconds pass between two signs of life (default: 2, less for a short lease). With ``session`` and ``secret`` of
    before the name is taken over. ``token`` is shown where tokens are asked for; ``token_file`` is a file that has one,
    as its first line that is no comment, and is read again for every sign-in. Raises NameTaken or Refused; when no
    coordinator took it within ``timeout`` seconds NotTried, or Unknown if one may have: then the name is free when its
    lease ends.
    """
    if isinstance(addresses, str):
        addresses = [a.strip() for a in addresses.split(",") if a.strip()]
    if not addresses:
        raise ValueError("no address of a coordinator is given")
    config = Config(
        list(addresses), name, namespace, session, secret, Token(token, token_file), labels or {}, place or {}, lease,
        runtimes, slots, ping or max(1, min(2, int(lease / 4))), tls,
    )  # fmt: skip

    async def open() -> Session:
        opened = Session(config, methods)
        await opened.start(timeout)
        return opened

    return Connecting(open)
