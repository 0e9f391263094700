"""Connection strings: ``coordinator=http://localhost:5000;timeout=10``."""

from __future__ import annotations

from typing import Dict


def parse_connection_string(text: str) -> Dict[str, str]:
    """The parts of ``key=value;key=value``; keys are in lower case. Anything else raises ``ValueError``."""
    parts: Dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        key, separator, value = part.partition("=")
        if not separator or not key.strip():
            raise ValueError(f"{part!r} should be key=value")
        parts[key.strip().lower()] = value.strip()
    return parts
