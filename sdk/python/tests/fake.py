"""Coordinators small enough to read, that speak the native session protocol and share one state."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from typing import Any, Dict, List, Optional, Set, Tuple

from folkmoot import frame
from folkmoot.errors import Refused
from folkmoot.frame import Message, new_conversation


class Refusal(Exception):
    def __init__(self, code: str, message: str, rpc: int = -32000) -> None:
        super().__init__(message)
        self.code, self.rpc = code, rpc


class Row:
    def __init__(self, name: str, namespace: str, id: str, secret: str) -> None:
        self.name, self.namespace, self.id, self.secret = name, namespace, id, secret
        self.full = f"{namespace}.{name}"
        self.at: Optional[Peer] = None
        self.home = ""
        self.labels: Dict[str, str] = {}

    def wire(self) -> Dict[str, Any]:
        return {
            "full_name": self.full, "name": self.name, "namespace": self.namespace, "home": self.home,
            "session": self.id, "kind": "native", "labels": self.labels, "lease": "10s",
            "since": "2026-11-22T00:00:00Z", "index": 1, "newer": True,
        }  # fmt: skip


class Cluster:
    """Coordinators n1, n2, ... and what they agree on."""

    def __init__(self) -> None:
        self.coordinators: List[Coordinator] = []
        self.tokens: List[str] = []  # of the sign-ins
        self.rows: Dict[str, Row] = {}
        self.keys: Dict[str, Row] = {}
        self.jobs: Dict[str, Dict[str, Any]] = {}
        self.waits: List[Optional[float]] = []  # of jobs.get: for how long the answer may wait
        self.unanswered: Dict[bytes, asyncio.Future[Message]] = {}  # of components, by conversation
        self.events: List[Dict[str, Any]] = []
        self.lease = "10s"
        self.index = 100
        self.attempt = 0  # the last that was numbered

    async def start(self, n: int, tls: Optional[ssl.SSLContext] = None, read_ahead: int = 64 << 10) -> Cluster:
        for i in range(n):
            c = Coordinator(self, f"n{i + 1}")
            await c.start(tls, read_ahead)
            self.coordinators.append(c)
        return self

    async def stop(self) -> None:
        for c in self.coordinators:
            await c.kill()

    @property
    def addresses(self) -> List[str]:
        return [c.address for c in self.coordinators]

    def at(self, id: str) -> Coordinator:
        return next(c for c in self.coordinators if c.id == id)

    def publish(self, kind: str, row: Row) -> None:
        self.index += 1
        event = {
            "index": self.index,
            "seq": 0,
            "topic": "component",
            "kind": kind,
            "key": row.full,
            "at": "t",
            "data": row.wire(),
        }
        self.events.append(event)
        for c in self.coordinators:
            for p in list(c.peers):
                p.send_events()

    def sign_in(self, peer: Peer, p: Dict[str, Any]) -> Dict[str, Any]:
        self.tokens.append(p.get("token", ""))
        namespace = p.get("namespace") or peer.home.id
        full = f"{namespace}.{p['name']}"
        row, resumed = self.rows.get(full) or self.keys.get(p.get("key", "")), False
        if row is not None and row.id != p.get("session") and not ("key" in p and self.keys.get(p["key"]) is row):
            raise Refusal("name_taken", f"{full} is taken", -32091)
        if row is None and p.get("secret") == "removed":
            raise Refusal("forbidden", "removed by an operator")
        if row is None:
            row = Row(p["name"], namespace, p.get("session") or new_conversation().hex(), p.get("secret") or "s" * 16)
        resumed = row.home == peer.home.id
        if row.at is not None and row.at is not peer:
            row.at.bye("conflict", "taken over")
        kind = "moved" if row.home and not resumed else "signed_in"
        row.at, row.home, row.labels = peer, peer.home.id, p.get("labels", {})
        self.rows[row.full] = peer_row = row
        if "key" in p:
            self.keys[p["key"]] = row
        peer.row = peer_row
        if not resumed:
            self.publish(kind, row)
        doors = [peer.home, *(c for c in self.coordinators if c is not peer.home and c.running)]
        return {
            "full_name": row.full, "session": row.id, "secret": row.secret, "namespace": namespace, "home": row.home,
            "lease": self.lease, "index": self.index, "attempt": self.attempt, "resumed": resumed,
            "coordinators": [{"id": c.id, "namespace": c.id, "address": c.address} for c in doors],
        }  # fmt: skip

    def ask(self, full: str, method: str, params: Any) -> asyncio.Future[Message]:
        """Asks a component in its home's name, as for a caller over REST. The future is done with the answer."""
        at = self.rows[full].at
        assert at is not None
        conversation = new_conversation()
        body = {"jsonrpc": "2.0", "id": 1, "method": method, **({} if params is None else {"params": params})}
        at.write(Message(full, f"{at.home.id}.COORDINATOR", conversation, 0, frame.JSON, [json.dumps(body).encode()]))
        answer = self.unanswered[conversation] = asyncio.get_running_loop().create_future()
        return answer

    def sign_out(self, row: Row) -> None:
        self.rows.pop(row.full, None)
        if row.at is not None:
            row.at.row = None
        self.publish("signed_out", row)

    def submit(self, p: Dict[str, Any]) -> Dict[str, Any]:
        if p["id"] not in self.jobs:
            space: Dict[str, Any] = {}
            exec(p["script"], space)
            results: List[Dict[str, Any]] = []
            for n, item in enumerate(p["items"]):
                line = {"part": n, "attempt": 1, "worker": "n1.worker", "millis": 1}
                try:
                    results.append({**line, "state": "done", "result": space["part"](item)})
                except Exception as error:
                    results.append({**line, "state": "failed", "error": str(error)})
            bad = next((r for r in results if r["state"] == "failed"), None)
            final = ("failed", f"part {bad['part']}: {bad['error']}") if bad else ("done", "")
            self.jobs[p["id"]] = {"id": p["id"], "asked": 0, "final": final, "results": results, "state": "running"}
        return self.job(p["id"])

    def job(self, id: str) -> Dict[str, Any]:
        job = self.jobs.get(id)
        if job is None:
            raise Refusal("not_found", f"there is no job {id}")
        job["asked"] += 1  # it ends as one looks at it, the last parts first
        if job["state"] == "running" and job["asked"] > 3:
            job["state"], job["reason"] = job["final"]
        return {
            "id": id,
            "state": job["state"],
            "reason": job.get("reason", ""),
            "parts": {"total": len(job["results"])},
            "index": 1,
        }

    def results(self, p: Dict[str, Any]) -> Dict[str, Any]:
        job = self.jobs[p["id"]]
        ended = job["results"] if job["state"] != "running" else job["results"][2:]
        page = [r for r in ended if r["part"] > p.get("after", -1)]
        return {"results": page[:2], **({"next": page[1]["part"]} if len(page) > 2 else {})}


class Coordinator:
    def __init__(self, cluster: Cluster, id: str) -> None:
        self.cluster, self.id, self.address, self.running = cluster, id, "", False
        self.peers: Set[Peer] = set()
        self.server: Optional[asyncio.Server] = None
        self.not_signed_in = 0  # so many frames are answered "sign in first"
        self.stops_reading = False  # reads nothing more
        self.silent = False  # takes everything and says nothing
        self.mute = False  # greets, and takes sign-ins without a word
        self.slow = 0.0  # seconds it takes to read one frame
        self.no_outcomes = False
        self.sign_out_delay = 0.0  # seconds until a sign-out is answered
        self.forbidden = ""  # a topic that nobody may watch here
        self.outcome: Optional[Refusal] = None  # of every message
        self.unavailable = 0  # so many sign-ins are not tried
        self.conflicts = 0  # so many sign-ins are refused
        self.attempts: List[int] = []  # of the sign-ins
        self.keys: List[str] = []
        self.received: List[Message] = []

    async def start(self, tls: Optional[ssl.SSLContext], read_ahead: int) -> None:
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0, ssl=tls, limit=read_ahead)
        self.address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        self.running = True

    async def read_slowly(self, seconds: float) -> None:
        """Takes that long for every frame of later connections, and little is under way."""
        self.slow = seconds
        assert self.server is not None
        self.server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)

    async def kill(self) -> None:
        """As kill -9 would: no bye."""
        self.running = False
        if self.server is not None:
            self.server.close()
        for p in list(self.peers):
            p.writer.transport.abort()
        while self.peers:
            await asyncio.sleep(0.001)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(self, writer)
        self.peers.add(peer)
        try:
            _, ping = frame.parse_preamble(await reader.readexactly(8))
            if not self.silent:
                writer.write(frame.preamble(ping or 2))
            while True:
                head = await reader.readexactly(4)
                m, _ = frame.decode(head + await reader.readexactly(int.from_bytes(head, "big")))
                if not self.silent:
                    peer.handle(m)
                    await writer.drain()
                if self.slow:
                    await asyncio.sleep(self.slow)
                while self.stops_reading and not writer.is_closing():
                    await asyncio.sleep(0.001)
        except (asyncio.IncompleteReadError, OSError, Refused):
            pass
        finally:
            self.peers.discard(peer)
            if peer.row is not None and peer.row.at is peer:
                peer.row.at = None
            writer.close()


class Peer:
    """One connection, at the coordinator's end."""

    def __init__(self, home: Coordinator, writer: asyncio.StreamWriter) -> None:
        self.home, self.writer = home, writer
        self.row: Optional[Row] = None
        self.chunks = frame.Chunks()
        self.subscribed: Optional[Tuple[bytes, List[str]]] = None
        self.last_event = 0
        self.transfer = 0

    def write(self, m: Message) -> None:
        b = frame.encode(m)
        if len(b) > frame.MAX_WHOLE:
            self.transfer += 1
            b = b"".join(frame.cut(b, self.transfer))
        self.writer.write(b)

    def bye(self, code: str, message: str) -> None:
        self.writer.write(frame.about(frame.BYE, [json.dumps({"code": code, "message": message}).encode()]))
        self.writer.close()

    def answer(self, m: Message, content: Dict[str, Any], id: int = 0) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": None if id else 1, **content}).encode()
        sender, to = f"{self.home.id}.COORDINATOR", self.row.full if self.row else "stranger"
        self.write(Message(to, sender, m.conversation, id, frame.JSON, [body]))

    def fail(self, m: Message, why: Refusal, to: str = "") -> None:
        rpc = -32093 if why.code == "not_found" and to else why.rpc
        data = {"code": why.code, "message": str(why), **({"to": to} if to else {})}
        self.answer(m, {"error": {"code": rpc, "message": str(why), "data": data}}, m.id)

    def handle(self, m: Message) -> None:
        if not m.to:
            if m.type == frame.PING:
                self.writer.write(frame.about(frame.PONG, m.payload))
            elif m.type == frame.CHUNK:
                for whole in self.chunks.add(m):
                    self.handle(whole)
            return
        self.home.received.append(m)
        unanswered = self.home.cluster.unanswered.pop(m.conversation, None)
        if unanswered is not None:
            if m.id:
                self.writer.write(frame.about(frame.RECEIPT, [m.id.to_bytes(3, "big")]))
            return unanswered.set_result(m)
        method = m.content.get("method") if m.to == "COORDINATOR" and m.payload else ""
        if (self.row is None or self.home.not_signed_in) and method != "sign_in":
            self.home.not_signed_in = max(0, self.home.not_signed_in - 1)
            return self.fail(m, Refusal("unauthorized", "sign in first", -32090))
        if m.to == "COORDINATOR":
            try:
                result = self.call(m, method, m.content.get("params") or {})
                if method == "sign_in" and self.home.mute:
                    return
                if method == "sign_out" and self.home.sign_out_delay:
                    asyncio.get_running_loop().call_later(self.home.sign_out_delay, self.answer, m, {"result": result})
                    return
                self.answer(m, {"result": result})
                if method == "subscribe":
                    self.send_events()
            except Refusal as why:
                self.fail(m, why)
            return
        assert self.row is not None
        full = m.to if "." in m.to else f"{self.row.namespace}.{m.to}"
        to = self.home.cluster.rows.get(full)
        if self.home.no_outcomes:
            return
        if self.home.outcome is not None:
            return self.fail(m, self.home.outcome, full)
        if to is None or to.at is None:
            return self.fail(m, Refusal("not_found", f"nobody is signed in as {full}"), full)
        to.at.write(Message(full, self.row.full, m.conversation, m.id, m.type, m.payload))
        if m.id:
            self.writer.write(frame.about(frame.RECEIPT, [m.id.to_bytes(3, "big")]))

    def send_events(self) -> None:
        if self.subscribed is None or self.row is None:
            return
        topics = self.subscribed[1]
        for event in self.home.cluster.events:
            if event["index"] > self.last_event:
                self.last_event = event["index"]
                if event["topic"] in topics:
                    self.notify("event", event)

    def notify(self, method: str, params: Any) -> None:
        assert self.subscribed is not None and self.row is not None
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()
        self.write(Message(self.row.full, f"{self.home.id}.COORDINATOR", self.subscribed[0], 0, frame.JSON, [body]))

    def call(self, m: Message, method: str, p: Dict[str, Any]) -> Any:
        cluster = self.home.cluster
        if method == "sign_in":
            self.home.attempts.append(p.get("attempt", 0))
            self.home.keys.append(p.get("key", ""))
            if self.home.conflicts:
                self.home.conflicts -= 1
                over = cluster.keys.pop(p.get("key", ""), None)
                if over is not None:
                    del cluster.rows[over.full]
                raise Refusal("conflict", "the session was taken over, or is over")
            cluster.attempt = max(cluster.attempt, p.get("attempt", 0))
            if self.home.unavailable:
                self.home.unavailable -= 1
                raise Refusal("unavailable", "there is no leader")
            return cluster.sign_in(self, p)
        assert self.row is not None
        if method == "sign_out":
            return cluster.sign_out(self.row)
        if method == "lookup":
            row = cluster.rows.get(p["name"]) or cluster.rows.get(f"{self.row.namespace}.{p['name']}")
            if row is None:
                raise Refusal("not_found", f"{p['name']} is not signed in")
            return row.wire()
        if method == "components":
            names = [n for n in sorted(cluster.rows) if n > p.get("after", "") and n.startswith(p.get("prefix", ""))]
            return {
                "components": [cluster.rows[n].wire() for n in names[:2]],
                "next": names[1] if len(names) > 2 else "",
                "index": cluster.index,
            }
        if method == "coordinators":
            return {
                "coordinators": [{"id": c.id, "namespace": c.id, "address": c.address} for c in cluster.coordinators]
            }
        if method == "subscribe":
            if self.home.forbidden in p["topics"]:
                raise Refusal("forbidden", f"news of {self.home.forbidden} are not for you")
            self.subscribed = (m.conversation, p.get("topics", ["component"]))
            self.last_event = int(p["after"].partition(".")[0]) if "after" in p else cluster.index
            return {"at": f"{self.last_event}.0"}
        if method == "unsubscribe":
            self.subscribed = None
            return None
        if method == "jobs.submit":
            return cluster.submit(p)
        if method == "jobs.get":
            cluster.waits.append(p.get("wait"))
            return cluster.job(p["id"])
        if method == "jobs.cancel":
            cluster.jobs[p["id"]].update(state="cancelled", reason=p.get("reason", ""))
            return cluster.job(p["id"])
        if method == "jobs.forget":
            if cluster.job(p["id"])["state"] not in ("done", "failed", "cancelled"):
                raise Refusal("conflict", "it has not ended")
            told = cluster.job(p["id"])
            del cluster.jobs[p["id"]]
            return told
        if method == "jobs.results":
            return cluster.results(p)
        raise Refusal("not_found", f"COORDINATOR has no method {method}", -32601)
