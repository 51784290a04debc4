"""Request and response models of the OAuth endpoints."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from core.authentication.schemas import PasswordText
from core.contract.fields import EXAMPLE_ID, EXAMPLE_SESSION_ID, ResponseModel
from core.devices.schemas import EXAMPLE_DEVICE_TOKEN, MAX_DEVICE_TOKEN, given_device_token_field
from core.oauth.client_authentication import Proof, proof_of
from core.oauth.model import ActiveToken, Credentials, Grant, TokenRequest
from core.settings.whole import Settings
from core.tokens.access import AccessRequest
from core.tokens.schemas import MAX_RESOURCE, MAX_SCOPE
from core.users import addresses

MAX_CLIENT_FIELD = 255
CLIENT_AUTHENTICATION = ("client_secret_basic", "client_secret_post")


class ClientForm(BaseModel):
    """A form in which a client may say who it is. Unknown parameters are ignored (RFC 6749 section 3.2)."""

    model_config = ConfigDict(extra="ignore")

    client_id: str | SkipJsonSchema[None] = Field(
        None,
        max_length=MAX_CLIENT_FIELD,
        description="Id of the client, where it does not authenticate by HTTP Basic.",
        examples=["twc_019365a0c0de7e5f8f6d9b1a2c3d4e5f"],
    )
    client_secret: str | SkipJsonSchema[None] = Field(
        None,
        max_length=MAX_CLIENT_FIELD,
        description="Its secret, with `client_id`; instead of HTTP Basic.",
        examples=["tws_0Ln2…"],
    )

    def proof(self, header: Proof | None) -> Proof | Credentials | None:
        """What proves who asks: that of the Authorization header, or of this form."""
        return proof_of(header, self.client_id, self.client_secret)


class TokenForm(ClientForm):
    """A token request (RFC 6749)."""

    # The document says what is needed; its absence is told in the terms of the RFC, by `invalid_request`.
    model_config = ConfigDict(extra="ignore", json_schema_extra={"required": ["grant_type"]})

    grant_type: str | SkipJsonSchema[None] = Field(
        None,
        description="What to exchange for tokens.",
        examples=["password"],
        json_schema_extra={"enum": ["password", "refresh_token", "client_credentials"]},
    )
    username: str | SkipJsonSchema[None] = Field(
        None,
        max_length=addresses.MAX_LENGTH,
        description="E-mail address, for the grant `password`.",
        examples=["ann@example.com"],
    )
    password: PasswordText | SkipJsonSchema[None] = Field(None, description="Password, for the grant `password`.")
    refresh_token: str | SkipJsonSchema[None] = Field(
        None,
        description="Refresh token, for the grant `refresh_token`.",
        examples=["twr_AZejwm8efTqbUgxqH06NIQ"],
    )
    scope: str | SkipJsonSchema[None] = Field(
        None,
        max_length=MAX_SCOPE,
        description="Scopes separated by spaces; by default all that the client or the user may have, and for a "
        "refresh those of the session.",
        examples=["orders:read"],
    )
    resource: str | SkipJsonSchema[None] = Field(
        None,
        max_length=MAX_RESOURCE,
        description="The audience of the access token (RFC 8707); by default this service's own.",
        examples=["https://orders.example.com"],
    )

    device_token: str | SkipJsonSchema[None] = Field(
        None,
        max_length=MAX_DEVICE_TOKEN,
        description="The `device_token` of an earlier login on this device, for the grant `password`.",
        examples=[EXAMPLE_DEVICE_TOKEN],
    )

    def to_core(self) -> TokenRequest:
        """The request in the core's terms."""
        return TokenRequest(
            grant_type=self.grant_type,
            username=self.username,
            password=self.password,
            refresh_token=self.refresh_token,
            asked=AccessRequest(scope=self.scope, resource=self.resource),
            device_token=self.device_token,
        )


class InspectedTokenForm(ClientForm):
    """A token to inspect or to revoke (RFC 7662, RFC 7009). The hint may be wrong; both kinds are tried anyway."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"required": ["token"]})

    token: str | SkipJsonSchema[None] = Field(
        None,
        description="An access or a refresh token.",
        examples=["twr_AZejwm8efTqbUgxqH06NIQ"],
    )
    token_type_hint: str | SkipJsonSchema[None] = Field(
        None,
        max_length=100,
        description="What the token is; it may be wrong, and is not needed.",
        examples=["refresh_token"],
        json_schema_extra={"enum": ["access_token", "refresh_token"]},
    )


class TokenAnswer(ResponseModel):
    """A token answer (RFC 6749 section 5.1)."""

    access_token: str = Field(description="JWT after RFC 9068.")
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="Seconds until the access token expires.", examples=[900])
    refresh_token: str | None = Field(None, description="Opaque, single use; not for `client_credentials`.")
    scope: str | None = Field(None, description="The granted scopes, where there are any.", examples=["orders:read"])
    device_token: str | None = given_device_token_field("For the grant `password`: to be kept on the device.")

    @classmethod
    def of(cls, grant: Grant) -> Self:
        """Show what was granted."""
        return cls(
            access_token=grant.access_token,
            token_type="Bearer",  # noqa: S106 - a scheme
            expires_in=grant.expires_in,
            refresh_token=grant.refresh_token,
            scope=grant.scope,
            device_token=grant.device_token,
        )


class Introspection(ResponseModel):
    """What a token is worth (RFC 7662 section 2.2). Of one that is not active, nothing else is said."""

    active: bool
    sub: str | None = Field(None, description="User or client.", examples=[EXAMPLE_ID])
    client_id: str | None = Field(None, examples=["twinauth"])
    username: str | None = Field(None, description="E-mail address of a user.", examples=["ann@example.com"])
    sid: str | None = Field(None, description="Session.", examples=[EXAMPLE_SESSION_ID])
    jti: str | None = Field(None, examples=[EXAMPLE_ID])
    token_type: str | None = Field(None, examples=["Bearer"])
    scope: str | None = Field(None, examples=["orders:read"])
    roles: list[str] | None = Field(None, examples=[["admin"]])
    iss: str | None = Field(None, examples=["https://auth.example.com"])
    aud: str | None = Field(None, examples=["https://auth.example.com"])
    auth_time: int | None = Field(None, description="Time of the login, in seconds since 1970.", examples=[1795253400])
    iat: int | None = Field(None, description="Seconds since 1970.", examples=[1795253400])
    exp: int | None = Field(None, description="Seconds since 1970.", examples=[1795254300])

    @classmethod
    def of(cls, token: ActiveToken | None, settings: Settings) -> Self:
        """Show a token."""
        if token is None:
            return cls(active=False)
        return cls(
            active=True,
            sub=token.subject,
            client_id=token.client_id,
            username=token.username,
            sid=token.session_id,
            jti=token.token_id,
            token_type="Bearer",  # noqa: S106 - a scheme
            scope=token.scope,
            roles=list(token.roles) or None,
            iss=settings.http.public_url,
            aud=token.audience,
            auth_time=token.auth_time and int(token.auth_time.timestamp()),
            iat=int(token.issued_at.timestamp()),
            exp=int(token.expires_at.timestamp()),
        )


class ServerMetadata(ResponseModel):
    """Authorization server metadata (RFC 8414)."""

    issuer: str = Field(examples=["https://auth.example.com"])
    token_endpoint: str = Field(examples=["https://auth.example.com/v1/token"])
    jwks_uri: str = Field(examples=["https://auth.example.com/.well-known/jwks.json"])
    revocation_endpoint: str = Field(examples=["https://auth.example.com/v1/revoke"])
    introspection_endpoint: str = Field(examples=["https://auth.example.com/v1/introspect"])
    scopes_supported: list[str] | None = Field(
        None, description="Those that users may have; absent where there are none.", examples=[["orders:read"]]
    )
    grant_types_supported: list[str] = Field(examples=[["refresh_token", "client_credentials"]])
    token_endpoint_auth_methods_supported: list[str] = Field(examples=[[*CLIENT_AUTHENTICATION, "none"]])
    revocation_endpoint_auth_methods_supported: list[str] = Field(examples=[[*CLIENT_AUTHENTICATION, "none"]])
    introspection_endpoint_auth_methods_supported: list[str] = Field(examples=[[*CLIENT_AUTHENTICATION, "bearer"]])
