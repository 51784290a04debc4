"""The errors of links: no longer valid, or not enough alone."""

from core.errors import AuthError


class InvalidResetToken(AuthError):
    code = "invalid_reset_token"
    detail = "The link is expired, already used, or replaced by a newer one."


class InvalidVerificationToken(AuthError):
    code = "invalid_verification_token"
    detail = "The link is expired, already used, or replaced by a newer one."


class InvalidUndoToken(AuthError):
    code = "invalid_undo_token"
    detail = "The link is expired, or there is nothing to undo any more."


class ProofRequired(AuthError):
    code = "proof_required"
    detail = "The link alone is not enough: log in to the account, or add its password."
