"""A watcher of a cluster that loses all its disks and is founded anew.

$FOLKMOOT_ANEW is the directory in which it marks what it has seen."""

from __future__ import annotations

import os
import unittest
from pathlib import Path

import folkmoot

from .test_cluster import CLUSTER

MARKS = os.environ.get("FOLKMOOT_ANEW", "")


@unittest.skipUnless(CLUSTER and MARKS, "needs a real coordinator that is founded anew")
class FoundedAnew(unittest.IsolatedAsyncioTestCase):
    async def test_a_watch_goes_on(self) -> None:
        s = await folkmoot.connect([c["native"] for c in CLUSTER], "snake", timeout=30, lease=3600)
        self.addAsyncCleanup(s.close)
        async with await s.watch() as watch:
            Path(MARKS, "watching").write_text("yes")
            event = await watch.next(90)
            while event.kind != "lagged":
                event = await watch.next(90)
            listed = await s.components(index=event.index)
            self.assertIn("n1.snake", [c.full_name for c in listed])
            Path(MARKS, "lagged").write_text("yes")
            while event.key != "n1.late":
                event = await watch.next(90)
            self.assertEqual(event.kind, "signed_in")
