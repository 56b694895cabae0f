"""The errors Kong makes itself, in the form the client accepts. After `kong/error_handlers.lua`."""

from __future__ import annotations

_BODIES = {
    400: "Bad request", 404: "Not found", 405: "Method not allowed", 408: "Request timeout",
    411: "Length required", 412: "Precondition failed", 413: "Payload too large", 414: "URI too long",
    417: "Expectation failed", 500: "An unexpected error occurred",
    502: "An invalid response was received from the upstream server",
    503: "The upstream server is currently unavailable", 504: "The upstream server is timing out",
}  # fmt: skip

_JSON = '{\n  "message":"%s",\n  "request_id":"%s"\n}'
_PLAIN = "%s\nrequest_id: %s\n"
_HTML = (
    "<!doctype html>\n<html>\n  <head>\n    <title>Error</title>\n  </head>\n  <body>\n"
    "    <h1>Error</h1>\n    <p>%s.</p>\n    <p>request_id: %s</p>\n  </body>\n</html>\n"
)


def error_body(
    status: int, accept: str | None, request_id: str, message: str | None = None
) -> tuple[str, str]:
    """Content type and body of an error."""
    text = message or _BODIES.get(status) or f"The upstream server responded with {status}"
    wanted = (accept or "").split(",")[0].split(";")[0].strip().lower()
    if wanted == "text/html":
        return "text/html; charset=utf-8", _HTML % (text, request_id)
    if wanted == "text/plain":
        return "text/plain; charset=utf-8", _PLAIN % (text, request_id)
    return "application/json; charset=utf-8", _JSON % (text, request_id)
