"""The command `usage`: its formats, its page, and reading on."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from kong_ai_proxy import cli
from kong_ai_proxy.usage.follow import FollowedFile, FollowedPipe, Lines


def line(model="gpt-4o", tokens=10, status=200, consumer=None, day=31, **usage):
    told = {
        "started_at": (1769860800 + (day - 31) * 86400) * 1000,
        "response": {"status": status},
        "ai": {"proxy": {
            "meta": {"provider_name": "openai", "request_model": model, "llm_latency": 100},
            "usage": {"prompt_tokens": tokens, "completion_tokens": 1, "cost": 0.5, **usage},
        }},
    }  # fmt: skip
    if consumer:
        told["consumer"] = {"username": consumer}
    return json.dumps(told)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "kong.log"
    lines = [
        line(), line(tokens=20, consumer="bob"), line("claude", 5, source="estimated"), "not json",
        line("claude", 1, 429, day=33), '{"response": {"status": 404}}',
    ]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def run(capsys, *arguments):
    status = cli.main(["usage", *arguments])
    done = capsys.readouterr()
    return status, done.out, done.err


def test_table(capsys, log):
    status, out, _ = run(capsys, log)
    assert status == 0
    head, *rest = out.splitlines()
    assert head == "2026-01-31T12:00:00+00:00 to 2026-02-02T12:00:00+00:00"
    assert rest[0] == "4 requests, 1 error (429: 1), 0 failovers"
    assert "! 1 request with estimated tokens (25.0%)" in rest
    assert "! 1 record without AI usage, left out" in rest
    assert "! 1 line that could not be read, left out" in rest
    rows = {words[0]: words[1:] for row in rest if (words := row.split())}
    assert rows["gpt-4o"] == ["2", "0", "30", "2", "32", "1.00", "100", "100", "-", "-", "-"]
    assert rows["claude"] == ["2", "1", "6", "2", "8", "1.00", "100", "100", "-", "-", "50.0%"]


def test_a_long_table_is_cut_where_asked(capsys, log):
    _, out, _ = run(capsys, log, "--top", "1")
    assert "claude" not in out
    assert out.endswith("… and 1 more\n")


def test_json(capsys, log):
    status, out, err = run(capsys, log, "--format", "json", "--by", "provider,model", "--by", "consumer")
    told = json.loads(out)
    assert status == 0
    assert told["totals"]["requests"] == 4
    assert told["totals"]["errors"] == {"429": 1}
    assert told["totals"]["llm_latency_ms"] == {"p50": 100, "p95": 100, "p99": 100}
    assert told["bad_lines"] == 1
    assert [group["by"] for group in told["groups"]] == [["provider", "model"], ["consumer"]]
    assert told["groups"][0]["rows"][0]["group"] == {"provider": "openai", "model": "gpt-4o"}
    assert "1 line could not be read" in err


def test_csv(capsys, log):
    _, out, _ = run(capsys, log, "--format", "csv", "--by", "day")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["day"], row["requests"], row["errors"]) for row in rows] == [
        ("2026-01-31", "3", "0"),
        ("2026-02-02", "1", "1"),
    ]
    assert rows[0]["llm_latency_p95"] == "100"
    assert rows[0]["first_token_p95"] == ""


def test_csv_is_no_spreadsheet_formula(capsys, tmp_path):
    path = tmp_path / "log"
    path.write_text(line("=HYPERLINK(1)") + "\n")
    _, out, _ = run(capsys, str(path), "--format", "csv")
    assert out.splitlines()[1].startswith("'=HYPERLINK(1),")


def test_a_name_does_nothing_to_the_terminal(capsys, tmp_path):
    path = tmp_path / "log"
    path.write_text(line("\x1b[31mred\x07") + "\n")
    _, out, _ = run(capsys, str(path))
    assert "\x1b" not in out
    assert "?[31mred?" in out


class Page(HTMLParser):
    """Checks that tags nest, and gathers what a test asks about."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.words, self.loads = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "onload", "onclick")]
        if tag not in ("meta", "rect", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_html(capsys, log):
    status, out, _ = run(capsys, log, "--format", "html")
    page = Page()
    page.feed(out)
    assert status == 0
    assert page.open == []
    assert page.loads == []
    assert "script" not in page.tags
    assert page.tags.count("svg") == 6, "errors, and five groupings"
    assert page.tags.count("h2") == 6
    assert {"gpt-4o", "claude", "bob", "2026-01-31", "2026-02-01", "429"} <= set(page.words)
    assert out.count("role=img aria-label=") == 6
    assert "http" not in out.replace("http-equiv", "")


def test_html_leaves_out_columns_that_say_nothing_and_keeps_names_readable(capsys, log):
    _, out, _ = run(capsys, log, "--format", "html", "--by", "model")
    told, names = "estimated" in out.split("<main>")[1], re.findall(r"<th scope=col>([^<]+)", out)
    assert ("estimated" in names) is told
    first = re.search(r"th:first-child\{([^}]+)\}", out)[1]
    # A column that may break anywhere shrinks to one letter.
    assert "anywhere" not in first and "min-width" in first


def test_html_escapes_names(capsys, tmp_path):
    path = tmp_path / "log"
    path.write_text(line("<script>alert(1)</script>", consumer='"><img src=x>') + "\n")
    _, out, _ = run(capsys, str(path), "--format", "html")
    page = Page()
    page.feed(out)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "<script>alert(1)</script>" in page.words


def test_html_of_nothing(capsys, tmp_path):
    path = tmp_path / "log"
    path.write_text("")
    status, out, _ = run(capsys, str(path), "--format", "html")
    assert status == 0
    assert "No requests" in out


def test_since_and_until(capsys, log):
    _, out, _ = run(capsys, log, "--since", "2026-02-01", "--format", "json")
    assert json.loads(out)["totals"]["requests"] == 1
    _, out, _ = run(
        capsys, log, "--until", "2026-01-31T13:00", "--timezone", "Europe/Berlin", "--format", "json"
    )
    assert json.loads(out)["totals"]["requests"] == 0, "noon in Greenwich is 13:00 in Berlin"
    _, out, _ = run(capsys, log, "--since", "2h", "--format", "json")
    assert json.loads(out)["totals"]["requests"] == 0


def test_all_requests(capsys, log):
    _, out, _ = run(capsys, log, "--all", "--format", "json")
    assert json.loads(out)["totals"]["errors"] == {"404": 1, "429": 1}


@pytest.mark.parametrize(
    "arguments",
    [
        ["/nowhere/log"], ["{log}", "--since", "soon"], ["{log}", "--timezone", "Atlantis"],
        ["{log}", "{log}", "--follow"], ["{log}", "--follow", "--format", "html"],
        ["/nowhere/log", "--follow"], ["{log}", "--since", "99999999999w"],
    ],
)  # fmt: skip
def test_what_cannot_be_done(capsys, log, arguments):
    status, out, err = run(capsys, *(word.replace("{log}", log) for word in arguments))
    assert status == 2
    assert out == ""
    assert err.startswith("kong-ai-proxy usage: ")


def test_an_unknown_grouping(capsys, log):
    with pytest.raises(SystemExit):
        cli.main(["usage", log, "--by", "colour"])
    assert "not one of model" in capsys.readouterr().err


def test_a_file_of_something_else_is_told_by_the_status(capsys, tmp_path):
    path = tmp_path / "log"
    path.write_text("127.0.0.1 - - GET /chat\n")
    assert run(capsys, str(path))[0] == 1


def test_lines_come_in_pieces():
    lines = Lines()
    assert lines.feed(b"a") == []
    assert lines.feed(b"b\nc\n\nd") == [b"ab", b"c", b""]
    assert lines.finish() == [b"d"]
    assert lines.finish() == []


def test_a_followed_file_grows_and_is_rotated(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    followed = FollowedFile(path)
    assert list(followed.read()) == [b"one"]
    assert list(followed.read()) == []
    with path.open("ab") as file:
        file.write(b"o\nlast")
    path.rename(tmp_path / "log.1")
    assert list(followed.read()) == [b"two"], "nobody has made the new file yet"
    path.write_bytes(b"new\n")
    assert list(followed.read()) == [b"last", b"new"]
    path.write_bytes(b"a\n")  # emptied in place
    assert list(followed.read()) == [b"a"]
    followed.close()


def test_a_followed_pipe():
    reader, writer = os.pipe()
    pipe = FollowedPipe(reader)
    assert list(pipe.read(0.01)) == []
    os.write(writer, b"one\ntwo")
    assert list(pipe.read(1.0)) == [b"one"]
    os.close(writer)
    assert list(pipe.read(1.0)) == [b"two"]
    assert pipe.ended
    os.close(reader)


def test_follow_shows_what_comes():
    command = [sys.executable, "-c", "import sys; from kong_ai_proxy.cli import main; sys.exit(main())"]
    process = subprocess.Popen(
        [*command, "usage", "-", "--follow", "--interval", "0.1"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin and process.stdout
    timer = threading.Timer(20, process.kill)
    timer.start()
    try:
        process.stdin.write(line() + "\n")
        process.stdin.flush()
        _until(process.stdout, "1 request,")
        process.stdin.write(line() + "\n")
        process.stdin.flush()
        _until(process.stdout, "2 requests,")
        process.stdin.close()
        process.stdout.read()
        assert process.wait() == 0
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def _until(out, start):
    until = time.monotonic() + 15
    while not (got := out.readline()).startswith(start):
        assert got, "it ended"
        assert time.monotonic() < until


def test_what_is_billed_otherwise_than_by_tokens(capsys, tmp_path):
    path = tmp_path / "kong.log"
    told = [
        line("gpt-image-1", images=2), line("gpt-image-1", images=1), line("tts", characters=1200),
        line("sora", seconds=4), line("whisper", seconds=2.5),
    ]  # fmt: skip
    path.write_text("\n".join(told) + "\n")
    _, table, _ = run(capsys, str(path))
    assert "also 3 images, 6.5 seconds, 1,200 characters" in table.splitlines()
    head = next(each for each in table.splitlines() if each.startswith("by model"))
    assert head.split()[-3:] == ["images", "seconds", "characters"]
    assert re.search(r"^gpt-image-1 .*  3 +0 +0$", table, re.M)
    assert re.search(r"^whisper .* 2\.5 ", table, re.M)
    _, text, _ = run(capsys, str(path), "--format", "csv")
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(text))}
    assert rows["gpt-image-1"]["images"] == "3" and rows["whisper"]["seconds"] == "2.5"
    totals = json.loads(run(capsys, str(path), "--format", "json")[1])["totals"]
    assert (totals["images"], totals["seconds"], totals["characters"]) == (3, 6.5, 1200)
    _, page, _ = run(capsys, str(path), "--format", "html")
    assert "Billed otherwise" in page and "<th scope=col>seconds</th>" in page and "<td>1,200</td>" in page


def test_nothing_is_said_of_what_there_is_none_of(capsys, log):
    for form in ("table", "html"):
        _, out, _ = run(capsys, log, "--format", form)
        assert "characters" not in out and "Billed otherwise" not in out


@pytest.mark.parametrize("form", ["json", "csv", "html"])
def test_each_format_has_an_option_of_its_own(capsys, log, form):
    assert run(capsys, log, f"--{form}") == run(capsys, log, "--format", form)


def test_a_packed_log_may_come_from_a_pipe(capsys, monkeypatch, tmp_path):
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(line("gpt-4o").encode() + b"\n"))
    with path.open("rb") as packed:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=packed))
        _, out, _ = run(capsys, "-", "--json")
    assert json.loads(out)["totals"]["requests"] == 1
