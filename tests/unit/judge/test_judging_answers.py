"""Answers are judged after their clients have them, by a model that is asked for it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import gevent
import pytest
from exchange_support import USAGE_CHUNK, chunk, openai_answer, sse
from judge_support import JUDGE_KEY, Bench, court
from relay_support import Peer, certificate, eventually, every, provider_of

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.json import Json
from kong_ai_proxy.judge import queue

ANSWER = openai_answer("It is four.")
STREAM = sse(
    chunk({"role": "assistant", "content": "It is"}), chunk({"content": " four."}), chunk({}, "stop"),
    USAGE_CHUNK, "[DONE]",
)  # fmt: skip
ASK: Json = {"messages": [{"role": "user", "content": "What is two and two?"}]}


def streamed(peer: Peer, head: bytes, body: bytes) -> None:
    peer.stream_head()
    for start in range(0, len(STREAM), 100):
        peer.chunk(STREAM[start : start + 100])
    peer.end()


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_judged_and_the_balancer_knows(stream: bool) -> None:
    with court(streamed if stream else ANSWER, Bench("73")) as it:
        reply = it.ask({**ASK, "stream": stream})
        assert reply.status == 200 and reply.complete
        assert it.settled() == {"scored": 1}
        assert it.accuracy() == (1, 73)
        assert it.bench.material == {"request": ASK["messages"], "response": "It is four."}
        (question,) = it.bench.seen
        assert question["model"] == "the-judge" and "stream" not in question
        assert JUDGE_KEY in it.bench.heads[0]


def test_the_judges_own_numbers_are_told_and_nothing_of_what_was_judged() -> None:
    with court(ANSWER, Bench("73")) as it:
        reply = it.ask()
        it.settled()
        assert it.metrics("tokens_total") == {"input": 200, "output": 2}
        assert sum(it.metrics("cost_total").values()) == pytest.approx((200 * 10 + 2 * 100) / 1e6)
        assert sum(it.metrics("duration_seconds").values()) > 0
        (line,) = it.events("judged")
        record = line["ai"]["ai-llm-as-judge"]
        assert record["usage"]["llm_accuracy"] == 73
        assert record["usage"]["prompt_tokens"] == 200 and record["usage"]["completion_tokens"] == 2
        assert record["usage"]["cost"] == pytest.approx(0.0022)
        assert record["meta"]["request_model"] == "the-judge"
        assert record["judged"] == {"provider": "openai", "model": "m", "target": 1}
        assert record["tried_targets"][0]["host"] == "127.0.0.1"
        assert "payload" not in record
        assert "usage.completion_tokens=n4" in reply.headers["x-kong-ai-usage"], (
            "of the answer, not of the judge"
        )
        told = json.dumps(it.said())
        for secret in ("two and two", "It is four", "judges-own", "grade answers"):
            assert secret not in told


def test_without_log_statistics_there_are_metrics_only() -> None:
    with court(ANSWER) as it:
        assert it.world.instance is not None and it.world.instance.judge is not None
        it.world.instance.judge.llm.logging.log_statistics = False
        it.ask()
        it.settled()
        assert it.events("judged") == [] and it.metrics("tokens_total")


def test_what_the_judge_does_not_report_is_estimated() -> None:
    reply: Any = ("200 OK", "", json.dumps(openai_answer("73", usage=None)))
    with court(ANSWER, Bench(reply)) as it:
        it.ask()
        it.settled()
        (line,) = it.events("judged")
        usage = line["ai"]["ai-llm-as-judge"]["usage"]
        assert usage["source"] == "estimated" and usage["prompt_tokens"] > 50
        assert it.metrics("tokens_total")["input"] == usage["prompt_tokens"]


@pytest.mark.parametrize("reply", ["I like it", "", "9 or 90"])
def test_a_reply_without_a_number_is_no_score_and_warned_of_once(reply: str) -> None:
    with court(ANSWER, Bench(reply)) as it:
        for _ in range(3):
            assert it.ask().status == 200
        assert it.settled(3) == {"no_score": 3}
        assert it.accuracy() == (0, 0)
        assert len(it.events("judge_without_score")) == 1
        assert it.metrics("tokens_total")["input"] == 600, "it was paid for all the same"
        assert reply == "" or reply not in json.dumps(it.said())


@pytest.mark.parametrize(
    ("status", "told"),
    [("400 Bad Request", "status 400"), ("401 Unauthorized", "status 401"), ("500 Oops", "status 500")],
)
def test_a_judge_that_fails_costs_a_count_and_no_answer(status: str, told: str) -> None:
    quoting = json.dumps({"error": {"message": "cannot read: What is two and two?", "type": "x"}})
    with court(ANSWER, Bench((status, "", quoting))) as it:
        for _ in range(2):
            assert it.ask().status == 200
            it.settled()
        assert it.settled(2) == {"failed": 2}
        (line,) = it.events("judge_failed")
        assert line["reason"] == told and line["model"] == "the-judge"
        assert "two and two" not in json.dumps(it.said())


def test_an_answer_of_the_judges_that_is_none() -> None:
    filtered = '{"error": {"message": "What is two and two?", "code": "content_filter"}}'
    for reply, outcome, reason in (
        ("<html>", "failed", "its reply is no JSON"),
        (filtered, "failed", "content_filter"),
        ('{"choices": 3}', "no_score", ""),
        ('{"choices": [{"message": 3}]}', "no_score", ""),
    ):
        with court(ANSWER, Bench(("200 OK", "", reply))) as it:
            it.ask()
            assert it.settled() == {outcome: 1}, reply
            assert [line["reason"] for line in it.events("judge_failed")] == [reason] * bool(reason)
            assert "two and two" not in json.dumps(it.said())


def test_a_busy_judge_is_left_alone() -> None:
    with court(ANSWER, Bench(("429 Too Many Requests", "retry-after: 30\r\n", "{}"))) as it:
        for _ in range(3):
            assert it.ask().status == 200
            gevent.sleep(0.02)
        assert it.settled(3) == {"failed": 1, "dropped": 2}
        assert len(it.bench.seen) == 1


def test_a_judge_that_hangs_is_given_up() -> None:
    bench = Bench()
    bench.hold.clear()
    with court(ANSWER, bench, judge={"http_timeout": 50}) as it:
        assert it.ask().status == 200
        assert it.settled() == {"failed": 1}
        assert "in time" in it.events("judge_failed")[0]["reason"]
        bench.hold.set()


def test_a_judge_that_drips_is_given_up_too() -> None:
    def drip(peer: Peer, head: bytes, body: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(100):
            gevent.sleep(0.01)
            peer.send(b" ")

    bench: Any = drip
    with court(ANSWER, bench, judge={"http_timeout": 60}) as it:
        it.ask()
        assert it.settled() == {"failed": 1}
        assert it.events("judge_failed")[0]["reason"] == "it did not reply in time"


def test_a_judge_that_is_not_there() -> None:
    with court(ANSWER, judge={"options": {"upstream_url": "http://127.0.0.1:1/v1/chat/completions"}}) as it:
        assert it.ask().status == 200
        assert it.settled() == {"failed": 1}


def test_a_credential_of_the_judges_that_was_refused_is_resolved_anew() -> None:
    with court(ANSWER, Bench(("401 Unauthorized", "", "{}"))) as it:
        assert it.world.instance is not None and it.world.instance.judge is not None
        instance = it.world.instance
        instance.judge.llm.auth.references["header_value"] = "{vault://env/judge}"  # type: ignore[union-attr]
        instance.rotation = type(instance.rotation)(instance.credentials)
        it.ask()
        it.settled()
        assert instance.rotation.due() == ["{vault://env/judge}"]
        assert instance.rotation.renew("{vault://env/judge}", "Bearer new")
        it.ask()
        it.settled(2)
        assert "authorization: Bearer new" in it.bench.heads[-1].lower().replace("bearer", "Bearer")


def test_the_client_does_not_wait_for_the_judge() -> None:
    bench = Bench()
    bench.hold.clear()
    with court(ANSWER, bench) as it:
        began = time.monotonic()
        assert it.ask().status == 200
        assert time.monotonic() - began < 1
        eventually(lambda: bool(bench.seen))
        assert it.judging.counts.running == 1 and it.judging.counts.held > 0
        bench.hold.set()
        assert it.settled() == {"scored": 1}


def test_what_is_too_much_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "AT_ONCE", 2)
    monkeypatch.setattr(queue, "WAITING_MOST", 3)
    bench = Bench()
    bench.hold.clear()
    with court(ANSWER, bench) as it:
        for _ in range(9):
            assert it.ask().status == 200
        eventually(lambda: len(bench.seen) == 2)
        assert it.metrics("waiting") == {"": 3} and it.metrics("running") == {"": 2}
        assert it.outcomes() == {"dropped": 4}
        bench.hold.set()
        assert it.settled(9) == {"dropped": 4, "scored": 5}
        assert bench.most == 2
        assert it.metrics("waiting") == {"": 0}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "HELD_MOST", 3000)
    bench = Bench()
    bench.hold.clear()
    with court(ANSWER, bench) as it:
        for _ in range(20):
            assert it.ask().status == 200
        assert it.judging.counts.held <= 3000
        assert it.outcomes()["dropped"] >= 8
        bench.hold.set()
        it.settled(20)


@pytest.mark.parametrize("stream", [False, True])
def test_long_answers_and_requests_are_not_judged(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from kong_ai_proxy.judge import hearing

    monkeypatch.setattr(hearing, "LONGEST", 200)
    monkeypatch.setattr(queue, "LONGEST", 200)
    with court(streamed if stream else ANSWER) as it:
        assert it.ask({**ASK, "stream": stream}).status == 200
        assert it.settled() == {"too_long": 1}
        assert it.ask({**ASK, "stream": stream, "user": "x" * 200}).status == 200
        assert it.settled(2) == {"too_long": 2}
        assert it.bench.seen == []


def test_only_a_sample_is_judged() -> None:
    with court(ANSWER, judge={"sampling_rate": 0.25}) as it:
        drawn = iter([0.9, 0.1, 0.25, 0.24])
        it.judging._rng.random = lambda: next(drawn)  # type: ignore[method-assign]
        for _ in range(4):
            it.ask()
        it.settled(2)
        assert it.outcomes() == {"scored": 2}


def test_nothing_is_gathered_without_a_judge_or_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    from kong_ai_proxy.judge import hearing

    def never(*_: Any) -> None:
        raise AssertionError("gathered")

    monkeypatch.setattr(hearing.Hearing, "__init__", never)
    for changes in ({"sampling_rate": 0}, {}):
        with court(streamed, judge=changes) as it:
            assert it.world.instance is not None
            if not changes:
                it.world.instance.judge = None
                it.judging.hear = never  # type: ignore[method-assign,assignment]
            reply = it.ask({**ASK, "stream": True})
            assert reply.complete and b"four" in reply.body
            gevent.sleep(0.01)
            assert it.outcomes() == {} and it.judging.counts.held == 0


def refused(peer: Peer, head: bytes, body: bytes) -> None:
    peer.answer(b'{"error": {"message": "no"}}', "400 Bad Request")


def broken(peer: Peer, head: bytes, body: bytes) -> None:
    peer.stream_head()
    peer.chunk(STREAM[:300])
    peer.sock.close()


@pytest.mark.parametrize(("answer", "stream"), [(refused, False), (refused, True), (broken, True)])
def test_what_is_no_answer_is_not_judged(answer: Any, stream: bool) -> None:
    with court(answer) as it:
        it.ask({**ASK, "stream": stream})
        gevent.sleep(0.02)
        assert it.outcomes() == {} and it.bench.seen == []
        assert it.judging.counts.held == 0


def test_a_client_that_leaves_leaves_nothing_behind() -> None:
    def slowly(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(STREAM[:300])
        peer.wait_closed()

    with court(slowly) as it:
        with it.world.connect() as client:
            client.send_request(json.dumps({**ASK, "stream": True}).encode())
            client.read_head()
            eventually(lambda: it.judging.counts.held > 300)
        eventually(lambda: it.judging.counts.held == 0)
        assert it.outcomes() == {} and it.bench.seen == []


def test_an_empty_answer_is_no_text() -> None:
    with court(openai_answer("")) as it:
        it.ask()
        assert it.settled() == {"no_text": 1}


def test_a_judge_whose_url_leads_to_a_judged_route_is_not_judged_itself() -> None:
    seen: list[str] = []

    def answer(peer: Peer, head: bytes, body: bytes) -> None:
        seen.append(head.decode().lower())
        peer.answer(json.dumps(ANSWER).encode())

    with court(answer) as it:
        it.ask()
        assert it.settled() == {"scored": 1}
        (asked,) = it.bench.heads
        (mark,) = [line for line in asked.split("\r\n") if line.lower().startswith("x-kong-ai-judging:")]
        # As Kong would send that question on to the relay.
        assert it.ask(headers=mark + "\r\n").status == 200
        assert it.settled(2) == {"scored": 1, "judging": 1}
        assert len(it.bench.seen) == 1
        # And the relay to the next gateway.
        assert [mark.lower() in head for head in seen] == [False, True]


def test_the_mark_of_a_judges_question_goes_on_by_a_native_api_too() -> None:
    seen: list[str] = []

    def answer(peer: Peer, head: bytes, body: bytes) -> None:
        seen.append(head.decode().lower())
        peer.answer(json.dumps([{"generated_text": "It is four."}]).encode())

    with court(answer, target={"provider": "huggingface", "path": ""}, llm_format="huggingface") as it:
        assert it.ask({"inputs": "Two?"}, "/generate", "x-kong-ai-judging: 1\r\n").status == 200
        assert it.settled() == {"judging": 1}
        assert "x-kong-ai-judging: 1\r\n" in seen[0]


def test_a_request_whose_messages_are_all_left_out() -> None:
    with court(ANSWER) as it:
        it.ask({"messages": [{"role": "system", "content": "Be brief."}]})
        assert it.settled() == {"no_text": 1}


def test_whatever_goes_wrong_the_client_has_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any) -> None:
        raise KeyError("What is two and two?")

    with court(ANSWER) as it:
        for place in ("answered", "question", "score_in"):
            with monkeypatch.context() as patch:
                patch.setattr(queue, place, bug)
                assert it.ask().status == 200
                gevent.sleep(0.02)
        with monkeypatch.context() as patch:
            from kong_ai_proxy.judge import hearing

            patch.setattr(hearing, "asked", bug)
            assert it.ask().status == 200
            gevent.sleep(0.02)
        assert it.settled(4) == {"unreadable": 2, "failed": 2}
        assert "two and two" not in json.dumps(it.said())
        assert it.judging.counts.held == 0


def test_the_end_does_not_wait_for_judges() -> None:
    bench = Bench()
    bench.hold.clear()
    with court(ANSWER, bench) as it:
        it.ask()
        eventually(lambda: bool(bench.seen))
        began = time.monotonic()
        it.world.relay.stop(5)
        assert time.monotonic() - began < 1
        eventually(lambda: not it.judging.counts.running)
        bench.hold.set()


@pytest.mark.parametrize("verify", [True, False])
def test_the_judges_certificate_is_verified_unless_told_otherwise(verify: bool, tmp_path: Path) -> None:
    bench = Bench("70")
    context = certificate(tmp_path, "localhost", "127.0.0.1")
    with provider_of(every(bench), tls=context) as secure:
        url = f"https://localhost:{secure.port}/v1/chat/completions"
        with court(ANSWER, judge={"https_verify": verify, "options": {"upstream_url": url}}) as it:
            for number in (1, 2):
                assert it.ask().status == 200
                it.settled(number)
            assert it.outcomes() == ({"failed": 2} if verify else {"scored": 2})
            assert bool(bench.seen) is not verify
            if verify:
                assert "certificate" in it.events("judge_failed")[0]["reason"]


@pytest.mark.parametrize("status", ["204 No Content", "400 Bad Request"])
def test_kong_logs_the_record_where_there_is_a_route_for_it(status: str) -> None:
    left: list[tuple[str, str]] = []

    def route(peer: Peer, head: bytes, body: bytes) -> None:
        left.append((head.decode().lower(), body.decode()))
        peer.send(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())

    with (
        provider_of(every(route)) as kong,
        court(ANSWER, Bench("73"), relay={"deposit_url": f"http://127.0.0.1:{kong.port}/leave"}) as it,
    ):
        it.ask()
        assert it.settled() == {"scored": 1}
        ((head, record),) = left
        assert "x-kong-ai-judged: 1" in head and "x-kong-ai-ticket" not in head
        assert {"usage.llm_accuracy=n73.0", "judged.target=n1", "usage.prompt_tokens=n200"} <= set(
            record.split("&")
        )
        assert "four" not in record and "two" not in record
        assert len(it.events("judged")) == (0 if status.startswith("204") else 1)
        assert len(it.events("deposit_failed")) == len(it.events("judged"))


def test_a_bug_at_either_end_costs_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from kong_ai_proxy.judge import hearing

    def bug(*_: Any) -> None:
        raise KeyError("What is two and two?")

    with court(streamed) as it:
        for module, place in ((queue, "may_be_judged"), (hearing, "answer_of")):
            with monkeypatch.context() as patch:
                patch.setattr(module, place, bug)
                assert it.ask({**ASK, "stream": True}).complete
                gevent.sleep(0.01)
        assert len(it.events("answer_not_judged")) == 2 and it.outcomes() == {}
        assert "two and two" not in json.dumps(it.said())
        assert it.judging.counts.held == 0


def test_a_request_whose_text_is_too_long_or_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    from kong_ai_proxy.judge import hearing

    with court(ANSWER) as it:
        monkeypatch.setattr(hearing, "LONGEST", 10)
        it.ask()
        assert it.settled() == {"too_long": 1}
        monkeypatch.setattr(hearing, "LONGEST", 1000)
        monkeypatch.setattr(queue, "HELD_MOST", 5)
        it.ask()
        assert it.settled(2) == {"too_long": 1, "dropped": 1}


def test_a_stream_that_is_too_much_goes_on_to_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        for start in range(0, len(STREAM), 100):
            peer.chunk(STREAM[start : start + 100])
            gevent.sleep(0.002)
        peer.end()

    monkeypatch.setattr(queue, "HELD_MOST", 250)
    with court(slowly) as it:
        reply = it.ask({**ASK, "stream": True})
        assert reply.complete and b"four" in reply.body
        assert it.settled() == {"dropped": 1}


def test_what_waits_for_a_judge_that_is_busy_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "AT_ONCE", 1)
    bench = Bench(("503 Service Unavailable", "", "{}"))
    bench.hold.clear()
    with court(ANSWER, bench) as it:
        for _ in range(3):
            it.ask()
        eventually(lambda: it.metrics("waiting") == {"": 2})
        bench.hold.set()
        assert it.settled(3) == {"failed": 1, "dropped": 2}
        assert len(bench.seen) == 1


def test_a_queue_that_fills_while_the_answer_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(peer: Peer, head: bytes, body: bytes) -> None:
        monkeypatch.setattr(queue, "WAITING_MOST", 0)
        peer.answer(json.dumps(ANSWER).encode())

    monkeypatch.setattr(queue, "AT_ONCE", 0)
    with court(answer) as it:
        it.ask()
        assert it.settled() == {"dropped": 1}


def test_a_credential_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise ApiError(500, "the credential of openai cannot be had", code="credential_unavailable")

    with court(ANSWER) as it:
        monkeypatch.setattr(queue, "authenticate", none)
        it.ask()
        assert it.settled() == {"failed": 1}
        assert it.events("judge_failed")[0]["reason"] == "credential_unavailable"


def test_a_question_that_cannot_be_sent() -> None:
    with court(ANSWER) as it:
        assert it.world.instance is not None and it.world.instance.judge is not None
        it.world.instance.judge.llm.model.options.upstream_url = "http://127.0.0.1:1/a b"
        it.ask()
        assert it.settled() == {"failed": 1}
        assert it.events("judge_failed")[0]["reason"] == "the question could not be sent"
