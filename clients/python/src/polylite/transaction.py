"""Transactions over several requests, for threads."""

from __future__ import annotations

from types import TracebackType
from typing import List, Mapping, Optional, Sequence, Type

from . import calls
from .calls import OptionValue
from .collection import Collection
from .errors import PolyliteError
from .models import SqlResult, Statement
from .transport import Transport
from .values import Params


class Transaction:
    """A transaction; made by ``DatabaseClient.transaction``. Errors raise ``PolyliteError``.

    It begins with its ``with`` statement and commits at that one's end; if an exception ends it, nothing
    is applied. Where others got in its way, an error with the code ``serialization_failure`` says so: run
    the whole again.
    """

    def __init__(self, transport: Transport, database: str, options: Mapping[str, OptionValue]) -> None:
        self._transport = transport
        self._database = database
        self._options = options
        self._id: Optional[str] = None

    @property
    def id(self) -> str:
        """Its name, once it has begun."""
        if self._id is None:
            raise ValueError("the transaction has not begun")
        return self._id

    @property
    def is_open(self) -> bool:
        """Whether it has begun and was not ended here."""
        return self._id is not None

    def begin(self) -> Transaction:
        """Begins it."""
        if self._id is not None:
            raise ValueError("the transaction has begun already")
        self._id = self._transport.run(calls.begin(self._database, self._options))
        return self

    def commit(self) -> None:
        """Applies all of it, or fails and applies nothing."""
        self._transport.run(calls.end(self._database, self.id, "commit"))
        self._id = None

    def rollback(self) -> None:
        """Applies nothing of it."""
        self._transport.run(calls.end(self._database, self.id, "rollback"))
        self._id = None

    def __enter__(self) -> Transaction:
        return self.begin()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._id is None:
            return
        if error is None:
            self.commit()
            return
        try:
            self.rollback()
        except PolyliteError:
            # What has ended the block is to be heard of; the transaction ends by itself.
            pass

    def sql(
        self,
        statement: str,
        params: Optional[Params] = None,
        *,
        lock: bool = False,
        timeout_ms: Optional[int] = None,
        max_rows: Optional[int] = None,
    ) -> SqlResult:
        """Runs an SQL statement; with ``lock``, other writers of what it touches wait for a moment."""
        options = calls.within(self.id, lock, timeout_ms, max_rows)
        return self._transport.run(calls.sql(self._database, statement, params, options))

    def batch(
        self,
        statements: Sequence[Statement],
        *,
        timeout_ms: Optional[int] = None,
        max_rows: Optional[int] = None,
    ) -> List[SqlResult]:
        """Runs SQL statements, each a text or a text and its parameters: all are applied or none."""
        options = calls.within(self.id, False, timeout_ms, max_rows)
        return self._transport.run(calls.batch(self._database, statements, True, options))

    def collection(self, name: str = "default") -> Collection:
        """A collection of documents, as the transaction sees and changes it."""
        return Collection(self._transport, self._database, name, self.id)
