"""A relay worker whose records are plain JSON in headers and comments, so that tests need not decode them."""

from __future__ import annotations

import json
import sys
from typing import Any


def records_are_json() -> None:
    from kong_ai_proxy.accounting import encoding

    def encode(record: Any, limit: int = 0) -> str:
        return json.dumps(record)

    encoding.encode = encode


if __name__ == "__main__":
    from kong_ai_proxy.workers import process

    sys.exit(process.main(sys.argv[1:], records_are_json))
