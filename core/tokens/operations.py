"""The operations for verifiers: the keys and the feed of revocations."""

from http import HTTPMethod, HTTPStatus

from core.contract.operation import JWT, PUBLIC, Operation, Tag
from core.tokens.errors import UnknownCursor
from core.tokens.schemas import JsonWebKeySet, RevocationsQuery

JWKS = Operation(
    id="jwks",
    method=HTTPMethod.GET,
    path="/.well-known/jwks.json",
    tag=Tag.DISCOVERY,
    summary="Signing keys",
    description="The public keys that verify access tokens (RFC 7517). A key stands here before it signs and "
    "until the last token it signed has expired.",
    response=JsonWebKeySet,
    omit_null=True,
    success="The keys.",
    other_statuses={HTTPStatus.NOT_MODIFIED: "`If-None-Match` names this version."},
    headers=("ETag",),
    cache=PUBLIC,
    is_open=True,
)

REVOCATIONS = Operation(
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
    errors=(UnknownCursor,),
    success="The feed behind the cursor.",
    headers=("ETag",),
    other_statuses={HTTPStatus.NOT_MODIFIED: "Nothing new, and `If-None-Match` names the cursor."},
)

OPERATIONS = (
    JWKS,
    REVOCATIONS,
)
