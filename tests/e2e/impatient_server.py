"""The plugin server, sooner sure that a relay worker hangs: `python impatient_server.py serve …`."""

from __future__ import annotations

import sys

HUNG_SECONDS = 1.0

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()
    from kong_ai_proxy.devgateway.child import end_with_parent

    end_with_parent()
    from kong_ai_proxy.cli import main
    from kong_ai_proxy.workers import pool

    pool._LOOK_SECONDS, pool._SILENT_SECONDS = 0.2, 0.2  # type: ignore[misc]
    pool._HUNG_SECONDS = HUNG_SECONDS  # type: ignore[misc]
    sys.exit(main())
