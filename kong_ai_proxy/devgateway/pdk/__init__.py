"""The PDK functions a plugin may call over the RPC, with Kong's results, checks and errors.

After `kong/pdk/` and `kong/runloop/plugin_servers/plugin.lua` of Kong 3.9.3. A function whose check fails
throws (`LuaError`), as the Lua one does.
"""

from . import request, response, rest, service
from .base import Pdk, Saved, header_values
from .rest import resolve_vault, save

__all__ = ["Pdk", "Saved", "header_values", "request", "resolve_vault", "response", "rest", "save", "service"]
