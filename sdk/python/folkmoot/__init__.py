"""Folkmoot: one place to sign in, one directory, one way to reach each other, one way to get work done.

``connect`` is for asyncio; ``folkmoot.sync.connect`` is the same for programs without it."""

from . import answers
from .connection import DEFAULT_PORT
from .directory import Component, Door, Event, Watch
from .errors import (
    Busy,
    Error,
    MethodError,
    NameTaken,
    NotFound,
    NotSignedIn,
    NotTried,
    ReceiverUnknown,
    Refused,
    SessionLost,
    Unknown,
)
from .frame import Message, new_conversation
from .jobs import Job, JobFailed, Result
from .methods import Methods, Reply, current_message
from .session import Delivered, Session, connect

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_PORT",
    "Busy",
    "Component",
    "Delivered",
    "Door",
    "Error",
    "Event",
    "Job",
    "JobFailed",
    "Message",
    "MethodError",
    "Methods",
    "NameTaken",
    "NotFound",
    "NotSignedIn",
    "NotTried",
    "ReceiverUnknown",
    "Refused",
    "Reply",
    "Result",
    "Session",
    "SessionLost",
    "Unknown",
    "Watch",
    "answers",
    "connect",
    "current_message",
    "new_conversation",
]
