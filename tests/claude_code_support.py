"""A conversation of the kind that coding agents have over Anthropic's Messages. All of it is our own writing.

Every thing said carries a mark of its own, so that a test can see whether it arrived.
"""

from __future__ import annotations

from typing import Any

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CACHED: Any = {"type": "ephemeral"}
CACHED_LONG: Any = {"type": "ephemeral", "ttl": "1h"}

_TOOLS = [
    "read_file", "write_file", "edit_file", "list_directory", "find_files", "search_text", "run_command",
    "run_in_background", "kill_background", "read_output", "fetch_page", "search_web", "ask_user",
    "plan_steps", "update_plan", "start_task", "stop_task", "open_notebook", "edit_notebook", "view_image",
    "format_code", "run_tests", "show_diff", "commit_changes",
]  # fmt: skip


def tools() -> list[Any]:
    """Two dozen tools, with the oddities of real schemas."""
    made: list[Any] = []
    for number, name in enumerate(_TOOLS):
        schema: Any = {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": f"mark-tool-path-{number}"},
                "limit": {"type": ["integer", "null"], "minimum": 0, "exclusiveMinimum": -1},
                "mode": {"type": "string", "enum": ["quick", "thorough"], "default": "quick"},
                "more": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}},
            },
            "required": ["path"] if number % 3 else [],
            "additionalProperties": False,
        }
        made.append({"name": name, "description": f"mark-tool-{number} does it.", "input_schema": schema})
    made.append({"name": "no_arguments", "description": "mark-tool-none", "input_schema": {"type": "object"}})
    made[-1]["cache_control"] = CACHED
    return made


def conversation() -> Any:
    """The body of a Messages request."""
    guidance = " ".join(f"Rule {number}: keep the work small and tested." for number in range(600))
    return {
        "model": "claude-sonnet-4-5",
        "max_tokens": 32000,
        "temperature": 1,
        "stream": False,
        "metadata": {"user_id": "mark-user"},
        "thinking": {"type": "enabled", "budget_tokens": 10000},
        "system": [
            {"type": "text", "text": "mark-system-head"},
            {"type": "text", "text": f"mark-system-rules {guidance}", "cache_control": CACHED_LONG},
            {"type": "text", "text": "mark-system-tail", "cache_control": CACHED},
        ],
        "tools": tools(),
        "tool_choice": {"type": "auto"},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "mark-reminder: the folder is /src"},
                    {"type": "text", "text": "mark-request: fix the failing test", "cache_control": CACHED},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "mark-thought", "signature": "mark-signature"},
                    {"type": "redacted_thinking", "data": "mark-redacted"},
                    {"type": "text", "text": "mark-said: I look at both files."},
                    {"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {"path": "mark-a"}},
                    {"type": "tool_use", "id": "toolu_2", "name": "run_tests", "input": {"path": "mark-b"}},
                    {"type": "tool_use", "id": "toolu_3", "name": "view_image", "input": {"path": "mark-c"}},
                    {"type": "tool_use", "id": "toolu_4", "name": "no_arguments", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "mark-result-text"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_2",
                        "is_error": True,
                        "content": [{"type": "text", "text": "mark-result-error"}],
                    },
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_3",
                        "content": [
                            {"type": "text", "text": "mark-result-image"},
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
                            },
                        ],
                    },
                    {"type": "tool_result", "tool_use_id": "toolu_4", "content": []},
                    {"type": "text", "text": "mark-follow-up: and then?", "cache_control": CACHED},
                ],
            },
        ],
    }


_KEPT = (
    "mark-system-head", "mark-system-rules", "mark-system-tail", "mark-reminder", "mark-request", "mark-said",
    "mark-a", "mark-b", "mark-c", "mark-result-text", "mark-result-error", "mark-result-image",
    "mark-follow-up", "mark-tool-none",
)  # fmt: skip


def marks() -> dict[str, tuple[str, ...]]:
    """Each mark, and the words one of which a report of its loss must hold; () where it must never
    be lost."""
    found: dict[str, tuple[str, ...]] = dict.fromkeys(_KEPT, ())
    for number in range(len(_TOOLS)):
        found[f"mark-tool-{number} "] = ()
        found[f"mark-tool-path-{number}"] = ()
    found["mark-user"] = ("user", "metadata")
    found["mark-thought"] = ("thinking", "reasoning")
    found["mark-signature"] = ("thinking", "signature")
    found["mark-redacted"] = ("thinking", "redacted")
    found[PIXEL] = ("image",)
    return found
