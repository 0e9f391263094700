"""The things that a cluster consists of, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union


class DatabaseType(str, Enum):
    """What a database shows first; each holds tables and documents."""

    SQL = "SQL"
    NOSQL = "NOSQL"


class PartitionType(str, Enum):
    """Which way a database is divided: by rows, by columns, or both."""

    HORIZONTAL = "HORIZONTAL"
    VERTICAL = "VERTICAL"
    MIXED = "MIXED"


class NodeStatus(str, Enum):
    """How a storage node is."""

    ACTIVE = "active"
    SUSPECTED = "suspected"
    INACTIVE = "inactive"
    DRAINING = "draining"
    SYNCING = "syncing"


@dataclass
class ColumnDefinition:
    """A column of a table. A default is text that is SQL, or a number, boolean or None."""

    name: str
    data_type: str
    primary_key: bool = False
    nullable: bool = True
    default: Any = None

    def to_dict(self) -> Dict[str, Any]:
        """As it is sent."""
        return {
            "name": self.name,
            "data_type": self.data_type,
            "primary_key": self.primary_key,
            "nullable": self.nullable,
            "default": self.default,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ColumnDefinition:
        """As it was answered."""
        return cls(
            name=data["name"],
            data_type=data["data_type"],
            primary_key=data.get("primary_key", False),
            nullable=data.get("nullable", True),
            default=data.get("default"),
        )


@dataclass
class TableSchema:
    """A table: its columns, and the columns with an index of their own."""

    name: str
    columns: List[ColumnDefinition]
    indexes: List[str] = field(default_factory=list)
    #: The column that its rows are spread by, if not the database's.
    partition_key: Optional[str] = None
    #: Whether every partition has a full copy of it.
    reference: bool = False
    #: Columns that lie together, by the name of their group.
    column_groups: Dict[str, List[str]] = field(default_factory=dict)

    def to_dict(self) -> Dict[str, Any]:
        """As it is sent."""
        data: Dict[str, Any] = {
            "name": self.name,
            "columns": [column.to_dict() for column in self.columns],
            "indexes": list(self.indexes),
        }
        if self.partition_key is not None:
            data["partition_key"] = self.partition_key
        if self.reference:
            data["reference"] = True
        if self.column_groups:
            data["column_groups"] = self.column_groups
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TableSchema:
        """As it was answered."""
        return cls(
            name=data["name"],
            columns=[ColumnDefinition.from_dict(column) for column in data.get("columns", [])],
            indexes=list(data.get("indexes", [])),
            reference=bool(data.get("reference", False)),
        )


@dataclass
class DatabaseSchema:
    """A database as the catalog describes it."""

    name: str
    db_type: DatabaseType
    partition_type: PartitionType
    partition_key: Optional[str] = None
    tables: List[TableSchema] = field(default_factory=list)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DatabaseSchema:
        """As it was answered."""
        return cls(
            name=data["name"],
            db_type=DatabaseType(data["db_type"]),
            partition_type=PartitionType(data["partition_type"]),
            partition_key=data.get("partition_key"),
            tables=[TableSchema.from_dict(table) for table in data.get("tables") or []],
        )


@dataclass
class StorageNode:
    """A process that keeps partitions."""

    id: str
    host: str
    port: int
    status: NodeStatus = NodeStatus.ACTIVE
    databases: List[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address of its own routes."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StorageNode:
        """As it was answered."""
        return cls(
            id=data["id"],
            host=data["host"],
            port=data["port"],
            status=NodeStatus(data["status"]),
            databases=list(data.get("databases", [])),
        )


@dataclass
class Partition:
    """A part of a database, and where its replicas are."""

    id: str
    database_name: str
    partition_type: PartitionType
    partition_key: Optional[str] = None
    #: What it owns: ``{"slots": [first, last]}`` or ``{"from": …, "to": …}``.
    partition_value: Any = None
    #: Its columns as ``table.column``; all if ``None``.
    columns: Optional[List[str]] = None
    storage_nodes: List[str] = field(default_factory=list)
    leader: Optional[str] = None
    rows: Optional[int] = None
    bytes: Optional[int] = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Partition:
        """As it was answered."""
        return cls(
            id=data["id"],
            database_name=data["database_name"],
            partition_type=PartitionType(data["partition_type"]),
            partition_key=data.get("partition_key"),
            partition_value=data.get("partition_value"),
            columns=data.get("columns"),
            storage_nodes=list(data.get("storage_nodes", [])),
            leader=data.get("leader"),
            rows=data.get("rows"),
            bytes=data.get("bytes"),
        )


@dataclass
class QueryResult:
    """What a query object answered. An error is told here, not raised."""

    success: bool
    data: Any = None
    error: Optional[str] = None
    affected_rows: int = 0
    #: Whether the answer came from the coordinator's cache.
    cached: bool = False

    def __bool__(self) -> bool:
        return self.success


@dataclass
class SqlResult:
    """What an SQL statement did: the rows that it answered, and those that it changed."""

    columns: List[str] = field(default_factory=list)
    types: List[str] = field(default_factory=list)
    rows: List[List[Any]] = field(default_factory=list)
    truncated: bool = False
    affected_rows: int = 0
    last_insert_rowid: Optional[int] = None
    #: Of a statement that failed in a request that is not atomic.
    error: Optional[str] = None

    def __iter__(self) -> Iterator[List[Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def dicts(self) -> List[Dict[str, Any]]:
        """The rows by the names of their columns."""
        return [dict(zip(self.columns, row)) for row in self.rows]

    def scalar(self) -> Any:
        """The first value of the first row; ``None`` without a row."""
        return self.rows[0][0] if self.rows else None


@dataclass
class Updated:
    """What an update of documents did."""

    matched: int
    modified: int
    upserted_id: Union[int, str, None] = None


#: A statement, or a statement with its parameters.
Statement = Union[str, Tuple[str, Any]]
