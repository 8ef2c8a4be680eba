"""A session against small coordinators made for the test."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
import tempfile
import time
import unittest
from typing import Any, AsyncIterator, Callable, List, Optional
from unittest import mock

import folkmoot
from folkmoot import frame
from folkmoot import link as link_module
from folkmoot import session as session_module

from .fake import Cluster, Refusal


class Base(unittest.IsolatedAsyncioTestCase):
    coordinators = 2

    async def asyncSetUp(self) -> None:
        self.cluster = await Cluster().start(self.coordinators)
        self.addAsyncCleanup(self.cluster.stop)

    async def sign_in(self, name: str, at: Optional[List[str]] = None, **options: Any) -> folkmoot.Session:
        s = await folkmoot.connect(at or self.cluster.addresses, name, **options)
        self.addAsyncCleanup(s.close)
        return s

    async def until(self, what: str, ok: Callable[[], bool], patience: float = 60.0) -> None:
        end = time.monotonic() + patience
        while not ok():
            self.assertLess(time.monotonic(), end, what)
            await asyncio.sleep(0.005)


class SignIn(Base):
    async def test_a_session_knows_what_it_is(self) -> None:
        async with folkmoot.connect(self.cluster.addresses, "laser", labels={"room": "7"}) as laser:
            self.assertEqual(
                (laser.full_name, laser.namespace, laser.home, laser.lease), ("n1.laser", "n1", "n1", 10.0)
            )
            self.assertEqual((await laser.lookup("laser")).labels, {"room": "7"})
            self.assertGreater(laser._link.remaining(), 9)
        self.assertEqual(self.cluster.rows, {})
        self.assertTrue(laser.lost.is_set())
        with self.assertRaises(folkmoot.SessionLost):
            await laser.send("n1.gui", b"too late")

    async def test_what_is_no_bytes_is_encoded_or_said_to_be_wrong(self) -> None:
        gui, laser = await self.sign_in("gui"), await self.sign_in("laser")
        await gui.send("n1.laser", "\u00e9", bytearray(b"two"), memoryview(b"three"))
        self.assertEqual((await laser.receive(60)).payload, ["\u00e9".encode(), b"two", b"three"])
        for wrong in (7, {"a": 1}, None):
            with self.assertRaisesRegex(TypeError, "bytes or str, not"):
                await gui.send("n1.laser", wrong)  # type: ignore[arg-type]
        job = await gui.submit("def part(item): return item", items=range(3))
        self.assertEqual([r["result"] for r in self.cluster.jobs[job.id]["results"]], [0, 1, 2])
        job = await gui.submit("def part(item): return item", items=(i * i for i in (2, 3)))
        self.assertEqual([r["result"] for r in self.cluster.jobs[job.id]["results"]], [4, 9])
        for wrong in ("abc", {"a": 1}, 7):
            with self.assertRaisesRegex(TypeError, "items is a list"):
                await gui.submit("def part(item): return item", items=wrong)
        with self.assertRaisesRegex(TypeError, "items=range"):
            await gui.submit("def part(item): return item", range=range(3))

    async def test_refusals_are_told_apart(self) -> None:
        await self.sign_in("laser")
        with self.assertRaises(folkmoot.NameTaken) as taken:
            await self.sign_in("laser")
        self.assertEqual(taken.exception.code, "name_taken")
        with self.assertRaises(folkmoot.Refused) as removed:
            await self.sign_in("old", session="x", secret="removed")
        self.assertEqual(removed.exception.code, "forbidden")
        with self.assertRaises(folkmoot.Refused) as large:
            await self.sign_in("wordy", labels={"a": "x" * 5000})
        self.assertEqual(large.exception.code, "too_large")

    async def test_the_addresses_are_tried_in_turn(self) -> None:
        await self.cluster.at("n1").kill()
        self.assertEqual((await self.sign_in("laser")).home, "n2")
        with self.assertRaises(folkmoot.NotTried):
            await self.sign_in("other", [self.cluster.at("n1").address], timeout=0.3)

    async def test_a_sign_in_not_tried_is_repeated(self) -> None:
        self.cluster.at("n1").unavailable = self.cluster.at("n2").unavailable = 1
        self.assertEqual((await self.sign_in("laser")).home, "n1")

    async def test_a_silent_coordinator_is_left(self) -> None:
        self.cluster.at("n1").silent = True
        self.assertEqual((await self.sign_in("laser")).home, "n2")

    async def test_addresses_are_read(self) -> None:
        from folkmoot.connection import split_address

        for text, want in {
            "n1": ("n1", 7370),
            "n1:1": ("n1", 1),
            "[::1]": ("::1", 7370),
            "[::1]:9": ("::1", 9),
            "::1": ("::1", 7370),
        }.items():
            self.assertEqual(split_address(text), want)
        for text in ("n1:", "n1:x", "n1:0", "n1:70000"):
            with self.assertRaises(ValueError):
                split_address(text)


class Messages(Base):
    async def test_delivered_and_received(self) -> None:
        gui, laser = await self.sign_in("gui"), await self.sign_in("laser", [self.cluster.at("n1").address])
        delivered = await gui.send("laser", b"\x00\xff", b"", b"three")
        m = await laser.receive(60)
        self.assertEqual(
            (m.sender, m.to, m.payload, m.conversation),
            ("n1.gui", "n1.laser", [b"\x00\xff", b"", b"three"], delivered.conversation),
        )

    async def test_outcomes(self) -> None:
        gui = await self.sign_in("gui")
        with self.assertRaises(folkmoot.ReceiverUnknown) as unknown:
            await gui.send("n9.nobody", b"x")
        self.assertEqual(unknown.exception.code, "not_found")
        for code, kind in {
            "busy": folkmoot.Busy,
            "unavailable": folkmoot.NotTried,
            "unknown": folkmoot.Unknown,
            "too_large": folkmoot.Refused,
        }.items():
            self.cluster.at("n1").outcome = Refusal(code, "as the test wants it")
            with self.assertRaises(kind) as error:
                await gui.send("n1.gui", b"x")
            self.assertEqual(error.exception.code, code)
        self.cluster.at("n1").outcome = None
        with self.assertRaises(folkmoot.Refused):
            await gui.send("n" * 600, b"x")

    async def test_outcomes_as_values(self) -> None:
        gui = await self.sign_in("gui")
        sent = [gui.post(to, b"x") for to in ("n1.gui", "n1.nobody", "n1.gui")]
        values = await asyncio.gather(*sent, return_exceptions=True)
        self.assertEqual([type(v) for v in values], [type(None), folkmoot.ReceiverUnknown, type(None)])

    async def test_nothing_heard_is_unknown(self) -> None:
        gui = await self.sign_in("gui")
        self.cluster.at("n1").no_outcomes = True
        with self.assertRaises(folkmoot.Unknown):
            await gui.send("n1.gui", b"x", timeout=0.1)

    @mock.patch.object(link_module, "MAX_IN_FLIGHT", 50)
    async def test_too_much_under_way_is_busy(self) -> None:
        gui = await self.sign_in("gui")
        self.cluster.at("n1").no_outcomes = True
        for _ in range(50):
            gui.post("n1.gui", b"x", timeout=0.5)
        with self.assertRaises(folkmoot.Busy):
            gui.post("n1.gui", b"x")
        self.cluster.at("n1").no_outcomes = False
        await gui.send("n1.gui", b"there is room again when the others are given up", timeout=60)

    async def test_large_messages_go_in_chunks_and_keep_their_order(self) -> None:
        gui, laser = await self.sign_in("gui"), await self.sign_in("laser")
        large = bytes(range(256)) * 8000
        sent = [
            gui.post("n1.laser", large),
            gui.post("n1.laser", b"after"),
            gui.post("n1.gui", b"meanwhile"),
            gui.post("laser", large[:70000]),
        ]
        await asyncio.gather(*sent)
        self.assertEqual(
            [len(m.payload[0]) for m in [await laser.receive(60) for _ in range(3)]], [len(large), 5, 70000]
        )
        order = [m.to for m in self.cluster.at("n1").received if m.type == frame.ANY]
        self.assertEqual(order[0], "n1.gui", "a small message to somebody else waits behind a large one")

    async def test_bytes_that_only_look_like_json(self) -> None:
        gui = await self.sign_in("gui")
        for odd in (b"{", b"[" * 60_000, b'{"result": 1}', b'{"error": 3}', b'"x"', b'{"method": 3}', b"[1]"):
            await gui.send("gui", odd, type=frame.JSON)
            self.assertEqual((await gui.receive(60)).payload, [odd])

    @mock.patch.object(session_module, "MAX_INBOX", 50)
    async def test_a_full_inbox_says_busy(self) -> None:
        gui, laser = await self.sign_in("gui"), await self.sign_in("laser")
        await asyncio.gather(*(gui.post("laser", b"x") for _ in range(51)))
        answer = (await gui.receive(60)).content
        self.assertEqual((answer["error"]["data"]["code"], laser.refused), ("busy", 1))
        self.assertEqual([m.payload async for m in _first(laser, 3)], [[b"x"]] * 3)

    async def test_sign_in_first_is_repeated(self) -> None:
        gui = await self.sign_in("gui")
        self.cluster.at("n1").not_signed_in = 4
        await asyncio.gather(
            gui.send("n1.gui", b"1"), gui.lookup("gui"), gui.send("n1.gui", b"2"), gui.send("n1.gui", b"3")
        )
        self.assertEqual([(await gui.receive(60)).payload[0] for _ in range(3)], [b"1", b"2", b"3"])


async def _first(s: folkmoot.Session, n: int) -> AsyncIterator[folkmoot.Message]:
    async for m in s.messages():
        yield m
        n -= 1
        if n == 0:
            return


class Calls(Base):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        laser = folkmoot.Methods()

        @laser.method
        def set_power(watts: float, ramp: bool = False) -> str:
            """Sets the power."""
            return f"{watts} W, ramp {ramp}"

        @laser.method("picture")
        async def take_picture() -> folkmoot.Reply:
            asked = folkmoot.current_message()
            return folkmoot.Reply({"from": asked.sender}, [b"pixels", *asked.payload[1:]])

        @laser.method
        def fail(code: int = 0) -> None:
            if code:
                raise folkmoot.MethodError(code, "no light", {"lamp": 3})
            raise RuntimeError("broken")

        @laser.method
        def leave() -> None:
            raise SystemExit(3)

        self.called = 0

        @laser.method
        async def forever() -> None:
            self.called += 1
            await asyncio.sleep(3600)

        @laser.method
        def strange() -> Any:
            return {1, 2}

        self.laser = await self.sign_in("laser", methods=laser)
        self.gui = await self.sign_in("gui")

    async def test_results(self) -> None:
        self.assertEqual(await self.gui.call("laser", "set_power", {"watts": 1.5}), "1.5 W, ramp False")
        self.assertEqual(await self.gui.call("n1.laser", "set_power", [2, True]), "2 W, ramp True")
        self.assertIsNone(await self.gui.call("laser", "pong"))
        many = await asyncio.gather(*(self.gui.call("laser", "set_power", [n]) for n in range(200)))
        self.assertEqual(many, [f"{n} W, ramp False" for n in range(200)])

    async def test_a_coordinator_asks(self) -> None:
        """In its own name, for those who call over REST; whatever the method is called."""

        @self.laser.method
        def event(n: int) -> int:
            return n + 1

        for method, params, key, wanted in [
            ("set_power", [2], "result", "2 W, ramp False"),
            ("event", {"n": 1}, "result", 2),
            ("fly", None, "error", {"code": -32601, "message": "there is no method 'fly'"}),
        ]:
            asked = self.cluster.ask("n1.laser", method, params)
            answer = await asyncio.wait_for(asked, 60)
            self.assertEqual(answer.content[key], wanted)
        await self.until("each answer has its outcome", lambda: not self.laser._link._sent)
        self.assertFalse(self.laser._inbox)

    async def test_attachments(self) -> None:
        reply = await self.gui.request("laser", "picture", attachments=[b"\x00" * 100_000])
        self.assertEqual((reply.result, reply.attachments), ({"from": "n1.gui"}, [b"pixels", b"\x00" * 100_000]))

    async def test_errors(self) -> None:
        wanted = [
            ("fail", None, -32000, "RuntimeError: broken"),
            ("fail", [7], 7, "no light"),
            ("nothing", None, -32601, "there is no method 'nothing'"),
            ("set_power", {"volts": 1}, -32602, "set_power: missing a required argument: 'watts'"),
            ("set_power", "12", -32602, "set_power: params are an object or an array"),
            ("leave", None, -32000, "RuntimeError: the method raised SystemExit"),
            ("strange", None, -32000, "TypeError: Object of type set is not JSON serializable"),
        ]
        for method, params, code, message in wanted:
            with self.assertRaises(folkmoot.MethodError) as error:
                await self.gui.call("laser", method, params)
            self.assertEqual((error.exception.rpc_code, error.exception.message), (code, message))
        with self.assertRaises(folkmoot.ReceiverUnknown):
            await self.gui.call("n1.nobody", "pong")

    async def test_no_answer_in_time_is_unknown_and_a_late_one_is_dropped(self) -> None:
        with self.assertRaises(folkmoot.Unknown):
            await self.gui.call("laser", "forever", timeout=0.05)
        conversation = next(m.conversation for m in self.cluster.at("n1").received if b"forever" in b"".join(m.payload))
        late = json.dumps({"jsonrpc": "2.0", "id": 1, "result": None}).encode()
        await self.laser.send("gui", late, conversation=conversation, type=frame.JSON)
        await self.laser.send("gui", b"next")
        self.assertEqual((await self.gui.receive(60)).payload, [b"next"])

    @mock.patch.object(session_module, "MAX_INBOX", 50)
    async def test_too_many_requests_are_told_busy(self) -> None:
        calls = [self.gui.call("laser", "forever", timeout=120) for _ in range(50)]
        waiting = [asyncio.ensure_future(call) for call in calls]
        await self.until("all run", lambda: self.called == len(waiting), patience=60)
        with self.assertRaises(folkmoot.MethodError) as busy:
            await self.gui.call("laser", "set_power", [1], timeout=60)
        self.assertEqual(busy.exception.code, "busy")
        for w in waiting:
            w.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self.laser.close(0.01)

    async def test_discover_notify_and_batch(self) -> None:
        methods = {m["name"]: m for m in (await self.gui.call("laser", "rpc.discover"))["methods"]}
        self.assertEqual(methods["set_power"]["description"], "Sets the power.")
        self.assertEqual([p["required"] for p in methods["set_power"]["params"]], [True, False])
        come = asyncio.Event()

        @self.laser.method
        async def note() -> None:
            come.set()

        await self.gui.notify("laser", "note")
        await asyncio.wait_for(come.wait(), 60)
        batch = [{"jsonrpc": "2.0", "id": 5, "method": "pong"}, {"jsonrpc": "2.0", "method": "pong"}, 3]
        await self.gui.send("laser", json.dumps(batch).encode(), type=frame.JSON)
        answer = (await self.gui.receive(60)).content
        self.assertEqual(
            [(t["id"], "result" in t, t.get("error", {}).get("code")) for t in answer],
            [(5, True, None), (None, False, -32600)],
        )


class Moves(Base):
    coordinators = 3

    async def test_learnt_addresses_are_enough(self) -> None:
        laser = await self.sign_in("laser", [self.cluster.at("n1").address])
        await self.cluster.at("n1").kill()
        await self.until("moved", lambda: laser.home != "n1")

    async def test_a_stopping_home_is_left(self) -> None:
        laser = await self.sign_in("laser")
        for p in list(self.cluster.at("n1").peers):
            p.bye("unavailable", "this coordinator stops")
        await self.until("moved", lambda: laser.home != "n1")

    async def test_a_connection_alone_is_replaced_at_home(self) -> None:
        laser = await self.sign_in("laser")
        self.cluster.at("n1").no_outcomes = True
        sent = laser.post("n1.laser", b"no outcome yet", timeout=60)
        await self.until("arrived", lambda: any(m.to == "n1.laser" for m in self.cluster.at("n1").received))
        for p in list(self.cluster.at("n1").peers):
            p.writer.transport.abort()
        await laser.lookup("laser")
        self.assertEqual((laser.home, laser._link.welcome.get("resumed"), sent.done()), ("n1", True, True))
        with self.assertRaises(folkmoot.Unknown):
            await sent

    async def test_what_was_under_way_is_unknown_and_what_was_not_is_sent(self) -> None:
        laser = await self.sign_in("laser")
        self.cluster.at("n1").no_outcomes = True
        under_way = laser.post("n1.laser", b"under way")
        call = asyncio.ensure_future(laser.call("n1.laser", "pong"))
        await self.until("arrived", lambda: sum(m.to == "n1.laser" for m in self.cluster.at("n1").received) == 2)
        await self.cluster.at("n1").kill()
        await self.until("noticed", lambda: laser._link._connection is None)
        later = laser.post("n1.laser", b"later")
        for unknown in (under_way, call):
            with self.assertRaises(folkmoot.Unknown):
                await unknown
        await later
        self.assertEqual((await laser.receive(60)).payload, [b"later"])

    async def test_what_only_a_part_had_gone_of_is_sent_again(self) -> None:
        laser, gui = await self.sign_in("laser"), await self.sign_in("gui", [self.cluster.at("n2").address])
        self.cluster.at("n1").stops_reading = True
        large = b"x" * (12 << 20)
        sent = [laser.post("n2.gui", large), laser.post("n2.gui", b"behind it")]
        await self.until("it is stuck", lambda: laser._link._connection is not None and laser._link._connection._paused)
        await self.cluster.at("n1").kill()
        await asyncio.gather(*sent)
        self.assertEqual([len((await gui.receive(60)).payload[0]) for _ in sent], [len(large), 9])

    async def test_a_repeatable_call_is_asked_again(self) -> None:
        laser = await self.sign_in("laser")
        gui = await self.sign_in("gui", [self.cluster.at("n2").address])
        self.cluster.at("n2").no_outcomes = True
        call = asyncio.ensure_future(gui.call("n1.laser", "pong", repeat=True))
        await self.until("arrived", lambda: any(m.to == "n1.laser" for m in self.cluster.at("n2").received))
        await self.cluster.at("n2").kill()
        self.assertIsNone(await call)
        del laser

    async def test_a_watch_goes_on(self) -> None:
        gui = await self.sign_in("gui")
        with self.assertRaises(folkmoot.Refused):
            await gui.watch("weather")
        async with await gui.watch() as watch, await gui.watch("component", "job") as second:
            listed = await gui.components(index=watch.index)
            self.assertEqual([c.full_name for c in listed], ["n1.gui"])
            await self.sign_in("a", [self.cluster.at("n2").address])
            event = await watch.next(5)
            assert event.component is not None
            self.assertEqual((event.kind, event.key, event.component.home), ("signed_in", "n2.a", "n2"))
            await self.cluster.at("n1").kill()
            await self.sign_in("b", [self.cluster.at("n3").address])
            wanted = [("moved", "n1.gui"), ("signed_in", "n3.b")]
            seen = [await watch.next(5), await watch.next(5)]
            self.assertEqual(sorted((e.kind, e.key) for e in seen), wanted)
            self.assertEqual([(await second.next(5)).key for _ in range(3)], ["n2.a", *(e.key for e in seen)])
            for p in list(self.cluster.at("n2").peers):
                if p.row and p.row.name == "gui":
                    p.notify("event", self.cluster.events[-1])  # sent already
                    p.notify("lagged", {"at": "900.0"})
            lagged = await watch.next(5)
            self.assertEqual((lagged.kind, lagged.index), ("lagged", 900))

    async def test_a_refused_watch_fails_alone(self) -> None:
        self.cluster.at("n1").forbidden = "job"
        gui = await self.sign_in("gui")
        topics = "member", "component", "job"
        ends = await asyncio.gather(*(gui.watch(topic) for topic in topics), return_exceptions=True)
        refused = [topic for topic, end in zip(topics, ends) if isinstance(end, BaseException)]
        self.assertEqual(refused, ["job"])
        self.assertIsInstance(ends[2], folkmoot.Refused)
        await self.sign_in("a")
        watch = ends[1]
        assert isinstance(watch, folkmoot.Watch)
        self.assertEqual((await watch.next(5)).key, "n1.a")

    async def test_lists_come_in_pages(self) -> None:
        for name in "abcde":
            await self.sign_in(name)
        self.assertEqual([c.name for c in await (await self.sign_in("f")).components(prefix="n1.")], list("abcdef"))


class Lost(Base):
    async def test_taken_over_by_another(self) -> None:
        first = await self.sign_in("laser")
        second = await self.sign_in("laser", session=first.id, secret=first.secret)
        await asyncio.wait_for(first.lost.wait(), 60)
        assert first.error is not None
        self.assertEqual(first.error.code, "conflict")
        with self.assertRaises(folkmoot.SessionLost):
            await first.receive()
        self.assertEqual([m async for m in first.messages()], [])
        self.assertEqual((second.id, second.full_name), (first.id, first.full_name))

    async def test_another_name_holder_after_the_lease(self) -> None:
        laser = await self.sign_in("laser")
        self.cluster.rows["n1.laser"].id = "somebody else"
        for p in list(self.cluster.at("n1").peers):
            p.writer.transport.abort()
        await asyncio.wait_for(laser.lost.wait(), 60)
        assert laser.error is not None
        self.assertEqual(laser.error.code, "name_taken")

    async def test_a_guard_lets_other_cancellations_through(self) -> None:
        laser = await self.sign_in("laser")

        async def work() -> None:
            async with laser.guard():
                await asyncio.sleep(3600)

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task


class Jobs(Base):
    async def test_results_come_once_each(self) -> None:
        gui = await self.sign_in("gui")
        job = await gui.submit("def part(item):\n    return item * item\n", items=[1, 2, 3, 4, 5])
        got = [(r.part, r.result) async for r in job.results()]
        self.assertEqual(sorted(got), [(0, 1), (1, 4), (2, 9), (3, 16), (4, 25)])
        self.assertEqual(got[0][0], 2, "those that ended first come first")
        self.assertEqual((await gui.job(job.id)).state, "done")
        with self.assertRaises(folkmoot.NotFound):
            await gui.job("none")

    async def test_failed_and_cancelled(self) -> None:
        gui = await self.sign_in("gui")
        job = await gui.submit("def part(item):\n    return 1 / item\n", items=[1, 0])
        with self.assertRaises(folkmoot.JobFailed) as failed:
            _ = [r async for r in job.results()]
        self.assertIn("division by zero", str(failed.exception))
        job = await gui.submit("def part(item): pass", items=[1])
        await job.cancel("not wanted")
        self.assertEqual(((await job.wait(5)).state, job.reason, job.ended), ("cancelled", "not wanted", True))
        await job.forget()
        with self.assertRaises(folkmoot.NotFound):
            await job.refresh()


@unittest.skipUnless(shutil.which("openssl"), "needs openssl to make a certificate")
class TLS(unittest.IsolatedAsyncioTestCase):
    async def test_a_session_in_tls(self) -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: None
        )  # the fake's, about handshakes that fail
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        cert, key = f"{folder.name}/cert", f"{folder.name}/key"
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        make += " -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
        subprocess.run([*make.split(), "-out", cert, "-keyout", key], check=True, capture_output=True)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(cert, key)
        cluster = await Cluster().start(1, server)
        self.addAsyncCleanup(cluster.stop)
        async with folkmoot.connect(cluster.addresses, "laser", tls=ssl.create_default_context(cafile=cert)) as laser:
            await laser.send("laser", b"x" * 200_000)
            self.assertEqual(len((await laser.receive(60)).payload[0]), 200_000)
        with self.assertRaises(folkmoot.NotTried) as failed:  # the dead address that is tried last hides nothing
            await folkmoot.connect(
                [*cluster.addresses, "127.0.0.1:1"], "laser", tls=ssl.create_default_context(), timeout=2
            )
        self.assertIn(f"{cluster.addresses[0]}: TLS failed: ", str(failed.exception))
        with self.assertRaises(folkmoot.NotTried):
            await folkmoot.connect(cluster.addresses, "laser", timeout=0.5)


class WrongPorts(unittest.IsolatedAsyncioTestCase):
    async def test_what_listens_there_is_identified(self) -> None:
        http = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
        for name, ends, says, tls, want in (
            ("HTTP", b"\r\n\r\n", http, False, "it speaks HTTP"),
            ("TLS", b"FOLK", b"\x15\x03\x01\x00\x02\x02\x46", False, "it speaks TLS, and this program does not"),
            ("TLS without a word", b"FOLK", b"", False, "does it want TLS?"),
            ("LECO", b"FOLK", b"\xff\0\0\0\0\0\0\0\x01\x7f", False, "it speaks ZMTP"),
            ("HTTP by TLS", b"", http, True, "it speaks no TLS"),
            ("native by TLS", b"", b"", True, "TLS failed"),
        ):
            with self.subTest(name):

                async def accept(
                    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: bytes = ends, says: bytes = says
                ) -> None:
                    try:
                        await (reader.readuntil(ends) if ends else reader.read(1000))
                        writer.write(says)
                        writer.close()
                        await writer.wait_closed()
                    except (asyncio.IncompleteReadError, ConnectionError):
                        writer.close()

                server = await asyncio.start_server(accept, "127.0.0.1", 0)
                address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
                with self.assertRaises(folkmoot.NotTried) as failed:
                    await folkmoot.connect(
                        [address],
                        "laser",
                        tls=ssl.create_default_context() if tls else None,
                        timeout=2.5 if name == "HTTP" else 0.5,
                    )
                self.assertIn(want, str(failed.exception))
                server.close()
                await server.wait_closed()

    async def test_who_gives_up_while_that_is_found_out_leaves_nothing_open(self) -> None:
        ended = asyncio.get_running_loop().create_future()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while await reader.read(1000):
                    pass
            except ConnectionError:
                pass
            writer.close()
            ended.set_result(None)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        with self.assertRaises(folkmoot.NotTried):  # a silent one is asked what it is after 1 s, for 0.5 s
            await folkmoot.connect([f"127.0.0.1:{server.sockets[0].getsockname()[1]}"], "laser", timeout=1.2)
        await asyncio.wait_for(ended, 60)
        server.close()


class Leaks(Base):
    async def test_closed_is_the_end(self) -> None:
        gui = await self.sign_in("gui")
        self.cluster.at("n1").sign_out_delay = 0.2
        closing = asyncio.ensure_future(gui.close())
        await self.until("signed out", lambda: not self.cluster.rows)
        with self.assertRaises(folkmoot.NotTried):
            await gui.send("n1.gui", b"behind the sign-out")
        await closing
        self.assertEqual(self.cluster.rows, {})

    async def test_close_leaves_nothing_behind(self) -> None:
        before = asyncio.all_tasks()
        s = await folkmoot.connect(self.cluster.addresses, "laser")
        watch = await s.watch()
        reading = asyncio.ensure_future(watch.next())
        await s.send("n1.laser", b"x")
        await s.close()
        await s.close()
        with self.assertRaises(folkmoot.SessionLost):
            await reading
        await self.until("the connection is gone", lambda: not any(c.peers for c in self.cluster.coordinators))
        self.assertEqual(asyncio.all_tasks() - before, set())


if __name__ == "__main__":
    unittest.main()
