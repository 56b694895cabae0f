"""Multipart forms without I/O: read piece by piece, and one field of them edited on the way.

Source: https://www.rfc-editor.org/rfc/rfc7578 and https://www.rfc-editor.org/rfc/rfc2046#section-5.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

HEAD_MAX: Final = 16 * 1024
"""Bytes of one part's headers."""
PARTS_MAX: Final = 1000
"""Parts of a form: OpenAI's APIs know some twenty fields."""
FIELD_MAX: Final = 4 * 1024
"""Bytes of a field that is read."""

_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,199}[0-9A-Za-z'()+_,./:=?-]")
"""RFC 2046 allows 70 characters; some clients take more."""
_PARAMETER: Final = re.compile(r""";\s*([^\s;="]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)""")


_HEADERS: Final = frozenset({"content-disposition", "content-transfer-encoding", "content-type"})
_AS_IT_IS: Final = frozenset({b"7bit", b"8bit", b"binary"})
"""Others are long deprecated (RFC 7578, 4.7), and decoded by some (Go's mime/multipart) and not by others."""
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1"})
_BARE: Final = "a delimiter's line does not end as it must"


class BadForm(ValueError):
    """What came is no multipart form, or one that could be read in two ways."""


class Kind(Enum):
    """What a token is."""

    BEFORE = "before"
    """What precedes the first part."""
    HEAD = "head"
    """A part's delimiter and headers."""
    DATA = "data"
    CLOSE = "close"
    """The closing delimiter and what follows it."""


class Token(NamedTuple):
    """A stretch of the form. All tokens' `raw` in a row are the form."""

    kind: Kind
    raw: bytes
    name: str = ""
    """Of a HEAD: the field's name."""
    file: bool = False
    """Of a HEAD: the part is a file."""


def boundary_of(content_type: str) -> bytes:
    """The boundary that a `multipart/form-data` content type names. Raises BadForm."""
    kind, _, rest = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        raise BadForm("the content type is not multipart/form-data")
    found = _parameters(f";{rest}").get("boundary")
    if not found or not _BOUNDARY.fullmatch(found):
        raise BadForm("the content type names no valid boundary")
    return found.encode()


class MultipartReader:
    """Bytes in, tokens out; the same form however it is split."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._loose = self._delimiter[1:]
        """As those find it that take a bare line feed for a line's end."""
        # The first delimiter needs no line end before it.
        self._held = b"\r\n"
        self._surplus = 2
        self._parts = 0
        self._in_part = False
        self._closed = False

    def feed(self, data: bytes) -> list[Token]:
        """What `data` completes. Raises BadForm."""
        if self._closed:
            return [Token(Kind.CLOSE, data)] if data else []
        tokens: list[Token] = []
        buffer = self._held + data
        at = 0
        while not self._closed:
            found = buffer.find(self._loose, at)
            if found < 0:
                keep = max(at, len(buffer) - len(self._loose))
                self._content(buffer[at:keep], tokens)
                at = keep
                break
            if found > at and buffer[found - 1] == 0x0D:
                found -= 1
                self._content(buffer[at:found], tokens)
                at = found
                end = self._delimited(buffer, found, tokens)
            else:
                self._content(buffer[at:found], tokens)
                at = found
                end = self._only_alike(buffer, found, tokens)
            if end < 0:
                break
            at = end
        self._held = buffer[at:]
        return tokens

    def finish(self) -> None:
        """The form has ended. Raises BadForm where it is cut off."""
        if not self._closed:
            raise BadForm("the form is cut off")

    def _only_alike(self, buffer: bytes, found: int, tokens: list[Token]) -> int:
        """Past what would be a delimiter but for the carriage return before it; -1 while that cannot be told.
        Raises BadForm where others would take it for one."""
        after = found + len(self._loose)
        next_two = buffer[after : after + 2]
        if len(next_two) < 2:
            return -1
        if next_two == b"--" or next_two[:1] in (b"\r", b"\n", b" ", b"\t"):
            raise BadForm(_BARE)
        self._content(buffer[found:after], tokens)
        return after

    def _delimited(self, buffer: bytes, found: int, tokens: list[Token]) -> int:
        """Where what begins at a delimiter ends; -1 while that cannot be told."""
        after = found + len(self._delimiter)
        next_two = buffer[after : after + 2]
        if len(next_two) < 2:
            return -1
        if next_two == b"--":
            tokens.append(self._token(Kind.CLOSE, buffer[found:]))
            self._closed = True
            return len(buffer)
        line_end = buffer.find(b"\r\n", after)
        if buffer[after : after + HEAD_MAX].lstrip(b" \t")[:1] == b"\n":
            raise BadForm(_BARE)
        if line_end < 0 or buffer[after:line_end].strip(b" \t"):
            if line_end < 0 and len(buffer) - after <= HEAD_MAX and not buffer[after:].strip(b" \t\r"):
                return -1
            # A longer line that begins like the delimiter.
            self._content(buffer[found:after], tokens)
            return after
        end = buffer.find(b"\r\n\r\n", line_end)
        if (len(buffer) if end < 0 else end) - after > HEAD_MAX:
            raise BadForm("the headers of a part are too long")
        if end < 0:
            return -1
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise BadForm("there are too many parts")
        name, file = _disposition(buffer[line_end:end])
        raw = self._token(Kind.HEAD, buffer[found : end + 4]).raw
        tokens.append(Token(Kind.HEAD, raw, name, file))
        self._in_part = True
        return end + 4

    def _content(self, raw: bytes, tokens: list[Token]) -> None:
        token = self._token(Kind.DATA if self._in_part else Kind.BEFORE, raw)
        if token.raw:
            tokens.append(token)

    def _token(self, kind: Kind, raw: bytes) -> Token:
        if self._surplus and raw:
            cut = min(self._surplus, len(raw))
            self._surplus -= cut
            raw = raw[cut:]
        return Token(kind, raw)


class FieldEditor:
    """Lets a form through and edits one text field of it: pieces in, pieces out."""

    def __init__(self, boundary: bytes, field: str, decide: Callable[[str | None], str | None]) -> None:
        """`decide` is told the field's value, None where the form lacks it, and gives the one it is to have,
        None for none. What it raises comes out of `feed`."""
        self._reader = MultipartReader(boundary)
        self._boundary = boundary
        self._field = field
        self._decide = decide
        self._value: list[bytes] | None = None
        self._seen = False

    def feed(self, data: bytes) -> bytes:
        """Raises BadForm."""
        return b"".join(self._edited(token) for token in self._reader.feed(data))

    def finish(self) -> None:
        """Raises BadForm where the form is cut off."""
        self._reader.finish()

    def _edited(self, token: Token) -> bytes:
        if token.kind is Kind.DATA and self._value is not None:
            self._value.append(token.raw)
            if sum(map(len, self._value)) > FIELD_MAX:
                raise BadForm(f"field {self._field} is too long")
            return b""
        out = b""
        if self._value is not None:
            out = (self._decide(_text(b"".join(self._value))) or "").encode()
            self._value = None
        if token.kind is Kind.HEAD and token.name == self._field:
            if self._seen:
                raise BadForm(f"field {self._field} is there twice")
            if token.file:
                raise BadForm(f"field {self._field} is a file")
            self._seen = True
            self._value = []
        elif token.kind is Kind.CLOSE and not self._seen:
            self._seen = True
            added = self._decide(None)
            if added is not None:
                out += b'\r\n--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b' % (
                    self._boundary, self._field.encode(), added.encode()
                )  # fmt: skip
        return out + token.raw


def text_fields(data: bytes, boundary: bytes, wanted: frozenset[str]) -> dict[str, str]:
    """Those text fields that are whole within a form's beginning. Raises BadForm; also for one that is there
    twice."""
    fields: dict[str, str] = {}
    name = ""
    value: list[bytes] | None = None
    for token in MultipartReader(boundary).feed(data):
        if token.kind is Kind.DATA:
            if value is not None:
                value.append(token.raw)
            continue
        if value is not None and sum(map(len, value)) <= FIELD_MAX:
            if name in fields:
                raise BadForm(f"field {name} is there twice")
            fields[name] = _text(b"".join(value))
        name = token.name
        value = [] if token.kind is Kind.HEAD and not token.file and name in wanted else None
    return fields


class Part(NamedTuple):
    """One part of a form, whole."""

    name: str
    data: bytes
    filename: str | None
    """None: it is a text field."""
    content_type: str
    """As its header says it; "" without one."""


def whole_form(data: bytes, boundary: bytes) -> list[Part]:
    """All parts of a form in their order. Raises BadForm; also where it is cut off."""
    reader = MultipartReader(boundary)
    tokens = reader.feed(data)
    reader.finish()
    parts: list[Part] = []
    contents: list[list[bytes]] = []
    for token in tokens:
        if token.kind is Kind.HEAD:
            contents.append([])
            filename, content_type = _file_of(token.raw)
            name = filename or "" if token.file else None
            parts.append(Part(token.name, b"", name, content_type))
        elif token.kind is Kind.DATA:
            contents[-1].append(token.raw)
    return [
        part._replace(data=pieces[0] if len(pieces) == 1 else b"".join(pieces))
        for part, pieces in zip(parts, contents, strict=True)
    ]


def field_text(part: Part) -> str:
    """A text field's value. Raises BadForm where it is not UTF-8."""
    return _text(part.data)


def _file_of(head: bytes) -> tuple[str, str]:
    """A part's file name and content type, each "" without one."""
    filename = content_type = ""
    for line in head.split(b"\r\n"):
        header, _, value = line.partition(b":")
        name = header.strip().lower()
        if name == b"content-disposition":
            filename = _parameters(value.decode("utf-8", "replace")).get("filename", "")
        elif name == b"content-type":
            content_type = value.decode("latin-1").strip()
    return filename, content_type


def _disposition(head: bytes) -> tuple[str, bool]:
    """A part's field name, and whether it is a file. Raises BadForm for a head that says it twice, or in a
    way that not everybody reads the same."""
    lines = head.split(b"\r\n")
    if any(b"\n" in line or b"\r" in line or line[:1] in (b" ", b"\t") for line in lines):
        raise BadForm("a part's headers are folded, or have bare line ends")
    said: dict[str, bytes] = {}
    for line in lines:
        header, _, value = line.partition(b":")
        name = header.strip().lower().decode("latin-1")
        if name in _HEADERS:
            if name in said or header != header.strip():
                raise BadForm(f"header {name} of a part is there twice, or not written as it must be")
            said[name] = value.strip()
    parameters = _parameters(said.get("content-disposition", b"").decode("utf-8", "replace"))
    field = parameters.get("name")
    if field is None:
        raise BadForm("a part has no name")
    if not field.isprintable() or any(each.startswith("name*") for each in parameters):
        raise BadForm("a part's name is not written as it must be")
    if said.get("content-transfer-encoding", b"binary").lower() not in _AS_IT_IS:
        raise BadForm("a part is encoded")
    file = "filename" in parameters or "filename*" in parameters
    kind = said.get("content-type", b"").decode("latin-1")
    if not file and _parameters(kind).get("charset", "utf-8").strip('"').lower() not in _CHARSETS:
        raise BadForm("a text field is not UTF-8")
    return field, file


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(text):
        name = name.lower()
        if name in found:
            raise BadForm(f"parameter {name} is there twice")
        value = value.strip()
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1]) if name != "filename" else value[1:-1]
        found[name] = value
    return found


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadForm("a field is not UTF-8") from None
