"""The views. Each method makes one call into the core and holds no rule."""

from http import HTTPStatus
from uuid import UUID

from flask import Blueprint, Response, request
from flask.views import MethodView

from api_flask.binding import add_view, endpoint
from api_flask.dependencies import (
    after_response,
    auth_app,
    current_client,
    current_credentials,
    current_principal,
    site_pages,
)
from core.http import discovery, problems, schemas
from core.http.pages import Page

blueprint = Blueprint("twinauth", __name__)


def page_response(page: Page) -> Response:
    """The answer that shows a page."""
    return Response(page.body, page.status, page.fields)


def bare_response(status: HTTPStatus) -> Response:
    """An answer without a body, and so without a type of it."""
    response = Response(status=status)
    del response.headers["Content-Type"]
    return response


class Signup(MethodView):
    @endpoint("signup")
    def post(self, body: schemas.SignupRequest) -> schemas.User | Response:
        user = auth_app().accounts.sign_up(body.email, body.password, body.display_name, current_client())
        after_response(auth_app().relay.wake)
        return bare_response(HTTPStatus.ACCEPTED) if user is None else schemas.User.of(user)


class Login(MethodView):
    @endpoint("login")
    def post(self, body: schemas.LoginRequest) -> schemas.TokenPair:
        return schemas.TokenPair.of(auth_app().authentication.login(body.email, body.password, current_client()))


class Token(MethodView):
    @endpoint("token")
    def post(self, form: schemas.TokenForm) -> schemas.TokenAnswer:
        grant = auth_app().token_endpoint.grant(form.to_core(), current_credentials(), current_client())
        return schemas.TokenAnswer.of(grant)


class Refresh(MethodView):
    @endpoint("refresh")
    def post(self, body: schemas.RefreshRequest) -> schemas.TokenPair:
        return schemas.TokenPair.of(auth_app().sessions.refresh(body.refresh_token, current_client()))


class Revoke(MethodView):
    @endpoint("revoke")
    def post(self, form: schemas.InspectedTokenForm) -> None:
        auth_app().tokens.revoke(form.token, current_credentials(), current_client())


class Introspect(MethodView):
    @endpoint("introspect")
    def post(self, form: schemas.InspectedTokenForm) -> schemas.Introspection:
        auth = auth_app()
        found = auth.tokens.introspect(form.token, current_credentials(), current_client())
        return schemas.Introspection.of(found, auth.settings)


class Logout(MethodView):
    @endpoint("logout")
    def post(self) -> None:
        auth_app().sessions.logout(current_principal(), current_client())


class Whoami(MethodView):
    @endpoint("whoami")
    def get(self) -> schemas.User:
        return schemas.User.of(current_principal().user)


class Account(MethodView):
    @endpoint("update_account")
    def patch(self, body: schemas.UpdateAccountRequest) -> schemas.User:
        user = auth_app().accounts.rename(current_principal(), body.display_name, current_client())
        return schemas.User.of(user)


class AccountPassword(MethodView):
    @endpoint("change_password")
    def post(self, body: schemas.ChangePasswordRequest) -> None:
        auth_app().accounts.change_password(
            current_principal(), body.current_password, body.new_password, current_client()
        )
        after_response(auth_app().relay.wake)


class AccountEmail(MethodView):
    @endpoint("change_email")
    def post(self, body: schemas.ChangeEmailRequest) -> None:
        auth_app().verification.request_change(
            current_principal(), body.new_email, body.current_password, current_client()
        )
        after_response(auth_app().relay.wake)


class AccountExport(MethodView):
    @endpoint("export_account")
    def get(self) -> schemas.AccountExport:
        return schemas.AccountExport.of(auth_app().accounts.export(current_principal(), current_client()))


class AccountDelete(MethodView):
    @endpoint("delete_account")
    def post(self, body: schemas.DeleteAccountRequest) -> None:
        auth_app().accounts.delete(current_principal(), body.current_password, current_client())


class SendPasswordReset(MethodView):
    @endpoint("send_password_reset")
    def post(self, body: schemas.SendPasswordResetRequest) -> None:
        auth_app().recovery.request(body.email, current_client())
        after_response(auth_app().relay.wake)


class ResetPassword(MethodView):
    @endpoint("reset_password")
    def post(self, body: schemas.ResetPasswordRequest) -> None:
        auth_app().recovery.reset(body.token, body.new_password, current_client())
        after_response(auth_app().relay.wake)


class SendEmailVerification(MethodView):
    @endpoint("send_email_verification")
    def post(self) -> None:
        auth_app().verification.request(current_principal(), current_client())
        after_response(auth_app().relay.wake)


class VerifyEmail(MethodView):
    @endpoint("verify_email")
    def post(self, body: schemas.VerifyEmailRequest) -> None:
        auth_app().verification.verify(body.token, current_client())
        after_response(auth_app().relay.wake)


class Sessions(MethodView):
    @endpoint("list_sessions")
    def get(self) -> schemas.SessionList:
        principal = current_principal()
        return schemas.SessionList.of(auth_app().sessions.live(principal), principal)

    @endpoint("end_sessions")
    def delete(self, query: schemas.EndSessionsQuery) -> None:
        auth_app().sessions.end_all(current_principal(), current_client(), keep_current=query.keep_current)


class OneSession(MethodView):
    @endpoint("end_session")
    def delete(self, session_id: UUID) -> None:
        auth_app().sessions.end(current_principal(), session_id, current_client())


class Jwks(MethodView):
    @endpoint("jwks")
    def get(self) -> schemas.JsonWebKeySet:
        return discovery.key_set(auth_app().keys)


class Metadata(MethodView):
    @endpoint("metadata")
    def get(self) -> schemas.ServerMetadata:
        return discovery.metadata(auth_app().settings)


class Revocations(MethodView):
    @endpoint("revocations")
    def get(self, query: schemas.RevocationsQuery) -> Response:
        tag = request.headers.get("if-none-match")
        return page_response(discovery.revocations(auth_app().revocations, query, tag))


class ProblemType(MethodView):
    @endpoint("problem_type")
    def get(self, code: str) -> schemas.ProblemType:
        return problems.explain(code)


class Healthz(MethodView):
    @endpoint("healthz")
    def get(self) -> schemas.Health:
        return schemas.Health()


class Readyz(MethodView):
    @endpoint("readyz")
    def get(self) -> schemas.Health:
        auth_app().check_ready()
        return schemas.Health()


class OpenApi(MethodView):
    @endpoint("openapi")
    def get(self) -> Response:
        return page_response(site_pages().openapi())


class Docs(MethodView):
    @endpoint("docs")
    def get(self) -> Response:
        return page_response(site_pages().docs())


class Redoc(MethodView):
    @endpoint("redoc")
    def get(self) -> Response:
        return page_response(site_pages().redoc())


class ResetPasswordPage(MethodView):
    @endpoint("reset_password_page")
    def get(self) -> Response:
        return page_response(site_pages().reset_password(current_client().languages))


class VerifyEmailPage(MethodView):
    @endpoint("verify_email_page")
    def get(self) -> Response:
        return page_response(site_pages().verify_email(current_client().languages))


class Asset(MethodView):
    @endpoint("asset")
    def get(self, name: str) -> Response:
        return page_response(site_pages().asset(name))


for view in (
    Signup,
    Login,
    Token,
    Refresh,
    Revoke,
    Introspect,
    Logout,
    Whoami,
    Account,
    AccountPassword,
    AccountEmail,
    AccountExport,
    AccountDelete,
    SendPasswordReset,
    ResetPassword,
    SendEmailVerification,
    VerifyEmail,
    Sessions,
    OneSession,
    Jwks,
    Metadata,
    Revocations,
    ProblemType,
    Healthz,
    Readyz,
    OpenApi,
    Docs,
    Redoc,
    ResetPasswordPage,
    VerifyEmailPage,
    Asset,
):
    add_view(blueprint, view)
