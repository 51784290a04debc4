"""The list of capabilities is whole: nothing of a folder is left out of it."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api_fastapi.app import ROUTERS
from api_fastapi.binding import operation_of
from api_flask.app import BLUEPRINTS
from core.capabilities import CAPABILITIES, CONTRACT, contract_of
from core.errors import AuthError
from core.mail.model import MessageKind
from core.mail.texts import editions
from core.sql_store import metadata
from core.users.sql import users
from tests.support.contract import OPERATIONS, PROBLEMS

ROOT = Path(__file__).parents[2]


def errors_below(base: type[AuthError]) -> Iterator[type[AuthError]]:
    for error in base.__subclasses__():
        if error.__module__.startswith("core."):
            yield error
            yield from errors_below(error)


def test_every_folder_with_a_capability_is_listed() -> None:
    folders = {path.parent.name for path in (ROOT / "core").rglob("capability.py")} - {"core"}
    assert {capability.name for capability in CAPABILITIES} == folders


def test_every_error_has_a_problem_and_every_code_one_error() -> None:
    told = [error for error in errors_below(AuthError) if hasattr(error, "code")]
    assert len(told) > 25
    assert {error: PROBLEMS.status_of(error) >= 400 for error in told} == dict.fromkeys(told, True)
    codes = Counter(error.code for error in CONTRACT.problems)
    assert [code for code, count in codes.items() if count > 1] == []


def test_every_table_has_a_purge_or_a_reason() -> None:
    named = [table for capability in CAPABILITIES for table in (*capability.purges, *capability.kept)]
    assert sorted(named) == sorted(metadata.tables)


def test_every_table_that_refers_to_a_user_has_an_erasure() -> None:
    """Without one, the rows of a deleted account go in one statement, however many there are."""
    refer = {table.name for table in metadata.sorted_tables for key in table.foreign_keys if key.references(users)}
    assert {table for capability in CAPABILITIES for table in capability.erasures} == refer
    assert len(refer) >= 3


def test_every_kind_of_message_has_a_letter() -> None:
    kinds = [kind for capability in CAPABILITIES for kind in capability.letters]
    assert sorted(kinds) == sorted(MessageKind)
    written = {path.stem for path in (editions.HERE / "letters").glob("*.jinja")}
    assert written == set(kinds)


def test_every_operation_is_bound_once_at_the_fastapi_door() -> None:
    bound = [operation_of(route) for router in ROUTERS for route in router.routes]
    assert sorted(operation.id for operation in bound) == sorted(OPERATIONS)
    assert all(operation is OPERATIONS[operation.id] for operation in bound)


def test_every_operation_is_bound_once_at_the_flask_door() -> None:
    app = Flask(__name__, static_folder=None)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    views: list[Any] = [app.view_functions[rule.endpoint] for rule in app.url_map.iter_rules()]
    classes = [view.view_class for view in views]
    bound = [getattr(kind, method.lower()).operation for kind in classes for method in kind.methods]
    assert sorted(operation.id for operation in bound) == sorted(OPERATIONS)
    assert all(operation is OPERATIONS[operation.id] for operation in bound)


def test_both_doors_have_the_same_files() -> None:
    routes, views = ROOT / "api_fastapi" / "routes", ROOT / "api_flask" / "views"
    assert sorted(path.name for path in routes.glob("*.py")) == sorted(path.name for path in views.glob("*.py"))


def test_two_operations_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="one id"):
        contract_of([*CAPABILITIES, CAPABILITIES[1]])
