"""The tokens in links: one a message, with one spelling, and nothing that is not one is ever looked up."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import string
import uuid
from datetime import timedelta

import pytest

from core.mail.model import OneTimeToken, Purpose
from core.mail.one_time_tokens import OneTimeTokenMaker, digest_of
from tests.support.clock import START

KEY = bytes(range(32))
SEED = bytes(range(100, 116))
MESSAGE_ID = uuid.UUID("0197a3c2-7000-7c11-8e2f-5d9b3a6c4f10")
ALPHABET = string.ascii_letters + string.digits + "-_"
LENGTH = 4 + 32

MAKER = OneTimeTokenMaker([KEY])
TOKEN = MAKER.make(MESSAGE_ID, SEED)


def test_a_token_has_a_findable_prefix_and_fits_a_fragment() -> None:
    assert re.fullmatch(r"twm_[A-Za-z0-9_-]{32}", TOKEN)
    assert len(TOKEN) == LENGTH


def test_the_same_arguments_give_the_same_token() -> None:
    """In another process, at another attempt, and when this suite was written."""
    assert OneTimeTokenMaker([KEY]).make(MESSAGE_ID, SEED) == TOKEN
    mac = hashlib.sha256(bytes(byte ^ 0x5C for byte in KEY.ljust(64, b"\0")))
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in KEY.ljust(64, b"\0")) + MESSAGE_ID.bytes + SEED)
    mac.update(inner.digest())
    assert "twm_" + base64.urlsafe_b64encode(mac.digest()[:24]).decode() == TOKEN


@pytest.mark.parametrize(
    "other",
    [
        MAKER.make(uuid.UUID(int=MESSAGE_ID.int ^ 1), SEED),
        MAKER.make(MESSAGE_ID, bytes(16)),
        OneTimeTokenMaker([bytes(32)]).make(MESSAGE_ID, SEED),
    ],
    ids=["message", "seed", "key"],
)
def test_every_argument_changes_the_token(other: str) -> None:
    assert other != TOKEN


def test_the_first_key_makes_the_token() -> None:
    assert OneTimeTokenMaker([KEY, bytes(32)]).make(MESSAGE_ID, SEED) == TOKEN


def test_a_hundred_thousand_messages_have_as_many_tokens() -> None:
    tokens = {MAKER.make(MESSAGE_ID, os.urandom(16)) for _ in range(50_000)}
    tokens |= {MAKER.make(uuid.uuid4(), SEED) for _ in range(50_000)}
    assert len(tokens) == 100_000


def test_neither_the_seed_nor_the_id_can_be_read_from_a_token() -> None:
    raw = base64.urlsafe_b64decode(TOKEN[4:])
    assert len(raw) == 24
    for part in (SEED[:4], MESSAGE_ID.bytes[:4], KEY[:4]):
        assert part not in raw


# What is looked up


def test_a_token_is_looked_up_by_its_sha_256() -> None:
    assert digest_of(TOKEN) == hashlib.sha256(TOKEN.encode()).digest()


def test_every_spelling_is_another_token() -> None:
    """There are no spare bits that a changed last character could hide in."""
    others = {
        TOKEN[:position] + character + TOKEN[position + 1 :]
        for position in range(4, LENGTH)
        for character in ALPHABET
        if character != TOKEN[position]
    }
    assert len({base64.urlsafe_b64decode(other[4:]) for other in others}) == len(others)
    assert digest_of(TOKEN) not in {digest_of(other) for other in others}


def test_every_truncation_is_refused() -> None:
    assert [digest_of(TOKEN[:length]) for length in range(LENGTH)] == [None] * LENGTH


@pytest.mark.parametrize(
    "text",
    [
        "",
        "twm_",
        TOKEN[4:],
        TOKEN + "A",
        TOKEN + "AAAA",
        TOKEN + "=",
        TOKEN[:-1] + "=",
        TOKEN[:-2] + "==",
        TOKEN + "\n",
        TOKEN[:-1] + "\n",
        " " + TOKEN,
        TOKEN + " ",
        TOKEN + "\x00",
        TOKEN[:-1] + "\x00",
        TOKEN[:-1] + "+",
        TOKEN[:-1] + "/",
        TOKEN[:-1] + "%",
        TOKEN.replace("twm_", "twm-"),
        TOKEN.replace("twm_", "TWM_"),
        TOKEN.replace("twm_", "twr_"),
        TOKEN.replace("twm_", "twm_twm_"),
        TOKEN[:10] + "\u00e9" + TOKEN[11:],
        TOKEN[:10] + "\uff21" + TOKEN[11:],
        TOKEN[:10] + "\u0661" + TOKEN[11:],
        TOKEN[:10] + "\ud800" + TOKEN[11:],
        "#token=" + TOKEN,
        "token=" + TOKEN,
        "eyJhbGciOiJub25lIn0.e30.",
        "twr_" + "A" * 72,
        str(MESSAGE_ID),
        "A" * 10_000_000,
        "twm_" + "A" * 10_000_000,
    ],
    ids=lambda text: ascii(text[:8]) + f" {len(text)}",
)
def test_what_cannot_be_a_token_is_refused_without_hashing_it(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def hashed(_content: bytes) -> None:
        raise AssertionError("it was hashed")

    monkeypatch.setattr("core.mail.one_time_tokens.hashlib.sha256", hashed)
    assert digest_of(text) is None


def test_a_stored_token_does_not_show_its_digest() -> None:
    digest = hashlib.sha256(b"canary").digest()
    token = OneTimeToken(
        id=MESSAGE_ID,
        user_id=MESSAGE_ID,
        purpose=Purpose.PASSWORD_RESET,
        digest=digest,
        address="ann@example.com",
        created_at=START,
        expires_at=START + timedelta(minutes=15),
    )
    assert repr(digest) not in repr(token)
