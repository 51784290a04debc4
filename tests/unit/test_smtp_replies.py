"""What a permanent reply of a mail server is about, by its codes."""

from __future__ import annotations

import pytest

from core.mail.smtp_replies import enhanced_code, is_final

# As real servers say them; the third value is whether the message is given up.
REPLIES = [
    # About the recipient
    (550, b"5.1.1 The email account that you tried to reach does not exist.", True),
    (550, b"5.1.2 Host or domain name not found", True),
    (553, b"5.1.3 The recipient address is not a valid RFC 5321 address.", True),
    (556, b"5.1.10 Recipient address has null MX", True),
    (550, b"5.2.1 The email account that you tried to reach is inactive.", True),
    (552, b"5.2.2 The recipient's inbox is out of storage space.", True),
    (550, b"5.2.0 mailbox unavailable", True),
    # About the message
    (553, b"5.6.7 non-ASCII addresses are not permitted for that recipient", True),
    (552, b"5.6.0 malformed", True),
    # About the sender, which is this service
    (550, b"5.1.7 Sender address rejected", False),
    (550, b"5.1.8 Sender's domain does not exist", False),
    # About the system, the way, the protocol and the policy
    (552, b"5.3.1 Insufficient disk space", False),
    (552, b"5.3.4 Message too big for system", False),
    (550, b"5.4.5 Daily user sending limit exceeded.", False),
    (550, b"5.4.1 no answer from host", False),
    (554, b"5.4.6 Too many hops", False),
    (503, b"5.5.1 EHLO first", False),
    (501, b"5.5.4 Invalid argument", False),
    (530, b"5.7.0 Authentication required", False),
    (550, b"5.7.1 Relaying denied", False),
    (550, b"5.7.26 This mail has been blocked because the sender is unauthenticated.", False),
    (550, b"5.0.0 no reason", False),
    # A temporary reply, whatever its text says
    (450, b"5.1.1 greylisted", False),
    (452, b"4.2.2 over quota", False),
]


@pytest.mark.parametrize(("code", "text", "expected"), REPLIES)
@pytest.mark.parametrize("to_recipient", [True, False])
def test_an_enhanced_code_says_whether_a_reply_is_final(
    code: int, text: bytes, *, expected: bool, to_recipient: bool
) -> None:
    assert is_final(code, text, to_recipient=to_recipient) is expected


@pytest.mark.parametrize("code", [501, 550, 551, 552, 553, 556])
@pytest.mark.parametrize("text", [b"User unknown", b"", b"4.1.1 of another class", b"5.1 is no code", b"5.1.1234"])
def test_without_one_a_reply_is_about_the_recipient_only_if_the_command_named_one(code: int, text: bytes) -> None:
    assert is_final(code, text, to_recipient=True)
    assert not is_final(code, text, to_recipient=False)


@pytest.mark.parametrize("code", [500, 502, 503, 504, 521, 530, 535, 554])
def test_without_one_other_replies_are_about_this_service(code: int) -> None:
    assert not is_final(code, b"Transaction failed", to_recipient=True)


def test_of_the_text_only_the_enhanced_code_is_shown() -> None:
    assert enhanced_code(b"5.1.1 <ann@example.com>: user unknown\n5.1.1 in table") == "5.1.1"
    assert enhanced_code(b"ann@example.com 5.1.1") is None
    assert enhanced_code(b"4.2.2 over quota") == "4.2.2"
    assert enhanced_code(b"2.1.5 fine") is None
