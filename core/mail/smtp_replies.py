"""What a permanent reply of a mail server is about: the recipient, or this service and the way its mail takes.

RFC 5321 section 4.2.1 calls every reply from 500 on permanent, but many of them end when an operator mends their cause,
or the next day: the daily quota of a relay (550 5.4.5 at Google), a relay that wants a login (530 5.7.0, 550 5.7.1), a
full disk (5.3.1), a sender without an SPF record (5.7.23). Mail that was given up then would be lost for every user. So
a message is given up only where the reply is about its recipient or about the message itself.
"""

import re

PERMANENT = 500  # replies from here on (RFC 5321 section 4.2.1)

# An enhanced status code (RFC 3463 section 2) is class, subject and detail, at the start of the reply's text.
_ENHANCED = re.compile(rb"([45])\.(\d{1,3})\.(\d{1,3})(?!\d)")
# Subjects (RFC 3463 section 3) of the recipient: addressing and mailbox; and of the message: content. The others are
# the mail system (3), routing (4), the protocol (5), and security and policy (7).
_ADDRESSING, _MAILBOX, _CONTENT = 1, 2, 6
_SENDERS_ADDRESS = (7, 8)  # details of addressing that are about the sender
# To RCPT without an enhanced code: mailboxes that do not exist, are full or not here, addresses that are not understood
# (RFC 5321 section 4.3.2), and domains that accept no mail (RFC 7504).
_RECIPIENT = (501, 550, 551, 552, 553, 556)


def enhanced_code(text: bytes) -> str | None:
    """Return the enhanced status code of a refusal, if its text begins with one."""
    found = _ENHANCED.match(text)
    return None if found is None else found[0].decode()


def is_final(code: int, text: bytes, *, to_recipient: bool) -> bool:
    """Whether no later attempt can succeed. ``to_recipient`` says that the command named the recipient (RCPT)."""
    if code < PERMANENT:
        return False
    found = _ENHANCED.match(text)
    if found is None or found[1] != b"5":
        return to_recipient and code in _RECIPIENT
    subject, detail = int(found[2]), int(found[3])
    if subject == _ADDRESSING:
        return detail not in _SENDERS_ADDRESS
    return subject in (_MAILBOX, _CONTENT)
