"""Requests over connections that are kept, for threads."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from typing import Any, Dict, Optional, Sequence, Set, Tuple, TypeVar
from urllib.parse import urlsplit

from . import errors
from .calls import Call, split_addresses
from .errors import PolyliteError
from .retry import RetryPolicy, may_repeat, should_move_on

T = TypeVar("T")

#: What every request says of itself.
HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


def read_answer(status: int, body: bytes, reads: bool, retry_after: Optional[str]) -> Any:
    """The JSON of an answer; an error raises."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not 200 <= status < 300 or not isinstance(answer, dict):
        pause = float(retry_after) if retry_after and retry_after.isdigit() else None
        raise errors.of_answer(status, answer, reads, pause)
    return answer


class Transport:
    """Sends calls to coordinators. Each thread has connections of its own."""

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
        self._local = threading.local()
        self._all: Set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()

    def run(self, call: Call[T], address: Optional[str] = None) -> T:
        """Sends a call until it is answered or must not be repeated; to one address alone, if it is given."""
        deadline = time.monotonic() + self._timeout
        addresses = (address,) if address else self._addresses
        at = 0 if address else self._preferred
        for attempt in range(1, self._retry.attempts_max + 1):
            try:
                answer = call.parse(self._attempt(addresses[at % len(addresses)], call))
            except PolyliteError as error:
                if should_move_on(error):
                    at += 1
                all_tried = attempt >= len(addresses)
                pause = self._retry.pause(attempt, error.retry_after) if all_tried else 0.0
                is_last = attempt == self._retry.attempts_max or time.monotonic() + pause >= deadline
                if is_last or not may_repeat(call.reads, error):
                    raise
                time.sleep(pause)
            else:
                if not address:
                    self._preferred = at % len(addresses)
                return answer
        raise AssertionError("the last attempt answers or raises")

    def _attempt(self, address: str, call: Call[Any]) -> Any:
        connection = self._connections().pop(address, None)
        if connection is not None and is_closed(connection):
            self._close(connection)
            connection = None
        connection = connection or self._open(address)
        try:
            return self._send(connection, address, call)
        except (OSError, http.client.HTTPException) as error:
            raise errors.lost(address, error, call.reads) from error

    def _send(self, connection: http.client.HTTPConnection, address: str, call: Call[Any]) -> Any:
        keep = False
        try:
            connection.request(call.method, call.path, call.payload() or None, self._headers)
            response = connection.getresponse()
            body = response.read()
            keep = not response.will_close
        finally:
            if keep:
                self._connections()[address] = connection
            else:
                self._close(connection)
        return read_answer(response.status, body, call.reads, response.getheader("Retry-After"))

    def _connections(self) -> Dict[str, http.client.HTTPConnection]:
        if not hasattr(self._local, "connections"):
            self._local.connections = {}
        connections: Dict[str, http.client.HTTPConnection] = self._local.connections
        return connections

    def _open(self, address: str) -> http.client.HTTPConnection:
        secure, host, port = host_and_port(address)
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(host, port, timeout=self._timeout)
        try:
            connection.connect()
        except OSError as error:
            raise errors.unreachable(address, error) from error
        with self._lock:
            self._all.add(connection)
        return connection

    def _close(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._all.discard(connection)
        connection.close()

    def close(self) -> None:
        """Closes the connections of all threads; none of them may be in use."""
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._local = threading.local()


def is_closed(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has hung up while a connection was idle."""
    if connection.sock is None:
        return True
    timeout = connection.sock.gettimeout()
    try:
        connection.sock.settimeout(0)
        # Nothing was asked, so that there is nothing to be read but the end.
        connection.sock.recv(1, socket.MSG_PEEK)
        return True
    except (BlockingIOError, ValueError):
        # Nothing yet; or encrypted, where one cannot look ahead.
        return False
    except OSError:
        return True
    finally:
        connection.sock.settimeout(timeout)


def host_and_port(address: str) -> Tuple[bool, str, int]:
    """Whether an address is secure, its host, and its port."""
    parts = urlsplit(address)
    secure = parts.scheme == "https"
    return secure, parts.hostname or "localhost", parts.port or (443 if secure else 80)
