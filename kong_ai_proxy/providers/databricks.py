"""Databricks model serving.

It answers `stream_options` with a 400 (`unknown field`) and sends usage on every chunk without being asked
(recorded). Claude alone reads Anthropic's cache breakpoints, on parts of a content and on tools (so found by
https://github.com/BerriAI/litellm/pull/15801 and https://github.com/aaif-goose/goose/pull/6320); its answers
count what came from the cache (recorded in databricks/chat, `cache_read_input_tokens`). It takes its signed
reasoning back as the parts it came in; unknown members of a message get a 400
(https://github.com/BerriAI/litellm/issues/36931).

Source: https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final

from ..core.call import Call
from ..core.errors import ApiError
from ..formats.openai.dialect import Dialect
from .compatible import INVALID_CONFIGURATION, CompatibleProvider, missing

_INSTANCE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_OWN_HOSTS: Final = (".databricks.com", ".azuredatabricks.net")


class Databricks(CompatibleProvider):
    name = "databricks"
    operations = frozenset({"chat"})
    paths: ClassVar[Mapping[str, str]] = {"chat": "/serving-endpoints/v1/chat/completions"}
    dialect = Dialect(
        "databricks",
        stream_options=False,
        token_limit="max_tokens",
        roles={"developer": "system"},
    )
    _claude: ClassVar[Dialect] = replace(dialect, cache_control=True, signed_parts=True)

    def dialect_for(self, call: Call) -> Dialect:
        return self._claude if "claude" in call.model.lower() else self.dialect

    def base(self, call: Call) -> str:
        databricks = call.options.databricks
        instance = databricks.workspace_instance_id if databricks else None
        if not instance:
            raise missing("databricks.workspace_instance_id", self.name)
        # It may come from a request by a template and becomes a host name.
        if not _INSTANCE.fullmatch(instance) or ".." in instance:
            raise ApiError(400, "workspace_instance_id is not a workspace name", code=INVALID_CONFIGURATION)
        if instance.endswith(_OWN_HOSTS):
            return f"https://{instance}"
        return f"https://{instance}.cloud.databricks.com"


PROVIDER: Final = Databricks()
