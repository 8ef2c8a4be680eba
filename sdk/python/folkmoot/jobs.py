"""Work handed in to the cluster."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, AsyncIterator, Dict, Optional, Set

from .directory import known
from .errors import Error
from .timing import within

if TYPE_CHECKING:
    from .session import Session

FINAL = frozenset(("done", "failed", "cancelled"))
_PAGE = 1000
_SOON, _LATE = 0.05, 1.0  # seconds between two looks


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

    def __init__(self, session: Session, told: Dict[str, Any]) -> None:
        self._session = session
        self.told = told  #: all that the coordinator said, as JSON

    id = property(lambda self: str(self.told["id"]))
    state = property(lambda self: str(self.told["state"]))
    reason = property(lambda self: str(self.told.get("reason", "")))
    parts = property(lambda self: dict(self.told.get("parts", {})))

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.state}>"

    @property
    def ended(self) -> bool:
        return self.state in FINAL

    async def refresh(self) -> Job:
        """Asks how it is now."""
        self.told = await self._session.coordinator("jobs.get", {"id": self.id})
        return self

    async def wait(self, timeout: Optional[float] = None) -> Job:
        """Waits until the job has ended, however. Raises asyncio.TimeoutError."""

        async def ended() -> None:
            pause = _SOON
            while not (await self.refresh()).ended:
                await asyncio.sleep(pause)
                pause = min(_LATE, pause * 1.5)

        await within(ended(), timeout)
        return self

    async def cancel(self, reason: str = "") -> Job:
        """Cancels the job; one that has ended stays as it is."""
        self.told = await self._session.coordinator("jobs.cancel", {"id": self.id, **({"reason": reason} if reason else {})})
        return self

    async def forget(self) -> None:
        """Removes the job, which has ended, with its results and logs: nobody finds it any more."""
        await self._session.coordinator("jobs.forget", {"id": self.id})

    async def results(self, *, follow: bool = True) -> AsyncIterator[Result]:
        """Yields what became of each part, once, as the parts end, and returns when the job has ended; without
        ``follow`` those that have ended by now. Raises JobFailed at the end of a job that is not done."""
        told: Set[int] = set()  # part numbers at and above gap
        gap = 0  # all parts below were told
        pause = _SOON
        while True:
            await self.refresh()
            over, news, after = self.ended, False, gap - 1
            while True:
                page = await self._session.coordinator(
                    "jobs.results", {"id": self.id, "limit": _PAGE, **({"after": after} if after >= 0 else {})}
                )
                for line in page.get("results") or ():
                    result = known(Result, line)
                    if result.part >= gap and result.part not in told:
                        told.add(result.part)
                        news = True
                        yield result
                if page.get("next") is None:
                    break
                after = page["next"]
            while gap in told:
                told.remove(gap)
                gap += 1
            if over or not follow:
                break
            pause = _SOON if news else min(_LATE, pause * 1.5)
            await asyncio.sleep(pause)
        if self.ended and self.state != "done":
            raise JobFailed(self)
