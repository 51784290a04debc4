"""JSON read strictly, because two readers that disagree about one text are an attack (RFC 7493, RFC 8725bis 3.7)."""

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 32
MAX_MEMBERS = 50  # of one object; forms have the same limit for their fields


def strict_loads(raw: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse UTF-8 JSON; refuse texts that parsers read differently or crash on.

    Refused: a byte order mark, bytes that are not UTF-8, duplicate members, NaN and infinities (also ``1e999``),
    unpaired surrogates, integers of thousands of digits, nesting deeper than ``max_depth``, and objects of more than
    `MAX_MEMBERS`: the answer names each unknown member, in ten times as many bytes.

    Raises:
        ValueError: the text is not strict JSON.

    """
    if raw.startswith(b"\xef\xbb\xbf"):
        raise ValueError("byte order mark")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError:
        raise ValueError("nested too deep") from None
    _check(value, max_depth)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_MEMBERS:
        raise ValueError("too many members")
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("number out of range")
    return number


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        value.encode("utf-8")  # UnicodeEncodeError is a ValueError: an unpaired surrogate
    elif isinstance(value, dict | list):
        if depth == 0:
            raise ValueError("nested too deep")
        for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            _check(item, depth - 1)
