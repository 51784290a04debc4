"""The API as tests speak it, whichever front door and database is behind it."""

from __future__ import annotations

import json as json_module
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from core.app import AuthApp
from tests.clock import FakeClock
from tests.drivers import Answer, Driver, Headers

PASSWORD = "correct horse battery"
OTHER_PASSWORD = "a quite different sentence"
EMAIL = "ann@example.com"


@dataclass(frozen=True)
class Api:
    """A front door. ``auth`` and ``clock`` are what lies behind it, for arranging and for looking."""

    driver: Driver
    auth: AuthApp
    clock: FakeClock

    def send(
        self,
        method: str,
        target: str,
        *,
        json: Any = None,
        form: dict[str, str] | None = None,
        content: bytes | None = None,
        token: str | None = None,
        headers: Headers | None = None,
        chunked: bool = False,
    ) -> Answer:
        sent = list(headers or [])
        body = content or b""
        if json is not None:
            body = json_module.dumps(json).encode()
            sent.append(("Content-Type", "application/json"))
        if form is not None:
            body = urlencode(form).encode()
            sent.append(("Content-Type", "application/x-www-form-urlencoded"))
        if token is not None:
            sent.append(("Authorization", f"Bearer {token}"))
        return self.driver.send(method, target, sent, body, chunked=chunked)

    def get(self, target: str, **more: Any) -> Answer:
        return self.send("GET", target, **more)

    def post(self, target: str, json: Any = None, **more: Any) -> Answer:
        return self.send("POST", target, json=json, **more)

    def patch(self, target: str, json: Any = None, **more: Any) -> Answer:
        return self.send("PATCH", target, json=json, **more)

    def delete(self, target: str, **more: Any) -> Answer:
        return self.send("DELETE", target, **more)

    def signup(self, email: str = EMAIL, password: str = PASSWORD) -> dict[str, Any]:
        answer = self.post("/v1/signup", {"email": email, "password": password})
        assert answer.status == 201, answer.body
        user: dict[str, Any] = answer.json
        return user

    def login(self, email: str = EMAIL, password: str = PASSWORD) -> dict[str, Any]:
        answer = self.post("/v1/login", {"email": email, "password": password})
        assert answer.status == 200, answer.body
        pair: dict[str, Any] = answer.json
        return pair

    def signed_in(self, email: str = EMAIL) -> dict[str, Any]:
        self.signup(email)
        return self.login(email)

    def refresh(self, refresh_token: str) -> Answer:
        return self.post("/v1/refresh", {"refresh_token": refresh_token})

    def whoami(self, token: str) -> Answer:
        return self.get("/v1/whoami", token=token)
