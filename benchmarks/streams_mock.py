"""A provider for benchmarks: cheap, in a process of its own, every token saying when it was sent.

    python benchmarks/streams_mock.py [--port 0]

Speaks OpenAI's chat completions and, under `/v1/messages`, Anthropic's messages. What to do stands in the
prompt, so that it gets through any gateway: `tokens=100 rate=50 mode=ok`. Modes: `ok`; `error`, a 500;
`cut`, a stream that breaks off half-way. A token reads `@<nanoseconds>@`, by the clock that all processes of
this machine share (`time.monotonic_ns`). One thread on raw sockets, as it shares the machine with what is
measured.
"""

from __future__ import annotations

import argparse
import heapq
import re
import select
import socket
import time
from dataclasses import dataclass, field

_ORDER = re.compile(rb"tokens=(\d+) rate=([\d.]+) mode=(\w+)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

_OPENAI_CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini",'
    b'"system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"%b"},"logprobs":null,'
    b'"finish_reason":null}]}\n\n'
)
_OPENAI_END = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini",'
    b'"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":100,"total_tokens":109}}\n\n'
    b"data: [DONE]\n\n"
)
_OPENAI_WHOLE = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":'
    b'[{"index":0,"message":{"role":"assistant","content":"Two."},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}'
)
_ANTHROPIC_START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":'
    b'"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":'
    b'{"input_tokens":9,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
    b'{"type":"text","text":""}}\n\n'
)
_ANTHROPIC_CHUNK = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
    b'"text":"%b"}}\n\n'
)
_ANTHROPIC_END = (
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
    b'"stop_sequence":null},"usage":{"output_tokens":100}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
_ANTHROPIC_WHOLE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text",'
    b'"text":"Two."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":2}}'
)
_ERROR = b'{"error":{"message":"mock trouble","type":"server_error"}}'
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _whole(body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(eq=False)
class _Peer:
    sock: socket.socket
    buffer: bytes = b""
    chunk: bytes = b""
    end: bytes = b""
    left: int = 0
    step: float = 0.0
    due: float = 0.0
    cut: bool = False
    open: bool = True


@dataclass
class Mock:
    """Answers requests until the process ends."""

    listener: socket.socket
    peers: dict[int, _Peer] = field(default_factory=dict)
    due: list[tuple[float, int, _Peer]] = field(default_factory=list)

    def run(self) -> None:
        poll = select.epoll()
        self.listener.setblocking(False)
        poll.register(self.listener.fileno(), select.EPOLLIN)
        due = self.due
        number = 0
        while True:
            wait = max(0.0, due[0][0] - time.monotonic()) if due else -1
            for fd, _ in poll.poll(wait):
                if fd == self.listener.fileno():
                    sock, _address = self.listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.setblocking(False)
                    self.peers[sock.fileno()] = _Peer(sock)
                    poll.register(sock.fileno(), select.EPOLLIN)
                elif not self._readable(self.peers[fd]):
                    self._close(poll, self.peers[fd])
            now = time.monotonic()
            while due and due[0][0] <= now:
                _, _, peer = heapq.heappop(due)
                if not peer.open:
                    continue
                if not self._token(peer):
                    self._close(poll, peer)
                elif peer.left >= 0:
                    peer.due += peer.step
                    number += 1
                    heapq.heappush(due, (peer.due, number, peer))

    def _close(self, poll: select.epoll, peer: _Peer) -> None:
        peer.open = False
        del self.peers[peer.sock.fileno()]
        poll.unregister(peer.sock.fileno())
        peer.sock.close()

    def _readable(self, peer: _Peer) -> bool:
        try:
            data = peer.sock.recv(65536)
        except OSError:
            return False
        if not data:
            return False
        peer.buffer += data
        head, mark, rest = peer.buffer.partition(b"\r\n\r\n")
        if not mark:
            return True
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return True
        peer.buffer = rest[size:]
        return self._answer(peer, head, rest[:size])

    def _answer(self, peer: _Peer, head: bytes, body: bytes) -> bool:
        anthropic = b"/v1/messages" in head[:200]
        order = _ORDER.search(body)
        tokens, rate, mode = (int(order[1]), float(order[2]), order[3]) if order else (0, 0.0, b"ok")
        if mode == b"error":
            return self._send(peer, _whole(_ERROR, b"500 Trouble"))
        if not tokens:
            return self._send(peer, _whole(_ANTHROPIC_WHOLE if anthropic else _OPENAI_WHOLE))
        peer.chunk = _ANTHROPIC_CHUNK if anthropic else _OPENAI_CHUNK
        peer.end = _ANTHROPIC_END if anthropic else _OPENAI_END
        peer.cut = mode == b"cut"
        peer.left = tokens // 2 if peer.cut else tokens
        start = _chunk(_ANTHROPIC_START) if anthropic else b""
        if not rate:
            every = b"".join(_chunk(peer.chunk % b"@0@") for _ in range(peer.left))
            if peer.cut:
                self._send(peer, _STREAM_HEAD + start + every)
                return False
            return self._send(peer, _STREAM_HEAD + start + every + _chunk(peer.end) + b"0\r\n\r\n")
        peer.step = 1.0 / rate
        peer.due = time.monotonic() + peer.step
        heapq.heappush(self.due, (peer.due, 0, peer))
        return self._send(peer, _STREAM_HEAD + start)

    def _token(self, peer: _Peer) -> bool:
        peer.left -= 1
        if peer.left < 0:
            return not peer.cut and self._send(peer, _chunk(peer.end) + b"0\r\n\r\n")
        return self._send(peer, _chunk(peer.chunk % (b"@%d@" % time.monotonic_ns())))

    @staticmethod
    def _send(peer: _Peer, data: bytes) -> bool:
        try:
            peer.sock.send(data)  # small enough for any socket buffer here
        except OSError:
            return False
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=0)
    listener = socket.create_server(("127.0.0.1", parser.parse_args().port), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    Mock(listener).run()


if __name__ == "__main__":
    main()
