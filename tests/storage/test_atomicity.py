"""Whatever statement of a use case fails, the database is afterwards wholly before it or wholly after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from passlib.hash import bcrypt
from sqlalchemy import Connection, delete, event, insert, select

from core.app import AuthApp, build
from core.authentication.errors import InvalidCredentials, WrongPassword
from core.errors import AuthError
from core.mail.model import Message, MessageKind
from core.oauth.errors import InvalidClient
from core.oauth.model import Credentials
from core.origin import Origin
from core.sessions.errors import InvalidRefreshToken
from core.sessions.model import Principal, TokenPair
from core.settings.groups import ThrottleSettings
from core.sql_store import SqlStore, metadata
from core.users.errors import EmailTaken
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD
from tests.support.clock import FakeClock
from tests.support.mail import RecordingMailer, kind_of, token_of
from tests.support.settings import make_settings
from tests.support.values import NOW, account, stored

CLIENT = Origin(ip="192.0.2.7", user_agent="tests", request_id="a-request")
NEWCOMER = "new@example.com"
NEW_EMAIL = "anna@example.com"
KINDS_WITH_LINKS = {"email_verification", "password_reset", "email_change", "email_changed"}
VETERAN = account("old@example.com", password_hash=bcrypt.using(rounds=4).hash(PASSWORD))


class InjectedError(Exception):
    pass


Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Scene:
    """A user with three sessions, links and messages on their way, and the database as it was before it went wrong."""

    store: SqlStore
    app: AuthApp
    clock: FakeClock
    pairs: list[TokenPair]
    principal: Principal
    links: dict[str, str]
    """The tokens in the links that were sent, by the kind of their message."""
    before: Rows = field(default_factory=dict)

    def rows(self) -> Rows:
        with self.store.engine.connect() as connection:
            return {
                table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
                for table in metadata.sorted_tables
            }

    def restore(self) -> None:
        """Set every row back; where nothing has changed, which is after most failures, there is nothing to do."""
        if self.rows() == self.before:
            return
        with self.store.engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(delete(table))
            for table in metadata.sorted_tables:
                if self.before[table.name]:
                    connection.execute(insert(table), self.before[table.name])

    def state(self) -> dict[str, list[str]]:
        """The rows with everything that is random and new called so, so that two runs can be compared."""
        known = {str(value) for rows in self.before.values() for row in rows for value in row.values()}
        random = {
            "id",
            "user_id",
            "session_id",
            "seed",
            "password_hash",
            "client_id",
            "kid",
            "subject",
            "public_jwk",
            "sealed_private_key",
            "value_hash",
            "digest",
        }

        def told(name: str, value: object) -> object:
            return value if name not in random or str(value) in known else "new"

        return {
            table: sorted(str({name: told(name, value) for name, value in row.items()}) for row in rows)
            for table, rows in self.rows().items()
        }


@pytest.fixture(scope="module")
def arranged() -> dict[SqlStore, Scene]:
    """What was arranged once on each database, whose rows are then put back for every test."""
    return {}


@pytest.fixture
def scene(store: SqlStore, arranged: dict[SqlStore, Scene]) -> Scene:
    if store not in arranged:
        arranged[store] = arrange(store)
    made = replace(arranged[store], before=deepcopy(arranged[store].before))
    made.restore()
    return made


def arrange(store: SqlStore) -> Scene:
    clock = FakeClock(NOW)
    mailer = RecordingMailer()
    # An attempt is counted for itself, before its outcome is known, and stays counted when what follows fails.
    unthrottled = ThrottleSettings(throttle=False)
    app = build(make_settings(throttling=unthrottled), store=store, clock=clock, mailer=mailer)
    stored(store, VETERAN)
    undo = _moved_away(app, mailer)
    mailer.reset()
    app.accounts.sign_up(EMAIL, PASSWORD, "Ann", CLIENT)
    pairs = []
    for _ in range(3):
        clock.advance(seconds=1)
        pairs.append(app.authentication.login(EMAIL, PASSWORD, CLIENT))
    clock.advance(minutes=1)
    principal = app.sessions.whoami(pairs[0].access_token)
    app.password_reset.request(EMAIL, CLIENT)
    app.email_verification.request_change(principal, NEW_EMAIL, PASSWORD, CLIENT)
    app.mail_worker.run_once()
    links = {kind_of(letter): token_of(letter) for letter in mailer.letters if kind_of(letter) in KINDS_WITH_LINKS}
    links |= {"email_changed": undo}
    assert links.keys() == KINDS_WITH_LINKS
    clock.advance(minutes=1)
    app.password_reset.request(EMAIL, CLIENT)
    made = Scene(store, app, clock, pairs, principal, links)
    made.before = made.rows()
    return made


def _moved_away(app: AuthApp, mailer: RecordingMailer) -> str:
    """Another user, whose account was given another address; the token of the link that undoes it."""

    def sent(kind: str) -> str:
        app.mail_worker.run_once()
        (token,) = [token_of(letter) for letter in mailer.take() if kind_of(letter) == kind]
        return token

    app.accounts.sign_up("bob@example.net", PASSWORD, None, CLIENT)
    app.email_verification.verify(sent("email_verification"), CLIENT, password=PASSWORD)
    bob = app.sessions.whoami(app.authentication.login("bob@example.net", PASSWORD, CLIENT).access_token)
    app.email_verification.request_change(bob, "thief@example.net", PASSWORD, CLIENT)
    app.email_verification.verify(sent("email_change"), CLIENT)
    return sent("email_changed")


def _refused(refusal: type[AuthError], use_case: Callable[[Scene], object]) -> Callable[[Scene], object]:
    """A use case that ends in a refusal and yet leaves something behind."""

    def run(scene: Scene) -> None:
        with pytest.raises(refusal):
            use_case(scene)

    return run


def _reuse(scene: Scene) -> None:
    """A token of a generation long gone: the session stands three further in the rows to start from."""
    scene.app.sessions.refresh(scene.pairs[1].refresh_token, CLIENT)


def _prepare(scene: Scene) -> object:
    """What the relay does with a message before it sends it; in the relay itself, errors are caught and noted."""
    return scene.app.mail_worker._composer.prepare(_waiting(scene))


def _waiting(scene: Scene) -> Message:
    """The one message that has not been sent, as the relay has claimed it."""
    (row,) = [row for row in scene.before["outbox"] if row["due_at"]]
    return Message(**row | {"kind": MessageKind(row["kind"])})


USE_CASES: dict[str, Callable[[Scene], object]] = {
    "sign up": lambda scene: scene.app.accounts.sign_up(NEWCOMER, PASSWORD, "New", CLIENT),
    "log in": lambda scene: scene.app.authentication.login(EMAIL, PASSWORD, CLIENT),
    "log in and upgrade the hash": lambda scene: scene.app.authentication.login("old@example.com", PASSWORD, CLIENT),
    "log in with a wrong password": _refused(
        InvalidCredentials, lambda scene: scene.app.authentication.login(EMAIL, OTHER_PASSWORD, CLIENT)
    ),
    "refresh": lambda scene: scene.app.sessions.refresh(scene.pairs[0].refresh_token, CLIENT),
    "reuse a refresh token": _refused(InvalidRefreshToken, _reuse),
    "change the password": lambda scene: scene.app.accounts.change_password(
        scene.principal, PASSWORD, OTHER_PASSWORD, CLIENT
    ),
    "fail to change the password": _refused(
        WrongPassword,
        lambda scene: scene.app.accounts.change_password(scene.principal, OTHER_PASSWORD, OTHER_PASSWORD, CLIENT),
    ),
    "log out": lambda scene: scene.app.sessions.logout(scene.principal, CLIENT),
    "end another session": lambda scene: scene.app.sessions.end(scene.principal, _second(scene), CLIENT),
    "end all sessions": lambda scene: scene.app.sessions.end_all(scene.principal, CLIENT, keep_current=False),
    "end the other sessions": lambda scene: scene.app.sessions.end_all(scene.principal, CLIENT, keep_current=True),
    "rename": lambda scene: scene.app.accounts.rename(scene.principal, "Anna", CLIENT),
    "rotate the keys": lambda scene: scene.app.keys.rotate(),
    "retire a key": lambda scene: scene.app.keys.retire(scene.before["signing_keys"][0]["kid"]),
    "reseal the keys": lambda scene: scene.app.keys.reseal(),
    "register a client": lambda scene: scene.app.clients.create("Orders", ()),
    "fail to be a client": _refused(
        InvalidClient,
        lambda scene: scene.app.clients.authenticate(Credentials(client_id=f"twc_{0:032}", secret="wrong"), CLIENT),
    ),
    "sign up with an address that is taken": _refused(
        EmailTaken, lambda scene: scene.app.accounts.sign_up(EMAIL, PASSWORD, "Eve", CLIENT)
    ),
    "ask for a reset": lambda scene: scene.app.password_reset.request(EMAIL, CLIENT),
    "reset the password": lambda scene: scene.app.password_reset.reset(
        scene.links["password_reset"], OTHER_PASSWORD, CLIENT
    ),
    "ask for a verification": lambda scene: scene.app.email_verification.request(scene.principal, CLIENT),
    "verify the address": lambda scene: scene.app.email_verification.verify(
        scene.links["email_verification"], CLIENT, password=PASSWORD
    ),
    "disown the account": lambda scene: scene.app.email_verification.disown(scene.links["email_verification"], CLIENT),
    "ask for another address": lambda scene: scene.app.email_verification.request_change(
        scene.principal, "third@example.com", PASSWORD, CLIENT
    ),
    "confirm another address": lambda scene: scene.app.email_verification.verify(scene.links["email_change"], CLIENT),
    "undo another address": lambda scene: scene.app.email_change_undo.undo(scene.links["email_changed"], CLIENT),
    "delete the account": lambda scene: scene.app.accounts.delete(scene.principal, PASSWORD, CLIENT),
    "fail to delete the account": _refused(
        WrongPassword, lambda scene: scene.app.accounts.delete(scene.principal, OTHER_PASSWORD, CLIENT)
    ),
    "export": lambda scene: list(scene.app.exporter.export(scene.principal, CLIENT)),
    "prepare a reset": _prepare,
    "prepare a change to an address that was taken": _prepare,
}


def _second(scene: Scene) -> Any:
    mine = [row["id"] for row in scene.before["sessions"] if row["user_id"] == scene.principal.user.id]
    return next(found for found in mine if found != scene.principal.session_id)


@pytest.fixture(params=USE_CASES)
def use_case(request: pytest.FixtureRequest, scene: Scene) -> Callable[[Scene], object]:
    if request.param == "reuse a refresh token":
        for row in scene.before["sessions"]:
            row["generation"] = 3
            row["last_used_at"] = NOW + timedelta(seconds=2)
        scene.restore()
    if request.param == "prepare a change to an address that was taken":
        (waiting,) = [row for row in scene.before["outbox"] if row["due_at"]]
        user_id = scene.principal.user.id
        waiting |= {"kind": "email_change", "user_id": user_id, "canonical_email": None, "address": "old@example.com"}
        scene.restore()
    return USE_CASES[request.param]


@pytest.fixture
def after(scene: Scene, use_case: Callable[[Scene], object]) -> dict[str, list[str]]:
    """What the database holds when nothing goes wrong."""
    before = scene.state()
    use_case(scene)
    state = scene.state()
    assert state != before
    return state


@dataclass
class Saboteur:
    """Counts what reaches the database, and spoils the statement (or commit) whose turn it is."""

    turn: int
    spoil: Callable[[], str | None]
    seen: int = 0

    def before_execute(
        self, _connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: Any
    ) -> tuple[str, Any]:
        if instead := self._spoilt():
            return instead, [()] if many else ()
        return statement, parameters

    def before_commit(self, connection: Connection) -> None:
        try:
            self._spoilt()
        except InjectedError:
            # What both databases do themselves when a commit fails.
            connection.connection.rollback()
            raise

    def _spoilt(self) -> str | None:
        self.seen += 1
        return self.spoil() if self.seen == self.turn else None

    @property
    def came(self) -> bool:
        return self.seen >= self.turn

    @contextmanager
    def at_work(self, store: SqlStore, *, commits: bool) -> Iterator[None]:
        event.listen(store.engine, "before_cursor_execute", self.before_execute, retval=True)
        if commits:
            event.listen(store.engine, "commit", self.before_commit)
        try:
            yield
        finally:
            event.remove(store.engine, "before_cursor_execute", self.before_execute)
            if commits:
                event.remove(store.engine, "commit", self.before_commit)


def _injected_error() -> None:
    raise InjectedError


def test_a_failure_at_any_statement_or_commit_leaves_all_or_nothing(
    scene: Scene, use_case: Callable[[Scene], object], after: dict[str, list[str]]
) -> None:
    scene.restore()
    before = scene.state()
    failures = 0
    while True:
        scene.restore()
        saboteur = Saboteur(failures + 1, _injected_error)
        with saboteur.at_work(scene.store, commits=True):
            failed = _fails(use_case, scene)
        assert failed == saboteur.came
        if not failed:
            break
        failures += 1
        assert scene.state() in (before, after), f"at statement {failures}"
    assert failures >= 2, "a write is at least a statement and a commit"
    assert scene.state() == after


def _fails(use_case: Callable[[Scene], object], scene: Scene) -> bool:
    try:
        use_case(scene)
    except InjectedError:
        return True
    return False


# Sent in the place of a statement, so that the server itself fails there, transaction and all.
UNDONE_BY_THE_SERVER = {
    "serialisation failure": "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$",
    "deadlock": "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$",
    "lost connection": "SELECT pg_terminate_backend(pg_backend_pid())",
}


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_a_conflict_at_any_statement_is_recovered_from_and_done_exactly_once(
    scene: Scene, use_case: Callable[[Scene], object], after: dict[str, list[str]]
) -> None:
    assert_done_once_whatever_is_undone(scene, use_case, after, UNDONE_BY_THE_SERVER["serialisation failure"])


# A pooler has its own way to say that a connection is lost.
@pytest.mark.parametrize("use_case", ["sign up", "refresh", "reset the password", "delete the account"], indirect=True)
@pytest.mark.parametrize(
    ("store", "how"),
    [("postgres", "deadlock"), ("postgres", "lost connection"), ("pgbouncer", "lost connection")],
    indirect=["store"],
)
def test_whatever_undoes_it_a_use_case_is_done_exactly_once(
    scene: Scene, use_case: Callable[[Scene], object], after: dict[str, list[str]], how: str
) -> None:
    assert_done_once_whatever_is_undone(scene, use_case, after, UNDONE_BY_THE_SERVER[how])


def assert_done_once_whatever_is_undone(
    scene: Scene, use_case: Callable[[Scene], object], after: dict[str, list[str]], failure: str
) -> None:
    turn = 1
    while True:
        scene.restore()
        saboteur = Saboteur(turn, lambda: failure)
        with saboteur.at_work(scene.store, commits=False):
            use_case(scene)
        assert scene.state() == after, f"at statement {turn}"
        if not saboteur.came:
            break
        turn += 1
    assert turn > 1
