"""The errors of links that are no longer valid."""

from core.errors import AuthError


class InvalidResetToken(AuthError):
    code = "invalid_reset_token"
    detail = "The link is expired, already used, or replaced by a newer one."


class InvalidVerificationToken(AuthError):
    code = "invalid_verification_token"
    detail = "The link is expired, already used, or replaced by a newer one."
