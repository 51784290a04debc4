"""The types of settings: each parses and checks a text, and its error never shows the value."""

import json
import re
from datetime import timedelta
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import getaddresses, parseaddr
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, IPvAnyNetwork, SecretStr
from pydantic_settings import NoDecode

# What registered clients may be given at this API itself.
OWN_SCOPES = frozenset({"introspect", "users:read", "users:write", "clients:read", "clients:write", "audit:read"})
SMTP_SCHEMES = ("smtp+starttls", "smtps", "smtp")


def _absolute_url(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~\-/]*)?", value):
        raise ValueError("must be an http or https URL without query, fragment or user")
    return value.rstrip("/")


def _origin(value: str) -> str:
    """Check an origin as browsers write it; pages of files have none, they say `null`.

    Applications in a shell have a scheme of their own (`capacitor://localhost`, `chrome-extension://ID`), which no list
    could name: they choose it. Hosts under such a scheme keep their case (URL standard, opaque hosts).
    """
    if not re.fullmatch(r"https?://[a-z0-9.\-\[\]:]+|(?!https?:|file:)[a-z][a-z0-9+.\-]*://[A-Za-z0-9._\-]+", value):
        raise ValueError("must be origins such as https://app.example.com, in lower case and without a path")
    return value


def _root_path(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~\-]+)*/?", value):
        raise ValueError("must be a path such as /auth")
    return value.rstrip("/")


def _comma_separated(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _words(value: object) -> object:
    """A list of words, in a file also one to a line."""
    return _comma_separated(value.replace("\n", ",")) if isinstance(value, str) else value


def _word(value: str) -> str:
    # Two letters are a part of half of all words and mean nothing.
    if len(value) < 3:  # noqa: PLR2004
        raise ValueError("must be words of at least three characters")
    return value


def _scopes_by_role(value: object) -> object:
    """A JSON object from a role to its scopes, separated by spaces."""
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(scopes, str) for scopes in found.values()):
        raise ValueError('must be a JSON object such as {"*": "orders:read", "admin": "orders:read orders:write"}')
    return {role: tuple(scopes.split()) for role, scopes in found.items()}


def _without_own_scopes(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    # Users get their rights at this API by their role; a scope would give them to everybody with the role.
    own = sorted(OWN_SCOPES.intersection(scope for scopes in value.values() for scope in scopes))
    if own:
        raise ValueError(f"must not have scopes of this API itself: {', '.join(own)}")
    return value


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,3})?", value):
        raise ValueError("must be a number of seconds")
    return timedelta(seconds=float(value))


_HOST = r"([^/?#@:,\[\]]*|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?"
# A user may have `@` in it, as in Azure; elsewhere it is encoded. Otherwise a part of the password would be taken for
# the host or the name of the database, and shown in errors.
_POSTGRESQL = re.compile(
    rf"(postgresql|postgres)(\+psycopg)?://([^/?#:]*(:[^/?#@]*)?@)?{_HOST}(,{_HOST})*(/[^?#@]*)?(\?[^@]*)?"
)
_SQLITE = re.compile(r"sqlite:///[^:?#][^?#]*")
_ENCODING = "with USER and PASSWORD percent-encoded (/ is %2F, # is %23, @ is %40, + is %2B)"


def _database_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text and not _POSTGRESQL.fullmatch(text) and not _SQLITE.fullmatch(text):
        raise ValueError(f"must be postgresql://USER:PASSWORD@HOST:PORT/NAME or sqlite:///PATH, {_ENCODING}")
    return value


def _schema_name(value: str) -> str:
    if not re.fullmatch(r"(?!pg_)([a-z_][a-z0-9_]{0,62})?", value):
        raise ValueError(
            "must be up to 63 small letters, digits and underscores, and begin neither with a digit nor pg_"
        )
    return value


def _smtp_url(value: SecretStr) -> SecretStr:
    try:
        usable = _is_smtp(urlsplit(value.get_secret_value()))
    except ValueError:  # a bad port or bad brackets; the text of the error may contain the password
        usable = False
    if not usable:
        raise ValueError(f"must be {', '.join(SMTP_SCHEMES)}, each with ://USER:PASSWORD@HOST:PORT, {_ENCODING}")
    return value


def _is_smtp(parts: SplitResult) -> bool:
    is_server = parts.scheme in SMTP_SCHEMES and bool(parts.hostname) and parts.port != 0
    # smtplib logs in with ASCII only, and needs both name and password.
    is_login = unquote(parts.netloc).isascii() and (parts.username is None) == (parts.password is None)
    return is_server and is_login and parts.path in ("", "/") and not parts.query and not parts.fragment


_MAILBOX = re.compile(r"[^<>@]+@[^<>@]+|[^<>@]*<[^<>@]+@[^<>@]+>")


def _mailbox(value: str) -> str:
    # The standard library's parser, because the validator of users' addresses refuses no-reply@localhost.
    name, address = parseaddr(value)
    try:
        is_one = _MAILBOX.fullmatch(value) is not None and len(getaddresses([value])) == 1
        usable = is_one and value.isprintable() and bool(Address(name, addr_spec=address).domain)
    except (ValueError, IndexError, HeaderParseError):
        usable = False
    if value and not usable:
        raise ValueError("must be an address such as no-reply@example.com or Name <no-reply@example.com>")
    return value


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
SmtpUrl = Annotated[SecretStr, AfterValidator(_smtp_url)]
SchemaName = Annotated[str, AfterValidator(_schema_name)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
Seconds = Annotated[timedelta, BeforeValidator(_seconds)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_comma_separated)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)]
Words = Annotated[tuple[Annotated[str, AfterValidator(_word)], ...], NoDecode, BeforeValidator(_words)]
ScopesByRole = Annotated[
    dict[str, tuple[str, ...]], NoDecode, BeforeValidator(_scopes_by_role), AfterValidator(_without_own_scopes)
]
Networks = Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(_comma_separated)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_comma_separated)]
RootPath = Annotated[str, AfterValidator(_root_path)]
PublicUrl = Annotated[str, AfterValidator(_absolute_url)]
