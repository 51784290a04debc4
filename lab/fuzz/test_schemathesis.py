"""What the OpenAPI document says is so, for whatever can be made from it: every check, at both servers."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from lab.rounds import IS_LONG, MINUTES, times
from tests.support.contract import OPERATIONS
from tests.support.live import DATABASES
from tests.support.servers import CHEAP, FRAMEWORKS, Server, environment, run_command, serving

# What PostgreSQL refuses, SQLite takes, such as NUL; but the doors differ little enough that in the short round each is
# asked on one of them.
SHORT = [("sqlite", "fastapi"), ("postgres", "flask")]
DOCUMENTED = [operation for operation in OPERATIONS.values() if operation.documented]
EVERYWHERE = list(product(DATABASES, FRAMEWORKS))

EXAMPLES = times(5, a_minute=20)  # of each operation and phase
SECONDS = 300 + 360 * MINUTES

# Every check is on. What is said here beside the defaults is what no schema can say, each with its reason.
CONFIGURATION = """
# A feed may be asked to wait for news for 25 seconds.
request-timeout = 60

# Values that lead behind the first check.
[dictionaries.passwords]
values = ["correct horse battery", "a quite different sentence"]
[dictionaries.codes]
values = ["email_taken", "not_found", "invalid_input"]
[parameters]
"body.password" = {dictionary = "passwords", probability = 0.5}
"body.current_password" = {dictionary = "passwords", probability = 0.5}
"body.new_password" = {dictionary = "passwords", probability = 0.5}
"path.code" = {dictionary = "codes", probability = 0.5}

[checks.negative_data_rejection]
# The defaults, and 413: a string that is longer than its maxLength may make a body that is longer than any may be.
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]

# An address that the format allows may be one that no mail can reach (a@b.test), and a password that is long enough may
# be common, or made of the address: refused with the reason, which a schema cannot express.
[[operations]]
include-operation-id = ["signup", "change_email", "change_password", "send_password_reset"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429]

# A name has no control characters (422); the document says so in no pattern.
[[operations]]
include-operation-id = "update_account"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 422]

# The token of a link is one that was sent, or it is refused (400); the password comes after it.
[[operations]]
include-operation-id = ["reset_password", "verify_email", "disown_account", "undo_email_change"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 422]

# RFC 6749 section 5.2 tells nearly everything by 400: which parameters a grant needs, whether a token is good, and,
# since the document leaves it optional so that its absence is told in these terms too, that there is none.
[[operations]]
include-operation-id = ["token", "revoke", "introspect"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 429]

# A hint of a kind that is not known is no mistake (RFC 7009 section 2.1): both kinds are tried anyway.
[[operations]]
include-operation-id = ["revoke", "introspect"]
[operations.checks.negative_data_rejection]
expected-statuses = [200, 400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]

# A cursor is a text to whoever asks, so the document does not say how it is made; one that is none of ours is refused.
[[operations]]
include-operation-id = "revocations"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 304, 400, 422]

# The roles of a user say which scopes can be granted, and a setting which audiences there are.
[[operations]]
include-operation-id = ["login", "refresh"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 429]

# In rows of requests, Schemathesis takes the id from the events of an export, where it may be null, and asks for
# `/v1/sessions/None`, which is no UUID.
[[operations]]
include-operation-id = "end_session"
[operations.phases.stateful.checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 404, 422]
"""


@pytest.mark.parametrize(("empty_database", "framework"), EVERYWHERE if IS_LONG else SHORT, indirect=["empty_database"])
def test_the_document_is_true(framework: str, empty_database: str, tmp_path: Path) -> None:
    with serving(tmp_path, framework, AUTH_DATABASE_URL=empty_database, **CHEAP) as (server,):
        _search(server, empty_database, tmp_path)


def _search(server: Server, database: str, folder: Path) -> None:
    framework = server.framework
    # Something to tell for the feed, which would wait for it otherwise.
    server.api.post("/v1/logout", token=server.api.signed_in(f"first.{framework}@example.com")["access_token"])
    made = run_command(
        folder, "clients", "create", "schemathesis", "--scope", "orders:read", AUTH_DATABASE_URL=database
    )
    _, client_id, _, secret = made.stdout.split()
    configuration = folder / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    run = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(configuration), "run"),
            *(f"{server.url}/openapi.json", "--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"),
            *("--max-examples", str(EXAMPLES), "--continue-on-failure", "--seed", _seed()),
        ],
        cwd=folder,
        env=environment(
            folder,
            SCHEMATHESIS_HOOKS="lab.fuzz.schemathesis_hooks",
            AUTH_TEST_URL=server.url,
            AUTH_TEST_CLIENT=f"{client_id}:{secret}",
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{len(DOCUMENTED)} selected" in run.stdout, run.stdout


def _seed() -> str:
    """The same each time in the short round, another one each time in a long one."""
    return str(int.from_bytes(os.urandom(4))) if IS_LONG else "1"
