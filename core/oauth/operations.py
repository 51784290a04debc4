"""The OAuth endpoints (RFC 6749, 7009, 7662, 8414)."""

from http import HTTPMethod

from core.authentication.errors import Overloaded
from core.contract.operation import PUBLIC, Auth, Operation, Tag
from core.oauth.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
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
    "HTTP Basic.",
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
    "is not ours or no longer active is revoked already. A client authenticates by HTTP Basic.",
    form=InspectedTokenForm,
    auth=Auth.OPTIONAL_CLIENT,
    success="It is worth nothing, at once and everywhere.",
    errors=(InvalidRequest, InvalidGrant, InvalidClient),
)

INTROSPECT = Operation(
    id="introspect",
    method=HTTPMethod.POST,
    path="/v1/introspect",
    tag=Tag.TOKENS,
    summary="Inspect a token",
    description="What an access or refresh token is worth now (RFC 7662). For registered clients.",
    form=InspectedTokenForm,
    response=Introspection,
    omit_null=True,
    success="What it is worth.",
    auth=Auth.CLIENT,
    errors=(InvalidRequest, InvalidClient),
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
    success="The metadata.",
    cache=PUBLIC,
    uses_database=False,
)

OPERATIONS = (
    TOKEN,
    REVOKE,
    INTROSPECT,
    METADATA,
)
