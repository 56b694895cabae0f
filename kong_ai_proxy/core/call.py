"""One attempt to have one target answer one client request."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

from ..config.models import Options, Target
from .http import ClientRequest, Headers
from .json import Json
from .native import NativeCall
from .rest import RestCall
from .usage import Usage

_DROPPED_MAX: Final = 1000


@dataclass(slots=True)
class Call:
    """What a translation must know, and what it finds out on the way.

    Made anew for every attempt from the client's original request, so that a failover starts clean.
    """

    target: Target
    provider: str = field(init=False)
    """The target's."""
    options: Options
    """The target's `model.options` with templates such as `$(headers.x)` resolved."""
    model: str
    """The model's name at the provider: configured (templates resolved), else the client's. May be ""."""
    operation: str
    """What is asked for: "chat", "completions", "embeddings", "responses", … (see `providers.base`)."""
    request: ClientRequest
    client_format: str = "openai"
    stream: bool = False
    include_usage: bool = False
    """The client asked for usage on its stream (`stream_options.include_usage`)."""
    legacy_functions: bool = False
    """The client spoke OpenAI's deprecated `functions`: its answer must say `function_call`."""
    custom_tools: frozenset[str] = frozenset()
    """Names of the client's custom tools, for which functions were sent: calls of these are custom calls."""
    native: NativeCall | None = None
    """What the path asked for, where the client speaks a provider's native format."""
    echo: Json = field(default_factory=dict)
    """What the client's format must repeat of its request in the answer."""
    rest: RestCall | None = None
    """Which of OpenAI's REST APIs is asked, where the request passes through to it."""
    created: int = field(default_factory=lambda: int(time.time()))
    """Unix seconds, for answers that carry no time of their own."""
    max_frame: int = 16 * 1024 * 1024
    """Bytes of the largest single event of the provider's stream that is accepted."""

    batch_prefix: str = ""
    """Where batches at a provider that keeps no files read input and leave results (gs://bucket/prefix/)."""
    answer_headers: Headers = field(default_factory=dict)
    """The provider's answer's headers, set before an adapter reads the answer: some (Bedrock's embeddings)
    have their token counts there."""

    betas: list[str] = field(default_factory=list)
    """Anthropic's beta features that a translated request needs at its host."""

    secrets: list[str] = field(default_factory=list)
    """Credentials that this attempt's request carries and no configuration holds (access tokens, an assumed
    role's): should the provider repeat one, it is taken out."""

    plain: tuple[list[Any], list[str | None], list[Any]] | None = None
    """While the request is translated: its messages, what `formats.pivot.plain_texts` found in them, and
    those that are more."""

    # Found out on the way; read by accounting.
    dropped: list[str] = field(default_factory=list)
    """Request fields this provider cannot take, as dotted paths."""
    _noted: set[str] = field(default_factory=set)
    usage: Usage = field(default_factory=Usage)
    response_model: str | None = None
    response_id: str | None = None
    finish_reasons: list[str] = field(default_factory=list)
    prompt_bytes: int | None = None
    """Bytes of text in the prompt, counted when the request's body is let go; None: still there."""
    output_bytes: int = 0
    """Bytes of text, reasoning and tool arguments answered so far; what an estimate is made from."""

    def __post_init__(self) -> None:
        self.provider = self.target.model.provider

    def drop(self, path: str) -> None:
        """Note a request field that could not be carried over. Never silently lost, but for what comes after
        the first thousand: a body may hold any number of fields that nobody knows."""
        if path not in self._noted and len(self.dropped) < _DROPPED_MAX:
            self._noted.add(path)
            if path not in self.dropped:
                self.dropped.append(path)

    def new_id(self, prefix: str = "chatcmpl-") -> str:
        """An id for answers that carry none."""
        return f"{prefix}{uuid.uuid4().hex}"
