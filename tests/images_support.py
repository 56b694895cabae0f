"""Image requests without exchange or network: what a test asks, what the provider answers, what comes out."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

from exchange_support import proxy

from kong_ai_proxy.config.models import Options
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.rest import RestApi, RestCall
from kong_ai_proxy.formats.steps import Asked, FilePart, Reply, Step, Whole
from kong_ai_proxy.providers import provider

FORM = "multipart/form-data; boundary=B"
PICTURE = FilePart("image", b"\xff\xd8\xff picture", "cat.jpg", "application/octet-stream")
PICTURE_BASE64 = "/9j/IHBpY3R1cmU="
ROUTES = {False: "image/v1/images/generations", True: "image/v1/images/edits"}


def a_call(name: str, model: str, *, edit: bool = False, form: bool = False, **options: Any) -> Call:
    target = proxy(name, model, route_type=ROUTES[edit], options=options).targets[0]
    headers = {"content-type": FORM if form else "application/json"}
    request = ClientRequest("POST", "/", "", headers)
    operation = "image.edits" if edit else "image.generations"
    rest = RestCall(operation, RestApi("either", metered=True))
    return Call(target, target.model.options or Options(), model, operation, request, rest=rest)


def asks(name: str, model: str, body: Any, *files: FilePart, **options: Any) -> Asked:
    """A generation; with files, or images in the body, an edit."""
    edit = bool(files) or "image" in body or "images" in body
    call = a_call(name, model, edit=edit, form=bool(files), **options)
    assert call.rest is not None
    return Asked(call, call.rest, "POST", dict(body), list(files))


def replies(*bodies: Any, status: int = 200) -> list[Reply]:
    return [
        Reply(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode()) for body in bodies
    ]


def drive(asked: Asked, answers: list[Reply]) -> tuple[list[Step], dict[str, Any]]:
    """The steps that were taken, and the client's answer. Raises what the translation does; IndexError where
    it asks more than there are answers."""
    translation = provider(asked.call.provider).steps(asked.call)
    assert translation is not None
    steps = translation(asked)
    taken = [next(steps)]
    left = list(answers)
    while True:
        try:
            taken.append(steps.send(left.pop(0)))
        except StopIteration as end:
            assert not left, "answers that nobody asked for"
            assert isinstance(end.value, Whole) and isinstance(end.value.body, dict)
            return taken, end.value.body


def first_step(asked: Asked) -> Step:
    translation = provider(asked.call.provider).steps(asked.call)
    assert translation is not None
    return next(translation(asked))


def sent_to(asked: Asked) -> Any:
    """The body of the first step."""
    return first_step(asked).body


def png_of(
    rows: list[bytes], colour: int, *, palette_alpha: bytes = b"", depth: int = 8, lace: int = 0
) -> bytes:
    """A PNG of rows that each begin with their filter's number."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    width = (len(rows[0]) - 1) // samples

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, lace))
        + (chunk(b"tRNS", palette_alpha) if palette_alpha else b"")
        + chunk(b"IDAT", zlib.compress(b"".join(rows)))
        + chunk(b"IEND", b"")
    )


def greys_of(png: bytes) -> list[list[int]]:
    """The grey of each pixel of an unfiltered RGB PNG."""
    width, height = struct.unpack(">II", png[16:24])
    assert png[24:29] == bytes((8, 2, 0, 0, 0))
    (length,) = struct.unpack(">I", png[33:37])
    data = zlib.decompress(png[41 : 41 + length])
    stride = 3 * width + 1
    found = []
    for y in range(height):
        line = data[y * stride : (y + 1) * stride]
        assert line[0] == 0 and line[1::3] == line[2::3] == line[3::3]
        found.append(list(line[1::3]))
    return found
