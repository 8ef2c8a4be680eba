"""What a component can do: methods that others call by JSON-RPC."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar, Union, overload

from . import jsonrpc
from .errors import Error, MethodError
from .frame import Message

F = TypeVar("F", bound=Callable[..., Any])

_message: contextvars.ContextVar[Message] = contextvars.ContextVar("folkmoot_message")


def current_message() -> Message:
    """Inside a method: the message that called it, with its sender and attachments (``payload[1:]``)."""
    return _message.get()


@dataclass
class Reply:
    """The answer to a call. A method that wants to attach bytes returns one."""

    result: Any = None
    attachments: List[bytes] = field(default_factory=lambda: [])


class Methods:
    """A set of methods. Coroutine functions run on the event loop; plain functions run in a thread, at most
    ``threads`` of them at once, one after the other by default, as an instrument likes it."""

    def __init__(self, *, threads: int = 1) -> None:
        self._methods: Dict[str, Callable[..., Any]] = {"rpc.discover": self._discover, "pong": lambda: None}
        self._threads = threads
        self._pool: Optional[ThreadPoolExecutor] = None

    @overload
    def method(self, name: F) -> F: ...

    @overload
    def method(self, name: str) -> Callable[[F], F]: ...

    def method(self, name: Union[F, str]) -> Union[F, Callable[[F], F]]:
        """Decorator: offers a function under its own name, or under the one given."""

        def register(f: F, under: str) -> F:
            self._methods[under] = f
            return f

        if isinstance(name, str):
            return functools.partial(register, under=name)
        return register(name, name.__name__)

    def __contains__(self, name: str) -> bool:
        return name in self._methods

    @property
    def in_threads(self) -> bool:
        """Whether a thread was started for plain functions."""
        return self._pool is not None

    def close(self) -> None:
        """Waits for methods that run in threads."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)

    async def answer(self, request: Any, message: Message) -> Optional[Tuple[bytes, List[bytes]]]:
        """Carries out a request, or a batch, and returns the answer and its attachments; None when there is
        nothing to answer."""
        batch = jsonrpc.as_list(request)
        if batch is None:
            answer, attached = await self._answer_one(request, message)
            return None if answer is None else (jsonrpc.encode(answer), attached)
        answers: List[jsonrpc.Object] = []
        attachments: List[bytes] = []
        for one in batch:
            answer, more = await self._answer_one(one, message)
            if answer is not None:
                answers.append(answer)
                attachments += more
        return (jsonrpc.encode(answers), attachments) if answers else None

    async def _answer_one(self, request: Any, message: Message) -> Tuple[Optional[jsonrpc.Object], List[bytes]]:
        members = jsonrpc.as_object(request) or {}
        reply = Reply()
        try:
            if not isinstance(members.get("method"), str):
                raise MethodError(-32600, "this is no request")
            returned = await self._run(members["method"], members.get("params"), message)
            reply = returned if isinstance(returned, Reply) else Reply(returned)
            jsonrpc.encode(reply.result)
            answer = {"jsonrpc": "2.0", "id": members.get("id"), "result": reply.result}
        except Exception as error:
            answer = _failure(members.get("id"), error)
            reply = Reply()
        if "id" not in members and "method" in members:
            return None, []
        return answer, reply.attachments

    async def _run(self, name: str, params: object, message: Message) -> Any:
        f = self._methods.get(name)
        if f is None:
            raise MethodError(jsonrpc.METHOD_NOT_FOUND, f"there is no method {name!r}")
        named, listed = jsonrpc.as_object(params), jsonrpc.as_list(params)
        if params is not None and named is None and listed is None:
            raise MethodError(-32602, f"{name}: params are an object or an array")
        args, kwargs = listed or [], named or {}
        try:
            call = functools.partial(f, *args, **kwargs)
            inspect.signature(f).bind(*args, **kwargs)
        except TypeError as error:
            raise MethodError(-32602, f"{name}: {error}") from None
        _message.set(message)
        if inspect.iscoroutinefunction(f):
            return await call()
        if name in ("rpc.discover", "pong"):
            return call()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="folkmoot-method")
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: context.run(_without_exit, call))

    def _discover(self) -> jsonrpc.Object:
        """Describes the methods: an OpenRPC document."""
        methods: List[jsonrpc.Object] = []
        for name, f in sorted(self._methods.items()):
            params: List[jsonrpc.Object] = [
                {"name": p.name, "required": p.default is p.empty, "schema": {}}
                for p in inspect.signature(f).parameters.values()
                if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            ]
            methods.append(
                {
                    "name": name,
                    "description": inspect.getdoc(f) or "",
                    "params": params,
                    "result": {"name": "result", "schema": {}},
                }
            )
        return {"openrpc": "1.2.6", "info": {"title": "folkmoot component", "version": "1"}, "methods": methods}


def _without_exit(call: Callable[[], Any]) -> Any:
    """Keeps a method from ending the event loop."""
    try:
        return call()
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"the method raised {type(error).__name__}") from error


def _failure(id: Any, error: Exception) -> jsonrpc.Object:
    if isinstance(error, MethodError):
        return jsonrpc.failure(id, error.rpc_code, error.message, error.data)
    if isinstance(error, Error):
        return jsonrpc.failure(id, jsonrpc.SERVER_ERROR, error.message, {"code": error.code, "message": error.message})
    return jsonrpc.failure(id, jsonrpc.SERVER_ERROR, f"{type(error).__name__}: {error}")
