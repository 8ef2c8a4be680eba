"""How a job waits for its end."""

from __future__ import annotations

import unittest
from typing import Any, List, Optional

from folkmoot import answers, jsonrpc
from folkmoot.jobs import Job


class Coordinator:
    """Answers jobs.get: the job has ended when it has been asked for as often as was said."""

    def __init__(self, asking: bool, ends_after: int) -> None:
        self.asking = asking
        self.ends_after = ends_after
        self.waits: List[Optional[float]] = []

    async def coordinator(self, method: str, params: jsonrpc.Params = None, *, timeout: float = 10.0) -> Any:
        assert method == "jobs.get" and isinstance(params, dict)
        self.waits.append(params.get("wait"))
        state = "done" if len(self.waits) >= self.ends_after else "running"
        return answers.Job(id=params["id"], state=state)


class Waiting(unittest.IsolatedAsyncioTestCase):
    async def test_the_coordinator_waits(self) -> None:
        session = Coordinator(asking=False, ends_after=3)
        job = await Job(session, answers.Job(id="j1", state="running")).wait(10)
        self.assertEqual((job.state, session.waits), ("done", [1.0, 1.0, 1.0]))

    async def test_what_else_is_asked_is_not_held_up(self) -> None:
        session = Coordinator(asking=True, ends_after=1)
        job = await Job(session, answers.Job(id="j1", state="running")).wait(10)
        self.assertEqual((job.state, session.waits), ("done", [None]))

    async def test_a_job_that_has_ended_is_not_asked_for(self) -> None:
        session = Coordinator(asking=False, ends_after=1)
        await Job(session, answers.Job(id="j1", state="failed")).wait(10)
        self.assertEqual(session.waits, [])


if __name__ == "__main__":
    unittest.main()
