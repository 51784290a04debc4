"""The refresh token codec: one spelling a token, nothing to forge, nothing to read."""

import base64
import string
import uuid
from collections.abc import Callable

import pytest

from core.sessions.errors import InvalidRefreshToken
from core.sessions.refresh_tokens import RefreshTokens, new_seed

KEY = bytes(range(32))
SEED = bytes(range(100, 116))
SESSION_ID = uuid.UUID("0197a3c2-7000-7c11-8e2f-5d9b3a6c4f10")
ALPHABET = string.ascii_letters + string.digits + "-_"
LENGTH = 4 + 72

CODEC = RefreshTokens([KEY])
TOKEN = CODEC.make(SESSION_ID, SEED, 7)


def refused(text: str) -> bool:
    try:
        CODEC.read(text)
    except InvalidRefreshToken:
        return True
    return False


@pytest.mark.parametrize("generation", [0, 1, 7, 255, 256, 2**32, 2**48 - 1])
def test_a_token_gives_back_what_went_into_it(generation: int) -> None:
    token = CODEC.read(CODEC.make(SESSION_ID, SEED, generation))
    assert (token.session_id, token.generation) == (SESSION_ID, generation)
    assert token.belongs_to(SEED)


def test_the_same_arguments_give_the_same_token() -> None:
    assert RefreshTokens([KEY]).make(SESSION_ID, SEED, 7) == TOKEN


@pytest.mark.parametrize(
    "other",
    [
        CODEC.make(uuid.UUID(int=SESSION_ID.int ^ 1), SEED, 7),
        CODEC.make(SESSION_ID, SEED, 8),
        CODEC.make(SESSION_ID, bytes(16), 7),
        RefreshTokens([bytes(32)]).make(SESSION_ID, SEED, 7),
    ],
    ids=["session", "generation", "seed", "key"],
)
def test_every_argument_changes_the_token(other: str) -> None:
    assert other != TOKEN


def test_a_token_has_a_findable_prefix_and_fits_a_url() -> None:
    assert TOKEN.startswith("twr_")
    assert len(TOKEN) == LENGTH
    assert set(TOKEN) <= set(ALPHABET)


def test_the_seed_cannot_be_read_from_a_token() -> None:
    assert SEED not in base64.urlsafe_b64decode(TOKEN[4:])


def test_a_hundred_thousand_new_sessions_have_as_many_tokens() -> None:
    assert len({CODEC.make(SESSION_ID, new_seed(), 0) for _ in range(100_000)}) == 100_000


def test_a_new_seed_has_128_bits() -> None:
    assert len(new_seed()) == 16


def test_every_change_of_a_single_character_is_refused() -> None:
    accepted = [
        (position, character)
        for position in range(LENGTH)
        for character in ALPHABET + "+/=. \x00"
        if character != TOKEN[position] and not refused(TOKEN[:position] + character + TOKEN[position + 1 :])
    ]
    assert accepted == []


def test_every_truncation_is_refused() -> None:
    assert all(refused(TOKEN[:length]) for length in range(LENGTH))


def with_both_signs() -> str:
    """A token whose base64 has both characters that the two alphabets spell differently."""
    tokens = (CODEC.make(SESSION_ID, SEED, generation) for generation in range(1000))
    return next(token for token in tokens if "-" in token[4:] and "_" in token[4:])


@pytest.mark.parametrize(
    "respell",
    [
        lambda token: token[:4] + token[4:].replace("-", "+").replace("_", "/"),
        lambda token: token[:4] + token[4:].replace("-", "+"),
        lambda token: token[:4] + token[4:].replace("_", "/"),
    ],
    ids=["both", "plus for minus", "slash for underscore"],
)
def test_the_other_base64_alphabet_is_no_second_spelling(respell: Callable[[str], str]) -> None:
    token = with_both_signs()
    assert not refused(token)
    assert refused(respell(token))


RAW = base64.urlsafe_b64decode(TOKEN[4:])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "twr_",
        TOKEN[4:],
        TOKEN + "A",
        TOKEN + "AAAA",
        TOKEN + "=",
        TOKEN + "==",
        TOKEN[:-1] + "=",
        TOKEN[:-2] + "==",
        TOKEN + "\n",
        TOKEN[:-1] + "\n",
        " " + TOKEN,
        TOKEN + " ",
        TOKEN + "\x00",
        TOKEN.replace("twr_", "twr-"),
        TOKEN.replace("twr_", "TWR_"),
        TOKEN.replace("twr_", "ghp_"),
        TOKEN.replace("twr_", "twr_twr_"),
        TOKEN.swapcase(),
        TOKEN[:10] + "\u00e9" + TOKEN[11:],
        TOKEN[:10] + "\uff21" + TOKEN[11:],
        TOKEN[:10] + "\ud800" + TOKEN[11:],
        "twr_" + "A" * 72,
        "twr_" + "-" * 72,
        "twr_" + base64.urlsafe_b64encode(RAW + b"\x00" * 3).decode(),
        "twr_" + base64.urlsafe_b64encode(RAW[16:] + RAW[:16]).decode(),
        "twr_" + RAW.hex(),
        "A" * 10_000_000,
        str(SESSION_ID),
    ],
    ids=lambda text: ascii(text[:8]) + f" {len(text)}",
)
def test_what_this_service_did_not_make_is_refused(text: str) -> None:
    assert refused(text)


def test_a_token_made_under_another_key_is_refused() -> None:
    assert refused(RefreshTokens([bytes(32)]).make(SESSION_ID, SEED, 7))


def test_a_tag_cannot_be_moved_to_another_session() -> None:
    other = base64.urlsafe_b64decode(CODEC.make(uuid.UUID(int=9), SEED, 7)[4:])
    assert refused("twr_" + base64.urlsafe_b64encode(other[:38] + RAW[38:]).decode())


def test_the_key_alone_makes_no_token_of_a_session() -> None:
    forged = CODEC.read(CODEC.make(SESSION_ID, bytes(16), 7))
    assert forged.session_id == SESSION_ID
    assert not forged.belongs_to(SEED)


def test_a_proof_holds_for_one_generation_only() -> None:
    token = CODEC.read(TOKEN)
    earlier = CODEC.read(CODEC.make(SESSION_ID, SEED, 6))
    assert token.proof != earlier.proof
