"""Notes: small JSON files that the history keeps for itself. A kill or a hand may have left anything in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def noted(path: Path) -> dict[str, Any]:
    """What the mapping at `path` tells; nothing where there is no such file, or something else in it."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
