"""New messages, and how long to wait after an attempt that failed."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from core.mail.model import FIRST_DELAY, LONGEST_DELAY, MAX_LANGUAGES, SEED_BYTES, MessageKind, message, retry_delay
from core.origin import Origin
from tests.support.clock import START

CLIENT = Origin(ip="192.0.2.7", user_agent="Mozilla/5.0", request_id="a-request", languages="de-AT, de;q=0.9")


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [
        (1, 5),
        (2, 10),
        (3, 20),
        (4, 40),
        (5, 80),
        (6, 160),
        (7, 320),
        (8, 640),
        (9, 1280),
        (10, 2560),
        (11, 3600),
        (12, 3600),
        (100, 3600),
        (10**9, 3600),
    ],
)
def test_the_pause_doubles_from_five_seconds_to_an_hour(attempts: int, seconds: int) -> None:
    assert retry_delay(attempts, jitter=0) == timedelta(seconds=seconds)


@pytest.mark.parametrize("attempts", [1, 5, 10, 11, 50])
@pytest.mark.parametrize("jitter", [0.0, 0.25, 0.5, 0.999, 1.0])
def test_jitter_makes_the_pause_up_to_half_shorter_and_never_longer(attempts: int, jitter: float) -> None:
    whole = retry_delay(attempts, jitter=0)
    assert retry_delay(attempts, jitter=jitter) == whole * (1 - jitter / 2)
    assert whole / 2 <= retry_delay(attempts, jitter=jitter) <= whole


def test_the_pause_has_a_least_and_a_greatest_length() -> None:
    pauses = [retry_delay(attempts, jitter=jitter) for attempts in range(1, 101) for jitter in (0, 0.5, 1)]
    assert min(pauses) == FIRST_DELAY / 2
    assert max(pauses) == LONGEST_DELAY


def test_what_is_given_up_by_default_was_tried_for_an_hour_at_least() -> None:
    """A mail server that restarts must not make dead letters."""
    waited = sum((retry_delay(attempts, jitter=1) for attempts in range(1, 12)), timedelta(0))
    assert waited > timedelta(hours=1)


def test_a_new_message_is_due_at_once_and_says_where_the_request_came_from() -> None:
    user_id = uuid.uuid4()
    made = message(MessageKind.EMAIL_CHANGE, at=START, origin=CLIENT, user_id=user_id, address="anna@example.com")
    assert (made.kind, made.user_id, made.canonical_email) == (MessageKind.EMAIL_CHANGE, user_id, None)
    assert made.address == "anna@example.com"
    assert made.created_at == made.due_at == START
    assert (made.attempts, made.sent_at, made.dead_at, made.last_error) == (0, None, None, None)
    assert made.languages == "de-AT, de;q=0.9"
    assert made.facts == {"ip": "192.0.2.7", "request_id": "a-request"}
    assert made.id.version == 7


def test_a_long_accept_language_is_cut_to_what_the_column_takes() -> None:
    made = message(MessageKind.PASSWORD_RESET, at=START, origin=Origin(languages="de, " * 5000))
    assert made.languages == ("de, " * 25)
    assert len(made.languages) == MAX_LANGUAGES


def test_every_message_has_a_seed_of_128_bits_that_it_does_not_show() -> None:
    made = [message(MessageKind.PASSWORD_RESET, at=START, origin=CLIENT) for _ in range(1000)]
    assert {len(one.seed) for one in made} == {SEED_BYTES} == {16}
    assert len({one.seed for one in made}) == len({one.id for one in made}) == 1000
    assert repr(made[0].seed) not in repr(made[0])
