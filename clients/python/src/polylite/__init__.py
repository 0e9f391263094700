"""Client of Polylite, a database made of many SQLite files.

``DatabaseClient`` speaks to a cluster, ``AsyncDatabaseClient`` does so under asyncio. Both need nothing but
Python's standard library.
"""

from .async_client import AsyncCollection, AsyncDatabaseClient, AsyncQueryRouter
from .client import Collection, DatabaseClient, QueryRouter
from .connection_string import parse_connection_string
from .errors import PolyliteError
from .models import (
    ColumnDefinition,
    DatabaseSchema,
    DatabaseType,
    NodeStatus,
    Partition,
    PartitionType,
    QueryResult,
    SqlResult,
    StorageNode,
    TableSchema,
    Updated,
)
from .retry import RetryPolicy

__all__ = [
    "AsyncCollection",
    "AsyncDatabaseClient",
    "AsyncQueryRouter",
    "Collection",
    "ColumnDefinition",
    "DatabaseClient",
    "DatabaseSchema",
    "DatabaseType",
    "NodeStatus",
    "Partition",
    "PartitionType",
    "PolyliteError",
    "QueryResult",
    "QueryRouter",
    "RetryPolicy",
    "SqlResult",
    "StorageNode",
    "TableSchema",
    "Updated",
    "parse_connection_string",
]
