"""E-mail addresses: which are accepted, and the canonical form in which they are compared."""

import unicodedata
from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

from core.errors import FieldError, InvalidInput

# RFC 5321 sections 4.5.3.1.1 and 4.5.3.1.3. Checked before anything else: the validator takes 0.5 s for 1 MB.
MAX_LENGTH = 254
MAX_LOCAL_LENGTH = 64

INVALID = "This is not an e-mail address that can receive mail."
TOO_LONG = "The address is too long."


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailAddress:
    """An accepted address in two forms: one for sending mail, one for comparing."""

    address: str
    canonical: str


def parse_email(text: str, *, field: str = "email") -> EmailAddress:
    """Check ``text`` and return both forms.

    The canonical form is computed here and never by a database: SQLite's ``lower()`` knows ASCII only. It never
    upper-cases or case-folds, because those merge different letters (``ı`` and ``i``, ``ß`` and ``ss``), which in
    other products once sent a reset mail for one mailbox to another.

    Blanks around it are no part of it: keyboards of phones put one behind an address that they complete.

    Raises:
        InvalidInput: the address is too long or not an address.

    """
    text = text.strip()
    _require_short(text, field)
    try:
        found = validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        raise InvalidInput(FieldError(field=field, code="email_invalid", message=INVALID)) from None
    _require_short(found.normalized, field)  # NFC can make a text longer
    domain = found.ascii_domain.lower()
    local = unicodedata.normalize("NFC", found.local_part.lower())
    return EmailAddress(address=found.normalized, canonical=f"{local}@{domain}")


def _require_short(text: str, field: str) -> None:
    if len(text) > MAX_LENGTH or len(text.rpartition("@")[0]) > MAX_LOCAL_LENGTH:
        raise InvalidInput(FieldError(field=field, code="email_too_long", message=TOO_LONG))


def canonical_or_none(text: str) -> str | None:
    """Return the canonical form of a text typed at a login, or None if it cannot be an address."""
    try:
        return parse_email(text).canonical
    except InvalidInput:
        return None
