"""JSON-RPC 2.0 as components and coordinators speak it."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union, cast

Params = Union[Mapping[str, Any], Sequence[Any], None]
Object = Dict[str, Any]

METHOD_NOT_FOUND = -32601
NOT_SIGNED_IN = -32090
RECEIVER_UNKNOWN = -32093
SERVER_ERROR = -32000


def encode(value: Any) -> bytes:
    """Returns the value as JSON. Raises TypeError or ValueError."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def as_object(value: object) -> Optional[Object]:
    """Returns a value that was read from JSON if it is an object, else None."""
    return cast(Object, value) if isinstance(value, dict) else None


def as_list(value: object) -> Optional[List[Any]]:
    """Returns a value that was read from JSON if it is an array, else None."""
    return cast(List[Any], value) if isinstance(value, list) else None


def request(method: str, params: Params) -> Object:
    """Makes a request that wants an answer."""
    return {"id": 1, **notification(method, params)}


def notification(method: str, params: Params) -> Object:
    """Makes a request that wants none."""
    content: Object = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        content["params"] = params
    return content


def failure(id: Any, code: int, message: str, data: Any = None) -> Object:
    """Makes the answer that is an error."""
    error: Object = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": id, "error": error}
