"""The tokens of devices: wrong passwords from elsewhere never make an owner wait, and they prove nothing."""

from __future__ import annotations

import pytest

from core.devices.model import LIFETIME, MAX_DEVICES
from tests.support.api import EMAIL, OTHER_EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.drivers import Answer

ALLOWANCE = 5
WRONG_PASSWORD = "nobody has this one"
FORGED = "twd_" + "A" * 43


def log_in(api: Api, device: str | None = None, password: str = PASSWORD, email: str = EMAIL) -> Answer:
    body = {"email": email, "password": password} | ({} if device is None else {"device_token": device})
    return api.post("/v1/login", body, headers=[("X-Request-ID", "r")])


def fail(api: Api, device: str | None = None, times: int = 1, email: str = EMAIL) -> list[int]:
    return [log_in(api, device, WRONG_PASSWORD, email).status for _ in range(times)]


def known_device(api: Api, email: str = EMAIL) -> str:
    """Sign up and log in: the token of the device."""
    api.signup(email)
    token: str = log_in(api, email=email).json["device_token"]
    return token


def is_good(api: Api, device: str, password: str = PASSWORD) -> bool:
    """Whether a device gets in where others have to wait."""
    if log_in(api, password=password).status != 429:
        fail(api, times=ALLOWANCE)
    assert log_in(api, password=password).status == 429
    return log_in(api, device, password).status == 200


def test_a_login_gives_a_token_that_stays_the_same_when_it_is_brought(api: Api) -> None:
    device = known_device(api)
    assert log_in(api, device).json["device_token"] == device
    assert log_in(api).json["device_token"] != device


def test_an_owner_with_one_gets_in_at_the_first_try_while_all_is_spent(api: Api) -> None:
    device = known_device(api)
    assert fail(api, times=ALLOWANCE + 1) == [401] * ALLOWANCE + [429]
    assert log_in(api).status == 429
    assert log_in(api, device).status == 200
    assert log_in(api).status == 429, "the others wait as before"


def test_the_password_grant_takes_and_gives_one_too(api: Api) -> None:
    device = known_device(api)
    fail(api, times=ALLOWANCE)
    form = {"grant_type": "password", "username": EMAIL, "password": PASSWORD}
    assert api.post("/v1/token", form=form).status == 429
    answer = api.post("/v1/token", form=form | {"device_token": device})
    assert (answer.status, answer.json["device_token"]) == (200, device)


def test_a_refresh_gives_none(api: Api) -> None:
    assert "device_token" not in api.refresh(api.signed_in()["refresh_token"]).json


@pytest.mark.parametrize("kind", ["forged", "of another account", "no token at all", "empty", "cut short", "padded"])
def test_one_that_is_worth_nothing_is_as_good_as_none(api: Api, kind: str) -> None:
    device = known_device(api)
    worthless = {
        "forged": FORGED,
        "of another account": known_device(api, OTHER_EMAIL),
        "no token at all": "correct horse battery",
        "empty": "",
        "cut short": device[:-1],
        "padded": device + "=",
    }[kind]
    assert fail(api, worthless, times=ALLOWANCE) == [401] * ALLOWANCE
    refused = log_in(api)
    assert refused.status == 429
    assert log_in(api, worthless) == refused


def test_one_of_another_account_tells_nobody_whether_an_account_exists(api: Api) -> None:
    mine = known_device(api)
    api.signup(OTHER_EMAIL)
    theirs, nobodys = (fail(api, mine, ALLOWANCE + 1, email) for email in (OTHER_EMAIL, "nobody@example.com"))
    assert theirs == nobodys == [401] * ALLOWANCE + [429]


def test_wrong_passwords_with_one_are_counted_under_it_alone_and_then_like_any_others(api: Api) -> None:
    device = known_device(api)
    assert fail(api, device, ALLOWANCE) == [401] * ALLOWANCE
    assert fail(api, device, ALLOWANCE) == [401] * ALLOWANCE, "spent, it counts as none"
    assert fail(api, device) == fail(api) == [429]


def test_a_right_password_with_one_forgets_its_failures_and_nobody_elses(api: Api) -> None:
    device = known_device(api)
    fail(api, times=ALLOWANCE)
    for _ in range(3):
        assert fail(api, device, ALLOWANCE - 1) == [401] * (ALLOWANCE - 1)
        assert log_in(api, device).status == 200
    assert log_in(api).status == 429


def test_a_reset_ends_every_one_and_gives_another_where_it_is_asked_for(api: Api) -> None:
    device = known_device(api)
    body = {"token": api.reset_token(), "new_password": OTHER_PASSWORD, "device_token": device}
    answer = api.post("/v1/reset-password", body)
    assert (answer.status, answer.json.keys()) == (200, {"device_token"})
    assert not is_good(api, device, OTHER_PASSWORD)
    assert is_good(api, answer.json["device_token"], OTHER_PASSWORD)


def test_a_reset_without_one_answers_as_ever(api: Api) -> None:
    known_device(api)
    answer = api.reset(api.reset_token())
    assert (answer.status, answer.body) == (204, b"")


def test_a_change_of_password_ends_those_of_other_devices(api: Api) -> None:
    elsewhere = known_device(api)
    here = log_in(api).json
    change = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    assert api.post("/v1/account/password", change, token=here["access_token"]).status == 204
    assert not is_good(api, elsewhere, OTHER_PASSWORD)
    assert is_good(api, here["device_token"], OTHER_PASSWORD)


@pytest.mark.parametrize("keeps", [True, False])
def test_logging_out_everywhere_ends_them(api: Api, *, keeps: bool) -> None:
    elsewhere = known_device(api)
    here = log_in(api).json
    query = "?keep_current=true" if keeps else ""
    assert api.delete(f"/v1/sessions{query}", token=here["access_token"]).status == 204
    assert not is_good(api, elsewhere)
    assert is_good(api, here["device_token"]) is keeps


def test_logging_out_here_ends_none(api: Api) -> None:
    device = known_device(api)
    api.post("/v1/logout", token=log_in(api, device).json["access_token"])
    assert is_good(api, device)


def test_an_account_has_so_many_and_forgets_the_one_unused_for_longest(api: Api) -> None:
    first = known_device(api)
    api.clock.advance(seconds=1)
    second = log_in(api).json["device_token"]
    for _ in range(MAX_DEVICES - 2):
        api.clock.advance(seconds=1)
        log_in(api)
    api.clock.advance(seconds=1)
    assert log_in(api, first).json["device_token"] == first, "as many as it may have"
    log_in(api)
    assert not is_good(api, second)
    assert is_good(api, first)


def test_one_is_good_for_a_year_after_its_last_login(api: Api) -> None:
    device = known_device(api)
    api.clock.advance(days=200)
    assert is_good(api, device)
    api.clock.advance(days=364)
    assert is_good(api, device)
    api.clock.advance(seconds=LIFETIME.total_seconds())
    assert not is_good(api, device)
