"""What a request to a provider's native API asks for, as its path says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ModelPlace = Literal["path", "body", "none"]


@dataclass(frozen=True, slots=True)
class NativeApi:
    """One API of a native format."""

    name: str
    """The provider's own name for it: "generateContent", "converse", "rerank", …"""
    operation: str
    """What it does, by the names of `core.operations` where there is one; else a name of its own."""
    model: ModelPlace = "path"
    """Where its requests name the model."""
    member: tuple[str, ...] = ("model",)
    """Where in the body, for `model="body"`."""
    members: tuple[tuple[str, ...], ...] = ()
    """Other places, of requests of another kind."""
    stream: bool = False
    """Its answer is a stream: the path says so, not the body."""
    translated: bool = False
    """Other providers can serve it: there is a translation to and from OpenAI's form."""
    metered: bool = True
    """A model reads or writes tokens for it."""
    host: str = ""
    """Which of the provider's hosts serves it, where there are several."""
    methods: frozenset[str] = frozenset({"POST"})


@dataclass(frozen=True, slots=True)
class NativeCall:
    """One request to a native API."""

    api: NativeApi
    model: str = ""
    """The model that the path names, decoded; "" where it names none."""
    rest: str = ""
    """What follows the API's own path (ids, actions): percent-encoded, begins with "/", leads nowhere
    else."""
    version: str = ""
    """The API's version in the path ("v1beta"); "" where there is none."""
    kind: str = ""
    """Of what kind the named model is, where there are several ("tunedModels")."""
    json_array: bool = False
    """The stream was asked for as one JSON array instead of server-sent events."""

    @property
    def stream(self) -> bool:
        return self.api.stream
