"""Work handed in to the cluster."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, AsyncIterator, Optional, Protocol, Set

from . import answers, jsonrpc
from .directory import from_json
from .errors import Error
from .timing import within

FINAL = frozenset(("done", "failed", "cancelled"))
_PAGE = 1000
_MIN_POLL, _MAX_POLL = 0.05, 1.0  # seconds until the next poll for results
_ANSWER = 10.0  # seconds for an answer
_WAIT = 1.0  # seconds for which COORDINATOR waits for the end of a job before it answers


class Coordinator(Protocol):
    """The part of a session that a job needs."""

    @property
    def asking(self) -> bool:
        """Whether COORDINATOR has a request of this session that is not answered yet."""
        ...

    async def coordinator(self, method: str, params: jsonrpc.Params = None, *, timeout: float = ...) -> Any: ...


class JobFailed(Error):
    """The job ended otherwise than done; ``state`` and ``message`` say how and why."""

    code = "conflict"

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} {job.state}: {job.reason}")
        self.state = job.state


@dataclass(frozen=True)
class Result:
    """What became of one part that ended."""

    part: int = 0
    state: str = ""
    attempt: int = 0
    worker: str = ""
    result: Any = None
    error: str = ""
    millis: int = 0


class Job:
    """A job as it was when last heard of. It goes on without us: ``Session.job(id)`` finds it again."""

    def __init__(self, session: Coordinator, told: answers.Job) -> None:
        self._session = session
        self.told = told  #: all that the coordinator said, as JSON

    @property
    def id(self) -> str:
        return self.told.get("id", "")

    @property
    def state(self) -> str:
        """queued, running, done, failed or cancelled."""
        return self.told.get("state", "")

    @property
    def reason(self) -> str:
        """Why it failed or was cancelled."""
        return self.told.get("reason", "")

    @property
    def parts(self) -> answers.Parts:
        """How many parts are in which state."""
        return self.told.get("parts", answers.Parts())

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.state}>"

    @property
    def ended(self) -> bool:
        return self.state in FINAL

    async def refresh(self) -> Job:
        """Asks how it is now."""
        self.told = await self._session.coordinator("jobs.get", {"id": self.id})
        return self

    async def _refresh_at_end(self, seconds: float) -> None:
        """Asks how it is once it has ended, or after so many seconds. COORDINATOR answers a session's requests in
        order, so that one that waits there holds up those that follow: it is only asked to wait when nothing else
        is asked."""
        if self._session.asking:
            await asyncio.sleep(seconds)
            await self.refresh()
            return
        self.told = await self._session.coordinator(
            "jobs.get", {"id": self.id, "wait": seconds}, timeout=_ANSWER + seconds
        )

    async def wait(self, timeout: Optional[float] = None) -> Job:
        """Waits until the job has ended, however. Raises asyncio.TimeoutError. What else the session asks COORDINATOR
        meanwhile may be answered up to a second later."""

        async def ended() -> None:
            while not self.ended:
                await self._refresh_at_end(_WAIT)

        await within(ended(), timeout)
        return self

    async def cancel(self, reason: str = "") -> Job:
        """Cancels the job; one that has ended stays as it is."""
        self.told = await self._session.coordinator(
            "jobs.cancel", {"id": self.id, **({"reason": reason} if reason else {})}
        )
        return self

    async def forget(self) -> None:
        """Removes the job, which has ended, with its results and logs: nobody finds it any more."""
        await self._session.coordinator("jobs.forget", {"id": self.id})

    async def results(self, *, follow: bool = True) -> AsyncIterator[Result]:
        """Yields what became of each part, once, as the parts end, and returns when the job has ended; without
        ``follow`` those that have ended by now. Raises JobFailed at the end of a job that is not done."""
        yielded: Set[int] = set()  # part numbers at and above gap
        gap = 0  # all parts below were yielded
        interval = _MIN_POLL
        await self.refresh()
        while True:
            ended_before, progressed = self.ended, False
            async for result in self._results(gap - 1):
                if result.part >= gap and result.part not in yielded:
                    yielded.add(result.part)
                    progressed = True
                    yield result
            while gap in yielded:
                yielded.remove(gap)
                gap += 1
            if ended_before or not follow:
                break
            interval = _MIN_POLL if progressed else min(_MAX_POLL, interval * 1.5)
            await self._refresh_at_end(interval)
        if self.ended and self.state != "done":
            raise JobFailed(self)

    async def _results(self, after: int) -> AsyncIterator[Result]:
        """Yields the results of parts above ``after`` that have ended by now, by part number."""
        while True:
            params = {"id": self.id, "limit": _PAGE, **({"after": after} if after >= 0 else {})}
            page: answers.Results = await self._session.coordinator("jobs.results", params)
            for line in page.get("results") or ():
                yield from_json(Result, line)
            following = page.get("next")
            if following is None:
                return
            after = following
