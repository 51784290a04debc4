"""Every operation once: path, models, security, errors, texts. Both front doors bind their handlers to these ids."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from functools import partial
from http import HTTPMethod, HTTPStatus
from uuid import UUID

from pydantic import BaseModel

from core.accounts import export_schemas
from core.accounts.errors import InvalidResetToken, InvalidVerificationToken
from core.accounts.schemas import (
    ChangeEmailRequest,
    ChangePasswordRequest,
    DeleteAccountRequest,
    ResetPasswordRequest,
    SendPasswordResetRequest,
    SignupRequest,
    UpdateAccountRequest,
    User,
    VerifyEmailRequest,
)
from core.authentication.errors import EmailNotVerified, InvalidCredentials, Overloaded, WrongPassword
from core.authentication.schemas import LoginRequest
from core.contract.problem import ProblemType
from core.errors import (
    AuthError,
    BodyTooLarge,
    DatabaseUnavailable,
    HeadersTooLarge,
    InvalidInput,
    InvalidToken,
    MalformedJson,
    MalformedRequest,
    MissingCredentials,
    NotFound,
    NotReady,
    Stopping,
    TargetTooLong,
    UnsupportedMediaType,
)
from core.http.site_schemas import Health
from core.oauth.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from core.oauth.schemas import InspectedTokenForm, Introspection, ServerMetadata, TokenAnswer, TokenForm
from core.sessions.errors import InvalidRefreshToken
from core.sessions.schemas import EndSessionsQuery, RefreshRequest, SessionList, TokenPair
from core.throttling.errors import TooManyAttempts
from core.tokens.schemas import JsonWebKeySet, RevocationsQuery
from core.users.errors import EmailTaken

NO_STORE = "no-store"
PUBLIC = "public, max-age=300"
JWT = "application/jwt"
IMMUTABLE = "public, max-age=86400"

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Swagger UI writes style attributes, ReDoc searches in a worker made from a blob; nothing else is opened, and
# nothing leaves the host.
PAGES_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src blob:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)
# The pages of links hold a form that their own script sends; nothing is taken from elsewhere, nothing sent elsewhere.
LINKS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
)


class Tag(StrEnum):
    """The chapters of the documentation."""

    ACCOUNTS = "accounts"
    TOKENS = "tokens"
    SESSIONS = "sessions"
    DISCOVERY = "discovery"
    HEALTH = "health"
    PAGES = "pages"


TAG_DESCRIPTIONS = {
    Tag.ACCOUNTS: "Sign up, and what owners change about themselves.",
    Tag.TOKENS: "Log in, refresh, log out, and ask whom a token speaks for.",
    Tag.SESSIONS: "The logins of a user, device by device. An ended session is dead at once, at both front doors.",
    Tag.DISCOVERY: "What other services read to verify tokens, and what error codes mean.",
    Tag.HEALTH: "For the one who runs it.",
}


class Caller(Enum):
    """Whom a request must speak for."""

    NOBODY = auto()
    USER = auto()  # by an access token
    OPTIONAL_CLIENT = auto()  # by HTTP Basic; the core decides what a request without one may have
    CLIENT = auto()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A part of a path that each request fills in."""

    description: str
    kind: type[str | UUID] = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of the contract."""

    id: str
    method: HTTPMethod
    path: str
    tag: Tag
    summary: str
    description: str
    response: type[BaseModel] | None = None
    status: HTTPStatus = HTTPStatus.OK
    success: str
    json: type[BaseModel] | None = None
    form: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """Of the path, by name."""
    media_type: str | None = None
    """Of an answer that is not made from a model."""
    sparse: bool = False
    """Whether members without a value are left out of the answer."""
    notes: dict[HTTPStatus, str] = field(default_factory=dict)
    """Other statuses that are no errors."""
    caller: Caller = Caller.NOBODY
    asks_database: bool = True
    errors: tuple[type[AuthError], ...] = ()
    cache: str = NO_STORE
    policy: str = API_POLICY
    documented: bool = True

    @property
    def all_errors(self) -> tuple[type[AuthError], ...]:
        """Its own errors, and those that follow from what it takes."""
        return tuple(dict.fromkeys((*self._general_errors(), *self.errors)))

    def _general_errors(self) -> Iterator[type[AuthError]]:
        yield from (MalformedRequest, TargetTooLong, HeadersTooLarge, BodyTooLarge)
        if self.json:
            yield MalformedJson
        if self.json or self.form:
            yield UnsupportedMediaType
        if self.json or self.query or any(parameter.kind is not str for parameter in self.parameters.values()):
            yield InvalidInput
        if self.caller is Caller.USER:
            yield from (MissingCredentials, InvalidToken)
        if self.asks_database:
            yield DatabaseUnavailable


# For people: it asks no database, and no program needs to know of it.
_page = partial(
    Operation, method=HTTPMethod.GET, tag=Tag.PAGES, success="The page.", asks_database=False, documented=False
)

_DEFINED: Iterable[Operation] = (
    Operation(
        id="signup",
        method=HTTPMethod.POST,
        path="/v1/signup",
        tag=Tag.ACCOUNTS,
        summary="Sign up",
        description="Create an account. Addresses that differ only in case are one account. The password has no "
        "composition rules; short, common, and address-bearing ones are refused with the reason.",
        json=SignupRequest,
        response=User,
        status=HTTPStatus.CREATED,
        success="The account.",
        notes={
            HTTPStatus.ACCEPTED: "Where only verified addresses may log in: a link is on its way, or the owner of the "
            "address told that it has an account already."
        },
        errors=(EmailTaken, TooManyAttempts, Overloaded),
    ),
    Operation(
        id="login",
        method=HTTPMethod.POST,
        path="/v1/login",
        tag=Tag.TOKENS,
        summary="Log in",
        description="Start a session. An unknown address, a wrong password and a deactivated account are answered "
        "alike.",
        json=LoginRequest,
        response=TokenPair,
        success="The tokens of the new session.",
        errors=(InvalidCredentials, EmailNotVerified, TooManyAttempts, Overloaded),
    ),
    Operation(
        id="token",
        method=HTTPMethod.POST,
        path="/v1/token",
        tag=Tag.TOKENS,
        summary="Token endpoint",
        description="The OAuth 2 token endpoint (RFC 6749). The grants `password` and `refresh_token` do what login "
        "and refresh do, for first parties. `client_credentials` is for registered clients, which authenticate by "
        "HTTP Basic.",
        sparse=True,
        form=TokenForm,
        caller=Caller.OPTIONAL_CLIENT,
        response=TokenAnswer,
        success="The tokens.",
        errors=(
            InvalidRequest,
            InvalidGrant,
            UnsupportedGrantType,
            UnauthorizedClient,
            InvalidScope,
            InvalidClient,
            TooManyAttempts,
            Overloaded,
        ),
    ),
    Operation(
        id="refresh",
        method=HTTPMethod.POST,
        path="/v1/refresh",
        tag=Tag.TOKENS,
        summary="Refresh",
        description="RequestContext a refresh token for a new pair. The direct predecessor of the current token is given "
        "the same successor again for 10 seconds (a setting), so that tabs and retries that race keep the session. "
        "Anything older ends the session: two parties hold it.",
        json=RefreshRequest,
        response=TokenPair,
        success="The new tokens.",
        errors=(InvalidRefreshToken,),
    ),
    Operation(
        id="revoke",
        method=HTTPMethod.POST,
        path="/v1/revoke",
        tag=Tag.TOKENS,
        summary="Revoke a token",
        description="End the session of an access or refresh token, or a client's own token (RFC 7009). A token that "
        "is not ours or no longer active is revoked already. A client authenticates by HTTP Basic.",
        form=InspectedTokenForm,
        caller=Caller.OPTIONAL_CLIENT,
        success="It is worth nothing, at once and everywhere.",
        errors=(InvalidRequest, InvalidGrant, InvalidClient),
    ),
    Operation(
        id="introspect",
        method=HTTPMethod.POST,
        path="/v1/introspect",
        tag=Tag.TOKENS,
        summary="Inspect a token",
        description="What an access or refresh token is worth now (RFC 7662). For registered clients.",
        form=InspectedTokenForm,
        response=Introspection,
        sparse=True,
        success="What it is worth.",
        caller=Caller.CLIENT,
        errors=(InvalidRequest, InvalidClient),
    ),
    Operation(
        id="logout",
        method=HTTPMethod.POST,
        path="/v1/logout",
        tag=Tag.TOKENS,
        summary="Log out",
        description="End the session of this token. Its access and refresh tokens stop working at once, at both "
        "front doors.",
        status=HTTPStatus.NO_CONTENT,
        success="The session has ended.",
        caller=Caller.USER,
    ),
    Operation(
        id="whoami",
        method=HTTPMethod.GET,
        path="/v1/whoami",
        tag=Tag.TOKENS,
        summary="Who am I",
        description="The user whom this token speaks for.",
        response=User,
        success="The user.",
        caller=Caller.USER,
    ),
    Operation(
        id="update_account",
        method=HTTPMethod.PATCH,
        path="/v1/account",
        tag=Tag.ACCOUNTS,
        summary="Update the account",
        description="Change the display name, or remove it with null.",
        json=UpdateAccountRequest,
        response=User,
        success="The user as it is now.",
        caller=Caller.USER,
    ),
    Operation(
        id="change_password",
        method=HTTPMethod.POST,
        path="/v1/account/password",
        tag=Tag.ACCOUNTS,
        summary="Change the password",
        description="Set a new password. Every other session of the user ends; this one goes on.",
        json=ChangePasswordRequest,
        status=HTTPStatus.NO_CONTENT,
        success="The password is changed.",
        caller=Caller.USER,
        errors=(WrongPassword, TooManyAttempts, Overloaded),
    ),
    Operation(
        id="change_email",
        method=HTTPMethod.POST,
        path="/v1/account/email",
        tag=Tag.ACCOUNTS,
        summary="Change the e-mail address",
        description="Send a link to the new address. The change takes effect when it is followed; until then the "
        "account keeps its address, which is told of the request. Whether the new address has an account is not told.",
        json=ChangeEmailRequest,
        status=HTTPStatus.ACCEPTED,
        success="The link is on its way.",
        caller=Caller.USER,
        errors=(WrongPassword, TooManyAttempts, Overloaded),
    ),
    Operation(
        id="export_account",
        method=HTTPMethod.GET,
        path="/v1/account/export",
        tag=Tag.ACCOUNTS,
        summary="Export the account",
        description="Everything that is stored about the user, but for what only serves to check secrets. Of the audit "
        "log it is the newest 10,000 events, and whether there are older ones.",
        response=export_schemas.AccountExport,
        success="All of it.",
        caller=Caller.USER,
    ),
    Operation(
        id="delete_account",
        method=HTTPMethod.POST,
        path="/v1/account/delete",
        tag=Tag.ACCOUNTS,
        summary="Delete the account",
        description="Remove the user and all that belongs to it, at once and for good. Of the audit log, only the "
        "kinds and times of events remain.",
        json=DeleteAccountRequest,
        status=HTTPStatus.NO_CONTENT,
        success="Nothing of it is left.",
        caller=Caller.USER,
        errors=(WrongPassword, TooManyAttempts, Overloaded),
    ),
    Operation(
        id="send_password_reset",
        method=HTTPMethod.POST,
        path="/v1/send-password-reset",
        tag=Tag.ACCOUNTS,
        summary="Ask for a new password",
        description="Send a link to the owner of an address. The answer is the same, and takes the same time, whether "
        "there is such an account or not. A newer link replaces the one before.",
        json=SendPasswordResetRequest,
        status=HTTPStatus.ACCEPTED,
        success="If there is such an account, a link is on its way.",
        errors=(TooManyAttempts,),
    ),
    Operation(
        id="reset_password",
        method=HTTPMethod.POST,
        path="/v1/reset-password",
        tag=Tag.ACCOUNTS,
        summary="Set a new password",
        description="Set a new password with the token of a link, which works once. Every session of the user ends, "
        "and nobody is logged in. A password that is refused leaves the token as it is.",
        json=ResetPasswordRequest,
        status=HTTPStatus.NO_CONTENT,
        success="The password is set.",
        errors=(InvalidResetToken, Overloaded),
    ),
    Operation(
        id="send_email_verification",
        method=HTTPMethod.POST,
        path="/v1/send-email-verification",
        tag=Tag.ACCOUNTS,
        summary="Ask for a link to verify the address",
        description="Send the user another link; the one before loses its worth. A verified address is sent none.",
        status=HTTPStatus.ACCEPTED,
        success="The link is on its way.",
        caller=Caller.USER,
        errors=(TooManyAttempts,),
    ),
    Operation(
        id="verify_email",
        method=HTTPMethod.POST,
        path="/v1/verify-email",
        tag=Tag.ACCOUNTS,
        summary="Verify an address",
        description="Verify the address that the token of a link was sent to. Where it was sent to a new address, the "
        "account has that one from now on.",
        json=VerifyEmailRequest,
        status=HTTPStatus.NO_CONTENT,
        success="The address is verified.",
        errors=(InvalidVerificationToken,),
    ),
    Operation(
        id="list_sessions",
        method=HTTPMethod.GET,
        path="/v1/sessions",
        tag=Tag.SESSIONS,
        summary="List sessions",
        description="The live sessions of the user, newest first.",
        response=SessionList,
        success="The sessions.",
        caller=Caller.USER,
    ),
    Operation(
        id="end_sessions",
        method=HTTPMethod.DELETE,
        path="/v1/sessions",
        tag=Tag.SESSIONS,
        summary="End all sessions",
        description="End every session of the user, or with `keep_current=true` every other one.",
        query=EndSessionsQuery,
        status=HTTPStatus.NO_CONTENT,
        success="The sessions have ended.",
        caller=Caller.USER,
    ),
    Operation(
        id="end_session",
        method=HTTPMethod.DELETE,
        path="/v1/sessions/{session_id}",
        tag=Tag.SESSIONS,
        summary="End a session",
        description="End one session of the user. A session of somebody else is not told apart from none.",
        parameters={"session_id": Parameter("Id of the session.", UUID)},
        status=HTTPStatus.NO_CONTENT,
        success="The session has ended.",
        caller=Caller.USER,
        errors=(NotFound,),
    ),
    Operation(
        id="jwks",
        method=HTTPMethod.GET,
        path="/.well-known/jwks.json",
        tag=Tag.DISCOVERY,
        summary="Signing keys",
        description="The public keys that verify access tokens (RFC 7517). A key stands here before it signs and "
        "until the last token it signed has expired.",
        response=JsonWebKeySet,
        success="The keys.",
        cache=PUBLIC,
    ),
    Operation(
        id="metadata",
        method=HTTPMethod.GET,
        path="/.well-known/oauth-authorization-server",
        tag=Tag.DISCOVERY,
        summary="Server metadata",
        description="What this authorization server is and supports (RFC 8414). The grant `password` is for first "
        "parties and is not advertised.",
        response=ServerMetadata,
        success="The metadata.",
        cache=PUBLIC,
        asks_database=False,
    ),
    Operation(
        id="revocations",
        method=HTTPMethod.GET,
        path="/v1/revocations",
        tag=Tag.DISCOVERY,
        summary="Feed of revocations",
        description="What ended before its tokens expire, for services that verify tokens by themselves: a JWS of the "
        "type `revocations+jwt`, signed like access tokens, with hashed values. Ask with the cursor of the answer "
        "before and let it wait: an end is known to all within seconds.",
        query=RevocationsQuery,
        media_type=JWT,
        success="The feed behind the cursor.",
        notes={HTTPStatus.NOT_MODIFIED: "Nothing new, and `If-None-Match` names the cursor."},
    ),
    Operation(
        id="problem_type",
        method=HTTPMethod.GET,
        path="/problems/{code}",
        tag=Tag.DISCOVERY,
        summary="Explain an error code",
        description="What an error code means and what to do about it.",
        parameters={"code": Parameter("The error code.")},
        response=ProblemType,
        success="The explanation.",
        cache=PUBLIC,
        asks_database=False,
        errors=(NotFound,),
    ),
    Operation(
        id="healthz",
        method=HTTPMethod.GET,
        path="/healthz",
        tag=Tag.HEALTH,
        summary="Alive",
        description="The process lives. Nothing else is asked.",
        response=Health,
        success="It lives.",
        asks_database=False,
    ),
    Operation(
        id="readyz",
        method=HTTPMethod.GET,
        path="/readyz",
        tag=Tag.HEALTH,
        summary="Ready",
        description="The database answers and has the schema that this version needs.",
        response=Health,
        success="It is ready.",
        errors=(NotReady, Stopping),
    ),
    _page(
        id="openapi",
        path="/openapi.json",
        summary="This document",
        description="The OpenAPI document.",
        success="The document.",
    ),
    _page(
        id="docs",
        path="/docs",
        summary="Swagger UI",
        description="The documentation to try out.",
        policy=PAGES_POLICY,
    ),
    _page(
        id="redoc",
        path="/redoc",
        summary="ReDoc",
        description="The documentation to read.",
        policy=PAGES_POLICY,
    ),
    _page(
        id="reset_password_page",
        path="/reset-password",
        summary="Page of a link",
        description="Where the link of a password reset leads.",
        policy=LINKS_POLICY,
    ),
    _page(
        id="verify_email_page",
        path="/verify-email",
        summary="Page of a link",
        description="Where the link of a verification leads.",
        policy=LINKS_POLICY,
    ),
    _page(
        id="asset",
        path="/assets/{name}",
        summary="Asset",
        description="A script or style of the pages.",
        parameters={"name": Parameter("File name.")},
        success="The file.",
        cache=IMMUTABLE,
    ),
)

OPERATIONS: dict[str, Operation] = {operation.id: operation for operation in _DEFINED}
