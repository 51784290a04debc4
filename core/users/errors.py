"""The errors of the table of users."""

from core.errors import AuthError


class EmailTaken(AuthError):
    code = "email_taken"
    detail = "An account with this e-mail address exists."
