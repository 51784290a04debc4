"""The views of sessions. Each method makes one call into the core and holds no rule."""

from functools import partial
from uuid import UUID

from flask import Blueprint, Response
from flask.views import MethodView

from api_flask.answers import response_of
from api_flask.binding import add_view, endpoint
from api_flask.dependencies import auth_app, current_caller, current_origin, current_principal
from core.sessions import discovery, operations
from core.sessions.schemas import EndSessionsQuery, RefreshRequest, SessionList, TokenPair
from core.users.schemas import User

blueprint = Blueprint("sessions", __name__)
on = partial(add_view, blueprint)


@on
class Refresh(MethodView):
    @endpoint(operations.REFRESH)
    def post(self, body: RefreshRequest) -> TokenPair:
        return TokenPair.of(auth_app().sessions.refresh(body.refresh_token, current_origin(), body.asked))


@on
class Logout(MethodView):
    @endpoint(operations.LOGOUT)
    def post(self) -> None:
        auth_app().sessions.logout(current_principal(), current_origin())


@on
class Whoami(MethodView):
    @endpoint(operations.WHOAMI)
    def get(self) -> User:
        return User.of(current_principal().user)


@on
class ForwardAuth(MethodView):
    @endpoint(operations.FORWARD_AUTH)
    def get(self) -> Response:
        return response_of(discovery.identity(current_caller()))


@on
class Sessions(MethodView):
    @endpoint(operations.LIST_SESSIONS)
    def get(self) -> SessionList:
        principal = current_principal()
        return SessionList.of(auth_app().sessions.live(principal), principal)

    @endpoint(operations.END_SESSIONS)
    def delete(self, query: EndSessionsQuery) -> None:
        auth_app().sessions.end_all(current_principal(), current_origin(), keep_current=query.keep_current)


@on
class OneSession(MethodView):
    @endpoint(operations.END_SESSION)
    def delete(self, session_id: UUID) -> None:
        auth_app().sessions.end(current_principal(), session_id, current_origin())
