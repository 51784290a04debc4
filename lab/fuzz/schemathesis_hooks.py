"""What Schemathesis cannot read in the document; its process loads this module by name.

A token that lives through a run does not exist: the run logs out, ends sessions and changes passwords. So every case
brings a new one, and where the account is gone, of a new account.
"""

from __future__ import annotations

import base64
import os
import secrets
from typing import Any

import schemathesis

from core.contract.operation import Auth
from tests.support.api import PASSWORD, Api
from tests.support.clock import FakeClock
from tests.support.contract import OPERATIONS
from tests.support.drivers import LiveDriver

URL, CLIENT = os.environ["AUTH_TEST_URL"], os.environ["AUTH_TEST_CLIENT"]
OF_USERS = (Auth.USER, Auth.OPTIONAL_USER, Auth.BEARER)
BEARER = [operation.path for operation in OPERATIONS.values() if operation.auth in OF_USERS]
BASIC = [operation.path for operation in OPERATIONS.values() if operation.auth is Auth.CLIENT]

api = Api(LiveDriver(URL), None, FakeClock())  # type: ignore[arg-type]  # what lies behind it is in another process


def new_email() -> str:
    return f"ann.{secrets.token_hex(6)}@example.com"


@schemathesis.auth(refresh_interval=None).apply_to(path=BEARER)
class BearerToken:
    """A token of a session that nobody has ended yet."""

    email = ""

    def get(self, _case: Any, _context: Any) -> str:
        answer = api.post("/v1/login", {"email": self.email or "nobody@example.com", "password": PASSWORD})
        if answer.status != 200:
            self.email = new_email()
            api.signup(self.email)
            return str(api.login(self.email)["access_token"])
        return str(answer.json["access_token"])

    def set(self, case: Any, data: str, _context: Any) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.auth(refresh_interval=None).apply_to(path=BASIC)
class ClientSecret:
    """The secret of a registered client."""

    def get(self, _case: Any, _context: Any) -> str:
        return base64.b64encode(CLIENT.encode()).decode()

    def set(self, case: Any, data: str, _context: Any) -> None:
        case.headers["Authorization"] = f"Basic {data}"


@schemathesis.deserializer("application/json")
def read_json(_context: Any, response: Any) -> Any:
    """JSON; but Schemathesis counts application/jwt as JSON too, and that is a string without quotes."""
    if response.headers["content-type"] == ["application/jwt"]:
        return response.content.decode("ascii")
    return response.json()
