"""The HTTP form of the errors of the OAuth endpoints (RFC 6749 section 5.2)."""

from http import HTTPStatus

from core.contract.problem import ProblemForm, ProblemForms
from core.errors import InsufficientScope
from core.oauth.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    UnauthorizedClient,
    UnsupportedGrantType,
)

PROBLEMS: ProblemForms = {
    InsufficientScope: ProblemForm(
        HTTPStatus.FORBIDDEN,
        "Insufficient scope",
        "RFC 6750 section 3.1: the access token is good, but not for this. The header WWW-Authenticate names the scope "
        "that is missing; an operator gives it to the client.",
    ),
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
        "RFC 6749 section 5.2: the scope is malformed, more than a client was registered with, more than the session "
        "has, or nothing that the roles of the user give.",
    ),
    InvalidTarget: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Invalid target",
        "RFC 8707 section 2: tokens are issued for no such `resource`, or not to this client.",
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
