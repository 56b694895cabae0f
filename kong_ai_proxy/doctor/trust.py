"""Whether providers' certificates can be trusted from here: the authorities known, and handshakes."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .findings import Finding

_SECONDS: Final = 5.0
_STORE: Final = "TLS trust"
_INSTALL: Final = "install the ca-certificates package, or set SSL_CERT_FILE where `serve` runs"


def check_store() -> Iterator[Finding]:
    """The certificate authorities that this environment gives to Python, as the relay takes them.

    It says nothing of another environment, which is why it only warns: run it where `serve` runs."""
    paths = ssl.get_default_verify_paths()
    for variable in (paths.openssl_cafile_env, paths.openssl_capath_env):
        named = os.environ.get(variable)
        if named and not Path(named).exists():
            yield Finding("warning", _STORE, f"{variable} leads to nothing", f"correct or unset {variable}")
            return
    if not _known(ssl.create_default_context(), paths.capath):
        text = "no certificate authority is known: no provider is trusted"
        yield Finding("warning", _STORE, text, _INSTALL)
    else:
        yield Finding("ok", _STORE, "certificate authorities are known here")


def check_provider(host: str, port: int, context: ssl.SSLContext | None = None) -> Finding:
    """A handshake with a provider, verified as the relay's are. Nothing is asked of it."""
    subject = f"provider {host}:{port}"
    context = context or ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, port), timeout=_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return Finding("ok", subject, "is reachable from here, and its certificate is trusted")
    except ssl.SSLCertVerificationError as error:
        return Finding(
            "problem",
            subject,
            f"its certificate is not trusted: {error.verify_message}",
            "add the authority that signed it to the file SSL_CERT_FILE names where `serve` runs, "
            "or name the host that the certificate is for",
        )
    except ssl.SSLError as error:
        return Finding(
            "problem",
            subject,
            f"TLS failed: {error.reason}",
            "see that the port speaks TLS, and of which version",
        )
    except OSError as error:
        return Finding(
            "problem",
            subject,
            f"cannot be reached from here: {error.strerror or error}",
            "see name resolution, firewalls and routes",
        )


def _known(context: ssl.SSLContext, folder: str | None) -> bool:
    if context.cert_store_stats()["x509_ca"]:
        return True
    # Certificates of a folder are read when they are needed.
    return folder is not None and any(Path(folder).glob("*.0"))
