"""The views of the OAuth endpoints. Each method makes one call into the core and holds no rule."""

from functools import partial

from flask import Blueprint, Response
from flask.views import MethodView

from api_flask.answers import response_of
from api_flask.binding import add_view, endpoint
from api_flask.dependencies import auth_app, current_client_proof, current_credentials, current_origin, known_tag
from core.oauth import discovery, operations
from core.oauth.schemas import InspectedTokenForm, Introspection, TokenAnswer, TokenForm

blueprint = Blueprint("oauth", __name__)
on = partial(add_view, blueprint)


@on
class Token(MethodView):
    @endpoint(operations.TOKEN)
    def post(self, form: TokenForm) -> TokenAnswer:
        proof = form.proof(current_credentials())
        return TokenAnswer.of(auth_app().token_endpoint.grant(form.to_core(), proof, current_origin()))


@on
class Revoke(MethodView):
    @endpoint(operations.REVOKE)
    def post(self, form: InspectedTokenForm) -> None:
        auth_app().tokens.revoke(form.token, form.proof(current_credentials()), current_origin())


@on
class Introspect(MethodView):
    @endpoint(operations.INTROSPECT)
    def post(self, form: InspectedTokenForm) -> Introspection:
        auth = auth_app()
        found = auth.tokens.introspect(form.token, form.proof(current_client_proof()), current_origin())
        return Introspection.of(found, auth.settings)


@on
class Metadata(MethodView):
    @endpoint(operations.METADATA)
    def get(self) -> Response:
        return response_of(discovery.metadata(auth_app().settings, known_tag()))


@on
class OpenidConfiguration(MethodView):
    @endpoint(operations.OPENID_CONFIGURATION)
    def get(self) -> Response:
        return response_of(discovery.metadata(auth_app().settings, known_tag()))
