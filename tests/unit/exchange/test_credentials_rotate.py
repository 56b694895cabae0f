"""Secrets that are rotated in the vault while an instance runs."""

from __future__ import annotations

from typing import Any

import pytest
from exchange_support import Clock, advanced, first_attempt, proxy, target_config

from kong_ai_proxy.exchange.rotation import Rotation

REFERENCE = "{vault://aws/provider-key}"
OTHER = "{vault://aws/other-key}"


def from_vault(reference: str = REFERENCE, value: str = "Bearer old-key") -> dict[str, Any]:
    return {
        "header_name": "Authorization",
        "header_value": value,
        "$refs": {"header_value": reference},
    }


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_is_asked_for_once(status: int) -> None:
    instance = proxy(auth=from_vault())
    _, attempt = first_attempt(instance)
    assert instance.rotation.due() == []
    attempt.rejected(status, {})
    assert instance.rotation.due() == [REFERENCE]
    attempt.rejected(status, {})
    assert instance.rotation.due() == [], "not for every request with a wrong key"


def test_again_after_a_while() -> None:
    clock = Clock()
    instance = proxy(auth=from_vault())
    rotation = Rotation(instance.targets, clock)
    rotation.doubt(instance.targets[0])
    assert rotation.due() == [REFERENCE]
    clock.now += 60
    assert rotation.due() == [], "only where it is doubted"
    rotation.doubt(instance.targets[0])
    assert rotation.due() == [REFERENCE]


@pytest.mark.parametrize("status", [200, 400, 404, 429, 500])
def test_other_answers_say_nothing_about_credentials(status: int) -> None:
    instance = proxy(auth=from_vault())
    _, attempt = first_attempt(instance)
    attempt.rejected(status, {})
    assert instance.rotation.due() == []


def test_a_credential_that_comes_from_no_vault_is_never_asked_for() -> None:
    instance = proxy()
    _, attempt = first_attempt(instance)
    attempt.rejected(401, {})
    assert instance.rotation.due() == []


def test_the_new_value_is_used_wherever_the_reference_stands() -> None:
    instance = advanced(
        target_config(auth=from_vault()),
        target_config(auth=from_vault(OTHER)),
        target_config(auth=from_vault()),
    )
    assert instance.rotation.renew(REFERENCE, "Bearer new-key")
    assert [target.auth.header_value for target in instance.targets] == [
        "Bearer new-key",
        "Bearer old-key",
        "Bearer new-key",
    ]
    assert not instance.rotation.renew(REFERENCE, "Bearer new-key")
    assert not instance.rotation.renew("{vault://aws/unknown}", "x")
