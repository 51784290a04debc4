"""The same thing asked at the same moment at both doors, on every database: one request wins, and it is done once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import func, select

from core.audit.sql import audit_events
from core.mail.sql import outbox
from core.settings.groups import MailSettings, PasswordSettings
from core.users.sql import users
from tests.support.api import EMAIL, OTHER_EMAIL, PASSWORD, Api, at_once
from tests.support.mail import kind_of, token_of
from tests.support.services import FRAMEWORKS, Service, open_service

Both = tuple[Api, Api]


@pytest.mark.parametrize("mail", [MailSettings(require_verified_email=True)])
def test_of_sixteen_signups_one_makes_the_account_and_no_answer_tells(both: Both) -> None:
    body = {"email": EMAIL, "password": PASSWORD}
    answers = at_once([partial(both[number % 2].post, "/v1/signup", body) for number in range(16)])
    # A queue of passwords that is full says so, to anybody.
    taken = [answer.status for answer in answers].count(202)
    assert {answer.status for answer in answers} <= {202, 503}
    with both[0].engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(users)) == 1
        asked = sorted(connection.scalars(select(outbox.c.kind)))
    assert asked == ["email_verification"] + ["signup_attempted"] * (taken - 1)


def test_sixteen_verifications_with_one_link_verify_once(both: Both) -> None:
    session = both[0].signed_in()["access_token"]
    token = both[0].verification_token()
    answers = at_once([partial(both[number % 2].verify, token, None, token=session) for number in range(16)])
    assert [answer.status for answer in answers] == [204] * 16
    with both[0].engine.connect() as connection:
        verified = select(func.count()).select_from(audit_events).where(audit_events.c.kind == "email_verified")
        assert connection.scalar(verified) == 1


def test_of_sixteen_resets_with_one_link_one_wins(service: Service, loop: asyncio.AbstractEventLoop) -> None:
    # Room for all of them to hash: it is the token that must decide, not the queue.
    passwords = PasswordSettings(bcrypt_cost=4, hash_wait=timedelta(seconds=60))
    there = open_service(service.store, loop, passwords=passwords)
    doors = [there.api(framework) for framework in FRAMEWORKS]
    doors[0].verified()
    token = doors[0].reset_token()
    sentences = [f"sentence number {number:02}" for number in range(16)]
    uses = [partial(doors[number % 2].reset, token, sentence) for number, sentence in enumerate(sentences)]
    answers = at_once(uses)
    statuses = [answer.status for answer in answers]
    assert sorted(statuses) == [204] + [400] * 15
    doors[0].login(EMAIL, sentences[statuses.index(204)])
    assert [kind_of(letter) for letter in doors[0].deliver()] == ["password_changed"]
    with service.store.engine.connect() as connection:
        resets = connection.scalar(
            select(func.count()).select_from(audit_events).where(audit_events.c.kind == "password_reset")
        )
    assert resets == 1


def test_of_five_changes_to_one_address_one_wins(both: Both) -> None:
    here = both[0]
    tokens = []
    for number in range(5):  # as many letters as an address is sent that nobody has proved
        pair = here.signed_in(f"user{number}@example.com")
        here.deliver()
        here.clock.advance(seconds=1)
        assert here.ask_for_change(pair["access_token"]).status == 202
        tokens.append(token_of(here.letter("email_change")))
    answers = at_once([partial(both[number % 2].verify, token) for number, token in enumerate(tokens)])
    assert sorted(answer.status for answer in answers) == [204] + [400] * 4
    with here.engine.connect() as connection:
        assert list(connection.scalars(select(users.c.email))).count(OTHER_EMAIL) == 1
    assert [kind_of(letter) for letter in here.deliver()].count("email_corrected") == 1


def test_of_sixteen_deletions_one_is_it(both: Both) -> None:
    token = both[0].signed_in()["access_token"]
    calls = [
        partial(both[number % 2].post, "/v1/account/delete", {"current_password": PASSWORD}, token=token)
        for number in range(16)
    ]
    outcomes = [answer.status for answer in at_once(calls)]
    # The others find the token dead, the account gone, or too many passwords being checked or tried at once.
    assert outcomes.count(204) == 1
    assert set(outcomes) <= {204, 401, 403, 429, 503}
    with both[0].engine.connect() as connection:
        kinds = list(connection.scalars(select(audit_events.c.kind)))
    assert kinds.count("account_deleted") == 1
