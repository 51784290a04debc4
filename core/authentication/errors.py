"""The errors of logins and re-authentication."""

from core.errors import AuthError, TryAgainLater, Unauthenticated


class InvalidCredentials(Unauthenticated):
    code = "invalid_credentials"
    detail = "The e-mail address or the password is wrong."


class WrongPassword(AuthError):
    code = "wrong_password"
    detail = "The current password is wrong."


class EmailNotVerified(AuthError):
    code = "email_not_verified"
    detail = "The e-mail address is not verified yet. A new link is on its way to it."


class Overloaded(TryAgainLater):
    code = "overloaded"
    detail = "Too many passwords are being checked at the moment."
