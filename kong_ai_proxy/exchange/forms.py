"""Multipart bodies on their way: what a plan needs to know of them, and the one field that is edited."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ..core.errors import BadRequest
from ..core.http import ClientRequest, Upload
from ..wire.multipart import BadForm, FieldEditor, boundary_of, text_fields

BAD_FORM: Final = "content-type header does not match request body, or bad multipart formatting"
_HEAD: Final = 64 * 1024
"""Bytes of a large form that are read before it is planned: fields of text come first in most clients."""
_READ: Final = frozenset({"model", "stream"})


class HeadedUpload:
    """An upload whose beginning was read and is still there."""

    def __init__(self, upload: Upload) -> None:
        self.length = upload.length
        self.started = False
        """More was read than its beginning: it cannot be sent a second time."""
        self._rest = iter(upload)
        head = b""
        for piece in self._rest:
            head += piece
            if len(head) >= _HEAD:
                break
        self.head = head

    def __iter__(self) -> Iterator[bytes]:
        yield self.head
        self.started = True
        yield from self._rest


class EditedUpload:
    """A form that is edited while it is sent. Made anew for each attempt."""

    def __init__(self, source: Upload, editor: FieldEditor, length: int | None) -> None:
        self.length = length
        self._source = source
        self._editor = editor

    @property
    def started(self) -> bool:
        return self._source.started

    def __iter__(self) -> Iterator[bytes]:
        """Raises BadRequest where the form turns out to be none, or to name a model that may not be used."""
        try:
            for piece in self._source:
                edited = self._editor.feed(piece)
                if edited:
                    yield edited
            self._editor.finish()
        except BadForm as error:
            raise bad_form(error) from None


class Form:
    """A multipart request, as far as it was read."""

    def __init__(self, request: ClientRequest) -> None:
        """Reads the beginning of an upload. Raises BadRequest; what reading an upload raises."""
        self._request = request
        try:
            self._boundary = boundary_of(request.headers.get("content-type", ""))
            upload = request.upload
            if upload is None:
                head = request.body
            else:
                headed = upload if isinstance(upload, HeadedUpload) else HeadedUpload(upload)
                request.upload = headed
                head = headed.head
            self.fields = text_fields(head, self._boundary, _READ)
        except BadForm as error:
            raise bad_form(error) from None

    @property
    def model(self) -> str | None:
        """None: none was seen, and in a form that was not read to its end there may be one."""
        return self.fields.get("model")

    @property
    def stream(self) -> bool:
        return self.fields.get("stream", "").strip().lower() in ("true", "1")

    def body(self, decide: Callable[[str | None], str | None]) -> bytes:
        """A form in memory, its model as `decide` says (see `FieldEditor`). Raises BadRequest."""
        editor = FieldEditor(self._boundary, "model", decide)
        try:
            edited = editor.feed(self._request.body)
            editor.finish()
        except BadForm as error:
            raise bad_form(error) from None
        return edited

    def upload(self, decide: Callable[[str | None], str | None], *, same: bool) -> EditedUpload:
        """The same for a form that is read while it is sent. `same`: `decide` changes nothing."""
        source = self._request.upload
        assert source is not None
        length = source.length
        if length is not None and not same:
            found = self.model
            # Its length is known beforehand only where the field was seen.
            length = None if found is None else length + _size(decide(found)) - _size(found)
        return EditedUpload(source, FieldEditor(self._boundary, "model", decide), length)


def bad_form(error: BadForm) -> BadRequest:
    return BadRequest(f"{BAD_FORM}: {error}")


def _size(value: str | None) -> int:
    return len((value or "").encode())
