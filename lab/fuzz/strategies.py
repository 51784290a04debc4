"""Requests: right ones made from the table of operations and its models, and then one to three things wrong with them.

A request that is wrong in every place is refused at the first one; what finds differences is nearly right.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

from hypothesis import strategies as st
from pydantic import BaseModel

from core.accounts.schemas import DisownAccountRequest, ResetPasswordRequest, UndoEmailChangeRequest, VerifyEmailRequest
from core.contract.operation import Auth, Operation
from core.http.edge.limits import MAX_BODY, MAX_FIELD, MAX_FIELDS, MAX_TARGET
from core.oauth.schemas import ClientForm, TokenForm
from core.tokens.schemas import RevocationsQuery
from lab.fuzz.twins import AUDIENCES, Asked, Known
from tests.support.api import PASSWORD
from tests.support.contract import OPERATIONS

Draw = Callable[..., Any]
Mutation = Callable[[Draw, Asked, Operation, Known], Asked]

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

# --- Values ---------------------------------------------------------------------------------------------------------

TEXTS = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\x1b[31m",
    "\x7f",
    "\u0085",
    "\u200b",
    "\u202e",
    "\ufeff",
    "\ufffd",
    "\uffff",
    "\U0010ffff",
    "e\u0301" * 100,
    "ﷺ" * 20,
    "İıſß",
    "' OR 1=1 --",
    "%s%n%x",
    "{{7*7}}${7*7}",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "a\r\nSet-Cookie: b=c",
    "null",
    "0",
    "x" * 100,
    "x" * 101,
    "x" * 254,
    "x" * 255,
    "x" * 512,
    "x" * 513,
    "x" * 8192,
    "x" * 8193,
)
texts = st.sampled_from(TEXTS) | st.text(max_size=20)
surrogates = st.text(st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF), min_size=1, max_size=2)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | surrogates,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)

EMAILS = (
    "new@example.com",
    "NEW@example.com",
    "new+tag@example.com",
    "ünïcode@exämple.com",
    "u\u0308ser@example.com",
    "a@b",
    "a@b.c",
    "@example.com",
    "ann@",
    "ann@@example.com",
    "ann @example.com",
    " ann@example.com",
    "ann@example.com ",
    "ann@example.com\n",
    "ann@EXAMPLE.com.",
    '"ann"@example.com',
    "ann@[127.0.0.1]",
    "ann@xn--exmple-cua.com",
    "ann@example.com,ben@example.com",
    "Ann <ann@example.com>",
    "ann@\u0435xample.com",
    "ann@localhost",
    "ann@example",
    "ann@sub.test",
    "a" * 64 + "@example.com",
    "a" * 65 + "@example.com",
    "a@" + "b" * 250 + ".com",
    "a@" + ".".join(["b" * 60] * 4) + ".com",
    "ann\u200b@example.com",
    "ann@example.com\x00",
)
PASSWORDS = (
    "password",
    "passwordpassword",
    "correct horse battery ",
    "Correct Horse Battery",
    "short",
    "elevenchars",
    "x" * 128,
    "xy" * 64,
    "xy" * 65,
    "ann@example.com1",
    "éèàùçêîôûäëïö",
    "e\u0301e\u0300a\u0300u\u0300c\u0327e\u0302i\u0302",
    "\U0001f600" * 12,
    "pass\x00word pass\x00word",
    "twinauthtwinauth",
)


def tokens(good: Sequence[str]) -> st.SearchStrategy[str]:
    """Tokens that are worth something, and the same with one thing wrong."""
    return st.sampled_from(good) | st.builds(_damaged, st.sampled_from(good), st.integers(0, 11), st.integers(0, 400))


def _damaged(token: str, how: int, where: int) -> str:
    at = where % max(len(token), 1)
    changed = "A" if token[at : at + 1] != "A" else "B"
    forms = (
        token[:at],
        token[:at] + changed + token[at + 1 :],
        token + "=",
        token + "A",
        token.swapcase(),
        token[:at] + " " + token[at:],
        token + ".",
        token.replace("_", "-", 1),
        token.rpartition(".")[0] + ".",
        _unsigned(token),
        f'"{token}"',
        token[:at] + "\u00e9" + token[at:],
    )
    return forms[how]


def _unsigned(token: str) -> str:
    parts = token.split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    return ".".join((header, *parts[1:2], ""))


def honest_values(name: str, known: Known) -> st.SearchStrategy[Any]:
    """What stands in a member of this name where somebody means well."""
    if name in ("email", "new_email", "username"):
        return st.sampled_from((*known.emails, "new@example.com"))
    if name.endswith("password"):
        return st.sampled_from(known.passwords if name == "new_password" else known.passwords[:1])
    return {
        "refresh_token": st.sampled_from(known.refresh_tokens[:2]),
        "token": st.sampled_from((*known.links, *known.access_tokens[:1], *known.refresh_tokens[:1])),
        "grant_type": st.sampled_from(("password", "refresh_token", "client_credentials")),
        "scope": st.sampled_from(("orders:read", "orders:write orders:read")),
        "resource": st.sampled_from(AUDIENCES),
        "device_token": st.sampled_from(known.device_tokens),
        "token_type_hint": st.sampled_from(("access_token", "refresh_token")),
    }.get(name, st.sampled_from(("Ann", "Änn ☃")))


def member_values(name: str, known: Known) -> st.SearchStrategy[Any]:
    """What may stand in a member of this name: mostly what is right there."""
    if name in ("email", "new_email", "username"):
        right: st.SearchStrategy[Any] = st.sampled_from((*known.emails, *EMAILS))
    elif name.endswith("password"):
        right = st.sampled_from((*[*known.passwords] * 5, *PASSWORDS))
    elif name == "refresh_token":
        right = tokens(known.refresh_tokens)
    elif name == "device_token":
        right = tokens(known.device_tokens)
    elif name == "token":
        right = tokens((*known.links, *known.access_tokens, *known.refresh_tokens))
    elif name == "grant_type":
        right = st.sampled_from(("password", "refresh_token", "client_credentials", "Password", "implicit"))
    elif name == "scope":
        right = st.sampled_from(("orders:read", "orders:write orders:read", "orders:read  ", "admin", 'a"b', "ä", ""))
    elif name == "resource":
        right = st.sampled_from((*AUDIENCES, "https://nobody.example", "https://orders.example.com#x", ""))
    elif name == "token_type_hint":
        right = st.sampled_from(("access_token", "refresh_token", "x" * 100, "x" * 101))
    else:
        right = st.none() | texts
    return st.one_of(right, right, right, right, right, texts, anything)


_OF_GRANTS = {
    "password": ("username", "password"),
    "refresh_token": ("refresh_token",),
    "client_credentials": ("scope",),
}


def _client(draw: Draw, known: Known) -> dict[str, Any]:
    """Who asks, in the form itself; mostly nobody, because the Authorization header says it."""
    client_id, secret = known.clients[0]
    return {} if draw(st.integers(0, 3)) else {"client_id": client_id, "client_secret": secret}


def _consistent(draw: Draw, model: type[BaseModel], made: dict[str, Any], known: Known) -> dict[str, Any]:
    """Members that go together: of a grant its own, of a client all or none, of a link's token one of that kind."""
    if model is TokenForm:
        grant = draw(st.sampled_from(sorted(_OF_GRANTS)))
        return {"grant_type": grant} | {name: draw(honest_values(name, known)) for name in _OF_GRANTS[grant]}
    if issubclass(model, ClientForm):
        others = {name: value for name, value in made.items() if name not in ClientForm.model_fields}
        return others | _client(draw, known)
    of_model: dict[type[BaseModel], Sequence[str]] = {
        ResetPasswordRequest: known.links[-2:],
        VerifyEmailRequest: known.links[:2],
        DisownAccountRequest: known.links[:2],
        UndoEmailChangeRequest: known.undo_links,
    }
    return made | ({"token": draw(st.sampled_from(of_model[model]))} if model in of_model else {})


@st.composite
def members(draw: Draw, model: type[BaseModel], known: Known) -> dict[str, Any]:
    """The members of a model: those that are required, mostly the others, and now and then one that it lacks."""
    is_honest = draw(st.booleans())
    values_of = honest_values if is_honest else member_values
    made = {
        name: draw(values_of(name, known))
        for name, field in model.model_fields.items()
        if field.is_required() or draw(st.integers(0, 3))
    }
    if is_honest:
        return _consistent(draw, model, made, known)
    if made and draw(st.integers(0, 7)) == 1:
        del made[draw(st.sampled_from(sorted(made)))]
    if draw(st.integers(0, 7)) == 1:
        made[draw(st.sampled_from(("roles", "is_active", "id", "Email", "")) | texts)] = draw(anything)
    return made


# --- Bodies ---------------------------------------------------------------------------------------------------------


def as_json(value: Any, *, is_ascii: bool = True) -> bytes:
    return json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")


def as_form(pairs: Sequence[tuple[str, Any]], *, plus: bool = True) -> bytes:
    escape = quote_plus if plus else quote
    texts_of = ((name, value if isinstance(value, str) else as_json(value).decode()) for name, value in pairs)
    parts = (
        f"{escape(name, errors='surrogatepass')}={escape(value, errors='surrogatepass')}" for name, value in texts_of
    )
    return "&".join(parts).encode()


VALUES_OF_JSON = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-1e999",
    b"1e-999",
    b"-0",
    b"01",
    b"1.",
    b".5",
    b"0x10",
    b"1_000",
    b"1" * 4300,
    b"1" * 4301,
    b"1" * 20000,
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\u0000"',
    b'"\\x41"',
    b'"\t"',
    b'"\x00"',
    b'"\xff"',
    b'"\xc0\xaf"',
    b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"',
    b"'a'",
    b"undefined",
    b"True",
    b"[1,]",
    b"{,}",
    b"/**/1",
    b"[" * 31 + b"]" * 31,
    b"[" * 32 + b"]" * 32,
    b"[" * 20000 + b"]" * 20000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
)


@st.composite
def spoilt_json(draw: Draw, body: bytes) -> bytes:
    """JSON with one thing wrong with it, or odd about it."""
    at = draw(st.integers(0, len(body)))
    text = body.decode("utf-8", "replace")
    value = draw(st.sampled_from(VALUES_OF_JSON))
    name = draw(st.sampled_from((b"email", b"password", b"token", b"display_name", b"e\\u006dail")))
    return bytes(
        draw(
            st.sampled_from(
                (
                    body[:at],
                    body[:at] + b"\x00" + body[at:],
                    body[:at] + draw(st.binary(max_size=3)) + body[at:],
                    body + draw(st.sampled_from((b"x", b"{}", b" ", b"\n", b"\x0b", b"\xc2\xa0", b"\x00", b"//"))),
                    draw(st.sampled_from((b"\xef\xbb\xbf", b" ", b"\r\n", b"\x0c", b"\xc2\xa0", b")]}'"))) + body,
                    text.encode("utf-16"),
                    text.encode("utf-16-le"),
                    text.encode("utf-32"),
                    body[:-1] + b',"%s":%s}' % (name, value),
                    b'{"%s":%s,' % (name, value) + body[1:],
                    b"[" + body + b"]",
                    value,
                    body + b" " * (MAX_BODY - len(body)),
                    body + b" " * (MAX_BODY - len(body) + 1),
                    b"",
                )
            )
        )
    )


@st.composite
def spoilt_form(draw: Draw, body: bytes) -> bytes:
    """A form with one thing wrong with it, or odd about it."""
    at = draw(st.integers(0, len(body)))
    name = draw(st.sampled_from((b"grant_type", b"username", b"password", b"token", b"scope", b"x")))
    value = draw(
        st.sampled_from(
            (
                b"",
                b"=",
                b"%",
                b"%zz",
                b"%0",
                b"%00",
                b"+",
                b"%2B",
                b"%c3%28",
                b"%ff",
                b"%ed%a0%80",
                b"\xc3\xa9",
                b"\x00",
            )
        )
    )
    return bytes(
        draw(
            st.sampled_from(
                (
                    body[:at],
                    body[:at] + draw(st.binary(max_size=3)) + body[at:],
                    body + b"&" + name + b"=" + value,
                    name + b"=" + value + b"&" + body,
                    body + b"&" + body,
                    body + b"&" + name,
                    body + b"&&&",
                    body.replace(b"&", b";"),
                    body.replace(b"=", b"%3D"),
                    body + b"&x=1" * 46,
                    b"&".join(b"x%d=1" % number for number in range(51)),
                    body.replace(b"a", b"%61"),
                    body.decode("latin-1").encode("utf-16"),
                    body + b"&x=" + b"x" * (MAX_BODY - len(body) - 3),
                    body + b"&x=" + b"x" * (MAX_BODY - len(body) - 2),
                    b"",
                )
            )
        )
    )


# --- Targets --------------------------------------------------------------------------------------------------------

UUIDS = (
    "00000000-0000-0000-0000-000000000000",
    "0197A3C2-6F1E-7D3A-9B52-0C6A1F4E8D21",
    "0197a3c26f1e7d3a9b520c6a1f4e8d21",
    "%7B0197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21%7D",
    "urn:uuid:0197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21",
    "0197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21%0A",
    "%200197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21",
    "%EF%BC%90197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21",
    "None",
    "1",
)
CODES = ("email_taken", "not_found", "EMAIL_TAKEN", "nope", "email_taken%00", "email%5Ftaken", "%F0%9F%98%80", "..")
ASSETS = ("swagger-ui.css", "links.js", "favicon.png", "nope.js", "..%2fpages.py", "..", "links.js%00", "LINKS.JS")

QUERIES = {
    "keep_current": ("true", "false", "1", "0", "yes", "TRUE", "", "on", "t", "2", "none", "tr%75e", "+true", "\u0661"),
    "since": ("0", "1", "2", "99", "-1", "", "x", "1.0", "0" * 18, "9" * 18, "9" * 19, "%D9%A1", "+1", "1_0", "01"),
    # Whole seconds from 1 on are waited for; what is refused is not.
    "wait": ("0", "-1", "26", "", "x", "00", "0.0", "-0", "%200", "0x0", "1e3", "9" * 5000, "%D9%A0", "0_0", "true"),
}
ODD_PAIRS = ("&", "=", "a", "a=b", "a=b&a=c", "%", "%zz=1", "%00=%00", "a=%ff", "since=0&since=1", "wait=0&WAIT=1", "?")


@st.composite
def right_targets(draw: Draw, operation: Operation, known: Known) -> str:
    """The path of an operation, and a query where it takes one."""
    values = {
        "{session_id}": (*[*known.session_ids] * 4, *UUIDS),
        "{code}": CODES,
        "{name}": ASSETS,
    }
    path = operation.path
    for name, choices in values.items():
        if name in path:
            path = path.replace(name, draw(st.sampled_from(choices)))
    if operation.query is None:
        return path
    names = draw(st.lists(st.sampled_from(sorted(operation.query.model_fields)), unique=True))
    query = "&".join(f"{name}={quote(draw(st.sampled_from(QUERIES[name])), safe='%+')}" for name in names)
    return f"{path}?{query}" if query else path


def _spoil_path(draw: Draw, asked: Asked, _: Operation, __: Known) -> Asked:
    path, mark, query = asked.target.partition("?")
    at = draw(st.integers(1, max(len(path), 1)))
    inserted = draw(
        st.sampled_from(
            (
                "/",
                "//",
                "/.",
                "/..",
                "/../",
                "%2f",
                "%2F",
                "%5c",
                "%00",
                "%0a",
                "%0d%0a",
                "%20",
                "+",
                "%c0%af",
                "%e2%98%83",
                "%25",
                "%252f",
                "%",
                "%zz",
                ";x=1",
                "%ff",
                "%3f",
                "%23",
                "~",
                ":",
                "@",
                "%7f",
                "%01",
                "%ef%bc%8f",
                "*",
                "'",
            )
        )
    )
    letter = path[at - 1 : at]
    changed = draw(
        st.sampled_from(
            (
                path[:at] + inserted + path[at:],
                path + inserted,
                "/" + path,
                path[: at - 1] + f"%{ord(letter or '/'):02x}" + path[at:],
                path[: at - 1] + letter.swapcase() + path[at:],
                path[: at - 1] + path[at:],
                "/" + quote(draw(texts), errors="surrogatepass"),
                "/v1/" + quote(draw(texts), errors="surrogatepass", safe=""),
                "/",
                "*",
                path + "/" + path,
            )
        )
    )
    # What begins with neither reaches no application: servers refuse it.
    start = "" if changed.startswith(("/", "*")) else "/"
    return replace(asked, target=start + changed + mark + query)


def _spoil_query(draw: Draw, asked: Asked, operation: Operation, _: Known) -> Asked:
    path, _mark, query = asked.target.partition("?")
    odd = draw(st.sampled_from(ODD_PAIRS))
    # No free text behind a name that says how long to wait.
    free = "" if operation.query is RevocationsQuery else draw(texts)
    changed = draw(
        st.sampled_from(
            (
                odd,
                f"{query}&{odd}",
                f"{odd}&{query}",
                f"{query}&{query}",
                quote(free, errors="surrogatepass", safe="=&+;"),
                "&".join(f"a{number}=1" for number in range(51)),
                "",
            )
        )
    )
    return replace(asked, target=f"{path}?{changed}")


def _stretch_target(draw: Draw, asked: Asked, _: Operation, __: Known) -> Asked:
    """At the border of what is too long."""
    length = MAX_TARGET + draw(st.integers(-2, 2))
    mark = draw(st.sampled_from(("?", "/", "&", "?a=", "%20")))
    tail = draw(st.sampled_from(("", "", "?", "??", "%41")))
    start = asked.target + ("" if mark == "?" and "?" in asked.target else mark)
    return replace(asked, target=start + "x" * (length - len(start) - len(tail)) + tail)


# --- Methods and header fields --------------------------------------------------------------------------------------

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
ODD_METHODS = ("get", "Post", "QUERY", "FETCH", "PROPFIND", "GETGET", "X" * 100, "M-SEARCH", "PRI", "G!T", "0")

CONTENT_TYPES = (
    "",
    JSON,
    FORM,
    "APPLICATION/JSON",
    "application/json;charset=utf-8",
    'application/json; charset="UTF-8"',
    "application/json; charset=utf8;",
    "application/json; charset=utf-16",
    "application/json; charset=latin-1",
    "application/json;",
    "application/json ;charset=utf-8",
    "application/json; charset=utf-8; charset=utf-8",
    "application/json; boundary=x",
    "application/json,text/plain",
    "application/x-www-form-urlencoded; charset=UTF-8",
    "application/x-www-form-urlencoded;charset=windows-1252",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=" + "x" * 100,
    "application/problem+json",
    "application/jsonx",
    "text/json",
    "text/plain",
    "*/*",
    "application/json\u00a0",
    "application/\u00e4son",
    ";",
    "x" * 5000,
)
HOSTS = (
    "",
    "localhost",
    "127.0.0.1:8000",
    "[::1]",
    "[::1]:8000",
    "[::1",
    "example.com:",
    "example.com:0",
    "example.com:99999",
    "example.com:123456",
    "a@b",
    "a/b",
    "a b",
    "a,b",
    "a?b",
    "a#b",
    "\u00e4",
    "under_score",
    "-",
    ".",
    "..",
    "x" * 300,
    "evil.example\\@good.example",
)
EXPECTATIONS = ("100-continue", "100-Continue", "", "200-ok", "100-continue, x", "100-continue;q=1", "\u00e9")
LANGUAGES = (
    "",
    "de",
    "en",
    "de-AT, en;q=0.5",
    "*",
    "fr, *;q=0.1",
    "de;q=0",
    "de;q=1.0001",
    "de;q=x",
    "de;;q=1",
    ",,,",
    "x" * 1000,
    ",".join(["de"] * 500),
    "\u00e9",
    "en-US-x-twain",
    "DE",
    "de_DE",
    "../../de",
    "i-klingon",
)
REQUEST_IDS = ("abc", "A-1_2.3", "x" * 64, "x" * 65, "", "a b", "a,b", "\u00e9", "<x>", "a\tb", "%0a", "f" * 32)
FORWARDED = (
    "",
    "203.0.113.7",
    "203.0.113.7, 127.0.0.1",
    "127.0.0.1, 127.0.0.2",
    "2001:db8::1",
    "[2001:db8::1]:80",
    "203.0.113.7:80",
    "::ffff:203.0.113.7",
    "fe80::1%eth0",
    "unknown",
    "203.0.113.7,,",
    ",".join(["127.0.0.1"] * 300),
    "0x7f.1",
    "010.0.0.1",
    "\u00e9",
    "' OR 1=1",
)
ORIGINS = ("https://app.example.com", "https://APP.example.com", "null", "", "https://evil.example", "\u00e9", "*")
FIELDS: dict[str, Sequence[str]] = {
    "Content-Type": CONTENT_TYPES,
    "Host": HOSTS,
    "Expect": EXPECTATIONS,
    "Accept-Language": LANGUAGES,
    "X-Request-ID": REQUEST_IDS,
    "X-Forwarded-For": FORWARDED,
    "Forwarded": ("for=203.0.113.7",),
    "X-Forwarded-Proto": ("https", "ftp", ""),
    "X-Forwarded-Host": ("evil.example",),
    "X-Forwarded-Prefix": ("/evil",),
    "Script-Name": ("/v1",),
    "Origin": ORIGINS,
    "Access-Control-Request-Method": ("POST", "", "FETCH"),
    "Access-Control-Request-Headers": ("authorization", "x" * 1000),
    "User-Agent": ("curl/8.5.0", "", "x" * 256, "x" * 257, "\u00e9\u00ff", "\u00ed\u00a0\u0080", "a\tb"),
    "If-None-Match": ("*", '"0"', '"1"', '"2"', '"3"', '"4"', "W/0", "", "\u00e9"),
    "If-Modified-Since": ("Thu, 01 Jan 2026 00:00:00 GMT", "x"),
    "Range": ("bytes=0-1", "bytes=-1", "x"),
    "Accept": ("text/html", "application/xml", "", "x" * 1000),
    "Accept-Encoding": ("gzip", "br;q=x", ""),
    "Cookie": ("a=b; session=eyJ", "", "\u00e9"),
    "Connection": ("close", "Upgrade", "x"),
    "Upgrade": ("websocket", "h2c", ""),
    "X-HTTP-Method-Override": ("DELETE", "GET"),
    "Content-Encoding": ("gzip", "identity", "br"),
    "Content-Length": ("x", "-1", "+1", "1e1", "99999999999999999999", "65537", "1, 1", "\u0661"[:0] + "\u00b2", "0x1"),
}


@st.composite
def authorizations(draw: Draw, known: Known) -> str:
    """What may stand in an Authorization field."""
    token = draw(tokens((*known.access_tokens, *known.refresh_tokens)))
    client, secret = draw(st.sampled_from((*known.clients, ("ann@example.com", PASSWORD), ("", ""), ("a", "b:c"))))
    pair = draw(
        st.sampled_from(
            (f"{client}:{secret}", f"{client}{secret}", f"{client}:{secret[:-1]}", f":{secret}", f"{client}:")
        )
    )
    encoded = base64.b64encode(pair.encode()).decode()
    return str(
        draw(
            st.sampled_from(
                (
                    f"Bearer {token}",
                    f"bearer {token}",
                    f"BEARER   {token}",
                    f"Bearer\t{token}",
                    f"Bearer {token} ",
                    f"Bearer {token} {token}",
                    f"Bearer {token},{token}",
                    f"Bearer={token}",
                    f'Bearer token="{token}"',
                    f"Bearer {quote(token)}",
                    token,
                    "Bearer",
                    "Bearer ",
                    f"Basic {encoded}",
                    f"basic {encoded}",
                    f"Basic  {encoded}",
                    f"Basic {encoded.rstrip('=')}",
                    f"Basic {encoded}=",
                    f"Basic {base64.b64encode(quote_plus(pair, safe=':').encode()).decode()}",
                    f"Basic {base64.b64encode(b'%ff:' + pair.encode()).decode()}",
                    f"Basic {base64.b64encode(draw(st.binary(max_size=6))).decode()}",
                    "Basic",
                    "Basic \u00e9",
                    f"Digest {encoded}",
                    f"Token {token}",
                    "",
                )
            )
        )
    )


names = st.text(
    st.sampled_from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789-!#$%&'*+.^`|~"), min_size=1, max_size=20
)
# What a server hands on: octets but control characters, and no blanks around them.
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=30).map(
    lambda text: text.strip(" ")
)


def with_field(asked: Asked, name: str, value: str) -> Asked:
    """A request with this field in the place of those of its name."""
    others = [(found, text) for found, text in asked.headers if found.lower() != name.lower()]
    return replace(asked, headers=[*others, (name, value)])


def _set_field(draw: Draw, asked: Asked, _: Operation, __: Known) -> Asked:
    name = draw(st.sampled_from(sorted(FIELDS)))
    return with_field(asked, name, draw(st.sampled_from(FIELDS[name])))


def _set_free_field(draw: Draw, asked: Asked, _: Operation, __: Known) -> Asked:
    name = draw(names | st.sampled_from(sorted(set(FIELDS) - {"Content-Length", "Host"})))
    return with_field(asked, name, draw(values))


def _set_authorization(draw: Draw, asked: Asked, _: Operation, known: Known) -> Asked:
    return with_field(asked, "Authorization", draw(authorizations(known)))


def _set_content_type(draw: Draw, asked: Asked, _: Operation, __: Known) -> Asked:
    return with_field(asked, "Content-Type", draw(st.sampled_from(CONTENT_TYPES)))


def _drop_field(draw: Draw, asked: Asked, _: Operation, __: Known) -> Asked:
    if not asked.headers:
        return asked
    at = draw(st.integers(0, len(asked.headers) - 1))
    return replace(asked, headers=asked.headers[:at] + asked.headers[at + 1 :])


def _double_field(draw: Draw, asked: Asked, _: Operation, __: Known) -> Asked:
    present = asked.headers or [("Host", "localhost"), ("Content-Type", JSON)]
    name, value = draw(st.sampled_from([*present, ("Host", "localhost")]))
    second = draw(st.sampled_from((value, "", "x", value.encode("latin-1").swapcase().decode("latin-1"))))
    spelt = draw(st.sampled_from((name, name.lower(), name.upper())))
    doubled = asked.headers if (name, value) in asked.headers else [*asked.headers, (name, value)]
    return replace(asked, headers=[*doubled, (spelt, second)])


def _stretch_fields(draw: Draw, asked: Asked, _: Operation, __: Known) -> Asked:
    """At the border of what is too large."""
    by = draw(st.integers(-2, 2))
    has_host = any(name.lower() == "host" for name, _ in asked.headers)
    has_length = bool(asked.body) or asked.chunked
    many = MAX_FIELDS - len(asked.headers) - (not has_host) - has_length + by
    name = draw(st.sampled_from(("X-Long", "Cookie", "User-Agent", "X-Request-ID", "Accept-Language", "Authorization")))
    stretched: Asked = draw(
        st.sampled_from(
            (
                with_field(asked, name, "x" * (MAX_FIELD - len(name) + by)),
                replace(asked, headers=[*asked.headers, *((f"X-{number}", "x") for number in range(many))]),
                replace(asked, headers=[*asked.headers, *(("X-Same", "x" * 500) for _ in range(16 + by))]),
            )
        )
    )
    return stretched


def _change_method(draw: Draw, asked: Asked, _: Operation, __: Known) -> Asked:
    return replace(asked, method=draw(st.sampled_from((*METHODS, *METHODS, *ODD_METHODS))))


def _spoil_body(draw: Draw, asked: Asked, operation: Operation, _: Known) -> Asked:
    if operation.json is not None:
        return replace(asked, body=draw(spoilt_json(asked.body)))
    if operation.form is not None:
        return replace(asked, body=draw(spoilt_form(asked.body)))
    return replace(asked, body=draw(st.sampled_from((b"{}", b"x", b"\x00", b"x" * (MAX_BODY + 1)))))


def _chunk(_: Draw, asked: Asked, __: Operation, ___: Known) -> Asked:
    is_framed = any(name.lower() == "content-length" for name, _value in asked.headers)
    return asked if is_framed else replace(asked, chunked=True)


MUTATIONS: tuple[Mutation, ...] = (
    _spoil_path,
    _spoil_query,
    _stretch_target,
    _set_field,
    _set_field,
    _set_free_field,
    _set_authorization,
    _set_authorization,
    _set_content_type,
    _drop_field,
    _double_field,
    _stretch_fields,
    _change_method,
    _spoil_body,
    _spoil_body,
    _spoil_body,
    _chunk,
)


# --- Whole requests -------------------------------------------------------------------------------------------------

WRONGS = (0, 0, 1, 1, 1, 2, 3)
"""Of how many things wrong one is chosen."""


@st.composite
def right_requests(draw: Draw, operation: Operation, known: Known) -> Asked:
    """A request as the contract wants it, with values that may or may not be right."""
    asked = Asked(operation.method.value, draw(right_targets(operation, known)))
    if operation.json is not None:
        body = as_json(draw(members(operation.json, known)), is_ascii=draw(st.booleans()))
        asked = replace(with_field(asked, "Content-Type", JSON), body=body)
    if operation.form is not None:
        pairs = list(draw(members(operation.form, known)).items())
        asked = replace(with_field(asked, "Content-Type", FORM), body=as_form(pairs, plus=draw(st.booleans())))
    is_optional = operation.auth is Auth.OPTIONAL_USER and draw(st.booleans())
    if operation.auth in (Auth.USER, Auth.BEARER) or is_optional:
        token = draw(st.sampled_from((*[*known.access_tokens[:2]] * 12, *known.access_tokens)))
        asked = with_field(asked, "Authorization", f"Bearer {token}")
    of_client = 7 if b"client_credentials" in asked.body else 1
    is_client = operation.auth is Auth.CLIENT and b"client_secret" not in asked.body
    if is_client or (operation.auth is Auth.OPTIONAL_CLIENT and draw(st.integers(0, 7)) < of_client):
        pair = draw(st.sampled_from((known.clients[0], *known.clients)))
        asked = with_field(asked, "Authorization", f"Basic {base64.b64encode(':'.join(pair).encode()).decode()}")
    return asked


def _can_be_counted(asked: Asked) -> bool:
    """Whether WSGI shows how many fields there are: it joins those of one name, and hides an empty Content-Type.

    Behind gunicorn that does not matter, because it counts them itself; there, such requests are sent as well.
    """
    names_of = [name.lower() for name, value in asked.headers if (name.lower(), value) != ("content-type", "")]
    return len(asked.headers) < MAX_FIELDS - 2 or len(set(names_of)) == len(asked.headers)


def countable_requests(known: Known, wrongs: Sequence[int] = WRONGS) -> st.SearchStrategy[Asked]:
    """Requests for applications without their servers."""
    return requests(known, wrongs).filter(_can_be_counted)


@st.composite
def requests(draw: Draw, known: Known, wrongs: Sequence[int] = WRONGS) -> Asked:
    """A request with as many things wrong as one of ``wrongs`` says."""
    operation = draw(st.sampled_from(tuple(OPERATIONS.values())))
    asked: Asked = draw(right_requests(operation, known))
    for _ in range(draw(st.sampled_from(wrongs))):
        asked = draw(st.sampled_from(MUTATIONS))(draw, asked, operation, known)
    return asked
