"""What can be asked, without the asking: each function makes a ``Call``, which any transport can carry."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Callable, Dict, Generic, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union
from urllib.parse import quote

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
    Updated,
)
from .values import Params, from_json, params_to_json, row_to_json

T = TypeVar("T")

#: An ``_id`` of a document.
DocumentId = Union[int, str]
#: A value among the options of a request.
OptionValue = Union[bool, int, str, None]
#: A filter of documents: an object of MongoDB's query language, or text like ``role == "Dev"``.
Filter = Union[Mapping[str, Any], str]


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its answer is read."""

    method: str
    path: str
    parse: Callable[[Any], T]
    body: Any = None
    #: Whether it changes nothing, and so may be repeated at will.
    reads: bool = False

    def payload(self) -> bytes:
        """The body as it is sent."""
        return b"" if self.body is None else json.dumps(self.body, allow_nan=False).encode("utf-8")


def segment(text: str) -> str:
    """Text as one segment of a path."""
    return quote(text, safe="")


def get(path: str, parse: Callable[[Any], T]) -> Call[T]:
    """A call that reads a route."""
    return Call("GET", path, parse, reads=True)


def nothing(_answer: Any) -> None:
    """For answers that say only that it is done."""


# Databases and the cluster.


def create_database(
    name: str,
    db_type: Union[DatabaseType, str],
    tables: Optional[Sequence[Union[TableSchema, Mapping[str, Any]]]],
    partition_type: Union[PartitionType, str, None],
    partition_key: Optional[str],
    options: Mapping[str, Any],
) -> Call[None]:
    """Makes a database; ``options`` are further fields of the request, as ``partitions``."""
    body: Dict[str, Any] = {"name": name, "db_type": DatabaseType(db_type).value, **options}
    if tables:
        body["tables"] = [
            table.to_dict() if isinstance(table, TableSchema) else dict(table) for table in tables
        ]
    if partition_type is not None:
        body["partition_type"] = PartitionType(partition_type).value
    if partition_key is not None:
        body["partition_key"] = partition_key
    return Call("POST", "/databases", nothing, body)


def list_databases() -> Call[List[str]]:
    """Names of the databases."""
    return get("/databases", lambda answer: list(answer["databases"]))


def get_database(name: str) -> Call[DatabaseSchema]:
    """What the catalog says of a database."""
    return get(f"/databases/{segment(name)}", lambda answer: DatabaseSchema.from_dict(answer["database"]))


def delete_database(name: str) -> Call[None]:
    """Drops a database with all its data."""
    return Call("DELETE", f"/databases/{segment(name)}", nothing)


def storage_nodes() -> Call[List[StorageNode]]:
    """The storage nodes."""
    return get("/nodes", lambda answer: [StorageNode.from_dict(node) for node in answer["nodes"].values()])


def partitions(database: str) -> Call[List[Partition]]:
    """The partitions of a database."""
    read = lambda answer: [Partition.from_dict(partition) for partition in answer["partitions"].values()]
    return get(f"/partitions/{segment(database)}", read)


def hint_inactive(node: str) -> Call[None]:
    """Tells that a storage node did not answer; it is then asked by the coordinator."""
    return Call("POST", f"/nodes/{segment(node)}/status", nothing, {"status": "inactive"}, reads=True)


def cluster_status() -> Call[Dict[str, Any]]:
    """How the cluster is."""
    return get("/cluster/status", dict)


def cache_stats() -> Call[Dict[str, Any]]:
    """What the coordinator's cache has done."""
    return get("/cache/stats", lambda answer: dict(answer["stats"]))


def clear_cache() -> Call[None]:
    """Empties the coordinator's cache."""
    return Call("POST", "/cache/clear", nothing, {}, reads=True)


# Query objects.


def query(database: str, query_object: Mapping[str, Any]) -> Call[QueryResult]:
    """A query object, as query files hold them."""
    reads = query_object.get("operation") in ("get", "query")
    return Call("POST", f"/query/{segment(database)}", _query_result, row_to_json(query_object), reads)


def _query_result(answer: Mapping[str, Any]) -> QueryResult:
    data = answer.get("data")
    if isinstance(data, list):
        data = [_from_row(row) for row in data]
    return QueryResult(
        success=bool(answer.get("success")),
        data=data,
        error=answer.get("error"),
        affected_rows=answer.get("affected_rows") or 0,
        cached=bool(answer.get("cached", False)),
    )


def _from_row(row: Any) -> Any:
    return {name: from_json(value) for name, value in row.items()} if isinstance(row, dict) else row


def _object(operation: str, **fields: Any) -> Dict[str, Any]:
    """A query object without the fields that are left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    return {"operation": operation, **given}


def sql_query(
    table: str,
    columns: Optional[Sequence[str]],
    where: Optional[Mapping[str, Any]],
    order_by: Optional[str],
    limit: Optional[int],
) -> Dict[str, Any]:
    """Rows of a table."""
    names = None if columns is None else list(columns)
    return _object("query", table=table, columns=names, where=where, order_by=order_by, limit=limit)


def sql_insert(table: str, values: Mapping[str, Any]) -> Dict[str, Any]:
    """A row for a table."""
    return _object("insert", table=table, values=values)


def sql_update(table: str, values: Mapping[str, Any], where: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """A change of rows of a table."""
    return _object("update", table=table, values=values, where=where)


def sql_delete(table: str, where: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """The end of rows of a table."""
    return _object("delete", table=table, where=where)


def nosql_get(
    collection: str, doc_id: Optional[DocumentId], where: Optional[Mapping[str, Any]]
) -> Dict[str, Any]:
    """A document, or several."""
    return _object("get", collection=collection, id=doc_id, where=where)


def nosql_insert(collection: str, document: Mapping[str, Any]) -> Dict[str, Any]:
    """A document for a collection."""
    return _object("insert", collection=collection, document=document)


def nosql_update(
    collection: str,
    document: Mapping[str, Any],
    doc_id: Optional[DocumentId],
    where: Optional[Mapping[str, Any]],
) -> Dict[str, Any]:
    """A change of documents."""
    return _object("update", collection=collection, document=document, id=doc_id, where=where)


def nosql_delete(
    collection: str, doc_id: Optional[DocumentId], where: Optional[Mapping[str, Any]]
) -> Dict[str, Any]:
    """The end of documents."""
    return _object("delete", collection=collection, id=doc_id, where=where)


# SQL.


def sql(database: str, text: str, params: Optional[Params], options: Mapping[str, Any]) -> Call[SqlResult]:
    """One SQL statement."""
    several = batch(database, [text if params is None else (text, params)], True, options)
    return Call(
        several.method, several.path, lambda answer: several.parse(answer)[0], several.body, several.reads
    )


def batch(
    database: str, statements: Sequence[Statement], atomic: bool, options: Mapping[str, Any]
) -> Call[List[SqlResult]]:
    """Several SQL statements: all are applied or none, unless it is said that they need not be atomic."""
    given = [_statement(statement) for statement in statements]
    body = {"statements": given, "atomic": atomic}
    body.update({name: value for name, value in options.items() if value is not None})
    read = lambda answer: [_sql_result(result) for result in answer["results"]]
    reads = all(_surely_reads(statement["sql"]) for statement in given)
    return Call("POST", f"/databases/{segment(database)}/sql", read, body, reads)


def _statement(statement: Statement) -> Dict[str, Any]:
    if isinstance(statement, str):
        return {"sql": statement}
    text, params = statement
    return {"sql": text, "params": params_to_json(params)}


def _surely_reads(text: str) -> bool:
    """Whether a text surely changes nothing. WITH may begin a write, and so counts as one."""
    words = text.split(None, 1)
    is_one_statement = ";" not in text.rstrip().rstrip(";")
    return is_one_statement and bool(words) and words[0].upper() in ("SELECT", "VALUES", "EXPLAIN")


def _sql_result(result: Mapping[str, Any]) -> SqlResult:
    return SqlResult(
        columns=list(result.get("columns", [])),
        types=list(result.get("types", [])),
        rows=[[from_json(value) for value in row] for row in result.get("rows", [])],
        truncated=bool(result.get("truncated", False)),
        affected_rows=result.get("affected_rows", 0),
        last_insert_rowid=result.get("last_insert_rowid"),
        error=result.get("error"),
    )


# Transactions.


def begin(database: str, options: Mapping[str, OptionValue]) -> Call[str]:
    """Begins a transaction; its name. One of which nobody hears ends by itself."""
    body = {name: value for name, value in options.items() if value is not None}
    read: Callable[[Any], str] = lambda answer: str(answer["transaction"])
    return Call("POST", f"/databases/{segment(database)}/transactions", read, body, reads=True)


def end(database: str, transaction: str, how: str) -> Call[None]:
    """Ends a transaction: ``commit`` or ``rollback``."""
    path = f"/databases/{segment(database)}/transactions/{segment(transaction)}/{how}"
    return Call("POST", path, nothing, {}, reads=how == "rollback")


def within(
    transaction: str, lock: bool, timeout_ms: Optional[int], max_rows: Optional[int]
) -> Dict[str, OptionValue]:
    """The options of statements of a transaction."""
    options: Dict[str, OptionValue] = {"transaction": transaction, "lock": True if lock else None}
    options.update(timeout_ms=timeout_ms, max_rows=max_rows)
    return options


# Documents.


@dataclass(frozen=True)
class Documents:
    """The calls about one collection."""

    database: str
    name: str
    #: The transaction that they belong to.
    transaction: Optional[str] = None

    def _path(self, rest: str) -> str:
        within = "" if self.transaction is None else f"?transaction={segment(self.transaction)}"
        return f"/databases/{segment(self.database)}/collections/{segment(self.name)}{rest}{within}"

    def _document(self, doc_id: DocumentId) -> str:
        return self._path(f"/documents/{document_segment(doc_id)}")

    def insert(self, document: Mapping[str, Any]) -> Call[DocumentId]:
        """One document."""
        read: Callable[[Any], DocumentId] = lambda answer: answer["id"]
        return Call("POST", self._path("/documents"), read, dict(document))

    def insert_many(self, documents: Sequence[Mapping[str, Any]]) -> Call[List[DocumentId]]:
        """Several documents, all or none."""
        body = {"documents": [dict(document) for document in documents]}
        read: Callable[[Any], List[DocumentId]] = lambda answer: list(answer["ids"])
        return Call("POST", self._path("/documents"), read, body)

    def get(self, doc_id: DocumentId) -> Call[Dict[str, Any]]:
        """The document with an id."""
        return get(self._document(doc_id), _one_document)

    def put(self, doc_id: DocumentId, document: Mapping[str, Any]) -> Call[Dict[str, Any]]:
        """A document in place of the one with an id."""
        return Call("PUT", self._document(doc_id), _one_document, dict(document))

    def patch(self, doc_id: DocumentId, change: Mapping[str, Any]) -> Call[Dict[str, Any]]:
        """A change of the document with an id."""
        return Call("PATCH", self._document(doc_id), _one_document, dict(change))

    def delete(self, doc_id: DocumentId) -> Call[None]:
        """The end of the document with an id."""
        return Call("DELETE", self._document(doc_id), nothing)

    def find(self, filter: Optional[Filter], options: Mapping[str, Any]) -> Call[List[Dict[str, Any]]]:
        """Documents that a filter matches."""
        body = {"filter": {} if filter is None else filter}
        body.update({name: value for name, value in options.items() if value is not None})
        read: Callable[[Any], List[Dict[str, Any]]] = lambda answer: list(answer["documents"])
        return Call("POST", self._path("/find"), read, body, reads=True)

    def count(self, filter: Optional[Filter]) -> Call[int]:
        """How many documents a filter matches."""
        body = {"filter": {} if filter is None else filter}
        read: Callable[[Any], int] = lambda answer: int(answer["count"])
        return Call("POST", self._path("/count"), read, body, reads=True)

    def update(self, filter: Filter, update: Mapping[str, Any], multi: bool, upsert: bool) -> Call[Updated]:
        """A change of documents that a filter matches."""
        body = {"filter": filter, "update": dict(update), "multi": multi, "upsert": upsert}
        read = lambda answer: Updated(answer["matched"], answer["modified"], answer.get("upserted_id"))
        return Call("POST", self._path("/update"), read, body)

    def delete_many(self, filter: Filter, multi: bool) -> Call[int]:
        """The end of documents that a filter matches."""
        read: Callable[[Any], int] = lambda answer: int(answer["deleted"])
        return Call("POST", self._path("/delete"), read, {"filter": filter, "multi": multi})


def _one_document(answer: Mapping[str, Any]) -> Dict[str, Any]:
    return dict(answer["document"])


def document_segment(doc_id: DocumentId) -> str:
    """An id as it stands in a path. Text is quoted where it would be read as something else, as a number."""
    if isinstance(doc_id, int):
        return str(doc_id)
    digits = doc_id[1:] if doc_id.startswith("-") else doc_id
    is_number = all(character in "0123456789" for character in digits)
    if is_number or doc_id.startswith('"') or doc_id in (".", ".."):
        return segment(f'"{doc_id}"')
    return segment(doc_id)


def split_addresses(addresses: Union[str, Sequence[str]]) -> Tuple[str, ...]:
    """The addresses of the coordinators, without slashes at their ends."""
    given = [addresses] if isinstance(addresses, str) else list(addresses)
    if not given:
        raise ValueError("name at least one coordinator")
    for address in given:
        if not address.startswith(("http://", "https://")):
            raise ValueError(f"{address!r} should begin with http:// or https://")
    return tuple(address.rstrip("/") for address in given)
