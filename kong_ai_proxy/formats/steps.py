"""OpenAI's REST APIs at providers that have another API for the same thing: one client request as the steps
that it takes there.

A translation is a generator without I/O: it yields what is to be asked of the provider, is sent what came
back, and returns what the client gets. Most take one step (an image); some take several (a finished video:
ask how the job went, then fetch what it made).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from ..core.call import Call
from ..core.http import Headers
from ..core.json import Json
from ..core.rest import RestCall


@dataclass(slots=True)
class FilePart:
    """A file of the client's form, whole."""

    name: str
    """The field's name without "[]" ("image", "mask", "file")."""
    data: bytes
    filename: str = ""
    content_type: str = ""
    """As the client said it; "" if it did not."""


@dataclass(slots=True)
class Asked:
    """What the client asks for."""

    call: Call
    """`call.model`, `call.options`; usage, model and dropped fields are noted on it."""
    rest: RestCall
    """`rest.operation` ("image.generations", "video.generations", "files", "batches") and `rest.rest`, what
    follows the collection ("/video_1/content")."""
    method: str
    body: Json = field(default_factory=dict)
    """The JSON body, or the text fields of a form: numbers and booleans are text there."""
    files: list[FilePart] = field(default_factory=list)
    query: str = ""
    """The client's query string, without "?"."""
    breathe: Callable[[], None] = lambda: None
    """To be called now and then by a translation that has much to do at a time: others get their turn."""
    check_access: Callable[[str], None] = lambda model: None
    """To be told each model that is to work and is not the configured one or that of `body`. Raises ApiError
    (403) where the access rules forbid it to this client."""


@dataclass(slots=True)
class Step:
    """One request to the provider."""

    method: str
    path: str
    """Percent-encoded path at the service, with a query where it needs one. An absolute URL where an earlier
    reply named it: the provider decides whether that is a host of its own, and refuses others."""
    body: Json | bytes | None = None
    service: str = ""
    """Which of the provider's hosts ("" is the one that serves models; "control", "s3", "upload", …)."""
    headers: Headers = field(default_factory=dict)
    """Besides the provider's own and the credentials."""
    passes: frozenset[int] = frozenset()
    """Error statuses that the translation wants to see as a `Reply`; all others end the request as the
    provider's error."""
    credentials: bool = True
    """False: what is asked is open to all who know its address, at a host that must not see the key."""
    streams: bool = False
    """Its 2xx answer is the client's: nothing of it is held in memory, and `Reply.body` is empty. The
    translation has to return a `Streamed` then."""
    after: float = 0.0
    """Seconds to wait before it is sent: between two looks at a job that is not done. The time counts as the
    provider's, which has `read_timeout` for all of it; a client that leaves ends it."""


@dataclass(slots=True)
class Reply:
    """What the provider answered to a step."""

    status: int
    headers: Headers
    body: bytes
    """Decoded (no content-encoding left)."""


@dataclass(slots=True)
class Whole:
    """What the client gets, whole."""

    body: Json | bytes
    status: int = 200
    content_type: str = "application/json"


class Through(Protocol):
    """Bytes in, bytes out, for one answer."""

    def feed(self, data: bytes) -> bytes:
        """What `data` completes, perhaps nothing. Raises ApiError where the answer cannot go on."""
        ...

    def finish(self) -> bytes:
        """The provider's answer has ended: the rest. Also called where nobody reads on."""
        ...


@dataclass(slots=True)
class Streamed:
    """The client gets the last reply's body while it arrives."""

    content_type: str
    through: Through | None = None
    """Turns the provider's bytes into the client's (a batch's results, line by line); None: as they are."""


Steps: TypeAlias = Generator[Step, Reply, Whole | Streamed]


class StepsTranslation(Protocol):
    """One operation of OpenAI's REST APIs at one provider. Pure, shared by all requests.

    Raises ApiError (400, `param` set) for what the provider cannot do; sets `call.usage`,
    `call.response_model`, `call.dropped` as an `Adapter` does.
    """

    def __call__(self, asked: Asked) -> Steps: ...
