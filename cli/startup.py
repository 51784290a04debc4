"""Preparations before a server starts."""

import logging
import os

import structlog

from cli.messages import database_named, exit_with_message, place_in, settings
from cli.migrate import migrate_database
from core.app import build_key_ring, build_renderer, open_texts
from core.authentication.passwords.policy import PasswordPolicy
from core.capabilities import CONTRACT
from core.errors import DatabaseUnavailable, NotReady
from core.http.pages import Pages
from core.logs import configure
from core.settings.loading import exposed_files, renamed_settings
from core.settings.whole import Settings
from core.sql_store import SqlStore, open_store
from core.storage.engine import is_unusable
from core.storage.reasons import reason_of

log = structlog.get_logger("settings")


def startup(workers: int) -> Settings:
    """Create what development needs, and find mistakes while they can be reported in one line."""
    found = settings_of_process()
    warn_of_exposed_files(found)
    warn_of_earlier_names()
    warn_of_dangers(found)
    if "hash_concurrency" not in found.passwords.model_fields_set:
        # The workers share the cores: together they hash as much at once as one process would.
        os.environ["AUTH_PASSWORD_HASH_CONCURRENCY"] = str(max(1, found.passwords.hash_concurrency // workers))
    store = open_store(found.database.url.get_secret_value(), found.database)
    try:
        with exit_with_message(), database_named(found):
            _try_files(found)
            _prepare_database(found, store)
    finally:
        store.close()
    return found


def settings_of_process() -> Settings:
    """Read the settings and configure the log by them."""
    found = settings()
    configure(found)
    if found.logging.format == "console":
        logging.getLogger("alembic").setLevel(logging.WARNING)  # a line for each revision of a new database
    return found


def _try_files(found: Settings) -> None:
    """Try texts and leaked passwords here, so that a mistake is reported once and not by every worker."""
    texts = open_texts(found)
    build_renderer(found, texts)
    Pages(texts, found, CONTRACT)
    PasswordPolicy(found.passwords)


def warn_of_exposed_files(settings: Settings) -> None:
    """Warn that other users of the machine may read the files of secrets.

    It is no reason to refuse: a machine or a container may have only one user, and some volumes open all files.
    """
    for found in exposed_files(settings):
        log.warning("setting_file_readable_by_others", variable=found.variable, mode=f"{found.mode:04o}")


def warn_of_earlier_names() -> None:
    """Warn of settings under an earlier name, which the release after the next does not read any more."""
    for name, today in renamed_settings().items():
        log.warning("setting_renamed", variable=name, now=today)


def warn_of_dangers(settings: Settings) -> None:
    """Warn of what production would refuse and an operator has allowed, so that it is not forgotten."""
    for danger in settings.allowed_dangers:
        log.warning("insecure_setting_allowed", name=danger.name, variable=danger.variable, what=danger.what)


def _prepare_database(found: Settings, store: SqlStore) -> None:
    try:
        _require_schema(found, store)
        ring = build_key_ring(found, store=store)
        ring.ensure()
        ring.signer()  # a wrong secret fails now, not at the first login
    except DatabaseUnavailable as error:
        if not found.is_production or is_unusable(error):
            raise
        # In production the process starts nevertheless and answers 503 until the database is back.
        log.warning("database_unavailable", database=place_in(found), reason=reason_of(error))


def _require_schema(found: Settings, store: SqlStore) -> None:
    try:
        store.check()
    except NotReady:
        if found.is_production:
            raise
        migrate_database(found)
