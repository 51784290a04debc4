"""From an error to its HTTP answer: status, headers and body, by the forms of the capabilities."""

import json
from collections.abc import Iterable
from http import HTTPStatus

from core.authentication.errors import InvalidCredentials
from core.contract.answer import Answer, Headers
from core.contract.operation import JSON
from core.contract.problem import InputError, InputProblem, OAuthError, Problem, ProblemForm, ProblemForms, ProblemType
from core.errors import (
    AuthError,
    FieldError,
    InsufficientScope,
    InvalidInput,
    MethodNotAllowed,
    MissingCredentials,
    NotFound,
    TryAgainLater,
    Unauthenticated,
    UnsupportedCoding,
    UnsupportedMediaType,
)
from core.oauth.errors import (
    InvalidClient,
    TokenEndpointError,
)
from core.throttling.errors import TooManyAttempts

PROBLEM_JSON = "application/problem+json"
REALM = "twinauth"
EXAMPLE_REQUEST_ID = "5f2c9a1e4b7d4c0f8a3e6d1b9c2f7a40"


class Problems:
    """The HTTP form of every error."""

    def __init__(self, forms: ProblemForms) -> None:
        self._forms = forms
        self._by_code = {error.code: error for error in forms}

    def status_of(self, error: type[AuthError]) -> HTTPStatus:
        """Return the status of an error."""
        return self._form(error).status

    def answer(self, error: AuthError, request_id: str, prefix: str = "") -> Answer:
        """Make the whole answer to an error; ``prefix`` is the path of the service as the caller sees it."""
        form = self._form(type(error))
        body = _body(error, form, request_id, prefix)
        return Answer.of(media_type_of(type(error)), body, _headers(error), form.status)

    def explain(self, code: str, prefix: str = "") -> ProblemType:
        """Explain a code.

        Raises:
            NotFound: there is no such code.

        """
        error = self._by_code.get(code)
        if error is None:
            raise NotFound
        form = self._forms[error]
        return ProblemType(
            type=_type(code, prefix), code=code, title=form.title, status=form.status, explanation=form.explanation
        )

    def example(self, error: type[AuthError]) -> dict[str, object]:
        """Make an example body for the documentation."""
        made: dict[str, object] = json.loads(_body(_instance(error), self._form(error), EXAMPLE_REQUEST_ID))
        return made

    def header_names(self, error: type[AuthError]) -> tuple[str, ...]:
        """Return the names of the header fields that come with an error."""
        return tuple(name for name, _ in _headers(_instance(error)))

    def _form(self, error: type[AuthError]) -> ProblemForm:
        return next(self._forms[base] for base in error.__mro__ if base in self._forms)


def model_of(error: type[AuthError]) -> type[Problem | OAuthError]:
    """Return the model of an error's body."""
    if issubclass(error, TokenEndpointError):
        return OAuthError
    return InputProblem if issubclass(error, InvalidInput) else Problem


def media_type_of(error: type[AuthError]) -> str:
    """Return the media type of an error: JSON for OAuth errors, problem+json for all others."""
    return JSON if model_of(error) is OAuthError else PROBLEM_JSON


def _instance(error: type[AuthError]) -> AuthError:
    if error is InvalidInput:
        return InvalidInput(FieldError(field="email", code="missing", message="This member is required."))
    return MethodNotAllowed(()) if error is MethodNotAllowed else error()


def _type(code: str, prefix: str) -> str:
    return f"{prefix}/problems/{code}"


def _body(error: AuthError, form: ProblemForm, request_id: str, prefix: str = "") -> bytes:
    """Make the body of an error from the members of its model."""
    members = {
        "type": _type(error.code, prefix),
        "title": form.title,
        "status": form.status,
        "detail": error.text,
        "code": error.code,
        "request_id": request_id,
        "errors": [InputError.of(found) for found in _found(error)],
        "error": error.code,
        "error_description": error.text,
    }
    model = model_of(type(error))
    return model(**{name: members[name] for name in model.model_fields}).model_dump_json().encode()


def _found(error: AuthError) -> Iterable[FieldError]:
    return error.errors if isinstance(error, InvalidInput) else ()


def _headers(error: AuthError) -> Headers:
    match error:
        case UnsupportedCoding():
            return (("Accept-Encoding", "identity"),)
        case UnsupportedMediaType(wanted=str(media_type)):
            return (("Accept", media_type),)
        case MethodNotAllowed(allowed=allowed):
            return (("Allow", ", ".join(allowed)),)
        case TryAgainLater(retry_after=seconds) | TooManyAttempts(retry_after=seconds):
            return (("Retry-After", str(seconds)),)
        case _:
            return tuple(("WWW-Authenticate", challenge) for challenge in _challenges(error))


def _challenges(error: AuthError) -> Iterable[str]:
    match error:
        case InvalidClient():
            yield f'Basic realm="{REALM}", charset="UTF-8"'
        # RFC 6750 section 3: no error code for a request without a token, so that a client fetches one.
        case MissingCredentials() | InvalidCredentials():
            yield f'Bearer realm="{REALM}"'
        case InsufficientScope(scope=scope):
            yield f'Bearer realm="{REALM}", error="insufficient_scope", scope="{scope}"'
        case Unauthenticated():
            yield f'Bearer realm="{REALM}", error="invalid_token"'
