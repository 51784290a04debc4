"""Protect the views of a Flask application. The twin for FastAPI is `twinauth_verify.fastapi`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec, TypeVar

import flask
from werkzeug.exceptions import HTTPException

from twinauth_verify import bearer
from twinauth_verify.errors import TokenError
from twinauth_verify.synchronous import Verifier

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class TokenGuard:
    """Lets requests with a valid access token in, and answers the others."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def install(self, app: flask.Flask) -> None:
        """Let the application answer a `TokenError` that a view raises by itself."""
        app.register_error_handler(TokenError, self._answer)

    def require(
        self,
        scope: str | Iterable[str] | None = None,
        role: str | Iterable[str] | None = None,
        max_age: int | None = None,
    ) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
        """Decorate a view that needs a token with all of these scopes and roles; the token is in `g.access_token`.

        With ``max_age``, its user has logged in within so many seconds (RFC 9470).
        """
        requirement = bearer.requirement(scope, role, max_age)

        def decorate(view: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
            @wraps(view)
            def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
                self._admit(requirement)
                result: Result = flask.current_app.ensure_sync(view)(*args, **kwargs)
                return result

            return guarded

        return decorate

    def _admit(self, requirement: bearer.Requirement) -> None:
        try:
            text = bearer.bearer_token(flask.request.headers.get("Authorization"))
            flask.g.access_token = requirement.check(self._verifier.verify(text), self._verifier.validator.now())
        except TokenError as error:
            # The application's error handlers do not see an exception that is its own response.
            raise HTTPException(response=self._answer(error)) from None

    def _answer(self, error: TokenError) -> flask.Response:
        answer = bearer.answer(error, self._verifier.settings.audience)
        return flask.Response(answer.body, answer.status, answer.headers)
