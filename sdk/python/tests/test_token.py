"""A token, and the file that holds it."""

from __future__ import annotations

import os
import tempfile
import unittest

import folkmoot
from folkmoot.errors import from_coordinator
from folkmoot.tokenfile import read_token_file

from .test_session import Base


class TokenFile(Base):
    def write(self, text: str) -> None:
        with open(self.path, "w", encoding="utf-8") as f:
            f.write(text)

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "token")

    async def test_the_first_line_that_is_no_comment_is_the_token(self) -> None:
        self.write("# for the lab\n\n  fmt_abc \nfmt_second\n")
        self.assertEqual(read_token_file(self.path), "fmt_abc")
        none = "holds no token"
        wrong = {"": none, "# none\n": none, "sha256:00\n": "only the hash", "a b": "is no token"}
        for text, why in wrong.items():
            self.write(text)
            with self.assertRaisesRegex(ValueError, why) as caught:
                read_token_file(self.path)
            self.assertIn(self.path, str(caught.exception))
        with self.assertRaises(FileNotFoundError):
            folkmoot.connect(self.cluster.addresses, "laser", token_file=self.path + "-none")
        self.write("fmt_abc")
        with self.assertRaisesRegex(ValueError, "one of them"):
            folkmoot.connect(self.cluster.addresses, "laser", token="fmt_abc", token_file=self.path)

    async def test_it_is_read_again_for_every_sign_in(self) -> None:
        self.write("fmt_old\n")
        laser = await self.sign_in("laser", token_file=self.path)
        self.write("fmt_new\n")
        row = self.cluster.rows[laser.full_name]
        assert row.at is not None
        row.at.writer.close()
        await self.until("it signs in again", lambda: len(self.cluster.tokens) > 1)
        self.assertEqual(self.cluster.tokens[:2], ["fmt_old", "fmt_new"])

    async def test_a_refusal_says_what_is_missing(self) -> None:
        data = {"code": "forbidden", "message": "no", "needs": "jobs:work@lab1", "token": "t_1"}
        error = from_coordinator({"code": -32000, "message": "no", "data": data})
        self.assertIsInstance(error, folkmoot.Refused)
        self.assertEqual((error.code, error.needs, error.token), ("forbidden", "jobs:work@lab1", "t_1"))


if __name__ == "__main__":
    unittest.main()
