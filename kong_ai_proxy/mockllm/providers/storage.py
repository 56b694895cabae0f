"""What batches keep their files in: as much of S3 and of Cloud Storage as they need.

Forms: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html,
https://cloud.google.com/storage/docs/json_api/v1/objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from ...core.json import Json
from ..answers import Answer
from ..received import Received
from . import gemini

BUCKET: Final = "mock-batches"
CREATED: Final = "2025-06-01T10:00:00Z"
STORED: Final[dict[str, bytes]] = {}
"""Files by their name or key."""
_S3: Final = re.compile(rf"^/{BUCKET}/(?P<key>.*)$")
_GCS: Final = re.compile(rf"^(?P<upload>/upload)?/storage/v1/b/{BUCKET}/o(?:/(?P<name>.+))?$")


def _s3(received: Received) -> Answer:
    signed = "/us-east-1/s3/aws4_request" in received.headers.get("authorization", "")
    if not signed or "x-amz-content-sha256" not in received.headers:
        return _s3_error(403, "AccessDenied", "Access Denied")
    match = _S3.match(received.path)
    assert match is not None
    if not match["key"]:
        return _s3_list(parse_qs(received.query))
    key = f"{BUCKET}/{match['key']}"
    if received.method == "PUT":
        STORED[key] = received.body
        return Answer(200, {"etag": '"mock"'})
    if key not in STORED:
        return _s3_error(404, "NoSuchKey", "The specified key does not exist.")
    if received.method == "DELETE":
        del STORED[key]
        return Answer(204)
    headers = {"content-type": "application/jsonl", "last-modified": "Sun, 01 Jun 2025 10:00:00 GMT"}
    return Answer(200, headers, STORED[key])


def _s3_list(query: dict[str, list[str]]) -> Answer:
    prefix, after = (f"{BUCKET}/" + unquote(query.get(name, [""])[0]) for name in ("prefix", "start-after"))
    keys = sorted(key for key in STORED if key.startswith(prefix) and key > after)
    found = "".join(
        f"<Contents><Key>{escape(key.removeprefix(f'{BUCKET}/'))}</Key><LastModified>{CREATED}"
        f"</LastModified><Size>{len(STORED[key])}</Size></Contents>"
        for key in keys
        if "/" not in key.removeprefix(prefix)
    )
    body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
    return Answer(200, {"content-type": "application/xml"}, body.encode())


def _s3_error(status: int, code: str, message: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status, {"content-type": "application/xml"}, body.encode())


def _storage(received: Received) -> Answer:
    if not received.headers.get("authorization"):
        return gemini.error(401, "Anonymous caller does not have storage.objects access.")
    match = _GCS.match(received.path)
    assert match is not None
    query = parse_qs(received.query)
    if match["upload"]:
        name = query["name"][0]
        STORED[f"{BUCKET}/{name}"] = received.body
        return Answer.json(_object(name))
    if not match["name"]:
        begins = f"{BUCKET}/{query.get('prefix', [''])[0]}"
        names = [key for key in sorted(STORED) if key.startswith(begins)]
        plain = [key.removeprefix(f"{BUCKET}/") for key in names if "/" not in key.removeprefix(begins)]
        return Answer.json({"items": [_object(name) for name in plain]})
    key = f"{BUCKET}/{match['name']}"
    if key not in STORED:
        return gemini.error(404, f"No such object: {key}")
    if received.method == "DELETE":
        del STORED[key]
        return Answer(204)
    if "alt=media" in received.query:
        return Answer(200, {"content-type": "application/octet-stream"}, STORED[key])
    return Answer.json(_object(match["name"]))


def _object(name: str) -> Json:
    size = str(len(STORED[f"{BUCKET}/{name}"]))
    return {"kind": "storage#object", "name": name, "bucket": BUCKET, "size": size, "timeCreated": CREATED}


ROUTES: Final[list[tuple[re.Pattern[str], Callable[[Received], Answer]]]] = [(_S3, _s3), (_GCS, _storage)]
