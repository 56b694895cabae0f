"""Values of LiteLLM's configuration: plain ones, and those that come from the environment."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from ...config.entries import is_placeholder
from ..names import Names
from ..report import Report

_ENVIRON: Final = "os.environ/"
"""https://docs.litellm.ai/docs/proxy/configs: works for any value."""
_KEY_ENDING: Final = re.compile(r"_(API_KEY|ACCESS_TOKEN|TOKEN|KEY)$")
_NAME: Final = re.compile(r"[^A-Za-z0-9]+")


def variable_of(value: Any) -> str | None:
    """The environment variable that a value names; None for a plain one."""
    if isinstance(value, str) and value.strip().startswith(_ENVIRON):
        return value.strip().removeprefix(_ENVIRON)
    return None


@dataclass(slots=True)
class Values:
    """Makes what our configuration has in place of a value, and tells what the environment must hold."""

    report: Report
    _plain: dict[tuple[str, str], str] = field(default_factory=dict)
    """(prefix, secret) → the name it was given."""
    _taken: Names = field(default_factory=Names)

    def secret(self, value: Any, *, fallback: str, prefix: str = "", line: int = 0, path: str = "") -> str:
        """A vault reference. `fallback`: the variable for what stands in the file itself. `prefix`: what
        belongs before the secret in its header, for a reference is the whole value."""
        variable = variable_of(value)
        if variable is None and is_placeholder(value):
            return str(value)
        if variable is None:
            name = self._named(str(value), fallback, prefix)
            what = f'"{prefix}" and the secret' if prefix else "the secret"
            self.report.todo(
                f"held a secret in clear text: set {name} in Kong's environment to {what}",
                line=line,
                path=path,
            )
        elif prefix:
            name = with_prefix(variable)
            self.report.todo(f'set {name} in Kong\'s environment to "{prefix}" and the value of {variable}')
        else:
            name = _upper(variable)
            value_of = "" if name == variable else f" to the value of {variable}"
            self.report.todo(f"set {name} in Kong's environment{value_of}")
        return f"{{vault://env/{name.lower().replace('_', '-')}}}"

    def plain(self, value: Any, *, line: int = 0, path: str = "") -> str:
        """Text that is no secret and cannot be a vault reference: decK fills it in."""
        variable = variable_of(value)
        if variable is None:
            return str(value)
        name = f"DECK_{_upper(variable)}"
        self.report.todo(
            f"set {name} in decK's environment to the value of {variable} (this field takes no vault "
            "reference)",
            line=line,
            path=path,
        )
        return f'${{{{ env "{name}" }}}}'

    def _named(self, secret: str, fallback: str, prefix: str) -> str:
        base = with_prefix(fallback) if prefix else _upper(fallback)
        known = self._plain.get((prefix, secret))
        if known is None:
            known = self._plain[prefix, secret] = self._taken.new(base, "_")
        return known


def with_prefix(variable: str) -> str:
    """OPENAI_API_KEY → OPENAI_AUTHORIZATION: the header's whole value."""
    return _KEY_ENDING.sub("", _upper(variable)) + "_AUTHORIZATION"


def _upper(variable: str) -> str:
    """As Kong's env vault asks for it: upper-case letters, digits and underscores."""
    return _NAME.sub("_", variable).strip("_").upper()
