"""The throttle as clients meet it: who guesses is slowed down, and the owner gets in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy import select, update

from core.audit.model import EventKind
from core.audit.sql import audit_events
from core.authentication.errors import Overloaded
from core.settings.groups import HttpSettings, MailSettings, ThrottleSettings
from core.sql_store import SqlStore
from core.throttling.sql import throttle_counters
from core.users.sql import users
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.databases import empty
from tests.support.drivers import Answer, Headers
from tests.support.parity import Transcript
from tests.support.services import FRAMEWORKS, on_one_database, open_service

pytestmark = on_one_database

ALLOWANCE = 5
HOME, OFFICE, CAFE = "203.0.113.7", "203.0.113.8", "203.0.113.9"

OpenApi = Callable[..., Api]


@pytest.fixture
def store(database: str, stores: Callable[[str], SqlStore]) -> Iterator[SqlStore]:
    found = stores(database)
    yield found
    empty(found)


@pytest.fixture(params=FRAMEWORKS)
def open_api(
    request: pytest.FixtureRequest,
    store: SqlStore,
    loop: asyncio.AbstractEventLoop,
    transcripts: dict[str, Transcript],
) -> Iterator[OpenApi]:
    """Open a front door behind a proxy at 127.0.0.1, with other allowances. Both doors must answer alike."""
    opened: list[Transcript] = []

    def open_it(
        *, mail: MailSettings | None = None, proxies: tuple[str, ...] = ("127.0.0.1",), **allowances: Any
    ) -> Api:
        changes: dict[str, Any] = {"mail": mail} if mail else {}
        service = open_service(
            store,
            loop,
            http=HttpSettings(trusted_proxies=proxies),
            throttling=ThrottleSettings(**allowances),
            **changes,
        )
        found = service.api(request.param)
        opened.append(Transcript(found.driver))
        return replace(found, driver=opened[-1])

    yield open_it
    name = request.node.nodeid.replace(request.param, "-")
    answers = [answer for transcript in opened for answer in transcript.answers]
    twin = transcripts.pop(name, None)
    if twin is None:
        transcripts[name] = Transcript(opened[0])
        transcripts[name].answers = answers
    else:
        assert answers == twin.answers


def come_from(ip: str | None) -> Headers:
    return [("X-Request-ID", "r"), *([("X-Forwarded-For", ip)] if ip else [])]


def log_in(api: Api, password: str = PASSWORD, email: str = EMAIL, ip: str | None = None) -> Answer:
    return api.post("/v1/login", {"email": email, "password": password}, headers=come_from(ip))


def fail(api: Api, times: int = 1, email: str = EMAIL, ip: str | None = None) -> list[int]:
    return [log_in(api, OTHER_PASSWORD, email, ip).status for _ in range(times)]


def pause(answer: Answer) -> int:
    assert answer.status == 429, answer.body
    return int(answer.header("Retry-After") or "")


# The account from one address


def test_five_wrong_passwords_are_looked_at_and_the_sixth_has_to_wait(api: Api) -> None:
    api.signup()
    assert fail(api, ALLOWANCE) == [401] * ALLOWANCE
    answer = log_in(api, OTHER_PASSWORD)
    assert (answer.status, answer.header("Retry-After")) == (429, "1")
    assert answer.header("Content-Type") == "application/problem+json"
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("WWW-Authenticate") is None
    assert answer.json == {
        "type": "/problems/too_many_attempts",
        "title": "Too many attempts",
        "status": 429,
        "detail": "There were too many attempts. Wait for the seconds in Retry-After.",
        "code": "too_many_attempts",
        "request_id": "r",
    }


def test_the_right_password_waits_as_well_and_is_looked_at_after_the_pause(api: Api) -> None:
    """Otherwise the pause would tell which of the guesses was right."""
    api.signup()
    fail(api, ALLOWANCE)
    assert pause(log_in(api)) == 1
    api.clock.advance(seconds=1)
    assert log_in(api).status == 200


def test_a_known_and_an_unknown_account_are_answered_with_the_same_bytes(api: Api) -> None:
    api.signup()
    answers = {}
    for email in (EMAIL, "nobody@example.com"):
        answers[email] = [log_in(api, OTHER_PASSWORD, email) for _ in range(ALLOWANCE + 2)]
        api.clock.advance(seconds=1)
        answers[email] += [log_in(api, OTHER_PASSWORD, email) for _ in range(2)]
    assert answers[EMAIL] == answers["nobody@example.com"]
    assert [answer.status for answer in answers[EMAIL]] == [401] * 5 + [429] * 2 + [401, 429]


@pytest.mark.parametrize("email", ["nobody@example.com", "not an address", "a" * 65 + "@example.com"])
def test_what_nobody_has_is_counted_like_what_somebody_has(api: Api, email: str) -> None:
    assert fail(api, ALLOWANCE + 1, email) == [401] * ALLOWANCE + [429]


def test_a_deactivated_account_is_counted_like_every_other(api: Api) -> None:
    api.signup()
    with api.auth.store.engine.begin() as connection:  # type: ignore[attr-defined]  # the SQL store has one
        connection.execute(update(users).values(is_active=False))
    assert [log_in(api).status for _ in range(ALLOWANCE + 1)] == [401] * ALLOWANCE + [429]


def test_pauses_double_with_every_failure_up_to_a_quarter_of_an_hour(api: Api) -> None:
    api.signup()
    fail(api, ALLOWANCE)
    pauses = []
    for _ in range(13):
        seconds = pause(log_in(api, OTHER_PASSWORD))
        pauses.append(seconds)
        api.clock.advance(seconds=seconds)
        assert fail(api) == [401]
    # What comes back meanwhile, one in ten minutes, keeps the last ones from growing any further.
    assert pauses[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert all(512 <= seconds <= 900 for seconds in pauses[10:])


def test_the_pause_runs_down_and_asking_again_does_not_make_it_longer(api: Api) -> None:
    api.signup()
    fail(api, ALLOWANCE)
    for _ in range(4):
        api.clock.advance(seconds=pause(log_in(api, OTHER_PASSWORD)))
        fail(api)
    pauses = []
    for _ in range(17):
        pauses.append(pause(log_in(api, OTHER_PASSWORD)))
        api.clock.advance(seconds=0.5)
    assert pauses == [16, 16, 15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8]
    api.clock.advance(seconds=7.5)
    assert log_in(api).status == 200


def test_what_was_spent_comes_back_one_by_one(api: Api) -> None:
    api.signup()
    fail(api, ALLOWANCE)
    api.clock.advance(minutes=20)
    assert fail(api, 3) == [401, 401, 429]
    api.clock.advance(hours=1)
    assert fail(api, ALLOWANCE + 1) == [401] * ALLOWANCE + [429]


def test_a_login_forgets_the_failures_before_it(api: Api) -> None:
    api.signup()
    for _ in range(3):
        assert fail(api, ALLOWANCE - 1) == [401] * (ALLOWANCE - 1)
        assert log_in(api).status == 200
    assert fail(api, ALLOWANCE + 1) == [401] * ALLOWANCE + [429]


def test_who_logs_in_often_is_never_slowed_down(api: Api) -> None:
    api.signup()
    assert {log_in(api).status for _ in range(12)} == {200}


def test_other_accounts_are_not_slowed_down(api: Api) -> None:
    api.signup()
    api.signup("bob@example.com")
    fail(api, ALLOWANCE)
    assert log_in(api, email="bob@example.com").status == 200
    assert log_in(api).status == 429


def test_a_refused_attempt_costs_no_hash(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.signup()
    passwords = api.auth.authentication._passwords
    verified: list[str] = []
    original = passwords.verify

    def verify(password: str, stored: str | None) -> bool:
        verified.append(password)
        return original(password, stored)

    monkeypatch.setattr(passwords, "verify", verify)
    fail(api, 20)
    assert len(verified) == ALLOWANCE


def test_a_password_that_was_not_looked_at_for_want_of_time_is_not_counted(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.signup()

    def full(*_: Any) -> Any:
        raise Overloaded

    with monkeypatch.context() as patch:
        patch.setattr(api.auth.authentication._passwords._pool, "run", full)
        assert [log_in(api, OTHER_PASSWORD).status for _ in range(10)] == [503] * 10
    assert fail(api, ALLOWANCE + 1) == [401] * ALLOWANCE + [429]


def test_input_that_is_refused_is_not_counted(api: Api) -> None:
    api.signup()
    for body in ({"email": EMAIL}, {"email": EMAIL, "password": 1}, {"email": EMAIL, "password": "x" * 2000}):
        assert {api.post("/v1/login", body).status for _ in range(10)} == {422}
    assert fail(api, ALLOWANCE + 1) == [401] * ALLOWANCE + [429]


# Spellings

SPELLINGS = {
    "case": ("ann@example.com", ["Ann@example.com", "ANN@EXAMPLE.COM", "ann@Example.com", "aNN@example.COM"]),
    "composed": ("zoë@example.com", ["zoe\u0308@example.com", "ZOË@example.com", "ZOE\u0308@EXAMPLE.com"]),
    "domain": ("ann@bücher.example", ["ann@xn--bcher-kva.example", "Ann@BÜCHER.example", "ann@bu\u0308cher.example"]),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_of_an_address_is_counted_as_one(api: Api, name: str) -> None:
    email, spellings = SPELLINGS[name]
    api.signup(email)
    statuses = [log_in(api, OTHER_PASSWORD, spellings[number % len(spellings)]).status for number in range(ALLOWANCE)]
    assert statuses == [401] * ALLOWANCE
    assert pause(log_in(api, email=email)) == 1


# Wherever a password is proved

CONFIRMED: dict[str, tuple[str, dict[str, str]]] = {
    "change of the password": ("/v1/account/password", {"new_password": "yet another sentence"}),
    "change of the address": ("/v1/account/email", {"new_email": "ann@example.org"}),
    "deletion": ("/v1/account/delete", {}),
}


def confirm(api: Api, name: str, token: str, password: str) -> Answer:
    path, body = CONFIRMED[name]
    return api.post(path, {**body, "current_password": password}, token=token)


@pytest.mark.parametrize("name", CONFIRMED)
def test_a_wrong_current_password_counts(api: Api, name: str) -> None:
    token = api.signed_in()["access_token"]
    statuses = [confirm(api, name, token, OTHER_PASSWORD).status for _ in range(ALLOWANCE)]
    assert statuses == [403] * ALLOWANCE
    assert pause(confirm(api, name, token, OTHER_PASSWORD)) == 1
    assert pause(confirm(api, name, token, PASSWORD)) == 1
    assert pause(log_in(api)) == 1, "a stolen token must not give other guesses than a login"
    api.clock.advance(seconds=1)
    assert confirm(api, name, token, PASSWORD).status in (202, 204)


def test_guesses_at_every_place_share_one_allowance(api: Api) -> None:
    token = api.signed_in()["access_token"]
    form = {"grant_type": "password", "username": EMAIL, "password": OTHER_PASSWORD}
    assert [confirm(api, name, token, OTHER_PASSWORD).status for name in CONFIRMED] == [403] * 3
    assert fail(api) == [401]
    assert api.post("/v1/token", form=form).status == 400
    for refused in (
        *(confirm(api, name, token, PASSWORD) for name in CONFIRMED),
        log_in(api),
        api.post("/v1/token", form={**form, "password": PASSWORD}),
    ):
        assert pause(refused) == 1
        assert refused.json["code"] == "too_many_attempts"


def test_the_token_endpoint_counts_like_the_login(api: Api) -> None:
    api.signup()
    form = {"grant_type": "password", "username": EMAIL, "password": OTHER_PASSWORD}
    answers = [api.post("/v1/token", form=form) for _ in range(ALLOWANCE)]
    assert [(answer.status, answer.json["error"]) for answer in answers] == [(400, "invalid_grant")] * ALLOWANCE
    assert pause(api.post("/v1/token", form=form)) == 1
    assert pause(log_in(api)) == 1


def test_a_new_password_that_is_refused_is_not_counted(api: Api) -> None:
    token = api.signed_in()["access_token"]
    body = {"current_password": OTHER_PASSWORD, "new_password": "short"}
    assert {api.post("/v1/account/password", body, token=token).status for _ in range(10)} == {422}
    assert log_in(api).status == 200


def test_right_current_passwords_are_not_counted(api: Api) -> None:
    token = api.signed_in()["access_token"]
    for number in range(8):
        body = {"current_password": PASSWORD, "new_email": f"ann{number}@example.org"}
        assert api.post("/v1/account/email", body, token=token).status == 202
    assert fail(api, ALLOWANCE + 1) == [401] * ALLOWANCE + [429]


def test_tokens_go_on_while_passwords_have_to_wait(api: Api) -> None:
    pair = api.signed_in()
    fail(api, ALLOWANCE)
    assert log_in(api).status == 429
    assert api.whoami(pair["access_token"]).status == 200
    new = api.refresh(pair["refresh_token"])
    assert new.status == 200
    form = {"grant_type": "refresh_token", "refresh_token": new.json["refresh_token"]}
    assert api.post("/v1/token", form=form).status == 200


# What is remembered of it


def throttled_events(api: Api) -> list[tuple[str, Any, str]]:
    with api.auth.store.engine.connect() as connection:  # type: ignore[attr-defined]  # the SQL store has one
        rows = connection.execute(
            select(audit_events.c.ip, audit_events.c.user_id, audit_events.c.request_id)
            .where(audit_events.c.kind == EventKind.THROTTLED.value)
            .order_by(audit_events.c.id)
        )
        return [tuple(row) for row in rows]


def test_a_spent_allowance_is_noted_once_with_its_address_and_no_account(api: Api) -> None:
    api.signup()
    fail(api, ALLOWANCE - 1)
    assert throttled_events(api) == []
    fail(api, 10)
    assert throttled_events(api) == [("127.0.0.1", None, "r")]


def test_no_address_that_was_typed_is_stored(api: Api) -> None:
    fail(api, 3, "my-password-by-mistake@example.com")
    with api.auth.store.engine.connect() as connection:  # type: ignore[attr-defined]  # the SQL store has one
        keys = connection.execute(select(throttle_counters.c.key)).scalars().all()
    assert len(keys) == 3
    assert all(re.fullmatch(r"[0-9a-f]{64}", key) for key in keys)


# Addresses


def test_the_owner_at_another_address_gets_in(open_api: OpenApi) -> None:
    api = open_api()
    api.signup()
    assert fail(api, ALLOWANCE + 1, ip=HOME) == [401] * ALLOWANCE + [429]
    assert log_in(api, ip=OFFICE).status == 200
    assert log_in(api, ip=HOME).status == 429


@pytest.mark.parametrize(
    ("first", "second", "are_one"),
    [
        ("2001:db8:0:1::7", "2001:db8:0:1:ffff::8", True),
        ("2001:db8:0:1::7", "2001:DB8:0:1:0:0:0:9", True),
        ("2001:db8:0:1::7", "2001:db8:0:2::7", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
    ],
)
def test_addresses_of_one_block_are_counted_as_one(
    open_api: OpenApi, first: str, second: str, *, are_one: bool
) -> None:
    api = open_api()
    api.signup()
    fail(api, ALLOWANCE, ip=first)
    assert log_in(api, ip=second).status == (429 if are_one else 200)


def test_from_a_peer_that_is_no_proxy_of_ours_the_header_changes_nothing(open_api: OpenApi) -> None:
    api = open_api(proxies=())
    api.signup()
    statuses = [log_in(api, OTHER_PASSWORD, ip=f"198.51.100.{number}").status for number in range(ALLOWANCE + 3)]
    assert statuses == [401] * ALLOWANCE + [429] * 3


def test_what_a_client_writes_before_the_proxys_entry_changes_nothing(open_api: OpenApi) -> None:
    api = open_api()
    api.signup()
    for number in range(ALLOWANCE):
        assert log_in(api, OTHER_PASSWORD, ip=f"198.51.100.{number}, {HOME}").status == 401
    assert log_in(api, ip=f"192.0.2.1, {HOME}").status == 429
    assert log_in(api, ip=f"{HOME}, {OFFICE}").status == 200


def test_a_header_of_junk_falls_back_on_the_peer(open_api: OpenApi) -> None:
    api = open_api()
    api.signup()
    junk = ["unknown", "junk", "203.0.113.7:http", "-", "999.1.1.1"]
    assert [log_in(api, OTHER_PASSWORD, ip=written).status for written in junk] == [401] * 5
    assert log_in(api, ip="another").status == 429


# The address over all accounts


def test_a_list_of_stolen_passwords_is_slowed_down_over_all_accounts(open_api: OpenApi) -> None:
    api = open_api(throttle_block=8)
    victims = [f"victim{number}@example.com" for number in range(10)]
    statuses = [log_in(api, OTHER_PASSWORD, victim, CAFE).status for victim in victims]
    assert statuses == [401] * 8 + [429] * 2
    assert log_in(api, OTHER_PASSWORD, victims[9], HOME).status == 401
    api.clock.advance(seconds=1)
    assert fail(api, 2, victims[9], CAFE) == [401, 429]


def test_an_attackers_own_account_does_not_wash_the_address_clean(open_api: OpenApi) -> None:
    api = open_api(throttle_block=6)
    api.signup("eve@example.com")
    for number in range(6):
        assert log_in(api, OTHER_PASSWORD, f"victim{number}@example.com", CAFE).status == 401
        if number < 5:
            assert log_in(api, email="eve@example.com", ip=CAFE).status == 200
    assert log_in(api, email="eve@example.com", ip=CAFE).status == 429


# Many addresses against one account


def spend_strangers(api: Api, count: int) -> None:
    for number in range(count):
        assert fail(api, ip=f"198.51.100.{number}") == [401]


def test_guesses_from_many_addresses_are_slowed_down_and_home_is_not(open_api: OpenApi) -> None:
    api = open_api(throttle_strangers=6)
    api.signup()
    assert log_in(api, ip=HOME).status == 200
    spend_strangers(api, 6)
    assert pause(log_in(api, ip="198.51.100.200")) == 1
    for _ in range(3):
        assert log_in(api, ip=HOME).status == 200


def test_failures_at_home_are_not_counted_with_the_strangers(open_api: OpenApi) -> None:
    api = open_api(throttle_strangers=6)
    api.signup()
    log_in(api, ip=HOME)
    assert fail(api, ALLOWANCE + 1, ip=HOME) == [401] * ALLOWANCE + [429]
    spend_strangers(api, 6)
    assert log_in(api, ip=OFFICE).status == 429


def test_home_stays_home_for_ninety_days(open_api: OpenApi) -> None:
    api = open_api(throttle_strangers=6)
    api.signup()
    log_in(api, ip=HOME)
    api.clock.advance(days=89)
    spend_strangers(api, 6)
    assert log_in(api, ip=HOME).status == 200
    api.clock.advance(days=90, seconds=1)
    spend_strangers(api, 6)
    assert log_in(api, ip=HOME).status == 429


def test_strangers_of_an_unknown_account_are_told_nothing_else(open_api: OpenApi) -> None:
    """The same bytes, so that the counter of strangers does not tell who has an account either."""
    api = open_api(throttle_strangers=3)
    api.signup()
    seen = [
        [log_in(api, OTHER_PASSWORD, email, f"198.51.100.{number}") for number in range(5)]
        for email in (EMAIL, "nobody@example.com")
    ]
    assert seen[0] == seen[1]
    assert [answer.status for answer in seen[0]] == [401] * 3 + [429] * 2


def test_an_attacker_with_an_account_of_his_own_is_no_less_a_stranger(open_api: OpenApi) -> None:
    api = open_api(throttle_strangers=4)
    api.signup()
    api.signup("eve@example.com")
    assert log_in(api, email="eve@example.com", ip=CAFE).status == 200
    spend_strangers(api, 4)
    assert log_in(api, ip=CAFE).status == 429


# The way out


class Letters:
    """What was sent, in place of a mail server."""

    def __init__(self) -> None:
        self.sent: list[EmailMessage] = []

    def send(self, email: EmailMessage) -> None:
        self.sent.append(email)

    def close(self) -> None:
        """There is nothing to close."""


def reset_token(api: Api, ip: str, monkeypatch: pytest.MonkeyPatch) -> str:
    letters = Letters()
    monkeypatch.setattr(api.auth.mail_worker, "_mailer", letters)
    answer = api.post("/v1/send-password-reset", {"email": EMAIL}, headers=come_from(ip))
    assert answer.status == 202, answer.body
    api.auth.mail_worker.run_once()
    found = [re.search(r"twm_[\w-]{32}", str(letter.get_body())) for letter in letters.sent if "reset" in str(letter)]
    assert found[-1] is not None
    return found[-1][0]


def test_a_reset_stays_open_and_makes_the_address_home(open_api: OpenApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api = open_api(throttle_strangers=6)
    api.signup()
    fail(api, ALLOWANCE, ip=CAFE)
    spend_strangers(api, 1)
    assert log_in(api, ip=CAFE).status == 429
    token = reset_token(api, CAFE, monkeypatch)
    body = {"token": token, "new_password": OTHER_PASSWORD}
    assert api.post("/v1/reset-password", body, headers=come_from(CAFE)).status == 204
    assert log_in(api, ip="198.51.100.200").status == 429, "the strangers' allowance is spent as before"
    assert log_in(api, OTHER_PASSWORD, ip=CAFE).status == 200


def test_a_reset_does_not_make_the_attackers_address_home(open_api: OpenApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api = open_api()
    api.signup()
    fail(api, ALLOWANCE, ip=CAFE)
    body = {"token": reset_token(api, HOME, monkeypatch), "new_password": OTHER_PASSWORD}
    assert api.post("/v1/reset-password", body, headers=come_from(HOME)).status == 204
    assert log_in(api, OTHER_PASSWORD, ip=CAFE).status == 429
    assert log_in(api, OTHER_PASSWORD, ip=HOME).status == 200


def test_junk_tokens_of_resets_are_no_way_home(open_api: OpenApi) -> None:
    api = open_api()
    api.signup()
    fail(api, ALLOWANCE, ip=CAFE)
    body = {"token": "twm_" + "A" * 32, "new_password": OTHER_PASSWORD}
    assert api.post("/v1/reset-password", body, headers=come_from(CAFE)).status == 400
    assert log_in(api, ip=CAFE).status == 429


# Devices


def test_with_the_token_of_a_device_an_owner_gets_in_while_strangers_spend_every_counter(
    open_api: OpenApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = open_api(throttle_strangers=6, throttle_block=8)
    api.signup()
    device = log_in(api, ip=CAFE).json["device_token"]
    fail(api, ALLOWANCE, ip=CAFE)
    fail(api, 3, email="nobody@example.com", ip=CAFE)
    spend_strangers(api, 6)
    assert log_in(api, ip=CAFE).status == log_in(api, ip=OFFICE).status == 429
    for ip in (CAFE, OFFICE):
        body = {"email": EMAIL, "password": PASSWORD, "device_token": device}
        assert api.post("/v1/login", body, headers=come_from(ip)).status == 200
    body = {"token": reset_token(api, OFFICE, monkeypatch), "new_password": OTHER_PASSWORD, "device_token": device}
    given = api.post("/v1/reset-password", body, headers=come_from(CAFE)).json["device_token"]
    body = {"email": EMAIL, "password": OTHER_PASSWORD}
    assert api.post("/v1/login", body | {"device_token": device}, headers=come_from(CAFE)).status == 429
    assert api.post("/v1/login", body | {"device_token": given}, headers=come_from(CAFE)).status == 200


# Where only verified addresses may log in


def test_a_right_password_that_is_refused_for_its_address_is_not_counted(open_api: OpenApi) -> None:
    api = open_api(mail=MailSettings(require_verified_email=True))
    assert api.post("/v1/signup", {"email": EMAIL, "password": PASSWORD}).status == 202
    assert [log_in(api, ip=HOME).status for _ in range(10)] == [403] * 10
    assert fail(api, ALLOWANCE + 1, ip=HOME) == [401] * ALLOWANCE + [429]


# Signups and mail


def sign_up(api: Api, email: str, ip: str, password: str = PASSWORD) -> Answer:
    return api.post("/v1/signup", {"email": email, "password": password}, headers=come_from(ip))


def test_signups_from_an_address_are_limited(open_api: OpenApi) -> None:
    api = open_api(throttle_signups=3)
    statuses = [sign_up(api, f"user{number}@example.com", CAFE).status for number in range(4)]
    assert statuses == [201, 201, 201, 429]
    assert sign_up(api, "user4@example.com", HOME).status == 201
    assert log_in(api, email="user0@example.com", ip=CAFE).status == 200, "logins are counted apart"
    api.clock.advance(seconds=1)
    assert sign_up(api, "user5@example.com", CAFE).status == 201
    assert pause(sign_up(api, "user6@example.com", CAFE)) == 2
    api.clock.advance(minutes=10)
    assert [sign_up(api, f"late{number}@example.com", CAFE).status for number in range(4)] == [201, 201, 201, 429]


def test_a_signup_that_finds_its_address_taken_is_counted(open_api: OpenApi) -> None:
    """It costs a hash, and it would tell who has an account as fast as one can ask."""
    api = open_api(throttle_signups=3)
    assert [sign_up(api, EMAIL, CAFE).status for _ in range(5)] == [201, 409, 409, 429, 429]


def test_a_signup_whose_input_is_refused_is_not_counted(open_api: OpenApi) -> None:
    api = open_api(throttle_signups=3)
    assert {sign_up(api, EMAIL, CAFE, "short").status for _ in range(10)} == {422}
    assert {sign_up(api, "not an address", CAFE).status for _ in range(10)} == {422}
    assert sign_up(api, EMAIL, CAFE).status == 201


def test_requests_for_mail_from_an_address_are_limited_together(open_api: OpenApi) -> None:
    api = open_api(throttle_mail=4)
    api.signup()
    token = log_in(api, ip=HOME).json["access_token"]

    def ask_for_all() -> list[int]:
        change = {"new_email": "ann@example.org", "current_password": PASSWORD}
        return [
            api.post("/v1/send-password-reset", {"email": EMAIL}, headers=come_from(HOME)).status,
            api.post("/v1/send-email-verification", token=token, headers=come_from(HOME)).status,
            api.post("/v1/account/email", change, token=token, headers=come_from(HOME)).status,
        ]

    assert ask_for_all() == [202, 202, 202]
    assert ask_for_all() == [202, 429, 429]
    assert api.post("/v1/send-password-reset", {"email": EMAIL}, headers=come_from(OFFICE)).status == 202


def test_requests_for_mail_of_known_and_unknown_addresses_are_answered_with_the_same_bytes(open_api: OpenApi) -> None:
    api = open_api(throttle_mail=2)
    api.signup()
    seen = [
        [api.post("/v1/send-password-reset", {"email": email}, headers=come_from(ip)) for _ in range(4)]
        for email, ip in ((EMAIL, HOME), ("nobody@example.com", CAFE))
    ]
    assert seen[0] == seen[1]
    assert [answer.status for answer in seen[0]] == [202, 202, 429, 429]


def test_requests_for_mail_that_are_refused_leave_no_message(open_api: OpenApi) -> None:
    api = open_api(throttle_mail=1)
    api.signup()
    for _ in range(5):
        api.post("/v1/send-password-reset", {"email": EMAIL}, headers=come_from(HOME))
    with api.auth.store.engine.connect() as connection:  # type: ignore[attr-defined]  # the SQL store has one
        count = len(connection.exec_driver_sql("SELECT id FROM outbox WHERE kind = 'password_reset'").all())
    assert count == 1


# Switched off


def test_switched_off_nothing_has_to_wait(open_api: OpenApi) -> None:
    api = open_api(throttle=False, throttle_account=1, throttle_block=1, throttle_signups=1, throttle_mail=1)
    api.signup()
    assert [sign_up(api, f"user{number}@example.com", CAFE).status for number in range(3)] == [201] * 3
    assert fail(api, 10, ip=CAFE) == [401] * 10
    assert log_in(api, ip=CAFE).status == 200
    for _ in range(3):
        assert api.post("/v1/send-password-reset", {"email": EMAIL}, headers=come_from(CAFE)).status == 202


# Both doors


def test_both_doors_count_together(both: tuple[Api, Api]) -> None:
    flask, fastapi = both
    flask.signup()
    assert [fail(api)[0] for api in (flask, fastapi, flask, fastapi, flask)] == [401] * 5
    assert pause(log_in(fastapi)) == pause(log_in(flask)) == 1
    flask.clock.advance(seconds=1)
    assert fail(fastapi) == [401]
    assert pause(log_in(flask)) == 2
    flask.clock.advance(seconds=2)
    assert log_in(flask).status == 200
    assert fail(fastapi, ALLOWANCE + 1) == [401] * ALLOWANCE + [429]
