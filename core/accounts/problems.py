"""The HTTP form of the errors of accounts."""

from http import HTTPStatus

from core.accounts.errors import InvalidResetToken, InvalidUndoToken, InvalidVerificationToken, ProofRequired
from core.contract.problem import ProblemForm, ProblemForms

PROBLEMS: ProblemForms = {
    InvalidResetToken: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Invalid reset token",
        "The token is malformed, expired, already used, replaced by a newer one, or its account has changed its "
        "password or address since. Ask for a new one.",
    ),
    InvalidVerificationToken: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Invalid verification token",
        "The token is malformed, expired, already used, replaced by a newer one, or its account has changed its "
        "password or address since. Ask for a new one.",
    ),
    InvalidUndoToken: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Invalid undo token",
        "The token is malformed or expired, an earlier change was undone, or the address has a verified account of its "
        "own by now. An operator of this service can help.",
    ),
    ProofRequired: ProblemForm(
        HTTPStatus.FORBIDDEN,
        "Proof required",
        "Whoever signed up has never proved to own the address, so reading its mail does not prove to own the account. "
        "Send the link's token with an access token of the account, or with its password. The link stays valid.",
    ),
}
