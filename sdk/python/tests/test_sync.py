"""The face without asyncio."""

from __future__ import annotations

import asyncio
import threading
import unittest
from typing import Any, List

import folkmoot
import folkmoot.sync

from .fake import Cluster


class Sync(unittest.TestCase):
    def setUp(self) -> None:
        self.before = threading.active_count()
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        def run(work: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(work, loop).result(10)

        def stop() -> None:
            run(self.cluster.stop())
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            self.assertEqual(threading.active_count(), self.before, "threads are left")

        async def start() -> Cluster:
            return await Cluster().start(2)

        self.run_there = run
        self.cluster: Cluster = run(start())
        self.addCleanup(stop)

    def sign_in(self, name: str, **options: Any) -> folkmoot.sync.Session:
        s = folkmoot.sync.connect(self.cluster.addresses, name, **options)
        self.addCleanup(s.close)
        return s

    def test_messages_calls_and_directory(self) -> None:
        laser, gui = self.sign_in("laser", labels={"a": "b"}), self.sign_in("gui")
        threads: List[str] = []

        @laser.method
        def double(x: int) -> int:
            threads.append(threading.current_thread().name)
            return 2 * int(laser.call("n1.gui", "same", {"x": x}))  # a method may use the session

        @gui.method("same")
        async def same(x: int) -> int:
            return x

        self.assertEqual(gui.call("laser", "double", [4]), 8)
        self.assertTrue(threads[0].startswith("folkmoot-method"))
        self.assertEqual(gui.request("laser", "pong", attachments=[b"x"]).result, None)
        gui.send("laser", b"1")
        gui.send("laser", b"2")
        gui.notify("laser", "unheard of")
        self.assertEqual([laser.receive(60).payload[0] for _ in range(2)], [b"1", b"2"])
        for m in laser.messages():
            self.assertEqual(m.content["method"], "unheard of")
            break
        with self.assertRaises(TimeoutError):
            laser.receive(0.01)
        with self.assertRaises(folkmoot.ReceiverUnknown):
            gui.send("nobody", b"x")
        self.assertEqual(
            (gui.lookup("laser").labels, [c.name for c in gui.components()]), ({"a": "b"}, ["gui", "laser"])
        )
        self.assertEqual(len(gui.coordinators()), 2)

    def test_news_and_jobs(self) -> None:
        gui = self.sign_in("gui")
        with gui.watch("component") as news:
            self.sign_in("laser")
            self.assertEqual(news.next(5).key, "n1.laser")
            self.sign_in("lamp")
            for event in news:
                self.assertEqual(event.key, "n1.lamp")
                break
        job = gui.submit("def part(item): return -item", items=[1, 2, 3])
        self.assertEqual(sorted(r.result for r in job.results()), [-3, -2, -1])
        self.assertEqual((gui.job(job.id).wait(5).state, job.cancel().id), ("done", job.id))

    def test_lost_is_set(self) -> None:
        first = self.sign_in("laser")
        second = self.sign_in("laser", session=first.id, secret=first.secret)
        self.assertTrue(first.lost.wait(5))
        assert first.error is not None
        self.assertEqual(first.error.code, "conflict")
        with self.assertRaises(folkmoot.SessionLost):
            first.check()
        second.check()

    def test_moves(self) -> None:
        laser = self.sign_in("laser")
        self.run_there(self.cluster.at("n1").kill())
        self.assertEqual(laser.lookup("n1.laser").home, "n2")

    def test_a_failed_sign_in_leaves_no_thread(self) -> None:
        self.sign_in("laser")
        before = threading.active_count()
        with self.assertRaises(folkmoot.NameTaken):
            folkmoot.sync.connect(self.cluster.addresses, "laser")
        self.assertEqual(threading.active_count(), before)

    def test_closed_is_closed(self) -> None:
        laser = self.sign_in("laser")
        laser.close()
        with self.assertRaises(RuntimeError):
            laser.send("n1.laser", b"x")


if __name__ == "__main__":
    unittest.main()
