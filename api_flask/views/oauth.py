"""The views of the OAuth endpoints. Each method makes one call into the core and holds no rule."""

from functools import partial

from flask import Blueprint
from flask.views import MethodView

from api_flask.binding import add_view, endpoint
from api_flask.dependencies import auth_app, current_credentials, current_origin
from core.oauth import discovery, operations
from core.oauth.schemas import InspectedTokenForm, Introspection, ServerMetadata, TokenAnswer, TokenForm

blueprint = Blueprint("oauth", __name__)
on = partial(add_view, blueprint)


@on
class Token(MethodView):
    @endpoint(operations.TOKEN)
    def post(self, form: TokenForm) -> TokenAnswer:
        grant = auth_app().token_endpoint.grant(form.to_core(), current_credentials(), current_origin())
        return TokenAnswer.of(grant)


@on
class Revoke(MethodView):
    @endpoint(operations.REVOKE)
    def post(self, form: InspectedTokenForm) -> None:
        auth_app().tokens.revoke(form.token, current_credentials(), current_origin())


@on
class Introspect(MethodView):
    @endpoint(operations.INTROSPECT)
    def post(self, form: InspectedTokenForm) -> Introspection:
        auth = auth_app()
        found = auth.tokens.introspect(form.token, current_credentials(), current_origin())
        return Introspection.of(found, auth.settings)


@on
class Metadata(MethodView):
    @endpoint(operations.METADATA)
    def get(self) -> ServerMetadata:
        return discovery.metadata(auth_app().settings)
