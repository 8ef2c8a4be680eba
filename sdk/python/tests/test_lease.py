"""When a session moves and when it is given up, to the moment."""

from __future__ import annotations

import asyncio
import sys
import unittest
from contextlib import asynccontextmanager
from typing import AsyncGenerator

import folkmoot

from .fake import Cluster
from .virtual import on_virtual_time


@asynccontextmanager
async def cluster(coordinators: int, lease: str = "10s", read_ahead: int = 64 << 10) -> AsyncGenerator[Cluster, None]:
    c = await Cluster().start(coordinators, read_ahead=read_ahead)
    c.lease = lease
    try:
        yield c
    finally:
        await c.stop()


def time() -> float:
    return asyncio.get_running_loop().time()


class Lease(unittest.TestCase):
    @on_virtual_time
    async def test_it_ends_before_anybody_else_can_have_the_name(self) -> None:
        async with cluster(2) as c, folkmoot.connect(c.addresses, "laser", ping=2) as laser:
            watch = await laser.watch()
            begun = time()
            await asyncio.sleep(21)  # longer than the lease: pings keep it
            laser.check()
            for coordinator in c.coordinators:
                coordinator.silent = True
            call = asyncio.ensure_future(laser.coordinator("lookup", {"name": "x"}))
            with self.assertRaises(folkmoot.SessionLost):
                async with laser.guard():
                    await asyncio.sleep(3600)
            # The last ping that was answered left after 20 s.
            self.assertAlmostEqual(time() - begun, 29.5, delta=0.01)
            for failing in (laser.send("n1.x", b"x"), laser.receive(), watch.next(5)):
                with self.assertRaises(folkmoot.SessionLost):
                    await failing
            with self.assertRaises(folkmoot.Unknown):
                await call

    @on_virtual_time
    async def test_it_ends_though_connections_are_refused(self) -> None:
        async with cluster(2) as c, folkmoot.connect(c.addresses, "laser", ping=2) as laser:
            begun = time()
            await asyncio.sleep(3)
            for id in ("n2", "n1"):  # the home last: there is no way to another
                await c.at(id).kill()
            await asyncio.sleep(0.1)
            waiting = laser.post("n1.x", b"x", timeout=60)
            with self.assertRaises(folkmoot.NotTried):
                await waiting
            self.assertTrue(laser.lost.is_set())
            self.assertAlmostEqual(time() - begun, 11.5, delta=0.01)

    @on_virtual_time
    async def test_a_killed_home_is_left_at_once(self) -> None:
        async with cluster(3) as c:
            laser = await folkmoot.connect(c.addresses, "laser")
            gui = await folkmoot.connect(c.at("n3").address, "gui")
            before, begun = (laser.id, laser.secret, laser.full_name), time()
            await c.at("n1").kill()
            while laser.home == "n1":
                await asyncio.sleep(0.01)
            self.assertLess(time() - begun, 0.1)
            self.assertIsNone(await gui.call("n1.laser", "pong"))
            self.assertEqual((laser.id, laser.secret, laser.full_name, laser.home), (*before, "n2"))
            await laser.send("n3.gui", b"still here")
            await laser.close()
            await gui.close()

    @on_virtual_time
    async def test_a_silent_home_is_left_after_three_pings(self) -> None:
        async with cluster(2) as c, folkmoot.connect(c.addresses, "laser", ping=2, lease=20) as laser:
            c.lease = "20s"
            await asyncio.sleep(2.5)
            begun = time()
            c.at("n1").silent = True
            while laser.home == "n1":
                await asyncio.sleep(0.1)
            # Three pings without a byte since the pong of 2 s, then the home once more, for 0.3 s.
            self.assertLess(time() - begun, 5.5 + 0.3 + 0.2)
            laser.check()

    @unittest.skipUnless(sys.platform == "linux", "only Linux tells what of a message was taken")
    def test_a_long_message_on_a_slow_way_is_no_silence(self) -> None:
        async def run() -> None:
            async with cluster(1, lease="60s", read_ahead=16 << 10) as c:
                # A ping waits for more than the 6 s of three pings behind the message. Once the coordinator's system
                # has taken it, which is seen within 2 s, at most four more frames are read before it is.
                await c.at("n1").read_slowly(0.6)
                async with (
                    folkmoot.connect(c.addresses, "laser", ping=2) as laser,
                    folkmoot.connect(c.addresses, "gui", ping=2),
                ):
                    peers = set(c.at("n1").peers)
                    await laser.send("n1.gui", bytes(640 << 10), timeout=60)
                    self.assertEqual(set(c.at("n1").peers), peers, "the connection was given up meanwhile")

        asyncio.run(run())

    @on_virtual_time
    async def test_attempts_are_numbered(self) -> None:
        """One that may be carried out late is below the next, and a conflict may be with it."""
        async with cluster(4, "20s") as c, folkmoot.connect(c.addresses, "laser", lease=20) as laser:
            c.at("n2").mute = True
            c.at("n3").conflicts = 1
            await c.at("n1").kill()
            while laser.home != "n4":
                laser.check()
                await asyncio.sleep(0.01)
            self.assertEqual([c.at(id).attempts for id in ("n1", "n2", "n3", "n4")], [[0], [1], [2], [3]])
            for peer in list(c.at("n4").peers):
                peer.writer.transport.abort()
            while len(c.at("n4").attempts) < 2:
                laser.check()
                await asyncio.sleep(0.01)
            self.assertEqual(c.at("n4").attempts[1], 4)

    @on_virtual_time
    async def test_a_first_sign_in_that_came_about_and_is_over(self) -> None:
        async with cluster(3) as c:
            c.at("n1").mute = True
            c.at("n2").conflicts = 1
            async with folkmoot.connect(c.addresses, "laser", namespace="n3"):
                first, second, third = (c.at(id) for id in ("n1", "n2", "n3"))
                self.assertEqual([first.attempts, second.attempts, third.attempts], [[0], [1], [0]])
                self.assertEqual(first.keys, second.keys)
                self.assertNotEqual(second.keys, third.keys)
            c.at("n2").conflicts = 1
            with self.assertRaises(folkmoot.Refused) as refused:  # nothing is open
                await folkmoot.connect(c.at("n2").address, "other", timeout=3)
            self.assertEqual(refused.exception.code, "conflict")

    @on_virtual_time
    async def test_a_sign_in_that_may_have_been_taken_is_unknown(self) -> None:
        async with cluster(2) as c:
            c.at("n1").unavailable = 1 << 20
            with self.assertRaises(folkmoot.NotTried):
                await folkmoot.connect(c.at("n1").address, "laser", timeout=3)
            c.at("n2").mute = True
            with self.assertRaises(folkmoot.Unknown):
                await folkmoot.connect(c.addresses, "laser", timeout=3)


if __name__ == "__main__":
    unittest.main()
