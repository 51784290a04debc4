"""The use cases over every store: what they leave behind, and what they commit before they refuse."""

from __future__ import annotations

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
from sqlalchemy import Connection, insert, select
from sqlalchemy.event import listen, remove

from core.accounts import service
from core.app import AuthApp, build, build_key_ring
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
from core.settings import MailSettings, TokenSettings
from core.sql_store import SqlStore
from core.storage.schema import metadata
from core.store import Store, UnitOfWork
from core.tokens.access_tokens import UserClaims
from core.users.addresses import canonical_or_none
from core.users.errors import EmailTaken
from core.users.model import Account
from tests.conftest import make_settings
from tests.storage.values import (
    account,
    account_in,
    audit_event,
    events_in,
    message,
    messages_in,
    session,
    session_in,
    stored,
)
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD
from tests.support.clock import START, FakeClock
from tests.support.mail import RecordingMailer, kind_of, token_of

CLIENT = Origin(ip="192.0.2.7", user_agent="laptop", request_id="a-request")
TODAYS = "$bcrypt-sha256$"
NEW_EMAIL = "anna@example.com"


@dataclass
class House:
    """A service on a store, with a user who has signed up."""

    store: Store
    clock: FakeClock
    app: AuthApp
    ann: uuid.UUID
    mailer: RecordingMailer

    def login(self, user_agent: str = "laptop", password: str = PASSWORD) -> TokenPair:
        return self.app.authentication.login(EMAIL, password, Origin(user_agent=user_agent))

    def refresh(self, pair: TokenPair) -> TokenPair:
        return self.app.sessions.refresh(pair.refresh_token, CLIENT)

    def principal(self, pair: TokenPair) -> Principal:
        return self.app.authentication.whoami(pair.access_token)

    def session(self, pair: TokenPair) -> Session:
        claims = self.app.authentication._access_tokens.verify(pair.access_token)
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


def _house(store: Store, **settings: Any) -> House:
    clock, mailer = FakeClock(START), RecordingMailer()
    app = build(make_settings(**settings), store=store, clock=clock, mailer=mailer)
    ann = app.accounts.sign_up(EMAIL, PASSWORD, "Ann", CLIENT)
    assert ann is not None
    clock.advance(seconds=1)
    return House(store, clock, app, ann.id, mailer)


@pytest.fixture
def house(store: Store) -> House:
    return _house(store)


# Signing up


def test_a_signup_stores_the_user_and_an_event(house: House) -> None:
    found = account_in(house.store, house.ann)
    assert (found.user.email, found.user.display_name, found.user.roles) == (EMAIL, "Ann", ())
    assert found.user.created_at == found.user.updated_at == START
    assert not found.user.email_verified
    assert found.password_hash.startswith(TODAYS)
    (event,) = events_in(house.store)
    assert (event.kind, event.user_id, event.ip, event.request_id) == (
        EventKind.SIGNED_UP,
        house.ann,
        "192.0.2.7",
        "a-request",
    )


@pytest.mark.parametrize("email", [EMAIL, "ANN@example.com", "Ann@EXAMPLE.com"])
def test_a_second_signup_leaves_the_first_alone(house: House, email: str) -> None:
    before = account_in(house.store, house.ann)
    with pytest.raises(EmailTaken):
        house.app.accounts.sign_up(email, OTHER_PASSWORD, "Eve", CLIENT)
    assert account_in(house.store, house.ann) == before
    assert house.kinds() == [EventKind.SIGNED_UP, EventKind.SIGNUP_REPEATED]
    repeated = events_in(house.store)[-1]
    assert (repeated.user_id, repeated.ip, repeated.request_id) == (None, "192.0.2.7", "a-request")
    told = [message for message in messages_in(house.store) if message.kind is MessageKind.SIGNUP_ATTEMPTED]
    assert [(message.user_id, message.canonical_email, message.address) for message in told] == [(None, EMAIL, None)]
    house.login()


def test_a_signup_stores_a_message_to_its_user_and_nothing_of_the_address(house: House) -> None:
    (message,) = messages_in(house.store)
    assert (message.kind, message.user_id) == (MessageKind.EMAIL_VERIFICATION, house.ann)
    assert (message.canonical_email, message.address, message.due_at) == (None, None, START)


def test_where_only_verified_addresses_log_in_no_signup_is_told_from_another(store: Store) -> None:
    clock = FakeClock(START)
    app = build(make_settings(mail=MailSettings(require_verified_email=True)), store=store, clock=clock)
    assert app.accounts.sign_up(EMAIL, PASSWORD, "Ann", CLIENT) is None
    clock.advance(seconds=1)
    assert app.accounts.sign_up(EMAIL, OTHER_PASSWORD, "Eve", CLIENT) is None
    assert [event.kind for event in events_in(store)] == [EventKind.SIGNED_UP, EventKind.SIGNUP_REPEATED]
    with pytest.raises(EmailNotVerified):
        app.authentication.login(EMAIL, PASSWORD, CLIENT)


# Rotation


def test_the_current_token_moves_the_session_on(house: House) -> None:
    first = house.login()
    tokens = {first.refresh_token}
    pair = first
    for generation in range(1, 5):
        house.clock.advance(minutes=1)
        pair = house.refresh(pair)
        tokens.add(pair.refresh_token)
        assert house.session(pair).generation == generation
        assert house.session(pair).last_used_at == house.clock.now()
    assert len(tokens) == 5


def test_the_predecessor_within_the_grace_gives_the_same_successor(house: House) -> None:
    first = house.login()
    second = house.refresh(first)
    house.clock.advance(seconds=9.999)
    assert house.refresh(first).refresh_token == second.refresh_token
    assert house.refresh(first).refresh_token == second.refresh_token
    assert house.session(second).generation == 1


def test_repeating_does_not_lengthen_the_grace(house: House) -> None:
    first = house.login()
    house.refresh(first)
    house.clock.advance(seconds=9)
    house.refresh(first)
    house.clock.advance(seconds=1)
    with pytest.raises(InvalidRefreshToken):
        house.refresh(first)


def test_a_predecessor_after_the_grace_is_reuse_and_ends_the_session_for_good(house: House) -> None:
    first = house.login()
    other = house.login("phone")
    second = house.refresh(first)
    house.clock.advance(seconds=10)
    with pytest.raises(InvalidRefreshToken):
        house.refresh(first)
    assert house.session(first).ended_at == house.clock.now()
    with pytest.raises(InvalidRefreshToken):
        house.refresh(second)
    with pytest.raises(InvalidToken):
        house.app.authentication.whoami(second.access_token)
    assert house.live() == ["phone"]
    house.refresh(other)


def test_a_reuse_is_recorded_once_with_its_session(house: House) -> None:
    first = house.login()
    ended = house.session(first).id
    house.refresh(first)
    house.clock.advance(minutes=1)
    for _ in range(3):
        with pytest.raises(InvalidRefreshToken):
            house.refresh(first)
    (event,) = [event for event in events_in(house.store) if event.kind is EventKind.REFRESH_TOKEN_REUSED]
    assert (event.user_id, event.session_id, event.at) == (house.ann, ended, house.clock.now())
    assert (event.ip, event.request_id) == ("192.0.2.7", "a-request")


def test_a_token_before_the_predecessor_is_reuse_even_within_the_grace(house: House) -> None:
    first = house.login()
    third = house.refresh(house.refresh(first))
    with pytest.raises(InvalidRefreshToken):
        house.refresh(first)
    with pytest.raises(InvalidRefreshToken):
        house.refresh(third)
    assert house.live() == []


def test_without_a_grace_every_second_use_is_reuse(store: Store) -> None:
    house = _house(store, tokens=TokenSettings(refresh_grace=timedelta(0)))
    first = house.login()
    house.refresh(first)
    with pytest.raises(InvalidRefreshToken):
        house.refresh(first)
    assert house.live() == []


def test_rotation_moves_the_idle_end_and_never_the_absolute_one(store: Store) -> None:
    idle, lifetime = timedelta(minutes=10), timedelta(minutes=25)
    house = _house(store, tokens=TokenSettings(session_idle=idle, session_lifetime=lifetime))
    pair = house.login()
    end = house.session(pair).expires_at
    for _ in range(3):
        house.clock.advance(minutes=8)
        pair = house.refresh(pair)
        assert house.session(pair).expires_at == end
        assert house.session(pair).idle_expires_at == house.clock.now() + idle
        assert pair.refresh_expires_in == min(end - house.clock.now(), idle).total_seconds()
    house.clock.at = end - timedelta(microseconds=1)
    house.principal(pair)
    house.clock.at = end
    with pytest.raises(InvalidRefreshToken):
        house.refresh(pair)


def test_an_idle_session_cannot_be_refreshed_and_that_is_no_reuse(store: Store) -> None:
    house = _house(store, tokens=TokenSettings(session_idle=timedelta(minutes=10)))
    pair = house.login()
    house.clock.advance(minutes=10)
    with pytest.raises(InvalidRefreshToken):
        house.refresh(pair)
    assert EventKind.REFRESH_TOKEN_REUSED not in house.kinds()


def test_a_user_who_was_made_inactive_cannot_refresh(house: House) -> None:
    inactive = account("bob@example.com", is_active=False)
    theirs = session(inactive.user.id, created_at=START)
    stored(house.store, inactive, theirs)
    pair = house.app.sessions.pair(theirs, inactive.user, house.clock.now())
    with pytest.raises(InvalidRefreshToken):
        house.refresh(pair)
    assert session_in(house.store, theirs.id) == theirs


# Ending sessions


def test_a_logout_ends_this_session_alone(house: House) -> None:
    laptop, _phone = house.login("laptop"), house.login("phone")
    principal = house.principal(laptop)
    house.app.sessions.logout(principal, CLIENT)
    house.app.sessions.logout(principal, CLIENT)
    assert house.live() == ["phone"]
    assert house.kinds().count(EventKind.LOGGED_OUT) == 1
    with pytest.raises(InvalidToken):
        house.principal(laptop)
    with pytest.raises(InvalidRefreshToken):
        house.refresh(laptop)


def test_a_user_ends_another_of_the_own_sessions_once(house: House) -> None:
    laptop, phone = house.login("laptop"), house.login("phone")
    principal, other = house.principal(laptop), house.session(phone).id
    house.app.sessions.end(principal, other, CLIENT)
    with pytest.raises(NotFound):
        house.app.sessions.end(principal, other, CLIENT)
    assert house.live() == ["laptop"]
    assert house.kinds().count(EventKind.SESSION_ENDED) == 1


def test_nobody_ends_the_session_of_another_user(house: House) -> None:
    mine = house.login()
    house.app.accounts.sign_up("bob@example.com", PASSWORD, None, CLIENT)
    bob = house.principal(house.app.authentication.login("bob@example.com", PASSWORD, CLIENT))
    for session_id in (house.session(mine).id, uuid.uuid4()):
        with pytest.raises(NotFound):
            house.app.sessions.end(bob, session_id, CLIENT)
    assert house.live() == ["laptop"]
    assert EventKind.SESSION_ENDED not in house.kinds()


@pytest.mark.parametrize(("keep_current", "left"), [(True, ["laptop"]), (False, [])])
def test_a_user_ends_all_sessions_or_all_others(house: House, left: list[str], *, keep_current: bool) -> None:
    laptop, *_ = [house.login(device) for device in ("laptop", "phone", "tablet")]
    house.app.sessions.end_all(house.principal(laptop), CLIENT, keep_current=keep_current)
    assert house.live() == left


# Passwords


def test_a_password_change_ends_the_other_sessions_only(house: House) -> None:
    laptop, phone = house.login("laptop"), house.login("phone")
    house.app.accounts.change_password(house.principal(laptop), PASSWORD, OTHER_PASSWORD, CLIENT)
    assert house.live() == ["laptop"]
    house.refresh(laptop)
    with pytest.raises(InvalidRefreshToken):
        house.refresh(phone)
    with pytest.raises(InvalidCredentials):
        house.login()
    house.login(password=OTHER_PASSWORD)


def test_a_refused_password_change_is_recorded_and_changes_nothing(house: House) -> None:
    laptop, _phone = house.login("laptop"), house.login("phone")
    before = account_in(house.store, house.ann)
    house.clock.advance(seconds=1)
    with pytest.raises(WrongPassword):
        house.app.accounts.change_password(house.principal(laptop), OTHER_PASSWORD, OTHER_PASSWORD, CLIENT)
    assert account_in(house.store, house.ann) == before
    assert house.live() == ["laptop", "phone"]
    assert house.kinds()[-1] is EventKind.PASSWORD_CHANGE_FAILED


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com", "not an address"])
def test_a_refused_login_is_recorded_before_it_is_refused(house: House, email: str) -> None:
    with pytest.raises(InvalidCredentials):
        house.app.authentication.login(email, OTHER_PASSWORD, CLIENT)
    event = events_in(house.store)[-1]
    assert event.kind is EventKind.LOGIN_FAILED
    assert event.user_id == (house.ann if email == EMAIL else None)
    assert house.live() == []


def test_an_inactive_user_cannot_log_in(house: House) -> None:
    hashed = account_in(house.store, house.ann).password_hash
    inactive = account("bob@example.com", is_active=False, password_hash=hashed)
    stored(house.store, inactive)
    with pytest.raises(InvalidCredentials):
        house.app.authentication.login("bob@example.com", PASSWORD, CLIENT)
    with house.store.reading() as read:
        assert read.sessions.live_of(inactive.user.id, now=house.clock.now()) == []


# Upgrading old hashes


def _old_hash(password: str) -> str:
    hashed: str = bcrypt.using(rounds=4).hash(password)
    return hashed


@pytest.fixture
def veteran(house: House) -> Account:
    """An account whose hash is of another time."""
    old = account("old@example.com", password_hash=_old_hash(PASSWORD))
    stored(house.store, old)
    return old


def test_a_login_with_an_old_hash_upgrades_it(house: House, veteran: Account) -> None:
    house.app.authentication.login("old@example.com", PASSWORD, CLIENT)
    upgraded = account_in(house.store, veteran.user.id)
    assert upgraded.password_hash.startswith(TODAYS)
    assert upgraded.user == veteran.user, "an upgrade is nothing that the user did"
    house.app.authentication.login("old@example.com", PASSWORD, CLIENT)
    assert account_in(house.store, veteran.user.id) == upgraded


def test_a_refused_login_upgrades_nothing(house: House, veteran: Account) -> None:
    with pytest.raises(InvalidCredentials):
        house.app.authentication.login("old@example.com", OTHER_PASSWORD, CLIENT)
    assert account_in(house.store, veteran.user.id) == veteran


class OvertakenStore:
    """A store on which somebody else is faster, once, just before the next transaction."""

    def __init__(self, store: Store, overtake: Callable[[], object]) -> None:
        self._store = store
        self._waiting = [overtake]
        self.reading: Callable[[], AbstractContextManager[UnitOfWork]] = store.reading
        self.check, self.close = store.check, store.close

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        if self._waiting:
            self._waiting.pop()()
        with self._store.begin() as work:
            yield work


def _replace_hash(house: House, veteran: Account, new_hash: str) -> None:
    with house.store.begin() as work:
        assert work.users.replace_password(
            veteran.user.id, old_hash=veteran.password_hash, new_hash=new_hash, at=house.clock.now()
        )
        work.commit()


def _overtaken(house: House, overtake: Callable[[], object]) -> AuthApp:
    house.app.keys.ensure()
    return build(house.app.settings, store=OvertakenStore(house.store, overtake), clock=house.clock)


def test_an_upgrade_does_not_undo_a_password_change_that_was_faster(house: House, veteran: Account) -> None:
    changed = house.app.accounts._passwords.hash(OTHER_PASSWORD)
    app = _overtaken(house, lambda: _replace_hash(house, veteran, changed))
    with pytest.raises(InvalidCredentials):
        app.authentication.login("old@example.com", PASSWORD, CLIENT)
    assert account_in(house.store, veteran.user.id).password_hash == changed
    with house.store.reading() as read:
        assert read.sessions.live_of(veteran.user.id, now=house.clock.now()) == []
    assert house.kinds()[-1] is EventKind.LOGIN_FAILED


def test_a_login_whose_hash_was_upgraded_by_another_gets_in(house: House, veteran: Account) -> None:
    upgraded = house.app.accounts._passwords.hash(PASSWORD)
    app = _overtaken(house, lambda: _replace_hash(house, veteran, upgraded))
    pair = app.authentication.login("old@example.com", PASSWORD, CLIENT)
    assert app.authentication.whoami(pair.access_token).user.id == veteran.user.id
    assert account_in(house.store, veteran.user.id).password_hash == upgraded


def test_a_login_that_a_password_change_overtakes_is_refused(house: House) -> None:
    ann = account_in(house.store, house.ann)
    changed = house.app.accounts._passwords.hash(OTHER_PASSWORD)
    app = _overtaken(house, lambda: _replace_hash(house, ann, changed))
    with pytest.raises(InvalidCredentials):
        app.authentication.login(EMAIL, PASSWORD, CLIENT)
    assert house.live() == []


def test_a_password_change_that_another_overtakes_is_refused(house: House) -> None:
    principal = house.principal(house.login())
    ann = account_in(house.store, house.ann)
    app = _overtaken(house, lambda: _replace_hash(house, ann, "of another change"))
    with pytest.raises(WrongPassword):
        app.accounts.change_password(principal, PASSWORD, OTHER_PASSWORD, CLIENT)
    assert account_in(house.store, house.ann).password_hash == "of another change"


def test_a_user_who_was_made_inactive_meanwhile_confirms_nothing(house: House) -> None:
    """Their token was checked a moment ago."""
    inactive = account("bob@example.com", is_active=False, password_hash=house.app.accounts._passwords.hash(PASSWORD))
    stored(house.store, inactive)
    bob = Principal(user=inactive.user, session_id=uuid.uuid4())
    calls: list[Callable[[], object]] = [
        lambda: house.app.accounts.change_password(bob, PASSWORD, OTHER_PASSWORD, CLIENT),
        lambda: house.app.accounts.delete(bob, PASSWORD, CLIENT),
        lambda: house.app.email_verification.request_change(bob, NEW_EMAIL, PASSWORD, CLIENT),
    ]
    for call in calls:
        with pytest.raises(WrongPassword):
            call()
    assert account_in(house.store, inactive.user.id) == inactive


def test_a_use_case_that_the_database_undid_runs_again(house: House) -> None:
    def undo() -> None:
        raise TransactionConflict

    app = _overtaken(house, undo)
    app.accounts.sign_up("bob@example.com", PASSWORD, None, CLIENT)
    assert house.kinds().count(EventKind.SIGNED_UP) == 2


def test_a_key_ring_that_another_overtakes_makes_no_second_key(store: Store) -> None:
    settings, clock = make_settings(), FakeClock(START)
    faster = build_key_ring(settings, store=store, clock=clock)
    ring = build_key_ring(settings, store=OvertakenStore(store, faster.ensure), clock=clock)
    ring.ensure()
    stored_keys = ring.keys()
    assert [key.number for key in stored_keys] == [1]
    assert ring.signer()[0] == faster.signer()[0]


# Links that wait for their letter


def _attacked(house: House) -> Principal:
    """Somebody who knows the password has asked to give the account another address; no letter has left yet."""
    house.mail()
    eve = house.principal(house.login("eve"))
    house.app.email_verification.request_change(eve, NEW_EMAIL, PASSWORD, CLIENT)
    house.clock.advance(seconds=1)
    return eve


def _addresses_that_can_be_confirmed(house: House) -> list[str]:
    with house.store.reading() as read:
        return [token.address for token in read.one_time_tokens.of(house.ann) if token.ended_at is None]


def test_a_change_of_password_stops_a_change_of_address_whose_letter_has_not_left(house: House) -> None:
    """The owner was told: "Change your password now: that stops the change." """
    _attacked(house)
    ann = house.principal(house.login())
    house.app.accounts.change_password(ann, PASSWORD, OTHER_PASSWORD, CLIENT)
    assert MessageKind.EMAIL_CHANGE not in house.mail()
    assert NEW_EMAIL not in _addresses_that_can_be_confirmed(house)


def test_a_reset_of_the_password_stops_a_change_of_address_whose_letter_has_not_left(house: House) -> None:
    house.app.password_reset.request(EMAIL, CLIENT)
    link = house.token(MessageKind.PASSWORD_RESET)
    _attacked(house)
    house.app.password_reset.reset(link, OTHER_PASSWORD, CLIENT)
    assert MessageKind.EMAIL_CHANGE not in house.mail()
    assert NEW_EMAIL not in _addresses_that_can_be_confirmed(house)


@pytest.mark.parametrize("failure", [MailError("away"), MailRefused("recipient refused: 550")], ids=["fails", "dead"])
def test_a_change_of_password_stops_a_change_of_address_whose_letter_is_tried_again(
    house: House, failure: MailError
) -> None:
    _attacked(house)
    house.mailer.failure = failure
    house.app.mail_worker.run_once()
    house.mailer.failure = None
    house.app.accounts.change_password(house.principal(house.login()), PASSWORD, OTHER_PASSWORD, CLIENT)
    house.clock.advance(hours=1)
    with house.store.begin() as work:
        work.outbox.retry(None, at=house.clock.now())
        work.commit()
    assert MessageKind.EMAIL_CHANGE not in house.mail()
    assert NEW_EMAIL not in _addresses_that_can_be_confirmed(house)


def test_after_a_change_of_password_another_change_of_address_can_be_asked_for(house: House) -> None:
    ann = _attacked(house)
    house.app.accounts.change_password(ann, PASSWORD, OTHER_PASSWORD, CLIENT)
    house.clock.advance(seconds=1)
    house.app.email_verification.request_change(ann, "third@example.com", OTHER_PASSWORD, CLIENT)
    house.app.mail_worker.run_once()
    (letter,) = [letter for letter in house.mailer.letters if recipient_of(letter) == "third@example.com"]
    house.app.email_verification.verify(token_of(letter), CLIENT)
    assert account_in(house.store, house.ann).user.email == "third@example.com"


# Accounts that go away meanwhile


def _delete(house: House) -> None:
    with house.store.begin() as work:
        assert work.users.remove(house.ann)
        work.commit()


def test_a_link_is_not_asked_for_by_an_account_that_went_away(house: House) -> None:
    """Its token was checked a moment ago."""
    ann = house.principal(house.login())
    _delete(house)
    with pytest.raises(InvalidToken):
        house.app.email_verification.request(ann, CLIENT)
    assert messages_in(house.store) == []


def test_a_login_of_an_unverified_account_that_a_deletion_overtakes_is_refused(store: Store) -> None:
    house = _house(store)
    overtaken = OvertakenStore(store, lambda: _delete(house))
    app = build(make_settings(mail=MailSettings(require_verified_email=True)), store=overtaken, clock=house.clock)
    with pytest.raises((InvalidCredentials, EmailNotVerified)):
        app.authentication.login(EMAIL, PASSWORD, CLIENT)
    assert messages_in(store) == []


def test_a_deletion_leaves_no_message_that_names_the_address(house: House) -> None:
    """Asked for and not yet looked up: there is no user to whom it belongs."""
    house.app.password_reset.request(EMAIL, CLIENT)
    house.app.password_reset.request("nobody@example.com", CLIENT)
    house.app.accounts.delete(house.principal(house.login()), PASSWORD, CLIENT)
    assert [message.canonical_email for message in messages_in(house.store)] == ["nobody@example.com"]


def test_a_deletion_is_recorded_with_its_request_and_without_an_address(house: House) -> None:
    house.app.accounts.delete(house.principal(house.login()), PASSWORD, CLIENT)
    (deleted,) = [event for event in events_in(house.store) if event.kind is EventKind.ACCOUNT_DELETED]
    assert (deleted.user_id, deleted.request_id, deleted.ip) == (house.ann, "a-request", "")


def test_an_account_can_be_deleted_whose_address_would_be_refused_today(house: House) -> None:
    """It was accepted by an earlier release of what checks addresses."""
    address = "ann@printer.local"
    assert canonical_or_none(address) is None
    old = account(address, password_hash=account_in(house.store, house.ann).password_hash)
    login = session(old.user.id)
    stored(house.store, old, login, message(MessageKind.PASSWORD_RESET, canonical_email=address))
    house.app.accounts.delete(Principal(user=old.user, session_id=login.id), PASSWORD, CLIENT)
    with house.store.reading() as read:
        assert read.users.by_id(old.user.id) is None
    assert address not in [message.canonical_email for message in messages_in(house.store)]


def test_an_account_that_went_away_is_neither_exported_nor_changed_nor_deleted_again(house: House) -> None:
    ann = house.principal(house.login())
    _delete(house)
    calls: list[Callable[[], object]] = [
        lambda: house.app.accounts.export(ann, CLIENT),
        lambda: house.app.accounts.rename(ann, "Anna", CLIENT),
        lambda: house.app.accounts.delete(ann, PASSWORD, CLIENT),
        lambda: house.app.email_verification.request_change(ann, NEW_EMAIL, PASSWORD, CLIENT),
    ]
    for call in calls:
        with pytest.raises(InvalidToken):
            call()
    assert messages_in(house.store) == []


# The export


def _busy(house: House, count: int) -> list[uuid.UUID]:
    """Give the user so many events, newer than those there are; their ids."""
    house.clock.advance(seconds=count)
    ids = [new_id(START + timedelta(seconds=2, milliseconds=number)) for number in range(count)]
    with house.store.begin() as work:
        for event_id in ids:
            work.audit.add(audit_event(EventKind.ACCOUNT_UPDATED, id=event_id, user_id=house.ann))
        work.commit()
    return ids


def test_an_export_shows_the_newest_events_and_says_that_there_are_older_ones(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MOST_EVENTS", 7)
    ann = house.principal(house.login())
    found = house.app.accounts.export(ann, CLIENT)
    kinds = [EventKind.SIGNED_UP, EventKind.LOGGED_IN, EventKind.ACCOUNT_EXPORTED]
    assert ([event.kind for event in found.events], found.has_older_events) == (kinds, False)
    ids = _busy(house, 20)
    found = house.app.accounts.export(ann, CLIENT)
    assert [event.id for event in found.events[:-1]] == ids[-7:]
    assert (found.events[-1].kind, found.has_older_events) == (EventKind.ACCOUNT_EXPORTED, True)


def test_an_account_that_is_deleted_during_its_export_is_not_exported(house: House) -> None:
    ann = house.principal(house.login())
    reading = house.store.reading

    @contextmanager
    def deleting() -> Iterator[UnitOfWork]:
        with reading() as read:
            yield read
        house.store.reading = reading  # type: ignore[method-assign]
        _delete(house)

    house.store.reading = deleting  # type: ignore[method-assign]
    with pytest.raises(InvalidToken):
        house.app.accounts.export(ann, CLIENT)
    assert EventKind.ACCOUNT_EXPORTED not in house.kinds()


def test_others_write_at_any_moment_of_an_export_of_twenty_thousand_events(sql_store: SqlStore) -> None:
    """SQLite has one writer at a time, whom a large export would keep from writing."""
    house = _house(sql_store)
    ann = house.principal(house.login())
    rows = [
        {"id": new_id(START), "at": START, "kind": "account_updated", "user_id": house.ann, "ip": "", "request_id": ""}
        for _ in range(20_000)
    ]
    with sql_store.engine.begin() as connection:
        connection.execute(insert(audit_events), rows)
    bob = account("bob@example.com")
    stored(sql_store, bob)
    other = Principal(user=bob.user, session_id=bob.user.id)
    written: list[str] = []

    def write(_connection: Connection, _cursor: object, statement: str, *_more: object) -> None:
        is_read = statement.startswith("SELECT") and not statement.startswith("SELECT users.")  # held for the last row
        if threading.get_ident() == exporting and is_read:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(house.app.accounts.rename, other, "Bob", CLIENT).result()
            written.append(statement)

    exporting = threading.get_ident()
    listen(sql_store.engine, "before_cursor_execute", write)
    try:
        found = house.app.accounts.export(ann, CLIENT)
    finally:
        remove(sql_store.engine, "before_cursor_execute", write)
    assert len(found.events) == service.MOST_EVENTS + 1
    assert len(written) == 4


# The limit of sessions


def test_the_next_login_ends_the_session_idle_longest(store: Store) -> None:
    house = _house(store, tokens=TokenSettings(session_limit=3))
    pairs = {}
    for device in ("first", "second", "third"):
        house.clock.advance(minutes=1)
        pairs[device] = house.login(device)
    house.clock.advance(minutes=1)
    house.refresh(pairs["first"])  # now the second is the one idle longest
    house.clock.advance(minutes=1)
    house.login("fourth")
    assert house.live() == ["first", "fourth", "third"]
    with pytest.raises(InvalidToken):
        house.principal(pairs["second"])
    house.clock.advance(minutes=1)
    house.login("fifth")
    assert house.live() == ["fifth", "first", "fourth"]


def test_a_limit_of_one_leaves_the_last_login(store: Store) -> None:
    house = _house(store, tokens=TokenSettings(session_limit=1))
    for device in ("first", "second", "third"):
        house.clock.advance(minutes=1)
        house.login(device)
    assert house.live() == ["third"]


def test_ended_sessions_make_room_for_others(store: Store) -> None:
    house = _house(store, tokens=TokenSettings(session_limit=2))
    first, _second = house.login("first"), house.login("second")
    house.app.sessions.logout(house.principal(first), CLIENT)
    house.clock.advance(minutes=1)
    house.login("third")
    assert house.live() == ["second", "third"]


def test_a_long_user_agent_is_cut(house: House) -> None:
    pair = house.login("x" * 5000)
    assert house.session(pair).user_agent == "x" * 256


# What is written down


def _live_a_life(house: House) -> tuple[list[TokenPair], list[str]]:
    """Everything that records an event: the tokens of the logins, and the other secrets."""
    links = [house.token(MessageKind.EMAIL_VERIFICATION)]
    house.app.email_verification.verify(links[0], CLIENT)
    laptop, phone, tablet = (house.login(device) for device in ("laptop", "phone", "tablet"))
    ann = house.principal(laptop)
    house.app.accounts.rename(ann, "Anna", CLIENT)
    house.app.sessions.end(ann, house.session(tablet).id, CLIENT)
    refreshed = house.refresh(phone)
    house.clock.advance(minutes=1)
    for email in (EMAIL, "nobody@example.com"):
        with pytest.raises(InvalidCredentials):
            house.app.authentication.login(email, OTHER_PASSWORD, CLIENT)
    for _ in range(5):
        with pytest.raises(InvalidCredentials):
            house.app.authentication.login("guessed@example.com", OTHER_PASSWORD, CLIENT)
    with pytest.raises(InvalidRefreshToken):
        house.refresh(phone)
    with pytest.raises(WrongPassword):
        house.app.accounts.change_password(ann, OTHER_PASSWORD, OTHER_PASSWORD, CLIENT)
    house.app.accounts.change_password(ann, PASSWORD, OTHER_PASSWORD, CLIENT)
    house.app.sessions.end_all(ann, CLIENT, keep_current=True)
    house.app.sessions.logout(ann, CLIENT)
    watch = house.login("watch", OTHER_PASSWORD)
    house.app.tokens.revoke(watch.refresh_token, None, CLIENT)
    with pytest.raises(EmailTaken):
        house.app.accounts.sign_up(EMAIL, PASSWORD, "Eve", CLIENT)
    for email in (EMAIL, "nobody@example.com"):
        house.app.password_reset.request(email, CLIENT)
    links.append(house.token(MessageKind.PASSWORD_RESET))
    house.app.password_reset.reset(links[-1], PASSWORD, CLIENT)
    last = house.login("last")
    ann = house.principal(last)
    with pytest.raises(WrongPassword):
        house.app.email_verification.request_change(ann, NEW_EMAIL, OTHER_PASSWORD, CLIENT)
    house.clock.advance(seconds=1)
    house.app.email_verification.request_change(ann, NEW_EMAIL, PASSWORD, CLIENT)
    links.append(house.token(MessageKind.EMAIL_CHANGE))
    house.app.email_verification.verify(links[-1], CLIENT)
    house.app.accounts.export(ann, CLIENT)
    links.append(_run_a_service(house.app))
    return [laptop, phone, tablet, refreshed, watch, last], links


def _run_a_service(app: AuthApp) -> str:
    """What an operator does with clients and keys, and a client that nobody knows: its secret, sent as its id."""
    registered, _ = app.clients.create("Orders", ())
    for is_active in (False, True):
        app.clients.set_active(registered.id, is_active=is_active)
    secret = app.clients.rotate_secret(registered.id, overlap=timedelta(0))
    with pytest.raises(InvalidClient):
        app.clients.authenticate(Credentials(client_id=secret, secret=secret), CLIENT)
    app.keys.rotate()
    app.keys.reseal()
    return secret


def _leave(house: House) -> None:
    """The last event of a life."""
    ann = house.principal(house.app.authentication.login(NEW_EMAIL, PASSWORD, CLIENT))
    house.app.accounts.delete(ann, PASSWORD, CLIENT)


def test_every_kind_of_event_is_recorded_and_none_holds_an_address_or_a_secret(house: House) -> None:
    pairs, links = _live_a_life(house)
    _leave(house)
    events = events_in(house.store)
    assert {event.kind for event in events} == set(EventKind)
    written = str(events).lower()
    secrets = [text for pair in pairs for text in (pair.access_token, pair.refresh_token)] + links
    for secret in (EMAIL, "nobody", "@", "example.com", "anna", PASSWORD, OTHER_PASSWORD, *secrets):
        assert secret.lower() not in written


def test_the_database_holds_nothing_that_could_be_presented(sql_store: SqlStore) -> None:
    house = _house(sql_store)
    pairs, links = _live_a_life(house)
    written = _written(sql_store)
    assert NEW_EMAIL in written, "it looks in the right place"
    secrets = [text for pair in pairs for text in (pair.access_token, pair.refresh_token)]
    signatures = [pair.access_token.rpartition(".")[2] for pair in pairs]
    for secret in (PASSWORD, OTHER_PASSWORD, *secrets, *signatures, *map(_values_of, links)):
        assert secret not in written


def test_the_database_holds_nothing_that_could_be_presented_while_messages_wait(sql_store: SqlStore) -> None:
    """Before the first attempt, after attempts that failed, and when they were given up."""
    house = _house(sql_store, mail=MailSettings(mail_attempts=2))
    house.app.email_verification.request_change(house.principal(house.login()), NEW_EMAIL, PASSWORD, CLIENT)
    house.clock.advance(seconds=1)
    house.app.password_reset.request(EMAIL, CLIENT)
    snapshots = [_written(sql_store)]
    house.mailer.failure = MailError("away")
    for _ in range(2):
        house.app.mail_worker.run_once()
        snapshots.append(_written(sql_store))
        house.clock.advance(minutes=1)
    with sql_store.begin() as work:
        assert work.outbox.retry(None, at=house.clock.now()) == 4
        work.commit()
    house.mailer.failure = None
    sent = house.mail()
    links = [token_of(sent[kind]) for kind in ("email_verification", "email_change", "password_reset")]
    for written in snapshots:
        assert "twm_" not in written
        assert not [link for link in links if _values_of(link) in written]
    house.app.password_reset.reset(links[-1], OTHER_PASSWORD, CLIENT)  # what was looked for is what works


def _written(store: SqlStore) -> str:
    with store.engine.connect() as connection:
        return str([connection.execute(select(table)).all() for table in metadata.sorted_tables])


def _values_of(link_token: str) -> str:
    """The part of a token that is more than its prefix."""
    return link_token.removeprefix("twm_")
