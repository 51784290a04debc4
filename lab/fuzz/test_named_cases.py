"""What the searches have found: each request at which the doors differed, and what was wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.app import build
from core.http.edge.limits import MAX_TARGET
from core.mail.texts.editions import preferred_languages
from core.origin import Origin
from lab.fuzz.odd_requests import CHUNKED, CLOSING, ODD_REQUESTS
from lab.fuzz.strategies import FORM
from lab.fuzz.twins import Asked, Letterbox, Twins, quick_store
from lab.fuzz.wire import LiveTwins, chunks, exchange, whole
from tests.support.api import PASSWORD
from tests.support.clock import FakeClock
from tests.support.databases import sqlite_url
from tests.support.servers import parsed
from tests.support.settings import make_settings


def test_a_question_mark_before_nothing_counts_alike_in_the_length_of_a_target(twins: Twins) -> None:
    # ASGI shows no question mark where nothing follows it; RAW_URI does, and made the target one too long.
    twins.reset()
    twins.ask(Asked("GET", "/" + "x" * (MAX_TARGET - 1) + "?"))


@pytest.mark.parametrize("host", [".", "..", "a..b", ".a", "x" * 64, "a." + "x" * 64])
def test_a_host_with_an_empty_or_overlong_label_is_answered_alike(twins: Twins, host: str) -> None:
    # Werkzeug encodes the name (IDNA) before it routes, and refuses it; the edge and Starlette let it pass.
    twins.reset()
    twins.ask(Asked("GET", "/healthz", [("Host", host)]))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/token", b"username=" + b"x" * 255),
        ("/v1/revoke", b"token=" + b"x" * 8193),
        ("/v1/introspect", b"token=" + b"x" * 8193),
    ],
)
def test_of_malformed_credentials_and_a_form_that_is_too_long_both_doors_tell_the_same(
    twins: Twins, path: str, body: bytes
) -> None:
    # FastAPI asks for credentials before it validates the form, the views did so afterwards.
    twins.reset()
    twins.ask(Asked("POST", path, [("Content-Type", FORM), ("Authorization", "Basic ")], body))


@pytest.mark.parametrize("path", ["/reset-password", "/verify-email", "/undo-email-change"])
@pytest.mark.parametrize("languages", ["DE", "De-at", "EN", "fr, DE;q=0.5"])
def test_a_language_is_read_in_any_case(twins: Twins, path: str, languages: str) -> None:
    # Found under the reader's spelling, looked up under ours: an error 500, and mail that was never sent.
    twins.reset()
    assert twins.ask(Asked("GET", path, [("Accept-Language", languages)])).status == 200


def test_mail_is_sent_in_a_language_that_was_asked_for_in_capitals(tmp_path: Path) -> None:
    letterbox = Letterbox()
    with sqlite_url(tmp_path) as url, quick_store(url) as store:
        auth = build(make_settings(), store=store, clock=FakeClock(), mailer=letterbox)
        auth.accounts.sign_up("ann@example.com", PASSWORD, None, Origin(ip="127.0.0.1", languages="DE"))
        auth.mail_worker.run_once()
    assert len(letterbox.letters) == 1


def test_what_readers_ask_for_is_not_kept_without_an_end() -> None:
    # Every client chooses the key of this cache, and the field may be 8 KB long.
    assert preferred_languages.cache_info().maxsize is not None


@pytest.mark.parametrize("name", ODD_REQUESTS)
def test_neither_server_reads_what_the_other_does_not(live_twins: LiveTwins, name: str) -> None:
    live_twins.reset()
    live_twins.ask(ODD_REQUESTS[name])


def _behind_the_last_chunk(url: str, field: bytes, lines: list[bytes], body: bytes = b"") -> bytes:
    return exchange(url, whole([*lines, *CLOSING, CHUNKED], chunks(body)[:-2] + field + b"\r\n\r\n"))


@pytest.mark.parametrize("framework", ["flask", "fastapi"])
def test_a_token_behind_the_last_chunk_authenticates_nobody(live_twins: LiveTwins, framework: str) -> None:
    live_twins.reset()
    field = b"Authorization: Bearer " + live_twins.known.access_tokens[0].encode()
    raw = _behind_the_last_chunk(getattr(live_twins, framework), field, [b"GET /v1/whoami HTTP/1.1"])
    assert parsed(raw).status == 401


@pytest.mark.parametrize("framework", ["flask", "fastapi"])
def test_an_address_behind_the_last_chunk_is_not_believed(live_twins: LiveTwins, framework: str) -> None:
    # A proxy writes X-Forwarded-For into the head. What a client writes behind the body came to stand behind it, where
    # the nearest hop stands: any address, and with each a new allowance of passwords to guess.
    live_twins.reset()
    url = getattr(live_twins, framework)
    body = f'{{"email":"ben@example.com","password":"{PASSWORD}"}}'.encode()
    lines = [b"POST /v1/login HTTP/1.1", b"Content-Type: application/json", b"X-Forwarded-For: 203.0.113.1"]
    answer = parsed(_behind_the_last_chunk(url, b"X-Forwarded-For: 198.51.100.9", lines, body))
    token = answer.json["access_token"].encode()
    sessions = parsed(exchange(url, whole([b"GET /v1/sessions HTTP/1.1", *CLOSING, b"Authorization: Bearer " + token])))
    assert sessions.json["items"][0]["ip"] == "203.0.113.1"
