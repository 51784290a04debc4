"""The OAuth endpoints (RFC 6749, 7009, 7662, 8414)."""

from dataclasses import replace
from http import HTTPMethod, HTTPStatus

from core.authentication.errors import Overloaded
from core.contract.operation import PUBLIC, Auth, Operation, Tag
from core.errors import AccountBusy, InsufficientScope, InvalidToken
from core.oauth.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from core.oauth.schemas import InspectedTokenForm, Introspection, ServerMetadata, TokenAnswer, TokenForm
from core.throttling.errors import TooManyAttempts

TOKEN = Operation(
    id="token",
    method=HTTPMethod.POST,
    path="/v1/token",
    tag=Tag.TOKENS,
    summary="Token endpoint",
    description="The OAuth 2 token endpoint (RFC 6749). The grants `password` and `refresh_token` do what login "
    "and refresh do, for first parties. `client_credentials` is for registered clients, which authenticate by "
    "HTTP Basic or with `client_id` and `client_secret` in the form, never by both. `scope` and `resource` (RFC 8707) "
    "say what the access token has to be good for.",
    omit_null=True,
    form=TokenForm,
    auth=Auth.OPTIONAL_CLIENT,
    response=TokenAnswer,
    success="The tokens.",
    errors=(
        InvalidRequest,
        InvalidGrant,
        UnsupportedGrantType,
        UnauthorizedClient,
        InvalidScope,
        InvalidTarget,
        InvalidClient,
        TooManyAttempts,
        Overloaded,
    ),
)

REVOKE = Operation(
    id="revoke",
    method=HTTPMethod.POST,
    path="/v1/revoke",
    tag=Tag.TOKENS,
    summary="Revoke a token",
    description="End the session of an access or refresh token, or a client's own token (RFC 7009). A token that "
    "is not ours or no longer active is revoked already. A client authenticates as at the token endpoint.",
    form=InspectedTokenForm,
    auth=Auth.OPTIONAL_CLIENT,
    success="It is worth nothing, at once and everywhere.",
    errors=(AccountBusy, InvalidRequest, InvalidGrant, InvalidClient),
)

INTROSPECT = Operation(
    id="introspect",
    method=HTTPMethod.POST,
    path="/v1/introspect",
    tag=Tag.TOKENS,
    summary="Inspect a token",
    description="What an access token is worth now (RFC 7662). For registered clients, which authenticate as at the "
    "token endpoint or with an access token of their own that has the scope `introspect`. A refresh token is never "
    "active: it opens nothing at other services.",
    form=InspectedTokenForm,
    response=Introspection,
    omit_null=True,
    success="What it is worth.",
    auth=Auth.CLIENT,
    errors=(InvalidRequest, InvalidClient, InvalidToken, InsufficientScope),
)

METADATA = Operation(
    id="metadata",
    method=HTTPMethod.GET,
    path="/.well-known/oauth-authorization-server",
    tag=Tag.DISCOVERY,
    summary="Server metadata",
    description="What this authorization server is and supports (RFC 8414). The grant `password` is for first "
    "parties and is not advertised.",
    response=ServerMetadata,
    omit_null=True,
    success="The metadata.",
    other_statuses={HTTPStatus.NOT_MODIFIED: "`If-None-Match` names this version."},
    headers=("ETag",),
    cache=PUBLIC,
    uses_database=False,
    is_open=True,
)

OPENID_CONFIGURATION = replace(
    METADATA,
    id="openid_configuration",
    path="/.well-known/openid-configuration",
    summary="Server metadata, for libraries that look here",
    description="The same document as at `/.well-known/oauth-authorization-server`. This is no OpenID provider: there "
    "are no ID tokens.",
)

OPERATIONS = (
    TOKEN,
    REVOKE,
    INTROSPECT,
    METADATA,
    OPENID_CONFIGURATION,
)
