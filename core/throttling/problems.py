"""The HTTP form of the throttle's errors."""

from http import HTTPStatus

from core.contract.problem import ProblemForm, ProblemForms
from core.throttling.errors import TooManyAttempts

PROBLEMS: ProblemForms = {
    TooManyAttempts: ProblemForm(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many attempts",
        "Too many passwords were wrong, or too much was asked for from your network. Wait for the seconds in "
        "Retry-After; each further failure makes the pause longer. Resetting the password stays possible.",
    ),
}
