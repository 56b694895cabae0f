"""Chat's `web_search_options` as the tool with which Claude searches the web by itself.

Sources: https://platform.openai.com/docs/api-reference/chat/create (`web_search_options`),
https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool, anthropic's SDK 2.12
(types/web_search_tool_20250305_param.py).
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.json import Json
from ..pivot import items, obj, text

_NAME: Final = "web_search"
_TYPE: Final = "web_search_20250305"
"""Later versions run code on what they find, and are known to fewer models and hosts."""
_PLACE: Final = ("city", "region", "country", "timezone")
_DOMAINS: Final = ("allowed_domains", "blocked_domains")
_OPTIONS: Final = "web_search_options"


def search_tool(options: Any, tools: list[Json], call: Call) -> Json | None:
    """Anthropic's tool for these options; None where the client gave it itself.

    `tools`: those of the request, in Anthropic's form. Names must differ, so a function of the client's that
    has this name leaves no place for the tool.
    """
    if not isinstance(options, dict):
        if options is not None:
            call.drop(_OPTIONS)
        return None
    for tool in tools:
        if text(tool.get("type")).startswith("web_search_"):
            if options:
                call.drop(_OPTIONS)
            return None
    if any(tool.get("name") == _NAME for tool in tools):
        call.drop(_OPTIONS)
        return None
    made: Json = {"type": _TYPE, "name": _NAME}
    _place(options.get("user_location"), made, call)
    _domains(options.get("filters"), made, call)
    for name, value in options.items():
        if name not in ("user_location", "filters") and value is not None:
            call.drop(f"{_OPTIONS}.{name}")
    return made


def _place(given: Any, made: Json, call: Call) -> None:
    """Chat nests the place in `approximate`, the Responses API has it flat."""
    if given is None:
        return
    told = obj(obj(given).get("approximate")) or obj(given)
    place = {name: told[name] for name in _PLACE if text(told.get(name))}
    if place:
        made["user_location"] = {"type": "approximate", **place}
    elif text(obj(given).get("type")) != "approximate" or told.keys() - {"type", "approximate", *_PLACE}:
        call.drop(f"{_OPTIONS}.user_location")


def _domains(given: Any, made: Json, call: Call) -> None:
    """The Responses API's `filters`. Anthropic takes one of the two lists."""
    if given is None:
        return
    filters = obj(given)
    for name in _DOMAINS:
        if domains := [domain for domain in items(filters.get(name)) if text(domain)]:
            if _DOMAINS[0] in made:
                call.drop(f"{_OPTIONS}.filters.{name}")
            else:
                made[name] = domains
    for name in filters.keys() - set(_DOMAINS):
        if filters[name] is not None:
            call.drop(f"{_OPTIONS}.filters.{name}")
    if not isinstance(given, dict):
        call.drop(f"{_OPTIONS}.filters")
