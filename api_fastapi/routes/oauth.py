"""The handlers of the OAuth endpoints. Each makes one call into the core, in one thread hop, and holds no rule."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Form, Response
from fastapi.concurrency import run_in_threadpool

from api_fastapi.answers import response_of
from api_fastapi.binding import ContractRoute, endpoint
from api_fastapi.dependencies import Auth, ClientProof, From, IfNoneMatch, OptionalClient
from core.oauth import discovery, operations
from core.oauth.schemas import InspectedTokenForm, Introspection, TokenAnswer, TokenForm

router = APIRouter(route_class=ContractRoute)
on = partial(endpoint, router)


@on(operations.TOKEN)
async def token(
    form: Annotated[TokenForm, Form()], credentials: OptionalClient, auth: Auth, origin: From
) -> TokenAnswer:
    proof = form.proof(credentials)
    return TokenAnswer.of(await run_in_threadpool(auth.token_endpoint.grant, form.to_core(), proof, origin))


@on(operations.REVOKE)
async def revoke(
    form: Annotated[InspectedTokenForm, Form()], credentials: OptionalClient, auth: Auth, origin: From
) -> None:
    await run_in_threadpool(auth.tokens.revoke, form.token, form.proof(credentials), origin)


@on(operations.INTROSPECT)
async def introspect(
    form: Annotated[InspectedTokenForm, Form()], proof: ClientProof, auth: Auth, origin: From
) -> Introspection:
    found = await run_in_threadpool(auth.tokens.introspect, form.token, form.proof(proof), origin)
    return Introspection.of(found, auth.settings)


@on(operations.METADATA)
async def metadata(auth: Auth, tag: IfNoneMatch) -> Response:
    return response_of(discovery.metadata(auth.settings, tag))


@on(operations.OPENID_CONFIGURATION)
async def openid_configuration(auth: Auth, tag: IfNoneMatch) -> Response:
    return response_of(discovery.metadata(auth.settings, tag))
