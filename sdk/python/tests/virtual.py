"""Time that passes only when nobody has anything to do: leases are tested to the moment, on however slow a machine."""

from __future__ import annotations

import asyncio
import functools
import selectors
import unittest
from typing import Any, Awaitable, Callable, List, Optional, Tuple
from unittest import mock

_QUIET = 0.02  # real seconds without any input after which nobody has anything to do


class _Selector(selectors.DefaultSelector):
    loop: Loop

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(_QUIET)
        if not ready:
            self.loop.passed += timeout
        return ready


class Loop(asyncio.SelectorEventLoop):
    """An event loop on virtual time. What it waits for has to be on the loop too: no threads, no other processes."""

    def __init__(self) -> None:
        self.passed = 1000.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.passed


def on_virtual_time(test: Callable[[Any], Awaitable[None]]) -> Callable[[unittest.TestCase], None]:
    """Runs a coroutine as a test, leases on virtual time."""

    @functools.wraps(test)
    def run(self: unittest.TestCase) -> None:
        loop = Loop()
        try:
            with mock.patch("folkmoot.connection.now", loop.time), mock.patch("folkmoot.link.now", loop.time):
                loop.run_until_complete(test(self))
        finally:
            loop.close()

    return run
