"""Files and batches by translation: whatever a provider's results hold and whatever a client names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from batches_support import FILES, Asked, instance, request, upload
from fuzz_support import examples
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.batches import anthropic, bedrock, gemini, vertex
from kong_ai_proxy.formats.batches.ids import batch_name, file_id, file_name
from kong_ai_proxy.formats.batches.lines import ResultLines
from kong_ai_proxy.providers import provider

FORMS: dict[str, Any] = {"anthropic": anthropic, "gemini": gemini, "bedrock": bedrock}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
WORDS = (
    "custom_id result type succeeded errored message error content key response candidates parts recordId"
    " modelOutput output stopReason usage status request labels kong_custom_id_0 code"
)
NAMES = st.sampled_from(WORDS.split())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)


@pytest.mark.parametrize("form", [*FORMS, "vertex"])
@examples(25)
@given(lines=st.lists(VALUES, max_size=4), cut=st.integers(1, 50), failed=st.booleans())
def test_results_of_any_kind(form: str, lines: list[Any], cut: int, failed: bool) -> None:
    name = "gemini" if form == "vertex" else form
    id = file_id("anthropic", "in", "msgbatch_1")
    call = Asked(instance("anthropic", FILES), request("GET", f"/files/{id}")).attempt.call
    module = vertex if form == "vertex" else FORMS[form]
    through = ResultLines(call, provider(name).adapter(call), module.read_result, failed)
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    out = b"".join(through.feed(data[at : at + cut]) for at in range(0, len(data), cut)) + through.finish()
    for line in out.splitlines():
        told = json.loads(line)
        ok = told["response"] is not None and told["response"]["status_code"] == 200
        assert told["custom_id"] and ok is not failed


@examples(25)
@given(name=st.text(max_size=40), prefix=st.sampled_from(["file-", "batch_", ""]))
def test_ids_of_any_kind(name: str, prefix: str) -> None:
    for kind in FORMS.values():
        form = next(each for each in vars(kind).values() if getattr(each, "form", None) in FORMS)
        with pytest.raises(ApiError):
            file_name(prefix + name, form.form, form.file_pattern, form.batch_pattern)
        with pytest.raises(ApiError):
            batch_name(prefix + name, form.form, form.batch_pattern)


@examples(25)
@given(lines=st.lists(VALUES | st.fixed_dictionaries({"custom_id": st.text(), "body": VALUES}), max_size=3))
def test_lines_of_any_kind(lines: list[Any]) -> None:
    try:
        asked = Asked(instance("anthropic", FILES), upload(*lines))
    except ApiError as error:
        assert error.status == 400
    else:
        assert len(asked.body["requests"]) == len(lines)
