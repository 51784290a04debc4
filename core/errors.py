"""The roots of the error tree, and the errors of any request. A class holds the stable code, an instance the text.

A capability's own errors are in its folder; the HTTP form of errors is in `core.http.problems`.

::

    AuthError
    ├── RequestRefused                 the request could not be read
    │   ├── MalformedRequest           malformed_request
    │   ├── MalformedJson              malformed_json
    │   ├── UnsupportedMediaType       unsupported_media_type
    │   ├── BodyTooLarge               body_too_large
    │   ├── RequestTimeout             request_timeout
    │   ├── TargetTooLong              target_too_long
    │   ├── HeadersTooLarge            headers_too_large
    │   ├── NotFound                   not_found
    │   ├── MethodNotAllowed           method_not_allowed
    │   └── InvalidInput               invalid_input
    ├── Unauthenticated                the caller could not be identified
    │   ├── MissingCredentials         missing_credentials
    │   └── InvalidToken               invalid_token
    ├── TryAgainLater                  a temporary fault on our side
    │   ├── NotReady                   not_ready
    │   ├── Stopping                   stopping
    │   ├── AccountBusy                account_busy
    │   └── DatabaseUnavailable        database_unavailable
    │       └── TransactionConflict
    └── InternalError                  internal_error
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """The reason to refuse one member of the input. It never contains the input itself."""

    field: str
    code: str
    message: str


class AuthError(Exception):
    """Base of every error that is shown to callers."""

    code: ClassVar[str]
    detail: ClassVar[str]

    def __init__(self, detail: str | None = None) -> None:
        self.text = detail or self.detail
        super().__init__(self.text)


class RequestRefused(AuthError):
    """The request could not be read."""


class MalformedRequest(RequestRefused):
    code = "malformed_request"
    detail = "The request is not valid HTTP for this service."


class MalformedJson(RequestRefused):
    code = "malformed_json"
    detail = "The body is not valid JSON in UTF-8."


class UnsupportedMediaType(RequestRefused):
    """Carries the media type that would be taken, for ``Accept`` (RFC 9110 section 12.5.1)."""

    code = "unsupported_media_type"
    detail = "The content type is missing or not one that this operation takes."

    def __init__(self, wanted: str | None = None) -> None:
        self.wanted = wanted
        super().__init__(f"Send the body as {wanted}, in UTF-8." if wanted else None)


class UnsupportedCoding(UnsupportedMediaType):
    """The body is compressed. 16 KiB of it may be gigabytes, so nothing is unpacked (RFC 9110 section 15.5.16)."""

    detail = "Send the body as it is, without a content coding."


class BodyTooLarge(RequestRefused):
    code = "body_too_large"
    detail = "The body is larger than this service accepts."


class RequestTimeout(RequestRefused):
    code = "request_timeout"
    detail = "The request did not arrive in time."


class TargetTooLong(RequestRefused):
    code = "target_too_long"
    detail = "The path and query are longer than this service accepts."


class HeadersTooLarge(RequestRefused):
    code = "headers_too_large"
    detail = "The header fields are larger than this service accepts."


class NotFound(RequestRefused):
    code = "not_found"
    detail = "There is nothing here."


class MethodNotAllowed(RequestRefused):
    """Carries the methods that the path has, for ``Allow`` (RFC 9110 section 15.5.6)."""

    code = "method_not_allowed"
    detail = "The path exists, but not for this method."

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = tuple(allowed)
        super().__init__()


class InvalidInput(RequestRefused):
    """One or more members of the input are wrong; each is named with its reason."""

    code = "invalid_input"
    detail = "One or more members of the input are not valid."

    def __init__(self, *errors: FieldError) -> None:
        self.errors = errors
        super().__init__()


class Unauthenticated(AuthError):
    """The caller could not be identified."""


class MissingCredentials(Unauthenticated):
    code = "missing_credentials"
    detail = "This operation needs an access token."


class InvalidToken(Unauthenticated):
    code = "invalid_token"
    detail = "The access token is malformed, expired, or its session has ended."


class InsufficientScope(AuthError):
    """Carries the scope that the caller's token lacks (RFC 6750 section 3.1)."""

    code = "insufficient_scope"
    detail = "The access token lacks a scope that this operation needs."

    def __init__(self, scope: str = "") -> None:
        self.scope = scope
        super().__init__()


class TryAgainLater(AuthError):
    """A temporary fault on our side. ``retry_after`` is in seconds."""

    retry_after: ClassVar[int] = 1


class NotReady(TryAgainLater):
    code = "not_ready"
    detail = "The database is not at the schema that this version needs."
    retry_after = 5


class Stopping(TryAgainLater):
    code = "stopping"
    detail = "This process was told to stop and takes its last requests."


class DatabaseUnavailable(TryAgainLater):
    code = "database_unavailable"
    detail = "The database cannot be reached at the moment."
    retry_after = 2


class AccountBusy(TryAgainLater):
    code = "account_busy"
    detail = "Too many changes to this account are under way at once."


class TransactionConflict(DatabaseUnavailable):
    """The database rolled the transaction back before it committed; running it again is safe."""


class InternalError(AuthError):
    code = "internal_error"
    detail = "Something went wrong on our side. The request id names it in our log."
