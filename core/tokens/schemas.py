"""Request and response models for verifiers."""

from typing import Any, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from core.contract.fields import QueryModel, RequestModel, ResponseModel
from core.settings.groups import Algorithm
from core.tokens import revocation_feed
from core.tokens.access import AccessRequest

MAX_SCOPE = 1000
MAX_RESOURCE = 255


class AccessBody(RequestModel):
    """A request for an access token, which may say what the token has to be good for."""

    scope: str | None = Field(
        None,
        max_length=MAX_SCOPE,
        description="Scopes separated by spaces; by default all that there are to have.",
        examples=["orders:read"],
    )
    resource: str | None = Field(
        None,
        max_length=MAX_RESOURCE,
        description="The audience of the access token (RFC 8707); by default this service's own.",
        examples=["https://orders.example.com"],
    )

    @property
    def asked(self) -> AccessRequest:
        """What it says, in the core's terms."""
        return AccessRequest(scope=self.scope, resource=self.resource)


class RevocationsQuery(QueryModel):
    """From where on, and how long to wait for news."""

    since: str | None = Field(None, description="The cursor of the answer before; without it, everything in force.")
    wait: int = Field(0, ge=0, le=revocation_feed.MAX_WAIT, description="Seconds to wait where there is nothing new.")


def _number(description: str) -> Any:
    return Field(None, description=f"{description}, in base64url.")


class JsonWebKey(ResponseModel):
    """The public half of a signing key (RFC 7517, RFC 7518 section 6, RFC 8037). What its type has not is left out."""

    kty: Literal["EC", "RSA", "OKP"] = Field(examples=["EC"])
    kid: str = Field(description="RFC 7638 thumbprint.", examples=["NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"])
    use: Literal["sig"]
    alg: Algorithm = Field(examples=["ES256"])
    crv: Literal["P-256", "Ed25519"] | SkipJsonSchema[None] = Field(None, description="Curve, of EC and OKP.")
    x: str | SkipJsonSchema[None] = _number("Coordinate, of EC; public key, of OKP")
    y: str | SkipJsonSchema[None] = _number("Coordinate, of EC")
    n: str | SkipJsonSchema[None] = _number("Modulus, of RSA")
    e: str | SkipJsonSchema[None] = _number("Exponent, of RSA")


class JsonWebKeySet(ResponseModel):
    """The keys that verify access tokens, among them the one that will sign next."""

    keys: list[JsonWebKey]
