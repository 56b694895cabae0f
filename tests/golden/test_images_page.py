"""The tables of docs/images.md: what becomes of every field of an images request at every provider, found out
by asking. `GOLDEN=update pytest tests/golden` writes them anew.

A field that changes nothing and is not reported as dropped is lost, and fails the test.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
from golden_support import HERE, UPDATE
from images_support import PICTURE, asks, png_of, replies

from kong_ai_proxy.core.errors import BadRequest
from kong_ai_proxy.core.json import dumps
from kong_ai_proxy.formats.steps import FilePart, Reply
from kong_ai_proxy.providers import provider

PAGE = HERE.parent.parent / "docs" / "images.md"
PIXEL = base64.b64encode(png_of([b"\x00\x00\x00\x00"], 2)).decode()
PLACE = "https://results.aliyuncs.com/1.png"
VERTEX = {"gemini": {"api_endpoint": "h.test", "project_id": "p", "location_id": "l"}}
IMAGES = {"images": [PIXEL]}
CHOICES = {"output": {"choices": [{"message": {"content": [{"image": PLACE}]}}]}}
CONTENTS = {
    "candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}]}}]
}
PREDICTIONS = {"predictions": [{"bytesBase64Encoded": PIXEL}]}
TASK = {"output": {"task_status": "SUCCEEDED", "results": [{"url": PLACE}]}}
URLS = {"data": [{"b64_json": PIXEL}]}
Target = tuple[str, str, dict[str, Any], Any]
GENERATIONS: dict[str, Target] = {
    "Gemini 2.5": ("gemini", "gemini-2.5-flash-image", {}, CONTENTS),
    "Gemini 3, Vertex": ("gemini", "gemini-3-pro-image-preview", VERTEX, CONTENTS),
    "Imagen": ("gemini", "imagen-4.0-generate-001", {}, PREDICTIONS),
    "Imagen, Vertex": ("gemini", "imagen-4.0-generate-001", VERTEX, PREDICTIONS),
    "Nova Canvas, Titan": ("bedrock", "amazon.nova-canvas-v1:0", {}, IMAGES),
    "Stability": ("bedrock", "stability.stable-image-ultra-v1:1", {}, IMAGES),
    "Qwen-Image": ("dashscope", "qwen-image-plus", {}, CHOICES),
    "Wan": ("dashscope", "wan2.2-t2i-flash", {}, TASK),
}
EDITS: dict[str, Target] = {
    "Gemini": ("gemini", "gemini-2.5-flash-image", {}, CONTENTS),
    "Imagen, Vertex": ("gemini", "imagen-3.0-capability-001", VERTEX, PREDICTIONS),
    "Nova Canvas, Titan": ("bedrock", "amazon.nova-canvas-v1:0", {}, IMAGES),
    "Stability SD3": ("bedrock", "stability.sd3-5-large-v1:0", {}, IMAGES),
    "Stability inpaint": ("bedrock", "us.stability.stable-image-inpaint-v1:0", {}, IMAGES),
    "Qwen-Image-Edit": ("dashscope", "qwen-image-edit-plus", {}, CHOICES),
    "Wan 2.5": ("dashscope", "wan2.5-i2i-preview", {}, TASK),
    "Wan 2.1": ("dashscope", "wanx2.1-imageedit", {}, TASK),
    "xAI": ("xai", "grok-imagine-image", {}, URLS),
}
FIELDS: dict[str, dict[str, Any]] = {
    "`n`": {"n": 2},
    "`size` 1024x1024": {"size": "1024x1024"},
    "`size` 1792x1024": {"size": "1792x1024"},
    "`size` 1000x300": {"size": "1000x300"},
    "`quality`": {"quality": "high"},
    "`background` transparent": {"background": "transparent"},
    "`output_format` jpeg": {"output_format": "jpeg"},
    "`output_format` webp": {"output_format": "webp"},
    "`output_compression`": {"output_format": "jpeg", "output_compression": 80},
    "`response_format` url": {"response_format": "url"},
    "`response_format` b64_json": {"response_format": "b64_json"},
    "`moderation` low": {"moderation": "low"},
    "`style`": {"style": "vivid"},
    "`user`": {"user": "me"},
    "`seed`": {"seed": 7},
    "`negative_prompt`": {"negative_prompt": "dogs"},
    "`aspect_ratio`": {"aspect_ratio": "16:9"},
}
MASK = FilePart("mask", png_of([b"\x00" + bytes((1, 2, 3, 0))], 6))


def tried(target: Target, more: dict[str, Any], *files: FilePart) -> tuple[str, set[str], bytes, bytes]:
    """("400" or "", what was dropped, all that was asked, what was answered)."""
    name, model, options, answer = target
    # In a form, all values are text.
    fields = {field: str(value) if files else value for field, value in more.items()}
    asked = asks(name, model, {"prompt": "a cat", **fields}, *files, **options)
    translation = provider(name).steps(asked.call)
    assert translation is not None
    steps = translation(asked)
    seen = []
    reply: Any = None
    while True:
        try:
            step = steps.send(reply)
        except BadRequest:
            return "400", set(), b"", b""
        except StopIteration as end:
            made = {field: value for field, value in end.value.body.items() if field != "created"}
            return "", set(asked.call.dropped), dumps(seen), dumps(made)
        seen.append([step.path, step.body])
        image = Reply(200, {}, base64.b64decode(PIXEL))
        (reply,) = [image] if step.method == "GET" else replies(answer)


def cell(target: Target, more: dict[str, Any], *files: FilePart) -> str:
    refused, dropped, sent, made = tried(target, more, *files)
    if refused:
        return "400"
    name = list(more)[-1]
    others = {key: value for key, value in more.items() if key != name}
    _, _, plain_sent, plain_made = tried(target, others, *files)
    if name not in dropped:
        # Nothing is done for what comes anyway: "url" or "b64_json".
        assert (sent, made) != (plain_sent, plain_made) or name == "response_format", f"{name} is lost"
        return "yes"
    if sent == plain_sent:
        return "dropped"
    return "nearest" if name in ("size", "aspect_ratio") else "yes"


def table(targets: dict[str, Target], *files: FilePart) -> str:
    lines = [f"| | {' | '.join(targets)} |", f"|---|{'---|' * len(targets)}"]
    rows = {
        field: [cell(target, more, *files) for target in targets.values()] for field, more in FIELDS.items()
    }
    if files:
        rows["`mask`"] = [
            "400" if tried(target, {}, *files, MASK)[0] else "yes" for target in targets.values()
        ]
        rows["several images"] = [
            "400" if tried(target, {}, *files, *files)[0] else "yes" for target in targets.values()
        ]
    lines += [f"| {field} | {' | '.join(cells)} |" for field, cells in rows.items()]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("heading", "targets", "files"), [("Generations", GENERATIONS, []), ("Edits", EDITS, [PICTURE])]
)
def test_the_tables_are_current(heading: str, targets: dict[str, Target], files: list[FilePart]) -> None:
    before, begin, rest = PAGE.read_text().partition(f"### {heading}\n\n")
    assert begin
    old, end, after = rest.partition("\n\n")
    made = table(targets, *files)
    if UPDATE:
        PAGE.write_text(before + begin + made + end + after)
        old = made
    assert old == made, "run GOLDEN=update pytest tests/golden and read the diff"
