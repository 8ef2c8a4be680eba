"""What a component can do: methods that others call by JSON-RPC."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union, overload

from .errors import Error, MethodError
from .frame import Message

F = TypeVar("F", bound=Callable[..., Any])
Params = Union[Mapping[str, Any], Sequence[Any], None]

_message: contextvars.ContextVar[Message] = contextvars.ContextVar("folkmoot_message")


def current_message() -> Message:
    """Inside a method: the message that called it, with its sender and attachments (``payload[1:]``)."""
    return _message.get()


@dataclass
class Reply:
    """The answer to a call. A method that wants to attach bytes returns one."""

    result: Any = None
    attachments: List[bytes] = field(default_factory=list)


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

        def add(f: F, under: str) -> F:
            self._methods[under] = f
            return f

        if isinstance(name, str):
            return functools.partial(add, under=name)
        return add(name, name.__name__)

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
        if not isinstance(request, list):
            told, attachments = await self._one(request, message)
            return None if told is None else (_json(told), attachments)
        answers, attachments = [], []
        for one in request:
            told, more = await self._one(one, message)
            if told is not None:
                answers.append(told)
                attachments += more
        return (_json(answers), attachments) if answers else None

    async def _one(self, request: Any, message: Message) -> Tuple[Optional[Dict[str, Any]], List[bytes]]:
        reply = Reply()
        told: Dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id") if isinstance(request, dict) else None}
        try:
            if not isinstance(request, dict) or not isinstance(request.get("method"), str):
                raise MethodError(-32600, "this is no request")
            got = await self._run(request["method"], request.get("params"), message)
            reply = got if isinstance(got, Reply) else Reply(got)
            _json(reply.result)
            told["result"] = reply.result
        except Exception as error:
            told["error"] = _error(error)
            reply = Reply()
        if isinstance(request, dict) and "id" not in request and "method" in request:
            return None, []
        return told, reply.attachments

    async def _run(self, name: str, params: Params, message: Message) -> Any:
        f = self._methods.get(name)
        if f is None:
            raise MethodError(-32601, f"there is no method {name!r}")
        if params is not None and not isinstance(params, (dict, list)):
            raise MethodError(-32602, f"{name}: params are an object or an array")
        args, kwargs = ((), params) if isinstance(params, dict) else (params or (), {})
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
        return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, _kept, call)

    def _discover(self) -> Any:
        """Describes the methods: an OpenRPC document."""
        methods = []
        for name, f in sorted(self._methods.items()):
            params = [
                {"name": p.name, "required": p.default is p.empty, "schema": {}}
                for p in inspect.signature(f).parameters.values()
                if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            ]
            methods.append(
                {"name": name, "description": inspect.getdoc(f) or "", "params": params, "result": {"name": "result", "schema": {}}}
            )
        return {"openrpc": "1.2.6", "info": {"title": "folkmoot component", "version": "1"}, "methods": methods}


def _kept(call: Callable[[], Any]) -> Any:
    """Keeps a method from ending the event loop."""
    try:
        return call()
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"the method raised {type(error).__name__}") from error


def _error(error: Exception) -> Dict[str, Any]:
    if isinstance(error, MethodError):
        told = {"code": error.rpc_code, "message": error.message}
        return told if error.data is None else {**told, "data": error.data}
    if isinstance(error, Error):
        return {"code": -32000, "message": error.message, "data": {"code": error.code, "message": error.message}}
    return {"code": -32000, "message": f"{type(error).__name__}: {error}"}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
