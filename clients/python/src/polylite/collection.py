"""Collections of documents, for threads."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

from .calls import DocumentId, Documents, Filter
from .errors import PolyliteError
from .models import Updated
from .transport import Transport


class Collection:
    """Documents under a name; made by ``DatabaseClient.collection``. Errors raise ``PolyliteError``."""

    def __init__(
        self, transport: Transport, database: str, name: str, transaction: Optional[str] = None
    ) -> None:
        self._transport = transport
        self._documents = Documents(database, name, transaction)

    @property
    def name(self) -> str:
        """Its name."""
        return self._documents.name

    def insert(self, document: Mapping[str, Any]) -> DocumentId:
        """Inserts a document; its id."""
        return self._transport.run(self._documents.insert(document))

    def insert_many(self, documents: Sequence[Mapping[str, Any]]) -> List[DocumentId]:
        """Inserts documents, all or none; their ids."""
        return self._transport.run(self._documents.insert_many(documents))

    def get(self, doc_id: DocumentId) -> Optional[Dict[str, Any]]:
        """The document with an id; ``None`` if there is none."""
        try:
            return self._transport.run(self._documents.get(doc_id))
        except PolyliteError as error:
            if is_missing(error):
                return None
            raise

    def put(self, doc_id: DocumentId, document: Mapping[str, Any]) -> Dict[str, Any]:
        """Replaces the document with an id, or creates it; the document as stored."""
        return self._transport.run(self._documents.put(doc_id, document))

    def patch(self, doc_id: DocumentId, change: Mapping[str, Any]) -> Dict[str, Any]:
        """Changes the document with an id, by a merge patch or by operators; the document as stored."""
        return self._transport.run(self._documents.patch(doc_id, change))

    def delete(self, doc_id: DocumentId) -> bool:
        """Deletes the document with an id; whether there was one."""
        try:
            self._transport.run(self._documents.delete(doc_id))
        except PolyliteError as error:
            if is_missing(error):
                return False
            raise
        return True

    def find(
        self,
        filter: Optional[Filter] = None,
        *,
        projection: Optional[Mapping[str, Any]] = None,
        sort: Optional[Mapping[str, int]] = None,
        skip: Optional[int] = None,
        limit: Optional[int] = None,
    ) -> List[Dict[str, Any]]:
        """The documents that a filter matches; all without one."""
        options = {"projection": projection, "sort": sort, "skip": skip, "limit": limit}
        return self._transport.run(self._documents.find(filter, options))

    def count(self, filter: Optional[Filter] = None) -> int:
        """How many documents a filter matches."""
        return self._transport.run(self._documents.count(filter))

    def update(
        self, filter: Filter, update: Mapping[str, Any], *, multi: bool = True, upsert: bool = False
    ) -> Updated:
        """Changes the documents that a filter matches."""
        return self._transport.run(self._documents.update(filter, update, multi, upsert))

    def delete_many(self, filter: Filter, *, multi: bool = True) -> int:
        """Deletes the documents that a filter matches; how many there were."""
        return self._transport.run(self._documents.delete_many(filter, multi))


def is_missing(error: PolyliteError) -> bool:
    """Whether there is no such document."""
    return error.code in ("document_not_found", "collection_not_found")
