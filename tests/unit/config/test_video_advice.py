"""Advice on routes of videos."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_proxy.config.advice import config_advice
from kong_ai_proxy.config.models import AdvancedConfig, ProxyConfig

VIDEOS = "video/v1/videos/generations"


@pytest.mark.parametrize(
    ("provider", "route_type", "bedrock", "told"),
    [
        ("bedrock", VIDEOS, None, True),
        ("bedrock", VIDEOS, {"aws_region": "us-east-1"}, True),
        ("bedrock", VIDEOS, {"video_output_s3_uri": "s3://videos"}, False),
        ("bedrock", "llm/v1/chat", None, False),
        ("gemini", VIDEOS, None, False),
    ],
)
def test_where_bedrock_writes_videos(provider: str, route_type: str, bedrock: Any, told: bool) -> None:
    options = {} if bedrock is None else {"bedrock": bedrock}
    target = {"route_type": route_type, "model": {"provider": provider, "options": options}}
    found = dict(config_advice(ProxyConfig.model_validate(target)))
    assert ("model.options.bedrock" in found) is told
    found = dict(config_advice(AdvancedConfig.model_validate({"targets": [target]})))
    assert ("targets[1].model.options.bedrock" in found) is told
