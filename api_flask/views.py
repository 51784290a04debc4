"""The views. Each method makes one call into the core and holds no rule."""

from functools import partial
from http import HTTPStatus
from uuid import UUID

from flask import Blueprint, Response, request
from flask.views import MethodView

from api_flask.answers import response_of
from api_flask.binding import add_view, endpoint
from api_flask.dependencies import (
    after_response,
    auth_app,
    current_credentials,
    current_origin,
    current_principal,
    site_pages,
)
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
from core.http import problems
from core.http.site_schemas import Health
from core.oauth import discovery
from core.oauth.schemas import InspectedTokenForm, Introspection, ServerMetadata, TokenAnswer, TokenForm
from core.sessions.schemas import EndSessionsQuery, RefreshRequest, SessionList, TokenPair
from core.tokens.schemas import JsonWebKeySet, RevocationsQuery

blueprint = Blueprint("twinauth", __name__)
on = partial(add_view, blueprint)


@on
class Signup(MethodView):
    @endpoint("signup")
    def post(self, body: SignupRequest) -> User | Response:
        user = auth_app().accounts.sign_up(body.email, body.password, body.display_name, current_origin())
        after_response(auth_app().mail_worker.wake)
        return response_of(Answer(HTTPStatus.ACCEPTED)) if user is None else User.of(user)


@on
class Login(MethodView):
    @endpoint("login")
    def post(self, body: LoginRequest) -> TokenPair:
        return TokenPair.of(auth_app().authentication.login(body.email, body.password, current_origin()))


@on
class Token(MethodView):
    @endpoint("token")
    def post(self, form: TokenForm) -> TokenAnswer:
        grant = auth_app().token_endpoint.grant(form.to_core(), current_credentials(), current_origin())
        return TokenAnswer.of(grant)


@on
class Refresh(MethodView):
    @endpoint("refresh")
    def post(self, body: RefreshRequest) -> TokenPair:
        return TokenPair.of(auth_app().sessions.refresh(body.refresh_token, current_origin()))


@on
class Revoke(MethodView):
    @endpoint("revoke")
    def post(self, form: InspectedTokenForm) -> None:
        auth_app().tokens.revoke(form.token, current_credentials(), current_origin())


@on
class Introspect(MethodView):
    @endpoint("introspect")
    def post(self, form: InspectedTokenForm) -> Introspection:
        auth = auth_app()
        found = auth.tokens.introspect(form.token, current_credentials(), current_origin())
        return Introspection.of(found, auth.settings)


@on
class Logout(MethodView):
    @endpoint("logout")
    def post(self) -> None:
        auth_app().sessions.logout(current_principal(), current_origin())


@on
class Whoami(MethodView):
    @endpoint("whoami")
    def get(self) -> User:
        return User.of(current_principal().user)


@on
class Account(MethodView):
    @endpoint("update_account")
    def patch(self, body: UpdateAccountRequest) -> User:
        user = auth_app().accounts.rename(current_principal(), body.display_name, current_origin())
        return User.of(user)


@on
class AccountPassword(MethodView):
    @endpoint("change_password")
    def post(self, body: ChangePasswordRequest) -> None:
        auth_app().accounts.change_password(
            current_principal(), body.current_password, body.new_password, current_origin()
        )
        after_response(auth_app().mail_worker.wake)


@on
class AccountEmail(MethodView):
    @endpoint("change_email")
    def post(self, body: ChangeEmailRequest) -> None:
        auth_app().email_verification.request_change(
            current_principal(), body.new_email, body.current_password, current_origin()
        )
        after_response(auth_app().mail_worker.wake)


@on
class AccountExport(MethodView):
    @endpoint("export_account")
    def get(self) -> export_schemas.AccountExport:
        return export_schemas.AccountExport.of(auth_app().accounts.export(current_principal(), current_origin()))


@on
class AccountDelete(MethodView):
    @endpoint("delete_account")
    def post(self, body: DeleteAccountRequest) -> None:
        auth_app().accounts.delete(current_principal(), body.current_password, current_origin())


@on
class SendPasswordReset(MethodView):
    @endpoint("send_password_reset")
    def post(self, body: SendPasswordResetRequest) -> None:
        auth_app().password_reset.request(body.email, current_origin())
        after_response(auth_app().mail_worker.wake)


@on
class ResetPassword(MethodView):
    @endpoint("reset_password")
    def post(self, body: ResetPasswordRequest) -> None:
        auth_app().password_reset.reset(body.token, body.new_password, current_origin())
        after_response(auth_app().mail_worker.wake)


@on
class SendEmailVerification(MethodView):
    @endpoint("send_email_verification")
    def post(self) -> None:
        auth_app().email_verification.request(current_principal(), current_origin())
        after_response(auth_app().mail_worker.wake)


@on
class VerifyEmail(MethodView):
    @endpoint("verify_email")
    def post(self, body: VerifyEmailRequest) -> None:
        auth_app().email_verification.verify(body.token, current_origin())
        after_response(auth_app().mail_worker.wake)


@on
class Sessions(MethodView):
    @endpoint("list_sessions")
    def get(self) -> SessionList:
        principal = current_principal()
        return SessionList.of(auth_app().sessions.live(principal), principal)

    @endpoint("end_sessions")
    def delete(self, query: EndSessionsQuery) -> None:
        auth_app().sessions.end_all(current_principal(), current_origin(), keep_current=query.keep_current)


@on
class OneSession(MethodView):
    @endpoint("end_session")
    def delete(self, session_id: UUID) -> None:
        auth_app().sessions.end(current_principal(), session_id, current_origin())


@on
class Jwks(MethodView):
    @endpoint("jwks")
    def get(self) -> JsonWebKeySet:
        return discovery.key_set(auth_app().keys)


@on
class Metadata(MethodView):
    @endpoint("metadata")
    def get(self) -> ServerMetadata:
        return discovery.metadata(auth_app().settings)


@on
class Revocations(MethodView):
    @endpoint("revocations")
    def get(self, query: RevocationsQuery) -> Response:
        tag = request.headers.get("if-none-match")
        return response_of(discovery.revocations(auth_app().revocations, query, tag))


@on
class ProblemType(MethodView):
    @endpoint("problem_type")
    def get(self, code: str) -> problem.ProblemType:
        return problems.explain(code)


@on
class Healthz(MethodView):
    @endpoint("healthz")
    def get(self) -> Health:
        return Health()


@on
class Readyz(MethodView):
    @endpoint("readyz")
    def get(self) -> Health:
        auth_app().check_ready()
        return Health()


@on
class OpenApi(MethodView):
    @endpoint("openapi")
    def get(self) -> Response:
        return response_of(site_pages().openapi())


@on
class Docs(MethodView):
    @endpoint("docs")
    def get(self) -> Response:
        return response_of(site_pages().docs())


@on
class Redoc(MethodView):
    @endpoint("redoc")
    def get(self) -> Response:
        return response_of(site_pages().redoc())


@on
class ResetPasswordPage(MethodView):
    @endpoint("reset_password_page")
    def get(self) -> Response:
        return response_of(site_pages().reset_password(current_origin().languages))


@on
class VerifyEmailPage(MethodView):
    @endpoint("verify_email_page")
    def get(self) -> Response:
        return response_of(site_pages().verify_email(current_origin().languages))


@on
class Asset(MethodView):
    @endpoint("asset")
    def get(self, name: str) -> Response:
        return response_of(site_pages().asset(name))
