"""The handlers of authentication. Each makes one call into the core, in one thread hop, and holds no rule."""

from functools import partial

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from api_fastapi.binding import ContractRoute, endpoint
from api_fastapi.dependencies import Auth, From
from core.authentication import operations
from core.authentication.schemas import LoginRequest
from core.sessions.schemas import TokenPair

router = APIRouter(route_class=ContractRoute)
on = partial(endpoint, router)


@on(operations.LOGIN)
async def login(body: LoginRequest, auth: Auth, origin: From) -> TokenPair:
    pair = await run_in_threadpool(
        auth.authentication.login, body.email, body.password, origin, body.asked, device_token=body.device_token
    )
    return TokenPair.of(pair)
