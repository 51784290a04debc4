"""The password policy: the rules for new passwords, and the normal form of every password."""

import re
import unicodedata
from pathlib import Path

from core.authentication.passwords.fingerprints import Fingerprints, FingerprintsError
from core.errors import FieldError, InvalidInput
from core.settings.files import SettingsError
from core.settings.groups import PasswordSettings

MAX_CHARACTERS = 128  # code points, which are at most 512 bytes
# Code points as typed: decomposed, a character has at most four. A longer text is refused before NFC, which sorts marks
# in quadratic time: 1.7 s for a body of 64 KiB, in which no other thread of Python runs.
MAX_TYPED = 4 * MAX_CHARACTERS

COMMON = Path(__file__).with_name("common.fingerprints")
"""94,000 leaked passwords, words and names, 3,973 of them of twelve characters or more; `common.md` says whence."""

_TOO_LONG = "password_too_long", f"A password has at most {MAX_CHARACTERS} characters."


def normalise(password: str) -> str:
    """Apply NFC and nothing else, so that the password also works from another keyboard (NIST SP 800-63B 3.1.1.2).

    The caller has checked `MAX_TYPED`.
    """
    return unicodedata.normalize("NFC", password)


class PasswordPolicy:
    """A new password must be long enough, uncommon, and not made of the address (NIST SP 800-63B-4 3.1.1.2).

    There are no composition rules, and length counts code points. Words of the organisation count for nothing: what is
    left of the password without them must be long enough and uncommon by itself (ASVS 6.2.11).
    """

    def __init__(self, settings: PasswordSettings) -> None:
        """Open the lists, which are mapped into memory and not read.

        Raises:
            SettingsError: the list of leaked passwords cannot be used.

        """
        self._min_length = settings.min_length
        self._words = sorted((normalise(word).lower() for word in settings.words), key=len, reverse=True)
        self._common = Fingerprints(COMMON)
        self._breached = None if settings.breached is None else _opened(settings.breached)

    def check(self, password: str, *, address: str, field: str) -> None:
        """Refuse a new password that is short, long, common, leaked, or made of the address or of words.

        Raises:
            InvalidInput: names ``field`` and the one reason.

        """
        if refusal := self.refusal(password, address=address, field=field):
            raise InvalidInput(refusal)

    def refusal(self, password: str, *, address: str | None, field: str) -> FieldError | None:
        """Return the one reason to refuse a new password, if any; without an address, it may be made of one."""
        reason = self._weakness(password, address)
        return FieldError(field=field, code=reason[0], message=reason[1]) if reason else None

    def _weakness(self, typed: str, address: str | None) -> tuple[str, str] | None:
        if len(typed) > MAX_TYPED:
            return _TOO_LONG
        password = normalise(typed)
        if len(password) < self._min_length:
            return "password_too_short", f"A password has at least {self._min_length} characters."
        if len(password) > MAX_CHARACTERS:
            return _TOO_LONG
        if address is not None and _contains_address(password, address):
            return "password_contains_email", "A password must not contain the e-mail address."
        return self._guessability(password)

    def _guessability(self, password: str) -> tuple[str, str] | None:
        lowered = password.lower()
        rest = self._without_words(lowered)
        if len(rest) < min(self._min_length, len(lowered)):
            return (
                "password_of_known_words",
                f"Without the words of this organisation, a password has at least {self._min_length} characters.",
            )
        if any(map(self._is_common, {lowered, rest})):
            return "password_too_common", "This password is among the first that an attacker tries."
        if self._breached is not None and any(form in self._breached for form in {password, lowered, rest}):
            return "password_breached", "This password is in a list of leaked passwords, which attackers try."
        return None

    def _without_words(self, lowered: str) -> str:
        for word in self._words:
            lowered = lowered.replace(word, "")
        return lowered

    def _is_common(self, lowered: str) -> bool:
        """Whether it is a known password or word: alone, repeated, or padded with digits and signs at its ends."""
        unit = _repeated_unit(lowered)
        is_keyboard_hammering = unit.isascii() and len(unit) <= 3  # noqa: PLR2004 - aaaa..., 123123...
        return is_keyboard_hammering or any(form in self._common for form in {lowered, unit, _PADDING.sub("", unit)})


def _opened(path: Path) -> Fingerprints:
    try:
        return Fingerprints(path)
    except FingerprintsError as error:
        raise SettingsError(f"AUTH_PASSWORD_BREACHED: {error}") from None
    except OSError as error:
        raise SettingsError(f"AUTH_PASSWORD_BREACHED: {path}: {error.strerror}") from None


def _contains_address(password: str, address: str) -> bool:
    lowered, whole = password.lower(), address.lower()
    local = whole.partition("@")[0]
    # A short local part such as "al" is part of half of all words and means nothing.
    return whole in lowered or (len(local) >= 4 and local in lowered)  # noqa: PLR2004


_PADDING = re.compile(r"^[\W\d_]+|[\W\d_]+$")


def _repeated_unit(text: str) -> str:
    """Return the shortest string whose repetition is ``text``: ``abcabc`` gives ``abc``. Linear in the length."""
    return text[: (text + text).index(text, 1)]
