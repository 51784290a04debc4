"""No secret leaves: not in a log line, not in a traceback, not in an answer, at the loudest level there is.

Every operation is asked, rightly and wrongly, of a real server that logs everything, with SQL and with defects that
were put into it on purpose. Then all that was written and answered is searched for every secret that was sent. Behind
it, the relay as a process of its own and the commands are searched alike.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import quote

import pytest
from aiosmtpd.controller import Controller

from core.contract.operation import OPERATIONS
from core.http.edge.routing import Routes
from tests.live.test_logs import encodings
from tests.support import servers
from tests.support.api import Api
from tests.support.databases import postgres_url
from tests.support.drivers import Answer, Headers
from tests.support.postgres import free_port
from tests.support.servers import HOST, START_SECONDS, Server, eventually, relaying, run_command, serving

# A server of ours, with the engine's own log on and with defects: one in the code, one in a statement, and one deep
# inside the work on a password. What is planted proves that the search would find what it looks for.
LOUD = """
import base64, logging, os, urllib.parse
import core.accounts, core.logs, core.passwords, core.recovery
from sqlalchemy import text

configure = core.logs.configure

def be_loud():
    for name in ("sqlalchemy.engine", "sqlalchemy.pool", "psycopg"):
        logging.getLogger(name).setLevel(logging.INFO)
    planted = os.environ["PLANTED"]
    for form in (planted, base64.b64encode(b"." + planted.encode()).decode(), urllib.parse.quote(planted, safe="")):
        logging.getLogger("planted").warning("%s", form)

def configure_loudly(settings):
    configure(settings)
    be_loud()

core.logs.configure = configure_loudly
logging.basicConfig(level=logging.DEBUG)  # most commands write no log of their own
be_loud()

rename, verify, request = (
    core.accounts.service.Accounts.rename, core.authentication.passwords.hasher.PasswordHasher.verify, core.accounts.password_reset.PasswordReset._store_request
)

def crash_in_code(self, principal, display_name, client):
    if display_name == "crash":
        raise RuntimeError("a defect")
    return rename(self, principal, display_name, client)

def crash_deep_inside(self, password, stored):
    if "crash" in password:
        everything = {"password": password, "stored": stored}
        return everything["nothing"]
    return verify(self, password, stored)

def crash_in_a_statement(self, canonical_email, client):
    if "crash" not in canonical_email:
        return request(self, canonical_email, client)
    with self._store.begin() as work:
        parameters = {"email": canonical_email}
        work._connection.execute(text("SELECT * FROM no_such_table WHERE email = :email"), parameters)

core.accounts.service.Accounts.rename = crash_in_code
core.authentication.passwords.hasher.PasswordHasher.verify = crash_deep_inside
core.accounts.password_reset.PasswordReset._store_request = crash_in_a_statement

from cli.main import main
main(prog_name="twinauth")
"""

PLANTED = "planted päss/wörd+of&nobody?"
LOCAL = "canary.birdsong"
JSON: Headers = [("Content-Type", "application/json")]


def a_password(bird: str) -> str:
    """What a log may hold in many spellings: letters beyond ASCII, and everything that URLs and JSON escape."""
    return f'{bird} sïngs+"&/% {secrets.token_hex(6)}'


class Letters:
    """An SMTP server that keeps what it is sent, and refuses one recipient, quoting the address as servers do."""

    def __init__(self) -> None:
        self._sent: list[EmailMessage] = []
        self._changed = threading.Condition()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: list[str]
    ) -> str:
        if "refused" in address:
            return f"550 5.1.1 <{address}>: no such user {address}"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        with self._changed:
            self._sent.append(message_from_bytes(envelope.content, EmailMessage, policy=policy.default))
            self._changed.notify_all()
        return "250 OK"

    def token(self, kind: str, number: int = 1) -> str:
        """The token of the link in the letter of a kind and number, waited for."""

        def found() -> list[str]:
            letters = [letter for letter in self._sent if kind in letter.values()]
            return [match for letter in letters for match in re.findall(r"twm_[\w-]{32}", _text(letter))[:1]]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= number, START_SECONDS), f"no letter of kind {kind}"
            return found()[number - 1]


def _text(letter: EmailMessage) -> str:
    body = letter.get_body(("plain",))
    return "" if body is None else str(body.get_content())


@contextmanager
def smtp_server() -> Iterator[tuple[str, Letters]]:
    letters = Letters()
    controller = Controller(letters, hostname=HOST, port=free_port())
    controller.start()
    try:
        yield f"smtp://{HOST}:{controller.port}", letters
    finally:
        controller.stop()


@dataclass
class Singer:
    """A client that knows what is secret of what it sends and is sent."""

    api: Api
    secrets: dict[str, str] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    answers: list[tuple[str, Answer]] = field(default_factory=list)
    _routes: Routes = field(default_factory=lambda: Routes(OPERATIONS.values()))

    def keep(self, name: str, secret: str) -> str:
        self.secrets[f"{name} {len(self.secrets)}"] = secret
        return secret

    def ask(self, method: str, target: str, status: int, **more: Any) -> Answer:
        answer = self.api.send(method, target, **more)
        assert answer.status == status, (method, target, answer.body)
        self.answers.append((f"{method} {target.partition('?')[0][:30]}", answer))
        operation = self._routes.at(target.partition("?")[0]).get(method)
        if operation is not None:
            self.asked.add(operation.id)
        return answer

    def keep_pair(self, answer: Answer) -> tuple[str, str]:
        """Remember the tokens of an answer; the signature alone is one as well."""
        access, refresh = answer.json["access_token"], answer.json["refresh_token"]
        self.keep("access token", access)
        self.keep("signature", access.rpartition(".")[2])
        self.keep("refresh token", refresh)
        return access, refresh


def sing(singer: Singer, letters: Letters, basic: Headers) -> None:
    """Ask for every operation, rightly and wrongly."""
    email = f"{LOCAL}@example.com"
    password, wrong = (singer.keep("password", a_password(bird)) for bird in ("robin", "wren"))
    credentials = {"email": email, "password": password}
    new = singer.keep("new password", a_password("thrush"))
    singer.ask("POST", "/v1/signup", 201, json={**credentials, "display_name": "Ann"})
    singer.ask("POST", "/v1/signup", 409, json=credentials)
    singer.ask("POST", "/v1/signup", 422, json={**credentials, "password": singer.keep("refused", f"{LOCAL} is mine")})
    access, refresh = singer.keep_pair(singer.ask("POST", "/v1/login", 200, json=credentials))
    singer.ask("POST", "/v1/login", 401, json={**credentials, "password": wrong})
    singer.ask("POST", "/v1/login", 401, json={"email": f"{LOCAL}.nobody@example.com", "password": wrong})
    sing_tokens(singer, email, password, wrong, basic)
    sing_garbage(singer, email, password, access, refresh)
    sing_account(singer, letters, access, password, wrong, new)
    sing_recovery(singer, letters, email, new)
    sing_pages(singer, basic)
    sing_defects(singer, email)


def sing_tokens(singer: Singer, email: str, password: str, wrong: str, basic: Headers) -> None:
    form = {"grant_type": "password", "username": email, "password": password}
    access, refresh = singer.keep_pair(singer.ask("POST", "/v1/token", 200, form=form))
    singer.ask("POST", "/v1/token", 400, form={**form, "password": wrong})
    singer.ask("POST", "/v1/token", 400, form={**form, "grant_type": password})
    machine = singer.ask("POST", "/v1/token", 200, form={"grant_type": "client_credentials"}, headers=basic)
    singer.keep("client's token", machine.json["access_token"])
    false = base64.b64encode(f"twc_nobody:{wrong}".encode()).decode()
    refused: Headers = [("Authorization", f"Basic {false}")]
    singer.ask("POST", "/v1/token", 401, form={"grant_type": "client_credentials"}, headers=refused)
    singer.ask("POST", "/v1/introspect", 200, form={"token": access}, headers=basic)
    singer.ask("POST", "/v1/introspect", 200, form={"token": password}, headers=basic)
    singer.ask("POST", "/v1/introspect", 401, form={"token": refresh})
    renewed = singer.ask("POST", "/v1/refresh", 200, json={"refresh_token": refresh})
    access, second = singer.keep_pair(renewed)
    singer.keep_pair(singer.ask("POST", "/v1/refresh", 200, json={"refresh_token": second}))
    singer.ask("POST", "/v1/refresh", 401, json={"refresh_token": refresh})  # used long ago: it ends the session
    singer.ask("GET", "/v1/whoami", 401, token=access)
    singer.ask("POST", "/v1/revoke", 200, form={"token": second})
    access, refresh = singer.keep_pair(singer.ask("POST", "/v1/token", 200, form=form))
    singer.ask("POST", "/v1/revoke", 200, form={"token": refresh})
    access, _ = singer.keep_pair(singer.ask("POST", "/v1/token", 200, form=form))
    singer.ask("POST", "/v1/logout", 204, token=access)
    singer.ask("GET", "/v1/revocations", 200, headers=basic)


def sing_garbage(singer: Singer, email: str, password: str, access: str, refresh: str) -> None:
    """Secrets wherever a client may put them by mistake."""
    broken = f'{{"email": "{email}", "password": "{quote(password)}", '.encode()
    singer.ask("POST", "/v1/login", 400, content=broken, headers=JSON)
    singer.ask("POST", "/v1/login", 415, content=json.dumps({"password": password}).encode())
    singer.ask("POST", "/v1/login", 422, json={"email": password, "password": [password], password: email})
    singer.ask("POST", "/v1/login", 413, content=password.encode() * 3000, headers=JSON)
    singer.ask("POST", "/v1/token", 400, form={"grant_type": "refresh_token", "refresh_token": password})
    singer.ask("POST", "/v1/refresh", 422, json={"refresh_token": access})
    singer.ask("GET", f"/v1/whoami?access_token={access}&password={quote(password)}", 401)
    singer.ask("GET", f"/v1/{refresh}/{quote(email)}", 404)
    singer.ask("DELETE", f"/v1/sessions/{refresh}", 422, token=access)
    singer.ask("GET", "/v1/whoami", 401, token=access[:-8])
    singer.ask("GET", "/v1/whoami", 401, headers=[("Authorization", f"Token {refresh}")])
    doubled: Headers = [("Authorization", f"Bearer {access}"), ("Authorization", f"Bearer {refresh}")]
    singer.ask("GET", "/v1/whoami", 400, headers=doubled)
    singer.ask("PUT", "/v1/login", 405, json={"password": password})
    for name in ("User-Agent", "X-Request-ID", "X-Forwarded-For", "Cookie", "Referer", "Origin", "Accept-Language"):
        singer.ask("GET", "/v1/whoami", 401, headers=[(name, f"x {access} {refresh}")])


def sing_account(singer: Singer, letters: Letters, access: str, password: str, wrong: str, new: str) -> None:
    singer.ask("GET", "/v1/whoami", 200, token=access)
    singer.ask("PATCH", "/v1/account", 200, json={"display_name": "Anna"}, token=access)
    singer.ask("GET", "/v1/sessions", 200, token=access)
    singer.ask("DELETE", "/v1/sessions?keep_current=true", 204, token=access)
    singer.ask("DELETE", "/v1/sessions/00000000-0000-4000-8000-000000000000", 404, token=access)
    singer.ask("POST", "/v1/send-email-verification", 202, token=access)
    token = singer.keep("token in a link", letters.token("email_verification", 2))
    singer.ask("POST", "/v1/verify-email", 204, json={"token": token})
    singer.ask("POST", "/v1/verify-email", 400, json={"token": token})
    change = {"new_email": f"{LOCAL}.moved@example.com", "current_password": wrong}
    singer.ask("POST", "/v1/account/email", 403, json=change, token=access)
    singer.ask("POST", "/v1/account/email", 202, json={**change, "current_password": password}, token=access)
    singer.keep("token in a link", letters.token("email_change"))
    singer.ask("GET", "/v1/account/export", 200, token=access)
    change = {"current_password": wrong, "new_password": new}
    singer.ask("POST", "/v1/account/password", 403, json=change, token=access)
    singer.ask("POST", "/v1/account/password", 204, json={**change, "current_password": password}, token=access)


def sing_recovery(singer: Singer, letters: Letters, email: str, password: str) -> None:
    singer.ask("POST", "/v1/send-password-reset", 202, json={"email": email})
    singer.ask("POST", "/v1/send-password-reset", 202, json={"email": f"{LOCAL}.nobody@example.com"})
    token = singer.keep("token in a link", letters.token("password_reset"))
    singer.ask("GET", f"/reset-password?token={token}", 200)
    singer.ask("POST", "/v1/reset-password", 422, json={"token": token, "new_password": f"{LOCAL} {email}"})
    last = singer.keep("password after a reset", a_password("nightingale"))
    singer.ask("POST", "/v1/reset-password", 204, json={"token": token, "new_password": last})
    singer.ask("POST", "/v1/reset-password", 400, json={"token": token, "new_password": last})
    singer.ask("POST", "/v1/login", 401, json={"email": email, "password": password})
    access, _ = singer.keep_pair(singer.ask("POST", "/v1/login", 200, json={"email": email, "password": last}))
    refused = {"email": f"{LOCAL}.refused@example.com", "password": last}
    singer.ask("POST", "/v1/signup", 201, json=refused)
    singer.ask("POST", "/v1/account/delete", 403, json={"current_password": password}, token=access)
    singer.ask("POST", "/v1/account/delete", 204, json={"current_password": last}, token=access)
    singer.ask("GET", "/v1/whoami", 401, token=access)


def sing_pages(singer: Singer, basic: Headers) -> None:
    for target in (
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/problems/email_taken",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/docs",
        "/redoc",
        "/verify-email",
        "/assets/swagger-ui.css",
    ):
        singer.ask("GET", target, 200, headers=basic)


def sing_defects(singer: Singer, email: str) -> None:
    password = singer.keep("password", a_password("crash"))
    singer.ask("POST", "/v1/login", 500, json={"email": email, "password": password})
    singer.ask("POST", "/v1/token", 500, form={"grant_type": "password", "username": email, "password": password})
    singer.ask("POST", "/v1/send-password-reset", 500, json={"email": f"{LOCAL}.crash@example.com"})
    other = {"email": f"{LOCAL}.other@example.com", "password": singer.keep("password", a_password("lark"))}
    singer.ask("POST", "/v1/signup", 201, json=other)
    access, _ = singer.keep_pair(singer.ask("POST", "/v1/login", 200, json=other))
    singer.ask("PATCH", "/v1/account", 500, json={"display_name": "crash"}, token=access)
    change = {"current_password": password, "new_password": other["password"] + "!"}
    singer.ask("POST", "/v1/account/password", 500, json=change, token=access)
    singer.ask("DELETE", "/v1/sessions", 204, token=access)


def found_in(text: str, kept: dict[str, str]) -> list[str]:
    """The names of the secrets that stand in a text, in whatever spelling."""
    return [name for name, secret in kept.items() if any(form in text for form in encodings(secret))]


@dataclass(frozen=True)
class Song:
    """What was sent, answered and written down."""

    singer: Singer
    printed: str


@contextmanager
def loudly(folder: Path) -> Iterator[None]:
    """Whatever is started here meanwhile is as loud as it can be."""
    script = folder / "loud.py"
    script.write_text(LOUD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "command", lambda *arguments: [sys.executable, str(script), *arguments])
        yield


@pytest.fixture(scope="module", params=[("fastapi", "json"), ("flask", "console")], ids="-".join)
def song(request: pytest.FixtureRequest, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Song]:
    framework, log_format = request.param
    folder = tmp_path_factory.mktemp("loud")
    key = "canary+" + secrets.token_urlsafe(32)
    with postgres_url(postgres) as url, smtp_server() as (smtp_url, letters):
        settings = {
            "AUTH_DATABASE_URL": url,
            "AUTH_SECRET_KEY": key,
            "AUTH_SMTP_URL": smtp_url,
            "AUTH_LOG_LEVEL": "DEBUG",
            "AUTH_LOG_FORMAT": log_format,
            "AUTH_PASSWORD_BCRYPT_COST": "4",
            "AUTH_THROTTLE_ACCOUNT": "100",
        }
        run_command(folder, "migrate", **settings)
        made = run_command(folder, "clients", "create", "robot", "--scope", "read", **settings).stdout
        client, secret = re.findall(r"^(?:id|secret)\s+(\S+)$", made, re.MULTILINE)
        with loudly(folder), serving(folder, framework, PLANTED=PLANTED, **settings) as (server,):
            singer = Singer(server.api)
            singer.keep("client secret", secret)
            singer.keep("secret key", key)
            singer.keep("database password", password_in(url))
            basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
            sing(singer, letters, [("Authorization", f"Basic {basic}")])
            shout_what_cannot_be_read(server, singer)
            assert eventually(lambda: "mail given up" in server.process.printed(), START_SECONDS)
        yield Song(singer, server.process.printed())


def password_in(url: str) -> str:
    return url.split(":")[2].split("@", maxsplit=1)[0]


def shout_what_cannot_be_read(server: Server, singer: Singer) -> None:
    """Requests that break off or break the rules come to no access line, and to lines of the servers' own."""
    token = next(secret for name, secret in singer.secrets.items() if name.startswith("access token"))
    for request in (
        f"GET /v1/whoami?{token}\x7f HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        f"GET /v1/whoami HTTP/1.1\r\nHost: a\r\nAuthorization Bearer {token}\r\n\r\n",
        f"GET /v1/whoami HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\x01\r\n\r\n",
        f"POST /v1/login HTTP/1.1\r\nHost: a\r\nContent-Length: {token}\r\n\r\n",
        f"POST /v1/login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{token}\r\n\r\n",
        f"{token} / HTTP/1.1\r\nHost: a\r\n\r\n",
        f"GET / {token}\r\nHost: a\r\n\r\n",
    ):
        answer = server.raw(request.encode())
        assert token.encode() not in answer


def test_every_operation_was_asked(song: Song) -> None:
    assert song.singer.asked == OPERATIONS.keys()


def test_the_server_was_as_loud_as_it_can_be(song: Song) -> None:
    """SQL with its parameters hidden, tracebacks of all three defects, and lines of DEBUG."""
    assert "INSERT INTO users" in song.printed
    assert "parameters hidden" in song.printed
    assert "RuntimeError: a defect" in song.printed
    assert "KeyError: 'nothing'" in song.printed
    assert "no_such_table" in song.printed
    assert "recipient refused: 550" in song.printed


FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "in base64": lambda text: base64.b64encode(f".{text}".encode()).decode(),
    "in a URL": lambda text: quote(text, safe=""),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_planted_secret_is_found(song: Song, form: str) -> None:
    plain = FORMS[form](PLANTED)
    lines = [line for line in song.printed.splitlines() if plain in line or json.dumps(plain)[1:-1] in line]
    assert lines
    assert all(found_in(line, {"planted": PLANTED}) == ["planted"] for line in lines)


def test_no_secret_was_written_down(song: Song) -> None:
    assert len(song.singer.secrets) > 25
    assert found_in(song.printed, song.singer.secrets) == []


def test_nobodys_address_was_written_down(song: Song) -> None:
    lines = [line for line in song.printed.splitlines() if found_in(line, {"address": LOCAL})]
    assert lines == []


def test_no_refusal_repeats_a_secret_or_an_address(song: Song) -> None:
    kept = {**song.singer.secrets, "address": LOCAL}
    refusals = [(name, answer) for name, answer in song.singer.answers if answer.status >= 400]
    assert len(refusals) > 30
    said = {name: found_in(f"{answer.headers} {answer.body.decode()}", kept) for name, answer in refusals}
    assert {name: found for name, found in said.items() if found} == {}


def test_no_answer_at_all_repeats_a_password_or_the_token_of_a_link(song: Song) -> None:
    given = ("access token", "signature", "refresh token", "client's token")
    kept = {name: secret for name, secret in song.singer.secrets.items() if not name.startswith(given)}
    said = {
        name: found_in(f"{answer.headers} {answer.body.decode('utf-8', 'replace')}", kept)
        for name, answer in song.singer.answers
    }
    assert {name: found for name, found in said.items() if found} == {}


@dataclass(frozen=True)
class Backstage:
    """What the parts wrote that nobody asks by HTTP, and the door before them."""

    singer: Singer
    door: str
    relay: str
    commands: dict[str, CompletedProcess[str]]

    @property
    def logs(self) -> dict[str, str]:
        commands = {name: command.stderr for name, command in self.commands.items()}
        return {"door": self.door, "relay": self.relay, **commands}


def sing_of_addresses(singer: Singer, letters: Letters) -> None:
    """Where only verified addresses may log in: every letter there is, and some that cannot be sent."""
    email, moved = f"{LOCAL}@example.com", f"{LOCAL}.moved@example.com"
    password = singer.keep("password", a_password("robin"))
    credentials = {"email": email, "password": password}
    singer.ask("POST", "/v1/signup", 202, json=credentials)
    singer.keep("token in a link", letters.token("email_verification"))
    singer.ask("POST", "/v1/login", 403, json=credentials)
    token = singer.keep("token in a link", letters.token("email_verification", 2))
    singer.ask("POST", "/v1/verify-email", 204, json={"token": token})
    singer.ask("POST", "/v1/signup", 202, json={**credentials, "password": singer.keep("other's", a_password("wren"))})
    access, _ = singer.keep_pair(singer.ask("POST", "/v1/login", 200, json=credentials))
    change = {"new_email": moved, "current_password": password}
    singer.ask("POST", "/v1/account/email", 202, json=change, token=access)
    token = singer.keep("token in a link", letters.token("email_change"))
    singer.ask("POST", "/v1/verify-email", 204, json={"token": token})
    singer.ask("POST", "/v1/send-password-reset", 202, json={"email": moved})
    token = singer.keep("token in a link", letters.token("password_reset"))
    new = singer.keep("new password", a_password("thrush"))
    singer.ask("POST", "/v1/reset-password", 204, json={"token": token, "new_password": new})
    credentials = {"email": moved, "password": new}
    access, _ = singer.keep_pair(singer.ask("POST", "/v1/login", 200, json=credentials))
    singer.ask("POST", "/v1/signup", 202, json={**credentials, "email": f"{LOCAL}.refused@example.com"})
    singer.ask("POST", "/v1/account/delete", 204, json={"current_password": new}, token=access)


def commanded(folder: Path, singer: Singer, settings: dict[str, str]) -> dict[str, CompletedProcess[str]]:
    """Every command that ends by itself, those that fail as well."""

    def run(*arguments: str, **changes: str) -> CompletedProcess[str]:
        return run_command(folder, *arguments, PLANTED=PLANTED, **settings | changes)

    made = run("clients", "create", "robot", "--scope", "read")
    client, secret = re.findall(r"^(?:id|secret)\s+(\S+)$", made.stdout, re.MULTILINE)
    rotated = run("clients", "rotate-secret", client)
    singer.keep("client secret", secret)
    singer.keep("client secret", rotated.stdout.split()[-1])
    old, new = settings["AUTH_SECRET_KEY"], singer.keep("secret key", "canary+" + secrets.token_urlsafe(32))
    wrong = singer.keep("wrong password of the database", secrets.token_urlsafe(16))
    elsewhere = settings["AUTH_DATABASE_URL"].replace(password_in(settings["AUTH_DATABASE_URL"]), wrong)
    return {
        "clients create": made,
        "clients rotate-secret": rotated,
        "clients list": run("clients", "list"),
        "outbox dead": run("outbox", "dead"),
        "outbox retry": run("outbox", "retry", "--all"),
        "keys rotate": run("keys", "rotate"),
        "keys reseal": run("keys", "reseal", AUTH_SECRET_KEY=new, AUTH_OLD_SECRET_KEYS=old),
        "keys reseal, without the secret": run("keys", "reseal"),
        "migrate, with a wrong password": run("migrate", AUTH_DATABASE_URL=elsewhere),
        "migrate, to no database": run("migrate", AUTH_DATABASE_URL=elsewhere.replace("postgresql", "nosuchsql")),
    }


PRINTS_A_SECRET = ("clients create", "clients rotate-secret")


@pytest.fixture(scope="module")
def backstage(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backstage]:
    folder, key = tmp_path_factory.mktemp("backstage"), "canary+" + secrets.token_urlsafe(32)
    with postgres_url(postgres) as url, smtp_server() as (smtp_url, letters), loudly(folder):
        settings = {
            "AUTH_DATABASE_URL": url,
            "AUTH_SECRET_KEY": key,
            "AUTH_SMTP_URL": smtp_url,
            "AUTH_RELAY": "false",
            "AUTH_REQUIRE_VERIFIED_EMAIL": "true",
            "AUTH_LOG_LEVEL": "DEBUG",
            "AUTH_PASSWORD_BCRYPT_COST": "4",
        }
        migrated = run_command(folder, "migrate", PLANTED=PLANTED, **settings)
        with (
            serving(folder, "flask", PLANTED=PLANTED, **settings) as (server,),
            relaying(folder, PLANTED=PLANTED, **settings) as relay,
        ):
            singer = Singer(server.api)
            singer.keep("secret key", key)
            singer.keep("database password", password_in(url))
            sing_of_addresses(singer, letters)
            assert eventually(lambda: "mail given up" in relay.printed(), START_SECONDS)
            commands = {"migrate": migrated, **commanded(folder, singer, settings)}
        yield Backstage(singer, server.process.printed(), relay.printed(), commands)


def test_relay_and_commands_were_as_loud_as_they_can_be(backstage: Backstage) -> None:
    assert "UPDATE outbox" in backstage.relay
    assert "parameters hidden" in backstage.relay
    assert "recipient refused: 550" in backstage.relay
    assert "INSERT INTO clients" in backstage.commands["clients create"].stderr
    assert "CREATE TABLE users" in backstage.commands["migrate"].stderr
    failed = {name for name, command in backstage.commands.items() if command.returncode}
    assert failed == {name for name in backstage.commands if "with" in name or "to no" in name}
    assert all(found_in(text, {"planted": PLANTED}) for text in backstage.logs.values())


def test_relay_and_commands_write_down_no_secret(backstage: Backstage) -> None:
    assert len(backstage.singer.secrets) > 15
    written = {name: found_in(text, backstage.singer.secrets) for name, text in backstage.logs.items()}
    assert {name: found for name, found in written.items() if found} == {}


def test_relay_and_commands_write_down_nobodys_address(backstage: Backstage) -> None:
    lines = [(name, line) for name, text in backstage.logs.items() for line in text.splitlines()]
    assert [(name, line) for name, line in lines if found_in(line, {"address": LOCAL})] == []


def test_commands_print_no_secret_but_the_one_that_they_are_asked_for(backstage: Backstage) -> None:
    kept = {**backstage.singer.secrets, "address": LOCAL}
    said = {name: found_in(command.stdout, kept) for name, command in backstage.commands.items()}
    assert {name for name, found in said.items() if found} == set(PRINTS_A_SECRET)
    assert all(len(said[name]) == 1 for name in PRINTS_A_SECRET)
