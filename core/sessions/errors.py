"""The error of a refresh."""

from core.errors import Unauthenticated


class InvalidRefreshToken(Unauthenticated):
    code = "invalid_refresh_token"
    detail = "The refresh token is malformed, expired, already used, or its session has ended."
