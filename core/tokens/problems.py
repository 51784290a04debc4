"""The HTTP form of the errors of tokens; the token endpoint answers them by RFC 6749 and RFC 8707."""

from http import HTTPStatus

from core.contract.problem import ProblemForm, ProblemForms
from core.tokens.errors import KeysLocked, ScopeNotGranted, UnknownAudience, UnknownCursor

PROBLEMS: ProblemForms = {
    ScopeNotGranted: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Scope not granted",
        "A scope is malformed, or the roles of the account give none of those that were asked for. Without `scope`, "
        "all are granted that the roles give.",
    ),
    KeysLocked: ProblemForm(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Keys locked",
        "The signing keys in the database were stored under another AUTH_SECRET_KEY, so that this process can sign no "
        "token. Its log names them.",
    ),
    UnknownCursor: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Unknown cursor",
        "The entry that the cursor names has left the feed, or never was in it: the database may have been set back to "
        "an earlier state. Ask without a cursor for everything in force, and go on with the cursor of that answer.",
    ),
    UnknownAudience: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Unknown audience",
        "The `resource` is none of the audiences that this service issues tokens for (`AUTH_TOKEN_AUDIENCES`).",
    ),
}
