"""Streamed answers on their way to the client: translated, passed through, or found to be no stream at
all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Final

from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import Headers
from ..core.json import Json, loads_lenient
from ..formats.base import StreamDecoder, StreamEncoder, StreamItem, StreamObserver
from ..log import get_logger
from .chunks import chunks_of

log = get_logger("exchange")

CAPTURED_MAX: Final = 256 * 1024
"""Bytes of a stream that a log record may hold, where payloads are logged."""
_BLANK: Final = b" \t\r\n\xef\xbb\xbf"
"""What may come before a body: white space, a byte order mark."""
_WHOLE_MAX: Final = 16 * 1024 * 1024
"""Bytes of a whole answer that came where a stream was asked for."""


class Sniffer:
    """Tells by the first byte whether an answer is the stream that was asked for, whatever it is labelled:
    some providers ignore `stream: true`, some say in an event stream's place that they failed, and some call
    their stream JSON. Holds on to what is no stream."""

    __slots__ = ("_held", "_size", "_starts", "answer", "whole")

    def __init__(self, answer: Callable[[bytes], Json], starts: bytes) -> None:
        """`answer` reads a whole answer; `starts` are the bytes that one may begin with, and a stream of the
        same format may not."""
        self.answer = answer
        self.whole: bool | None = None
        """It is no stream, as far as one can tell; None: there is nothing to tell it by yet."""
        self._starts = starts
        self._held: list[bytes] = []
        self._size = 0

    def take(self, data: bytes) -> bytes:
        """What is known to be a stream, from its beginning. ApiError (502) for a whole answer too large."""
        if self.whole is None and (start := data.lstrip(_BLANK)[:1]):
            self.whole = start in self._starts
        if self.whole is False:
            return self.held(data)
        self._held.append(data)
        self._size += len(data)
        if self._size > _WHOLE_MAX:
            raise ApiError(
                502, f"the provider's answer exceeds {_WHOLE_MAX} bytes", code="upstream_answer_too_large"
            )
        return b""

    def held(self, data: bytes = b"") -> bytes:
        """All that was held on to, and `data`."""
        return b"".join([*self._held, data])

    def close(self) -> None:
        """Let go of what is held, and of whoever reads it: nothing more comes."""
        self._held.clear()
        self.answer = _nobody


def _nobody(data: bytes) -> Json:
    raise AssertionError("the stream has ended")


class Stream(ABC):
    """A `StreamTranslation` (see there)."""

    binary = False

    def __init__(self, encoder: StreamEncoder, call: Call) -> None:
        self.content_type = encoder.content_type
        self.headers: Headers = {}
        self.failed: ApiError | None = None
        self.ended = False
        """`finish` was called, or the stream broke: nothing more goes out."""
        self.captured: bytearray | None = None
        """The provider's bytes so far, up to `CAPTURED_MAX`, for the log record; None: not wanted."""
        self.on_start: Callable[[], None] | None = None
        """To be called when the client gets its first bytes: no other target will be tried."""
        self.overheard: Callable[[bytes], None] | None = None
        """Told the provider's bytes as they come; None: nobody wants them."""
        self.sniffer: Sniffer | None = None
        """None once it is known that this is a stream."""
        self._encoder = encoder
        self._call = call

    @abstractmethod
    def _take(self, data: bytes) -> bytes:
        """Bytes for the client out of bytes from the provider."""

    @abstractmethod
    def _rest(self) -> bytes:
        """What is left when the provider has closed, with the terminator if the answer is complete."""

    def feed(self, data: bytes) -> bytes:
        if self.ended:
            return b""
        if self.captured is not None and len(self.captured) < CAPTURED_MAX:
            self.captured += data[: CAPTURED_MAX - len(self.captured)]
        if self.overheard is not None:
            self.overheard(data)
        try:
            out = self._take(data) if self.sniffer is None else self._sniffed(self.sniffer, data)
        except Exception as error:
            return self._broke_on(error)
        if self.on_start is not None and out and not self.ended:
            self.on_start()
            self.on_start = None
        return out

    def finish(self) -> bytes:
        if self.ended:
            return b""
        try:
            rest = self._end()
        except Exception as error:
            rest = self._broke_on(error)
        self.ended = True
        return rest

    def abort(self, error: ApiError) -> bytes:
        if self.ended:
            return b""
        self.settle()
        return self._break(error)

    def settle(self) -> None:
        """Nobody reads on: have what is known so far noted on the call."""
        if not self.ended:
            try:
                self._end()
            except Exception as error:
                self._broke_on(error)
            self.failed = None
            self.ended = True

    def _sniffed(self, sniffer: Sniffer, data: bytes) -> bytes:
        data = sniffer.take(data)
        if sniffer.whole is not False:
            return b""
        self.sniffer = None
        return self._take(data)

    def _end(self) -> bytes:
        """`_rest`; a whole answer becomes a stream for the client, who asked for one."""
        sniffer = self.sniffer
        if sniffer is None:
            return self._rest()
        data = sniffer.held()
        try:
            loads_lenient(data)
        except ValueError:
            # Lines of JSON, or one that was cut off: the format's own decoder knows which.
            out = self._take(data)
            return out if self.ended else out + self._rest()
        encoder = self._encoder
        chunks = chunks_of(sniffer.answer(data))
        return b"".join([*map(encoder.encode, chunks), encoder.finish()])

    def _break(self, error: ApiError) -> bytes:
        self.failed = error.to_keep()
        self.ended = True
        return self._encoder.error(error)

    def let_go(self) -> None:
        """Nobody asks any more: forget who answers (`Exchange.close`)."""
        self.on_start = None
        if self.sniffer is not None:
            self.sniffer.close()

    def _broke_on(self, error: Exception) -> bytes:
        if not isinstance(error, ApiError):
            # Whatever a provider sends, the client gets a clear end; the traceback is ours to read.
            log.exception("a stream could not be translated", provider=self._call.provider)
            error = ApiError(
                502,
                f"the stream of {self._call.provider} could not be translated",
                code="upstream_invalid_answer",
            )
        return self._break(error)


class TranslatedStream(Stream):
    """The provider's stream, decoded to OpenAI chunks and encoded as the client's format."""

    def __init__(self, decoder: StreamDecoder, encoder: StreamEncoder, call: Call) -> None:
        super().__init__(encoder, call)
        self._decoder = decoder

    def _take(self, data: bytes) -> bytes:
        return self._encoded(self._decoder.feed(data))

    def _rest(self) -> bytes:
        rest = self._encoded(self._decoder.finish())
        return rest if self.failed else rest + self._encoder.finish()

    def _encoded(self, items: Iterable[StreamItem]) -> bytes:
        out = []
        for item in items:
            if isinstance(item, ApiError):
                out.append(self._break(item))
                break
            out.append(self._encoder.encode(item))
        return b"".join(out)


class PassedStream(Stream):
    """Same format on both sides: read on the way, and ended with an error where it was cut off."""

    def __init__(self, observer: StreamObserver, encoder: StreamEncoder, call: Call) -> None:
        super().__init__(encoder, call)
        self._observer = observer

    def _take(self, data: bytes) -> bytes:
        passed = self._observer.feed(data)
        self._see_failure()
        return passed

    def _rest(self) -> bytes:
        rest = self._observer.finish()
        if self._observer.complete or self._see_failure():
            return rest
        return rest + self._break(
            ApiError(
                502, "the provider's stream ended before its answer did", code="upstream_stream_truncated"
            )
        )

    def _see_failure(self) -> bool:
        """Whether the provider ended its stream with an error, which has passed through."""
        if self._observer.failed is None:
            return False
        self.failed = self._observer.failed
        self.ended = True
        return True


class NoEvents:
    """A `StreamEncoder` that has nothing to say: of an answer that is bytes."""

    def __init__(self, content_type: str) -> None:
        self.content_type = content_type

    def encode(self, chunk: Json) -> bytes:
        return b""

    def finish(self) -> bytes:
        return b""

    def error(self, error: ApiError) -> bytes:
        return b""
