"""The contract asked from outside: at a stack that runs, through its proxy, with its database to arrange and to look.

`AUTH_TEST_STACK` is the address of the proxy, `AUTH_TEST_STACK_DOOR` the door to which it sends everything, and
`AUTH_TEST_STACK_SECRETS` the folder with the stack's secrets. `make stack-test` sets them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.app import AuthApp, build
from core.repositories.unit_of_work import SqlStore, open_store
from core.settings import DatabaseSettings, HttpSettings, MailSettings, Settings
from tests.clock import FakeClock
from tests.mail import RecordingMailer


class WallClock(FakeClock):
    """The clock on the wall, which nobody moves."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def advance(self, **_duration: float) -> None:
        pytest.skip("no test moves the clock of a stack that runs")


@dataclass(frozen=True)
class Outside:
    """A stack that runs."""

    url: str
    door: str
    secrets: Path

    @classmethod
    def given(cls) -> Outside | None:
        """The one that the environment names."""
        if url := os.environ.get("AUTH_TEST_STACK"):
            return cls(url, os.environ["AUTH_TEST_STACK_DOOR"], Path(os.environ["AUTH_TEST_STACK_SECRETS"]))
        return None

    def store(self) -> SqlStore:
        return open_store((self.secrets / "database_url").read_text(), DatabaseSettings())

    def service(self, store: SqlStore, mail: MailSettings, mailer: RecordingMailer) -> AuthApp:
        """What lies behind the doors, wired here over the same database and from the same secret."""
        if mail != MailSettings():
            pytest.skip("the stack runs with the default settings of mail")
        given: dict[str, Any] = {
            "secret_key": SecretStr((self.secrets / "secret_key").read_text()),
            "http": HttpSettings(public_url=self.url),
            "mail": mail,
        }
        return build(Settings(**given), store=store, clock=WallClock(), mailer=mailer)
