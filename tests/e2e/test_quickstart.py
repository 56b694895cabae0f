"""docs/quickstart.md, walked from the configuration to the usage page, each block as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kong_ai_proxy.devgateway.embedded import free_port

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "quickstart.md").read_text()
PORTS = ("8000", "8125", "8787")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_quickstart_works_as_written(tmp_path: Path) -> None:
    if not (Path(sys.executable).parent / "kong-ai-proxy").exists():
        pytest.skip("the command is not installed beside this Python")
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    [configuration] = blocks("yaml")
    _install, *steps = blocks("sh")
    script = "\n".join(["set -eu", f"cat > kong.yml <<'END'\n{configuration}END", *steps, "kill $!", "wait"])
    for port in PORTS:
        script = re.sub(rf"\b{port}\b", str(free_port()), script)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (tmp_path / "said").open("w+") as said:
        child = subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            child.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        said.seek(0)
        text = said.read()
    assert "0 errors" in text or "no errors" in text, text
    assert '"object":"chat.completion"' in text.replace(" ", ""), text
    assert "data: [DONE]" in text, text
    assert "anthropic/claude-sonnet-4-5" in text or "claude-sonnet-4-5" in text, text
    assert "<html" in (tmp_path / "usage.html").read_text()
    assert len((tmp_path / "kong.log").read_text().splitlines()) == 3, "two chats, and the wait for the port"
    assert child.returncode == 0, text
