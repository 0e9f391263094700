"""The client for threads."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

from . import calls
from .calls import Call, DocumentId
from .collection import Collection
from .errors import PolyliteError
from .models import (
    DatabaseSchema,
    DatabaseType,
    Partition,
    PartitionType,
    QueryResult,
    SqlResult,
    Statement,
    StorageNode,
    TableSchema,
)
from .retry import RetryPolicy
from .transaction import Transaction
from .transport import Transport
from .values import Params

T = TypeVar("T")

#: Attempts to ask a storage node directly, and the first pause between them in seconds.
DIRECT_ATTEMPTS = 3
DIRECT_PAUSE = 0.1


class QueryRouter:
    """Where query objects go: to a coordinator, or straight to a storage node."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def route_query(
        self, db_name: str, query: Mapping[str, Any], direct_node: Optional[StorageNode] = None
    ) -> QueryResult:
        """Runs a query object. A storage node that does not answer is reported, and a coordinator asked."""
        call = calls.query(db_name, query)
        if direct_node is None:
            return self._answered(call)
        pause = DIRECT_PAUSE
        for attempt in range(DIRECT_ATTEMPTS):
            try:
                return self._transport.run(call, direct_node.url)
            except PolyliteError as error:
                if error.status is not None or error.outcome != "not_applied":
                    return failed(error)
            if attempt + 1 < DIRECT_ATTEMPTS:
                time.sleep(pause)
                pause *= 2
        try:
            self._transport.run(calls.hint_inactive(direct_node.id))
        except PolyliteError:
            # A hint only; the cluster watches its nodes itself.
            pass
        return self._answered(call)

    def get_database_partitions(self, db_name: str) -> List[Partition]:
        """The partitions of a database; none if there is no such database."""
        try:
            return self._transport.run(calls.partitions(db_name))
        except PolyliteError as error:
            if error.status == 404:
                return []
            raise

    def _answered(self, call: Call[QueryResult]) -> QueryResult:
        try:
            return self._transport.run(call)
        except PolyliteError as error:
            return failed(error)


def failed(error: PolyliteError) -> QueryResult:
    """The result of a query that was not answered."""
    return QueryResult(success=False, error=error.message)


class DatabaseClient:
    """A cluster, by the address of a coordinator, or of several: any of them answers any request.

    May be shared by threads. The calls that make and drop databases and those with query objects tell errors
    in what they return; all others raise ``PolyliteError``.
    """

    def __init__(
        self,
        coordinator_url: Union[str, Sequence[str]] = "http://localhost:5000",
        *,
        timeout: float = 30.0,
        retry: Optional[RetryPolicy] = None,
        api_key: Optional[str] = None,
    ) -> None:
        addresses = [coordinator_url] if isinstance(coordinator_url, str) else list(coordinator_url)
        self._transport = Transport(addresses, timeout, retry or RetryPolicy(), api_key)
        self.query_router = QueryRouter(self._transport)

    def __enter__(self) -> DatabaseClient:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    # Databases.

    def create_database(
        self,
        name: str,
        db_type: Union[DatabaseType, str],
        tables: Optional[Sequence[Union[TableSchema, Mapping[str, Any]]]] = None,
        partition_type: Union[PartitionType, str, None] = None,
        partition_key: Optional[str] = None,
        **options: Any,
    ) -> Tuple[bool, Optional[str]]:
        """Makes a database, which takes writes when this returns: whether it was made, and else why not.

        ``options`` are further fields of ``POST /databases``, as ``partitions`` and ``replication_factor``.
        """
        try:
            call = calls.create_database(name, db_type, tables, partition_type, partition_key, options)
            self._transport.run(call)
        except PolyliteError as error:
            return False, error.message
        return True, None

    def list_databases(self) -> List[str]:
        """Names of the databases."""
        return self._transport.run(calls.list_databases())

    def get_database(self, name: str) -> Optional[DatabaseSchema]:
        """A database as the catalog describes it; ``None`` if there is none of that name."""
        try:
            return self._transport.run(calls.get_database(name))
        except PolyliteError as error:
            if error.status == 404:
                return None
            raise

    def delete_database(self, name: str) -> Tuple[bool, Optional[str]]:
        """Drops a database with all its data: whether that was done, and else why not."""
        try:
            self._transport.run(calls.delete_database(name))
        except PolyliteError as error:
            return False, error.message
        return True, None

    def get_storage_nodes(self) -> List[StorageNode]:
        """The storage nodes."""
        return self._transport.run(calls.storage_nodes())

    def get_database_partitions(self, db_name: str) -> List[Partition]:
        """The partitions of a database; none if there is no such database."""
        return self.query_router.get_database_partitions(db_name)

    # Query objects.

    def sql_query(
        self,
        db_name: str,
        table: str,
        columns: Optional[Sequence[str]] = None,
        where: Optional[Mapping[str, Any]] = None,
        order_by: Optional[str] = None,
        limit: Optional[int] = None,
    ) -> QueryResult:
        """Rows of a table."""
        query = calls.sql_query(table, columns, where, order_by, limit)
        return self.query_router.route_query(db_name, query)

    def sql_insert(self, db_name: str, table: str, values: Mapping[str, Any]) -> QueryResult:
        """Inserts a row."""
        return self.query_router.route_query(db_name, calls.sql_insert(table, values))

    def sql_update(
        self,
        db_name: str,
        table: str,
        values: Mapping[str, Any],
        where: Optional[Mapping[str, Any]] = None,
    ) -> QueryResult:
        """Changes the rows that fulfil all conditions; without any, every row."""
        return self.query_router.route_query(db_name, calls.sql_update(table, values, where))

    def sql_delete(self, db_name: str, table: str, where: Optional[Mapping[str, Any]] = None) -> QueryResult:
        """Deletes the rows that fulfil all conditions; without any, every row."""
        return self.query_router.route_query(db_name, calls.sql_delete(table, where))

    def nosql_get(
        self,
        db_name: str,
        collection: str = "default",
        doc_id: Optional[DocumentId] = None,
        where: Optional[Mapping[str, Any]] = None,
    ) -> QueryResult:
        """The document with an id, or those whose attributes equal others."""
        return self.query_router.route_query(db_name, calls.nosql_get(collection, doc_id, where))

    def nosql_insert(
        self, db_name: str, document: Mapping[str, Any], collection: str = "default"
    ) -> QueryResult:
        """Inserts a document."""
        return self.query_router.route_query(db_name, calls.nosql_insert(collection, document))

    def nosql_update(
        self,
        db_name: str,
        document: Mapping[str, Any],
        doc_id: Optional[DocumentId] = None,
        where: Optional[Mapping[str, Any]] = None,
        collection: str = "default",
    ) -> QueryResult:
        """Sets attributes of documents."""
        return self.query_router.route_query(db_name, calls.nosql_update(collection, document, doc_id, where))

    def nosql_delete(
        self,
        db_name: str,
        doc_id: Optional[DocumentId] = None,
        where: Optional[Mapping[str, Any]] = None,
        collection: str = "default",
    ) -> QueryResult:
        """Deletes documents."""
        return self.query_router.route_query(db_name, calls.nosql_delete(collection, doc_id, where))

    # SQL and documents.

    def sql(
        self,
        db_name: str,
        statement: str,
        params: Optional[Params] = None,
        *,
        level: Optional[str] = None,
        timeout_ms: Optional[int] = None,
        max_rows: Optional[int] = None,
    ) -> SqlResult:
        """Runs an SQL statement; its values are bound by position or by name."""
        options = {"level": level, "timeout_ms": timeout_ms, "max_rows": max_rows}
        return self._transport.run(calls.sql(db_name, statement, params, options))

    def batch(
        self,
        db_name: str,
        statements: Sequence[Statement],
        *,
        atomic: bool = True,
        level: Optional[str] = None,
        timeout_ms: Optional[int] = None,
        max_rows: Optional[int] = None,
    ) -> List[SqlResult]:
        """Runs SQL statements, each a text or a text and its parameters: all are applied or none."""
        options = {"level": level, "timeout_ms": timeout_ms, "max_rows": max_rows}
        return self._transport.run(calls.batch(db_name, statements, atomic, options))

    def transaction(
        self,
        db_name: str,
        *,
        read_only: bool = False,
        mode: Optional[str] = None,
        idle_timeout_ms: Optional[int] = None,
        max_duration_ms: Optional[int] = None,
    ) -> Transaction:
        """A transaction over several requests, for ``with``: it is applied at its end, or not at all.

        One that is ``read_only`` sees one moment; if its ``mode`` is ``pessimistic``, others wait for it.
        """
        options: Dict[str, Union[bool, int, str, None]] = {
            "read_only": read_only,
            "mode": mode,
            "idle_timeout_ms": idle_timeout_ms,
            "max_duration_ms": max_duration_ms,
        }
        return Transaction(self._transport, db_name, options)

    def collection(self, db_name: str, name: str = "default") -> Collection:
        """A collection of documents; it comes to be with its first one."""
        return Collection(self._transport, db_name, name)

    # The cluster.

    def cluster_status(self) -> Dict[str, Any]:
        """How the cluster is."""
        return self._transport.run(calls.cluster_status())

    def cache_stats(self) -> Dict[str, Any]:
        """What the coordinator's cache has done."""
        return self._transport.run(calls.cache_stats())

    def clear_cache(self) -> None:
        """Empties the coordinator's cache."""
        self._transport.run(calls.clear_cache())
