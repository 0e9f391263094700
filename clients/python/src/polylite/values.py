"""SQL values in JSON, both ways: bytes and infinities have no JSON of their own."""

from __future__ import annotations

import base64
import math
from typing import Any, Dict, List, Mapping, Sequence, Union

#: What an SQL value is in Python.
Value = Union[None, int, float, str, bytes]
#: Parameters by position or by name.
Params = Union[Sequence[Value], Mapping[str, Value]]


def to_json(value: Any) -> Any:
    """A value as it is sent."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$blob": base64.b64encode(bytes(value)).decode("ascii")}
    if isinstance(value, float) and math.isinf(value):
        return {"$real": "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def from_json(value: Any) -> Any:
    """A value as it was answered."""
    if isinstance(value, dict):
        if list(value) == ["$blob"]:
            return base64.b64decode(value["$blob"])
        if list(value) == ["$real"]:
            return float(value["$real"].replace("Infinity", "inf"))
    return value


def params_to_json(params: Params) -> Union[List[Any], Dict[str, Any]]:
    """Parameters as they are sent."""
    if isinstance(params, Mapping):
        return {name: to_json(value) for name, value in params.items()}
    return [to_json(value) for value in params]


def row_to_json(row: Mapping[str, Any]) -> Dict[str, Any]:
    """A row of a query object, or its conditions, as it is sent."""
    return {
        name: row_to_json(value) if isinstance(value, Mapping) else to_json(value)
        for name, value in row.items()
    }
