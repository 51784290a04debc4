"""The pages behind the links: /reset-password and /verify-email."""

import asyncio
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from core.settings.groups import HttpSettings, MailSettings
from core.sql_store import SqlStore
from tests.support.api import Api
from tests.support.contract import OPERATIONS
from tests.support.parity import fields_of
from tests.support.services import FRAMEWORKS, on_one_database, open_service
from tests.support.settings import PRODUCTION, SECRET

PAGES = ("/reset-password", "/verify-email", "/undo-email-change")
ASSETS = {"links.css": "text/css; charset=utf-8", "links.js": "text/javascript; charset=utf-8"}
TITLES = {
    ("/reset-password", "en"): "Set a new password",
    ("/reset-password", "de"): "Neues Passwort setzen",
    ("/verify-email", "en"): "Confirm your e-mail address",
    ("/verify-email", "de"): "Bestätigen Sie Ihre E-Mail-Adresse",
    ("/undo-email-change", "en"): "Take your address back",
    ("/undo-email-change", "de"): "Holen Sie Ihre Adresse zurück",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
)
DEAD = {
    "/reset-password": "invalid_reset_token",
    "/verify-email": "invalid_verification_token",
    "/undo-email-change": "invalid_undo_token",
}
TAKING = {
    "/reset-password": ["reset_password"],
    "/verify-email": ["verify_email", "verify_email", "disown_account"],
    "/undo-email-change": ["undo_email_change"],
}
TOKEN = "twm_" + "Ab3_" * 8

LANGUAGES = (
    (None, "en"),
    ("", "en"),
    ("en", "en"),
    ("de", "de"),
    ("de-DE", "de"),
    ("DE", "de"),
    ("DE-at", "de"),
    ("EN-US,EN;q=0.9", "en"),
    ("de-Latn-CH", "de"),
    ("fr;q=0.9, de;q=0.3, *;q=0.1", "de"),
    ("en-GB,de;q=0.9", "en"),
    ("en;q=0.3,de;q=0.9", "de"),
    ("de;q=0", "en"),
    ("de;q=0, en;q=0", "en"),
    ("fr, it", "en"),
    ("*", "en"),
    ("de;q=x", "en"),
    ("de;q=-1", "en"),
    ("de;q=NaN", "en"),
    ("de;q=inf", "en"),
    ("de;q=1e99", "en"),
    ("-", "en"),
    ("---,de", "de"),
    ("de_DE", "en"),
    ("../../../etc/passwd", "en"),
    ("de\u00df".encode().decode("latin-1"), "en"),
    ("de/../en", "en"),
    ("{{7*7}}, <script>alert(1)</script>", "en"),
    ("a-" * 4000, "en"),
    ("x," * 4000, "en"),
    ("x," * 19 + "de", "de"),
    ("x," * 20 + "de", "en"),
    ("1,2;;;=,;q=1,\t,", "en"),
)


class Reader(HTMLParser):
    """Collects the elements of a page and the text inside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self.title = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, _tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style") and data.strip():
            self.inline.append(data)
        if self._inside == "title":
            self.title += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


def page(api: Api, path: str, language: str | None = None) -> Reader:
    headers = [] if language is None else [("Accept-Language", language)]
    return Reader(api.get(path, headers=headers).body.decode())


@on_one_database  # none asks a database, and a test holds that
@pytest.mark.parametrize("path", PAGES)
class TestAPage:
    def test_is_html_with_a_narrow_policy(self, api: Api, path: str) -> None:
        answer = api.get(path, headers=[("X-Request-ID", "r")])
        assert answer.status == 200
        assert sorted((name.lower(), value) for name, value in answer.headers) == [
            ("cache-control", "no-store"),
            ("content-language", "en"),
            ("content-length", str(len(answer.body))),
            ("content-security-policy", POLICY),
            ("content-type", "text/html; charset=utf-8"),
            ("referrer-policy", "no-referrer"),
            ("vary", "Accept-Language"),
            ("x-content-type-options", "nosniff"),
            ("x-request-id", "r"),
        ]

    def test_has_nothing_inline(self, api: Api, path: str) -> None:
        found = page(api, path)
        assert found.inline == []
        assert not [a for _, attributes in found.elements for a in attributes if a == "style" or a.startswith("on")]
        assert found.all("style") == []
        assert found.all("base") == []
        assert [attributes.get("src") for attributes in found.all("script")] == ["assets/links.js"]

    def test_takes_nothing_from_elsewhere(self, api: Api, path: str) -> None:
        found = page(api, path)
        addresses = [
            value
            for _, attributes in found.elements
            for name, value in attributes.items()
            if name in ("src", "href", "action", "data", "srcset", "formaction", "poster")
        ]
        # Relative, so that they work behind a proxy that adds a prefix.
        assert addresses == ["assets/links.css", "assets/links.js"]
        for address in addresses:
            assert api.get(f"/{address}").status == 200
        text = api.get(path).body.decode()
        assert "//" not in text
        assert "javascript:" not in text

    def test_sends_to_the_operation_that_takes_its_token(self, api: Api, path: str) -> None:
        forms = page(api, path).all("form")
        taking = [form["data-action"] for form in forms if "data-token" in form]
        assert [f"/{action}" for action in taking] == [OPERATIONS[name].path for name in TAKING[path]]
        for form in forms:
            assert not {"action", "method"} & form.keys(), "without its script it sends nothing anywhere"
            assert "hidden" in form

    def test_sends_what_the_operations_take(self, api: Api, path: str) -> None:
        models = {operation.path: operation.json for operation in OPERATIONS.values()}
        sent: dict[str, set[str]] = {}
        for tag, attributes in page(api, path).elements:
            if tag == "form":
                members = sent[f"/{attributes['data-action']}"] = {"token"} if "data-token" in attributes else set()
            elif attributes.get("name") and tag == "input":
                members.add(str(attributes["name"]))
        for target, names in sent.items():
            model = models[target]
            assert model is not None
            assert names <= set(model.model_fields)
            assert {name for name, field in model.model_fields.items() if field.is_required()} <= names

    def test_leads_from_step_to_step_and_nowhere_else(self, api: Api, path: str) -> None:
        found = page(api, path)
        forms = [form["id"] for form in found.all("form")]
        assert {button["data-opens"] for button in found.all("button") if "data-opens" in button} <= set(forms)
        assert len(set(forms)) == len(forms)
        codes = {attributes["data-code"] for attributes in found.all("p") if "data-code" in attributes}
        assert {form["data-done"] for form in found.all("form") if "data-done" in form} <= codes
        assert {form["data-next"] for form in found.all("form") if "data-next" in form} <= set(forms)

    def test_explains_what_the_operation_may_refuse(self, api: Api, path: str) -> None:
        codes = {attributes["data-code"] for attributes in page(api, path).all("p") if "data-code" in attributes}
        assert {DEAD[path], "no_token"} <= codes
        assert {"password_too_common", "password_of_known_words", "password_breached"} <= codes

    def test_can_be_read_by_everybody(self, api: Api, path: str) -> None:
        found = page(api, path)
        labelled = {attributes.get("for") for attributes in found.all("label")}
        assert {attributes["id"] for attributes in found.all("input")} <= labelled
        assert found.all("html") == [{"lang": "en"}]
        assert len(found.all("h1")) == 1
        assert found.all("noscript") == [{}]
        assert {"name": "robots", "content": "noindex"} in found.all("meta")

    @pytest.mark.parametrize("query", [f"?token={TOKEN}", "?<script>alert(1)</script>", "?lang=de&next=//evil.example"])
    def test_takes_nothing_from_its_address(self, api: Api, path: str, query: str) -> None:
        asked, plain = api.get(path + query), api.get(path)
        assert (asked.status, asked.body) == (200, plain.body)

    def test_takes_nothing_from_its_headers(self, api: Api, path: str) -> None:
        headers = [
            ("Host", "evil.example.net"),
            ("X-Forwarded-Host", "evil.example.net"),
            ("X-Forwarded-Prefix", "/evil"),
            ("Referer", f"https://evil.example.net/#token={TOKEN}"),
            ("Cookie", f"token={TOKEN}"),
            ("Authorization", f"Bearer {TOKEN}"),
        ]
        answer = api.get(path, headers=headers)
        assert (answer.status, answer.body) == (200, api.get(path).body)
        assert "evil" not in str(answer.headers)

    def test_holds_no_token_and_no_secret_and_sets_no_cookie(self, api: Api, path: str) -> None:
        api.verified()
        api.reset_token()
        answer = api.get(path)
        everything = answer.body.decode() + str(answer.headers)
        for secret in ("twm_", "twr_", "eyJ", SECRET, "ann@example.com"):
            assert secret not in everything
        assert answer.header("Set-Cookie") is None

    def test_is_in_the_language_of_the_reader(self, api: Api, path: str) -> None:
        for accept, language in LANGUAGES:
            answer = api.get(path, headers=[] if accept is None else [("Accept-Language", accept)])
            assert answer.status == 200
            said = (answer.header("Content-Language"), answer.header("Vary"))
            assert said == (language, "Accept-Language"), accept
            found = Reader(answer.body.decode())
            assert found.all("html") == [{"lang": language}]
            assert found.title == TITLES[path, language]
            assert b"alert(1)" not in answer.body

    @pytest.mark.parametrize("language", ["en", "de"])
    def test_is_asked_for_by_head_as_by_get(self, api: Api, path: str, language: str) -> None:
        headers = [("X-Request-ID", "r"), ("Accept-Language", language)]
        got, headed = api.get(path, headers=headers), api.send("HEAD", path, headers=headers)
        assert (headed.status, headed.body) == (200, b"")
        assert fields_of(headed) == fields_of(got)

    def test_touches_no_database(self, api: Api, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def explode(*_: object) -> None:
            raise AssertionError("the database was asked")

        for name in ("begin", "reading", "check"):
            monkeypatch.setattr(type(api.auth.store), name, explode)
        assert api.get(path).status == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    def test_takes_nothing(self, api: Api, path: str, method: str) -> None:
        answer = api.send(method, path, content=f"token={TOKEN}".encode())
        assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD, OPTIONS")
        assert TOKEN not in answer.body.decode()


@on_one_database
@pytest.mark.parametrize("name", ASSETS)
class TestAnAsset:
    def test_is_served_and_kept(self, api: Api, name: str) -> None:
        answer = api.get(f"/assets/{name}")
        assert (answer.status, answer.header("Content-Type")) == (200, ASSETS[name])
        assert answer.header("Cache-Control") == "public, max-age=86400"
        assert answer.header("X-Content-Type-Options") == "nosniff"
        assert len(answer.body) > 500
        headed = api.send("HEAD", f"/assets/{name}")
        assert (headed.status, headed.body, headed.header("Content-Length")) == (200, b"", str(len(answer.body)))

    def test_takes_nothing_from_elsewhere(self, api: Api, name: str) -> None:
        text = api.get(f"/assets/{name}").body.decode()
        for outside in ("http:", "https:", "url(", "@import", "eval(", "innerHTML", "document.write", "localStorage"):
            assert outside not in text


@on_one_database
@pytest.mark.parametrize(
    "name", ["links", "links.js.map", "links.html", "..%2flinks.js", "%2e%2e/links.js", "LINKS.JS", "__init__.py", "."]
)
def test_no_other_file_is_an_asset(api: Api, name: str) -> None:
    answer = api.get(f"/assets/{name}")
    assert (answer.status, answer.json["code"]) == (404, "not_found")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_they_are_served_in_production_without_the_documentation(
    framework: str, new_store: Callable[[], SqlStore], loop: asyncio.AbstractEventLoop
) -> None:
    api = open_service(new_store(), loop, **PRODUCTION).api(framework)
    for path in ("/docs", "/openapi.json", "/assets/swagger-ui.css", "/assets/favicon.png"):
        assert api.get(path).status == 404
    for path in (*PAGES, *(f"/assets/{name}" for name in ASSETS)):
        answer = api.get(path)
        assert answer.status == 200
        assert answer.header("Strict-Transport-Security") == "max-age=31536000; includeSubDomains"


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("accept", "language"), [("", "de"), ("fr", "de"), ("en", "en")])
def test_the_language_of_the_others_is_a_setting(
    framework: str, new_store: Callable[[], SqlStore], loop: asyncio.AbstractEventLoop, accept: str, language: str
) -> None:
    there = open_service(new_store(), loop, mail=MailSettings(mail_language="de"))
    answer = there.api(framework).get("/verify-email", headers=[("Accept-Language", accept)])
    assert answer.header("Content-Language") == language


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_cors_origin_adds_to_vary_and_takes_nothing_away(
    framework: str, new_store: Callable[[], SqlStore], loop: asyncio.AbstractEventLoop
) -> None:
    http = HttpSettings(cors_origins=("https://app.example.com",))
    api = open_service(new_store(), loop, http=http).api(framework)
    answer = api.get("/verify-email", headers=[("Origin", "https://app.example.com")])
    assert answer.header("Access-Control-Allow-Origin") == "https://app.example.com"
    assert {part.strip() for value in answer.all("Vary") for part in value.split(",")} == {"Accept-Language", "Origin"}
