"""The handlers of accounts. Each makes one call into the core, in one thread hop, and holds no rule."""

from functools import partial
from http import HTTPStatus

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool

from api_fastapi.answers import response_of, stream_of
from api_fastapi.binding import ContractRoute, endpoint
from api_fastapi.dependencies import Auth, CurrentPrincipal, From, OptionalPrincipal
from core.accounts import operations
from core.accounts.schemas import (
    ChangeEmailRequest,
    ChangePasswordRequest,
    DeleteAccountRequest,
    DisownAccountRequest,
    ResetDone,
    ResetPasswordRequest,
    SendPasswordResetRequest,
    SignupAccepted,
    SignupRequest,
    UndoEmailChangeRequest,
    UpdateAccountRequest,
    VerifyEmailRequest,
)
from core.contract.answer import Answer
from core.contract.operation import JSON
from core.users.schemas import User

router = APIRouter(route_class=ContractRoute)
on = partial(endpoint, router)


@on(operations.SIGNUP)
async def signup(body: SignupRequest, auth: Auth, origin: From) -> User | Response:
    user = await run_in_threadpool(auth.accounts.sign_up, body.email, body.password, body.display_name, origin)
    if user is None:
        accepted = SignupAccepted.of_any().model_dump_json().encode()
        return response_of(Answer.of(JSON, accepted, status=HTTPStatus.ACCEPTED))
    return User.of(user)


@on(operations.UPDATE_ACCOUNT)
async def update_account(body: UpdateAccountRequest, principal: CurrentPrincipal, auth: Auth, origin: From) -> User:
    user = await run_in_threadpool(auth.accounts.rename, principal, body.display_name, origin)
    return User.of(user)


@on(operations.CHANGE_PASSWORD)
async def change_password(body: ChangePasswordRequest, principal: CurrentPrincipal, auth: Auth, origin: From) -> None:
    await run_in_threadpool(auth.accounts.change_password, principal, body.current_password, body.new_password, origin)


@on(operations.CHANGE_EMAIL)
async def change_email(body: ChangeEmailRequest, principal: CurrentPrincipal, auth: Auth, origin: From) -> None:
    await run_in_threadpool(
        auth.email_verification.request_change, principal, body.new_email, body.current_password, origin
    )


@on(operations.EXPORT_ACCOUNT)
async def export_account(principal: CurrentPrincipal, auth: Auth, origin: From) -> Response:
    return stream_of(JSON, await run_in_threadpool(auth.exporter.export, principal, origin))


@on(operations.DELETE_ACCOUNT)
async def delete_account(body: DeleteAccountRequest, principal: CurrentPrincipal, auth: Auth, origin: From) -> None:
    await run_in_threadpool(auth.accounts.delete, principal, body.current_password, origin)


@on(operations.SEND_PASSWORD_RESET)
async def send_password_reset(body: SendPasswordResetRequest, auth: Auth, origin: From) -> None:
    await run_in_threadpool(auth.password_reset.request, body.email, origin)


@on(operations.RESET_PASSWORD)
async def reset_password(body: ResetPasswordRequest, auth: Auth, origin: From) -> Response:
    device_token = await run_in_threadpool(
        auth.password_reset.reset, body.token, body.new_password, origin, body.device_token
    )
    if device_token is None:
        return response_of(Answer(HTTPStatus.NO_CONTENT))
    done = ResetDone(device_token=device_token).model_dump_json().encode()
    return response_of(Answer.of(JSON, done))


@on(operations.SEND_EMAIL_VERIFICATION)
async def send_email_verification(principal: CurrentPrincipal, auth: Auth, origin: From) -> None:
    await run_in_threadpool(auth.email_verification.request, principal, origin)


@on(operations.VERIFY_EMAIL)
async def verify_email(body: VerifyEmailRequest, principal: OptionalPrincipal, auth: Auth, origin: From) -> None:
    verify = partial(auth.email_verification.verify, password=body.password, principal=principal)
    await run_in_threadpool(verify, body.token, origin)


@on(operations.DISOWN_ACCOUNT)
async def disown_account(body: DisownAccountRequest, auth: Auth, origin: From) -> None:
    await run_in_threadpool(auth.email_verification.disown, body.token, origin)


@on(operations.UNDO_EMAIL_CHANGE)
async def undo_email_change(body: UndoEmailChangeRequest, auth: Auth, origin: From) -> None:
    await run_in_threadpool(auth.email_change_undo.undo, body.token, origin)
