"""Runs the examples and what README.md shows, as they stand, in processes of their own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, List

ROOT = Path(__file__).resolve().parents[1]


class Script:
    """A script that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, *args: str) -> Script:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, *args, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
        )

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 60)).decode()

    async def end(self) -> str:
        """Waits for its end and returns what it printed; fails unless it ended well."""
        out, _ = await asyncio.wait_for(self.process.communicate(), 60)
        assert self.process.returncode == 0, f"exit {self.process.returncode}: {out.decode()}"
        return out.decode()

    async def interrupt(self) -> str:
        self.process.send_signal(signal.SIGINT)
        return await self.end()

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()


class Scripts:
    """Tests for a TestCase that has ``addresses``."""

    addresses: List[str]

    async def run_script(self: Any, *args: str) -> Script:
        script = await Script.start(*args)
        self.addCleanup(script.kill)
        return script

    async def test_laser_and_operator(self: Any) -> None:
        addresses = ",".join(self.addresses)
        operator = await self.run_script(str(ROOT / "examples" / "operate.py"), addresses)  # it waits for the laser
        laser = await self.run_script(str(ROOT / "examples" / "laser.py"), addresses)
        self.assertRegex(await laser.line(), r"^signed in as \w+\.laser\n$")
        lines = (await operator.end()).splitlines()
        self.assertRegex(lines[0], r"^\w+\.laser set to 2\.5 W$")
        self.assertEqual(lines[1:], ["1000 samples, 1000 bytes", "refused: the power is between 0 and 5 W"])
        self.assertEqual(await laser.interrupt(), "switching off\n")

    async def test_squares(self: Any) -> None:
        out = await (await self.run_script(str(ROOT / "examples" / "squares.py"), ",".join(self.addresses))).end()
        self.assertEqual(out.splitlines()[-1], f"job done: {sum(n * n for n in range(10))}")
        self.assertEqual(len(out.splitlines()), 11)

    async def test_readme(self: Any) -> None:
        blocks = re.findall(r"```python\n(.*?)```\n+(?:```text\n(.*?)```)?", (ROOT / "README.md").read_text(), re.S)
        self.assertGreaterEqual(len(blocks), 3)
        for code, said in blocks:
            self.assertIn("127.0.0.1:7370", code)
            script = code.replace("127.0.0.1:7370,127.0.0.1:7371", ",".join(self.addresses))
            out = await (await self.run_script("-c", script)).end()
            self.assertEqual(re.sub(r"\bn\d\.", "n1.", out), said)
