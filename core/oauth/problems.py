"""The HTTP form of the errors of the OAuth endpoints (RFC 6749 section 5.2)."""

from http import HTTPStatus

from core.contract.problem import ProblemForm, ProblemForms
from core.oauth.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    UnauthorizedClient,
    UnsupportedGrantType,
)

PROBLEMS: ProblemForms = {
    InvalidRequest: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Invalid request",
        "RFC 6749 section 5.2: a parameter of the token request is missing, stands there twice, or is malformed.",
    ),
    InvalidClient: ProblemForm(
        HTTPStatus.UNAUTHORIZED,
        "Invalid client",
        "RFC 6749 section 5.2: the client is unknown, or its authentication failed.",
    ),
    InvalidGrant: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Invalid grant",
        "RFC 6749 section 5.2: the credentials or the refresh token are wrong, expired, already used, or their "
        "session has ended.",
    ),
    InvalidScope: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Invalid scope",
        "RFC 6749 section 5.2: the scope is malformed, or more than the client was registered with.",
    ),
    UnauthorizedClient: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Unauthorized client",
        "RFC 6749 section 5.2: a registered client may ask for client_credentials only. The grants password and "
        "refresh_token are for first parties, which send no client authentication.",
    ),
    UnsupportedGrantType: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Unsupported grant type",
        "RFC 6749 section 5.2: the token endpoint does not know this grant_type.",
    ),
}
