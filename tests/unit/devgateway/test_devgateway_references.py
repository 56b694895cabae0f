"""What `dev` says of credentials that the environment does not hold."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_proxy.devgateway.cli import unresolved


def test_references_without_a_value_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVEN_KEY", "k")
    monkeypatch.setenv("EMPTY_KEY", "")
    monkeypatch.delenv("MISSING_KEY", raising=False)
    document: Any = {
        "plugins": [
            {"config": {"auth": {"header_value": "{vault://env/given-key}"}}},
            {"config": {"auth": {"header_value": "{vault://env/missing-key}"}, "limit": 3}},
            {"config": {"targets": [{"auth": {"a": "{vault://env/missing-key}", "b": "{vault://env/empty-key}"}}]}},
        ],
        "note": "of {vault://env/other-key}, which is no reference",
    }
    assert unresolved(document) == ["{vault://env/missing-key}", "{vault://env/empty-key}"]


@pytest.mark.parametrize("document", [None, 1, [], {}, "text"])
def test_nothing_to_tell(document: object) -> None:
    assert unresolved(document) == []
