"""Keys, metadata, problem types, health, and the pages."""

import pytest
from sqlalchemy import text

from core.capabilities import CONTRACT
from core.settings.groups import HttpSettings
from core.storage.schema import HEAD_REVISION
from tests.support.api import Api
from tests.support.contract import OPERATIONS
from tests.support.services import OpenDoor, on_one_database


def test_the_key_set_holds_public_keys_only(api: Api) -> None:
    api.signed_in()
    answer = api.get("/.well-known/jwks.json")
    assert answer.status == 200
    assert answer.header("Cache-Control") == "public, max-age=300"
    (key,) = answer.json["keys"]
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("EC", "P-256", "sig", "ES256")


OPEN = ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]


@on_one_database
def test_the_metadata_says_what_is_supported_and_nothing_else(api: Api) -> None:
    answer = api.get("/.well-known/oauth-authorization-server")
    assert answer.status == 200
    assert answer.json == {
        "issuer": "http://127.0.0.1:8000",
        "token_endpoint": "http://127.0.0.1:8000/v1/token",
        "jwks_uri": "http://127.0.0.1:8000/.well-known/jwks.json",
        "revocation_endpoint": "http://127.0.0.1:8000/v1/revoke",
        "introspection_endpoint": "http://127.0.0.1:8000/v1/introspect",
        "grant_types_supported": ["refresh_token", "client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "bearer"],
    }
    assert api.get("/.well-known/openid-configuration").body == answer.body


@on_one_database
@pytest.mark.parametrize("path", OPEN)
def test_a_document_that_somebody_has_is_not_sent_again(api: Api, path: str) -> None:
    answer = api.get(path)
    tag = str(answer.header("ETag"))
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = api.get(path, headers=[("If-None-Match", known)])
        assert (again.status, again.body, again.header("ETag")) == (304, b"", tag)
    assert api.get(path, headers=[("If-None-Match", '"other"')]).body == answer.body


CODES = {error.code for error in CONTRACT.problems}


@on_one_database
def test_every_error_code_is_explained(api: Api) -> None:
    for code in CODES:
        answer = api.get(f"/problems/{code}")
        assert answer.status == 200, code
        assert (answer.json["code"], answer.json["type"]) == (code, f"/problems/{code}")
        assert len(answer.json["explanation"]) > 40, code


@on_one_database
def test_an_unknown_code_is_not_found(api: Api) -> None:
    assert api.get("/problems/no_such_code").status == 404


def test_every_documented_error_has_a_code_that_is_explained() -> None:
    documented = {error.code for operation in OPERATIONS.values() for error in operation.all_errors}
    assert documented <= CODES


def test_health_is_one_word(api: Api) -> None:
    assert api.get("/healthz").json == {"status": "ok"}
    assert api.get("/readyz").json == {"status": "ok"}


def test_ready_says_no_when_the_schema_is_another(api: Api) -> None:
    engine = api.auth.store.engine  # type: ignore[attr-defined]  # the SQL store has one
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    try:
        answer = api.get("/readyz")
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE alembic_version SET version_num = '{HEAD_REVISION}'"))
    assert (answer.status, answer.json["code"], answer.header("Retry-After")) == (503, "not_ready", "5")
    assert api.get("/readyz").status == 200


@on_one_database
@pytest.mark.parametrize(
    ("path", "media_type", "marker"),
    [
        ("/docs", "text/html; charset=utf-8", b"swagger-ui-bundle.js"),
        ("/redoc", "text/html; charset=utf-8", b"redoc.standalone.js"),
        ("/assets/swagger-ui-bundle.js", "text/javascript; charset=utf-8", b"SwaggerUIBundle"),
        ("/assets/swagger-ui.css", "text/css; charset=utf-8", b".swagger-ui"),
        ("/assets/redoc.standalone.js", "text/javascript; charset=utf-8", b"Redoc"),
        ("/assets/swagger-init.js", "text/javascript; charset=utf-8", b"openapi.json"),
        ("/assets/redoc-init.js", "text/javascript; charset=utf-8", b"openapi.json"),
        ("/assets/redoc.css", "text/css; charset=utf-8", b"margin"),
        ("/assets/favicon.png", "image/png", b"PNG"),
        ("/openapi.json", "application/json", b"openapi"),
    ],
)
def test_the_pages_come_from_here(api: Api, path: str, media_type: str, marker: bytes) -> None:
    answer = api.get(path)
    assert (answer.status, answer.header("Content-Type")) == (200, media_type)
    assert marker in answer.body


@on_one_database
@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_may_open_nothing_but_its_own_host(api: Api, path: str) -> None:
    answer = api.get(path)
    policy = answer.header("Content-Security-Policy") or ""
    assert "default-src 'none'" in policy
    assert "http:" not in policy
    assert b"http://" not in answer.body
    assert b"https://" not in answer.body


@on_one_database
@pytest.mark.parametrize("name", ["..%2fapp.py", "__init__.py", "swagger-ui.js.map", "%2e%2e", ""])
def test_no_other_file_is_an_asset(api: Api, name: str) -> None:
    assert api.get(f"/assets/{name}").status == 404


@on_one_database
@pytest.mark.parametrize("path", OPEN)
def test_pages_of_any_origin_may_read_the_documents(api: Api, path: str) -> None:
    origin = ("Origin", "https://anybody.example.org")
    answer = api.get(path, headers=[origin])
    assert answer.header("Access-Control-Allow-Origin") == "*"
    assert "ETag" in str(answer.header("Access-Control-Expose-Headers"))
    assert answer.header("Access-Control-Allow-Credentials") is None
    asked = [origin, ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "if-none-match")]
    preflight = api.send("OPTIONS", path, headers=asked)
    assert preflight.status == 204
    assert preflight.header("Access-Control-Allow-Origin") == "*"
    assert preflight.header("Access-Control-Allow-Headers") == "if-none-match"
    assert api.get("/healthz", headers=[origin]).header("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize("name", ["oauth-authorization-server", "openid-configuration"])
def test_the_metadata_of_an_issuer_with_a_path_stand_where_rfc_8414_looks(door: OpenDoor, name: str) -> None:
    api = door(http=HttpSettings(public_url="https://example.com/a/b"))
    for path in (f"/.well-known/{name}", f"/.well-known/{name}/a/b", f"/a/b/.well-known/{name}"):
        answer = api.get(path)
        assert (answer.status, answer.json["issuer"]) == (200, "https://example.com/a/b"), path
    for path in (f"/.well-known/{name}/a", f"/.well-known/{name}/b", f"/.well-known/{name}/a/b/c"):
        assert api.get(path).status == 404, path
