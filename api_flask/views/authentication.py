"""The views of authentication. Each method makes one call into the core and holds no rule."""

from functools import partial

from flask import Blueprint
from flask.views import MethodView

from api_flask.binding import add_view, endpoint
from api_flask.dependencies import auth_app, current_origin
from core.authentication import operations
from core.authentication.schemas import LoginRequest
from core.sessions.schemas import TokenPair

blueprint = Blueprint("authentication", __name__)
on = partial(add_view, blueprint)


@on
class Login(MethodView):
    @endpoint(operations.LOGIN)
    def post(self, body: LoginRequest) -> TokenPair:
        pair = auth_app().authentication.login(
            body.email, body.password, current_origin(), body.asked, device_token=body.device_token
        )
        return TokenPair.of(pair)
