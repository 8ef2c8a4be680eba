"""What can go wrong, told apart by how certain it is."""

from __future__ import annotations

from typing import Any, Optional

from . import jsonrpc


class Error(Exception):
    """A failure with one of the codes of the wire: ``invalid unauthorized forbidden not_found name_taken
    conflict busy too_large unavailable unknown internal``."""

    code = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        field: str = "",
        retry_after: float = 0.0,
        needs: str = "",
        token: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.message = message
        self.field = field  #: which part of the request is wrong, if one is
        self.retry_after = retry_after  #: seconds after which a repeat makes sense; 0 when nobody can tell
        self.needs = needs  #: of a forbidden request: the grant that it needs, like jobs:write@lab1
        self.token = token  #: with needs: the id of the token that lacks it


class Refused(Error):
    """It is certain that nothing happened."""

    code = "invalid"


class NotFound(Refused):
    """There is no such thing."""

    code = "not_found"


class ReceiverUnknown(NotFound):
    """Nobody is signed in under the receiver's name; the message was not delivered."""


class NameTaken(Refused):
    """Somebody else is signed in under that name."""

    code = "name_taken"


class Busy(Refused):
    """A queue is full, here, at a coordinator or at the receiver: try later."""

    code = "busy"


class NotSignedIn(Refused):
    """The coordinator wants a sign-in first."""

    code = "unauthorized"


class NotTried(Error):
    """It never left: repeating is safe."""

    code = "unavailable"


class Unknown(Error):
    """It may have happened."""

    code = "unknown"


class SessionLost(Error):
    """The session is over: its name may be somebody else's. ``code`` says why, as far as that is known."""

    code = "unavailable"


class MethodError(Error):
    """The component that was called answered with a JSON-RPC error."""

    code = "internal"

    def __init__(self, rpc_code: int, message: str, data: Any = None) -> None:
        super().__init__(message, code=str((jsonrpc.as_object(data) or {}).get("code", "")))
        self.rpc_code = rpc_code
        self.data = data


_BY_CODE = {
    "not_found": NotFound,
    "name_taken": NameTaken,
    "busy": Busy,
    "unavailable": NotTried,
    "unknown": Unknown,
    "internal": Unknown,
}
_REFUSALS = frozenset(["invalid", "unauthorized", "forbidden", "conflict", "too_large"])
_BY_RPC = {-32700: "invalid", -32600: "invalid", -32601: "invalid", -32602: "invalid", -32091: "name_taken"}


def from_wire(error: Any) -> Error:
    """Makes the exception of ``{"code", "message", "field"?, "retry_after"?}``."""
    members = jsonrpc.as_object(error) or {}
    code = str(members.get("code", "internal"))
    kind = Refused if code in _REFUSALS else _BY_CODE.get(code, Error)
    nanoseconds = members.get("retry_after")
    return kind(
        str(members.get("message") or code),
        code=code,
        field=str(members.get("field", "")),
        retry_after=nanoseconds / 1e9 if isinstance(nanoseconds, (int, float)) else 0.0,
        needs=str(members.get("needs", "")),
        token=str(members.get("token", "")),
    )


def from_coordinator(error: Any) -> Error:
    """Makes the exception of a JSON-RPC error that a coordinator sent."""
    error = jsonrpc.as_object(error) or {}
    rpc, data, message = error.get("code"), jsonrpc.as_object(error.get("data")), str(error.get("message", ""))
    if rpc == jsonrpc.NOT_SIGNED_IN:
        return NotSignedIn(message or "sign in first")
    if rpc == jsonrpc.RECEIVER_UNKNOWN:
        return ReceiverUnknown(message or "nobody is signed in under that name")
    if data is not None:
        return from_wire({"message": message, **data})
    return from_wire({"code": _BY_RPC.get(rpc, "internal") if isinstance(rpc, int) else "internal", "message": message})


def lost(why: Optional[Error]) -> SessionLost:
    """Says that a session is over, and why."""
    if isinstance(why, SessionLost):
        return SessionLost(why.message, code=why.code)
    if why is None:
        return SessionLost("the session is closed", code="conflict")
    return SessionLost(f"the session is lost: {why.message}", code=why.code)
