"""POST /v1/signup."""

import uuid

import pytest

from core.mail.transports import recipient_of, text_of
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.mail import kind_of
from tests.support.services import on_one_database


def test_signup_answers_with_the_user_and_nothing_else(api: Api) -> None:
    answer = api.post("/v1/signup", {"email": EMAIL, "password": PASSWORD, "display_name": "Ann ✓"})
    assert answer.status == 201
    user = answer.json
    assert uuid.UUID(user.pop("id")).version == 7
    assert user == {
        "email": EMAIL,
        "email_verified": False,
        "display_name": "Ann ✓",
        "roles": [],
        "is_active": True,
        "created_at": "2026-11-21T09:30:00Z",
        "updated_at": "2026-11-21T09:30:00Z",
    }


@on_one_database
@pytest.mark.parametrize("email", [EMAIL, "ANN@example.com", "Ann@EXAMPLE.com"])
def test_an_address_is_taken_in_every_spelling(api: Api, email: str) -> None:
    api.signup(EMAIL)
    answer = api.post("/v1/signup", {"email": email, "password": OTHER_PASSWORD})
    assert (answer.status, answer.json["code"]) == (409, "email_taken")
    api.login(email, PASSWORD)


@pytest.mark.parametrize("email", ["Ann@example.com", "ANN@EXAMPLE.COM"])
def test_the_owner_of_a_taken_address_is_told_in_the_spelling_of_the_account(api: Api, email: str) -> None:
    api.verified("Ann@example.com")
    assert api.post("/v1/signup", {"email": email, "password": OTHER_PASSWORD, "display_name": "Eve"}).status == 409
    letter = api.letter("signup_attempted")
    assert recipient_of(letter) == "Ann@example.com"
    assert letter["Subject"] == "Your address has an account already"
    assert "Eve" not in text_of(letter)
    assert "http" not in text_of(letter)


def test_a_taken_address_changes_nothing_of_its_account(api: Api) -> None:
    pair = api.signed_in()
    token = api.verification_token()
    before = api.whoami(pair["access_token"]).json
    api.clock.advance(seconds=1)
    assert api.post("/v1/signup", {"email": EMAIL, "password": OTHER_PASSWORD, "display_name": "Eve"}).status == 409
    assert [kind_of(letter) for letter in api.deliver()] == ["signup_attempted"]
    assert api.whoami(pair["access_token"]).json == before
    assert api.refresh(pair["refresh_token"]).status == 200
    assert api.verify(token).status == 204


def test_a_signup_that_is_refused_sends_nothing(api: Api) -> None:
    assert api.post("/v1/signup", {"email": EMAIL, "password": "too short"}).status == 422
    assert api.post("/v1/signup", {"email": EMAIL, "password": f"hello, {EMAIL}"}).status == 422
    assert api.deliver() == []


def test_all_mistakes_of_a_body_are_told_at_once(api: Api) -> None:
    """A form that shows one kind after another is sent three times."""
    answer = api.post("/v1/signup", {"email": "ann@", "password": "too short", "display_name": 7, "roles": ["admin"]})
    assert answer.status == 422
    assert {(error["pointer"], error["code"]) for error in answer.json["errors"]} == {
        ("/email", "email_invalid"),
        ("/password", "password_too_short"),
        ("/display_name", "wrong_type"),
        ("/roles", "unknown_member"),
    }
    answer = api.post("/v1/signup", {"password": f"I am {EMAIL}", "display_name": "\x07"})
    assert {(error["pointer"], error["code"]) for error in answer.json["errors"]} == {
        ("/email", "missing"),
        ("/display_name", "control_character"),
    }, "what is made of an address is told when there is one"


def test_letters_that_only_look_alike_are_different_accounts(api: Api) -> None:
    api.signup("mike@example.org")
    api.signup("m\N{LATIN SMALL LETTER DOTLESS I}ke@example.org")


PRIVILEGES = ("id", "is_superuser", "is_active", "roles", "email_verified", "password_hash", "created_at", "scopes")


@on_one_database
def test_no_privilege_can_be_signed_up_for(api: Api) -> None:
    for member in PRIVILEGES:
        answer = api.post("/v1/signup", {"email": EMAIL, "password": PASSWORD, member: True})
        assert answer.status == 422, member
        assert answer.json["errors"] == [
            {"pointer": f"/{member}", "code": "unknown_member", "message": "There is no such member."}
        ]
    assert api.post("/v1/login", {"email": EMAIL, "password": PASSWORD}).status == 401


INVALID: tuple[tuple[dict[str, object], str, str], ...] = (
    ({"email": "not an address"}, "/email", "email_invalid"),
    ({"email": "a" * 65 + "@example.com"}, "/email", "email_too_long"),
    ({"email": "a@" + "b" * 260 + ".com"}, "/email", "too_long"),
    ({"email": "ann@example.com\r\nBcc: eve@example.com"}, "/email", "email_invalid"),
    ({"email": "ann@example.com,eve@example.com"}, "/email", "email_invalid"),
    ({"email": "Ann <ann@example.com>"}, "/email", "email_invalid"),
    ({"email": "ann\u0000@example.com"}, "/email", "email_invalid"),
    ({"email": "ann\u202e@example.com"}, "/email", "email_invalid"),
    ({"email": "ann\u200b@example.com"}, "/email", "email_invalid"),
    ({"email": ["ann@example.com"]}, "/email", "wrong_type"),
    ({"email": {"$ne": None}}, "/email", "wrong_type"),
    ({"email": 1}, "/email", "wrong_type"),
    ({"email": None}, "/email", "wrong_type"),
    ({"email": ""}, "/email", "too_short"),
    ({"password": "elevenchars"}, "/password", "password_too_short"),
    ({"password": "😀" * 11}, "/password", "password_too_short"),
    ({"password": "x" * 129}, "/password", "too_long"),
    ({"password": "\u0301\u0316" * 1_000}, "/password", "too_long"),
    ({"password": "aaaaaaaaaaaaaaaa"}, "/password", "password_too_common"),
    ({"password": "passwordpassword"}, "/password", "password_too_common"),
    ({"password": "twinauthtwinauth"}, "/password", "password_too_common"),
    ({"password": "hello, ann@example.com"}, "/password", "password_contains_email"),
    ({"password": 123456789012}, "/password", "wrong_type"),
    ({"display_name": ""}, "/display_name", "too_short"),
    ({"display_name": "x" * 101}, "/display_name", "too_long"),
    ({"display_name": "a\u0000b"}, "/display_name", "control_character"),
    ({"display_name": "a\nb"}, "/display_name", "control_character"),
)


@on_one_database
def test_invalid_input_is_named_and_never_echoed(api: Api) -> None:
    for changes, pointer, code in INVALID:
        answer = api.post("/v1/signup", {"email": EMAIL, "password": PASSWORD} | changes)
        assert answer.status == 422, changes
        assert answer.header("Content-Type") == "application/problem+json"
        assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [(pointer, code)], changes
        ((_, given),) = changes.items()
        if isinstance(given, str) and given:
            assert given not in answer.body.decode()


@on_one_database
@pytest.mark.parametrize("member", ["email", "password"])
def test_a_missing_member_is_named(api: Api, member: str) -> None:
    body = {"email": EMAIL, "password": PASSWORD}
    del body[member]
    answer = api.post("/v1/signup", body)
    assert answer.status == 422
    assert answer.json["errors"] == [
        {"pointer": f"/{member}", "code": "missing", "message": "This member is required."}
    ]


@on_one_database
@pytest.mark.parametrize(
    "password",
    ["あ" * 64, "😀" * 64, "                .", "a" * 64 + "b" * 64, "pass\u0000word pass", " correct horse "],
)
def test_any_long_enough_password_is_taken_exactly_as_typed(api: Api, password: str) -> None:
    api.signup(EMAIL, password)
    api.login(EMAIL, password)
    for other in (password[:-1], password + "x", password.swapcase() + "y", password.strip() + "z"):
        assert api.post("/v1/login", {"email": EMAIL, "password": other[:128]}).status == 401 or other[:128] == password


def test_composed_and_decomposed_letters_are_one_password(api: Api) -> None:
    api.signup(EMAIL, "caf\u00e9 caf\u00e9 caf\u00e9")
    api.login(EMAIL, "cafe\u0301 cafe\u0301 cafe\u0301")


def test_an_unknown_member_with_a_hostile_name_is_not_shown(api: Api) -> None:
    answer = api.post("/v1/signup", {"email": EMAIL, "password": PASSWORD, "<script>": 1})
    assert answer.json["errors"] == [{"pointer": "", "code": "unknown_member", "message": "There is no such member."}]
