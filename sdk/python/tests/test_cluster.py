"""The SDK against real coordinators, with a worker.

$FOLKMOOT_CLUSTER lists the coordinators: [{"id", "native", "http", "pid"}, ...]."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import unittest
import urllib.request
from typing import Any, ClassVar, Dict, List, Set

import folkmoot

from .scripts import Scripts

CLUSTER: List[Dict[str, Any]] = json.loads(os.environ.get("FOLKMOOT_CLUSTER", "[]"))
KILL = os.environ.get("FOLKMOOT_KILL", "")  # the id of the coordinator that may be killed


class Base(unittest.IsolatedAsyncioTestCase):
    addresses: ClassVar[List[str]] = [c["native"] for c in CLUSTER]

    async def sign_in(self, name: str, home: str = "", **options: Any) -> folkmoot.Session:
        """Signs in at one coordinator; the others are learnt."""
        at = [c["native"] for c in CLUSTER if c["id"] == home] or self.addresses
        s = await folkmoot.connect(at, name, timeout=30, **options)
        self.addAsyncCleanup(s.close)
        return s


@unittest.skipUnless(CLUSTER and not KILL, "needs real coordinators")
class WithCluster(Scripts, Base):
    async def test_across_coordinators(self) -> None:
        gui, laser = (
            await self.sign_in("gui", CLUSTER[0]["id"]),
            await self.sign_in("laser", CLUSTER[1]["id"], labels={"room": "7"}),
        )
        self.assertEqual((gui.namespace, laser.namespace), (CLUSTER[0]["id"], CLUSTER[1]["id"]))
        await gui.send(laser.full_name, b"\x00\xff", b"", b"three")
        m = await laser.receive(10)
        self.assertEqual((m.sender, m.to, m.payload), (gui.full_name, laser.full_name, [b"\x00\xff", b"", b"three"]))
        row = await gui.lookup(laser.full_name)
        self.assertEqual((row.home, row.labels, row.kind, row.session), (laser.home, {"room": "7"}, "native", laser.id))
        self.assertEqual(sorted(d.address for d in await gui.coordinators()), sorted(self.addresses))

    async def test_outcomes(self) -> None:
        gui = await self.sign_in("gui2")
        for to in ("nobody", f"{CLUSTER[2]['id']}.nobody", "nowhere.nobody"):
            with self.assertRaises(folkmoot.ReceiverUnknown) as unknown:
                await gui.send(to, b"x")
            self.assertEqual(unknown.exception.code, "not_found")
        with self.assertRaises(folkmoot.NotFound):
            await gui.lookup("nobody")
        with self.assertRaises(folkmoot.NameTaken):
            await self.sign_in("gui2", gui.home)
        with self.assertRaises(folkmoot.Refused) as refused:
            await self.sign_in("no.dots")
        self.assertEqual(refused.exception.code, "invalid")
        with self.assertRaises(folkmoot.MethodError) as missing:
            await gui.coordinator("nothing_like_that")
        self.assertEqual(missing.exception.rpc_code, -32601)

    async def test_order_and_size(self) -> None:
        a, b = await self.sign_in("a", CLUSTER[0]["id"]), await self.sign_in("b", CLUSTER[2]["id"])
        large = os.urandom(3_000_000)
        sent = [a.post(b.full_name, n.to_bytes(2, "big"), *([large] if n == 100 else ())) for n in range(900)]
        got = [await b.receive(30) for _ in sent]
        await asyncio.gather(*sent)
        self.assertEqual([int.from_bytes(m.payload[0], "big") for m in got], list(range(900)))
        self.assertEqual(got[100].payload[1], large)

    async def test_calls(self) -> None:
        laser = await self.sign_in("caller", CLUSTER[0]["id"])
        gui = await self.sign_in("called", CLUSTER[1]["id"])

        @gui.method
        def reverse(text: str) -> folkmoot.Reply:
            return folkmoot.Reply(text[::-1], folkmoot.current_message().payload[1:])

        for reply in await asyncio.gather(
            *(laser.request(gui.full_name, "reverse", ["abc"], attachments=[b"\xff" * 200_000]) for _ in range(20))
        ):
            self.assertEqual((reply.result, reply.attachments), ("cba", [b"\xff" * 200_000]))
        with self.assertRaises(folkmoot.MethodError) as missing:
            await laser.call(gui.full_name, "nothing")
        self.assertEqual(missing.exception.rpc_code, -32601)

    async def test_news(self) -> None:
        gui = await self.sign_in("watcher", CLUSTER[0]["id"])
        async with await gui.watch() as news:
            before = {c.full_name for c in await gui.components(index=news.index)}
            self.assertIn(gui.full_name, before)
            other = await self.sign_in("watched", CLUSTER[1]["id"])
            await other.close()
            kinds: List[str] = []
            while len(kinds) < 2:
                event = await news.next(30)
                if event.key == other.full_name:
                    kinds.append(event.kind)
            self.assertEqual(kinds, ["signed_in", "signed_out"])

    async def test_a_lost_connection_is_resumed(self) -> None:
        laser, gui = await self.sign_in("resumed", CLUSTER[0]["id"]), await self.sign_in("sender", CLUSTER[1]["id"])
        for n in range(5):
            connection = laser._link._connection
            assert connection is not None
            connection.abort()
            # What the home writes to a dying connection before it knows is gone; so the sender waits until we are back.
            self.assertEqual((await laser.lookup(laser.full_name)).session, laser.id)
            await gui.send(laser.full_name, bytes([n]))
            self.assertEqual((await laser.receive(10)).payload, [bytes([n])])
        self.assertEqual((laser.home, laser._link.welcome.get("resumed")), (CLUSTER[0]["id"], True))

    async def test_removed_by_an_operator(self) -> None:
        laser = await self.sign_in("removed")
        request = urllib.request.Request(
            f"http://{CLUSTER[0]['http']}/v1/components/{laser.full_name}?reason=test", method="DELETE"
        )
        await asyncio.get_running_loop().run_in_executor(
            None, lambda: urllib.request.urlopen(request, timeout=30).close()
        )
        await asyncio.wait_for(laser.lost.wait(), 60)
        assert laser.error is not None
        self.assertIn(laser.error.code, ("not_found", "forbidden"))

    async def test_another_process_takes_the_name(self) -> None:
        first = await self.sign_in("twice", CLUSTER[0]["id"])
        second = await self.sign_in(
            "twice", CLUSTER[1]["id"], session=first.id, secret=first.secret, namespace=first.namespace
        )
        self.assertEqual((second.full_name, second.home), (first.full_name, CLUSTER[1]["id"]))
        await asyncio.wait_for(first.lost.wait(), 60)
        await second.send(second.full_name, b"to myself")
        self.assertEqual((await second.receive(10)).payload, [b"to myself"])

    async def test_pings_keep_a_short_lease(self) -> None:
        laser = await self.sign_in("short", lease=3)
        async with laser.guard():
            await asyncio.sleep(4)  # longer than the lease
        self.assertEqual((await laser.lookup("short")).session, laser.id)

    async def test_jobs(self) -> None:
        gui = await self.sign_in("analyst")
        job = await gui.submit(
            "def part(item):\n    return item['from'] * 10\n", range={"from": 0, "to": 40, "chunk": 2}
        )
        got = [(r.part, r.result) async for r in job.results()]
        self.assertEqual(sorted(got), [(n, n * 20) for n in range(20)])
        self.assertEqual((await gui.job(job.id)).parts.get("done"), 20)
        job = await gui.submit("def part(item):\n    raise ValueError('no ' + item)\n", items=["good"], max_attempts=1)
        with self.assertRaises(folkmoot.JobFailed):
            _ = [r async for r in job.results()]
        job = await gui.submit("import time\ndef part(item):\n    time.sleep(600)\n", items=[1])
        self.assertEqual((await job.cancel("enough")).state, "cancelled")
        with self.assertRaises(folkmoot.Refused) as refused:
            await gui.submit("x", runtime="cobol", items=[1])
        self.assertEqual(refused.exception.code, "invalid")


@unittest.skipUnless(CLUSTER and KILL, "needs a coordinator that may be killed")
class HomeKilled(Base):
    async def elected(self) -> float:
        """Returns when the others knew of a leader that is not the one killed."""
        url = "http://" + next(c["http"] for c in CLUSTER if c["id"] != KILL) + "/v1/leader"

        def ask() -> Any:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["id"]

        while True:
            try:
                if await asyncio.get_running_loop().run_in_executor(None, ask) not in ("", KILL):
                    return time.monotonic()
            except OSError:
                pass
            await asyncio.sleep(0.005)

    async def test_a_killed_home_is_replaced(self) -> None:
        victim = next(c for c in CLUSTER if c["id"] == KILL)
        witness = await self.sign_in("witness", next(c["id"] for c in CLUSTER if c["id"] != KILL))
        lasers = [await self.sign_in(f"laser{n}", KILL) for n in range(20)]
        before = [(s.full_name, s.id, s.secret) for s in lasers]
        watch = await lasers[0].watch()
        began = time.monotonic()
        os.kill(victim["pid"], signal.SIGKILL)
        elected = asyncio.ensure_future(self.elected())
        while any(s.home == KILL for s in lasers):
            for s in lasers:
                s.check()  # nobody has lost a lease
            await asyncio.sleep(0.005)
        took = time.monotonic() - began
        # Where the leader was killed nobody can sign in before another is elected.
        lead = await elected - began if os.environ.get("FOLKMOOT_LEADER_DIES") else 0.0
        print(f"20 sessions of {KILL} moved within {took:.3f} s; a leader was known after {lead:.3f} s", flush=True)
        self.assertLess(took - lead, 3.0 if os.environ.get("FOLKMOOT_SLOW") else 1.0)
        self.assertEqual([(s.full_name, s.id, s.secret) for s in lasers], before)
        for s in lasers:
            await witness.send(s.full_name, s.full_name.encode(), timeout=20)
            self.assertEqual((await s.receive(10)).payload, [s.full_name.encode()])
            await s.send(witness.full_name, b"back")
            self.assertEqual((await witness.receive(10)).sender, s.full_name)
        # The news went on without a gap: the move of everybody is in it.
        awaited: Set[str] = {s.full_name for s in lasers}
        while awaited:
            event = await watch.next(30)
            if event.kind == "moved":
                awaited.discard(event.key)


if __name__ == "__main__":
    unittest.main()
