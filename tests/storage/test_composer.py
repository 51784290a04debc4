"""What a message becomes when its time has come: a letter to the right person with a token that works, or nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from core.audit.model import EventKind
from core.clock import CLOCK_SKEW
from core.derived_keys import KeyPurpose, derive_keys
from core.mail.composer import Composer
from core.mail.model import Message, MessageKind, Purpose
from core.mail.model import message as new_message
from core.mail.one_time_tokens import OneTimeTokenMaker, digest_of
from core.mail.recipient_limit import LIMIT_WINDOW, RecipientLimit
from core.mail.rendering import Letter
from core.origin import Origin
from core.settings.groups import MailSettings, ThrottleSettings
from core.sql_store import SqlStore
from core.throttling.counters import CounterStore
from core.throttling.model import rules
from core.throttling.sql import throttle_counters
from core.throttling.throttle import Throttle
from core.users.model import Account
from tests.support.clock import FakeClock
from tests.support.settings import SECRET
from tests.support.values import NOW, TICK, account, events_in, message_in, messages_in, stored, tokens_of

CLIENT = Origin(ip="192.0.2.7", request_id="a-request", languages="de")
OTHER_SECRET = "another secret of the same length"
REQUESTED = {
    MessageKind.PASSWORD_RESET: Purpose.PASSWORD_RESET,
    MessageKind.EMAIL_VERIFICATION: Purpose.EMAIL_VERIFICATION,
    MessageKind.EMAIL_CHANGE: Purpose.EMAIL_CHANGE,
}
WITH_TOKEN = {**REQUESTED, MessageKind.EMAIL_CHANGED: Purpose.EMAIL_CHANGE_UNDO}
LIMITED = (*REQUESTED, MessageKind.SIGNUP_ATTEMPTED)
NOTICES = tuple(kind for kind in MessageKind if kind not in LIMITED)
COUNTED = tuple(kind for kind in MessageKind if kind is not MessageKind.EMAIL_CHANGED)


@dataclass
class Setup:
    """Where messages are asked for and prepared, one second after another."""

    store: SqlStore
    clock: FakeClock
    settings: MailSettings = field(default_factory=MailSettings)
    ann: Account = field(default_factory=account)
    origin: Origin = CLIENT

    def ask(self, kind: MessageKind, **about: Any) -> Message:
        """Store a message to Ann, or about whom it is said to be."""
        self.clock.advance(seconds=1)
        about = about or {"user_id": self.ann.user.id}
        asked = new_message(kind, at=self.clock.now(), origin=self.origin, **about)
        stored(self.store, asked)
        return asked

    def prepare(self, asked: Message, secret: str = SECRET) -> Letter | None:
        """Prepare a message as it is stored now."""
        self.clock.advance(seconds=1)
        keys = derive_keys([SecretStr(secret)], KeyPurpose.LINKS)
        return self.composer(OneTimeTokenMaker(keys)).prepare(message_in(self.store, asked.id))

    def composer(self, tokens: OneTimeTokenMaker) -> Composer:
        return Composer(
            store=self.store,
            clock=self.clock,
            tokens=tokens,
            recipient_limit=RecipientLimit(key=bytes(32), settings=self.settings),
            throttle=self.throttle,
            settings=self.settings,
        )

    @property
    def throttle(self) -> Throttle:
        counters = CounterStore(key=bytes(32), rules=rules(ThrottleSettings()))
        return Throttle(store=self.store, clock=self.clock, counters=counters)

    def move_to(self, ip: str) -> None:
        """Let messages be requested from another address."""
        self.origin = replace(CLIENT, ip=ip)

    def trust(self, ip: str) -> None:
        """Let Ann have logged in from an address."""
        with self.store.begin() as work:
            self.throttle.trust_origin(work, self.ann.user.email, replace(CLIENT, ip=ip))
            work.commit()

    def requested_from(self, ip: str, kind: MessageKind, times: int) -> int:
        """Count the letters that so many requests from an address send, each of which names Ann's address."""
        self.move_to(ip)
        return sum(sent([self.send(kind, canonical_email=self.ann.user.email) for _ in range(times)]))

    def prove(self) -> None:
        """Let Ann's address be verified."""
        with self.store.begin() as work:
            assert work.users.verify_email(self.ann.user.id, at=self.clock.now())
            work.commit()

    def start_anew(self) -> None:
        """Delete Ann's account, and sign up with her address once more."""
        with self.store.begin() as work:
            work.users.remove(self.ann.user.id)
            work.commit()
        self.ann = account()
        stored(self.store, self.ann)

    def letter(self, asked: Message, secret: str = SECRET) -> Letter:
        letter = self.prepare(asked, secret)
        assert letter is not None
        return letter

    def send(self, kind: MessageKind, **about: Any) -> Letter | None:
        return self.prepare(self.ask(kind, **about))

    def works(self, letter: Letter | None) -> bool:
        assert letter is not None
        assert letter.token is not None
        digest = digest_of(letter.token)
        assert digest is not None
        with self.store.reading() as read:
            return read.one_time_tokens.find(digest, list(Purpose), now=self.clock.now()) is not None

    def use(self, asked: Message) -> None:
        with self.store.begin() as work:
            assert work.one_time_tokens.use(asked.id, at=self.clock.now())
            work.commit()

    def is_gone(self, asked: Message) -> bool:
        return asked.id not in {found.id for found in messages_in(self.store)}


@pytest.fixture
def setup(store: SqlStore) -> Setup:
    made = Setup(store, FakeClock(NOW))
    stored(store, made.ann)
    return made


# To whom, and about what


@pytest.mark.parametrize("kind", list(MessageKind))
def test_a_message_of_every_kind_becomes_a_letter_to_the_stored_address(setup: Setup, kind: MessageKind) -> None:
    address = {"address": "ann@example.com"} if kind is MessageKind.EMAIL_CHANGE else {}
    asked = setup.ask(kind, user_id=setup.ann.user.id, **address)
    letter = setup.letter(asked)
    assert (letter.id, letter.kind, letter.at) == (asked.id, kind, asked.created_at)
    assert (letter.recipient, letter.languages) == ("ann@example.com", "de")
    assert letter.facts == {"ip": "192.0.2.7", "request_id": "a-request"}
    assert (letter.token is not None) == (kind in WITH_TOKEN) == (letter.lifetime is not None)
    assert message_in(setup.store, asked.id).user_id == setup.ann.user.id


def test_a_message_with_an_address_of_its_own_goes_there(setup: Setup) -> None:
    letter = setup.send(MessageKind.EMAIL_CHANGE, user_id=setup.ann.user.id, address="Anna@exämple.com")
    assert letter is not None
    assert letter.recipient == "Anna@exämple.com"
    (token,) = tokens_of(setup.store, setup.ann.user.id)
    assert (token.purpose, token.address) == (Purpose.EMAIL_CHANGE, "Anna@exämple.com")


def test_a_notice_to_the_former_address_goes_there_after_the_change(setup: Setup) -> None:
    asked = setup.ask(MessageKind.EMAIL_CHANGED, user_id=setup.ann.user.id, address="former@example.com")
    assert setup.letter(asked).recipient == "former@example.com"


def test_a_reset_goes_to_the_stored_address_however_the_asked_one_was_spelt(store: SqlStore) -> None:
    setup = Setup(store, FakeClock(NOW), ann=account("Ann@Exämple.com"))
    with store.begin() as work:
        work.users.add(setup.ann, canonical_email="ann@xn--exmple-cua.com")
        work.commit()
    letter = setup.send(MessageKind.PASSWORD_RESET, canonical_email="ann@xn--exmple-cua.com")
    assert letter is not None
    assert letter.recipient == "Ann@Exämple.com"


@pytest.mark.parametrize(
    ("kind", "lifetime"),
    [
        (MessageKind.PASSWORD_RESET, timedelta(minutes=7)),
        (MessageKind.EMAIL_VERIFICATION, timedelta(hours=7)),
        (MessageKind.EMAIL_CHANGE, timedelta(hours=7)),
    ],
)
def test_a_token_lives_from_when_it_is_sent_for_as_long_as_the_settings_and_the_letter_say(
    setup: Setup, kind: MessageKind, lifetime: timedelta
) -> None:
    setup.settings = MailSettings(reset_ttl=timedelta(minutes=7), verification_ttl=timedelta(hours=7))
    asked = setup.ask(kind, user_id=setup.ann.user.id, address="ann@example.com")
    setup.clock.advance(hours=20)
    letter = setup.letter(asked)
    assert letter.lifetime == lifetime
    setup.clock.at += lifetime - TICK
    assert setup.works(letter)
    setup.clock.at += TICK
    assert not setup.works(letter)


def test_nothing_is_stored_that_could_be_presented(setup: Setup) -> None:
    letter = setup.send(MessageKind.PASSWORD_RESET)
    assert letter is not None
    assert letter.token is not None
    written = str((messages_in(setup.store), tokens_of(setup.store, setup.ann.user.id), events_in(setup.store)))
    assert letter.token.removeprefix("twm_") not in written
    assert letter.token not in repr(letter), "nor is it shown where a letter is"


# Addresses that nobody has


@pytest.mark.parametrize("kind", [MessageKind.PASSWORD_RESET, MessageKind.SIGNUP_ATTEMPTED])
def test_a_message_for_an_address_that_nobody_has_is_removed(setup: Setup, kind: MessageKind) -> None:
    asked = setup.ask(kind, canonical_email="nobody@example.com")
    assert setup.prepare(asked) is None
    assert messages_in(setup.store) == []
    assert tokens_of(setup.store, setup.ann.user.id) == []


@pytest.mark.parametrize("email", ["ann@example.com", "nobody@example.com"])
def test_a_reset_that_is_asked_for_is_recorded_whoever_has_the_address(setup: Setup, email: str) -> None:
    asked = setup.ask(MessageKind.PASSWORD_RESET, canonical_email=email)
    setup.prepare(asked)
    (event,) = events_in(setup.store)
    assert event.kind is EventKind.PASSWORD_RESET_REQUESTED
    assert event.user_id == (setup.ann.user.id if email == "ann@example.com" else None)
    assert (event.at, event.ip, event.request_id) == (asked.created_at, "192.0.2.7", "a-request")
    assert email not in str(event)


def test_a_reset_that_is_prepared_twice_is_recorded_once(setup: Setup) -> None:
    asked = setup.ask(MessageKind.PASSWORD_RESET, canonical_email="ann@example.com")
    setup.letter(asked)
    setup.letter(asked)
    assert [event.kind for event in events_in(setup.store)] == [EventKind.PASSWORD_RESET_REQUESTED]


def test_a_message_to_a_user_who_is_gone_is_removed(setup: Setup) -> None:
    """The relay had claimed it when the account was deleted."""
    asked = setup.ask(MessageKind.PASSWORD_RESET, canonical_email="ann@example.com")
    with setup.store.begin() as work:
        work.users.remove(setup.ann.user.id)
        work.commit()
    assert setup.prepare(asked) is None
    assert messages_in(setup.store) == []


# Who is sent what


@pytest.mark.parametrize("kind", LIMITED)
def test_an_inactive_user_is_sent_nothing_that_somebody_asked_for(store: SqlStore, kind: MessageKind) -> None:
    setup = Setup(store, FakeClock(NOW), ann=account(is_active=False))
    stored(store, setup.ann)
    asked = setup.ask(kind)
    assert setup.prepare(asked) is None
    assert messages_in(store) == []
    assert tokens_of(store, setup.ann.user.id) == []


@pytest.mark.parametrize("kind", NOTICES)
def test_an_inactive_user_is_told_what_happened(store: SqlStore, kind: MessageKind) -> None:
    setup = Setup(store, FakeClock(NOW), ann=account(is_active=False))
    stored(store, setup.ann)
    assert setup.send(kind) is not None


def test_a_verified_user_is_sent_no_verification(store: SqlStore) -> None:
    setup = Setup(store, FakeClock(NOW), ann=account(email_verified=True))
    stored(store, setup.ann)
    assert setup.send(MessageKind.EMAIL_VERIFICATION) is None
    assert messages_in(store) == []
    assert setup.send(MessageKind.PASSWORD_RESET) is not None


def test_an_unverified_user_is_sent_a_reset(setup: Setup) -> None:
    assert not setup.ann.user.email_verified
    assert setup.send(MessageKind.PASSWORD_RESET) is not None


# Newer and older messages


@pytest.mark.parametrize("kind", REQUESTED)
def test_a_newer_message_ends_the_token_of_the_one_before(setup: Setup, kind: MessageKind) -> None:
    about = {"user_id": setup.ann.user.id, "address": "ann@example.com"}
    first = setup.send(kind, **about)
    assert setup.works(first)
    second = setup.send(kind, **about)
    assert not setup.works(first)
    assert setup.works(second)


def test_a_message_of_one_purpose_ends_no_token_of_another(setup: Setup) -> None:
    letters = [
        setup.send(kind, user_id=setup.ann.user.id, address="ann@example.com")
        for kind in (MessageKind.EMAIL_VERIFICATION, MessageKind.EMAIL_CHANGE, MessageKind.PASSWORD_RESET)
    ]
    assert all(map(setup.works, letters))


@pytest.mark.parametrize("kind", REQUESTED)
def test_a_message_that_a_newer_one_overtook_is_removed(setup: Setup, kind: MessageKind) -> None:
    """Its first attempt failed; the newer one came through at once."""
    about = {"user_id": setup.ann.user.id, "address": "ann@example.com"}
    older, newer = setup.ask(kind, **about), setup.ask(kind, **about)
    letter = setup.letter(newer)
    assert setup.prepare(older) is None
    assert setup.is_gone(older)
    assert setup.works(letter)


def test_a_message_that_a_newer_one_overtook_is_removed_after_that_was_used(setup: Setup) -> None:
    older, newer = setup.ask(MessageKind.PASSWORD_RESET), setup.ask(MessageKind.PASSWORD_RESET)
    setup.letter(newer)
    setup.use(newer)
    assert setup.prepare(older) is None


def test_of_two_messages_that_wait_the_newer_one_wins_in_either_order(setup: Setup) -> None:
    older, newer = setup.ask(MessageKind.PASSWORD_RESET), setup.ask(MessageKind.PASSWORD_RESET)
    first = setup.letter(older)
    second = setup.letter(newer)
    assert setup.prepare(older) is None
    assert not setup.works(first)
    assert setup.works(second)


# A second attempt


@pytest.mark.parametrize("kind", WITH_TOKEN)
def test_prepared_again_a_message_gives_the_same_letter_with_a_token_that_works(
    setup: Setup, kind: MessageKind
) -> None:
    asked = setup.ask(kind, user_id=setup.ann.user.id, address="ann@example.com")
    first = setup.letter(asked)
    assert setup.letter(asked) == first
    assert setup.works(first)
    assert len(tokens_of(setup.store, setup.ann.user.id)) == 1


def test_the_token_of_a_second_attempt_has_its_whole_life_before_it(setup: Setup) -> None:
    asked = setup.ask(MessageKind.PASSWORD_RESET)
    setup.letter(asked)
    setup.clock.advance(hours=5)
    letter = setup.letter(asked)
    setup.clock.advance(minutes=14)
    assert setup.works(letter)


@pytest.mark.parametrize("kind", WITH_TOKEN)
def test_a_token_that_was_used_is_not_revived_by_a_second_attempt(setup: Setup, kind: MessageKind) -> None:
    """The letter arrived, and nobody knew."""
    asked = setup.ask(kind, user_id=setup.ann.user.id, address="ann@example.com")
    letter = setup.letter(asked)
    setup.use(asked)
    assert setup.prepare(asked) is None
    assert setup.is_gone(asked)
    assert not setup.works(letter)


def test_a_token_that_lost_its_worth_is_not_revived_by_a_second_attempt(setup: Setup) -> None:
    asked = setup.ask(MessageKind.PASSWORD_RESET)
    letter = setup.letter(asked)
    with setup.store.begin() as work:
        work.one_time_tokens.end_all(setup.ann.user.id, at=setup.clock.now())
        work.commit()
    assert setup.prepare(asked) is None
    assert not setup.works(letter)


def test_a_secret_that_changed_between_two_attempts_makes_another_token_and_that_one_works(setup: Setup) -> None:
    asked = setup.ask(MessageKind.PASSWORD_RESET)
    before = setup.letter(asked)
    after = setup.letter(asked, OTHER_SECRET)
    assert after.token != before.token
    assert setup.works(after)
    assert not setup.works(before)
    assert len(tokens_of(setup.store, setup.ann.user.id)) == 1


def test_a_token_that_was_sent_works_after_the_secret_has_changed(setup: Setup) -> None:
    """It is looked up by its hash; the key only makes it."""
    letter = setup.send(MessageKind.PASSWORD_RESET)
    setup.letter(setup.ask(MessageKind.EMAIL_VERIFICATION), OTHER_SECRET)
    assert setup.works(letter)


def test_a_message_that_is_cancelled_while_it_is_prepared_makes_no_token(setup: Setup) -> None:
    """It was claimed; then the password was changed, which cancels what waits."""
    asked = setup.ask(MessageKind.EMAIL_CHANGE, user_id=setup.ann.user.id, address="eve@example.com")
    with setup.store.begin() as work:
        work.outbox.cancel(setup.ann.user.id, MessageKind.EMAIL_CHANGE)
        work.commit()
    keys = derive_keys([SecretStr(SECRET)], KeyPurpose.LINKS)
    assert setup.composer(OneTimeTokenMaker(keys)).prepare(asked) is None
    assert tokens_of(setup.store, setup.ann.user.id) == []


# The limit


@pytest.mark.parametrize("kind", LIMITED)
def test_an_account_is_sent_so_many_of_a_kind_an_hour_and_no_more(setup: Setup, kind: MessageKind) -> None:
    about = {"user_id": setup.ann.user.id, "address": "ann@example.com"}
    letters = [setup.send(kind, **about) for _ in range(8)]
    assert [letter is not None for letter in letters] == [True] * 5 + [False] * 3
    assert len(messages_in(setup.store)) == 5


def test_fifty_requests_for_a_reset_send_five_and_the_last_of_them_works(setup: Setup) -> None:
    letters = [setup.send(MessageKind.PASSWORD_RESET, canonical_email="ann@example.com") for _ in range(50)]
    sent = [letter for letter in letters if letter]
    assert sent == letters[:5]
    assert [setup.works(letter) for letter in sent] == [False] * 4 + [True]
    assert len(events_in(setup.store)) == 50, "each of them is recorded"


def test_the_limit_is_the_one_of_the_settings(setup: Setup) -> None:
    setup.settings = MailSettings(mail_limit=2)
    assert [setup.send(MessageKind.PASSWORD_RESET) is not None for _ in range(4)] == [True, True, False, False]


def test_the_limit_is_one_of_a_kind(setup: Setup) -> None:
    setup.settings = MailSettings(mail_limit=1)
    assert setup.send(MessageKind.PASSWORD_RESET) is not None
    assert setup.send(MessageKind.EMAIL_VERIFICATION) is not None
    assert setup.send(MessageKind.PASSWORD_RESET) is None


def test_the_limit_is_one_of_an_account(setup: Setup) -> None:
    setup.settings = MailSettings(mail_limit=1)
    bob = account("bob@example.com")
    stored(setup.store, bob)
    assert setup.send(MessageKind.PASSWORD_RESET) is not None
    assert setup.send(MessageKind.PASSWORD_RESET, canonical_email="bob@example.com") is not None
    assert setup.send(MessageKind.PASSWORD_RESET, canonical_email="ann@example.com") is None


def test_what_was_sent_an_hour_ago_does_not_count_any_more(setup: Setup) -> None:
    setup.settings = MailSettings(mail_limit=1)
    setup.send(MessageKind.EMAIL_VERIFICATION)
    sent_at = setup.clock.now()
    early = setup.ask(MessageKind.EMAIL_VERIFICATION)
    setup.clock.at = sent_at + LIMIT_WINDOW - TICK - timedelta(seconds=1)  # `prepare` moves it on by a second
    assert setup.prepare(early) is None
    late = setup.ask(MessageKind.EMAIL_VERIFICATION)
    setup.clock.at = sent_at + LIMIT_WINDOW - timedelta(seconds=1)
    assert setup.prepare(late) is not None


def test_a_second_attempt_does_not_count_itself(setup: Setup) -> None:
    setup.settings = MailSettings(mail_limit=1)
    asked = setup.ask(MessageKind.PASSWORD_RESET)
    assert setup.letter(asked) == setup.letter(asked)
    assert setup.send(MessageKind.PASSWORD_RESET) is None


def test_what_was_held_back_does_not_count(setup: Setup) -> None:
    """Whoever asks all the time must not keep the owner from ever getting a link."""
    setup.settings = MailSettings(mail_limit=1, reset_ttl=LIMIT_WINDOW)
    letters = [setup.send(MessageKind.PASSWORD_RESET)]
    for _ in range(6):
        setup.clock.advance(minutes=12)
        letters.append(setup.send(MessageKind.PASSWORD_RESET))
    assert [letter is not None for letter in letters] == [True, False, False, False, False, True, False]


TO_THE_USER = (MessageKind.PASSWORD_RESET, MessageKind.EMAIL_VERIFICATION)


@pytest.mark.parametrize("kind", TO_THE_USER)
def test_beyond_the_limit_a_link_is_sent_when_the_last_one_has_expired(setup: Setup, kind: MessageKind) -> None:
    life = timedelta(minutes=10)
    setup.settings = MailSettings(mail_limit=1, reset_ttl=life, verification_ttl=life)
    setup.send(kind)
    expires_at = setup.clock.now() + life
    early, late = setup.ask(kind), setup.ask(kind)
    setup.clock.at = expires_at - TICK - timedelta(seconds=1)  # `prepare` moves it on by a second
    assert setup.prepare(early) is None
    setup.clock.at = expires_at - timedelta(seconds=1)
    assert setup.works(setup.prepare(late))


def test_beyond_the_limit_a_link_is_sent_when_the_last_one_was_used(setup: Setup) -> None:
    """It set a password, and so proved the address; who has used a verification is sent no other."""
    setup.settings = MailSettings(mail_limit=1)
    asked = setup.ask(MessageKind.PASSWORD_RESET)
    setup.letter(asked)
    setup.use(asked)
    setup.prove()
    assert setup.works(setup.send(MessageKind.PASSWORD_RESET))
    assert setup.send(MessageKind.PASSWORD_RESET) is None


def test_beyond_the_limit_a_link_that_did_not_arrive_is_sent_again(setup: Setup) -> None:
    """Its own token is no other that would do."""
    setup.settings = MailSettings(mail_limit=1)
    setup.send(MessageKind.PASSWORD_RESET)
    setup.clock.advance(minutes=15)
    asked = setup.ask(MessageKind.PASSWORD_RESET)
    letter = setup.letter(asked)
    assert setup.letter(asked).token == letter.token


def test_beyond_the_limit_no_link_goes_to_an_address_that_is_not_the_users(setup: Setup) -> None:
    """Whoever ends links of their own, by changing the password, could have anybody's mailbox filled."""
    setup.settings = MailSettings(mail_limit=1, verification_ttl=timedelta(minutes=10))
    setup.letter(_change(setup, "victim@example.com"))
    setup.clock.advance(minutes=15)
    assert setup.prepare(_change(setup, "victim@example.com")) is None


def test_who_asks_for_hours_has_one_letter_more_sent_for_each_life_of_a_link(setup: Setup) -> None:
    sent = []
    for _ in range(3 * 60):
        setup.clock.advance(seconds=58)  # asking and preparing take a second each
        if setup.send(MessageKind.PASSWORD_RESET):
            sent.append(setup.clock.now())
    most = max(sum(at <= other < at + LIMIT_WINDOW for other in sent) for at in sent)
    assert most < 5 + LIMIT_WINDOW // setup.settings.reset_ttl
    assert max(after - at for at, after in pairwise(sent)) <= setup.settings.reset_ttl + timedelta(minutes=1)


@pytest.mark.parametrize("kind", NOTICES)
@pytest.mark.parametrize("address", [{}, {"address": "ANN@example.com"}], ids=["the stored address", "the same, named"])
def test_a_notice_of_what_happened_is_never_held_back_from_an_address_that_is_verified(
    setup: Setup, kind: MessageKind, address: dict[str, str]
) -> None:
    setup.settings = MailSettings(mail_limit=1)
    setup.prove()
    assert all(setup.send(kind, user_id=setup.ann.user.id, **address) is not None for _ in range(4))


def test_a_message_that_is_held_back_leaves_the_token_that_was_sent(setup: Setup) -> None:
    setup.settings = MailSettings(mail_limit=1)
    letter = setup.send(MessageKind.PASSWORD_RESET)
    assert setup.send(MessageKind.PASSWORD_RESET) is None
    assert setup.works(letter)


# The limit of each requester

HOME, STRANGER = "198.51.100.4", "203.0.113.9"
BY_ADDRESS = (MessageKind.PASSWORD_RESET, MessageKind.SIGNUP_ATTEMPTED)


@pytest.mark.parametrize("kind", BY_ADDRESS)
@pytest.mark.parametrize("is_proved", [True, False], ids=["verified", "unverified"])
def test_what_strangers_request_keeps_the_owner_from_no_letter(
    setup: Setup, kind: MessageKind, *, is_proved: bool
) -> None:
    if is_proved:
        setup.prove()
    assert setup.requested_from(STRANGER, kind, 8) == 5
    assert setup.requested_from(HOME, kind, 8) == 5


@pytest.mark.parametrize("kind", BY_ADDRESS)
@pytest.mark.parametrize("is_proved", [True, False], ids=["verified", "unverified"])
def test_many_strangers_together_flood_no_account(setup: Setup, kind: MessageKind, *, is_proved: bool) -> None:
    if is_proved:
        setup.prove()
    assert sum(setup.requested_from(f"203.0.113.{number}", kind, 3) for number in range(20)) == 15


@pytest.mark.parametrize("kind", BY_ADDRESS)
def test_many_strangers_together_hold_nothing_back_from_a_block_that_has_logged_in(
    setup: Setup, kind: MessageKind
) -> None:
    setup.prove()
    setup.trust(HOME)
    for number in range(4):
        setup.requested_from(f"203.0.113.{number}", kind, 6)
    assert setup.requested_from(HOME, kind, 8) == 5


def test_a_block_that_has_logged_in_fills_no_mailbox_that_nobody_has_proved(setup: Setup) -> None:
    """Anybody may have signed up with the address, and logged in from many blocks."""
    for number in range(20):
        setup.trust(f"203.0.113.{number}")
    kind = MessageKind.PASSWORD_RESET
    assert sum(setup.requested_from(f"203.0.113.{number}", kind, 3) for number in range(20)) == 15


def test_addresses_of_one_block_are_one_requester(setup: Setup) -> None:
    setup.prove()
    kind = MessageKind.PASSWORD_RESET
    assert sum(setup.requested_from(f"2001:db8::{number:x}", kind, 1) for number in range(9)) == 5


def test_an_owner_who_was_never_sent_a_link_gets_one_whoever_requested_letters_before(setup: Setup) -> None:
    """Five accounts had the address before and had their links sent there; the sixth is its owner's."""
    setup.move_to(STRANGER)
    for _ in range(7):
        setup.start_anew()
        setup.send(MessageKind.PASSWORD_RESET)
    setup.start_anew()
    assert setup.requested_from(HOME, MessageKind.PASSWORD_RESET, 1) == 1


# Addresses that nobody has proved


def sent(letters: list[Letter | None]) -> list[bool]:
    return [letter is not None for letter in letters]


@pytest.mark.parametrize("kind", COUNTED)
def test_an_address_is_sent_no_more_whatever_becomes_of_its_accounts(setup: Setup, kind: MessageKind) -> None:
    letters = []
    for _ in range(7):
        setup.start_anew()
        address = {"address": "victim@example.com"} if kind is MessageKind.EMAIL_CHANGE else {}
        letters.append(setup.send(kind, user_id=setup.ann.user.id, **address))
    assert sent(letters) == [True] * 5 + [False] * 2


def test_all_notices_together_are_as_many_as_links_of_one_kind(setup: Setup) -> None:
    notices = [kind for kind in NOTICES * 2 if kind in COUNTED]
    assert sent([setup.send(kind) for kind in notices]) == [True] * 5 + [False] * (len(notices) - 5)
    assert setup.send(MessageKind.PASSWORD_RESET) is not None, "which are not counted with them"


def test_an_undo_is_never_held_back_and_ends_no_earlier_one(setup: Setup) -> None:
    """The address was verified until the change, and each victim of changes in a row undoes its own."""
    setup.settings = MailSettings(mail_limit=1)
    addresses = ["ann@example.org", "eve@example.net", "eve@example.net", "third@example.net"]
    letters = [setup.send(MessageKind.EMAIL_CHANGED, user_id=setup.ann.user.id, address=one) for one in addresses]
    assert all(setup.works(letter) for letter in letters)


def test_a_newcomers_first_hour_has_room_for_what_goes_astray(setup: Setup) -> None:
    verification, reset = MessageKind.EMAIL_VERIFICATION, MessageKind.PASSWORD_RESET
    notices = [MessageKind.PASSWORD_CHANGED, MessageKind.SESSION_ENDED]
    day = [*[verification] * 4, *[reset] * 3, *notices * 2, MessageKind.SIGNUP_ATTEMPTED]
    assert all(sent([setup.send(kind) for kind in day]))


def test_many_accounts_that_want_an_address_have_no_more_sent_there_than_one(setup: Setup) -> None:
    letters = []
    for number in range(7):
        eve = account(f"eve{number}@example.com", email_verified=True)
        stored(setup.store, eve)
        spelling = ("third@example.org", "THIRD@example.org")[number % 2]
        letters.append(setup.send(MessageKind.EMAIL_CHANGE, user_id=eve.user.id, address=spelling))
    assert sent(letters) == [True] * 5 + [False] * 2


def test_a_link_that_is_ended_again_and_again_makes_room_for_one_letter_in_each_life(setup: Setup) -> None:
    """Whoever has signed up with a stranger's address ends links by changing the password."""
    life = setup.settings.reset_ttl
    letters = []
    for _ in range(3 * 60):
        setup.clock.advance(seconds=18)  # asking and preparing take a second each
        letters.append(setup.send(MessageKind.PASSWORD_RESET))
        with setup.store.begin() as work:
            work.one_time_tokens.end_all(setup.ann.user.id, at=setup.clock.now())
            work.commit()
    assert sum(sent(letters)) == 5 + (timedelta(hours=1) - timedelta(seconds=100)) // life


def test_a_link_that_is_held_back_leaves_the_one_that_was_sent(setup: Setup) -> None:
    setup.settings = MailSettings(mail_limit=1)
    letter = setup.send(MessageKind.EMAIL_CHANGE, user_id=setup.ann.user.id, address="third@example.org")
    eve = account("eve@example.com")
    stored(setup.store, eve)
    mine = setup.send(MessageKind.EMAIL_CHANGE, user_id=eve.user.id, address="eve@example.org")
    assert setup.send(MessageKind.EMAIL_CHANGE, user_id=eve.user.id, address="third@example.org") is None
    assert setup.works(letter)
    assert setup.works(mine)


@pytest.mark.parametrize("kind", MessageKind)
def test_a_second_attempt_is_not_counted_again(setup: Setup, kind: MessageKind) -> None:
    setup.settings = MailSettings(mail_limit=1)
    asked = setup.ask(kind, user_id=setup.ann.user.id, address="former@example.com")
    assert setup.letter(asked) == setup.letter(asked)


def test_the_counter_of_an_address_shows_nobody_the_address(setup: Setup) -> None:
    setup.send(MessageKind.PASSWORD_CHANGED)
    with setup.store.engine.connect() as connection:
        (key,) = connection.scalars(select(throttle_counters.c.key))
    assert re.fullmatch("[0-9a-f]{64}", key)


# Another address


def _change(setup: Setup, address: str) -> Message:
    return setup.ask(MessageKind.EMAIL_CHANGE, user_id=setup.ann.user.id, address=address)


def test_the_owner_of_an_address_that_somebody_else_wants_is_told_in_place_of_a_link(setup: Setup) -> None:
    bob = account("bob@example.com")
    stored(setup.store, bob)
    asked = _change(setup, "Bob@example.com")
    letter = setup.letter(asked)
    assert (letter.id, letter.kind, letter.recipient) == (asked.id, MessageKind.SIGNUP_ATTEMPTED, "bob@example.com")
    assert (letter.token, letter.lifetime) == (None, None)
    assert [found.id for found in messages_in(setup.store)] == [asked.id]
    assert tokens_of(setup.store, bob.user.id) == []


def test_a_link_that_nobody_gets_is_stored_like_any_other_and_is_the_digest_of_nothing(setup: Setup) -> None:
    earlier = setup.letter(_change(setup, "anna@example.com"))
    stored(setup.store, account("bob@example.com"))
    asked = _change(setup, "bob@example.com")
    setup.letter(asked)
    assert not setup.works(earlier)
    _, token = tokens_of(setup.store, setup.ann.user.id)
    assert (token.id, token.purpose, token.address) == (asked.id, Purpose.EMAIL_CHANGE, "bob@example.com")
    assert token.expires_at == setup.clock.now() + setup.settings.verification_ttl
    made = OneTimeTokenMaker(derive_keys([SecretStr(SECRET)], KeyPurpose.LINKS)).make(asked.id, asked.seed)
    assert token.digest != digest_of(made)
    assert len(token.digest) == len(digest_of(made) or b"")


def test_of_an_address_whose_account_is_deactivated_nobody_is_told(setup: Setup) -> None:
    stored(setup.store, account("bob@example.com", is_active=False))
    asked = _change(setup, "bob@example.com")
    assert setup.prepare(asked) is None
    concluded = message_in(setup.store, asked.id)
    assert (concluded.sent_at, concluded.due_at, concluded.address) == (setup.clock.now(), None, None)
    assert len(tokens_of(setup.store, setup.ann.user.id)) == 1


def test_the_owner_of_a_wanted_address_is_told_no_more_often_than_the_limit_allows(setup: Setup) -> None:
    setup.settings = MailSettings(mail_limit=2)
    stored(setup.store, account("bob@example.com"))
    for number in range(4):
        eve = account(f"eve{number}@example.com")
        stored(setup.store, eve)
        letter = setup.send(MessageKind.EMAIL_CHANGE, user_id=eve.user.id, address="bob@example.com")
        assert (letter is not None) == (number < 2)


def test_another_spelling_of_the_own_address_can_be_confirmed(setup: Setup) -> None:
    letter = setup.letter(_change(setup, "ANN@example.com"))
    assert letter.recipient == "ANN@example.com"
    assert setup.works(letter)


def test_an_address_that_was_taken_between_two_attempts_gets_no_second_letter_with_a_link(setup: Setup) -> None:
    asked = _change(setup, "bob@example.com")
    first = setup.letter(asked)
    stored(setup.store, account("bob@example.com"))
    second = setup.letter(asked)
    assert (second.kind, second.token) == (MessageKind.SIGNUP_ATTEMPTED, None)
    assert not setup.works(first)


# A clock that was wrong


@pytest.mark.parametrize("kind", [MessageKind.PASSWORD_RESET, MessageKind.EMAIL_VERIFICATION])
def test_a_link_of_a_clock_that_was_ahead_keeps_the_user_from_no_later_one(setup: Setup, kind: MessageKind) -> None:
    """It would overtake each later link until that time, and letters sent then would fill the limit for as long."""
    setup.settings = MailSettings(mail_limit=2)
    right = setup.clock.at
    setup.clock.at += timedelta(days=4000)
    wrong = [setup.send(kind) for _ in range(2)]
    setup.clock.at = right
    letters = [setup.send(kind) for _ in range(3)]
    assert sent(letters) == [True, True, False]
    assert [setup.works(letter) for letter in (*wrong, letters[0], letters[1])] == [False, False, False, True]


def test_a_message_of_a_clock_that_was_ahead_overtakes_no_later_one_when_it_is_sent(setup: Setup) -> None:
    right = setup.clock.at
    setup.clock.at += timedelta(days=4000)
    early = setup.ask(MessageKind.EMAIL_VERIFICATION)
    setup.clock.at = right
    assert setup.prepare(early) is not None
    setup.clock.at += CLOCK_SKEW
    late = setup.send(MessageKind.EMAIL_VERIFICATION)
    assert setup.works(late)
