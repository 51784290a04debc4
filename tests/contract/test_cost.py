"""What a request costs: statements and thread hops, counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio.to_thread
import pytest
from sqlalchemy import event

from core.settings.groups import MailSettings
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.hashes import computed_hashes
from tests.support.services import on_one_database


@contextmanager
def statements(api: Api) -> Iterator[list[str]]:
    """Every statement that reaches the driver meanwhile; BEGIN and COMMIT of the pool included."""
    engine = api.engine
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_whoami_is_one_statement(api: Api) -> None:
    token = api.signed_in()["access_token"]
    with statements(api) as seen:
        assert api.whoami(token).status == 200
    assert len(seen) == 1
    assert seen[0].startswith("SELECT")


def test_refresh_is_one_conditional_update(api: Api) -> None:
    token = api.signed_in()["refresh_token"]
    with statements(api) as seen:
        assert api.refresh(token).status == 200
    written = [statement for statement in seen if not statement.startswith(("SELECT", "BEGIN"))]
    assert len(written) == 1
    assert written[0].startswith("UPDATE sessions SET generation")


def test_a_forged_token_costs_no_statement(api: Api) -> None:
    token = api.signed_in()["access_token"]
    with statements(api) as seen:
        assert api.whoami(token[:-4] + "AAAA").status == 401
    assert seen == []


def work(seen: list[str]) -> list[str]:
    """What was done: the first words of each statement, without BEGIN, and without the counters of the throttle.

    Those are asked before anything is known of an account.
    """
    besides = ("BEGIN", "throttle_counters")
    return [" ".join(text.split()[:3]) for text in seen if not any(word in text for word in besides)]


@pytest.mark.parametrize("state", ["nobody", "unverified", "verified", "inactive"])
def test_asking_for_a_reset_is_one_insert_whoever_has_the_address(api: Api, state: str) -> None:
    if state != "nobody":
        api.signup()
    if state == "verified":
        api.verify(api.verification_token())
    if state == "inactive":
        api.deactivate()
    with statements(api) as seen:
        assert api.ask_for_reset().status == 202
    assert work(seen) == ["INSERT INTO outbox"]


def test_asking_for_a_reset_too_often_costs_no_less(api: Api) -> None:
    api.verified()
    for _ in range(6):
        api.ask_for_reset()
    api.deliver()
    with statements(api) as seen:
        assert api.ask_for_reset().status == 202
    assert work(seen) == ["INSERT INTO outbox"]


@pytest.mark.parametrize("mail", [MailSettings(require_verified_email=True)])
@pytest.mark.parametrize("state", ["new", "unverified", "verified", "inactive"])
def test_signing_up_costs_the_same_for_a_new_and_a_known_address(
    api: Api, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"email": EMAIL, "password": PASSWORD}
    if state != "new":
        api.post("/v1/signup", body)
    if state == "verified":
        api.verify(api.verification_token())
    if state == "inactive":
        api.deactivate()
    hashed: list[str] = []
    passwords = api.auth.accounts._passwords
    original = passwords.hash

    def counted(password: str) -> str:
        hashed.append(password)
        return original(password)

    monkeypatch.setattr(passwords, "hash", counted)
    with statements(api) as seen:
        assert api.post("/v1/signup", body | {"password": OTHER_PASSWORD}).status == 202
    assert work(seen) == ["INSERT INTO users", "INSERT INTO audit_events", "INSERT INTO outbox"]
    assert hashed == [OTHER_PASSWORD]


@on_one_database
@pytest.mark.parametrize("mail", [MailSettings(), MailSettings(require_verified_email=True)], ids=["open", "verified"])
@pytest.mark.parametrize("state", ["nobody", "no address", "unverified", "verified", "inactive"])
def test_a_login_is_one_hash_at_full_cost_whoever_is_meant(
    api: Api, state: str, mail: MailSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if state not in ("nobody", "no address"):
        api.post("/v1/signup", {"email": EMAIL, "password": PASSWORD})
    if state in ("verified", "inactive"):
        api.verify(api.verification_token())
    if state == "inactive":
        api.deactivate()
    email = "no address" if state == "no address" else EMAIL
    computed = computed_hashes(monkeypatch)
    let_in = []
    for password in (PASSWORD, OTHER_PASSWORD):
        form = {"grant_type": "password", "username": email, "password": password}
        let_in.append(api.post("/v1/login", {"email": email, "password": password}).status == 200)
        let_in.append(api.post("/v1/token", form=form).status == 200)
    is_welcome = state == "verified" or (state == "unverified" and not mail.require_verified_email)
    assert let_in == [is_welcome, is_welcome, False, False]
    assert computed == ["bcrypt 04"] * 4


def test_a_change_of_address_costs_the_same_for_a_free_and_a_taken_one(api: Api) -> None:
    api.signup("ben@example.com")
    token = api.signed_in()["access_token"]
    costs = []
    for email in ("ben@example.com", "nobody@example.com"):
        with statements(api) as seen:
            assert api.ask_for_change(token, email).status == 202
        costs.append(work(seen))
    assert costs[0] == costs[1]


def test_a_token_that_cannot_be_one_costs_no_statement(api: Api) -> None:
    with statements(api) as seen:
        assert api.reset("junk").status == api.verify("junk").status == 400
    assert seen == []


def test_a_relay_with_nothing_to_send_asks_once(api: Api) -> None:
    with statements(api) as seen:
        assert api.deliver() == []
    assert len(seen) == 1
    assert seen[0].startswith("SELECT outbox.id")


@on_one_database
def test_whoami_is_one_thread_hop_at_the_fastapi_door(both: tuple[Api, Api], monkeypatch: pytest.MonkeyPatch) -> None:
    _, api = both
    token = api.signed_in()["access_token"]
    hops: list[Any] = []
    original = anyio.to_thread.run_sync

    async def counted(function: Any, *args: Any, **more: Any) -> Any:
        hops.append(function)
        return await original(function, *args, **more)

    monkeypatch.setattr(anyio.to_thread, "run_sync", counted)
    assert api.whoami(token).status == 200
    assert len(hops) == 1
