"""The same without asyncio: every call blocks, one background thread keeps the session."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any, AsyncIterator, Coroutine, Iterator, List, Mapping, Optional, Sequence, TypeVar, Union

from . import answers, jobs
from . import session as core
from .directory import Component, Door, Event
from .directory import Watch as _Watch
from .errors import SessionLost
from .frame import Message
from .jsonrpc import Params
from .methods import Methods, Reply
from .session import TIMEOUT, Delivered, Frame

T = TypeVar("T")


class _Loop:
    """An event loop in a thread of its own, which ends with close."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="folkmoot", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Has the loop do something and does not wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Has the loop do something and waits for its result."""
        if self._loop.is_closed() or threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("the session is closed" if self._loop.is_closed() else "this would wait for itself")
        future = self.start(work)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise SessionLost("the session ended meanwhile") from None
        except BaseException:
            future.cancel()  # interrupted here: do not go on there
            raise

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self.run(self._loop.shutdown_asyncgens())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _each(loop: _Loop, items: AsyncIterator[T]) -> Iterator[T]:
    async def step() -> T:
        return await items.__anext__()

    while True:
        try:
            item = loop.run(step())
        except StopAsyncIteration:
            return
        yield item


class Watch:
    """News: iterate over it. Use it with ``with`` or close it."""

    def __init__(self, loop: _Loop, watch: _Watch) -> None:
        self._loop, self._watch = loop, watch
        self.index = watch.index  #: of the state the news begins after

    def next(self, timeout: Optional[float] = None) -> Event:
        """Waits for the next event. Raises TimeoutError, SessionLost."""
        return self._loop.run(_timed(self._watch.next(timeout)))

    def close(self) -> None:
        async def close() -> None:
            self._watch.close()

        self._loop.run(close())

    def __iter__(self) -> Iterator[Event]:
        return _each(self._loop, self._watch)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Job:
    """A job as it was when last heard of."""

    def __init__(self, loop: _Loop, job: jobs.Job) -> None:
        self._loop, self._job = loop, job

    @property
    def id(self) -> str:
        return self._job.id

    @property
    def state(self) -> str:
        return self._job.state

    @property
    def reason(self) -> str:
        return self._job.reason

    @property
    def parts(self) -> answers.Parts:
        return self._job.parts

    @property
    def ended(self) -> bool:
        return self._job.ended

    def __repr__(self) -> str:
        return repr(self._job)

    def refresh(self) -> Job:
        """Asks how it is now."""
        self._loop.run(self._job.refresh())
        return self

    def wait(self, timeout: Optional[float] = None) -> Job:
        """Waits until the job has ended, however. Raises TimeoutError."""
        self._loop.run(_timed(self._job.wait(timeout)))
        return self

    def cancel(self, reason: str = "") -> Job:
        """Cancels the job; one that has ended stays as it is."""
        self._loop.run(self._job.cancel(reason))
        return self

    def forget(self) -> None:
        """Removes the job, which has ended, with its results and logs: nobody finds it any more."""
        self._loop.run(self._job.forget())

    def results(self, *, follow: bool = True) -> Iterator[jobs.Result]:
        """Yields what became of each part, as the parts end. Raises JobFailed at the end of a job that is not done."""
        return _each(self._loop, self._job.results(follow=follow))


class Session:
    """Made by ``connect``; a blocking face of ``folkmoot.Session``, safe to use from any thread. Methods offered to
    others run in a thread of their own, one at a time, and may use the session, too."""

    def __init__(self, loop: _Loop, session: core.Session) -> None:
        self._loop, self._session = loop, session
        self.method = session.method  #: decorator: offers a function to others
        self.lost = threading.Event()  #: set when the session has ended; ``error`` says why
        self._on_lost = loop.start(self._signal_lost())

    async def _signal_lost(self) -> None:
        await self._session.lost.wait()
        self.lost.set()

    @property
    def full_name(self) -> str:
        return self._session.full_name

    @property
    def namespace(self) -> str:
        return self._session.namespace

    @property
    def home(self) -> str:
        return self._session.home

    @property
    def id(self) -> str:
        return self._session.id

    @property
    def secret(self) -> str:
        return self._session.secret

    @property
    def lease(self) -> float:
        return self._session.lease

    @property
    def error(self) -> Optional[SessionLost]:
        return self._session.error

    def check(self) -> None:
        """Raises SessionLost when the name may be somebody else's by now."""

        async def check() -> None:
            self._session.check()

        self._loop.run(check())

    def send(
        self, to: str, *payload: Frame, conversation: bytes = b"", type: int = 0, timeout: float = TIMEOUT
    ) -> Delivered:
        """Sends a message and waits for its one outcome. Raises ReceiverUnknown, Refused, NotTried or Unknown."""
        return self._loop.run(self._session.send(to, *payload, conversation=conversation, type=type, timeout=timeout))

    def receive(self, timeout: Optional[float] = None) -> Message:
        """Waits for the next message. Raises TimeoutError, SessionLost."""
        return self._loop.run(_timed(self._session.receive(timeout)))

    def messages(self) -> Iterator[Message]:
        """Yields messages until the session ends."""
        return _each(self._loop, self._session.messages())

    def call(
        self, to: str, method: str, params: Params = None, *, timeout: float = TIMEOUT, repeat: bool = False
    ) -> Any:
        """Calls a component's method and returns its result. Raises MethodError, and what ``send`` raises."""
        return self._loop.run(self._session.call(to, method, params, timeout=timeout, repeat=repeat))

    def request(
        self, to: str, method: str, params: Params = None, *, attachments: Sequence[bytes] = (),
        timeout: float = TIMEOUT, repeat: bool = False,
    ) -> Reply:  # fmt: skip
        """Like ``call``, with bytes attached to the question and to the answer."""
        return self._loop.run(
            self._session.request(to, method, params, attachments=attachments, timeout=timeout, repeat=repeat)
        )

    def notify(self, to: str, method: str, params: Params = None, *, timeout: float = TIMEOUT) -> Delivered:
        """Calls a method that does not answer."""
        return self._loop.run(self._session.notify(to, method, params, timeout=timeout))

    def coordinator(self, method: str, params: Params = None, *, timeout: float = TIMEOUT) -> Any:
        """Asks a method of COORDINATOR."""
        return self._loop.run(self._session.coordinator(method, params, timeout=timeout))

    def lookup(self, name: str) -> Component:
        """Looks a component up. Raises NotFound."""
        return self._loop.run(self._session.lookup(name))

    def components(
        self, *, namespace: str = "", prefix: str = "", labels: Optional[Mapping[str, str]] = None, index: int = 0
    ) -> List[Component]:
        """Lists who is signed in, by full name."""
        return self._loop.run(self._session.components(namespace=namespace, prefix=prefix, labels=labels, index=index))

    def coordinators(self) -> List[Door]:
        """Lists the coordinators, ours first."""
        return self._loop.run(self._session.coordinators())

    def watch(self, *topics: str) -> Watch:
        """Returns the news of some topics from now on."""
        return Watch(self._loop, self._loop.run(self._session.watch(*topics)))

    def submit(self, script: str, *, runtime: str = "python3", id: str = "", **spec: Any) -> Job:
        """Hands a job in; see ``folkmoot.Session.submit``."""
        return Job(self._loop, self._loop.run(self._session.submit(script, runtime=runtime, id=id, **spec)))

    def job(self, id: str) -> Job:
        """Finds a job. Raises NotFound."""
        return Job(self._loop, self._loop.run(self._session.job(id)))

    def close(self, timeout: float = 5.0) -> None:
        """Signs out and waits for everything the session started, its threads too. Closing twice does no harm."""
        if self._loop.closed:
            return
        try:
            self._loop.run(self._session.close(timeout))
            self._on_lost.result()
        finally:
            self._loop.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


async def _timed(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except asyncio.TimeoutError:
        raise TimeoutError("nothing came in time") from None


def connect(
    addresses: Union[str, Sequence[str]], name: str, *, methods: Optional[Methods] = None, **options: Any
) -> Session:
    """Signs in; takes what ``folkmoot.connect`` takes. Use the session with ``with``, or close it."""
    connecting = core.connect(addresses, name, methods=methods, **options)

    async def open() -> core.Session:
        return await connecting

    loop = _Loop()
    try:
        return Session(loop, loop.run(open()))
    except BaseException:
        loop.close()
        raise
