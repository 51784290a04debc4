"""Verify Twinauth's access tokens in your own service, without a call per request."""

from twinauth_verify.asynchronous import AsyncVerifier
from twinauth_verify.errors import (
    InsufficientAuthentication,
    InsufficientScope,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    TokenError,
    Unavailable,
)
from twinauth_verify.settings import Settings
from twinauth_verify.synchronous import Verifier
from twinauth_verify.tokens import AccessToken, Expectations, verify_token

__all__ = [
    "AccessToken",
    "AsyncVerifier",
    "Expectations",
    "InsufficientAuthentication",
    "InsufficientScope",
    "InvalidRequest",
    "InvalidToken",
    "MissingToken",
    "Settings",
    "TokenError",
    "Unavailable",
    "Verifier",
    "verify_token",
]
