"""Transactions over several requests, for asyncio."""

from __future__ import annotations

from types import TracebackType
from typing import List, Mapping, Optional, Sequence, Type

from . import calls
from .calls import OptionValue
from .async_collection import AsyncCollection
from .errors import PolyliteError
from .models import SqlResult, Statement
from .async_transport import AsyncTransport
from .values import Params


class AsyncTransaction:
    """A transaction; made by ``AsyncDatabaseClient.transaction``. Errors raise ``PolyliteError``.

    It begins with its ``async with`` statement and commits at that one's end; if an exception ends it,
    nothing is applied. Where others got in its way, an error with the code ``serialization_failure`` says
    so: run the whole again.
    """

    def __init__(self, transport: AsyncTransport, database: str, options: Mapping[str, OptionValue]) -> None:
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

    async def begin(self) -> AsyncTransaction:
        """Begins it."""
        if self._id is not None:
            raise ValueError("the transaction has begun already")
        self._id = await self._transport.run(calls.begin(self._database, self._options))
        return self

    async def commit(self) -> None:
        """Applies all of it, or fails and applies nothing."""
        await self._transport.run(calls.end(self._database, self.id, "commit"))
        self._id = None

    async def rollback(self) -> None:
        """Applies nothing of it."""
        await self._transport.run(calls.end(self._database, self.id, "rollback"))
        self._id = None

    async def __aenter__(self) -> AsyncTransaction:
        return await self.begin()

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._id is None:
            return
        if error is None:
            await self.commit()
            return
        try:
            await self.rollback()
        except PolyliteError:
            # What has ended the block is to be heard of; the transaction ends by itself.
            pass

    async def sql(
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
        return await self._transport.run(calls.sql(self._database, statement, params, options))

    async def batch(
        self,
        statements: Sequence[Statement],
        *,
        timeout_ms: Optional[int] = None,
        max_rows: Optional[int] = None,
    ) -> List[SqlResult]:
        """Runs SQL statements, each a text or a text and its parameters: all are applied or none."""
        options = calls.within(self.id, False, timeout_ms, max_rows)
        return await self._transport.run(calls.batch(self._database, statements, True, options))

    def collection(self, name: str = "default") -> AsyncCollection:
        """A collection of documents, as the transaction sees and changes it."""
        return AsyncCollection(self._transport, self._database, name, self.id)
