"""The operation that logs in."""

from http import HTTPMethod

from core.authentication.errors import EmailNotVerified, InvalidCredentials, Overloaded
from core.authentication.schemas import LoginRequest
from core.contract.operation import Operation, Tag
from core.sessions.schemas import TokenPair
from core.throttling.errors import TooManyAttempts
from core.tokens.errors import ScopeNotGranted, UnknownAudience

LOGIN = Operation(
    id="login",
    method=HTTPMethod.POST,
    path="/v1/login",
    tag=Tag.TOKENS,
    summary="Log in",
    description="Start a session. An unknown address, a wrong password and a deactivated account are answered alike.",
    json=LoginRequest,
    response=TokenPair,
    omit_null=True,
    success="The tokens of the new session.",
    errors=(InvalidCredentials, EmailNotVerified, ScopeNotGranted, UnknownAudience, TooManyAttempts, Overloaded),
)

OPERATIONS = (LOGIN,)
