"""Limits within limits."""

from __future__ import annotations

import asyncio
import re
import unittest
from pathlib import Path

import folkmoot
from folkmoot.timing import within


class Within(unittest.IsolatedAsyncioTestCase):
    async def test_results_and_limits(self) -> None:
        self.assertEqual(await within(asyncio.sleep(0, "x"), None), "x")
        self.assertEqual(await within(asyncio.sleep(0, "x"), 60), "x")
        with self.assertRaises(asyncio.TimeoutError):
            await within(asyncio.sleep(60), 0.01)
        with self.assertRaises(asyncio.TimeoutError):
            await within(asyncio.sleep(60), -1)
        with self.assertRaises(ValueError):
            await within(self.fails(), 60)

    async def fails(self) -> None:
        raise ValueError

    async def test_a_cancellation_is_not_lost_when_the_result_comes_with_it(self) -> None:
        for result in "answer", ValueError():
            with self.subTest(result):
                inner = asyncio.get_running_loop().create_future()
                outer = asyncio.ensure_future(within(inner, 60))
                await asyncio.sleep(0.01)
                if isinstance(result, str):
                    inner.set_result(result)
                else:
                    inner.set_exception(result)
                outer.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await outer

    async def test_what_is_waited_for_has_ended_with_the_caller(self) -> None:
        ended = False

        async def inner() -> None:
            nonlocal ended
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.01)
                ended = True

        outer = asyncio.ensure_future(within(inner(), 60))
        await asyncio.sleep(0.01)
        outer.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await outer
        self.assertTrue(ended)

    def test_nothing_else_is_used_in_the_package(self) -> None:
        for file in Path(folkmoot.__file__).parent.glob("*.py"):
            self.assertIsNone(re.search(r"asyncio\.wait_for\(", file.read_text(encoding="utf-8")), file.name)
