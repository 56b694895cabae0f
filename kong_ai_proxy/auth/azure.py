"""Azure's tokens: managed identity (virtual machines, App Service, AKS workload identity) and client
credentials.

Sources:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token,
https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference,
https://learn.microsoft.com/azure/aks/workload-identity-overview,
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow. The environment's
variables are those of Azure's own SDKs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from ..config.models import Auth
from ..core.call import Call
from ..core.http import UpstreamRequest
from .fetch import fetch_token
from .tokens import Token, TokenCache, Unavailable, refused

RESOURCE: Final = "https://cognitiveservices.azure.com"
"""What Azure OpenAI's and Azure AI's tokens are for."""
_METADATA: Final = "http://169.254.169.254"
_AUTHORITY: Final = "https://login.microsoftonline.com"
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

tokens = TokenCache()


def add_azure_token(request: UpstreamRequest, call: Call) -> None:
    """Raises ApiError (500)."""
    auth = call.target.auth
    key = (auth.azure_tenant_id, auth.azure_client_id, auth.azure_client_secret)
    try:
        token = tokens.get(key, lambda: fetch_for(auth, RESOURCE))
    except Unavailable as error:
        raise refused("Azure token", error) from None
    request.headers["authorization"] = f"Bearer {token}"


def fetch_for(auth: Auth, resource: str) -> Token:
    """A token for this resource, which nobody keeps. Raises Unavailable."""
    environ = os.environ
    if auth.azure_client_secret is not None and auth.azure_tenant_id and auth.azure_client_id:
        if not auth.azure_client_secret:
            raise Unavailable("auth.azure_client_secret has no value")
        return _from_authority(
            auth.azure_tenant_id, auth.azure_client_id, {"client_secret": auth.azure_client_secret}, resource
        )
    client = auth.azure_client_id
    if "IDENTITY_ENDPOINT" in environ and "IDENTITY_HEADER" in environ:
        return _from_identity(
            environ["IDENTITY_ENDPOINT"],
            "2019-08-01",
            {"x-identity-header": environ["IDENTITY_HEADER"]},
            client,
            resource,
        )
    if file := environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        tenant = auth.azure_tenant_id or environ.get("AZURE_TENANT_ID", "")
        client = client or environ.get("AZURE_CLIENT_ID", "")
        try:
            assertion = Path(file).read_text().strip()
        except OSError as error:
            raise Unavailable(f"AZURE_FEDERATED_TOKEN_FILE: {type(error).__name__}") from None
        return _from_authority(
            tenant, client, {"client_assertion_type": _ASSERTION, "client_assertion": assertion}, resource
        )
    host = environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", _METADATA).rstrip("/")
    return _from_identity(
        f"{host}/metadata/identity/oauth2/token", "2018-02-01", {"metadata": "true"}, client, resource
    )


def _from_identity(
    endpoint: str, version: str, headers: dict[str, str], client_id: str | None, resource: str
) -> Token:
    query = {"api-version": version, "resource": resource}
    if client_id:
        query["client_id"] = client_id
    return fetch_token("GET", f"{endpoint}?{urlencode(query)}", headers)


def _from_authority(tenant: str, client_id: str, proof: dict[str, str], resource: str) -> Token:
    if not tenant or not client_id:
        raise Unavailable("neither the configuration nor the environment names Azure's tenant and client")
    authority = os.environ.get("AZURE_AUTHORITY_HOST", _AUTHORITY).rstrip("/")
    if "://" not in authority:
        authority = f"https://{authority}"
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "scope": f"{resource}/.default",
        **proof,
    }
    return fetch_token("POST", f"{authority}/{quote(tenant, safe='')}/oauth2/v2.0/token", {}, form)
