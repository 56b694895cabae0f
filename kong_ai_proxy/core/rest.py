"""What a request to one of OpenAI's REST APIs asks for, as its method and path say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BodyKind = Literal["none", "json", "form", "either", "any"]
"""What a request carries: nothing, JSON, a multipart form, one of these two, or whatever it likes."""
ModelRule = Literal["required", "optional", "none"]
"""Whether its body names a model: always, where the client wishes, or never."""


@dataclass(frozen=True, slots=True)
class RestApi:
    """One method of one resource."""

    body: BodyKind = "none"
    model: ModelRule = "none"
    metered: bool = False
    """A model works for it: what the answer says of usage was used by this very request."""
    stream: bool = False
    """Its body may ask for a stream."""
    text: bool = False
    """Prompt and answer are text: usage can be estimated where none is reported."""
    batch_output: bool = False
    """Its answer may be a batch's results, which report what the batch used."""


@dataclass(frozen=True, slots=True)
class RestCall:
    """One request to such an API."""

    operation: str
    """By the names of `core.operations`."""
    api: RestApi
    resource: str = ""
    """The collection's last path segment at the provider, where it is not the operation's own ("threads")."""
    rest: str = ""
    """What follows the collection (ids, actions): percent-encoded, begins with "/", leads nowhere else."""
