"""Which credential a request gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Final, Literal

from ..config.models import Target
from ..core.call import Call
from ..core.http import UpstreamRequest
from .static import add_configured, add_own, has_configured, overridden

Kind = Literal["configured", "google", "azure", "aws", "own"]

_LIBRARIES = {
    "aws": ("botocore.auth", "botocore.awsrequest", "botocore.credentials"),
    "google": ("google.oauth2.credentials", "google.oauth2.service_account"),
}
"""What is imported only where it is needed, and takes a tenth of a second."""
_FETCHED: Final = frozenset({"aws", "azure", "google"})
"""Kinds whose credentials are not in the configuration, or not those alone."""
_SIGNED_BY: Final = re.compile(r"\bCredential=([^/,\s]+)/")
_SESSION_TOKEN: Final = "x-amz-security-token"


def authenticate(request: UpstreamRequest, call: Call) -> None:
    """Add the credentials of `call.target.auth`, in place.

    Raises ApiError (500), without a secret in its text, when a credential cannot be had. May wait for a token
    endpoint, never longer than its own time limit.
    """
    target = call.target
    if request.service == "s3":
        # S3 knows nothing of Bedrock's API keys, configured or the client's.
        _method("aws")(request, call)
        call.secrets = _secrets_of(request)
        return
    if target.auth.allow_override and overridden(request, call):
        return
    kind = kind_of(target)
    _method(kind)(request, call)
    if kind in _FETCHED:
        call.secrets = _secrets_of(request)


def _secrets_of(request: UpstreamRequest) -> list[str]:
    """What was fetched for it: a bearer token; AWS's access key and session token, which some of its services
    quote where a signature does not match."""
    given = request.headers.get("authorization", "")
    signed = _SIGNED_BY.search(given)
    found = [signed[1] if signed else given.rpartition(" ")[2], request.headers.get(_SESSION_TOKEN, "")]
    return [secret for secret in found if secret]


def kind_of(target: Target) -> Kind:
    """What a target's credentials are."""
    auth = target.auth
    if has_configured(auth):
        return "configured"
    if auth.gcp_use_service_account:
        return "google"
    if auth.azure_use_managed_identity or (auth.azure_client_secret is not None and auth.azure_tenant_id):
        return "azure"
    return "aws" if target.model.provider == "bedrock" else "own"


def prepare(targets: Iterable[Target]) -> None:
    """Load what these targets' credentials need, so that no request has to wait for it."""
    for kind in {kind_of(target) for target in targets}:
        _method(kind)
        for name in _LIBRARIES.get(kind, ()):
            import_module(name)


def _method(kind: Kind) -> Callable[[UpstreamRequest, Call], None]:
    if kind == "configured":
        return add_configured
    if kind == "google":
        from .google import add_google_token

        return add_google_token
    if kind == "azure":
        from .azure import add_azure_token

        return add_azure_token
    if kind == "aws":
        from .aws import sign

        return sign
    return add_own
