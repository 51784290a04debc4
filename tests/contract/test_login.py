"""POST /v1/login and POST /v1/token."""

import base64
from typing import Any

import bcrypt
import jwt
import pytest
from sqlalchemy import update

from core.authentication.errors import Overloaded
from core.users.sql import users
from tests.support.api import EMAIL, OTHER_EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.mail import kind_of
from tests.support.services import on_one_database


def test_login_gives_a_token_pair(api: Api) -> None:
    api.signup()
    answer = api.post("/v1/login", {"email": EMAIL, "password": PASSWORD})
    assert answer.status == 200
    pair = answer.json
    assert api.whoami(pair.pop("access_token")).status == 200
    assert pair.pop("refresh_token").startswith("twr_")
    assert pair.pop("device_token").startswith("twd_")
    assert pair == {"token_type": "Bearer", "expires_in": 900, "refresh_expires_in": 2592000}
    assert answer.header("Cache-Control") == "no-store"


def test_the_access_token_is_an_rfc_9068_token_without_personal_data(api: Api) -> None:
    user = api.signup()
    token = api.login()["access_token"]
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["typ"]) == ("ES256", "at+jwt")
    assert header["kid"] == api.get("/.well-known/jwks.json").json["keys"][0]["kid"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims.keys() == {"iss", "aud", "sub", "client_id", "iat", "exp", "jti", "sid", "auth_time", "amr"}
    assert (claims["auth_time"], claims["amr"]) == (claims["iat"], ["pwd"])
    assert claims["sub"] == user["id"]
    assert claims["exp"] - claims["iat"] == 900
    assert EMAIL not in str(claims)


@pytest.fixture(params=["unknown", "wrong password", "inactive", "not an address", "longer than any address"])
def refused(request: pytest.FixtureRequest, api: Api) -> dict[str, str]:
    """Credentials that are refused, each for another reason."""
    api.signup()
    if request.param == "inactive":
        with api.auth.store.engine.begin() as connection:  # type: ignore[attr-defined]  # the SQL store has one
            connection.execute(update(users).values(is_active=False))
        return {"email": EMAIL, "password": PASSWORD}
    email = {"unknown": "eve@example.com", "wrong password": EMAIL, "not an address": "eve"}.get(request.param)
    return {"email": email or "a" * 65 + "@example.com", "password": OTHER_PASSWORD}


def test_every_refused_login_answers_alike(api: Api, refused: dict[str, str]) -> None:
    answer = api.post("/v1/login", refused, headers=[("X-Request-ID", "r")])
    assert (answer.status, answer.header("WWW-Authenticate")) == (401, 'Bearer realm="twinauth"')
    assert answer.json == {
        "type": "/problems/invalid_credentials",
        "title": "Invalid credentials",
        "status": 401,
        "detail": "The e-mail address or the password is wrong.",
        "code": "invalid_credentials",
        "request_id": "r",
    }


def test_every_login_starts_a_new_session(api: Api) -> None:
    first, second = api.signed_in(), api.login()
    sids = {jwt.decode(pair["access_token"], options={"verify_signature": False})["sid"] for pair in (first, second)}
    assert len(sids) == 2


def test_a_full_line_of_hashes_answers_503_and_leaves_whoami_alone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    token = api.signed_in()["access_token"]
    line = api.auth.authentication._passwords._pool

    def full(*_: Any) -> Any:
        raise Overloaded

    monkeypatch.setattr(line, "run", full)
    answer = api.post("/v1/login", {"email": EMAIL, "password": PASSWORD})
    assert (answer.status, answer.json["code"], answer.header("Retry-After")) == (503, "overloaded", "1")
    assert api.whoami(token).status == 200


@on_one_database
@pytest.mark.parametrize("missing", ["email", "password"])
def test_login_names_what_is_missing(api: Api, missing: str) -> None:
    body = {"email": EMAIL, "password": PASSWORD}
    del body[missing]
    answer = api.post("/v1/login", body)
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, f"/{missing}")


def password_grant(**changes: str) -> dict[str, str]:
    return {"grant_type": "password", "username": EMAIL, "password": PASSWORD} | changes


def test_the_password_grant_gives_an_rfc_6749_answer(api: Api) -> None:
    api.signup()
    answer = api.post("/v1/token", form=password_grant())
    assert answer.status == 200
    assert answer.json.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "device_token"}
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 900)
    assert answer.header("Cache-Control") == "no-store"
    assert api.whoami(answer.json["access_token"]).status == 200


@pytest.mark.parametrize("blank", [" ", "\n", "\u00a0"])
def test_a_blank_behind_the_address_is_no_part_of_it(api: Api, blank: str) -> None:
    """Keyboards of phones put one there; it is neither another account nor a wrong password."""
    typed, token = f"{EMAIL}{blank}", api.signed_in()["access_token"]
    body = {"email": typed, "password": PASSWORD}
    assert api.post("/v1/login", body).status == 200
    assert api.post("/v1/token", form=password_grant(username=typed)).status == 200
    assert (answer := api.post("/v1/signup", body)).status == 409, answer.json
    assert api.post("/v1/signup", body | {"email": f"bob@example.com{blank}"}).json["email"] == "bob@example.com"
    assert api.ask_for_reset(typed).status == 202
    assert api.ask_for_change(token, f"{OTHER_EMAIL}{blank}").status == 202
    letters = {kind_of(letter): letter["To"] for letter in api.deliver()}
    assert (letters["password_reset"], letters["email_change"]) == (EMAIL, OTHER_EMAIL)


def test_the_refresh_grant_rotates(api: Api) -> None:
    first = api.signed_in()
    answer = api.post("/v1/token", form={"grant_type": "refresh_token", "refresh_token": first["refresh_token"]})
    assert answer.status == 200
    assert answer.json["refresh_token"] != first["refresh_token"]
    assert api.whoami(answer.json["access_token"]).status == 200


@on_one_database
@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"username": EMAIL, "password": PASSWORD}, "invalid_request"),
        (password_grant(grant_type=""), "invalid_request"),
        (password_grant(username=""), "invalid_request"),
        ({"grant_type": "password", "username": EMAIL}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        (password_grant(password="x" * 129), "invalid_request"),
        (password_grant(password=OTHER_PASSWORD), "invalid_grant"),
        (password_grant(username="eve@example.com"), "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "twr_junk"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "x" * 10_000}, "invalid_grant"),
        (password_grant(grant_type="authorization_code"), "unsupported_grant_type"),
        (password_grant(grant_type="Password"), "unsupported_grant_type"),
    ],
)
def test_token_errors_have_the_form_of_rfc_6749(api: Api, form: dict[str, str], error: str) -> None:
    api.signup()
    answer = api.post("/v1/token", form=form)
    assert (answer.status, answer.header("Content-Type")) == (400, "application/json")
    assert answer.json.keys() == {"error", "error_description"}
    assert answer.json["error"] == error


@on_one_database
@pytest.mark.parametrize(
    "body",
    [
        b"grant_type=password&grant_type=password&username=a&password=b",
        b"grant_type=password&username=%ff&password=b",
        b"grant_type=password&username=\xff&password=b",
        b"&".join(b"a%d=1" % number for number in range(60)),
    ],
)
def test_a_repeated_or_undecodable_parameter_is_an_invalid_request(api: Api, body: bytes) -> None:
    headers = [("Content-Type", "application/x-www-form-urlencoded")]
    answer = api.send("POST", "/v1/token", content=body, headers=headers)
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


def test_unknown_parameters_are_ignored_as_rfc_6749_asks(api: Api) -> None:
    api.signup()
    assert api.post("/v1/token", form=password_grant(is_superuser="true", scope="")).status == 200


def basic(client_id: str, secret: str) -> list[tuple[str, str]]:
    return [("Authorization", "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode())]


def test_the_empty_client_of_swagger_ui_is_no_client(api: Api) -> None:
    api.signup()
    assert api.post("/v1/token", form=password_grant(), headers=basic("", "")).status == 200


@on_one_database
@pytest.mark.parametrize("headers", [basic("some", "body"), basic("", "x"), [("Authorization", "Basic !!")]])
def test_a_client_that_nobody_knows_is_refused(api: Api, headers: list[tuple[str, str]]) -> None:
    api.signup()
    answer = api.post("/v1/token", form=password_grant(), headers=headers)
    assert (answer.status, answer.json["error"]) == (401, "invalid_client")
    assert answer.header("WWW-Authenticate") == 'Basic realm="twinauth", charset="UTF-8"'


def test_an_old_hash_is_upgraded_at_login(api: Api) -> None:
    user = api.signup()
    stored = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    with api.auth.store.engine.begin() as connection:  # type: ignore[attr-defined]  # the SQL store has one
        connection.execute(update(users).values(password_hash=stored))
    api.login()
    with api.auth.store.reading() as read:
        account = read.users.by_email(EMAIL)
    assert account is not None
    assert account.password_hash.startswith("$bcrypt-sha256$")
    assert str(account.user.id) == user["id"]
    api.login()


@on_one_database
@pytest.mark.parametrize(
    "stored",
    [
        "",
        "x",
        "$1$abc",
        "$2b$99$abcdefghijklmnopqrstuu" + "a" * 31,
        "$argon2id$v=19$m=4194304,t=2,p=1$YWFhYWFhYWE$YWFh",
    ],
)
def test_a_damaged_stored_hash_fails_closed(api: Api, stored: str) -> None:
    api.signup()
    with api.auth.store.engine.begin() as connection:  # type: ignore[attr-defined]  # the SQL store has one
        connection.execute(update(users).values(password_hash=stored))
    assert api.post("/v1/login", {"email": EMAIL, "password": PASSWORD}).status == 401
