"""What holds for every request, whatever it asks for. No database can change any of it."""

import re

import pytest

from core.contract.operation import Auth
from core.http.edge.routing import METHODS
from tests.support.api import EMAIL, OTHER_EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.contract import OPERATIONS
from tests.support.parity import fields_of
from tests.support.services import on_one_database

pytestmark = on_one_database

JSON = [("Content-Type", "application/json")]
GOOD = b'{"email": "ann@example.com", "password": "correct horse battery"}'


def code_of(api: Api, body: bytes, content_type: str | None = "application/json") -> tuple[int, str]:
    headers = [] if content_type is None else [("Content-Type", content_type)]
    answer = api.send("POST", "/v1/signup", content=body, headers=headers)
    return answer.status, answer.json.get("code", "created")


NOT_STRICT_JSON = [
    b"",
    b" ",
    b"{",
    b'{"email": ',
    GOOD + b"x",
    b"'",
    b"\xef\xbb\xbf" * 2 + GOOD,
    GOOD + b"\xef\xbb\xbf",
    GOOD.decode().encode("utf-16"),
    GOOD.decode().encode("utf-32"),
    b'{"email": "\xff\xfe"}',
    b'{"email": "a", "email": "b"}',
    b'{"a": {"b": 1, "b": 2}}',
    b'{"email": NaN}',
    b'{"email": Infinity}',
    b'{"email": -Infinity}',
    b'{"email": 1e999}',
    b'{"email": "\\ud800"}',
    b'{"\\udfff": 1}',
    b'{"email": ' + b"1" * 5000 + b"}",
    b"[" * 33 + b"]" * 33,
    b"[" * 3000 + b"]" * 3000,
    b'{"a":' * 2000 + b"1" + b"}" * 2000,
]


def test_what_is_not_strict_json_is_malformed(api: Api) -> None:
    assert {body: code_of(api, body) for body in NOT_STRICT_JSON} == dict.fromkeys(
        NOT_STRICT_JSON, (400, "malformed_json")
    )


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "It cannot be read at line 1, column 1."),
        (b'{"email": "canary" 1}', "It cannot be read at line 1, column 20."),
        (b'{\r\n  "email": canary\r\n}', "It cannot be read at line 2, column 12."),
        (b'{"email": "can\nary"}', "It cannot be read at line 1, column 15."),
        (GOOD + b" canary", "It cannot be read at line 1, column 67."),
        (b'{"email": "canary\xff"}', "Byte 18 is not UTF-8."),
        (b'{"canary": 1, "canary": 2}', "A member stands twice in one object."),
        (b'{"canary": NaN}', "NaN and infinities are not JSON."),
        (b'{"canary": 1e999}', "A number is too large."),
        (b'{"canary": ' + b"1" * 5000 + b"}", "A number is too large."),
        (b'{"canary": "\\ud800"}', "A string has half of a surrogate pair."),
        (b"[" * 40 + b"]" * 40, "It is nested too deep."),
        (b"{" + b",".join(b'"canary%d": 1' % n for n in range(51)) + b"}", "An object has more than 50 members."),
    ],
)
def test_malformed_json_names_the_place_or_the_reason_and_never_the_input(api: Api, body: bytes, place: str) -> None:
    answer = api.send("POST", "/v1/signup", content=body, headers=JSON)
    assert (answer.status, answer.json["code"]) == (400, "malformed_json")
    assert answer.json["detail"] == f"The body is not valid JSON in UTF-8. {place}"
    assert b"canary" not in answer.body


def test_a_byte_order_mark_before_json_is_passed_over(api: Api) -> None:
    assert code_of(api, b"\xef\xbb\xbf" + GOOD) == (201, "created")


@pytest.mark.parametrize("body", [b"[]", b"null", b"true", b"1", b'"{}"', b"[" * 31 + b"]" * 31])
def test_json_that_is_no_object_is_invalid_input(api: Api, body: bytes) -> None:
    answer = api.send("POST", "/v1/signup", content=body, headers=JSON)
    assert answer.status == 422
    assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [("", "wrong_type")]


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", 201),
        ("Application/JSON", 201),
        ("application/json; charset=utf-8", 201),
        ('application/json;charset="UTF-8"', 201),
        ("application/json; charset=utf-8; foo=bar", 201),
        ('application/json; profile="https://example.com/a;b"; odata.metadata=minimal', 201),
        ("application/json;v=1;;", 201),
        ("application/json; foo=bar; charset=latin-1", 415),
        ("application/json; foo", 415),
        ('application/json; foo="bar', 415),
        (None, 415),
        ("", 415),
        ("text/plain", 415),
        ("text/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/foo+json", 415),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=latin-1", 415),
        ("application/jsonx", 415),
    ],
)
def test_the_content_type_must_be_json(api: Api, content_type: str | None, expected: int) -> None:
    assert code_of(api, GOOD, content_type)[0] == expected


@pytest.mark.parametrize(
    ("path", "wanted"), [("/v1/signup", "application/json"), ("/v1/token", "application/x-www-form-urlencoded")]
)
def test_a_refused_content_type_names_the_one_that_is_wanted(api: Api, path: str, wanted: str) -> None:
    answer = api.send("POST", path, content=GOOD, headers=[("Content-Type", "text/plain")])
    assert (answer.status, answer.json["detail"]) == (415, f"Send the body as {wanted}, in UTF-8.")
    assert answer.header("Accept") == wanted


@pytest.mark.parametrize(
    "codings", [["gzip"], ["GZIP"], ["br"], ["identity, gzip"], ["identity", "gzip"], ["nonsense"]]
)
@pytest.mark.parametrize("path", ["/v1/signup", "/v1/token"])
def test_a_compressed_body_is_refused_and_told_how_it_is_wanted(api: Api, path: str, codings: list[str]) -> None:
    """16 KiB of it may be gigabytes."""
    headers = [*JSON, *[("Content-Encoding", coding) for coding in codings]]
    answer = api.send("POST", path, content=GOOD, headers=headers)
    assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")
    assert answer.header("Accept-Encoding") == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity"])
def test_a_coding_that_changes_nothing_is_none(api: Api, coding: str) -> None:
    answer = api.send("POST", "/v1/signup", content=GOOD, headers=[*JSON, ("Content-Encoding", coding)])
    assert answer.status == 201


def test_the_coding_of_a_body_that_nobody_reads_is_no_matter(api: Api) -> None:
    assert api.get("/healthz", headers=[("Content-Encoding", "gzip")]).status == 200


@pytest.mark.parametrize("content_type", [None, "application/json", "multipart/form-data; boundary=x", "text/plain"])
def test_the_token_endpoint_takes_forms_only(api: Api, content_type: str | None) -> None:
    headers = [] if content_type is None else [("Content-Type", content_type)]
    answer = api.send("POST", "/v1/token", content=b"grant_type=password", headers=headers)
    assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_64_kib_is_too_large(api: Api, chunked: bool) -> None:  # noqa: FBT001 - a case of the table
    body = GOOD[:-1] + b', "display_name": "' + b"x" * (16 * 1024) + b'"}'
    answer = api.send("POST", "/v1/signup", content=body, headers=JSON, chunked=chunked)
    assert (answer.status, answer.json["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_64_kib_is_read(api: Api, chunked: bool) -> None:  # noqa: FBT001 - a case of the table
    body = GOOD + b" " * (16 * 1024 - len(GOOD))
    assert api.send("POST", "/v1/signup", content=body, headers=JSON, chunked=chunked).status == 201


def test_a_length_that_lies_is_too_large_before_anything_is_read(api: Api) -> None:
    answer = api.send("POST", "/v1/signup", content=b"{}", headers=[*JSON, ("Content-Length", "99999999999999999999")])
    assert answer.status == 413


def test_zeros_before_a_length_count_for_nothing(api: Api) -> None:
    body = b'{"email": "ann@example.com"}'
    length = f"{len(body):012}"
    assert api.send("POST", "/v1/signup", content=body, headers=[*JSON, ("Content-Length", length)]).status == 422


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Long", "x" * 8190)],
        [(f"X-{number}", "x") for number in range(101)],
    ],
)
def test_headers_beyond_the_limit_are_refused(api: Api, headers: list[tuple[str, str]]) -> None:
    answer = api.get("/healthz", headers=headers)
    assert (answer.status, answer.json["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize(
    ("authorization", "status", "challenge"),
    [
        (None, 401, 'Bearer realm="twinauth"'),
        ("", 401, 'Bearer realm="twinauth"'),
        ("Basic YTpi", 401, 'Bearer realm="twinauth"'),
        ("Bearer", 401, 'Bearer realm="twinauth", error="invalid_token"'),
        ("Bearer ", 401, 'Bearer realm="twinauth", error="invalid_token"'),
        ("Bearer x y", 401, 'Bearer realm="twinauth", error="invalid_token"'),
        ("Bearer a.b.c", 401, 'Bearer realm="twinauth", error="invalid_token"'),
        ("Bearerx", 401, 'Bearer realm="twinauth"'),
        ("Bearer é", 401, 'Bearer realm="twinauth", error="invalid_token"'),
        ("Bearer " + "x" * 8000, 401, 'Bearer realm="twinauth", error="invalid_token"'),
    ],
)
def test_a_401_carries_a_challenge(api: Api, authorization: str | None, status: int, challenge: str) -> None:
    headers = [] if authorization is None else [("Authorization", authorization)]
    answer = api.get("/v1/whoami", headers=headers)
    assert (answer.status, answer.header("WWW-Authenticate")) == (status, challenge)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_the_scheme_is_read_in_any_case(api: Api, scheme: str) -> None:
    token = api.signed_in()["access_token"]
    assert api.get("/v1/whoami", headers=[("Authorization", f"{scheme} {token}")]).status == 200


def test_two_authorization_headers_are_malformed(api: Api) -> None:
    token = api.signed_in()["access_token"]
    headers = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    answer = api.get("/v1/whoami", headers=headers)
    assert (answer.status, answer.json["code"]) == (400, "malformed_request")


def test_a_host_that_is_none_is_malformed(api: Api) -> None:
    for host in ("", "a b", "a@b", "a/b", "a,b", "[::1", "a:b", "<script>"):
        answer = api.get("/healthz", headers=[("Host", host)])
        assert (answer.status, answer.json["code"]) == (400, "malformed_request"), host


def test_any_name_may_be_a_host(api: Api) -> None:
    for host in ("localhost", "auth.example.com:443", "[::1]:8000", "127.0.0.1", "under_score"):
        assert api.get("/healthz", headers=[("Host", host)]).status == 200, host


def test_a_token_in_the_url_is_no_token(api: Api) -> None:
    token = api.signed_in()["access_token"]
    assert api.get(f"/v1/whoami?access_token={token}").status == 401


ALLOWED = {
    "/v1/signup": "OPTIONS, POST",
    "/v1/whoami": "GET, HEAD, OPTIONS",
    "/v1/sessions": "DELETE, GET, HEAD, OPTIONS",
    "/v1/sessions/0197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21": "DELETE, OPTIONS",
    "/v1/account": "OPTIONS, PATCH",
    "/v1/account/export": "GET, HEAD, OPTIONS",
    "/v1/send-password-reset": "OPTIONS, POST",
    "/reset-password": "GET, HEAD, OPTIONS",
    "/.well-known/jwks.json": "GET, HEAD, OPTIONS",
    "/problems/not_found": "GET, HEAD, OPTIONS",
    "/docs": "GET, HEAD, OPTIONS",
    "/healthz": "GET, HEAD, OPTIONS",
}


def test_options_names_the_methods(api: Api) -> None:
    answers = {path: api.send("OPTIONS", path) for path in ALLOWED}
    assert {path: answer.header("Allow") for path, answer in answers.items()} == ALLOWED
    assert {(answer.status, answer.body) for answer in answers.values()} == {(204, b"")}


def test_options_of_the_whole_server_is_a_ping(api: Api) -> None:
    answer = api.send("OPTIONS", "*")
    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize("method", sorted(METHODS - {"OPTIONS"}))
def test_another_method_is_not_allowed(api: Api, method: str) -> None:
    for path, allowed in ALLOWED.items():
        answer = api.send(method, path)
        if method in allowed.split(", "):
            assert answer.status != 405, path
        else:
            assert (answer.status, answer.header("Allow")) == (405, allowed), path
            assert method == "HEAD" or answer.json["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/healthz", "/nope"])
def test_a_method_that_http_does_not_define_is_malformed(api: Api, path: str) -> None:
    for method in ("FETCH", "get", "Get", "PRI", "*", "G ET", "X" * 100):
        answer = api.send(method, path)
        assert (answer.status, answer.json["code"]) == (400, "malformed_request"), method


@pytest.mark.parametrize("target", ["/" + "x" * 4000, "/healthz?" + "x" * 4000, "/" + "%20" * 1334])
def test_a_target_beyond_the_limit_is_too_long(api: Api, target: str) -> None:
    answer = api.get(target)
    assert (answer.status, answer.json["code"]) == (414, "target_too_long")


def test_an_unknown_expectation_is_malformed(api: Api) -> None:
    answer = api.get("/healthz", headers=[("Expect", "a miracle")])
    assert (answer.status, answer.json["code"]) == (400, "malformed_request")


@pytest.mark.parametrize("types", [("application/json", "text/plain"), ("application/json", "application/json")])
def test_two_content_types_are_malformed(api: Api, types: tuple[str, str]) -> None:
    answer = api.send("POST", "/v1/signup", content=GOOD, headers=[("Content-Type", found) for found in types])
    assert (answer.status, answer.json["code"]) == (400, "malformed_request")


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
def test_an_upgrade_that_is_offered_with_a_body_is_ignored(api: Api, upgrade: str) -> None:
    headers = [*JSON, ("Connection", "Upgrade"), ("Upgrade", upgrade)]
    assert api.send("POST", "/v1/signup", content=GOOD, headers=headers).status == 201


@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "chunked, chunked", "identity", ""])
def test_a_body_in_another_coding_than_chunks_is_malformed(api: Api, coding: str) -> None:
    """Whatever a server makes of it: both take the second for plain chunks."""
    headers = [*JSON, ("Transfer-Encoding", coding)]
    answer = api.send("POST", "/v1/signup", content=GOOD, headers=headers)
    assert (answer.status, answer.json["code"]) == (400, "malformed_request")


def test_an_upgrade_is_not_followed(api: Api) -> None:
    headers = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    assert api.get("/healthz", headers=headers).json == {"status": "ok"}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/whoami",
        "/v1/account/export",
        "/healthz",
        "/docs",
        "/reset-password",
        "/assets/links.js",
        "/.well-known/jwks.json",
        "/problems/x",
        "/nope",
    ],
)
def test_head_answers_as_get_without_a_body(api: Api, path: str) -> None:
    got, headed = (
        api.get(path, headers=[("X-Request-ID", "r")]),
        api.send("HEAD", path, headers=[("X-Request-ID", "r")]),
    )
    assert headed.body == b""
    assert headed.status == got.status
    assert fields_of(headed) == fields_of(got)


NO_PATHS = [
    "/",
    "/v1",
    "/v1/",
    "/v1/nope",
    "/v1/whoami/",
    "/V1/whoami",
    "//v1/whoami",
    "/v1//whoami",
    "/v1/./whoami",
    "/v1/../v1/whoami",
    "/v1/whoami;x=1",
    "/v1/whoami%00",
    "/healthz%0A",
    "/v1/whoami%0a",
    "/v1/whoami%2f",
    "/reset-password/",
    "/v1/sessions/",
    "/v1/sessions/a/b",
    "/docs/oauth2-redirect",
    "/%ff",
    "/\u00e9".encode().decode("latin-1"),
]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
def test_another_path_is_not_found(api: Api, method: str) -> None:
    for path in NO_PATHS:
        answer = api.send(method, path)
        assert (answer.status, answer.json["code"]) == (404, "not_found"), path


def test_a_path_is_compared_after_its_escapes(api: Api) -> None:
    assert api.get("/%68ealthz").status == 200


def test_a_valid_request_id_is_kept(api: Api) -> None:
    for given in ("abc", "A-1_2.3", "x" * 64):
        answer = api.get("/nope", headers=[("X-Request-ID", given)])
        assert answer.header("X-Request-ID") == answer.json["request_id"] == given


def test_another_request_id_is_replaced(api: Api) -> None:
    for given in ("", "x" * 65, "a b", "a\u2028b".encode().decode("latin-1"), "<x>", "a,b", "\x1b[31m"):
        answer = api.get("/nope", headers=[("X-Request-ID", given)])
        assert re.fullmatch(r"[0-9a-f]{32}", answer.header("X-Request-ID") or ""), given


REQUESTS = {
    "200": ("GET", "/healthz"),
    "204": ("OPTIONS", "/healthz"),
    "400": ("GET", "/v1/whoami"),
    "401": ("GET", "/v1/whoami"),
    "404": ("GET", "/nope"),
    "405": ("PUT", "/healthz"),
    "415": ("POST", "/v1/login"),
}


@pytest.mark.parametrize("status", REQUESTS)
def test_every_answer_carries_the_security_headers(api: Api, status: str) -> None:
    headers = [("Authorization", "a"), ("Authorization", "b")] if status == "400" else []
    answer = api.send(*REQUESTS[status], headers=headers)
    assert answer.status == int(status)
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("Referrer-Policy") == "no-referrer"
    assert answer.header("Content-Security-Policy") == "default-src 'none'; frame-ancestors 'none'"
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("X-Request-ID")
    assert answer.header("Strict-Transport-Security") is None
    assert answer.header("Server") is None


def test_an_error_is_a_problem_of_rfc_9457(api: Api) -> None:
    answer = api.get("/nope")
    assert answer.header("Content-Type") == "application/problem+json"
    assert answer.json == {
        "type": "/problems/not_found",
        "title": "Not found",
        "status": 404,
        "detail": "There is nothing here.",
        "code": "not_found",
        "request_id": answer.header("X-Request-ID"),
    }
    assert api.get(answer.json["type"]).status == 200


def test_an_unknown_error_is_opaque(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise ZeroDivisionError("SELECT secret FROM somewhere")

    monkeypatch.setattr(type(api.auth.store), "check", explode)
    answer = api.get("/readyz")
    assert (answer.status, answer.json["code"]) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert answer.header("X-Content-Type-Options") == "nosniff"


def test_every_protected_operation_refuses_before_it_looks_at_the_input(api: Api) -> None:
    protected = [operation for operation in OPERATIONS.values() if operation.auth in (Auth.USER, Auth.BEARER)]
    assert len(protected) > 8
    for operation in protected:
        path = operation.path.replace("{session_id}", "not-a-uuid")
        answer = api.send(operation.method, path, content=b"{}" if operation.json else b"", headers=JSON)
        assert (answer.status, answer.json["code"]) == (401, "missing_credentials"), operation.id


BODIES = {
    "/v1/send-password-reset": {"email": EMAIL},
    "/v1/reset-password": {"token": "twm_" + "A" * 32, "new_password": OTHER_PASSWORD},
    "/v1/verify-email": {"token": "twm_" + "A" * 32, "password": PASSWORD},
    "/v1/disown-account": {"token": "twm_" + "A" * 32},
    "/v1/undo-email-change": {"token": "twm_" + "A" * 32},
    "/v1/account/email": {"new_email": OTHER_EMAIL, "current_password": PASSWORD},
    "/v1/account/delete": {"current_password": PASSWORD},
}


HOSTILE = (
    "' OR 1=1 --",
    "\u0000",
    "\u202e",
    "\U0010ffff",
    "%s%n",
    "{{7*7}}",
    "../../etc/passwd",
    "\r\nBcc: eve@example.com",
)


@pytest.mark.parametrize("path", BODIES)
def test_hostile_text_in_any_member_is_never_echoed(api: Api, path: str) -> None:
    """tests/contract/test_hostile_texts.py asks more texts of more fields, but not this."""
    for member in BODIES[path]:
        token = api.signed_in(f"{member}@example.com".replace("_", "-"))["access_token"]
        for text in HOSTILE:
            api.clock.advance(seconds=70)  # longer than the throttle's pause, and the token lives on
            answer = api.post(path, BODIES[path] | {member: text}, token=token)
            assert answer.status in (400, 403, 422), (member, text)
            assert text not in answer.body.decode()
            assert api.whoami(token).status == 200


@pytest.mark.parametrize("path", BODIES)
def test_a_form_of_another_site_is_read_by_no_operation(api: Api, path: str) -> None:
    token = api.signed_in()["access_token"]
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        headers = [("Content-Type", content_type), ("Origin", "https://evil.example.net")]
        answer = api.send("POST", path, content=b'{"email": "ann@example.com"}', headers=headers, token=token)
        assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")
