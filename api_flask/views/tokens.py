"""The views of tokens. Each method makes one call into the core and holds no rule."""

from functools import partial

from flask import Blueprint, Response
from flask.views import MethodView

from api_flask.answers import response_of
from api_flask.binding import add_view, endpoint
from api_flask.dependencies import auth_app, known_tag
from core.oauth import discovery
from core.tokens import operations
from core.tokens.schemas import RevocationsQuery

blueprint = Blueprint("tokens", __name__)
on = partial(add_view, blueprint)


@on
class Jwks(MethodView):
    @endpoint(operations.JWKS)
    def get(self) -> Response:
        return response_of(discovery.key_set(auth_app().keys, known_tag()))


@on
class Revocations(MethodView):
    @endpoint(operations.REVOCATIONS)
    def get(self, query: RevocationsQuery) -> Response:
        return response_of(discovery.revocations(auth_app().revocations, query, known_tag()))
