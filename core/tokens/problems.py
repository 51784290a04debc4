"""The HTTP form of the errors of tokens; the token endpoint answers them by RFC 6749 and RFC 8707."""

from http import HTTPStatus

from core.contract.problem import ProblemForm, ProblemForms
from core.tokens.errors import ScopeNotGranted, UnknownAudience

PROBLEMS: ProblemForms = {
    ScopeNotGranted: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Scope not granted",
        "A scope is malformed, or the roles of the account give none of those that were asked for. Without `scope`, "
        "all are granted that the roles give.",
    ),
    UnknownAudience: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Unknown audience",
        "The `resource` is none of the audiences that this service issues tokens for (`AUTH_TOKEN_AUDIENCES`).",
    ),
}
