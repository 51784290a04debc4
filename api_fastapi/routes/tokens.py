"""The handlers of tokens. Each makes one call into the core, in one thread hop, and holds no rule."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.concurrency import run_in_threadpool

from api_fastapi.answers import response_of
from api_fastapi.binding import ContractRoute, endpoint
from api_fastapi.dependencies import Auth, IfNoneMatch
from core.oauth import discovery
from core.tokens import operations
from core.tokens.schemas import RevocationsQuery

router = APIRouter(route_class=ContractRoute)
on = partial(endpoint, router)


@on(operations.JWKS)
async def jwks(auth: Auth, tag: IfNoneMatch) -> Response:
    return response_of(await run_in_threadpool(discovery.key_set, auth.keys, tag))


@on(operations.REVOCATIONS)
async def revocations(query: Annotated[RevocationsQuery, Query()], auth: Auth, tag: IfNoneMatch) -> Response:
    return response_of(await run_in_threadpool(discovery.revocations, auth.revocations, query, tag))
