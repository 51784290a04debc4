"""Reading requests: what each content type, form, query and Authorization header is taken for."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from core.authentication.passwords.policy import PasswordPolicy
from core.errors import (
    AuthError,
    InvalidInput,
    InvalidToken,
    MalformedJson,
    MalformedRequest,
    MissingCredentials,
    UnsupportedMediaType,
)
from core.http.reading import (
    MAX_FIELDS,
    Input,
    bearer_token,
    client_credentials,
    invalid,
    read,
    read_form,
    read_json,
    read_query,
)
from core.oauth.errors import InvalidClient, InvalidRequest
from core.oauth.model import Credentials
from core.settings.groups import PasswordSettings
from tests.support.contract import OPERATIONS

FORM = "application/x-www-form-urlencoded"
RIGHT = {"email": "ann@example.com", "password": "correct horse battery"}


class TestContentTypes:
    @pytest.mark.parametrize(
        "parameters",
        [
            "",
            ";",
            " ",
            ";charset=utf-8",
            "; charset=utf-8",
            "; charset=UTF-8",
            ';charset="utf-8"',
            " ; charset=Utf-8",
            "; CHARSET=utf-8",
        ],
    )
    @pytest.mark.parametrize("spelling", [str, str.upper, str.title])
    def test_of_utf8_are_read_however_they_are_spelt(self, spelling: Any, parameters: str) -> None:
        assert read_json(spelling("application/json") + parameters, b'{"a": 1}') == {"a": 1}
        assert read_form(spelling(FORM) + parameters, b"a=1") == {"a": "1"}

    @pytest.mark.parametrize(
        "content_type",
        [
            None,
            "",
            " ",
            ";",
            "json",
            "application",
            "application/",
            "/json",
            "*/*",
            "application/*",
            "text/plain",
            "text/json",
            "text/html",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "application/json5",
            "application/x-json",
            "application/ld+json",
            "application/problem+json",
            "application/vnd.api+json",
            "application/json/x",
            "application/json, text/plain",
            "text/plain, application/json",
            "application/json; charset=utf-16",
            "application/json; charset=iso-8859-1",
            "application/json; charset=utf-8-sig",
            "application/json; charset=",
            'application/json; charset="utf-8',
            "application/json; charset='utf-8'",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json; charset=utf-16; charset=utf-8",
            "application/json\x00",
            "application/json\r\nX-A: b",
            "application /json",
            "appl\u0131cation/json",
            "application/j\u017fon",  # upper-cases to JSON, as re.IGNORECASE knows
            "\uff41pplication/json",
        ],
        ids=ascii,
    )
    def test_of_anything_else_are_unsupported(self, content_type: str | None) -> None:
        with pytest.raises(UnsupportedMediaType):
            read_json(content_type, b"{}")
        with pytest.raises(UnsupportedMediaType):
            read_form(content_type, b"a=1")

    def test_are_not_taken_for_each_other(self) -> None:
        with pytest.raises(UnsupportedMediaType):
            read_json(FORM, b"{}")
        with pytest.raises(UnsupportedMediaType):
            read_form("application/json", b"a=1")

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json" + " " * 8000 + "x",
            "application/json;" + " " * 8000 + "x",
            "application/json; charset=utf-8" + " " * 8000 + "x",
            "application/json; charset" + " " * 8000 + "x",
            "application/json; charset=" + " " * 8000 + "x",
            " " * 8000 + "(",
            "a" * 8000 + "(",
            "application/json" + "; charset=utf-8" * 500,
            "application/json" + "\t\x0b\xa0" * 2600 + ",",
        ],
        ids=lambda text: f"{text.strip()[:28]}...",
    )
    def test_as_long_as_a_header_can_be_are_refused_at_once(self, content_type: str) -> None:
        started = time.thread_time()
        with pytest.raises(UnsupportedMediaType):
            read_json(content_type, b"{}")
        assert time.thread_time() - started < 0.05


class TestJson:
    def test_gives_the_members_of_an_object(self) -> None:
        assert read_json("application/json", '{"a": "\u00e9", "b": [null]}'.encode()) == {"a": "\u00e9", "b": [None]}

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"{",
            b"nonsense",
            b'{"a":1,"a":2}',
            b'{"a":NaN}',
            b"\xef\xbb\xbf" * 2 + b"{}",
            b'{"a":"\xff"}',
            b"[" * 50_000,
        ],
    )
    def test_that_is_not_strict_is_malformed(self, raw: bytes) -> None:
        with pytest.raises(MalformedJson):
            read_json("application/json", raw)

    @pytest.mark.parametrize("raw", [b"[]", b"null", b"true", b"1", b'"text"', b'[{"email": "ann@example.com"}]'])
    def test_that_is_no_object_is_invalid(self, raw: bytes) -> None:
        with pytest.raises(InvalidInput) as refused:
            read_json("application/json", raw)
        (reason,) = refused.value.errors
        assert (reason.field, reason.code) == ("", "wrong_type")


class TestForms:
    @pytest.mark.parametrize(
        ("raw", "form"),
        [
            (b"", {}),
            (b"a=1", {"a": "1"}),
            (b"a=1&b=2", {"a": "1", "b": "2"}),
            (
                b"username=ann%40example.com&password=a+b%26c%3Dd",
                {"username": "ann@example.com", "password": "a b&c=d"},
            ),
            (b"a=%C3%A9", {"a": "\u00e9"}),
            (b"a=1=2", {"a": "1=2"}),
            (b"a=1;b=2", {"a": "1;b=2"}),
            (b"a=%zz", {"a": "%zz"}),
            (b"a=%00", {"a": "\x00"}),
            (b"&&a=1&&", {"a": "1"}),
            (b"a=&b=2", {"b": "2"}),  # RFC 6749 section 3.2: without a value is as if omitted
            (b"a&b=2", {"b": "2"}),
            (b"&".join(b"a%d=1" % number for number in range(MAX_FIELDS)), {f"a{n}": "1" for n in range(MAX_FIELDS)}),
        ],
    )
    def test_are_decoded(self, raw: bytes, form: dict[str, str]) -> None:
        assert read_form(FORM, raw) == form

    @pytest.mark.parametrize(
        "raw",
        [
            b"a=1&a=1",
            b"a=1&b=2&a=3",
            b"grant_type=password&grant%5Ftype=refresh_token",
            b"a=%ff",
            b"a=%C3",
            b"a=%ED%A0%80",
            b"%ff=a",
            b"a=\xc3\xa9",
            b"a=\xff",
            b"&".join(b"a%d=1" % number for number in range(MAX_FIELDS + 1)),
            b"&" * 60_000,
        ],
        ids=lambda raw: ascii(raw[:24]),
    )
    def test_that_repeat_themselves_or_cannot_be_decoded_are_refused(self, raw: bytes) -> None:
        with pytest.raises(InvalidRequest):
            read_form(FORM, raw)


class TestQueries:
    @pytest.mark.parametrize(
        ("raw", "query"),
        [
            (b"", {}),
            (b"keep_current=true", {"keep_current": "true"}),
            (b"a=", {"a": ""}),
            (b"a", {"a": ""}),
            (b"a=%C3%A9+b", {"a": "\u00e9 b"}),
            (b"a=1;b=2", {"a": "1;b=2"}),
        ],
    )
    def test_are_decoded(self, raw: bytes, query: dict[str, str]) -> None:
        assert read_query(raw) == query

    @pytest.mark.parametrize("raw", [b"a=%ff", b"%C3=1", b"a=\xe9", b"a=1&" * (MAX_FIELDS + 1)], ids=ascii)
    def test_that_cannot_be_decoded_are_malformed(self, raw: bytes) -> None:
        with pytest.raises(MalformedRequest):
            read_query(raw)

    @pytest.mark.parametrize(
        ("raw", "field"),
        [
            (b"limit=1&limit=1", "limit"),
            (b"limit=1&limit=", "limit"),
            (b"limit=1&l%69mit=2", "limit"),
            (b"%3Cscript%3E=1&%3Cscript%3E=2", ""),
            (b"=1&=2", ""),
            (b"a" * 65 + b"=1&" + b"a" * 65 + b"=1", ""),
        ],
        ids=["twice", "with and without value", "escaped", "markup", "no name", "long name"],
    )
    def test_that_repeat_themselves_are_refused_and_hostile_names_are_not_echoed(self, raw: bytes, field: str) -> None:
        with pytest.raises(InvalidInput) as refused:
            read_query(raw)
        (reason,) = refused.value.errors
        assert (reason.field, reason.code) == (field, "repeated")


class TestBearerTokens:
    @pytest.mark.parametrize(
        "authorization",
        ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c", "bEaReR a.b.c", "Bearer   a.b.c", "Bearer a.b.c  "],
    )
    def test_are_taken_from_behind_their_scheme(self, authorization: str) -> None:
        assert bearer_token(authorization) == "a.b.c"

    @pytest.mark.parametrize("token", ["a", "AZaz09-._~+/", "abc=", "abc==", "a" * 8000])
    def test_are_of_the_characters_of_rfc_6750(self, token: str) -> None:
        assert bearer_token(f"Bearer {token}") == token

    @pytest.mark.parametrize(
        "authorization",
        [
            None,
            "",
            " ",
            "a.b.c",
            "Basic YTpi",
            "Token a.b.c",
            "Bearera.b.c",
            " Bearer a.b.c",
            "Bearer\ta.b.c",
            "Digest x",
        ],
    )
    def test_that_are_not_there_are_missing(self, authorization: str | None) -> None:
        with pytest.raises(MissingCredentials):
            bearer_token(authorization)

    @pytest.mark.parametrize(
        "authorization",
        [
            "Bearer",
            "bearer",
            "Bearer ",
            "Bearer    ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer a.b.c, Bearer d.e.f",
            "Bearer Bearer a.b.c",
            'Bearer "a.b.c"',
            "Bearer =",
            "Bearer a=b",
            "Bearer a.b.c\x00",
            "Bearer a.b.c\n",
            "Bearer \ta.b.c",
            "Bearer a.b.\u00e9",
            "Bearer \uff41.b.c",
            "Bearer a.b.\ud800",
            "Bearer " + "=" * 8000,
            "Bearer " + "a" * 8000 + "=" * 8000 + "a",
        ],
        ids=lambda text: ascii(text[:30]),
    )
    def test_that_cannot_be_tokens_are_invalid_and_not_missing(self, authorization: str) -> None:
        with pytest.raises(InvalidToken):
            bearer_token(authorization)


def basic(text: str | bytes) -> str:
    return "Basic " + base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


class TestBasicCredentials:
    @pytest.mark.parametrize(
        ("authorization", "credentials"),
        [
            (basic("client:secret"), ("client", "secret")),
            (basic("client:secret").replace("Basic ", "bAsIc   "), ("client", "secret")),
            (basic("client:se:cr:et"), ("client", "se:cr:et")),
            (basic("a%3Ab+c:%25+%2B"), ("a:b c", "% +")),
            (basic("client:"), ("client", "")),
            (basic(":secret"), ("", "secret")),
            (basic("caf\u00e9:\U0001f600"), ("caf\u00e9", "\U0001f600")),
        ],
    )
    def test_are_an_id_and_a_secret(self, authorization: str, credentials: tuple[str, str]) -> None:
        client_id, secret = credentials
        assert client_credentials(authorization) == Credentials(client_id=client_id, secret=secret)

    def test_leave_no_secret_in_a_repr(self) -> None:
        assert repr(client_credentials(basic("orders:canary"))) == "Credentials(client_id='orders')"

    @pytest.mark.parametrize("authorization", [None, "", "Bearer a.b.c", "Basics YTpi", "YTpi", basic(":")])
    def test_that_name_nobody_are_nobodys(self, authorization: str | None) -> None:
        assert client_credentials(authorization) is None

    @pytest.mark.parametrize(
        "authorization",
        [
            "Basic",
            "Basic ",
            "Basic client:secret",
            "Basic Y2xpZW50",
            "Basic Y2xpZW50OnNlY3JldA",  # without its padding
            "Basic Y2xpZW50OnNlY3JldA===",
            "Basic Y2xp ZW50OnNlY3JldA==",
            "Basic Y2xpZW50OnNlY3JldA==, Basic YTpi",
            "Basic -_-_",
            "Basic \u00e9\u00e9\u00e9\u00e9",
            "Basic \ud800",
            basic(b"cli\xffent:secret"),
            basic("client"),
        ],
        ids=ascii,
    )
    def test_that_are_malformed_are_refused(self, authorization: str) -> None:
        with pytest.raises(InvalidClient):
            client_credentials(authorization)


class TestOperations:
    def test_read_their_own_kind_of_input_and_nothing_else(self) -> None:
        login = read(OPERATIONS["login"], content_type="application/json", body=b'{"a": 1}', query=b"a=%ff")
        assert (login.json, login.form, login.query) == ({"a": 1}, None, None)
        token = read(OPERATIONS["token"], content_type=FORM, body=b"a=1", query=b"a=%ff")
        assert (token.json, token.form, token.query) == (None, {"a": "1"}, None)
        end_sessions = read(OPERATIONS["end_sessions"], content_type="text/plain", body=b"\xff", query=b"a=1")
        assert (end_sessions.json, end_sessions.form, end_sessions.query) == (None, None, {"a": "1"})
        logout = read(OPERATIONS["logout"], content_type=None, body=b"\xff", query=b"%ff")
        assert (logout.json, logout.form, logout.query) == (None, None, None)

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({}, {("email", "missing"), ("password", "missing")}),
            (RIGHT | {"is_superuser": True}, {("is_superuser", "unknown_member")}),
            (RIGHT | {"<canary>": 1}, {("", "unknown_member")}),
            ({"email": ["canary"], "password": 1}, {("email", "wrong_type"), ("password", "wrong_type")}),
            (RIGHT | {"email": ""}, {("email", "too_short")}),
            (RIGHT | {"email": "canary" * 50}, {("email", "too_long")}),
            (RIGHT | {"email": "canary" * 11 + "@example.com"}, {("email", "email_too_long")}),
            (RIGHT | {"email": "canary"}, {("email", "email_invalid")}),
            (RIGHT | {"display_name": 7}, {("display_name", "wrong_type")}),
            (RIGHT | {"display_name": "canary\x1b"}, {("display_name", "control_character")}),
            (
                {"email": "canary", "password": "canary", "display_name": 7, "roles": []},
                {
                    ("email", "email_invalid"),
                    ("password", "password_too_short"),
                    ("display_name", "wrong_type"),
                    ("roles", "unknown_member"),
                },
            ),
            ({"password": "password1234"}, {("email", "missing"), ("password", "password_too_common")}),
            (
                {"email": "canary@example.com", "password": "so is canary@example.com", "x": 1},
                {("password", "password_contains_email"), ("x", "unknown_member")},
            ),
            ({"email": "ann@example.com", "password": "a" * 600}, {("password", "too_long")}),
        ],
        ids=[
            "missing",
            "unknown",
            "hostile name",
            "wrong type",
            "empty",
            "long",
            "long local part",
            "no address",
            "optional",
            "control character",
            "all at once",
            "common, without an address",
            "made of the address",
            "far too long",
        ],
    )
    def test_name_each_wrong_member_with_our_code_and_never_with_its_value(
        self, body: dict[str, Any], expected: set[tuple[str, str]]
    ) -> None:
        found = refused_by(OPERATIONS["signup"].json, body)
        error = invalid(OPERATIONS["signup"], found, Input(json=body), PasswordPolicy(PasswordSettings()))
        assert isinstance(error, InvalidInput)
        assert {(reason.field, reason.code) for reason in error.errors} == expected
        assert "canary" not in str([(reason.field, reason.message) for reason in error.errors])

    def test_of_oauth_tell_it_in_the_terms_of_oauth(self) -> None:
        form = {"username": "a" * 300}
        found = refused_by(OPERATIONS["token"].form, form)
        policy = PasswordPolicy(PasswordSettings())
        error: AuthError = invalid(OPERATIONS["token"], found, Input(form=form), policy)
        assert isinstance(error, InvalidRequest)


def refused_by(model: type[BaseModel] | None, body: dict[str, Any]) -> Any:
    """What pydantic finds, with the location as the front doors give it."""
    assert model is not None
    with pytest.raises(ValidationError) as refused:
        model.model_validate(body)
    return [{**found, "loc": ("body", *found["loc"])} for found in refused.value.errors()]
