"""The one table from an error to its HTTP form: status, headers, body. No other module knows these numbers."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from core.accounts.errors import InvalidResetToken, InvalidVerificationToken
from core.authentication.errors import EmailNotVerified, InvalidCredentials, Overloaded, WrongPassword
from core.contract.answer import Answer, Headers
from core.contract.problem import InputError, InputProblem, OAuthError, Problem, ProblemType
from core.errors import (
    AuthError,
    BodyTooLarge,
    DatabaseUnavailable,
    FieldError,
    HeadersTooLarge,
    InternalError,
    InvalidInput,
    InvalidToken,
    MalformedJson,
    MalformedRequest,
    MethodNotAllowed,
    MissingCredentials,
    NotFound,
    NotReady,
    RequestTimeout,
    Stopping,
    TargetTooLong,
    TryAgainLater,
    Unauthenticated,
    UnsupportedMediaType,
)
from core.oauth.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    TokenEndpointError,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from core.sessions.errors import InvalidRefreshToken
from core.throttling.errors import TooManyAttempts
from core.users.errors import EmailTaken

PROBLEM_JSON = "application/problem+json"
JSON = "application/json"
REALM = "twinauth"


@dataclass(frozen=True, slots=True)
class _Form:
    status: HTTPStatus
    title: str
    explanation: str


_FORMS: dict[type[AuthError], _Form] = {
    MalformedRequest: _Form(
        HTTPStatus.BAD_REQUEST,
        "Malformed request",
        "The request breaks a rule of HTTP itself: it has no valid Host, two headers where one may stand, a method "
        "that HTTP does not define, a body that ends early or goes with an upgrade, or it cannot be taken apart.",
    ),
    MalformedJson: _Form(
        HTTPStatus.BAD_REQUEST,
        "Malformed JSON",
        "The body is not JSON as RFC 8259 and RFC 7493 define it: valid UTF-8 without a byte order mark, no member "
        "twice, no NaN or Infinity, no unpaired surrogate, at most 32 levels deep.",
    ),
    UnsupportedMediaType: _Form(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "Unsupported media type",
        "Send JSON with the header Content-Type: application/json. The token endpoint takes "
        "application/x-www-form-urlencoded. The only character set is UTF-8.",
    ),
    BodyTooLarge: _Form(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "Body too large",
        "A body has at most 64 KiB, whether its length is announced or it comes in chunks.",
    ),
    RequestTimeout: _Form(
        HTTPStatus.REQUEST_TIMEOUT,
        "Request timeout",
        "A body arrives within ten seconds of its head. A head that is late may be closed without an answer.",
    ),
    TargetTooLong: _Form(
        HTTPStatus.REQUEST_URI_TOO_LONG,
        "Target too long",
        "A path with its query has at most 4,000 characters. No operation needs more.",
    ),
    HeadersTooLarge: _Form(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "Header fields too large",
        "A request has at most 100 header fields, each of at most 8,190 bytes and all together of at most 256 KiB.",
    ),
    NotFound: _Form(
        HTTPStatus.NOT_FOUND,
        "Not found",
        "There is no such path, or no such thing that is yours. A path with a slash at its end is another path.",
    ),
    MethodNotAllowed: _Form(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "Method not allowed",
        "The path exists, but not for this method. The header Allow names the methods that it knows.",
    ),
    InvalidInput: _Form(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Invalid input",
        "The input was read, but a member is missing, unknown, of the wrong type or refused. The list errors names "
        "each with its reason.",
    ),
    MissingCredentials: _Form(
        HTTPStatus.UNAUTHORIZED,
        "Missing credentials",
        "Send an access token: Authorization: Bearer TOKEN. A login gives one.",
    ),
    InvalidToken: _Form(
        HTTPStatus.UNAUTHORIZED,
        "Invalid token",
        "The access token is malformed, expired, or its session has ended. Refresh it, or log in again.",
    ),
    InvalidRefreshToken: _Form(
        HTTPStatus.UNAUTHORIZED,
        "Invalid refresh token",
        "The refresh token is malformed, expired, was used before, or its session has ended. A refresh token is used "
        "once; when an old one comes back, two parties hold the session and it ends for both. Log in again.",
    ),
    InvalidCredentials: _Form(
        HTTPStatus.UNAUTHORIZED,
        "Invalid credentials",
        "No active account has this address with this password. Which of the two is wrong is not told, because that "
        "would tell who has an account.",
    ),
    WrongPassword: _Form(
        HTTPStatus.FORBIDDEN,
        "Wrong password",
        "You are logged in, but this change needs the current password, and the one given is not it.",
    ),
    EmailTaken: _Form(
        HTTPStatus.CONFLICT,
        "E-mail address taken",
        "An account with this address exists. Log in, or reset its password.",
    ),
    EmailNotVerified: _Form(
        HTTPStatus.FORBIDDEN,
        "E-mail address not verified",
        "The password is right, but the owner of the address has not followed the link that was sent there. Each try "
        "sends a new one, up to a limit an hour.",
    ),
    TooManyAttempts: _Form(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many attempts",
        "Too many passwords were wrong, or too much was asked for from your network. Wait for the seconds in "
        "Retry-After; each further failure makes the pause longer. Resetting the password stays possible.",
    ),
    InvalidResetToken: _Form(
        HTTPStatus.BAD_REQUEST,
        "Invalid reset token",
        "The token is malformed, expired, already used, replaced by a newer one, or its account has changed its "
        "password or address since. Ask for a new one.",
    ),
    InvalidVerificationToken: _Form(
        HTTPStatus.BAD_REQUEST,
        "Invalid verification token",
        "The token is malformed, expired, already used, replaced by a newer one, or its account has changed its "
        "password or address since. Ask for a new one.",
    ),
    InvalidRequest: _Form(
        HTTPStatus.BAD_REQUEST,
        "Invalid request",
        "RFC 6749 section 5.2: a parameter of the token request is missing, stands there twice, or is malformed.",
    ),
    InvalidClient: _Form(
        HTTPStatus.UNAUTHORIZED,
        "Invalid client",
        "RFC 6749 section 5.2: the client is unknown, or its authentication failed.",
    ),
    InvalidGrant: _Form(
        HTTPStatus.BAD_REQUEST,
        "Invalid grant",
        "RFC 6749 section 5.2: the credentials or the refresh token are wrong, expired, already used, or their "
        "session has ended.",
    ),
    InvalidScope: _Form(
        HTTPStatus.BAD_REQUEST,
        "Invalid scope",
        "RFC 6749 section 5.2: the scope is malformed, or more than the client was registered with.",
    ),
    UnauthorizedClient: _Form(
        HTTPStatus.BAD_REQUEST,
        "Unauthorized client",
        "RFC 6749 section 5.2: a registered client may ask for client_credentials only. The grants password and "
        "refresh_token are for first parties, which send no client authentication.",
    ),
    UnsupportedGrantType: _Form(
        HTTPStatus.BAD_REQUEST,
        "Unsupported grant type",
        "RFC 6749 section 5.2: the token endpoint does not know this grant_type.",
    ),
    Overloaded: _Form(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Overloaded",
        "More passwords wait to be checked than can be checked in good time. Nothing was done; try again after the "
        "seconds in Retry-After.",
    ),
    NotReady: _Form(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Not ready",
        "The database has another schema than this version of the service needs. The operator runs the migrations.",
    ),
    Stopping: _Form(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Stopping",
        "This process was told to stop. It still answers what it is sent, but nothing new should be sent to it.",
    ),
    DatabaseUnavailable: _Form(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Database unavailable",
        "The database did not answer in time. Try again after the seconds in Retry-After; a change whose answer was "
        "lost may have happened.",
    ),
    InternalError: _Form(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Internal error",
        "Something went wrong on our side. Tell the operator the request id.",
    ),
}
_BY_CODE = {error.code: error for error in _FORMS}


def status_of(error: type[AuthError]) -> HTTPStatus:
    """The status that an error is answered with."""
    return _form(error).status


def answer(error: AuthError, request_id: str) -> Answer:
    """The whole answer to an error."""
    form = _form(type(error))
    return Answer.of(media_type_of(type(error)), _body(error, form, request_id), _headers(error), form.status)


def model_of(error: type[AuthError]) -> type[Problem | OAuthError]:
    """What the body of an answer to an error is made from."""
    if issubclass(error, TokenEndpointError):
        return OAuthError
    return InputProblem if issubclass(error, InvalidInput) else Problem


def media_type_of(error: type[AuthError]) -> str:
    """OAuth errors are told in JSON, all others as problems."""
    return JSON if model_of(error) is OAuthError else PROBLEM_JSON


def explain(code: str) -> ProblemType:
    """Explain a code.

    Raises:
        NotFound: there is no such code.

    """
    error = _BY_CODE.get(code)
    if error is None:
        raise NotFound
    form = _FORMS[error]
    return ProblemType(type=_type(code), code=code, title=form.title, status=form.status, explanation=form.explanation)


def example(error: type[AuthError]) -> dict[str, object]:
    """An example body for the documentation."""
    if error is InvalidInput:
        instance: AuthError = InvalidInput(
            FieldError(field="email", code="missing", message="This member is required.")
        )
    else:
        instance = MethodNotAllowed(()) if error is MethodNotAllowed else error()
    made: dict[str, object] = json.loads(_body(instance, _form(error), "5f2c9a1e4b7d4c0f8a3e6d1b9c2f7a40"))
    return made


def _form(error: type[AuthError]) -> _Form:
    return next(_FORMS[base] for base in error.__mro__ if base in _FORMS)


def _type(code: str) -> str:
    return f"/problems/{code}"


def _body(error: AuthError, form: _Form, request_id: str) -> bytes:
    """Of all that could be told of an error, what its model has a member for."""
    told = {
        "type": _type(error.code),
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
    return model(**{name: told[name] for name in model.model_fields}).model_dump_json().encode()


def _found(error: AuthError) -> Iterable[FieldError]:
    return error.errors if isinstance(error, InvalidInput) else ()


def _headers(error: AuthError) -> Headers:
    match error:
        case MethodNotAllowed(allowed=allowed):
            return (("Allow", ", ".join(allowed)),)
        case TryAgainLater(retry_after=seconds) | TooManyAttempts(retry_after=seconds):
            return (("Retry-After", str(seconds)),)
        case InvalidClient():
            return (("WWW-Authenticate", f'Basic realm="{REALM}", charset="UTF-8"'),)
        # RFC 6750 section 3: no error code where no token came, so that a client knows to fetch one.
        case MissingCredentials() | InvalidCredentials():
            return (("WWW-Authenticate", f'Bearer realm="{REALM}"'),)
        case Unauthenticated():
            return (("WWW-Authenticate", f'Bearer realm="{REALM}", error="invalid_token"'),)
        case _:
            return ()
