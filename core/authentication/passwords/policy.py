"""The password policy: the rules for new passwords, and the normal form of every password."""

import re
import unicodedata
from functools import cache

from core.errors import FieldError, InvalidInput
from core.settings.groups import PasswordSettings

MAX_CHARACTERS = 128  # code points, which are at most 512 bytes
# Code points as typed: decomposed, a character has at most four. A longer text is refused before NFC, which sorts marks
# in quadratic time: 1.7 s for a body of 64 KiB, in which no other thread of Python runs.
MAX_TYPED = 4 * MAX_CHARACTERS

_TOO_LONG = "password_too_long", f"A password has at most {MAX_CHARACTERS} characters."


def normalise(password: str) -> str:
    """Apply NFC and nothing else, so that the password also works from another keyboard (NIST SP 800-63B 3.1.1.2).

    The caller has checked `MAX_TYPED`.
    """
    return unicodedata.normalize("NFC", password)


class PasswordPolicy:
    """A new password must be long enough, uncommon, and not made of the address (NIST SP 800-63B-4 3.1.1.2).

    There are no composition rules, and length counts code points.
    """

    def __init__(self, settings: PasswordSettings) -> None:
        self._min_length = settings.min_length

    def load(self) -> None:
        """Read the common passwords, which takes 0.1 s and 17 MB, before a signup has to wait for them."""
        _common()

    def check(self, password: str, *, address: str, field: str) -> None:
        """Refuse a new password that is short, long, common, or made of the address.

        Raises:
            InvalidInput: names ``field`` and the one reason.

        """
        if refusal := self.refusal(password, address=address, field=field):
            raise InvalidInput(refusal)

    def refusal(self, password: str, *, address: str | None, field: str) -> FieldError | None:
        """Return the one reason to refuse a new password, if any; without an address, it may be made of one."""
        reason = _weakness(password, minimum=self._min_length, address=address)
        return FieldError(field=field, code=reason[0], message=reason[1]) if reason else None


def _weakness(typed: str, *, minimum: int, address: str | None) -> tuple[str, str] | None:
    if len(typed) > MAX_TYPED:
        return _TOO_LONG
    password = normalise(typed)
    if len(password) < minimum:
        return "password_too_short", f"A password has at least {minimum} characters."
    if len(password) > MAX_CHARACTERS:
        return _TOO_LONG
    if address is not None and _contains_address(password, address):
        return "password_contains_email", "A password must not contain the e-mail address."
    if _is_common(password):
        return "password_too_common", "This password is among the first that an attacker tries."
    return None


def _contains_address(password: str, address: str) -> bool:
    lowered, whole = password.lower(), address.lower()
    local = whole.partition("@")[0]
    # A short local part such as "al" is part of half of all words and means nothing.
    return whole in lowered or (len(local) >= 4 and local in lowered)  # noqa: PLR2004


_PADDING = re.compile(r"^[\W\d_]+|[\W\d_]+$")


def _is_common(password: str) -> bool:
    """Whether it is a known password or word: alone, repeated, or padded with digits and signs at its ends."""
    lowered = password.lower()
    unit = _repeated_unit(lowered)
    is_keyboard_hammering = unit.isascii() and len(unit) <= 3  # noqa: PLR2004 - aaaa..., 123123...
    return is_keyboard_hammering or not _common().isdisjoint((lowered, unit, _PADDING.sub("", unit)))


def _repeated_unit(text: str) -> str:
    """Return the shortest string whose repetition is ``text``: ``abcabc`` gives ``abc``. Linear in the length."""
    return text[: (text + text).index(text, 1)]


@cache
def _common() -> frozenset[str]:
    """Load about 90,000 leaked passwords, words and names; some 3,900 of them have twelve characters or more."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415 - only processes with a policy load it

    return frozenset({"twinauth"}).union(word for words in FREQUENCY_LISTS.values() for word in words if len(word) >= 4)  # noqa: PLR2004
