"""What semantic balancing does I/O for: embeddings from a provider, and where the descriptions' are kept.

The vectors of the targets' descriptions are made when an instance starts and kept in the vector store, so
that other nodes and later starts need not ask again; a changed description, model or dimension is another
entry, so nothing goes stale. A request is compared with them here, exactly: there are as many as targets, and
a store that is away costs nothing then.
"""

from __future__ import annotations

from .matcher import attach

__all__ = ["attach"]
