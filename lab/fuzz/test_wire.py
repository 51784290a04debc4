"""Requests as bytes, where the servers' parsers and not the drivers decide what a request is."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from lab.fuzz import wire
from lab.fuzz.budget import budget
from lab.fuzz.wire import LiveTwins, chunks, raw_requests, whole

BODY = b'{"email":"zed@example.com"}'
LENGTH = b"Content-Length: %d" % len(BODY)
LINES = [
    b"POST /v1/send-password-reset HTTP/1.1",
    b"Host: localhost",
    b"Content-Type: application/json",
    b"Connection: close",
]


def test_no_request_is_read_in_two_ways(live_twins: LiveTwins) -> None:
    @budget(100)
    @given(st.data())
    def search(data: st.DataObject) -> None:
        raw = data.draw(raw_requests(live_twins.known), label="request")
        live_twins.reset()
        live_twins.ask(raw)

    search()


def _misframed() -> Iterator[bytes]:
    """One good request, in every form that the search knows."""
    for form in wire.REQUEST_LINES:
        for words in ((b"POST", b"/v1/send-password-reset"), (b"GET", b"/healthz"), (b"OPTIONS", b"*")):
            yield whole([form % words[: form.count(b"%s")], *LINES[1:], LENGTH], BODY)
    for field in wire.FIELD_LINES:
        yield whole([*LINES, field, LENGTH], BODY)
        yield whole([LINES[0], field, *LINES[1:], LENGTH], BODY)
    for form in wire.LENGTHS:
        value = b"Content-Length: " + form % ((len(BODY),) * form.count(b"%"))
        yield whole([*LINES, value], BODY)
        yield whole([*LINES, LENGTH, value], BODY)
    for encoding in wire.ENCODINGS:
        field = b"Transfer-Encoding: " + encoding
        for framing in ([field], [field, field], [field, LENGTH], [LENGTH, field]):
            yield whole([*LINES, *framing], chunks(BODY))
    for body in wire.ODD_CHUNKS:
        yield whole([*LINES, b"Transfer-Encoding: chunked"], body)


def test_no_odd_form_of_a_request_is_read_in_two_ways(live_twins: LiveTwins) -> None:
    live_twins.reset()
    differences = []
    for raw in _misframed():
        try:
            live_twins.ask(raw)
        except AssertionError as error:
            differences.append((raw, str(error)))
    assert differences == []
