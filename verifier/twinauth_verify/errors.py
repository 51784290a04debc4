"""Everything that can keep a request out, with the status and the code it is answered with."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import ClassVar


class TokenError(Exception):
    """A request is not let in. ``challenge`` is the error code of RFC 6750 section 3.1, where there is one."""

    status: ClassVar[HTTPStatus]
    code: ClassVar[str]
    challenge: ClassVar[str | None] = None
    detail: ClassVar[str]

    def __str__(self) -> str:
        return self.detail


class MissingToken(TokenError):
    """No access token came. There is no error code then (RFC 6750 section 3.1), so a client knows to fetch one."""

    status = HTTPStatus.UNAUTHORIZED
    code = "missing_credentials"
    detail = "This operation needs an access token."


class InvalidToken(TokenError):
    """The token is not one to trust. Every defect is this one error, so that nothing can be learnt from it."""

    status = HTTPStatus.UNAUTHORIZED
    code = "invalid_token"
    challenge = "invalid_token"
    detail = "The access token is malformed, expired, or its session has ended."


class InvalidRequest(TokenError):
    """Two Authorization headers came; frameworks differ in which of them they would take."""

    status = HTTPStatus.BAD_REQUEST
    code = "invalid_request"
    challenge = "invalid_request"
    detail = "The request has more than one Authorization header."


class InsufficientScope(TokenError):
    """The token is good, but not for this: ``scopes`` names all that are needed."""

    status = HTTPStatus.FORBIDDEN
    code = "insufficient_scope"
    challenge = "insufficient_scope"
    detail = "The access token lacks a scope or a role that this operation needs."

    def __init__(self, scopes: Iterable[str] = ()) -> None:
        super().__init__()
        self.scopes = frozenset(scopes)


class Unavailable(TokenError):
    """Nothing can be verified: no keys could be fetched, or what was revoked has not been heard for too long."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "verifier_unavailable"
    detail = "Access tokens cannot be verified at the moment."
    retry_after: ClassVar[int] = 1
