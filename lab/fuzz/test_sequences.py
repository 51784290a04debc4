"""Rows of requests at doors chosen by chance, against a small model of what the service promises.

One database behind both doors: what ends at one is over at the other, and nothing else is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import jwt
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from api_fastapi.app import create_app as create_fastapi
from api_flask.app import create_app as create_flask
from core.app import build
from core.mail.model import MessageKind
from core.settings.groups import ThrottleSettings
from lab.fuzz.budget import budget
from lab.fuzz.twins import CountingDriver, Letterbox, quick_store
from tests.support.api import OTHER_PASSWORD, PASSWORD, Api
from tests.support.clock import START, FakeClock
from tests.support.databases import empty, sqlite_url
from tests.support.drivers import AsgiDriver, Driver, WsgiDriver
from tests.support.mail import RecordingMailer
from tests.support.services import Service
from tests.support.settings import make_settings

GRACE = timedelta(seconds=60)
ACCESS = timedelta(minutes=15)
RESET = timedelta(minutes=15)
MAX_SESSIONS = 6  # of the model; each is looked at after each step

doors = st.sampled_from(("flask", "fastapi"))
emails = st.sampled_from(("ann@example.com", "ben@example.com"))
spellings: st.SearchStrategy[Callable[[str], str]] = st.sampled_from((str, str.upper, str.title))
passwords = st.sampled_from((PASSWORD, OTHER_PASSWORD))
mostly = st.sampled_from((True, True, False))
numbers = st.integers(0, MAX_SESSIONS - 1)


@dataclass
class Login:
    """A session as the model sees it."""

    email: str
    refresh_tokens: list[str]
    access_tokens: list[tuple[str, datetime]]
    used_at: datetime
    is_live: bool = True

    @property
    def generation(self) -> int:
        return len(self.refresh_tokens) - 1


@dataclass
class Model:
    """What the service promises, in as few words as possible."""

    passwords: dict[str, str] = field(default_factory=dict)
    logins: list[Login] = field(default_factory=list)
    links: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    """The newest link to each address, and when it expires."""
    spent: list[str] = field(default_factory=list)
    """Links that were used, replaced, or made worthless."""

    def end(self, email: str, *, but: Login | None = None) -> None:
        for login in self.logins:
            if login.email == email and login is not but:
                login.is_live = False

    def spend(self, email: str) -> None:
        if email in self.links:
            self.spent.append(self.links.pop(email)[0])


class Sequences(RuleBasedStateMachine):
    """Each rule asks one door and says beforehand what it must answer."""

    def __init__(self, service: Service, letterbox: Letterbox) -> None:
        super().__init__()
        self._service, self._letterbox, self._clock = service, letterbox, service.clock
        self._model = Model()
        letterbox.letters.clear()
        empty(service.store)
        self._clock.at = START

    def _at(self, door: str) -> Api:
        return self._service.api(door)

    def _login(self, number: int) -> Login:
        return self._model.logins[number % len(self._model.logins)]

    def _password(self, email: str, *, is_right: bool) -> str:
        return self._model.passwords.get(email, PASSWORD) if is_right else "a wrong password"

    def _is_worth_something(self, login: Login, expires_at: datetime) -> bool:
        return login.is_live and self._clock.at < expires_at

    def _started(self, email: str, access: str, refresh: str) -> None:
        now = self._clock.at
        self._model.logins.append(Login(email, [refresh], [(access, now + ACCESS)], now))

    @initialize(door=doors, other=doors)
    def begin(self, door: str, other: str) -> None:
        """Two users, both logged in: without them, most of what follows is refused."""
        for email in ("ann@example.com", "ben@example.com"):
            self._at(door).signup(email)
            self._model.passwords[email] = PASSWORD
            pair = self._at(other).login(email)
            self._started(email, pair["access_token"], pair["refresh_token"])

    @rule(door=doors, email=emails, spelt=spellings, password=passwords)
    def sign_up(self, door: str, email: str, spelt: Callable[[str], str], password: str) -> None:
        answer = self._at(door).post("/v1/signup", {"email": spelt(email), "password": password})
        if email in self._model.passwords:
            assert (answer.status, answer.json["code"]) == (409, "email_taken")
        else:
            assert answer.status == 201
            self._model.passwords[email] = password

    @precondition(lambda self: len(self._model.logins) < MAX_SESSIONS)
    @rule(door=doors, email=emails, spelt=spellings, is_right=mostly, is_oauth=st.booleans())
    def log_in(self, door: str, email: str, spelt: Callable[[str], str], *, is_right: bool, is_oauth: bool) -> None:
        api, password = self._at(door), self._password(email, is_right=is_right)
        if is_oauth:
            form = {"grant_type": "password", "username": spelt(email), "password": password}
            answer = api.post("/v1/token", form=form)
        else:
            answer = api.post("/v1/login", {"email": spelt(email), "password": password})
        if self._model.passwords.get(email) == password:
            assert answer.status == 200
            self._started(email, answer.json["access_token"], answer.json["refresh_token"])
        else:
            assert answer.status == (400 if is_oauth else 401)

    @precondition(lambda self: self._model.logins)
    @rule(door=doors, number=numbers, back=st.sampled_from((0, 0, 0, 1, 1, 2)))
    def refresh(self, door: str, number: int, back: int) -> None:
        login, now = self._login(number), self._clock.at
        presented = max(login.generation - back, 0)
        answer = self._at(door).refresh(login.refresh_tokens[presented])
        if not login.is_live:
            assert answer.status == 401
        elif presented == login.generation:
            assert answer.status == 200
            login.refresh_tokens.append(answer.json["refresh_token"])
            login.access_tokens.append((answer.json["access_token"], now + ACCESS))
            login.used_at = now
        elif presented == login.generation - 1 and now - login.used_at < GRACE:
            assert answer.status == 200
            assert answer.json["refresh_token"] == login.refresh_tokens[-1]
        else:
            assert answer.status == 401
            login.is_live = False

    @precondition(lambda self: self._model.logins)
    @rule(door=doors, number=numbers, age=st.integers(0, 2))
    def log_out(self, door: str, number: int, age: int) -> None:
        login = self._login(number)
        token, expires_at = login.access_tokens[max(len(login.access_tokens) - 1 - age, 0)]
        answer = self._at(door).post("/v1/logout", token=token)
        if self._is_worth_something(login, expires_at):
            assert answer.status == 204
            login.is_live = False
        else:
            assert answer.status == 401

    @precondition(lambda self: self._model.logins)
    @rule(door=doors, number=numbers, is_refresh_token=st.booleans())
    def revoke(self, door: str, number: int, *, is_refresh_token: bool) -> None:
        login = self._login(number)
        access_token, expires_at = login.access_tokens[-1]
        token = login.refresh_tokens[-1] if is_refresh_token else access_token
        assert self._at(door).post("/v1/revoke", form={"token": token}).status == 200
        if is_refresh_token or self._clock.at < expires_at:
            login.is_live = False

    @precondition(lambda self: self._model.logins)
    @rule(door=doors, number=numbers, keep=st.booleans())
    def end_all_sessions(self, door: str, number: int, *, keep: bool) -> None:
        login = self._login(number)
        token, expires_at = login.access_tokens[-1]
        answer = self._at(door).delete(f"/v1/sessions?keep_current={str(keep).lower()}", token=token)
        if self._is_worth_something(login, expires_at):
            assert answer.status == 204
            self._model.end(login.email, but=login if keep else None)
        else:
            assert answer.status == 401

    @precondition(lambda self: self._model.logins)
    @rule(door=doors, number=numbers, other=numbers)
    def end_a_session(self, door: str, number: int, other: int) -> None:
        login, target = self._login(number), self._login(other)
        token, expires_at = login.access_tokens[-1]
        answer = self._at(door).delete(f"/v1/sessions/{_session_id(target)}", token=token)
        if not self._is_worth_something(login, expires_at):
            assert answer.status == 401
        elif target.is_live and target.email == login.email:
            assert answer.status == 204
            target.is_live = False
        else:
            assert answer.status == 404

    @precondition(lambda self: self._model.logins)
    @rule(door=doors, number=numbers, is_right=mostly, new=passwords)
    def change_the_password(self, door: str, number: int, *, is_right: bool, new: str) -> None:
        login = self._login(number)
        current = self._password(login.email, is_right=is_right)
        token, expires_at = login.access_tokens[-1]
        body = {"current_password": current, "new_password": new}
        answer = self._at(door).post("/v1/account/password", body, token=token)
        if not self._is_worth_something(login, expires_at):
            assert answer.status == 401
        elif self._model.passwords[login.email] != current:
            assert (answer.status, answer.json["code"]) == (403, "wrong_password")
        else:
            assert answer.status == 204
            self._model.passwords[login.email] = new
            self._model.end(login.email, but=login)
            self._model.spend(login.email)

    @rule(door=doors, email=emails, spelt=spellings)
    def ask_for_a_new_password(self, door: str, email: str, spelt: Callable[[str], str]) -> None:
        before = len(self._letterbox.tokens(MessageKind.PASSWORD_RESET))
        assert self._at(door).post("/v1/send-password-reset", {"email": spelt(email)}).status == 202
        self._service.auth.mail_worker.run_once()
        sent = self._letterbox.tokens(MessageKind.PASSWORD_RESET)[before:]
        # An account is sent five an hour and more only when none works; where there is none, nothing is sent.
        assert len(sent) <= (email in self._model.passwords)
        for token in sent:
            self._model.spend(email)
            self._model.links[email] = token, self._clock.at + RESET
        self._clock.advance(seconds=1)  # which of two links of one millisecond is the newer one, nobody knows

    @precondition(lambda self: self._model.links)
    @rule(door=doors, email=emails, new=passwords)
    def reset_the_password(self, door: str, email: str, new: str) -> None:
        token, expires_at = self._model.links.get(email, ("twm_" + "x" * 32, START))
        answer = self._at(door).post("/v1/reset-password", {"token": token, "new_password": new})
        if self._clock.at < expires_at:
            assert answer.status == 204
            self._model.passwords[email] = new
            self._model.end(email)
            self._model.spend(email)
        else:
            assert (answer.status, answer.json["code"]) == (400, "invalid_reset_token")

    @precondition(lambda self: self._model.spent)
    @rule(door=doors, number=numbers, new=passwords)
    def follow_a_spent_link(self, door: str, number: int, new: str) -> None:
        token = self._model.spent[number % len(self._model.spent)]
        answer = self._at(door).post("/v1/reset-password", {"token": token, "new_password": new})
        assert (answer.status, answer.json["code"]) == (400, "invalid_reset_token")

    @precondition(lambda self: self._model.logins)
    @rule(door=doors, number=numbers, is_right=mostly)
    def delete_the_account(self, door: str, number: int, *, is_right: bool) -> None:
        login = self._login(number)
        password = self._password(login.email, is_right=is_right)
        token, expires_at = login.access_tokens[-1]
        answer = self._at(door).post("/v1/account/delete", {"current_password": password}, token=token)
        if not self._is_worth_something(login, expires_at):
            assert answer.status == 401
        elif self._model.passwords[login.email] != password:
            assert answer.status == 403
        else:
            assert answer.status == 204
            del self._model.passwords[login.email]
            self._model.end(login.email)
            self._model.spend(login.email)

    @rule(seconds=st.sampled_from((1, 1, 59, 60, 61, 899, 901)))
    def let_time_pass(self, seconds: int) -> None:
        self._clock.advance(seconds=seconds)

    @invariant()
    def both_doors_know_what_each_token_is_worth(self) -> None:
        for login in self._model.logins:
            token, expires_at = login.access_tokens[-1]
            expected = 200 if self._is_worth_something(login, expires_at) else 401
            assert [self._at(door).whoami(token).status for door in ("flask", "fastapi")] == [expected, expected]


def _session_id(login: Login) -> str:
    claims = jwt.decode(login.access_tokens[0][0], options={"verify_signature": False})
    return str(claims["sid"])


ASKED = {
    "/v1/signup",
    "/v1/login",
    "/v1/token",
    "/v1/refresh",
    "/v1/revoke",
    "/v1/logout",
    "/v1/whoami",
    "/v1/sessions",
    "/v1/account/password",
    "/v1/account/delete",
    "/v1/send-password-reset",
    "/v1/reset-password",
}


def test_what_happens_at_one_door_holds_at_both(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> None:
    clock, letterbox, tally = FakeClock(), Letterbox(), Counter[tuple[str, bool]]()
    # Its counters have tests of their own; here they would answer for the model.
    settings = make_settings(throttling=ThrottleSettings(throttle=False))
    with sqlite_url(tmp_path) as url, quick_store(url) as store:
        auth = build(settings, store=store, clock=clock, mailer=letterbox)
        flask, fastapi = WsgiDriver(create_flask(auth)), AsgiDriver(create_fastapi(auth), loop)
        doors_of: dict[str, Driver] = {"flask": CountingDriver(flask, tally), "fastapi": CountingDriver(fastapi, tally)}
        service = Service(store, auth, clock, RecordingMailer(), doors_of)
        run_state_machine_as_test(lambda: Sequences(service, letterbox), settings=budget(100))  # type: ignore[arg-type]  # it takes any maker of machines
    # A search in which nothing succeeds says nothing of what ends.
    assert {path for path, succeeded in tally if succeeded} >= ASKED
    assert {path for path, succeeded in tally if not succeeded} >= ASKED - {"/v1/revoke", "/v1/send-password-reset"}
