"""The HTTP form of the errors that any request may cause."""

from http import HTTPStatus

from core.contract.problem import ProblemForm, ProblemForms
from core.errors import (
    AccountBusy,
    BodyTooLarge,
    DatabaseUnavailable,
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
    UnsupportedMediaType,
)

PROBLEMS: ProblemForms = {
    MalformedRequest: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Malformed request",
        "The request breaks a rule of HTTP itself: it has no valid Host, two headers where one may stand, a method "
        "that HTTP does not define, a body that ends early or goes with an upgrade, or it cannot be taken apart.",
    ),
    MalformedJson: ProblemForm(
        HTTPStatus.BAD_REQUEST,
        "Malformed JSON",
        "The body is not JSON as RFC 8259 and RFC 7493 define it: valid UTF-8, no member "
        "twice, no NaN or Infinity, no unpaired surrogate, at most 32 levels deep.",
    ),
    UnsupportedMediaType: ProblemForm(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "Unsupported media type",
        "Send JSON with the header Content-Type: application/json. The OAuth endpoints take "
        "application/x-www-form-urlencoded. The header Accept of the answer names which. The only character set is "
        "UTF-8, and a body is not compressed: Accept-Encoding names that.",
    ),
    BodyTooLarge: ProblemForm(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "Body too large",
        "A body has at most 16 KiB, whether its length is announced or it comes in chunks.",
    ),
    RequestTimeout: ProblemForm(
        HTTPStatus.REQUEST_TIMEOUT,
        "Request timeout",
        "A body arrives within ten seconds of its head. A head that is late may be closed without an answer.",
    ),
    TargetTooLong: ProblemForm(
        HTTPStatus.REQUEST_URI_TOO_LONG,
        "Target too long",
        "A path with its query has at most 4,000 characters. No operation needs more.",
    ),
    HeadersTooLarge: ProblemForm(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "Header fields too large",
        "A request has at most 100 header fields, each of at most 8,190 bytes and all together of at most 256 KiB.",
    ),
    NotFound: ProblemForm(
        HTTPStatus.NOT_FOUND,
        "Not found",
        "There is no such path, or no such thing that is yours. A path with a slash at its end is another path.",
    ),
    MethodNotAllowed: ProblemForm(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "Method not allowed",
        "The path exists, but not for this method. The header Allow names the methods that it knows.",
    ),
    InvalidInput: ProblemForm(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Invalid input",
        "The input was read, but a member is missing, unknown, of the wrong type or refused. The list errors names "
        "each with its reason.",
    ),
    MissingCredentials: ProblemForm(
        HTTPStatus.UNAUTHORIZED,
        "Missing credentials",
        "Send an access token: Authorization: Bearer TOKEN. A login gives one.",
    ),
    InvalidToken: ProblemForm(
        HTTPStatus.UNAUTHORIZED,
        "Invalid token",
        "The access token is malformed, expired, or its session has ended. Refresh it, or log in again.",
    ),
    NotReady: ProblemForm(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Not ready",
        "The database has another schema than this version of the service needs. The operator runs the migrations.",
    ),
    Stopping: ProblemForm(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Stopping",
        "This process was told to stop. It still answers what it is sent, but nothing new should be sent to it.",
    ),
    AccountBusy: ProblemForm(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Account busy",
        "Too many changes to this account are under way at once. Nothing was changed; try again after the seconds in "
        "Retry-After.",
    ),
    DatabaseUnavailable: ProblemForm(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Database unavailable",
        "The database did not answer in time. Try again after the seconds in Retry-After; a change whose answer was "
        "lost may have happened.",
    ),
    InternalError: ProblemForm(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Internal error",
        "Something went wrong on our side. Tell the operator the request id.",
    ),
}
