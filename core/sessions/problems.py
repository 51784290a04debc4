"""The HTTP form of the errors of sessions."""

from http import HTTPStatus

from core.contract.problem import ProblemForm, ProblemForms
from core.sessions.errors import InvalidRefreshToken

PROBLEMS: ProblemForms = {
    InvalidRefreshToken: ProblemForm(
        HTTPStatus.UNAUTHORIZED,
        "Invalid refresh token",
        "The refresh token is malformed, expired, was used before, or its session has ended. A refresh token is used "
        "once; when an old one comes back, two parties hold the session and it ends for both. Log in again.",
    ),
}
