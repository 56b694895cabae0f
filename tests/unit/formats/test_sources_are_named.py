"""What a module says of a provider has a source: a page, a recording, or Kong's own behaviour."""

from __future__ import annotations

import re
from pathlib import Path

import kong_ai_proxy

ROOT = Path(kong_ai_proxy.__file__).parent
SOURCE = re.compile(r"https?://|[Rr]ecord(ed|ing)|shared/kong|Kong's? (changelog|documentation|schema)")
ABOUT_NO_PROVIDER = {
    # What formats have in common, and where they are put together.
    "formats/base.py",
    "formats/native.py",
    "formats/passing.py",
    "formats/said.py",
    "formats/steps.py",
    "formats/streams.py",
    "formats/realtime/session.py",
    "providers/base.py",
    "providers/compatible.py",
    # Nothing but the parts of a format put together, each with its source.
    "formats/anthropic/adapter.py",
    "formats/bedrock/adapter.py",
    "formats/gemini/chat.py",
    "formats/images/bedrock.py",
    "formats/openai/adapter.py",
    "formats/responses/client.py",
    # By data whose sources stand in `openai/dialect.py` and `providers/`.
    "formats/openai/messages.py",
    "formats/openai/request.py",
    # The project's own ways: the pivot's form, and things made up here.
    "formats/json_mode.py",
    "formats/openai/client.py",
    "formats/responses/carried.py",
    "formats/batches/flow.py",
    "formats/batches/ids.py",
    "formats/videos/ids.py",
}


def without_source() -> set[str]:
    files = [*(ROOT / "formats").rglob("*.py"), *(ROOT / "providers").rglob("*.py")]
    return {
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.name != "__init__.py" and not SOURCE.search(path.read_text())
    }


def test_every_module_about_a_provider_names_one() -> None:
    assert without_source() - ABOUT_NO_PROVIDER == set()
