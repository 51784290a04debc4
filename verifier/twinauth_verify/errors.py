"""The reasons to refuse a request, each with the status and the code of its answer."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import ClassVar


class TokenError(Exception):
    """A request is refused. ``challenge`` is the error code of RFC 6750 section 3.1, where there is one."""

    status: ClassVar[HTTPStatus]
    code: ClassVar[str]
    challenge: ClassVar[str | None] = None
    detail: ClassVar[str]

    def __str__(self) -> str:
        return self.detail


class MissingToken(TokenError):
    """The request has no access token. There is no error code then (RFC 6750 section 3.1): the client fetches one."""

    status = HTTPStatus.UNAUTHORIZED
    code = "missing_credentials"
    detail = "This operation needs an access token."


class InvalidToken(TokenError):
    """The token is not valid. Every defect is this one error, so that an attacker learns nothing from it."""

    status = HTTPStatus.UNAUTHORIZED
    code = "invalid_token"
    challenge = "invalid_token"
    detail = "The access token is malformed, expired, or its session has ended."


class InvalidRequest(TokenError):
    """The request has two Authorization headers; frameworks differ in which of them they would take."""

    status = HTTPStatus.BAD_REQUEST
    code = "invalid_request"
    challenge = "invalid_request"
    detail = "The request has more than one Authorization header."


class InsufficientScope(TokenError):
    """The token is valid, but lacks a scope or a role; ``scopes`` names all that are needed."""

    status = HTTPStatus.FORBIDDEN
    code = "insufficient_scope"
    challenge = "insufficient_scope"
    detail = "The access token lacks a scope or a role that this operation needs."

    def __init__(self, scopes: Iterable[str] = ()) -> None:
        super().__init__()
        self.scopes = frozenset(scopes)


class InsufficientAuthentication(TokenError):
    """The token is valid, but its user logged in too long ago, in seconds (RFC 9470)."""

    status = HTTPStatus.UNAUTHORIZED
    code = "insufficient_user_authentication"
    challenge = "insufficient_user_authentication"
    detail = "This operation needs a more recent login."

    def __init__(self, max_age: int) -> None:
        super().__init__()
        self.max_age = max_age


class Unavailable(TokenError):
    """No token can be verified: there are no keys, or the revocations are stale."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "verifier_unavailable"
    detail = "Access tokens cannot be verified at the moment."
    retry_after: ClassVar[int] = 1
