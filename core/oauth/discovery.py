"""The keys, the metadata and the feed for other services."""

from http import HTTPStatus
from typing import Any

from core.contract.answer import Answer
from core.contract.operation import JWT
from core.oauth.operations import INTROSPECT, REVOKE, TOKEN
from core.oauth.schemas import ServerMetadata
from core.settings.whole import Settings
from core.tokens.key_ring import KeyRing
from core.tokens.operations import JWKS
from core.tokens.revocation_feed import RevocationFeed
from core.tokens.schemas import JsonWebKey, JsonWebKeySet, RevocationsQuery

BASIC = "client_secret_basic"


def key_set(ring: KeyRing) -> JsonWebKeySet:
    """Return the public keys (RFC 7517)."""
    keys: list[dict[str, Any]] = ring.jwks()["keys"]
    return JsonWebKeySet(keys=[JsonWebKey(**key) for key in keys])


def metadata(settings: Settings) -> ServerMetadata:
    """Return the features of this authorization server (RFC 8414)."""
    base = settings.http.public_url
    return ServerMetadata(
        issuer=base,
        token_endpoint=base + TOKEN.path,
        jwks_uri=base + JWKS.path,
        revocation_endpoint=base + REVOKE.path,
        introspection_endpoint=base + INTROSPECT.path,
        response_types_supported=[],
        grant_types_supported=["refresh_token", "client_credentials"],
        token_endpoint_auth_methods_supported=["none", BASIC],
        revocation_endpoint_auth_methods_supported=["none", BASIC],
        introspection_endpoint_auth_methods_supported=[BASIC],
    )


def revocations(feed: RevocationFeed, query: RevocationsQuery, if_none_match: str | None) -> Answer:
    """Return the feed after a cursor, or 304 if there is nothing new."""
    found = feed.read(query.since, wait=query.wait)
    tag = ("ETag", f'"{found.cursor}"')
    if found.is_empty and if_none_match == tag[1]:
        return Answer(HTTPStatus.NOT_MODIFIED, (tag,))
    return Answer.of(JWT, found.jws.encode(), (tag,))
