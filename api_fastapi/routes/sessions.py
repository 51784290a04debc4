"""The handlers of sessions. Each makes one call into the core, in one thread hop, and holds no rule."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.concurrency import run_in_threadpool

from api_fastapi.answers import response_of
from api_fastapi.binding import ContractRoute, endpoint, path_parameter
from api_fastapi.dependencies import Auth, CurrentCaller, CurrentPrincipal, From
from core.sessions import discovery, operations
from core.sessions.schemas import EndSessionsQuery, RefreshRequest, SessionList, TokenPair
from core.users.schemas import User

router = APIRouter(route_class=ContractRoute)
on = partial(endpoint, router)


@on(operations.REFRESH)
async def refresh(body: RefreshRequest, auth: Auth, origin: From) -> TokenPair:
    return TokenPair.of(await run_in_threadpool(auth.sessions.refresh, body.refresh_token, origin, body.asked))


@on(operations.LOGOUT)
async def logout(principal: CurrentPrincipal, auth: Auth, origin: From) -> None:
    await run_in_threadpool(auth.sessions.logout, principal, origin)


@on(operations.WHOAMI)
async def whoami(principal: CurrentPrincipal) -> User:
    return User.of(principal.user)


@on(operations.FORWARD_AUTH)
async def forward_auth(caller: CurrentCaller) -> Response:
    return response_of(discovery.identity(caller))


@on(operations.LIST_SESSIONS)
async def list_sessions(principal: CurrentPrincipal, auth: Auth) -> SessionList:
    return SessionList.of(await run_in_threadpool(auth.sessions.live, principal), principal)


@on(operations.END_SESSIONS)
async def end_sessions(
    query: Annotated[EndSessionsQuery, Query()], principal: CurrentPrincipal, auth: Auth, origin: From
) -> None:
    await run_in_threadpool(auth.sessions.end_all, principal, origin, keep_current=query.keep_current)


@on(operations.END_SESSION)
async def end_session(
    session_id: Annotated[UUID, path_parameter(operations.END_SESSION, "session_id")],
    principal: CurrentPrincipal,
    auth: Auth,
    origin: From,
) -> None:
    await run_in_threadpool(auth.sessions.end, principal, session_id, origin)
