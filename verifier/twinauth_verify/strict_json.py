"""JSON read strictly, because two readers that disagree about one text are an attack (RFC 7493, RFC 8725bis 3.7)."""

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 32


def strict_object(raw: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Parse a JSON object in UTF-8; refuse texts that parsers read differently or crash on.

    Refused: a byte order mark, duplicate members, NaN and infinities (also ``1e999``), unpaired surrogates, integers
    of thousands of digits, and nesting deeper than ``max_depth``.

    Raises:
        ValueError: the text is not strict JSON, or no object.

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
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - callers know one error
    _check(value, max_depth)
    return value


def text(members: dict[str, Any], name: str) -> str:
    """Return a member that must be a string and not empty.

    Raises:
        ValueError: it is missing, empty or no string.

    """
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(name)
    return value


def seconds(members: dict[str, Any], name: str) -> int:
    """Return a NumericDate (RFC 7519 section 2) that must be a whole JSON number; true and "1" are none.

    Raises:
        ValueError: it is missing or no such number.

    """
    value = members.get(name)
    if type(value) is not int or not 0 <= value < 2**40:
        raise ValueError(name)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("number out of range")
    return value


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        value.encode("utf-8")  # UnicodeEncodeError is a ValueError: an unpaired surrogate
    elif isinstance(value, dict | list):
        if depth == 0:
            raise ValueError("nested too deep")
        for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            _check(item, depth - 1)
