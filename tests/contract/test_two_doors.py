"""One service behind both doors: what one gives, the other takes; what one ends is over at the other."""

from collections.abc import Callable

import pytest

from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD, Api

Both = tuple[Api, Api]


@pytest.fixture(params=["flask first", "fastapi first"])
def doors(request: pytest.FixtureRequest, both: Both) -> Both:
    return both if request.param == "flask first" else (both[1], both[0])


def test_a_token_of_one_door_is_taken_at_the_other(doors: Both) -> None:
    here, there = doors
    pair = here.signed_in()
    assert there.whoami(pair["access_token"]).json == here.whoami(pair["access_token"]).json


def test_a_session_is_refreshed_at_either_door(doors: Both) -> None:
    here, there = doors
    pair = here.signed_in()
    for door in (there, here, there):
        pair = door.refresh(pair["refresh_token"]).json
        assert here.whoami(pair["access_token"]).status == there.whoami(pair["access_token"]).status == 200


def test_both_doors_give_the_same_successor(doors: Both) -> None:
    here, there = doors
    pair = here.signed_in()
    assert (
        here.refresh(pair["refresh_token"]).json["refresh_token"]
        == there.refresh(pair["refresh_token"]).json["refresh_token"]
    )


Ending = Callable[[Api, str], int]

ENDINGS: dict[str, Ending] = {
    "logout": lambda api, token: api.post("/v1/logout", token=token).status,
    "end all": lambda api, token: api.delete("/v1/sessions", token=token).status,
    "end one": lambda api, token: (
        api.delete(f"/v1/sessions/{api.get('/v1/sessions', token=token).json['items'][0]['id']}", token=token).status
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_session_ended_at_one_door_is_dead_at_both(doors: Both, ending: str) -> None:
    here, _ = doors
    pair = here.signed_in()
    assert ENDINGS[ending](here, pair["access_token"]) == 204
    for door in doors:
        assert door.whoami(pair["access_token"]).status == 401
        assert door.refresh(pair["refresh_token"]).status == 401


def test_a_password_changed_at_one_door_ends_the_other_sessions_at_both(doors: Both) -> None:
    here, there = doors
    other = there.signed_in()
    current = here.login()
    body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    assert here.post("/v1/account/password", body, token=current["access_token"]).status == 204
    for door in doors:
        assert door.whoami(other["access_token"]).status == 401
        assert door.whoami(current["access_token"]).status == 200
        assert door.post("/v1/login", {"email": EMAIL, "password": PASSWORD}).status == 401
        door.login(EMAIL, OTHER_PASSWORD)


def test_reuse_seen_at_one_door_ends_the_session_at_both(doors: Both) -> None:
    here, there = doors
    first = here.signed_in()
    second = here.refresh(first["refresh_token"]).json
    third = there.refresh(second["refresh_token"]).json
    assert there.refresh(first["refresh_token"]).status == 401
    assert here.whoami(third["access_token"]).status == 401
    assert here.refresh(third["refresh_token"]).status == 401
