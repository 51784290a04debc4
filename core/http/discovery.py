"""What other services read: the keys and the metadata."""

from typing import TYPE_CHECKING

from core.http.operations import OPERATIONS
from core.http.schemas import JsonWebKey, JsonWebKeySet, ServerMetadata
from core.keys import KeyRing
from core.settings import Settings

if TYPE_CHECKING:
    from typing import Any


def key_set(ring: KeyRing) -> JsonWebKeySet:
    """The public keys (RFC 7517)."""
    keys: list[dict[str, Any]] = ring.jwks()["keys"]
    return JsonWebKeySet(keys=[JsonWebKey(**key) for key in keys])


def metadata(settings: Settings) -> ServerMetadata:
    """What this authorization server supports, and nothing else (RFC 8414)."""
    base = settings.public_url
    return ServerMetadata(
        issuer=base,
        token_endpoint=base + OPERATIONS["token"].path,
        jwks_uri=base + OPERATIONS["jwks"].path,
        response_types_supported=[],
        grant_types_supported=["refresh_token"],
        token_endpoint_auth_methods_supported=["none"],
    )
