"""Requests over connections that are kept, for asyncio: HTTP/1.1 as far as a coordinator speaks it."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Dict, List, Optional, Sequence, Tuple, TypeVar

from . import errors
from .calls import Call, split_addresses
from .errors import PolyliteError
from .retry import RetryPolicy, may_repeat, should_move_on
from .transport import HEADERS, host_and_port, read_answer

T = TypeVar("T")

#: Longest head of an answer, in bytes.
HEAD_MAX = 64 * 1024


class _Connection:
    """One connection, on which one request is under way at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def exchange(self, head: bytes, body: bytes) -> Tuple[int, Dict[str, str], bytes]:
        """Sends a request; its answer's status, headers and body."""
        self._writer.write(head + body)
        await self._writer.drain()
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        headers = {}
        for line in filter(None, lines[1:]):
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return status, headers, await self._body(headers)

    async def _body(self, headers: Dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await self._reader.readexactly(int(headers.get("content-length", "0")))
        pieces: List[bytes] = []
        while True:
            size = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
            piece = await self._reader.readexactly(size + 2)
            if size == 0:
                return b"".join(pieces)
            pieces.append(piece[:-2])

    @property
    def is_closed(self) -> bool:
        """Whether the server has hung up while the connection was idle."""
        return self._reader.at_eof() or self._writer.is_closing()

    def close(self) -> None:
        """Closes it."""
        self._writer.close()


class AsyncTransport:
    """Sends calls to coordinators."""

    def __init__(
        self, coordinators: Sequence[str], timeout: float, retry: RetryPolicy, api_key: Optional[str]
    ) -> None:
        self._addresses = split_addresses(coordinators)
        self._timeout = timeout
        self._retry = retry
        self._headers = dict(HEADERS)
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._preferred = 0
        self._idle: Dict[str, List[_Connection]] = {}

    async def run(self, call: Call[T], address: Optional[str] = None) -> T:
        """Sends a call until it is answered or must not be repeated; to one address alone, if it is given."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        addresses = (address,) if address else self._addresses
        at = 0 if address else self._preferred
        for attempt in range(1, self._retry.attempts_max + 1):
            try:
                answer = call.parse(await self._attempt(addresses[at % len(addresses)], call, deadline))
            except PolyliteError as error:
                if should_move_on(error):
                    at += 1
                all_tried = attempt >= len(addresses)
                pause = self._retry.pause(attempt, error.retry_after) if all_tried else 0.0
                is_last = attempt == self._retry.attempts_max or loop.time() + pause >= deadline
                if is_last or not may_repeat(call.reads, error):
                    raise
                await asyncio.sleep(pause)
            else:
                if not address:
                    self._preferred = at % len(addresses)
                return answer
        raise AssertionError("the last attempt answers or raises")

    async def _attempt(self, address: str, call: Call[Any], deadline: float) -> Any:
        loop = asyncio.get_running_loop()
        connection = await self._connection(address, max(deadline - loop.time(), 0.001))
        body = call.payload()
        keep = False
        try:
            exchange = connection.exchange(self._head(address, call, len(body)), body)
            status, headers, answer = await asyncio.wait_for(exchange, max(deadline - loop.time(), 0.001))
            keep = headers.get("connection", "").lower() != "close"
        except (OSError, EOFError, ValueError, asyncio.TimeoutError, asyncio.LimitOverrunError) as error:
            raise errors.lost(address, error, call.reads) from error
        finally:
            # One that was given up in the middle cannot be used again.
            if keep:
                self._idle.setdefault(address, []).append(connection)
            else:
                connection.close()
        return read_answer(status, answer, call.reads, headers.get("retry-after"))

    async def _connection(self, address: str, timeout: float) -> _Connection:
        idle = self._idle.get(address, [])
        while idle:
            connection = idle.pop()
            if not connection.is_closed:
                return connection
            connection.close()
        secure, host, port = host_and_port(address)
        context = ssl.create_default_context() if secure else None
        try:
            opening = asyncio.open_connection(host, port, ssl=context, limit=HEAD_MAX)
            return _Connection(*await asyncio.wait_for(opening, timeout))
        except (OSError, asyncio.TimeoutError) as error:
            raise errors.unreachable(address, error) from error

    def _head(self, address: str, call: Call[Any], length: int) -> bytes:
        host = address.split("://", 1)[1]
        headers = {"Host": host, "Content-Length": str(length), **self._headers}
        lines = [
            f"{call.method} {call.path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    async def close(self) -> None:
        """Closes the connections that are kept."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()
