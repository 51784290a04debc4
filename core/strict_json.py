"""JSON read strictly, because two readers that disagree about one text are an attack (RFC 7493, RFC 8725bis 3.7)."""

import json
import math
import re
from typing import Any, NoReturn

MAX_DEPTH = 32
MAX_MEMBERS = 50  # of one object; forms have the same limit for their fields

_TOO_DEEP = "It is nested too deep."
_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonError(ValueError):
    """A text is not strict JSON. Its message says why and where, and quotes nothing."""


def strict_loads(raw: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse UTF-8 JSON; refuse texts that parsers read differently or crash on.

    Refused: a byte order mark, bytes that are not UTF-8, duplicate members, NaN and infinities (also ``1e999``),
    unpaired surrogates, integers of thousands of digits, nesting deeper than ``max_depth``, and objects of more than
    `MAX_MEMBERS`: the answer names each unknown member, in ten times as many bytes.

    Raises:
        JsonError: the text is not strict JSON.

    """
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except UnicodeDecodeError as error:
        raise JsonError(f"Byte {error.start + 1} is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"It cannot be read at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise JsonError(_TOO_DEEP) from None
    _check(value, max_depth)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_MEMBERS:
        raise JsonError(f"An object has more than {MAX_MEMBERS} members.")
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JsonError("A member stands twice in one object.")
    return members


def _refuse_constant(_name: str) -> NoReturn:
    raise JsonError("NaN and infinities are not JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise JsonError("A number is too large.")
    return number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # thousands of digits, which take long to convert
        raise JsonError("A number is too large.") from None


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise JsonError("A string has half of a surrogate pair.")
    elif isinstance(value, dict | list):
        if depth == 0:
            raise JsonError(_TOO_DEEP)
        for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            _check(item, depth - 1)
