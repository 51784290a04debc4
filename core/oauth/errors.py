"""The errors of RFC 6749 section 5.2."""

from core.errors import AuthError


class TokenEndpointError(AuthError):
    """An error of the OAuth endpoints, answered in the form of RFC 6749 section 5.2."""


class InvalidRequest(TokenEndpointError):
    code = "invalid_request"
    detail = "A parameter is missing, repeated or malformed."


class InvalidClient(TokenEndpointError):
    code = "invalid_client"
    detail = "The client is unknown or its authentication failed."


class InvalidGrant(TokenEndpointError):
    code = "invalid_grant"
    detail = "The credentials or the refresh token are wrong, expired, already used or ended."


class InvalidScope(TokenEndpointError):
    code = "invalid_scope"
    detail = "The scope is malformed, or cannot be granted."


class InvalidTarget(TokenEndpointError):
    code = "invalid_target"
    detail = "Tokens are issued for no such resource."


class UnauthorizedClient(TokenEndpointError):
    code = "unauthorized_client"
    detail = "The client may not use this grant type."


class UnsupportedGrantType(TokenEndpointError):
    code = "unsupported_grant_type"
    detail = "The grant type is not supported."
