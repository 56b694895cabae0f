"""Searches of the web that Claude made by itself, as `web_search_call` items.

They stand in `provider_specific_fields.content_blocks`: a `server_tool_use`, then what it found. Sources:
https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool (answer, errors),
https://platform.openai.com/docs/guides/tools-web-search (output), openai 3.54
(responses/response_function_web_search.py).
"""

from __future__ import annotations

from collections.abc import Callable

from ...core.call import Call
from ...core.json import Json
from ..pivot import obj, objects, text

_RESULT = "web_search_tool_result"


def search_blocks(said: Json) -> list[Json]:
    """Of a message or a delta, the blocks that tell of searches."""
    own = obj(said.get("provider_specific_fields"))
    return [block for block in objects(own.get("content_blocks")) if is_search(block) or is_result(block)]


def is_search(block: Json) -> bool:
    return block.get("type") == "server_tool_use" and block.get("name") == "web_search"


def is_result(block: Json) -> bool:
    return block.get("type") == _RESULT


def search_item(id: str, block: Json) -> Json:
    """One that has begun."""
    query = text(obj(block.get("input")).get("query"))
    action = {"type": "search", "query": query, "queries": [query]}
    return {"id": id, "type": "web_search_call", "status": "in_progress", "action": action}


def found(item: Json, result: Json | None) -> Json:
    """The same at its end. No result: the answer ended before there was one."""
    pages = result.get("content") if result is not None else None
    if not isinstance(pages, list):
        return {**item, "status": "failed"}
    sources = [{"type": "url", "url": page["url"]} for page in objects(pages) if text(page.get("url"))]
    return {**item, "status": "completed", "action": {**item["action"], "sources": sources}}


def search_items(message: Json, call: Call) -> list[Json]:
    """Those of a whole answer."""
    blocks = search_blocks(message)
    results = {text(block.get("tool_use_id")): block for block in blocks if is_result(block)}
    return [
        found(search_item(call.new_id("ws_"), block), results.get(text(block.get("id"))))
        for block in blocks
        if is_search(block)
    ]


class Searches:
    """Those of a stream. `event`: how an event is told; `begin`: the next output index."""

    def __init__(self, call: Call, event: Callable[..., None], begin: Callable[[], int]) -> None:
        self._call = call
        self._event = event
        self._begin = begin
        self._open: dict[str, tuple[int, Json]] = {}
        """By Anthropic's id."""
        self.done: dict[int, Json] = {}
        """Finished items by output index."""

    def take(self, block: Json) -> None:
        """One block of `search_blocks`."""
        if is_result(block):
            id = text(block.get("tool_use_id"))
            if id in self._open:
                self._end(id, block)
            return
        id = text(block.get("id"))
        if id in self._open:
            self._end(id, None)
        index, item = self._begin(), search_item(self._call.new_id("ws_"), block)
        self._open[id] = index, item
        self._event("response.output_item.added", output_index=index, item=item)
        for step in ("in_progress", "searching"):
            self._event(f"response.web_search_call.{step}", output_index=index, item_id=item["id"])

    def close(self) -> None:
        """End those that nothing more is heard of."""
        for id in list(self._open):
            self._end(id, None)

    def _end(self, id: str, result: Json | None) -> None:
        index, begun = self._open.pop(id)
        item = self.done[index] = found(begun, result)
        if item["status"] == "completed":
            self._event("response.web_search_call.completed", output_index=index, item_id=item["id"])
        self._event("response.output_item.done", output_index=index, item=item)
