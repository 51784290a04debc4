"""Letters, rendered from templates in the language of the recipient."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from email_validator import validate_email

from core.mail.model import MessageKind
from core.mail.texts.editions import Texts
from core.settings.whole import Settings

KIND_HEADER = "X-Twinauth-Message"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """The content and the recipient of one e-mail."""

    id: uuid.UUID
    kind: str
    recipient: str
    languages: str
    at: datetime
    """The time of the event that it reports."""
    facts: Mapping[str, str]
    token: str | None = field(default=None, repr=False)
    lifetime: timedelta | None = None
    """How long the token is valid."""


# The pages of the links. The token is in the fragment, which browsers send to no server and in no Referer.
_PAGES: Mapping[str, str] = {
    MessageKind.PASSWORD_RESET: "/reset-password",
    MessageKind.EMAIL_VERIFICATION: "/verify-email",
    MessageKind.EMAIL_CHANGE: "/verify-email",
    MessageKind.EMAIL_CHANGED: "/undo-email-change",
}


class EmailRenderer:
    """Turns letters into e-mails."""

    def __init__(self, texts: Texts, settings: Settings, *, kinds: Sequence[str] = tuple(MessageKind)) -> None:
        """Try every letter if the operator has texts of their own.

        Raises:
            TextsError: one of them cannot be rendered.

        """
        self._texts = texts
        self._kinds = kinds
        self._public_url = settings.http.public_url
        host = settings.public_host
        self._domain = f"[IPv6:{host}]" if ":" in host else host  # RFC 5321 section 4.1.3
        self._sender = _sender(settings.mail.mail_from)
        if texts.folder is not None:
            self._try_all()

    def write(self, letter: Letter) -> EmailMessage:
        """Make the e-mail, in plain text and in HTML. The same letter has the same ``Message-ID`` each time."""
        edition = self._texts.edition(letter.languages)
        values = {
            "address": letter.recipient,
            "at": letter.at,
            "ip": letter.facts.get("ip") or "?",
            "public_url": self._public_url,
            "token": letter.token,
            "link": self._link(letter),
            "lifetime": letter.lifetime,
        }
        text = edition.text(f"letters/{letter.kind}.jinja", layout="letters/layout.txt", **values)
        html = edition.html(f"letters/{letter.kind}.jinja", layout="letters/layout.html", **values)
        subject = edition.block(f"letters/{letter.kind}.jinja", "subject", **values)
        email = EmailMessage(policy=SMTP)
        email["From"] = self._sender
        email["To"] = _recipient(letter.recipient)
        email["Subject"] = subject
        email["Date"] = format_datetime(letter.at)
        email["Message-ID"] = f"<{letter.id}@{self._domain}>"
        # RFC 3834: no automatic replies, such as out-of-office notes.
        email["Auto-Submitted"] = "auto-generated"
        email[KIND_HEADER] = letter.kind
        email.set_content(text)
        email.add_alternative(html, subtype="html")
        email["Content-Language"] = edition.language  # last: setting the content removes every Content-* field
        return email

    def _try_all(self) -> None:
        for language in self._texts.languages:
            for kind in self._kinds:
                with self._texts.trying(f"letters/{kind}.jinja", language):
                    self.write(_sample(kind, language))

    def _link(self, letter: Letter) -> str | None:
        page = _PAGES.get(letter.kind)
        return None if page is None or letter.token is None else f"{self._public_url}{page}#token={letter.token}"


def _sample(kind: str, language: str) -> Letter:
    """Make a letter that is only rendered, never sent."""
    has_link = kind in _PAGES
    return Letter(
        id=uuid.UUID(int=0),
        kind=kind,
        recipient="somebody@example.com",
        languages=language,
        at=datetime.fromtimestamp(0, UTC),
        facts={"ip": "192.0.2.1", "request_id": ""},
        token="token" if has_link else None,
        lifetime=timedelta(hours=1) if has_link else None,
    )


def _sender(mailbox: str) -> Address:
    name, address = parseaddr(mailbox)
    return Address(name, addr_spec=address)


def _recipient(address: str) -> Address:
    """Return an address for a header field, with the domain in ASCII, which every server understands."""
    found = validate_email(address, check_deliverability=False)
    return Address(username=found.local_part, domain=found.ascii_domain)
