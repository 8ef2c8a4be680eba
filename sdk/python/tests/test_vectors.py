"""The bytes are those of docs/vectors, which the coordinator's own tests read, too."""

from __future__ import annotations

import hashlib
import json
import unittest
from pathlib import Path
from typing import Any, Dict, List

from folkmoot import errors, frame

VECTORS = Path(__file__).resolve().parents[3] / "docs" / "vectors"


def load(name: str) -> Dict[str, List[Dict[str, Any]]]:
    vectors: Dict[str, List[Dict[str, Any]]] = json.loads((VECTORS / name).read_text())
    assert vectors["valid"], f"{name} holds no vectors"
    return vectors


def message(v: Dict[str, Any]) -> frame.Message:
    payload = [bytes.fromhex(p) for p in v["payload"]]
    return frame.Message(v["to"], v["from"], bytes.fromhex(v["conversation"]), v["id"], v["type"], payload)


class Vectors(unittest.TestCase):
    def test_preamble(self) -> None:
        vectors = load("preamble.json")
        for v in vectors["valid"]:
            with self.subTest(v["name"]):
                self.assertEqual(frame.parse_preamble(bytes.fromhex(v["hex"])), (v["version"], v["ping"]))
                self.assertEqual(frame.preamble(v["ping"], v["version"]).hex(), v["hex"])
        for v in vectors["refused"]:
            with self.subTest(v["name"]), self.assertRaises(errors.Refused):
                frame.parse_preamble(bytes.fromhex(v["hex"]))

    def test_frames(self) -> None:
        vectors = load("frames.json")
        for v in vectors["valid"]:
            with self.subTest(v["name"]):
                b = bytes.fromhex(v["hex"])
                self.assertEqual(frame.decode(b"xx" + b + b"more", 2), (message(v), len(b) + 2))
                self.assertEqual(frame.encode(message(v)).hex(), v["hex"])
                for n in range(len(b)):
                    with self.assertRaises(frame.Short) as short:
                        frame.decode(b[:n])
                    self.assertTrue(n < short.exception.need <= len(b))
        for v in vectors["refused"]:
            with self.subTest(v["name"]):
                with self.assertRaises((errors.Refused, frame.Short)) as refused:
                    frame.decode(bytes.fromhex(v["hex"]))
                self.assertEqual(getattr(refused.exception, "code", "short"), v["error"])

    def test_about(self) -> None:
        for v in load("about.json")["valid"]:
            with self.subTest(v["name"]):
                b = bytes.fromhex(v["hex"])
                m, _ = frame.decode(b)
                data = [bytes.fromhex(v["data"])] if "data" in v else []
                if v["kind"] in ("ping", "pong"):
                    kind = frame.PING if v["kind"] == "ping" else frame.PONG
                    self.assertEqual((m.type, m.payload), (kind, data))
                    self.assertEqual(frame.about(kind, data), b)
                elif v["kind"] == "receipt":
                    self.assertEqual((m.type, frame.receipt_ids(m)), (frame.RECEIPT, v["ids"]))
                elif v["kind"] == "bye":
                    why = errors.from_wire(m.content)
                    self.assertEqual((m.type, why.code, why.message), (frame.BYE, v["code"], v["message"]))
                    self.assertEqual(json.loads(frame.decode(frame.bye(why))[0].payload[0]), m.content)
                else:
                    self.assertEqual(
                        (v["kind"], m.type, m.id, m.payload[0][0]), ("chunk", frame.CHUNK, v["transfer"], v["flags"])
                    )
                    if "piece" in v:
                        self.assertEqual(list(frame.cut(bytes.fromhex(v["piece"]), v["transfer"])), [b])

    def test_chunks(self) -> None:
        vectors = load("chunks.json")
        for v in vectors["valid"]:
            with self.subTest(v["name"]):
                m = message({**v, "payload": []})
                m.payload = [bytes([v["payload_byte"]]) * n for n in v["payload_sizes"]]
                whole = frame.encode(m)
                self.assertEqual((len(whole), hashlib.sha256(whole).hexdigest()), (v["frame_size"], v["frame_sha256"]))
                cut = list(frame.cut(whole, v["transfer"]))
                self.assertEqual([hashlib.sha256(c).hexdigest() for c in cut], v["chunks"])
                chunks = frame.Chunks()
                got = [chunks.add(frame.decode(c)[0]) for c in cut]
                self.assertEqual(got, [[]] * (len(cut) - 1) + [[m]])
        for v in vectors["refused"]:
            with self.subTest(v["name"]), self.assertRaises(errors.Refused):
                chunks = frame.Chunks()
                for f in v["frames"]:
                    chunks.add(frame.decode(bytes.fromhex(f))[0])

    def test_conversations_are_uuid_7(self) -> None:
        m = frame.Message(conversation=frame.new_conversation())
        self.assertEqual((m.conversation_id.version, m.conversation_id.variant), (7, "specified in RFC 4122"))


if __name__ == "__main__":
    unittest.main()
