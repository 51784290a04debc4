"""The handlers. Each makes one call into the core, in one thread hop, and holds no rule."""

from functools import partial
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Form, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from api_fastapi.answers import response_of
from api_fastapi.binding import ContractRoute, endpoint
from api_fastapi.dependencies import Auth, CurrentPrincipal, From, OptionalClient, RequiredClient, Site
from core.http import discovery, problems
from core.http.answer import Answer
from core.http.operations import OPERATIONS
from core.http.schemas import errors, export, requests, responses

router = APIRouter(route_class=ContractRoute)
on = partial(endpoint, router)


def path_parameter(operation_id: str, name: str) -> object:
    """The declaration of a path parameter, with its text from the contract."""
    return Path(description=OPERATIONS[operation_id].parameters[name].description)


@on("signup")
async def signup(
    body: requests.SignupRequest, auth: Auth, client: From, tasks: BackgroundTasks
) -> responses.User | Response:
    user = await run_in_threadpool(auth.accounts.sign_up, body.email, body.password, body.display_name, client)
    tasks.add_task(auth.relay.wake)
    return response_of(Answer(HTTPStatus.ACCEPTED)) if user is None else responses.User.of(user)


@on("login")
async def login(body: requests.LoginRequest, auth: Auth, client: From) -> responses.TokenPair:
    return responses.TokenPair.of(await run_in_threadpool(auth.authentication.login, body.email, body.password, client))


@on("token")
async def token(
    form: Annotated[requests.TokenForm, Form()], credentials: OptionalClient, auth: Auth, client: From
) -> responses.TokenAnswer:
    return responses.TokenAnswer.of(
        await run_in_threadpool(auth.token_endpoint.grant, form.to_core(), credentials, client)
    )


@on("refresh")
async def refresh(body: requests.RefreshRequest, auth: Auth, client: From) -> responses.TokenPair:
    return responses.TokenPair.of(await run_in_threadpool(auth.sessions.refresh, body.refresh_token, client))


@on("revoke")
async def revoke(
    form: Annotated[requests.InspectedTokenForm, Form()], credentials: OptionalClient, auth: Auth, client: From
) -> None:
    await run_in_threadpool(auth.tokens.revoke, form.token, credentials, client)


@on("introspect")
async def introspect(
    form: Annotated[requests.InspectedTokenForm, Form()], credentials: RequiredClient, auth: Auth, client: From
) -> responses.Introspection:
    found = await run_in_threadpool(auth.tokens.introspect, form.token, credentials, client)
    return responses.Introspection.of(found, auth.settings)


@on("logout")
async def logout(principal: CurrentPrincipal, auth: Auth, client: From) -> None:
    await run_in_threadpool(auth.sessions.logout, principal, client)


@on("whoami")
async def whoami(principal: CurrentPrincipal) -> responses.User:
    return responses.User.of(principal.user)


@on("update_account")
async def update_account(
    body: requests.UpdateAccountRequest, principal: CurrentPrincipal, auth: Auth, client: From
) -> responses.User:
    user = await run_in_threadpool(auth.accounts.rename, principal, body.display_name, client)
    return responses.User.of(user)


@on("change_password")
async def change_password(
    body: requests.ChangePasswordRequest, principal: CurrentPrincipal, auth: Auth, client: From, tasks: BackgroundTasks
) -> None:
    await run_in_threadpool(auth.accounts.change_password, principal, body.current_password, body.new_password, client)
    tasks.add_task(auth.relay.wake)


@on("change_email")
async def change_email(
    body: requests.ChangeEmailRequest, principal: CurrentPrincipal, auth: Auth, client: From, tasks: BackgroundTasks
) -> None:
    await run_in_threadpool(auth.verification.request_change, principal, body.new_email, body.current_password, client)
    tasks.add_task(auth.relay.wake)


@on("export_account")
async def export_account(principal: CurrentPrincipal, auth: Auth, client: From) -> Response:
    def written() -> str:
        # The one answer that is large. FastAPI would check and write a model on the event loop, and all others wait.
        return export.AccountExport.of(auth.accounts.export(principal, client)).model_dump_json()

    return Response(await run_in_threadpool(written), media_type=problems.JSON)


@on("delete_account")
async def delete_account(
    body: requests.DeleteAccountRequest, principal: CurrentPrincipal, auth: Auth, client: From
) -> None:
    await run_in_threadpool(auth.accounts.delete, principal, body.current_password, client)


@on("send_password_reset")
async def send_password_reset(
    body: requests.SendPasswordResetRequest, auth: Auth, client: From, tasks: BackgroundTasks
) -> None:
    await run_in_threadpool(auth.recovery.request, body.email, client)
    tasks.add_task(auth.relay.wake)


@on("reset_password")
async def reset_password(body: requests.ResetPasswordRequest, auth: Auth, client: From, tasks: BackgroundTasks) -> None:
    await run_in_threadpool(auth.recovery.reset, body.token, body.new_password, client)
    tasks.add_task(auth.relay.wake)


@on("send_email_verification")
async def send_email_verification(
    principal: CurrentPrincipal, auth: Auth, client: From, tasks: BackgroundTasks
) -> None:
    await run_in_threadpool(auth.verification.request, principal, client)
    tasks.add_task(auth.relay.wake)


@on("verify_email")
async def verify_email(body: requests.VerifyEmailRequest, auth: Auth, client: From, tasks: BackgroundTasks) -> None:
    await run_in_threadpool(auth.verification.verify, body.token, client)
    tasks.add_task(auth.relay.wake)


@on("list_sessions")
async def list_sessions(principal: CurrentPrincipal, auth: Auth) -> responses.SessionList:
    return responses.SessionList.of(await run_in_threadpool(auth.sessions.live, principal), principal)


@on("end_sessions")
async def end_sessions(
    query: Annotated[requests.EndSessionsQuery, Query()], principal: CurrentPrincipal, auth: Auth, client: From
) -> None:
    await run_in_threadpool(auth.sessions.end_all, principal, client, keep_current=query.keep_current)


@on("end_session")
async def end_session(
    session_id: Annotated[UUID, path_parameter("end_session", "session_id")],
    principal: CurrentPrincipal,
    auth: Auth,
    client: From,
) -> None:
    await run_in_threadpool(auth.sessions.end, principal, session_id, client)


@on("jwks")
async def jwks(auth: Auth) -> responses.JsonWebKeySet:
    return await run_in_threadpool(discovery.key_set, auth.keys)


@on("metadata")
async def metadata(auth: Auth) -> responses.ServerMetadata:
    return discovery.metadata(auth.settings)


@on("revocations")
async def revocations(request: Request, query: Annotated[requests.RevocationsQuery, Query()], auth: Auth) -> Response:
    tag = request.headers.get("if-none-match")
    return response_of(await run_in_threadpool(discovery.revocations, auth.revocations, query, tag))


@on("problem_type")
async def problem_type(code: Annotated[str, path_parameter("problem_type", "code")]) -> errors.ProblemType:
    return problems.explain(code)


@on("healthz")
async def healthz() -> responses.Health:
    return responses.Health()


@on("readyz")
async def readyz(auth: Auth) -> responses.Health:
    await run_in_threadpool(auth.check_ready)
    return responses.Health()


@on("openapi")
async def openapi(pages: Site) -> Response:
    return response_of(pages.openapi())


@on("docs")
async def docs(pages: Site) -> Response:
    return response_of(pages.docs())


@on("redoc")
async def redoc(pages: Site) -> Response:
    return response_of(pages.redoc())


@on("reset_password_page")
async def reset_password_page(pages: Site, client: From) -> Response:
    return response_of(pages.reset_password(client.languages))


@on("verify_email_page")
async def verify_email_page(pages: Site, client: From) -> Response:
    return response_of(pages.verify_email(client.languages))


@on("asset")
async def asset(name: str, pages: Site) -> Response:
    return response_of(pages.asset(name))
