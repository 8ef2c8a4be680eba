"""The file that holds a token."""

from __future__ import annotations

import contextlib
import os
from typing import Optional, Union

Path = Union[str, "os.PathLike[str]"]


def read_token_file(path: Path) -> str:
    """Returns the first line of a file that is neither blank nor a comment (#). Raises OSError, or ValueError that
    names the file."""
    with open(path, encoding="utf-8", errors="replace") as f:
        for raw in f:
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if line.startswith("sha256:"):
                raise ValueError(f"{os.fspath(path)} holds only the hash of a token: a client needs the token itself")
            if not line.isascii() or not line.isprintable() or " " in line:
                raise ValueError(f"{os.fspath(path)}: the first line that is no comment is no token")
            return line
    raise ValueError(f"{os.fspath(path)} holds no token: each of its lines is blank or a comment")


class Token:
    """A token, or the file that holds it, which is read again for every sign-in: whoever replaces a token need not
    start its users anew."""

    def __init__(self, token: str = "", file: Optional[Path] = None) -> None:
        if token and file is not None:
            raise ValueError("token and token_file are given: one of them is enough")
        self._file = file
        self._token = token if file is None else read_token_file(file)

    def current(self) -> str:
        """The token, or "". A file that cannot be read any more leaves the token that it held."""
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._token = read_token_file(self._file)
        return self._token
