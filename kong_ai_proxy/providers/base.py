"""What a provider is: where it is called, with which headers, in which wire format."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from ..config.models import Options
from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import Headers, Url
from ..formats.base import Adapter, Observer
from ..formats.steps import Step, StepsTranslation

_OWN_IDS: Final = frozenset({None})


class Provider:
    """Base of all providers. Stateless: one instance serves all requests."""

    name: ClassVar[str]
    operations: ClassVar[frozenset[str]]
    """The operations it supports, by the names of `core.operations`."""
    cloud: ClassVar[Literal["aws", "gcp", "azure"] | None] = None
    """Whose credentials it takes when no key is configured."""
    forward_headers: ClassVar[frozenset[str]] = frozenset()
    """Client headers (lower-case) that this provider is meant to see. All others stay behind."""

    def supports(self, call: Call) -> None:
        """Raises ApiError (400) where this provider lacks the operation."""
        if call.operation not in self.operations:
            raise ApiError(
                400,
                f"provider {self.name} does not support {call.target.route_type}",
                code="unsupported_route_type",
            )

    def has_responses(self, call: Call) -> bool:
        """Whether the Responses API is there for this call; else chat serves it."""
        return "responses" in self.operations

    def adapter(self, call: Call) -> Adapter:
        """The adapter for this call's operation, model family and options."""
        raise NotImplementedError

    def observer(self, call: Call) -> Observer | None:
        """For a client that speaks this provider's own format: how to read what passes through. None:
        translate."""
        return None

    def url(self, call: Call) -> Url:
        """Where to call. `options.upstream_url` and `upstream_path` win as documented. Raises ApiError
        (400/500) naming the configuration field that is missing."""
        raise NotImplementedError

    def steps(self, call: Call) -> StepsTranslation | None:
        """For one of OpenAI's REST APIs (`call.rest`) that this provider serves by an API of its own: how.
        None: the request passes through, if `operations` has it."""
        return None

    def id_forms(self, operation: str, options: Options) -> frozenset[str | None]:
        """Where a translation makes ids of its own: their forms (`form_of` in `formats.videos.ids` and
        `formats.batches.ids`), so that of several targets one is asked that an id may be from. None among
        them: the provider's own ids."""
        return _OWN_IDS

    def step_url(self, call: Call, step: Step) -> Url:
        """Where a step of such a translation leads. Raises ApiError (500) naming the configuration field that
        is missing, (502) for an absolute URL that is not the provider's own."""
        raise NotImplementedError

    def step_errors(self, call: Call) -> Adapter | None:
        """Who reads errors of steps at the service that serves models; None: `formats.steps_errors`, as for
        all other services."""
        return None

    def body_model(self, call: Call) -> str:
        """The model's name in the body of a request that passes through. "" if there is none."""
        return call.model

    def headers(self, call: Call) -> Headers:
        """Headers of the provider's own (versions, betas), besides content-type, accept and credentials."""
        return {}
