"""What is refused by its head alone, and which of two faults is told."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest

from core.errors import (
    AuthError,
    BodyTooLarge,
    HeadersTooLarge,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    TargetTooLong,
)
from core.http.edge.limits import MAX_BODY, MAX_FIELD, MAX_FIELDS, MAX_TARGET, fault_of
from core.http.edge.request_head import RequestHead, joined
from core.http.edge.routing import Routes
from tests.support.contract import OPERATIONS

ROUTES = Routes(OPERATIONS.values())
RIGHT = RequestHead(
    method="GET", path="/v1/whoami", target_length=10, version="1.1", fields=(("Host", "a"),), peer="127.0.0.1"
)


def found(head: RequestHead) -> type[AuthError] | None:
    fault = fault_of(head, joined(head.fields), ROUTES.at(head.path))
    return None if fault is None else type(fault)


def having(head: RequestHead, *fields: tuple[str, str]) -> RequestHead:
    return replace(head, fields=(*head.fields, *fields))


# In the order in which a request is read.
FAULTS: dict[str, tuple[Callable[[RequestHead], RequestHead], type[AuthError]]] = {
    "a target that is too long": (lambda head: replace(head, target_length=MAX_TARGET + 1), TargetTooLong),
    "a method of nobody": (lambda head: replace(head, method="BREW"), MalformedRequest),
    "a field that is too large": (lambda head: having(head, ("X", "a" * MAX_FIELD)), HeadersTooLarge),
    "two hosts": (lambda head: having(head, ("Host", "b")), MalformedRequest),
    "two slashes": (lambda head: replace(head, path="/" + head.path), NotFound),
    "a length beyond the limit": (lambda head: having(head, ("Content-Length", str(MAX_BODY + 1))), BodyTooLarge),
}


@pytest.mark.parametrize(("first", "second"), list(combinations(FAULTS, 2)))
def test_of_two_faults_the_one_that_is_read_first_is_told(first: str, second: str) -> None:
    (spoil, expected), (spoil_too, _) = FAULTS[first], FAULTS[second]
    assert found(spoil_too(RIGHT)) is not None
    assert found(spoil(spoil_too(RIGHT))) is expected
    assert found(spoil_too(spoil(RIGHT))) is expected


def test_a_method_that_a_path_does_not_have_is_told_before_a_length() -> None:
    assert found(having(replace(RIGHT, method="PUT"), ("Content-Length", "x"))) is MethodNotAllowed


@pytest.mark.parametrize(
    "head",
    [
        RIGHT,
        replace(RIGHT, method="HEAD"),
        replace(RIGHT, method="OPTIONS"),
        replace(RIGHT, path="/nothing"),  # the framework's own 404
        replace(RIGHT, version="1.0", fields=()),
        replace(RIGHT, target_length=MAX_TARGET),
        having(RIGHT, *[("X", "a")] * (MAX_FIELDS - 1)),
        having(RIGHT, ("X", "a" * (MAX_FIELD - 1))),
        having(RIGHT, ("Content-Length", f"000{MAX_BODY}")),
    ],
)
def test_what_has_no_fault_is_let_in(head: RequestHead) -> None:
    assert found(head) is None


def test_fields_of_one_name_are_measured_together() -> None:
    half = "a" * (MAX_FIELD // 2)
    assert found(having(RIGHT, ("X", half), ("x", half))) is HeadersTooLarge
    assert found(having(RIGHT, ("X", half), ("Y", half))) is None
