"""The views of the site itself. Each method makes one call into the core and holds no rule."""

from functools import partial

from flask import Blueprint, Response
from flask.views import MethodView

from api_flask.answers import response_of
from api_flask.binding import add_view, endpoint
from api_flask.dependencies import auth_app, current_context, current_origin, site_pages
from core.contract.problem import ProblemType
from core.site import operations
from core.site.schemas import Health

blueprint = Blueprint("site", __name__)
on = partial(add_view, blueprint)


@on
class Problem(MethodView):
    @endpoint(operations.PROBLEM_TYPE)
    def get(self, code: str) -> ProblemType:
        return site_pages().problem_type(code, current_context().prefix)


@on
class Healthz(MethodView):
    @endpoint(operations.HEALTHZ)
    def get(self) -> Health:
        return Health.ok()


@on
class Readyz(MethodView):
    @endpoint(operations.READYZ)
    def get(self) -> Health:
        auth_app().check_ready()
        return Health.ok()


@on
class OpenApi(MethodView):
    @endpoint(operations.OPENAPI)
    def get(self) -> Response:
        return response_of(site_pages().openapi())


@on
class Docs(MethodView):
    @endpoint(operations.DOCS)
    def get(self) -> Response:
        return response_of(site_pages().docs())


@on
class Redoc(MethodView):
    @endpoint(operations.REDOC)
    def get(self) -> Response:
        return response_of(site_pages().redoc())


@on
class ResetPasswordPage(MethodView):
    @endpoint(operations.RESET_PASSWORD_PAGE)
    def get(self) -> Response:
        return response_of(site_pages().reset_password(current_origin().languages))


@on
class VerifyEmailPage(MethodView):
    @endpoint(operations.VERIFY_EMAIL_PAGE)
    def get(self) -> Response:
        return response_of(site_pages().verify_email(current_origin().languages))


@on
class UndoEmailChangePage(MethodView):
    @endpoint(operations.UNDO_EMAIL_CHANGE_PAGE)
    def get(self) -> Response:
        return response_of(site_pages().undo_email_change(current_origin().languages))


@on
class Asset(MethodView):
    @endpoint(operations.ASSET)
    def get(self, name: str) -> Response:
        return response_of(site_pages().asset(name))
