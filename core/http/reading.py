"""Reading requests: content types, JSON, forms, queries and the Authorization header, the same for both doors.

The frameworks read hostile input differently (a repeated form field: first or last; NaN: accepted; deep nesting: an
error 500). So neither of them reads any: they get the values that are read here.
"""

import base64
import binascii
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from core.authentication.passwords.policy import PasswordPolicy
from core.authentication.schemas import NewPassword
from core.contract.operation import Operation
from core.errors import (
    FieldError,
    InvalidInput,
    InvalidToken,
    MalformedJson,
    MalformedRequest,
    MissingCredentials,
    UnsupportedMediaType,
)
from core.oauth.errors import InvalidClient, InvalidRequest
from core.oauth.model import BearerToken, Credentials
from core.strict_json import MAX_MEMBERS, JsonError, strict_loads
from core.users import addresses

MAX_FIELDS = MAX_MEMBERS

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# A parameter of a media type, or none, behind its semicolon (RFC 9110 section 5.6.6). No two runs of blanks are
# adjacent: a regular expression would try every way to divide the blanks between them.
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({_WORD})=({_WORD}|"(?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*"))?')
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*")
# A member name is shown in a pointer only if it is harmless; other input is never echoed.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

# From pydantic's error types to our codes and texts. Pydantic's own texts may quote the input.
_CODES = {
    "missing": ("missing", "This member is required."),
    "extra_forbidden": ("unknown_member", "There is no such member."),
    "string_type": ("wrong_type", "This must be a string."),
    "int_parsing": ("wrong_type", "This must be a whole number."),
    "int_type": ("wrong_type", "This must be a whole number."),
    "greater_than_equal": ("out_of_range", "This is too small."),
    "less_than_equal": ("out_of_range", "This is too large."),
    "bool_type": ("wrong_type", "This must be true or false."),
    "bool_parsing": ("wrong_type", "This must be true or false."),
    "uuid_parsing": ("wrong_type", "This must be a UUID."),
    "uuid_type": ("wrong_type", "This must be a UUID."),
    "string_too_short": ("too_short", "This must not be empty."),
    "string_too_long": ("too_long", "This is too long."),
    "control_character": ("control_character", "Characters that are not shown are not allowed."),
    "email_invalid": ("email_invalid", addresses.INVALID),
    "email_too_long": ("email_too_long", addresses.TOO_LONG),
}


@dataclass(frozen=True, slots=True)
class Input:
    """The input of a request, parsed but not yet validated."""

    json: dict[str, Any] | None = None
    form: dict[str, str] | None = None
    query: dict[str, str] | None = None


def read(operation: Operation, *, content_type: str | None, body: bytes, query: bytes) -> Input:
    """Read the input that the operation takes, and no other.

    Raises:
        RequestRefused: a part of it cannot be read.
        InvalidRequest: the same, for an OAuth endpoint.

    """
    return Input(
        json=read_json(content_type, body) if operation.json else None,
        form=read_form(content_type, body) if operation.form else None,
        query=read_query(query) if operation.query else None,
    )


def read_json(content_type: str | None, raw: bytes) -> dict[str, Any]:
    """Read a JSON body.

    A byte order mark before it is passed over, as RFC 8259 section 8.1 allows: PowerShell 5 and writers of .NET send
    it.

    Raises:
        UnsupportedMediaType: the content type is missing or not JSON.
        MalformedJson: the body is not strict JSON.
        InvalidInput: it is JSON, but not an object.

    """
    _require(content_type, "application/json")
    try:
        value = strict_loads(raw.removeprefix(_BYTE_ORDER_MARK))
    except JsonError as error:
        raise MalformedJson(f"{MalformedJson.detail} {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput(FieldError(field="", code="wrong_type", message="The body must be a JSON object."))
    return value


def read_form(content_type: str | None, raw: bytes) -> dict[str, str]:
    """Read a form of an OAuth endpoint; a parameter without a value counts as absent (RFC 6749 section 3.2).

    Raises:
        UnsupportedMediaType: the content type is missing or not that of a form.
        InvalidRequest: a parameter is repeated, or the body is not a form.

    """
    _require(content_type, "application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(raw.decode("ascii"), errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise InvalidRequest from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise InvalidRequest("A parameter stands in the request more than once.")
    return form


def read_query(raw: bytes) -> dict[str, str]:
    """Read a query string.

    Raises:
        MalformedRequest: its escapes are not UTF-8, or it has too many fields.
        InvalidInput: a parameter is repeated.

    """
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise MalformedRequest("The query string is malformed.") from None
    query: dict[str, str] = {}
    for name, value in pairs:
        if name in query:
            raise InvalidInput(_field_error(name, "repeated", "This stands in the query more than once."))
        query[name] = value
    return query


def bearer_token(authorization: str | None) -> str:
    """Take the access token out of an Authorization header (RFC 6750 section 2.1).

    Raises:
        MissingCredentials: there is no header, or it is of another scheme.
        InvalidToken: the value cannot be a token.

    """
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        raise MissingCredentials
    token = rest.strip(" ")
    if not _TOKEN68.fullmatch(token):
        raise InvalidToken
    return token


def optional_bearer_token(authorization: str | None) -> str | None:
    """Take the access token out of an Authorization header; None if there is no header, or it is of another scheme.

    Raises:
        InvalidToken: the value cannot be a token.

    """
    try:
        return bearer_token(authorization)
    except MissingCredentials:
        return None


def client_proof(authorization: str | None) -> Credentials | BearerToken | None:
    """Take the credentials of a client out of an Authorization header, of either scheme.

    Raises:
        InvalidClient: the credentials are malformed.
        InvalidToken: the token cannot be one.

    """
    try:
        return BearerToken(bearer_token(authorization))
    except MissingCredentials:
        return client_credentials(authorization)


def client_credentials(authorization: str | None) -> Credentials | None:
    """Take client id and secret out of an Authorization header (RFC 7617); None if it names no client.

    An empty id with an empty secret names none: Swagger UI sends them when its user leaves both fields empty.

    Raises:
        InvalidClient: the header is malformed.

    """
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(rest.strip(" "), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise InvalidClient from None
    client_id, colon, secret = text.partition(":")
    if not colon:
        raise InvalidClient
    # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
    found = Credentials(client_id=unquote_plus(client_id), secret=unquote_plus(secret))
    return found if client_id or secret else None


def invalid(
    operation: Operation, errors: Iterable[Mapping[str, Any]], given: Input, policy: PasswordPolicy
) -> InvalidInput | InvalidRequest:
    """Turn pydantic's errors into ours; the location's first part (body, query) is dropped.

    The policy has its say about the same body, so that all its mistakes are told at once.
    """
    if operation.form is not None:
        return InvalidRequest()
    found = [_input_error(error) for error in errors]
    return InvalidInput(*found, *_weak_passwords(operation, given.json or {}, policy, {error.field for error in found}))


def _weak_passwords(
    operation: Operation, body: Mapping[str, Any], policy: PasswordPolicy, refused: Container[str]
) -> Iterator[FieldError]:
    """Return what the policy refuses among the members that are right otherwise."""
    address = body.get("email") if "email" not in refused else None
    for name, member in (operation.json.model_fields if operation.json else {}).items():
        if NewPassword() in member.metadata and name in body and name not in refused:
            weakness = policy.refusal(body[name], address=address, field=name)
            if weakness is not None:
                yield weakness


def _input_error(error: Mapping[str, Any]) -> FieldError:
    code, message = _CODES.get(error["type"], ("invalid", "This value is not valid."))
    # A union such as `str | None` adds its branch to the location; the member's name comes before it.
    member = error["loc"][1] if len(error["loc"]) > 1 else ""
    return _field_error(str(member), code, message)


def _field_error(name: str, code: str, message: str) -> FieldError:
    return FieldError(field=name if _NAME.fullmatch(name) else "", code=code, message=message)


def _require(content_type: str | None, expected: str) -> None:
    """Refuse another media type, and another character set; what else is said of it is ignored.

    Raises:
        UnsupportedMediaType: it is not the expected one.

    """
    media_type, semicolon, parameters = (content_type or "").strip(" \t").partition(";")
    if media_type.rstrip(" \t").lower() != expected or not _is_utf8(semicolon + parameters):
        raise UnsupportedMediaType(expected)


def _is_utf8(parameters: str) -> bool:
    """Whether parameters can be read, and name no other character set."""
    charsets = []
    position = 0
    while position < len(parameters):
        found = _PARAMETER.match(parameters, position)
        if found is None:
            return False
        if (found[1] or "").lower() == "charset":
            charsets.append(found[2].strip('"').lower())
        position = found.end()
    return charsets in ([], ["utf-8"], ["utf8"])
