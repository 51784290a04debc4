"""The API as tests speak it, whichever front door and database is behind it."""

from __future__ import annotations

import json as json_module
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, TypeVar
from urllib.parse import urlencode

from sqlalchemy import Engine, update

from core.app import AuthApp
from core.users.sql import users
from tests.support.clock import FakeClock
from tests.support.drivers import Answer, Driver, Headers
from tests.support.mail import RecordingMailer, kind_of, token_of

PASSWORD = "correct horse battery"
OTHER_PASSWORD = "a quite different sentence"
EMAIL = "ann@example.com"
OTHER_EMAIL = "ann@example.org"

R = TypeVar("R")


def at_once(calls: Sequence[Callable[[], R]]) -> list[R]:
    """Make each call in a thread of its own, all at one moment."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], R]) -> R:
        start.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@dataclass(frozen=True)
class Api:
    """A front door. ``auth``, ``clock`` and ``mailer`` are what lies behind it, for arranging and for looking."""

    driver: Driver
    auth: AuthApp
    clock: FakeClock
    mailer: RecordingMailer = field(default_factory=RecordingMailer)

    @property
    def engine(self) -> Engine:
        """The database, for arranging and for looking."""
        engine: Engine = self.auth.store.engine  # type: ignore[attr-defined]  # the SQL store has one
        return engine

    def deactivate(self, email: str = EMAIL) -> None:
        """Nobody can through HTTP."""
        with self.engine.begin() as connection:
            connection.execute(update(users).where(users.c.canonical_email == email).values(is_active=False))

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

    def ask_for_reset(self, email: str = EMAIL, **more: Any) -> Answer:
        return self.post("/v1/send-password-reset", {"email": email}, **more)

    def reset(self, token: str, new_password: str = OTHER_PASSWORD) -> Answer:
        return self.post("/v1/reset-password", {"token": token, "new_password": new_password})

    def verify(self, link: str, password: str | None = PASSWORD, **more: Any) -> Answer:
        """Use the token of a verification, as the one who signed up."""
        proof = {} if password is None else {"password": password}
        return self.post("/v1/verify-email", {"token": link} | proof, **more)

    def undo_change(self, token: str) -> Answer:
        return self.post("/v1/undo-email-change", {"token": token})

    def disown(self, token: str) -> Answer:
        return self.post("/v1/disown-account", {"token": token})

    def ask_for_change(self, token: str, new_email: str = OTHER_EMAIL, password: str = PASSWORD) -> Answer:
        return self.post("/v1/account/email", {"new_email": new_email, "current_password": password}, token=token)

    def deliver(self) -> list[EmailMessage]:
        """Let the relay send what is due, and give what was sent."""
        before = len(self.mailer.letters)
        self.auth.mail_worker.run_once()
        return self.mailer.letters[before:]

    def letter(self, kind: str) -> EmailMessage:
        """Let the relay send what is due, among which there is one letter of this kind."""
        (found,) = [letter for letter in self.deliver() if kind_of(letter) == kind]
        return found

    def reset_token(self, email: str = EMAIL) -> str:
        """The token of a link that resets the password, asked for a second after whatever was before."""
        self.clock.advance(seconds=1)
        assert self.ask_for_reset(email).status == 202
        return token_of(self.letter("password_reset"))

    def verification_token(self) -> str:
        """The token of the one verification that is on its way."""
        return token_of(self.letter("email_verification"))

    def verified(self, email: str = EMAIL) -> None:
        """Sign up and verify the address."""
        self.signup(email)
        assert self.verify(self.verification_token()).status == 204
