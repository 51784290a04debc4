"""The use cases over every store: what they leave behind, and what they commit before they refuse."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from passlib.hash import bcrypt
from pydantic import SecretStr
from sqlalchemy import Connection, insert, select
from sqlalchemy.event import listen, remove

from core.accounts import export
from core.app import AuthApp, build, build_key_ring, build_secret_replacement
from core.audit.model import EventKind
from core.audit.sql import audit_events
from core.authentication.errors import EmailNotVerified, InvalidCredentials, WrongPassword
from core.clock import new_id
from core.errors import InvalidToken, NotFound, TransactionConflict
from core.mail.model import MessageKind
from core.mail.transports import MailError, MailRefused, recipient_of
from core.oauth.errors import InvalidClient
from core.oauth.model import Credentials
from core.origin import Origin
from core.sessions.errors import InvalidRefreshToken
from core.sessions.model import Principal, Session, TokenPair
from core.settings.groups import MailSettings, TokenSettings
from core.sql_store import SqlStore, metadata
from core.store import UnitOfWork
from core.tokens.access_tokens import UserClaims
from core.users.addresses import canonical_or_none
from core.users.errors import EmailTaken
from core.users.model import Account
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD
from tests.support.clock import START, FakeClock
from tests.support.databases import assert_nothing_checked_out
from tests.support.mail import RecordingMailer, kind_of, token_of
from tests.support.settings import SECRET, make_settings
from tests.support.values import (
    account,
    account_in,
    events_in,
    message,
    messages_in,
    session,
    session_in,
    stored,
)

CLIENT = Origin(ip="192.0.2.7", user_agent="laptop", request_id="a-request")
TODAYS = "$bcrypt-sha256$"
NEW_EMAIL = "anna@example.com"


@dataclass
class Service:
    """A service on a store, with a user who has signed up."""

    store: SqlStore
    clock: FakeClock
    app: AuthApp
    ann: uuid.UUID
    mailer: RecordingMailer

    def login(self, user_agent: str = "laptop", password: str = PASSWORD) -> TokenPair:
        return self.app.authentication.login(EMAIL, password, Origin(user_agent=user_agent))

    def refresh(self, pair: TokenPair) -> TokenPair:
        return self.app.sessions.refresh(pair.refresh_token, CLIENT)

    def principal(self, pair: TokenPair) -> Principal:
        return self.app.sessions.whoami(pair.access_token)

    def session(self, pair: TokenPair) -> Session:
        claims = self.app.sessions._access_tokens.verify(pair.access_token)
        assert isinstance(claims, UserClaims)
        return session_in(self.store, claims.session_id)

    def live(self) -> list[str]:
        with self.store.reading() as read:
            return sorted(found.user_agent for found in read.sessions.live_of(self.ann, now=self.clock.now()))

    def kinds(self) -> list[EventKind]:
        return [event.kind for event in events_in(self.store)]

    def mail(self) -> dict[str, EmailMessage]:
        """What is sent now, by its kind."""
        self.app.mail_worker.run_once()
        letters = list(self.mailer.letters)
        self.mailer.letters.clear()
        found = {kind_of(letter): letter for letter in letters}
        assert len(found) == len(letters)
        return found

    def token(self, kind: MessageKind) -> str:
        """The token in the one letter of this kind that is sent now."""
        return token_of(self.mail()[kind])


def open_service(store: SqlStore, **settings: Any) -> Service:
    clock, mailer = FakeClock(START), RecordingMailer()
    app = build(make_settings(**settings), store=store, clock=clock, mailer=mailer)
    ann = app.accounts.sign_up(EMAIL, PASSWORD, "Ann", CLIENT)
    assert ann is not None
    clock.advance(seconds=1)
    return Service(store, clock, app, ann.id, mailer)


@pytest.fixture
def service(store: SqlStore) -> Service:
    return open_service(store)


# Signing up


def test_a_signup_stores_the_user_and_an_event(service: Service) -> None:
    found = account_in(service.store, service.ann)
    assert (found.user.email, found.user.display_name, found.user.roles) == (EMAIL, "Ann", ())
    assert found.user.created_at == found.user.updated_at == START
    assert not found.user.email_verified
    assert found.password_hash.startswith(TODAYS)
    (event,) = events_in(service.store)
    assert (event.kind, event.user_id, event.ip, event.request_id) == (
        EventKind.SIGNED_UP,
        service.ann,
        "192.0.2.7",
        "a-request",
    )


@pytest.mark.parametrize("email", [EMAIL, "ANN@example.com", "Ann@EXAMPLE.com"])
def test_a_second_signup_leaves_the_first_alone(service: Service, email: str) -> None:
    before = account_in(service.store, service.ann)
    with pytest.raises(EmailTaken):
        service.app.accounts.sign_up(email, OTHER_PASSWORD, "Eve", CLIENT)
    assert account_in(service.store, service.ann) == before
    assert service.kinds() == [EventKind.SIGNED_UP, EventKind.SIGNUP_REPEATED]
    repeated = events_in(service.store)[-1]
    assert (repeated.user_id, repeated.ip, repeated.request_id) == (None, "192.0.2.7", "a-request")
    told = [message for message in messages_in(service.store) if message.kind is MessageKind.SIGNUP_ATTEMPTED]
    assert [(message.user_id, message.canonical_email, message.address) for message in told] == [(None, EMAIL, None)]
    service.login()


def test_a_signup_stores_a_message_to_its_user_and_nothing_of_the_address(service: Service) -> None:
    (message,) = messages_in(service.store)
    assert (message.kind, message.user_id) == (MessageKind.EMAIL_VERIFICATION, service.ann)
    assert (message.canonical_email, message.address, message.due_at) == (None, None, START)


def test_where_only_verified_addresses_log_in_no_signup_is_told_from_another(store: SqlStore) -> None:
    clock = FakeClock(START)
    app = build(make_settings(mail=MailSettings(require_verified_email=True)), store=store, clock=clock)
    assert app.accounts.sign_up(EMAIL, PASSWORD, "Ann", CLIENT) is None
    clock.advance(seconds=1)
    assert app.accounts.sign_up(EMAIL, OTHER_PASSWORD, "Eve", CLIENT) is None
    assert [event.kind for event in events_in(store)] == [EventKind.SIGNED_UP, EventKind.SIGNUP_REPEATED]
    with pytest.raises(EmailNotVerified):
        app.authentication.login(EMAIL, PASSWORD, CLIENT)


# Rotation


def test_the_current_token_moves_the_session_on(service: Service) -> None:
    first = service.login()
    tokens = {first.refresh_token}
    pair = first
    for generation in range(1, 5):
        service.clock.advance(minutes=1)
        pair = service.refresh(pair)
        tokens.add(pair.refresh_token)
        assert service.session(pair).generation == generation
        assert service.session(pair).last_used_at == service.clock.now()
    assert len(tokens) == 5


def test_the_predecessor_within_the_grace_gives_the_same_successor(service: Service) -> None:
    first = service.login()
    second = service.refresh(first)
    service.clock.advance(seconds=59.999)
    assert service.refresh(first).refresh_token == second.refresh_token
    assert service.refresh(first).refresh_token == second.refresh_token
    assert service.session(second).generation == 1


def test_repeating_does_not_lengthen_the_grace(service: Service) -> None:
    first = service.login()
    service.refresh(first)
    service.clock.advance(seconds=59)
    service.refresh(first)
    service.clock.advance(seconds=1)
    with pytest.raises(InvalidRefreshToken):
        service.refresh(first)


def test_a_predecessor_after_the_grace_is_reuse_and_ends_the_session_for_good(service: Service) -> None:
    first = service.login()
    other = service.login("phone")
    second = service.refresh(first)
    service.clock.advance(seconds=60)
    with pytest.raises(InvalidRefreshToken):
        service.refresh(first)
    assert service.session(first).ended_at == service.clock.now()
    with pytest.raises(InvalidRefreshToken):
        service.refresh(second)
    with pytest.raises(InvalidToken):
        service.app.sessions.whoami(second.access_token)
    assert service.live() == ["phone"]
    service.refresh(other)


def test_a_reuse_is_recorded_once_with_its_session(service: Service) -> None:
    first = service.login()
    ended = service.session(first).id
    service.refresh(first)
    service.clock.advance(minutes=1)
    for _ in range(3):
        with pytest.raises(InvalidRefreshToken):
            service.refresh(first)
    (event,) = [event for event in events_in(service.store) if event.kind is EventKind.REFRESH_TOKEN_REUSED]
    assert (event.user_id, event.session_id, event.at) == (service.ann, ended, service.clock.now())
    assert (event.ip, event.request_id) == ("192.0.2.7", "a-request")


def test_a_token_before_the_predecessor_is_reuse_even_within_the_grace(service: Service) -> None:
    first = service.login()
    third = service.refresh(service.refresh(first))
    with pytest.raises(InvalidRefreshToken):
        service.refresh(first)
    with pytest.raises(InvalidRefreshToken):
        service.refresh(third)
    assert service.live() == []


def test_without_a_grace_every_second_use_is_reuse(store: SqlStore) -> None:
    service = open_service(store, tokens=TokenSettings(refresh_grace=timedelta(0)))
    first = service.login()
    service.refresh(first)
    with pytest.raises(InvalidRefreshToken):
        service.refresh(first)
    assert service.live() == []


def test_rotation_moves_the_idle_end_and_never_the_absolute_one(store: SqlStore) -> None:
    idle, lifetime = timedelta(minutes=10), timedelta(minutes=25)
    service = open_service(store, tokens=TokenSettings(session_idle=idle, session_lifetime=lifetime))
    pair = service.login()
    end = service.session(pair).expires_at
    for _ in range(3):
        service.clock.advance(minutes=8)
        pair = service.refresh(pair)
        assert service.session(pair).expires_at == end
        assert service.session(pair).idle_expires_at == service.clock.now() + idle
        assert pair.refresh_expires_in == min(end - service.clock.now(), idle).total_seconds()
    service.clock.at = end - timedelta(microseconds=1)
    service.principal(pair)
    service.clock.at = end
    with pytest.raises(InvalidRefreshToken):
        service.refresh(pair)


def test_an_idle_session_cannot_be_refreshed_and_that_is_no_reuse(store: SqlStore) -> None:
    service = open_service(store, tokens=TokenSettings(session_idle=timedelta(minutes=10)))
    pair = service.login()
    service.clock.advance(minutes=10)
    with pytest.raises(InvalidRefreshToken):
        service.refresh(pair)
    assert EventKind.REFRESH_TOKEN_REUSED not in service.kinds()


def test_a_user_who_was_made_inactive_cannot_refresh(service: Service) -> None:
    inactive = account("bob@example.com", is_active=False)
    theirs = session(inactive.user.id, created_at=START)
    stored(service.store, inactive, theirs)
    pair = service.app.sessions.pair(theirs, inactive.user, service.clock.now())
    with pytest.raises(InvalidRefreshToken):
        service.refresh(pair)
    assert session_in(service.store, theirs.id) == theirs


# Ending sessions


def test_a_logout_ends_this_session_alone(service: Service) -> None:
    laptop, _phone = service.login("laptop"), service.login("phone")
    principal = service.principal(laptop)
    service.app.sessions.logout(principal, CLIENT)
    service.app.sessions.logout(principal, CLIENT)
    assert service.live() == ["phone"]
    assert service.kinds().count(EventKind.LOGGED_OUT) == 1
    with pytest.raises(InvalidToken):
        service.principal(laptop)
    with pytest.raises(InvalidRefreshToken):
        service.refresh(laptop)


def test_a_user_ends_another_of_the_own_sessions_once(service: Service) -> None:
    laptop, phone = service.login("laptop"), service.login("phone")
    principal, other = service.principal(laptop), service.session(phone).id
    service.app.sessions.end(principal, other, CLIENT)
    with pytest.raises(NotFound):
        service.app.sessions.end(principal, other, CLIENT)
    assert service.live() == ["laptop"]
    assert service.kinds().count(EventKind.SESSION_ENDED) == 1


def test_nobody_ends_the_session_of_another_user(service: Service) -> None:
    mine = service.login()
    service.app.accounts.sign_up("bob@example.com", PASSWORD, None, CLIENT)
    bob = service.principal(service.app.authentication.login("bob@example.com", PASSWORD, CLIENT))
    for session_id in (service.session(mine).id, uuid.uuid4()):
        with pytest.raises(NotFound):
            service.app.sessions.end(bob, session_id, CLIENT)
    assert service.live() == ["laptop"]
    assert EventKind.SESSION_ENDED not in service.kinds()


@pytest.mark.parametrize(("keep_current", "left"), [(True, ["laptop"]), (False, [])])
def test_a_user_ends_all_sessions_or_all_others(service: Service, left: list[str], *, keep_current: bool) -> None:
    laptop, *_ = [service.login(device) for device in ("laptop", "phone", "tablet")]
    service.app.sessions.end_all(service.principal(laptop), CLIENT, keep_current=keep_current)
    assert service.live() == left


# Passwords


def test_a_password_change_ends_the_other_sessions_only(service: Service) -> None:
    laptop, phone = service.login("laptop"), service.login("phone")
    service.app.accounts.change_password(service.principal(laptop), PASSWORD, OTHER_PASSWORD, CLIENT)
    assert service.live() == ["laptop"]
    service.refresh(laptop)
    with pytest.raises(InvalidRefreshToken):
        service.refresh(phone)
    with pytest.raises(InvalidCredentials):
        service.login()
    service.login(password=OTHER_PASSWORD)


def test_a_refused_password_change_is_recorded_and_changes_nothing(service: Service) -> None:
    laptop, _phone = service.login("laptop"), service.login("phone")
    before = account_in(service.store, service.ann)
    service.clock.advance(seconds=1)
    with pytest.raises(WrongPassword):
        service.app.accounts.change_password(service.principal(laptop), OTHER_PASSWORD, OTHER_PASSWORD, CLIENT)
    assert account_in(service.store, service.ann) == before
    assert service.live() == ["laptop", "phone"]
    assert service.kinds()[-1] is EventKind.PASSWORD_CHANGE_FAILED


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com", "not an address"])
def test_a_refused_login_is_recorded_before_it_is_refused(service: Service, email: str) -> None:
    with pytest.raises(InvalidCredentials):
        service.app.authentication.login(email, OTHER_PASSWORD, CLIENT)
    event = events_in(service.store)[-1]
    assert event.kind is EventKind.LOGIN_FAILED
    assert event.user_id == (service.ann if email == EMAIL else None)
    assert service.live() == []


def test_an_inactive_user_cannot_log_in(service: Service) -> None:
    hashed = account_in(service.store, service.ann).password_hash
    inactive = account("bob@example.com", is_active=False, password_hash=hashed)
    stored(service.store, inactive)
    with pytest.raises(InvalidCredentials):
        service.app.authentication.login("bob@example.com", PASSWORD, CLIENT)
    with service.store.reading() as read:
        assert read.sessions.live_of(inactive.user.id, now=service.clock.now()) == []


# Upgrading old hashes


def _old_hash(password: str) -> str:
    hashed: str = bcrypt.using(rounds=4).hash(password)
    return hashed


@pytest.fixture
def veteran(service: Service) -> Account:
    """An account whose hash is of another time."""
    old = account("old@example.com", password_hash=_old_hash(PASSWORD))
    stored(service.store, old)
    return old


def test_a_login_with_an_old_hash_upgrades_it(service: Service, veteran: Account) -> None:
    service.app.authentication.login("old@example.com", PASSWORD, CLIENT)
    upgraded = account_in(service.store, veteran.user.id)
    assert upgraded.password_hash.startswith(TODAYS)
    assert upgraded.user == veteran.user, "an upgrade is nothing that the user did"
    service.app.authentication.login("old@example.com", PASSWORD, CLIENT)
    assert account_in(service.store, veteran.user.id) == upgraded


def test_a_refused_login_upgrades_nothing(service: Service, veteran: Account) -> None:
    with pytest.raises(InvalidCredentials):
        service.app.authentication.login("old@example.com", OTHER_PASSWORD, CLIENT)
    assert account_in(service.store, veteran.user.id) == veteran


class OvertakenStore:
    """A store on which somebody else is faster, once, just before the next transaction."""

    def __init__(self, store: SqlStore, overtake: Callable[[], object]) -> None:
        self._store = store
        self._waiting = [overtake]
        self.reading: Callable[[], AbstractContextManager[UnitOfWork]] = store.reading
        self.check, self.close = store.check, store.close
        self.on_message, self.on_leftovers = store.on_message, store.on_leftovers
        self.erase_deleted = store.erase_deleted

    @contextmanager
    def begin(self, account: uuid.UUID | None = None, *, turn_within: timedelta | None = None) -> Iterator[UnitOfWork]:
        if self._waiting:
            self._waiting.pop()()
        with self._store.begin(account, turn_within=turn_within) as work:
            yield work


def _replace_hash(service: Service, veteran: Account, new_hash: str) -> None:
    with service.store.begin() as work:
        assert work.users.replace_password(
            veteran.user.id, old_hash=veteran.password_hash, new_hash=new_hash, at=service.clock.now()
        )
        work.commit()


def _overtaken(service: Service, overtake: Callable[[], object]) -> AuthApp:
    service.app.keys.ensure()
    return build(service.app.settings, store=OvertakenStore(service.store, overtake), clock=service.clock)


def test_an_upgrade_does_not_undo_a_password_change_that_was_faster(service: Service, veteran: Account) -> None:
    changed = service.app.accounts._passwords.hash(OTHER_PASSWORD)
    app = _overtaken(service, lambda: _replace_hash(service, veteran, changed))
    with pytest.raises(InvalidCredentials):
        app.authentication.login("old@example.com", PASSWORD, CLIENT)
    assert account_in(service.store, veteran.user.id).password_hash == changed
    with service.store.reading() as read:
        assert read.sessions.live_of(veteran.user.id, now=service.clock.now()) == []
    assert service.kinds()[-1] is EventKind.LOGIN_FAILED


def test_a_login_whose_hash_was_upgraded_by_another_gets_in(service: Service, veteran: Account) -> None:
    upgraded = service.app.accounts._passwords.hash(PASSWORD)
    app = _overtaken(service, lambda: _replace_hash(service, veteran, upgraded))
    pair = app.authentication.login("old@example.com", PASSWORD, CLIENT)
    assert app.sessions.whoami(pair.access_token).user.id == veteran.user.id
    assert account_in(service.store, veteran.user.id).password_hash == upgraded


def test_a_login_that_a_password_change_overtakes_is_refused(service: Service) -> None:
    ann = account_in(service.store, service.ann)
    changed = service.app.accounts._passwords.hash(OTHER_PASSWORD)
    app = _overtaken(service, lambda: _replace_hash(service, ann, changed))
    with pytest.raises(InvalidCredentials):
        app.authentication.login(EMAIL, PASSWORD, CLIENT)
    assert service.live() == []


def test_a_password_change_that_another_overtakes_is_refused(service: Service) -> None:
    principal = service.principal(service.login())
    ann = account_in(service.store, service.ann)
    app = _overtaken(service, lambda: _replace_hash(service, ann, "of another change"))
    with pytest.raises(WrongPassword):
        app.accounts.change_password(principal, PASSWORD, OTHER_PASSWORD, CLIENT)
    assert account_in(service.store, service.ann).password_hash == "of another change"


def test_a_user_who_was_made_inactive_meanwhile_confirms_nothing(service: Service) -> None:
    """Their token was checked a moment ago."""
    inactive = account("bob@example.com", is_active=False, password_hash=service.app.accounts._passwords.hash(PASSWORD))
    stored(service.store, inactive)
    bob = Principal(user=inactive.user, session_id=uuid.uuid4())
    calls: list[Callable[[], object]] = [
        lambda: service.app.accounts.change_password(bob, PASSWORD, OTHER_PASSWORD, CLIENT),
        lambda: service.app.accounts.delete(bob, PASSWORD, CLIENT),
        lambda: service.app.email_verification.request_change(bob, NEW_EMAIL, PASSWORD, CLIENT),
    ]
    for call in calls:
        with pytest.raises(WrongPassword):
            call()
    assert account_in(service.store, inactive.user.id) == inactive


def test_a_use_case_that_the_database_undid_runs_again(service: Service) -> None:
    def undo() -> None:
        raise TransactionConflict

    app = _overtaken(service, undo)
    app.accounts.sign_up("bob@example.com", PASSWORD, None, CLIENT)
    assert service.kinds().count(EventKind.SIGNED_UP) == 2


def test_a_key_ring_that_another_overtakes_makes_no_second_key(store: SqlStore) -> None:
    settings, clock = make_settings(), FakeClock(START)
    faster = build_key_ring(settings, store=store, clock=clock)
    ring = build_key_ring(settings, store=OvertakenStore(store, faster.ensure), clock=clock)
    ring.ensure()
    stored_keys = ring.keys()
    assert [key.number for key in stored_keys] == [1]
    assert ring.signer()[0] == faster.signer()[0]


# Links that wait for their letter


def _attacked(service: Service) -> Principal:
    """Somebody who knows the password has asked to give the account another address; no letter has left yet."""
    service.mail()
    eve = service.principal(service.login("eve"))
    service.app.email_verification.request_change(eve, NEW_EMAIL, PASSWORD, CLIENT)
    service.clock.advance(seconds=1)
    return eve


def _addresses_that_can_be_confirmed(service: Service) -> list[str]:
    with service.store.reading() as read:
        return [token.address for token in read.one_time_tokens.of(service.ann) if token.ended_at is None]


def test_a_change_of_password_stops_a_change_of_address_whose_letter_has_not_left(service: Service) -> None:
    """The owner was told: "Change your password now: that stops the change." """
    _attacked(service)
    ann = service.principal(service.login())
    service.app.accounts.change_password(ann, PASSWORD, OTHER_PASSWORD, CLIENT)
    assert MessageKind.EMAIL_CHANGE not in service.mail()
    assert NEW_EMAIL not in _addresses_that_can_be_confirmed(service)


def test_a_reset_of_the_password_stops_a_change_of_address_whose_letter_has_not_left(service: Service) -> None:
    service.app.password_reset.request(EMAIL, CLIENT)
    link = service.token(MessageKind.PASSWORD_RESET)
    _attacked(service)
    service.app.password_reset.reset(link, OTHER_PASSWORD, CLIENT)
    assert MessageKind.EMAIL_CHANGE not in service.mail()
    assert NEW_EMAIL not in _addresses_that_can_be_confirmed(service)


@pytest.mark.parametrize("failure", [MailError("away"), MailRefused("recipient refused: 550")], ids=["fails", "dead"])
def test_a_change_of_password_stops_a_change_of_address_whose_letter_is_tried_again(
    service: Service, failure: MailError
) -> None:
    _attacked(service)
    service.mailer.failure = failure
    service.app.mail_worker.run_once()
    service.mailer.failure = None
    service.app.accounts.change_password(service.principal(service.login()), PASSWORD, OTHER_PASSWORD, CLIENT)
    service.clock.advance(hours=1)
    with service.store.begin() as work:
        work.outbox.retry(None, at=service.clock.now())
        work.commit()
    assert MessageKind.EMAIL_CHANGE not in service.mail()
    assert NEW_EMAIL not in _addresses_that_can_be_confirmed(service)


def test_after_a_change_of_password_another_change_of_address_can_be_asked_for(service: Service) -> None:
    ann = _attacked(service)
    service.app.accounts.change_password(ann, PASSWORD, OTHER_PASSWORD, CLIENT)
    service.clock.advance(seconds=1)
    service.app.email_verification.request_change(ann, "third@example.com", OTHER_PASSWORD, CLIENT)
    service.app.mail_worker.run_once()
    (letter,) = [letter for letter in service.mailer.letters if recipient_of(letter) == "third@example.com"]
    service.app.email_verification.verify(token_of(letter), CLIENT)
    assert account_in(service.store, service.ann).user.email == "third@example.com"


# Accounts that go away meanwhile


def _delete(service: Service) -> None:
    with service.store.begin() as work:
        assert work.users.remove(service.ann)
        work.commit()


def test_a_link_is_not_asked_for_by_an_account_that_went_away(service: Service) -> None:
    """Its token was checked a moment ago."""
    ann = service.principal(service.login())
    _delete(service)
    with pytest.raises(InvalidToken):
        service.app.email_verification.request(ann, CLIENT)
    assert messages_in(service.store) == []


def test_a_login_of_an_unverified_account_that_a_deletion_overtakes_is_refused(store: SqlStore) -> None:
    service = open_service(store)
    overtaken = OvertakenStore(store, lambda: _delete(service))
    app = build(make_settings(mail=MailSettings(require_verified_email=True)), store=overtaken, clock=service.clock)
    with pytest.raises((InvalidCredentials, EmailNotVerified)):
        app.authentication.login(EMAIL, PASSWORD, CLIENT)
    assert messages_in(store) == []


def test_a_deletion_leaves_no_message_that_names_the_address(service: Service) -> None:
    """Asked for and not yet looked up: there is no user to whom it belongs."""
    service.app.password_reset.request(EMAIL, CLIENT)
    service.app.password_reset.request("nobody@example.com", CLIENT)
    service.app.accounts.delete(service.principal(service.login()), PASSWORD, CLIENT)
    named = [message.canonical_email for message in messages_in(service.store) if message.canonical_email]
    assert named == ["nobody@example.com"]


def test_a_deletion_is_recorded_with_its_request_and_without_an_address(service: Service) -> None:
    service.app.accounts.delete(service.principal(service.login()), PASSWORD, CLIENT)
    service.app.housekeeper.run_once()
    (deleted,) = [event for event in events_in(service.store) if event.kind is EventKind.ACCOUNT_DELETED]
    assert (deleted.user_id, deleted.request_id, deleted.ip) == (service.ann, "a-request", "")


def test_an_account_can_be_deleted_whose_address_would_be_refused_today(service: Service) -> None:
    """It was accepted by an earlier release of what checks addresses."""
    address = "ann@printer.local"
    assert canonical_or_none(address) is None
    old = account(address, password_hash=account_in(service.store, service.ann).password_hash)
    login = session(old.user.id)
    stored(service.store, old, login, message(MessageKind.PASSWORD_RESET, canonical_email=address))
    service.app.accounts.delete(Principal(user=old.user, session_id=login.id), PASSWORD, CLIENT)
    with service.store.reading() as read:
        assert read.users.by_id(old.user.id) is None
    assert address not in [message.canonical_email for message in messages_in(service.store)]


def test_an_account_that_went_away_is_neither_exported_nor_changed_nor_deleted_again(service: Service) -> None:
    ann = service.principal(service.login())
    _delete(service)
    calls: list[Callable[[], object]] = [
        lambda: service.app.exporter.export(ann, CLIENT),
        lambda: service.app.accounts.rename(ann, "Anna", CLIENT),
        lambda: service.app.accounts.delete(ann, PASSWORD, CLIENT),
        lambda: service.app.email_verification.request_change(ann, NEW_EMAIL, PASSWORD, CLIENT),
    ]
    for call in calls:
        with pytest.raises(InvalidToken):
            call()
    assert messages_in(service.store) == []


# The export


def _exported(service: Service, ann: Principal) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b"".join(service.app.exporter.export(ann, CLIENT)))
    return found


def _kinds_of(exported: dict[str, Any]) -> list[str]:
    return [event["kind"] for event in exported["audit_events"]]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_an_export_is_whole_whatever_its_pages(service: Service, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    ann = service.principal(service.login())
    sessions = [session(service.ann, id=new_id(START + timedelta(milliseconds=number))) for number in range(count)]
    stored(service.store, *sessions)
    whole = _exported(service, ann)
    service.clock.advance(seconds=1)
    monkeypatch.setattr(export, "PAGE", 3)
    paged = _exported(service, ann)
    assert _kinds_of(paged) == [*_kinds_of(whole), "account_exported"]
    assert paged["audit_events"][:-1] == whole["audit_events"]
    assert [paged[name] for name in ("user", "sessions", "messages")] == [
        whole[name] for name in ("user", "sessions", "messages")
    ]
    found = [one["id"] for one in paged["sessions"]]
    assert found == sorted(found)
    assert {str(one.id) for one in sessions} < set(found)


def test_an_export_holds_no_connection_between_its_pages(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE", 1)
    pieces = service.app.exporter.export(service.principal(service.login()), CLIENT)
    for _ in pieces:
        assert_nothing_checked_out(service.store)


def test_an_export_that_nobody_takes_reads_nothing(service: Service) -> None:
    pieces = service.app.exporter.export(service.principal(service.login()), CLIENT)
    statements: list[str] = []
    listen(service.store.engine, "before_cursor_execute", lambda _c, _k, statement, *_: statements.append(statement))
    next(pieces)
    pieces.close()
    assert statements == []
    assert EventKind.ACCOUNT_EXPORTED in service.kinds()


def test_an_export_ends_in_the_middle_if_its_account_is_deleted_meanwhile(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is being erased: JSON that looks whole would say that there was no more."""
    monkeypatch.setattr(export, "PAGE", 1)
    ann = service.principal(service.login())
    pieces = service.app.exporter.export(ann, CLIENT)
    taken = [next(pieces) for _ in range(3)]
    service.app.accounts.delete(ann, PASSWORD, CLIENT)
    with pytest.raises(InvalidToken):
        taken.extend(pieces)
    with pytest.raises(json.JSONDecodeError):
        json.loads(b"".join(taken))


def test_others_write_at_any_moment_of_an_export_of_twenty_thousand_events(store: SqlStore) -> None:
    """SQLite has one writer at a time, whom a large export would keep from writing."""
    service = open_service(store)
    ann = service.principal(service.login())
    rows = [
        {
            "id": new_id(START),
            "at": START,
            "kind": "account_updated",
            "user_id": service.ann,
            "ip": "",
            "request_id": "",
        }
        for _ in range(20_000)
    ]
    for start in range(0, len(rows), 1000):  # each within the time that a unit of work has
        with store.engine.begin() as connection:
            connection.execute(insert(audit_events), rows[start : start + 1000])
    bob = account("bob@example.com")
    stored(store, bob)
    other = Principal(user=bob.user, session_id=bob.user.id)
    written: list[str] = []

    def write(_connection: Connection, _cursor: object, statement: str, *_more: object) -> None:
        is_read = statement.startswith("SELECT") and not statement.startswith("SELECT users.")  # held for the last row
        if threading.get_ident() == exporting and is_read:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(service.app.accounts.rename, other, "Bob", CLIENT).result()
            written.append(statement)

    exporting = threading.get_ident()
    listen(store.engine, "before_cursor_execute", write)
    try:
        found = _exported(service, ann)
    finally:
        remove(store.engine, "before_cursor_execute", write)
    assert len(found["audit_events"]) == 20_000 + 3
    assert len(written) > 20_000 / export.PAGE


# The limit of sessions


def test_the_next_login_ends_the_session_idle_longest(store: SqlStore) -> None:
    service = open_service(store, tokens=TokenSettings(session_limit=3))
    pairs = {}
    for device in ("first", "second", "third"):
        service.clock.advance(minutes=1)
        pairs[device] = service.login(device)
    service.clock.advance(minutes=1)
    service.refresh(pairs["first"])  # now the second is the one idle longest
    service.clock.advance(minutes=1)
    service.login("fourth")
    assert service.live() == ["first", "fourth", "third"]
    with pytest.raises(InvalidToken):
        service.principal(pairs["second"])
    service.clock.advance(minutes=1)
    service.login("fifth")
    assert service.live() == ["fifth", "first", "fourth"]


def test_a_limit_of_one_leaves_the_last_login(store: SqlStore) -> None:
    service = open_service(store, tokens=TokenSettings(session_limit=1))
    for device in ("first", "second", "third"):
        service.clock.advance(minutes=1)
        service.login(device)
    assert service.live() == ["third"]


def test_ended_sessions_make_room_for_others(store: SqlStore) -> None:
    service = open_service(store, tokens=TokenSettings(session_limit=2))
    first, _second = service.login("first"), service.login("second")
    service.app.sessions.logout(service.principal(first), CLIENT)
    service.clock.advance(minutes=1)
    service.login("third")
    assert service.live() == ["second", "third"]


def test_a_long_user_agent_is_cut(service: Service) -> None:
    pair = service.login("x" * 5000)
    assert service.session(pair).user_agent == "x" * 256


# What is written down


def _live_a_life(service: Service) -> tuple[list[TokenPair], list[str]]:
    """Everything that records an event: the tokens of the logins, and the other secrets."""
    links = [service.token(MessageKind.EMAIL_VERIFICATION)]
    service.app.email_verification.verify(links[0], CLIENT, password=PASSWORD)
    service.app.accounts.sign_up("anna@example.net", OTHER_PASSWORD, "Eve", CLIENT)
    links.append(service.token(MessageKind.EMAIL_VERIFICATION))
    service.app.email_verification.disown(links[-1], CLIENT)
    _expire(service)
    laptop, phone, tablet = (service.login(device) for device in ("laptop", "phone", "tablet"))
    ann = service.principal(laptop)
    service.app.accounts.rename(ann, "Anna", CLIENT)
    service.app.sessions.end(ann, service.session(tablet).id, CLIENT)
    refreshed = service.refresh(phone)
    service.clock.advance(minutes=1)
    for email in (EMAIL, "nobody@example.com"):
        with pytest.raises(InvalidCredentials):
            service.app.authentication.login(email, OTHER_PASSWORD, CLIENT)
    for _ in range(5):
        with pytest.raises(InvalidCredentials):
            service.app.authentication.login("guessed@example.com", OTHER_PASSWORD, CLIENT)
    with pytest.raises(InvalidRefreshToken):
        service.refresh(phone)
    with pytest.raises(WrongPassword):
        service.app.accounts.change_password(ann, OTHER_PASSWORD, OTHER_PASSWORD, CLIENT)
    service.app.accounts.change_password(ann, PASSWORD, OTHER_PASSWORD, CLIENT)
    service.login("another", OTHER_PASSWORD)
    service.app.sessions.end_all(ann, CLIENT, keep_current=True)
    service.app.sessions.logout(ann, CLIENT)
    watch = service.login("watch", OTHER_PASSWORD)
    service.app.tokens.revoke(watch.refresh_token, None, CLIENT)
    with pytest.raises(EmailTaken):
        service.app.accounts.sign_up(EMAIL, PASSWORD, "Eve", CLIENT)
    for email in (EMAIL, "nobody@example.com"):
        service.app.password_reset.request(email, CLIENT)
    links.append(service.token(MessageKind.PASSWORD_RESET))
    service.app.password_reset.reset(links[-1], PASSWORD, CLIENT)
    last = service.login("last")
    ann = service.principal(last)
    with pytest.raises(WrongPassword):
        service.app.email_verification.request_change(ann, NEW_EMAIL, OTHER_PASSWORD, CLIENT)
    service.clock.advance(seconds=1)
    service.app.email_verification.request_change(ann, NEW_EMAIL, PASSWORD, CLIENT)
    links.append(service.token(MessageKind.EMAIL_CHANGE))
    service.app.email_verification.verify(links[-1], CLIENT)
    list(service.app.exporter.export(ann, CLIENT))
    links += _move_back_and_away(service)
    links.append(_run_a_service(service.app))
    return [laptop, phone, tablet, refreshed, watch, last], links


def _move_back_and_away(service: Service) -> list[str]:
    """Undo the change of the address, set a new password, and change the address again; the tokens of the links."""
    links = [service.token(MessageKind.EMAIL_CHANGED)]
    service.app.email_change_undo.undo(links[-1], CLIENT)
    service.clock.advance(seconds=1)
    service.app.password_reset.request(EMAIL, CLIENT)
    links.append(service.token(MessageKind.PASSWORD_RESET))
    service.app.password_reset.reset(links[-1], PASSWORD, CLIENT)
    ann = service.principal(service.login("after the undo"))
    service.app.email_verification.request_change(ann, NEW_EMAIL, PASSWORD, CLIENT)
    links.append(service.token(MessageKind.EMAIL_CHANGE))
    service.app.email_verification.verify(links[-1], CLIENT)
    return links


def _expire(service: Service) -> None:
    """What housekeeping does with an account that was never verified, when its review is due."""
    unused = account("eve@example.net", created_at=service.clock.now() - timedelta(days=31))
    stored(service.store, unused)
    with service.store.begin() as work:
        work.unverified_accounts.postpone([unused.user.id], until=service.clock.now())
        work.commit()
    service.app.housekeeper.run_once()


def _run_a_service(app: AuthApp) -> str:
    """What an operator does with clients and keys, and a client that nobody knows: its secret, sent as its id."""
    registered, _ = app.clients.create("Orders", ())
    for is_active in (False, True):
        app.clients.set_active(registered.id, is_active=is_active)
    secret = app.clients.rotate_secret(registered.id, overlap=timedelta(0))
    with pytest.raises(InvalidClient):
        app.clients.authenticate(Credentials(client_id=secret, secret=secret), CLIENT)
    app.keys.retire(app.keys.rotate().kid)
    app.keys.reseal()
    return secret


def _leave(service: Service) -> None:
    """The last event of a life."""
    ann = service.principal(service.app.authentication.login(NEW_EMAIL, PASSWORD, CLIENT))
    service.app.accounts.delete(ann, PASSWORD, CLIENT)


def test_every_kind_of_event_is_recorded_and_none_holds_an_address_or_a_secret(service: Service) -> None:
    pairs, links = _live_a_life(service)
    _leave(service)
    another = make_settings(secret_key=SecretStr(SECRET[::-1]))
    build_secret_replacement(another, store=service.store, clock=service.clock).run()
    events = events_in(service.store)
    assert {event.kind for event in events} == set(EventKind)
    written = str(events).lower()
    secrets = [text for pair in pairs for text in (pair.access_token, pair.refresh_token)] + links
    for secret in (EMAIL, "nobody", "@", "example.com", "anna", PASSWORD, OTHER_PASSWORD, *secrets):
        assert secret.lower() not in written


def test_the_database_holds_nothing_that_could_be_presented(store: SqlStore) -> None:
    service = open_service(store)
    pairs, links = _live_a_life(service)
    written = _written(store)
    assert NEW_EMAIL in written, "it looks in the right place"
    secrets = [text for pair in pairs for text in (pair.access_token, pair.refresh_token)]
    signatures = [pair.access_token.rpartition(".")[2] for pair in pairs]
    for secret in (PASSWORD, OTHER_PASSWORD, *secrets, *signatures, *map(_values_of, links)):
        assert secret not in written


def test_the_database_holds_nothing_that_could_be_presented_while_messages_wait(store: SqlStore) -> None:
    """Before the first attempt, after attempts that failed, and when they were given up."""
    service = open_service(store, mail=MailSettings(mail_attempts=2))
    service.app.email_verification.request_change(service.principal(service.login()), NEW_EMAIL, PASSWORD, CLIENT)
    service.clock.advance(seconds=1)
    service.app.password_reset.request(EMAIL, CLIENT)
    snapshots = [_written(store)]
    service.mailer.failure = MailError("away")
    for _ in range(2):
        service.app.mail_worker.run_once()
        snapshots.append(_written(store))
        service.clock.advance(minutes=1)
    with store.begin() as work:
        assert work.outbox.retry(None, at=service.clock.now()) == 4
        work.commit()
    service.mailer.failure = None
    sent = service.mail()
    links = [token_of(sent[kind]) for kind in ("email_verification", "email_change", "password_reset")]
    for written in snapshots:
        assert "twm_" not in written
        assert not [link for link in links if _values_of(link) in written]
    service.app.password_reset.reset(links[-1], OTHER_PASSWORD, CLIENT)  # what was looked for is what works


def _written(store: SqlStore) -> str:
    with store.engine.connect() as connection:
        return str([connection.execute(select(table)).all() for table in metadata.sorted_tables])


def _values_of(link_token: str) -> str:
    """The part of a token that is more than its prefix."""
    return link_token.removeprefix("twm_")
