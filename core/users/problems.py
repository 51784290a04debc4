"""The HTTP form of the errors of addresses."""

from http import HTTPStatus

from core.contract.problem import ProblemForm, ProblemForms
from core.users.errors import EmailTaken

PROBLEMS: ProblemForms = {
    EmailTaken: ProblemForm(
        HTTPStatus.CONFLICT,
        "E-mail address taken",
        "An account with this address exists. Log in, or reset its password.",
    ),
}
