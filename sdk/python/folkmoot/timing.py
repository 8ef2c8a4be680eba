"""Waiting with a limit."""

from __future__ import annotations

import asyncio
from typing import Awaitable, Optional, TypeVar

T = TypeVar("T")


async def within(awaitable: Awaitable[T], timeout: Optional[float]) -> T:
    """Waits for a result, for at most ``timeout`` seconds (None: for ever). Raises asyncio.TimeoutError.

    It is ``asyncio.wait_for`` without a fault of Python before 3.12: when the caller is cancelled in the moment in
    which the result comes, that one returns the result and the caller is never cancelled, so that whoever cancelled it,
    a limit around this one for example, waits for ever. What was waited for is cancelled with the caller and has ended
    when this returns.
    """
    task = asyncio.ensure_future(awaitable)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout)
        if not done:
            task.cancel()
            await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen, so that nobody is told that it was not
        raise
    if task.cancelled() and not done:
        raise asyncio.TimeoutError
    return task.result()
