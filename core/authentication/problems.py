"""The HTTP form of the errors of logins and re-authentication."""

from http import HTTPStatus

from core.authentication.errors import EmailNotVerified, InvalidCredentials, Overloaded, WrongPassword
from core.contract.problem import ProblemForm, ProblemForms

PROBLEMS: ProblemForms = {
    InvalidCredentials: ProblemForm(
        HTTPStatus.UNAUTHORIZED,
        "Invalid credentials",
        "No active account has this address with this password. Which of the two is wrong is not told, because that "
        "would tell who has an account.",
    ),
    WrongPassword: ProblemForm(
        HTTPStatus.FORBIDDEN,
        "Wrong password",
        "This needs the current password of the account besides the session or the link, and the one given is not it.",
    ),
    EmailNotVerified: ProblemForm(
        HTTPStatus.FORBIDDEN,
        "E-mail address not verified",
        "The password is right, but the owner of the address has not followed the link that was sent there. Each try "
        "sends a new one, up to a limit an hour.",
    ),
    Overloaded: ProblemForm(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Overloaded",
        "More passwords wait to be checked than can be checked in good time. Nothing was done; try again after the "
        "seconds in Retry-After.",
    ),
}
