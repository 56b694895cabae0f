"""`.ci/advisories.py`: pins compared with a folder of advisories."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = runpy.run_path(str(ROOT / ".ci" / "advisories.py"))
Json = dict[str, Any]


def advisory(*events: Json, package: str = "some-thing", **more: Any) -> Json:
    ranges = [{"type": "GIT", "events": [{"introduced": "0"}]}, {"type": "ECOSYSTEM", "events": list(events)}]
    named = {"ecosystem": "PyPI", "name": package}
    affected = {"package": named, "ranges": ranges, **more.pop("affected", {})}
    return {"id": "X-1", "modified": "2026-01-02T03:04:05Z", "affected": [affected], **more}


def run(
    folder: Path, capsys: pytest.CaptureFixture[str], *found: Json, pinned: str = "Some_Thing==1.4 \\\n"
) -> tuple[int, str]:
    for number, record in enumerate(found):
        below = folder / "advisories" / str(number)
        below.mkdir(parents=True)
        (below / "record.yaml").write_text(json.dumps(record))
    requirements = folder / "requirements.txt"
    requirements.write_text(f"# pins\n{pinned}    --hash=sha256:00\n")
    status = SCRIPT["main"]([str(folder / "advisories"), str(requirements)])
    said = capsys.readouterr()
    return status, said.out + said.err


@pytest.mark.parametrize(
    ("events", "means"),
    [
        ([{"introduced": "0"}], True),
        ([{"introduced": "0"}, {"fixed": "1.4"}], False),
        ([{"introduced": "0"}, {"fixed": "1.10"}], True),
        ([{"introduced": "1.5"}], False),
        ([{"introduced": "0"}, {"last_affected": "1.4"}], True),
        ([{"introduced": "0"}, {"last_affected": "1.3.9"}], False),
        ([{"introduced": "0"}, {"fixed": "1.1"}, {"introduced": "1.3"}, {"fixed": "1.5"}], True),
        ([{"fixed": "1.1"}, {"introduced": "1.2"}, {"introduced": "0"}, {"fixed": "1.3"}], False),
    ],
)
def test_ranges(tmp_path: Path, capsys: pytest.CaptureFixture[str], events: list[Json], means: bool) -> None:
    status, said = run(tmp_path, capsys, advisory(*events))
    assert status == int(means)
    assert ("some-thing 1.4: X-1" in said) is means


def test_says_what_it_is_mended_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = advisory({"introduced": "0"}, {"fixed": "1.5"}, aliases=["CVE-1"])
    status, said = run(tmp_path, capsys, found)
    assert status == 1
    assert said.splitlines() == [
        "some-thing 1.4: X-1, CVE-1; mended in 1.5",
        "1 packages, 1 advisories (the newest of 2026-01-02): 1 findings",
    ]


def test_versions_named_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = advisory({"introduced": "9"}, affected={"versions": ["1.4.0", "not a version"]})
    assert run(tmp_path, capsys, found)[0] == 1


@pytest.mark.parametrize(
    "other",
    [
        advisory({"introduced": "0"}, package="other"),
        advisory({"introduced": "0"}, withdrawn="2026-01-01T00:00:00Z"),
        advisory({"introduced": "0"}, affected={"package": {"ecosystem": "npm", "name": "some-thing"}}),
    ],
)
def test_other_peoples_weaknesses(tmp_path: Path, capsys: pytest.CaptureFixture[str], other: Json) -> None:
    assert run(tmp_path, capsys, advisory({"introduced": "9"}), other)[0] == 0


def test_nothing_to_compare_is_not_all_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, capsys)[0] == 2
    assert run(tmp_path, capsys, advisory({"introduced": "0"}), pinned="some-thing>=1\n")[0] == 2


def test_every_pin_of_the_image_is_read() -> None:
    text = (ROOT / "docker" / "requirements.txt").read_text()
    assert len(SCRIPT["pins"](text)) == text.count("==") - text.count(" == ") > 40
