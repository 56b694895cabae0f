"""One file a provider: endpoints, headers, model quirks, which format it speaks.

Each module `providers/<name>.py` (the name of Kong's `model.provider`) has a constant `PROVIDER`, its one
instance.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Provider


@cache
def provider(name: str) -> Provider:
    """The provider of this name. Imported when first asked for: an instance pays only for what it uses.

    Raises LookupError for a name there is no module for.
    """
    if not name.isidentifier():
        raise LookupError(f"no provider {name!r}")
    try:
        found: Provider = import_module(f".{name}", __name__).PROVIDER
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith(__name__):
            raise  # The provider is there; something that it needs is not installed.
        raise LookupError(f"no provider {name!r}") from error
    return found
