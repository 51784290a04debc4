"""The views of tokens. Each method makes one call into the core and holds no rule."""

from functools import partial

from flask import Blueprint, Response, request
from flask.views import MethodView

from api_flask.answers import response_of
from api_flask.binding import add_view, endpoint
from api_flask.dependencies import auth_app
from core.oauth import discovery
from core.tokens import operations
from core.tokens.schemas import JsonWebKeySet, RevocationsQuery

blueprint = Blueprint("tokens", __name__)
on = partial(add_view, blueprint)


@on
class Jwks(MethodView):
    @endpoint(operations.JWKS)
    def get(self) -> JsonWebKeySet:
        return discovery.key_set(auth_app().keys)


@on
class Revocations(MethodView):
    @endpoint(operations.REVOCATIONS)
    def get(self, query: RevocationsQuery) -> Response:
        tag = request.headers.get("if-none-match")
        return response_of(discovery.revocations(auth_app().revocations, query, tag))
