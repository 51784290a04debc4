"""The tokens of devices: one spelling, nothing to forge."""

import string
import uuid

import pytest

from core.devices.device_tokens import DeviceTokens

DEVICE = uuid.UUID("0197a3c2-7000-7c11-8e2f-5d9b3a6c4f10")
KEY, EARLIER = b"k" * 32, b"e" * 32
TOKENS = DeviceTokens([KEY, EARLIER])
TOKEN = TOKENS.make(DEVICE)
ALPHABET = string.ascii_letters + string.digits + "-_"


def test_is_read_as_the_device_that_it_was_made_for() -> None:
    assert TOKENS.read(TOKEN) == DEVICE
    assert len(TOKEN) == 47


def test_of_an_earlier_secret_is_read_while_that_is_named() -> None:
    earlier = DeviceTokens([EARLIER]).make(DEVICE)
    assert TOKENS.read(earlier) == DEVICE
    assert DeviceTokens([KEY]).read(earlier) is None


@pytest.mark.parametrize("at", range(len(TOKEN)))
def test_with_any_other_character_anywhere_is_none(at: int) -> None:
    for other in set(ALPHABET) - {TOKEN[at]}:
        assert TOKENS.read(TOKEN[:at] + other + TOKEN[at + 1 :]) is None


@pytest.mark.parametrize("text", ["", "twd_", TOKEN[:-1], TOKEN + "A", TOKEN + "=", " " + TOKEN, TOKEN.swapcase(), "é"])
def test_in_another_form_is_none(text: str) -> None:
    assert TOKENS.read(text) is None
