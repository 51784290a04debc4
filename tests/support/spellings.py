"""How a secret may be spelt where it should not stand."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote, quote_plus


def spellings(secret: str) -> Iterator[str]:
    """Yield a secret as a log may hold it: plain, escaped, and in base64 at each of its three alignments."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield quote(secret, safe="")
    yield quote_plus(secret)
    for lead in range(3):
        shifted = base64.b64encode(b"\0" * lead + secret.encode()).decode()
        # The characters at both ends depend on what stands beside the secret.
        middle = shifted[-(-lead * 4 // 3) : -4]
        yield middle
        yield middle.replace("+", "-").replace("/", "_")
