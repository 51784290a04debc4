"""What the searches have found: each request at which the doors differed, and what was wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.app import build
from core.http.edge.limits import MAX_TARGET
from core.mail.texts.editions import preferred_languages
from core.origin import Origin
from lab.fuzz.strategies import FORM
from lab.fuzz.wire import LiveTwins, chunks, exchange, whole
from lab.fuzz.worlds import Asked, Letterbox, Twins, quick_store
from tests.support.api import PASSWORD
from tests.support.clock import FakeClock
from tests.support.databases import sqlite_url
from tests.support.servers import parsed
from tests.support.settings import make_settings

CLOSING = [b"Host: localhost", b"Connection: close"]
BODY = b'{"email":"zed@example.com"}'
LENGTH = b"Content-Length: %d" % len(BODY)
POST = [b"POST /v1/send-password-reset HTTP/1.1", *CLOSING, b"Content-Type: application/json"]
CHUNKED = b"Transfer-Encoding: chunked"


def get(target: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return whole([method + b" " + target + b" " + version, *CLOSING])


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


@pytest.mark.parametrize("path", ["/reset-password", "/verify-email"])
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


WHOLE: dict[str, bytes] = {
    # httptools takes what RFC 9112 section 3 forbids, gunicorn refuses it.
    "two blanks behind the method": get(b" /healthz"),
    "two blanks behind the target": get(b"/healthz "),
    "a post with two blanks": whole([POST[0].replace(b" ", b"  ", 1), *POST[1:], LENGTH], BODY),
    "HTTP/0.9": get(b"/healthz", version=b"HTTP/0.9"),
    "HTTP/2.0": get(b"/healthz", version=b"HTTP/2.0"),
    "another protocol": get(b"/healthz", version=b"RTSP/1.0"),
    "no version": whole([b"GET /healthz", *CLOSING]),
    "three empty lines first": b"\r\n\r\n\r\n" + get(b"/healthz"),
    # And the other way round.
    "HTTP/1.2": get(b"/healthz", version=b"HTTP/1.2"),
    "a blank behind the length": whole([*POST, LENGTH + b" "], BODY),
    # Blanks and tabs around a value are no part of it (RFC 9110 section 5.5).
    "a tab behind a host": whole([b"GET /healthz HTTP/1.1", b"Host: localhost\t", b"Connection: close"]),
    "a tab behind a scheme": whole([b"GET /v1/whoami HTTP/1.1", *CLOSING, b"Authorization: Bearer\t"]),
    # Targets that are no path.
    "a star for another method": get(b"*"),
    "a host without a path": get(b"http://localhost"),
    "a port beyond all ports": get(b"http://localhost:99999/healthz"),
    "no host": get(b"http:///healthz"),
    "a tunnel": get(b"localhost:80", b"CONNECT"),
    "a tunnel to a query": get(b"?a", b"CONNECT"),
    "a tunnel to a URL without a host": get(b"http:/healthz", b"CONNECT"),
    # What is measured: gunicorn shows the target as it came, uvicorn only its path and query.
    "a long target that ends in a question mark": get(b"/" + b"x" * (MAX_TARGET - 1) + b"?"),
    "a long target with a fragment": get(b"/" + b"x" * (MAX_TARGET - 1) + b"#ab"),
    "a long path behind a host": get(b"http://localhost/" + b"x" * (MAX_TARGET - 10)),
    # gunicorn drops names with underscores before the edge counts and measures them.
    "a long field with an underscore": whole([*get(b"/healthz").split(b"\r\n")[:3], b"X_Long: " + b"x" * 9000]),
    "101 fields with underscores": whole([b"GET /healthz HTTP/1.1", *CLOSING, *(b"X_%d: x" % n for n in range(99))]),
    # What a server itself refuses lacked the fields of the edge, or had those of a page.
    "two hosts": whole([b"GET /healthz HTTP/1.1", *CLOSING, b"Host: localhost"]),
    "two hosts at a page": whole([b"GET /docs HTTP/1.1", *CLOSING, b"Host: localhost"]),
    "a target far beyond the limit": get(b"/" + b"x" * 5000),
    # gunicorn refuses some fields behind the last chunk; httptools gives all of them out as if they were of the head.
    "a token behind the last chunk": whole([*POST, CHUNKED], b"2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\n\r\n"),
    "a content type behind the last chunk": whole(
        [*POST[:-1], CHUNKED], chunks(BODY)[:-2] + b"Content-Type: application/json\r\n\r\n"
    ),
    # Refused before the body is read at one door, and for the body at the other.
    "chunks that are none, at no path": whole([b"POST //nope HTTP/1.1", *CLOSING, CHUNKED], b"g\r\n{}\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_neither_server_reads_what_the_other_does_not(live_twins: LiveTwins, name: str) -> None:
    live_twins.reset()
    live_twins.ask(WHOLE[name])


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
