"""What the container image pins is what the package asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[3]
LOCK = (ROOT / "docker" / "requirements.txt").read_text()
PINNED = {name: Version(version) for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, re.MULTILINE)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = re.findall(r"--extra (\w+)", (ROOT / ".ci" / "lock").read_text())
ASKED = [
    *PROJECT["build-system"]["requires"],
    *PROJECT["project"]["dependencies"],
    *(line for extra in EXTRAS for line in PROJECT["project"]["optional-dependencies"][extra]),
]


@pytest.mark.parametrize("line", ASKED)
def test_each_dependency_is_pinned_to_a_version_that_fits(line: str) -> None:
    asked = Requirement(line)
    assert asked.specifier.contains(PINNED[asked.name.lower()])


def test_each_pin_has_hashes_and_no_address() -> None:
    assert EXTRAS
    entries = re.split(r"^(?=[a-z])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(PINNED)
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in LOCK and "file:" not in LOCK


def test_the_image_is_built_from_it() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r requirements.txt" in dockerfile
    assert "--no-deps --no-build-isolation ." in dockerfile
