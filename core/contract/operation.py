"""An operation of the contract as data: path, models, authentication, errors and texts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from http import HTTPMethod, HTTPStatus
from uuid import UUID

from pydantic import BaseModel

from core.errors import (
    AccountBusy,
    AuthError,
    BodyTooLarge,
    DatabaseUnavailable,
    HeadersTooLarge,
    InvalidInput,
    InvalidToken,
    MalformedJson,
    MalformedRequest,
    MissingCredentials,
    TargetTooLong,
    UnsupportedMediaType,
)

NO_STORE = "no-store"
PUBLIC = "public, max-age=300"
JSON = "application/json"
JWT = "application/jwt"
IMMUTABLE = "public, max-age=86400"

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Swagger UI writes style attributes, and ReDoc searches in a worker made from a blob; everything else is forbidden,
# and so are requests to other hosts.
PAGES_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src blob:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)
# The pages of links have a form that their own script sends; they load nothing from other hosts and send nothing there.
LINKS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
)


class Tag(StrEnum):
    """The chapters of the documentation."""

    ACCOUNTS = "accounts"
    TOKENS = "tokens"
    SESSIONS = "sessions"
    DISCOVERY = "discovery"
    HEALTH = "health"
    PAGES = "pages"


class Auth(Enum):
    """How a request must authenticate."""

    NONE = auto()
    USER = auto()  # by an access token of a user
    OPTIONAL_USER = auto()  # the same, or not at all; the core decides about requests without one
    BEARER = auto()  # by an access token of a user or a client
    OPTIONAL_CLIENT = auto()  # by HTTP Basic or in the form; the core decides about requests without either
    CLIENT = auto()  # the same, or by an access token of its own


@dataclass(frozen=True, slots=True)
class Parameter:
    """A variable part of a path."""

    description: str
    kind: type[str | UUID] = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of the contract."""

    id: str
    method: HTTPMethod
    path: str
    tag: str
    """The chapter of the documentation."""
    summary: str
    description: str
    response: type[BaseModel] | None = None
    status: HTTPStatus = HTTPStatus.OK
    success: str
    json: type[BaseModel] | None = None
    form: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """The parameters of the path, by name."""
    media_type: str | None = None
    """The media type of an answer without a model."""
    omit_null: bool = False
    """Whether the answer leaves out members without a value."""
    other_statuses: dict[HTTPStatus, str] = field(default_factory=dict)
    """Further statuses that are not errors."""
    other_responses: dict[HTTPStatus, type[BaseModel]] = field(default_factory=dict)
    """The models of those that have a body."""
    headers: tuple[str, ...] = ()
    """Header fields of its own on answers that are not errors."""
    auth: Auth = Auth.NONE
    uses_database: bool = True
    errors: tuple[type[AuthError], ...] = ()
    cache: str = NO_STORE
    policy: str = API_POLICY
    documented: bool = True
    is_open: bool = False
    """Whether pages of any origin may read it, without credentials: the same public document for everybody."""

    @property
    def all_errors(self) -> tuple[type[AuthError], ...]:
        """Its own errors, and those that follow from its input and authentication."""
        return tuple(dict.fromkeys((*self._general_errors(), *self.errors)))

    def _general_errors(self) -> Iterator[type[AuthError]]:
        yield from (MalformedRequest, TargetTooLong, HeadersTooLarge, BodyTooLarge)
        if self.json:
            yield MalformedJson
        if self.json or self.form:
            yield UnsupportedMediaType
        if self.json or self.query or any(parameter.kind is not str for parameter in self.parameters.values()):
            yield InvalidInput
        if self.auth in (Auth.USER, Auth.BEARER):
            yield MissingCredentials
        if self.auth in (Auth.USER, Auth.OPTIONAL_USER, Auth.BEARER):
            yield InvalidToken
        if self.uses_database:
            yield DatabaseUnavailable
        if self.auth is Auth.USER and self.method is not HTTPMethod.GET:
            yield AccountBusy
