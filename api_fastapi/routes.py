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
from core.accounts import export_schemas
from core.accounts.schemas import (
    ChangeEmailRequest,
    ChangePasswordRequest,
    DeleteAccountRequest,
    ResetPasswordRequest,
    SendPasswordResetRequest,
    SignupRequest,
    UpdateAccountRequest,
    User,
    VerifyEmailRequest,
)
from core.authentication.schemas import LoginRequest
from core.contract import problem
from core.contract.answer import Answer
from core.contract.operation import OPERATIONS
from core.http import problems
from core.http.site_schemas import Health
from core.oauth import discovery
from core.oauth.schemas import InspectedTokenForm, Introspection, ServerMetadata, TokenAnswer, TokenForm
from core.sessions.schemas import EndSessionsQuery, RefreshRequest, SessionList, TokenPair
from core.tokens.schemas import JsonWebKeySet, RevocationsQuery

router = APIRouter(route_class=ContractRoute)
on = partial(endpoint, router)


def path_parameter(operation_id: str, name: str) -> object:
    """The declaration of a path parameter, with its text from the contract."""
    return Path(description=OPERATIONS[operation_id].parameters[name].description)


@on("signup")
async def signup(body: SignupRequest, auth: Auth, origin: From, tasks: BackgroundTasks) -> User | Response:
    user = await run_in_threadpool(auth.accounts.sign_up, body.email, body.password, body.display_name, origin)
    tasks.add_task(auth.mail_worker.wake)
    return response_of(Answer(HTTPStatus.ACCEPTED)) if user is None else User.of(user)


@on("login")
async def login(body: LoginRequest, auth: Auth, origin: From) -> TokenPair:
    return TokenPair.of(await run_in_threadpool(auth.authentication.login, body.email, body.password, origin))


@on("token")
async def token(
    form: Annotated[TokenForm, Form()], credentials: OptionalClient, auth: Auth, origin: From
) -> TokenAnswer:
    return TokenAnswer.of(await run_in_threadpool(auth.token_endpoint.grant, form.to_core(), credentials, origin))


@on("refresh")
async def refresh(body: RefreshRequest, auth: Auth, origin: From) -> TokenPair:
    return TokenPair.of(await run_in_threadpool(auth.sessions.refresh, body.refresh_token, origin))


@on("revoke")
async def revoke(
    form: Annotated[InspectedTokenForm, Form()], credentials: OptionalClient, auth: Auth, origin: From
) -> None:
    await run_in_threadpool(auth.tokens.revoke, form.token, credentials, origin)


@on("introspect")
async def introspect(
    form: Annotated[InspectedTokenForm, Form()], credentials: RequiredClient, auth: Auth, origin: From
) -> Introspection:
    found = await run_in_threadpool(auth.tokens.introspect, form.token, credentials, origin)
    return Introspection.of(found, auth.settings)


@on("logout")
async def logout(principal: CurrentPrincipal, auth: Auth, origin: From) -> None:
    await run_in_threadpool(auth.sessions.logout, principal, origin)


@on("whoami")
async def whoami(principal: CurrentPrincipal) -> User:
    return User.of(principal.user)


@on("update_account")
async def update_account(body: UpdateAccountRequest, principal: CurrentPrincipal, auth: Auth, origin: From) -> User:
    user = await run_in_threadpool(auth.accounts.rename, principal, body.display_name, origin)
    return User.of(user)


@on("change_password")
async def change_password(
    body: ChangePasswordRequest, principal: CurrentPrincipal, auth: Auth, origin: From, tasks: BackgroundTasks
) -> None:
    await run_in_threadpool(auth.accounts.change_password, principal, body.current_password, body.new_password, origin)
    tasks.add_task(auth.mail_worker.wake)


@on("change_email")
async def change_email(
    body: ChangeEmailRequest, principal: CurrentPrincipal, auth: Auth, origin: From, tasks: BackgroundTasks
) -> None:
    await run_in_threadpool(
        auth.email_verification.request_change, principal, body.new_email, body.current_password, origin
    )
    tasks.add_task(auth.mail_worker.wake)


@on("export_account")
async def export_account(principal: CurrentPrincipal, auth: Auth, origin: From) -> Response:
    def written() -> str:
        # The one answer that is large. FastAPI would check and write a model on the event loop, and all others wait.
        return export_schemas.AccountExport.of(auth.accounts.export(principal, origin)).model_dump_json()

    return Response(await run_in_threadpool(written), media_type=problems.JSON)


@on("delete_account")
async def delete_account(body: DeleteAccountRequest, principal: CurrentPrincipal, auth: Auth, origin: From) -> None:
    await run_in_threadpool(auth.accounts.delete, principal, body.current_password, origin)


@on("send_password_reset")
async def send_password_reset(body: SendPasswordResetRequest, auth: Auth, origin: From, tasks: BackgroundTasks) -> None:
    await run_in_threadpool(auth.password_reset.request, body.email, origin)
    tasks.add_task(auth.mail_worker.wake)


@on("reset_password")
async def reset_password(body: ResetPasswordRequest, auth: Auth, origin: From, tasks: BackgroundTasks) -> None:
    await run_in_threadpool(auth.password_reset.reset, body.token, body.new_password, origin)
    tasks.add_task(auth.mail_worker.wake)


@on("send_email_verification")
async def send_email_verification(
    principal: CurrentPrincipal, auth: Auth, origin: From, tasks: BackgroundTasks
) -> None:
    await run_in_threadpool(auth.email_verification.request, principal, origin)
    tasks.add_task(auth.mail_worker.wake)


@on("verify_email")
async def verify_email(body: VerifyEmailRequest, auth: Auth, origin: From, tasks: BackgroundTasks) -> None:
    await run_in_threadpool(auth.email_verification.verify, body.token, origin)
    tasks.add_task(auth.mail_worker.wake)


@on("list_sessions")
async def list_sessions(principal: CurrentPrincipal, auth: Auth) -> SessionList:
    return SessionList.of(await run_in_threadpool(auth.sessions.live, principal), principal)


@on("end_sessions")
async def end_sessions(
    query: Annotated[EndSessionsQuery, Query()], principal: CurrentPrincipal, auth: Auth, origin: From
) -> None:
    await run_in_threadpool(auth.sessions.end_all, principal, origin, keep_current=query.keep_current)


@on("end_session")
async def end_session(
    session_id: Annotated[UUID, path_parameter("end_session", "session_id")],
    principal: CurrentPrincipal,
    auth: Auth,
    origin: From,
) -> None:
    await run_in_threadpool(auth.sessions.end, principal, session_id, origin)


@on("jwks")
async def jwks(auth: Auth) -> JsonWebKeySet:
    return await run_in_threadpool(discovery.key_set, auth.keys)


@on("metadata")
async def metadata(auth: Auth) -> ServerMetadata:
    return discovery.metadata(auth.settings)


@on("revocations")
async def revocations(request: Request, query: Annotated[RevocationsQuery, Query()], auth: Auth) -> Response:
    tag = request.headers.get("if-none-match")
    return response_of(await run_in_threadpool(discovery.revocations, auth.revocations, query, tag))


@on("problem_type")
async def problem_type(code: Annotated[str, path_parameter("problem_type", "code")]) -> problem.ProblemType:
    return problems.explain(code)


@on("healthz")
async def healthz() -> Health:
    return Health()


@on("readyz")
async def readyz(auth: Auth) -> Health:
    await run_in_threadpool(auth.check_ready)
    return Health()


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
async def reset_password_page(pages: Site, origin: From) -> Response:
    return response_of(pages.reset_password(origin.languages))


@on("verify_email_page")
async def verify_email_page(pages: Site, origin: From) -> Response:
    return response_of(pages.verify_email(origin.languages))


@on("asset")
async def asset(name: str, pages: Site) -> Response:
    return response_of(pages.asset(name))
