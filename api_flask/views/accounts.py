"""The views of accounts. Each method makes one call into the core and holds no rule."""

from functools import partial
from http import HTTPStatus

from flask import Blueprint, Response
from flask.views import MethodView

from api_flask.answers import response_of, stream_of
from api_flask.binding import add_view, endpoint
from api_flask.dependencies import auth_app, current_origin, current_principal, optional_principal
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

blueprint = Blueprint("accounts", __name__)
on = partial(add_view, blueprint)


@on
class Signup(MethodView):
    @endpoint(operations.SIGNUP)
    def post(self, body: SignupRequest) -> User | Response:
        user = auth_app().accounts.sign_up(body.email, body.password, body.display_name, current_origin())
        if user is None:
            accepted = SignupAccepted.of_any().model_dump_json().encode()
            return response_of(Answer.of(JSON, accepted, status=HTTPStatus.ACCEPTED))
        return User.of(user)


@on
class Account(MethodView):
    @endpoint(operations.UPDATE_ACCOUNT)
    def patch(self, body: UpdateAccountRequest) -> User:
        user = auth_app().accounts.rename(current_principal(), body.display_name, current_origin())
        return User.of(user)


@on
class AccountPassword(MethodView):
    @endpoint(operations.CHANGE_PASSWORD)
    def post(self, body: ChangePasswordRequest) -> None:
        auth_app().accounts.change_password(
            current_principal(), body.current_password, body.new_password, current_origin()
        )


@on
class AccountEmail(MethodView):
    @endpoint(operations.CHANGE_EMAIL)
    def post(self, body: ChangeEmailRequest) -> None:
        auth_app().email_verification.request_change(
            current_principal(), body.new_email, body.current_password, current_origin()
        )


@on
class ExportedAccount(MethodView):
    @endpoint(operations.EXPORT_ACCOUNT)
    def get(self) -> Response:
        return stream_of(JSON, auth_app().exporter.export(current_principal(), current_origin()))


@on
class AccountDelete(MethodView):
    @endpoint(operations.DELETE_ACCOUNT)
    def post(self, body: DeleteAccountRequest) -> None:
        auth_app().accounts.delete(current_principal(), body.current_password, current_origin())


@on
class SendPasswordReset(MethodView):
    @endpoint(operations.SEND_PASSWORD_RESET)
    def post(self, body: SendPasswordResetRequest) -> None:
        auth_app().password_reset.request(body.email, current_origin())


@on
class ResetPassword(MethodView):
    @endpoint(operations.RESET_PASSWORD)
    def post(self, body: ResetPasswordRequest) -> Response:
        device_token = auth_app().password_reset.reset(
            body.token, body.new_password, current_origin(), body.device_token
        )
        if device_token is None:
            return response_of(Answer(HTTPStatus.NO_CONTENT))
        done = ResetDone(device_token=device_token).model_dump_json().encode()
        return response_of(Answer.of(JSON, done))


@on
class SendEmailVerification(MethodView):
    @endpoint(operations.SEND_EMAIL_VERIFICATION)
    def post(self) -> None:
        auth_app().email_verification.request(current_principal(), current_origin())


@on
class VerifyEmail(MethodView):
    @endpoint(operations.VERIFY_EMAIL)
    def post(self, body: VerifyEmailRequest) -> None:
        auth_app().email_verification.verify(
            body.token, current_origin(), password=body.password, principal=optional_principal()
        )


@on
class DisownAccount(MethodView):
    @endpoint(operations.DISOWN_ACCOUNT)
    def post(self, body: DisownAccountRequest) -> None:
        auth_app().email_verification.disown(body.token, current_origin())


@on
class UndoEmailChange(MethodView):
    @endpoint(operations.UNDO_EMAIL_CHANGE)
    def post(self, body: UndoEmailChangeRequest) -> None:
        auth_app().email_change_undo.undo(body.token, current_origin())
