"""What COORDINATOR answers (docs/protocol.md), as JSON. Empty members may be missing, and newer ones may be there."""

from __future__ import annotations

from typing import Any, Dict, List, TypedDict


class Door(TypedDict, total=False):
    """A coordinator's address for sessions."""

    id: str
    namespace: str
    address: str


class Doors(TypedDict, total=False):
    """Of ``coordinators``."""

    coordinators: List[Door]


class Welcome(Doors, total=False):
    """Of ``sign_in``."""

    full_name: str
    session: str
    secret: str
    namespace: str
    home: str
    lease: str
    index: int
    attempt: int
    resumed: bool


class Place(TypedDict, total=False):
    """Where a component runs."""

    host: str
    group: str


class Component(TypedDict, total=False):
    """Of ``lookup``: a component that is signed in."""

    full_name: str
    name: str
    namespace: str
    home: str
    session: str
    kind: str
    labels: Dict[str, str]
    place: Place
    lease: str
    runtimes: List[str]
    slots: int
    since: str
    index: int


class Components(TypedDict, total=False):
    """Of ``components``: one page; ``next`` asks for the following one."""

    components: List[Component]
    next: str


class Subscribed(TypedDict, total=False):
    """Of ``subscribe``: where the news begins."""

    at: str
    cluster: str


class Event(TypedDict, total=False):
    """The params of ``event``."""

    index: int
    seq: int
    topic: str
    kind: str
    key: str
    reason: str
    at: str
    data: Any


class Parts(TypedDict, total=False):
    """How many parts of a job are in which state."""

    total: int
    waiting: int
    assigned: int
    running: int
    done: int
    failed: int
    cancelled: int
    lost: int
    retries: int


class Job(TypedDict, total=False):
    """Of ``jobs.submit`` (``known``: it was there before), ``jobs.get``, ``jobs.cancel`` and ``jobs.forget``."""

    id: str
    name: str
    state: str
    reason: str
    runtime: str
    priority: int
    group: str
    parallel: int
    max_attempts: int
    timeout: str
    part_timeout: str
    labels: Dict[str, str]
    keep: str
    namespace: str
    parts: Parts
    result_bytes: int
    result_quota: int
    by: str
    submitted: str
    started: str
    ended: str
    index: int
    known: bool
    script: str
    args: Any


class PartResult(TypedDict, total=False):
    """What became of one part that ended."""

    part: int
    state: str
    attempt: int
    worker: str
    result: Any
    error: str
    millis: int


class Results(TypedDict, total=False):
    """Of ``jobs.results``: one page; ``next`` is the part after which the following one begins."""

    results: List[PartResult]
    next: int
