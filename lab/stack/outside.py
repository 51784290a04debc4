"""The contract asked from outside: at a stack that runs, through its proxy, with its database to arrange and to look.

`AUTH_TEST_STACK` is the address of the proxy, `AUTH_TEST_STACK_DOOR` the door to which it sends everything, and
`AUTH_TEST_STACK_SECRETS` the folder with the stack's secrets. `make lab-stack` sets them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.app import AuthApp, build
from core.settings.groups import DatabaseSettings, HttpSettings, MailSettings
from core.settings.whole import Settings
from core.sql_store import SqlStore, open_store
from tests.support.clock import FakeClock
from tests.support.mail import RecordingMailer

# Tests that cannot be asked from outside, by a pattern of their names, and why.
_CLOCK = "the clock of a stack that runs does not stand still"
_PLACE = "the stack has an address of its own, and so have its clients"
_BEHIND = "looks behind the door, or changes something there"
_PROXY = "nginx answers this itself, or tidies it up"
INSIDE = {
    r"test_(login_gives_a_token_pair|the_password_grant_gives_an_rfc_6749_answer)": _CLOCK,
    r"test_(signup_answers_with_the_user_and_nothing_else|use_is_noted|tells_what_an_access_token_is)": _CLOCK,
    r"test_give_a_token_that_speaks_for_the_client": _CLOCK,
    r"test_the_display_name_is_changed_and_removed": _CLOCK,
    r"test_is_answered_with_the_same_bytes_whoever_has_the_address": _CLOCK,
    r"test_(a_new_password_is_told_to_the_owner|the_metadata_says_what_is_supported_and_nothing_else)": _PLACE,
    r"test_sends_a_link_to_the_new_address_and_a_notice_to_the_old_one": _PLACE,
    r"test_(does_not_take_its_link_from_the_request|leads_to_the_page_with_the_token_in_the_fragment)": _PLACE,
    r"test_has_the_token_in_the_fragment_alone": _PLACE,
    r"test_(a_disabled_client|a_logout)_stands_in_the_feed_.*": _PLACE,
    r"test_(every_way_to_end_a_session_stands_in_the_feed|nothing_new_is_304_for_who_names_the_cursor)": _PLACE,
    r"test_(what_no_token_can_outlive_leaves_the_feed|who_waits_in_vain_is_answered_in_time)": _PLACE,
    r"test_who_waits_is_told_within_two_seconds": _PLACE,
    r"test_a_spent_allowance_is_noted_once_with_its_address_and_no_account": _PLACE,
    r"test_that_are_refused_are_recorded_with_the_client_where_there_is_one": _PLACE,
    r"test_(whoami_is_one|refresh_is_one|asking_for_a_reset|a_login_is_one_hash).*": _BEHIND,
    r"test_(is_held_back_by_an_overload|an_unknown_error_is_opaque|a_refused_attempt_costs_no_hash)": _BEHIND,
    r"test_(a_full_line_of_hashes|a_password_that_was_not_looked_at).*": _BEHIND,
    r"test_(a_length_that_lies|an_unknown_expectation|a_body_with_an_upgrade).*": _PROXY,
    r"test_another_method_is_not_allowed.*-(TRACE|CONNECT)-.*": _PROXY,
    r"test_a_hostile_text_in_any_field.*": _PROXY,
    r"test_another_path_is_not_found.*(%00|xc3).*": _PROXY,
    r"test_(every_answer_carries_the_security_headers|is_html_with_a_narrow_policy)": _PROXY,
}


def why_not(name: str) -> str | None:
    """Why a test of this name, with or without its parameters, cannot be asked from outside."""
    reasons = (why for pattern, why in INSIDE.items() if re.fullmatch(rf"{pattern}(\[.*\])?", name))
    return next(reasons, None)


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

    def require(self, mail: MailSettings) -> None:
        """Skip what wants other settings; before anything is opened for it."""
        if mail != MailSettings():
            pytest.skip("the stack runs with the default settings of mail")

    def store(self) -> SqlStore:
        return open_store((self.secrets / "database_url").read_text(), DatabaseSettings())

    def service(self, store: SqlStore, mail: MailSettings, mailer: RecordingMailer) -> AuthApp:
        """What lies behind the doors, wired here over the same database and from the same secret."""
        given: dict[str, Any] = {
            "secret_key": SecretStr((self.secrets / "secret_key").read_text()),
            "http": HttpSettings(public_url=self.url),
            "mail": mail,
        }
        return build(Settings(**given), store=store, clock=WallClock(), mailer=mailer)
