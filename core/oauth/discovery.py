"""The keys, the metadata and the feed for other services."""

import hashlib
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from core.contract.answer import Answer
from core.contract.operation import JSON, JWT
from core.oauth.operations import INTROSPECT, REVOKE, TOKEN
from core.oauth.schemas import CLIENT_AUTHENTICATION, ServerMetadata
from core.settings.whole import Settings
from core.tokens.key_ring import KeyRing
from core.tokens.operations import JWKS
from core.tokens.revocation_feed import RevocationFeed
from core.tokens.schemas import JsonWebKey, JsonWebKeySet, RevocationsQuery


def key_set(ring: KeyRing, if_none_match: str | None) -> Answer:
    """Return the public keys (RFC 7517)."""
    keys: list[dict[str, Any]] = ring.jwks()["keys"]
    return _tagged(JsonWebKeySet(keys=[JsonWebKey(**key) for key in keys]), if_none_match)


def metadata(settings: Settings, if_none_match: str | None) -> Answer:
    """Return the features of this authorization server (RFC 8414)."""
    return _tagged(_metadata(settings), if_none_match)


def _metadata(settings: Settings) -> ServerMetadata:
    base = settings.http.public_url
    return ServerMetadata(
        issuer=base,
        token_endpoint=base + TOKEN.path,
        jwks_uri=base + JWKS.path,
        revocation_endpoint=base + REVOKE.path,
        introspection_endpoint=base + INTROSPECT.path,
        scopes_supported=sorted({scope for held in settings.tokens.scopes.values() for scope in held}) or None,
        grant_types_supported=["refresh_token", "client_credentials"],
        token_endpoint_auth_methods_supported=[*CLIENT_AUTHENTICATION, "none"],
        revocation_endpoint_auth_methods_supported=[*CLIENT_AUTHENTICATION, "none"],
        introspection_endpoint_auth_methods_supported=[*CLIENT_AUTHENTICATION, "bearer"],
    )


def revocations(feed: RevocationFeed, query: RevocationsQuery, if_none_match: str | None) -> Answer:
    """Return the feed after a cursor, or 304 if there is nothing new."""
    found = feed.read(query.since, wait=query.wait)
    tag = f'"{found.cursor}"'
    if found.is_empty and _names(if_none_match, tag):
        return _not_modified(tag)
    return Answer.of(JWT, found.jws.encode(), (("ETag", tag),))


def _tagged(document: BaseModel, if_none_match: str | None) -> Answer:
    body = document.model_dump_json(exclude_none=True).encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if _names(if_none_match, tag):
        return _not_modified(tag)
    return Answer.of(JSON, body, (("ETag", tag),))


def _not_modified(tag: str) -> Answer:
    return Answer(HTTPStatus.NOT_MODIFIED, (("ETag", tag),))


def _names(if_none_match: str | None, tag: str) -> bool:
    """Whether the header names a tag, by the weak comparison (RFC 9110 section 13.1.2): proxies weaken tags."""
    given = [entry.strip().removeprefix("W/") for entry in (if_none_match or "").split(",")]
    return tag in given or "*" in given
