"""Protect the routes of a FastAPI application. The twin for Flask is `twinauth_verify.flask`."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated

from fastapi import FastAPI, HTTPException, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from twinauth_verify import bearer
from twinauth_verify.asynchronous import AsyncVerifier
from twinauth_verify.errors import TokenError
from twinauth_verify.tokens import AccessToken

# For the OpenAPI document alone: of two headers it would take the first.
_SCHEME = HTTPBearer(scheme_name="bearer", bearerFormat="JWT", auto_error=False)


class TokenGuard:
    """Lets requests with a valid access token in, and answers the others."""

    def __init__(self, verifier: AsyncVerifier) -> None:
        self._verifier = verifier

    def install(self, app: FastAPI) -> None:
        """Let the application answer refused requests, and a `TokenError` that a route raises by itself.

        Without it the status and the headers are the same, but the body has only a ``detail``.
        """
        app.add_exception_handler(_Refused, self._answer)
        app.add_exception_handler(TokenError, self._answer)

    def require(
        self,
        scope: str | Iterable[str] | None = None,
        role: str | Iterable[str] | None = None,
        max_age: int | None = None,
    ) -> Callable[..., Awaitable[AccessToken]]:
        """Make a dependency that returns a token with all of these scopes and roles: `Depends(guard.require(...))`.

        With ``max_age``, its user has logged in within so many seconds (RFC 9470).
        """
        requirement = bearer.requirement(scope, role, max_age)

        async def access_token(
            request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_SCHEME)]
        ) -> AccessToken:
            return await self._admit(requirement, request)

        return access_token

    async def _admit(self, requirement: bearer.Requirement, request: Request) -> AccessToken:
        try:
            text = bearer.bearer_token(",".join(request.headers.getlist("Authorization")))
            return requirement.check(await self._verifier.verify(text), self._verifier.validator.now())
        except TokenError as error:
            answer = bearer.answer(error, self._verifier.settings.audience)
            raise _Refused(answer.status, error.detail, answer.headers) from error

    async def _answer(self, _: Request, error: Exception) -> Response:
        refused = error.__cause__ if isinstance(error, _Refused) else error
        if not isinstance(refused, TokenError):
            raise error
        answer = bearer.answer(refused, self._verifier.settings.audience)
        return Response(answer.body, answer.status, answer.headers)


class _Refused(HTTPException):
    """An error that FastAPI answers with the right status and headers even without `install`."""
