"""Which credential a request gets."""

from __future__ import annotations

from ..core.call import Call
from ..core.http import UpstreamRequest
from .static import add_configured, add_own, has_configured, overridden


def authenticate(request: UpstreamRequest, call: Call) -> None:
    """Add the credentials of `call.target.auth`, in place.

    Raises ApiError (500), without a secret in its text, when a credential cannot be had. May wait for a token
    endpoint, never longer than its own time limit.
    """
    auth = call.target.auth
    if auth.allow_override and overridden(request, call):
        return
    if has_configured(auth):
        add_configured(request, call)
    elif auth.gcp_use_service_account:
        from .google import add_google_token

        add_google_token(request, call)
    elif auth.azure_use_managed_identity or (auth.azure_client_secret and auth.azure_tenant_id):
        from .azure import add_azure_token

        add_azure_token(request, call)
    elif call.provider == "bedrock":
        from .aws import sign

        sign(request, call)
    else:
        add_own(request, call)
