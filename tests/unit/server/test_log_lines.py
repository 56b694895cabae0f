"""The log: JSON lines, and no credential in any of them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy import log
from kong_ai_proxy.log import Secrets, configured_secrets, names_secret


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    out = io.StringIO()
    log.configure("info", out)
    yield out
    log.configure("info", None)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line(stream):
    log.get_logger("relay").info("listening", port=8125, nested={"a": [1, None, True]}, raw=b"\xff")
    [line] = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "component": "relay",
        "event": "listening",
        "port": 8125,
        "nested": {"a": [1, None, True]},
        "raw": "\\xff",
    }


def test_levels(stream):
    logger = log.get_logger("x")
    logger.debug("no")
    logger.warning("yes")
    assert not logger.enabled("debug")
    log.configure("error", stream)
    logger.warning("no")
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logger.exception("failed")
    assert [line["event"] for line in lines(stream)] == ["yes", "failed"]
    assert "boom" in lines(stream)[-1]["traceback"]


def test_a_closed_log_stops_nothing(stream):
    stream.close()
    log.get_logger("x").info("lost")
    log.configure("info", None)


def test_odd_values_make_a_line_still(stream):
    loop: list[Any] = []
    loop.append(loop)

    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no")

    log.get_logger("x").info(
        "a\nb", odd=object(), lone="\udce9", nan=float("nan"), set_={1}, error=ValueError("x")
    )
    log.get_logger("x").info("mute", odd=Mute())
    log.get_logger("x").info("endless", odd=loop)
    assert [line["event"] for line in lines(stream)] == ["a\nb", "mute", "endless"]
    assert lines(stream)[1]["unloggable"] == "RuntimeError"
    assert lines(stream)[0]["nan"] == "nan", "NaN is no JSON"


@pytest.mark.parametrize(
    "key",
    ["authorization", "Proxy-Authorization", "cookie", "set-cookie", "x-api-key", "api_key", "apikey",
     "aws_secret_access_key", "azure_client_secret", "password", "header_value",
     "param_value", "access_token",
     "x-amz-security-token", "gcp_service_account_json", "private_key", "token", "x-goog-api-key",
     "ocp-apim-subscription-key"],
)  # fmt: skip
def test_values_of_credential_fields_are_masked(stream, key):
    log.get_logger("x").info("e", headers={key: "value-of-it"}, **{key: "value-of-it"})
    assert "value-of-it" not in stream.getvalue()
    assert lines(stream)[0][key] == "***"


@pytest.mark.parametrize(
    "key", ["prompt_tokens", "total_tokens", "max_tokens", "header_name", "param_name", "model", "keys",
            "path",
            "time_to_first_token_ms", "tokens"]
)  # fmt: skip
def test_other_fields_are_not(key):
    assert not names_secret(key)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdefgh12345678",
        "basic dXNlcjpwYXNzd29yZA==",
        "https://x.test/v1?key=abcdefgh12345678&alt=sse",
        "https://x.test/v1?alt=sse&api-key=abcdefgh12345678",
        "https://user:abcdefgh12345678@x.test/",
        "sk-abcdefgh12345678abcdefgh",
        "AKIAABCDEFGH12345678",
        "AIzaabcdefgh12345678abcdefgh12345678abc",
        "-----BEGIN PRIVATE KEY-----\nabcdefgh12345678\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nabcdefgh12345678 (cut off)",
        "X-Amz-Signature: https://s3.test/?X-Amz-Signature=abcdefgh12345678",
    ],
)
def test_what_looks_like_a_credential_is_masked(stream, text):
    log.get_logger("x").info("e", message=f"failed: {text}", items=[text], nested={"a": {"b": text}})
    assert "12345678" not in stream.getvalue()


def test_configured_credentials_are_masked_wherever_they_appear(stream):
    config = {
        "auth": {
            "header_name": "X-Key",
            "header_value": "Bearer hunter2-plain",
            "param_value": 'quo"ted\\value',
        },
        "targets": [{"auth": {"aws_secret_access_key": "aws+secret/x"}}],
        "vectordb": {"redis": {"password": "redispw"}},
        "gcp_service_account_json": json.dumps({"private_key": "line1\nline2", "client_email": "a@b"}),
        "model": {"name": "gpt-4o"},
        "$refs": {"auth.header_value": "{vault://env/key}"},
    }
    found = configured_secrets(config)
    assert {"Bearer hunter2-plain", "hunter2-plain", 'quo"ted\\value', "aws+secret/x", "redispw"} <= found
    assert "line1\nline2" in found
    assert not {"X-Key", "gpt-4o", "{vault://env/key}"} & found
    log.secrets.add(found)
    try:
        for secret in found:
            log.get_logger("x").info(
                f"e {secret}", text=f"a{secret}b", url=f"https://h/{secret}", error=KeyError(secret)
            )
        text = stream.getvalue()
        for secret in ("hunter2", "quo", "aws+secret", "redispw", "line1"):
            assert secret not in text, secret
    finally:
        log.secrets.remove(found)
    log.get_logger("x").info("after", text="redispw")
    assert "redispw" in stream.getvalue(), "a closed instance's credentials are forgotten"


def test_credentials_of_two_instances_stay_until_both_are_gone():
    known = Secrets()
    known.add({"hunter22"})
    known.add({"hunter22"})
    known.remove({"hunter22"})
    assert known.redact("x hunter22 x") == "x *** x"
    known.remove({"hunter22"})
    assert known.redact("x hunter22 x") == "x hunter22 x"


def test_a_credential_that_is_part_of_another():
    known = Secrets()
    known.add({"abcd", "abcdefgh", "", "ab"})
    assert known.redact("abcdefgh abcd ab") == "*** *** ab"


def test_libraries_report_here_too(stream):
    logging.getLogger("some.library").warning("careful: %s", "Bearer abcdefgh12345678")
    [line] = lines(stream)
    assert line["component"] == "some.library"
    assert line["message"] == "careful: Bearer ***"


def test_failed_greenlets_report_here_too(stream):
    import gevent

    hub = gevent.get_hub()
    try:
        log.take_over_gevent()
        gevent.spawn(lambda: {}["Bearer abcdefgh12345678"])
        gevent.sleep(0.01)
    finally:
        del hub.print_exception
    # Greenlets of other tests may end here too.
    [line] = [line for line in lines(stream) if "KeyError" in line.get("traceback", "")]
    assert line["event"] == "greenlet_failed"
    assert "KeyError: 'Bearer ***'" in line["traceback"]


@given(st.text(min_size=4, max_size=40), st.text(max_size=30), st.text(max_size=30))
def test_no_known_secret_survives(secret, before, after):
    known = Secrets()
    known.add({secret})
    if secret not in "***":
        shown = known.redact(before + secret + after)
        assert secret not in shown or secret in (before + "***" + after)
