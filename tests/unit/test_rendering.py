"""The e-mails themselves: whole in every language, and with nothing in them that a reader or a server could mistake."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import default as readable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from core.mail.model import MessageKind
from core.mail.rendering import KIND_HEADER, EmailRenderer, Letter
from core.mail.texts.editions import HERE, Texts
from core.mail.transports import recipient_of, text_of
from core.settings.groups import HttpSettings, MailSettings
from tests.support.clock import START
from tests.support.settings import make_settings

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "texts.md"
MESSAGE_ID = uuid.UUID("0197a3c2-7000-7c11-8e2f-5d9b3a6c4f10")
TOKEN = "twm_" + "Ab-_" * 8
PUBLIC_URL = "https://auth.example.com/accounts"
PAGES = {
    MessageKind.PASSWORD_RESET: "/reset-password",
    MessageKind.EMAIL_VERIFICATION: "/verify-email",
    MessageKind.EMAIL_CHANGE: "/verify-email",
    MessageKind.EMAIL_CHANGED: "/undo-email-change",
}
LANGUAGES = ("en", "de")
EVERY = [(kind, language) for kind in MessageKind for language in LANGUAGES]


def _writer(folder: Path | None = None, *, public_url: str = PUBLIC_URL, **mail: Any) -> EmailRenderer:
    settings = make_settings(http=HttpSettings(public_url=public_url), mail=MailSettings(**mail))
    return EmailRenderer(Texts(folder, language="en"), settings)


def _letter(kind: MessageKind = MessageKind.PASSWORD_CHANGED, language: str = "en", **changes: Any) -> Letter:
    values: dict[str, Any] = {
        "id": MESSAGE_ID,
        "kind": kind,
        "recipient": "ann@example.com",
        "languages": language,
        "at": START,
        "facts": {"ip": "192.0.2.7", "request_id": "a-request"},
    }
    if kind in PAGES:
        values |= {"token": TOKEN, "lifetime": timedelta(minutes=15)}
    return Letter(**values | changes)


def _received(email: EmailMessage) -> EmailMessage:
    """As a recipient reads it: out of the bytes that are sent."""
    return message_from_bytes(email.as_bytes(), EmailMessage, policy=readable)


def _written(letter: Letter, writer: EmailRenderer | None = None) -> EmailMessage:
    return _received((writer or _writer()).write(letter))


def _html_of(email: EmailMessage) -> str:
    body = email.get_body(("html",))
    assert body is not None
    return str(body.get_content())


class _Page(HTMLParser):
    """The elements, links and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.language: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attributes)
        if tag == "html":
            self.language = values.get("lang")
        self.links += [value for name, value in attributes if name in {"href", "src"} and value]

    def handle_data(self, data: str) -> None:
        self.text += data


# Whole


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_every_letter_in_every_language_is_whole(kind: MessageKind, language: str) -> None:
    email = _written(_letter(kind, language))
    assert email.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in email.iter_parts()] == ["text/plain", "text/html"]
    assert email["Content-Language"] == language
    assert email[KIND_HEADER] == kind.value
    subject, text, page = str(email["Subject"]), text_of(email), _Page(_html_of(email))
    assert subject.strip() == subject != ""
    assert len(text.split("\n\n")) >= 2
    assert page.language == language
    for content in (subject, text, page.text):
        assert not re.search(r"%\(|\{[{%]|Undefined|None", content), content
    # The two say the same.
    for sentence in filter(None, (line.strip() for line in text.splitlines())):
        assert " ".join(sentence.split()) in " ".join(page.text.split())


@pytest.mark.parametrize("kind", list(MessageKind))
def test_no_letter_is_the_same_in_two_languages(kind: MessageKind) -> None:
    english, german = (_written(_letter(kind, language)) for language in LANGUAGES)
    assert english["Subject"] != german["Subject"]
    assert not set(filter(None, text_of(english).splitlines())) & (
        set(filter(None, text_of(german).splitlines())) - {_link(kind)}
    )


def test_there_is_a_template_for_every_kind_and_for_nothing_else() -> None:
    found = {path.stem for path in (HERE / "letters").glob("*.jinja")}
    assert found == {kind.value for kind in MessageKind}


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_a_letter_says_who_it_is_for_when_or_where_as_its_kind_needs(kind: MessageKind, language: str) -> None:
    text = text_of(_written(_letter(kind, language)))
    told = {
        MessageKind.PASSWORD_CHANGED: ("192.0.2.7", "2026"),
        MessageKind.SESSION_ENDED: ("192.0.2.7", "2026"),
        MessageKind.SIGNUP_ATTEMPTED: ("ann@example.com", "2026"),
        MessageKind.EMAIL_CHANGED: ("ann@example.com", "2026", "15 "),
        MessageKind.EMAIL_CORRECTED: ("ann@example.com", "2026"),
        MessageKind.EMAIL_CHANGE_UNDONE: ("ann@example.com", "2026"),
        MessageKind.EMAIL_CHANGE_REQUESTED: ("2026",),
    }.get(kind, ("ann@example.com", "15 "))
    for value in told:
        assert value in text


@pytest.mark.parametrize(
    ("lifetime", "language", "words"),
    [
        (timedelta(minutes=15), "en", "15 minutes"),
        (timedelta(minutes=15), "de", "15 Minuten"),
        (timedelta(hours=24), "en", "24 hours"),
        (timedelta(hours=24), "de", "24 Stunden"),
    ],
)
def test_a_lifetime_is_said_in_words(lifetime: timedelta, language: str, words: str) -> None:
    letter = _letter(MessageKind.EMAIL_VERIFICATION, language, lifetime=lifetime)
    assert words in text_of(_written(letter))


def test_an_unknown_network_address_is_no_gap() -> None:
    assert "network address ?." in text_of(_written(_letter(facts={"ip": "", "request_id": ""})))


# The link


def _link(kind: MessageKind) -> str:
    return f"{PUBLIC_URL}{PAGES.get(kind)}#token={TOKEN}"


@pytest.mark.parametrize(("kind", "language"), [(kind, language) for kind, language in EVERY if kind in PAGES])
def test_the_link_leads_to_its_page_under_the_public_url_with_the_token_in_the_fragment(
    kind: MessageKind, language: str
) -> None:
    email = _written(_letter(kind, language))
    assert re.findall(r"https?://\S+", text_of(email)) == [_link(kind)]
    page = _html_of(email)
    assert _Page(page).links == [_link(kind)]
    assert page.count(TOKEN) == 2, "in the link, and in what can be copied"
    assert all(email.as_string().count(f"{sign}{TOKEN}") == 0 for sign in ("?token=", "/", "&token="))
    headers = "\n".join(f"{name}: {value}" for name, value in email.items())
    assert TOKEN not in headers


@pytest.mark.parametrize("kind", [kind for kind in MessageKind if kind not in PAGES])
def test_a_notice_has_no_link_at_all(kind: MessageKind) -> None:
    """Nobody learns from us to follow links in notices."""
    email = _written(_letter(kind))
    assert "://" not in text_of(email)
    assert _Page(_html_of(email)).links == []


@pytest.mark.parametrize(
    ("public_url", "link"),
    [
        ("https://auth.example.com/", "https://auth.example.com/reset-password#token="),
        ("http://localhost:8000", "http://localhost:8000/reset-password#token="),
        ("http://[::1]:8000", "http://[::1]:8000/reset-password#token="),
    ],
)
def test_the_link_begins_with_the_public_url(public_url: str, link: str) -> None:
    email = _written(_letter(MessageKind.PASSWORD_RESET), _writer(public_url=public_url))
    assert link + TOKEN in text_of(email)


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_nothing_in_the_html_is_loaded_from_anywhere(kind: MessageKind, language: str) -> None:
    """No pixel that tells who read it, no script, no form."""
    page = _html_of(_written(_letter(kind, language)))
    assert set(_Page(page).tags) <= {"html", "head", "meta", "title", "body", "p", "a"}
    assert "url(" not in page
    assert "@import" not in page


# Headers


def test_the_headers_of_a_letter() -> None:
    email = _written(_letter())
    assert email["From"] == "Twinauth <no-reply@auth.example.com>"
    assert email["To"] == "ann@example.com"
    assert email["Date"] == "Sat, 21 Nov 2026 09:30:00 +0000"
    assert email["Auto-Submitted"] == "auto-generated"
    assert email["MIME-Version"] == "1.0"
    assert not any(email[name] for name in ("Cc", "Bcc", "Reply-To", "Sender"))
    assert sorted(email.keys()) == sorted(set(email.keys())), "none of them twice"


def test_the_message_id_is_that_of_the_message_at_every_attempt_and_in_every_language() -> None:
    emails = [_written(_letter(language=language, languages=language)) for language in LANGUAGES * 2]
    assert {str(email["Message-ID"]) for email in emails} == {f"<{MESSAGE_ID}@auth.example.com>"}
    assert _written(_letter(id=uuid.UUID(int=7)))["Message-ID"] != emails[0]["Message-ID"]


@pytest.mark.parametrize(
    "public_url", ["http://127.0.0.1:8000", "http://[::1]:8000", "http://localhost:8000", "https://b.example.com"]
)
def test_a_message_id_is_one_whatever_the_host(public_url: str) -> None:
    """RFC 5322 section 3.6.4: on the right stand a name, or something in brackets."""
    email = _written(_letter(), _writer(public_url=public_url))
    assert re.fullmatch(r"<[0-9a-f-]{36}@([A-Za-z0-9.-]+|\[[^\]\[\s]+\])>", str(email["Message-ID"]))


def test_the_same_letter_gives_the_same_headers_and_texts_each_time() -> None:
    one, two = (_written(_letter(MessageKind.PASSWORD_RESET)) for _ in range(2))
    assert [(name, value) for name, value in one.items() if name != "Content-Type"] == [
        (name, value) for name, value in two.items() if name != "Content-Type"
    ]
    assert (text_of(one), _html_of(one)) == (text_of(two), _html_of(two))


@pytest.mark.parametrize(
    ("mail_from", "name", "address"),
    [
        ("no-reply@example.com", "", "no-reply@example.com"),
        ("Accounts <no-reply@example.com>", "Accounts", "no-reply@example.com"),
        ('"Accounts, Ltd." <no-reply@example.com>', "Accounts, Ltd.", "no-reply@example.com"),
        ("J\u00fcrgens Konten <no-reply@example.com>", "J\u00fcrgens Konten", "no-reply@example.com"),
    ],
)
def test_the_sender_is_the_one_of_the_settings(mail_from: str, name: str, address: str) -> None:
    sender: Address = _written(_letter(), _writer(mail_from=mail_from))["From"].addresses[0]
    assert (sender.display_name, sender.addr_spec) == (name, address)


@pytest.mark.parametrize(
    ("recipient", "address"),
    [
        ("Ann@Example.com", "Ann@example.com"),
        ("ann@b\u00fccher.example", "ann@xn--bcher-kva.example"),
        ("ann@fa\u00df.de", "ann@xn--fa-hia.de"),
        ("o'neil&co+a=b@example.com", "o'neil&co+a=b@example.com"),
        ("a.b.c@example.com", "a.b.c@example.com"),
        ("{ann}|%s@example.com", "{ann}|%s@example.com"),
    ],
    ids=ascii,
)
def test_the_recipient_is_one_address_with_its_domain_in_ascii(recipient: str, address: str) -> None:
    email = _writer().write(_letter(recipient=recipient))
    assert len(_received(email)["To"].addresses) == 1
    assert recipient_of(_received(email)) == address
    email.as_bytes().decode("ascii")


def test_a_local_part_that_is_not_ascii_is_kept_for_servers_that_take_it() -> None:
    email = _writer().write(_letter(recipient="j\u00fcrgen@b\u00fccher.example"))
    assert recipient_of(email) == "j\u00fcrgen@xn--bcher-kva.example"


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_every_line_is_short_enough_and_ends_as_servers_want_it(kind: MessageKind, language: str) -> None:
    """RFC 5322 section 2.1.1; and an address is up to 254 characters long."""
    long = f"{'x' * 64}@{'y' * 60}.{'z' * 60}.example.com"
    content = _writer().write(_letter(kind, language, recipient=long)).as_bytes()
    assert content.count(b"\n") == content.count(b"\r\n")
    assert max(map(len, content.split(b"\r\n"))) <= 998
    content.decode("ascii")


# What others wrote

HOSTILE = "<script>alert('1')</script>&\"\r\nBcc: eve@example.com\r\n\r\nHello"


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_values_are_escaped_in_html(kind: MessageKind, language: str) -> None:
    letter = _letter(kind, language, recipient="o'neil&co@example.com", facts={"ip": HOSTILE, "request_id": HOSTILE})
    page = _html_of(_written(letter))
    assert set(_Page(page).tags) <= {"html", "head", "meta", "title", "body", "p", "a"}
    assert "<script" not in page
    assert "'neil&co" not in page
    if "neil" in page:
        assert "o'neil&co@example.com" in unescape(page)
        assert "o'neil&co@example.com" in text_of(_written(letter)), "and in plain text nothing is"


@pytest.mark.parametrize("kind", [MessageKind.PASSWORD_CHANGED, MessageKind.SESSION_ENDED])
def test_an_address_of_a_network_that_holds_markup_is_text(kind: MessageKind) -> None:
    page = _html_of(_written(_letter(kind, facts={"ip": HOSTILE, "request_id": ""})))
    assert "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;" in page


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_no_value_becomes_a_header(kind: MessageKind, language: str) -> None:
    hostile = _letter(kind, f"{language}\r\nBcc: eve@example.com", facts={"ip": HOSTILE, "request_id": HOSTILE})
    email = _written(hostile)
    assert sorted(email.keys()) == sorted(_written(_letter(kind, language)).keys())
    assert "eve" not in "\n".join(map(str, email.values()))


@pytest.mark.parametrize(
    "recipient",
    [
        "ann@example.com\r\nBcc: eve@example.com",
        "ann@example.com\nBcc: eve@example.com",
        "ann@example.com, eve@example.com",
        "Ann <ann@example.com>",
        "ann",
        "",
    ],
    ids=ascii,
)
def test_what_is_not_one_address_is_written_to_nobody(recipient: str) -> None:
    writer, letter = _writer(), _letter(recipient=recipient)
    with pytest.raises(ValueError, match=r".+"):
        writer.write(letter)


def test_a_subject_is_one_line_whatever_an_operator_puts_there(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    own = (HERE / "letters" / "password_changed.jinja").read_text()
    subject = "{% block subject %}\n Sir,\r\n\t{{ ip }}\n{% endblock %}"
    own = re.sub(r"\{% block subject %\}.*?\{% endblock %\}", lambda _found: subject, own)
    (tmp_path / "letters" / "password_changed.jinja").write_text(own)
    email = _written(_letter(facts={"ip": "1\r\nBcc: eve@example.com", "request_id": ""}), _writer(tmp_path))
    assert email["Subject"] == "Sir, 1 Bcc: eve@example.com"
    assert email["Bcc"] is None


def test_a_subject_that_is_not_ascii_arrives_as_it_is() -> None:
    email = _writer().write(_letter(MessageKind.EMAIL_CHANGED, "de"))
    assert _received(email)["Subject"] == "Ihre E-Mail-Adresse wurde ge\u00e4ndert"
    email.as_bytes().decode("ascii")


def test_the_example_of_the_guide_does_what_it_says(tmp_path: Path) -> None:
    guide = GUIDE.read_text()
    files = re.findall(r"^`texts/(\S+)`.*?^```\w+\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in files] == ["letters/layout.txt", "locale/en.po"]
    for name, content in files:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(content)
    email = _written(_letter(MessageKind.PASSWORD_RESET), _writer(tmp_path))
    assert email["Subject"] == "Your new password for Ann's Bakery"
    first, *_, last = text_of(email).strip().splitlines()
    assert first == "To choose a new password for ann@example.com, follow this link:"
    assert last == "Ann's Bakery, https://bakery.example.com"


def test_the_guide_names_every_kind_of_file_and_what_a_letter_knows() -> None:
    guide = GUIDE.read_text()
    for path in (path for place in ("letters", "pages") for path in (HERE / place).iterdir()):
        assert path.suffix == ".jinja" or f"`{path.parent.name}/{path.name}`" in guide
    used = {name for path in (HERE / "letters").iterdir() for name in re.findall(r"\{\{ (\w+) \}\}", path.read_text())}
    assert all(f"`{name}`" in guide for name in used - {"when"}), "the templates make that one of `at`"


def test_a_letter_does_not_show_its_token() -> None:
    assert TOKEN not in repr(_letter(MessageKind.PASSWORD_RESET))
