"""Client of Polylite, a database made of many SQLite files.

``DatabaseClient`` speaks to a cluster, ``AsyncDatabaseClient`` does so under asyncio. Both need nothing but
Python's standard library.
"""

from .async_client import AsyncDatabaseClient, AsyncQueryRouter
from .async_collection import AsyncCollection
from .async_transaction import AsyncTransaction
from .client import DatabaseClient, QueryRouter
from .collection import Collection
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
from .transaction import Transaction

__all__ = [
    "AsyncCollection",
    "AsyncDatabaseClient",
    "AsyncQueryRouter",
    "AsyncTransaction",
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
    "Transaction",
    "Updated",
    "parse_connection_string",
]
