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

from core.http.edge.routing import Routes
from tests.support import servers
from tests.support.api import Api
from tests.support.contract import OPERATIONS
from tests.support.databases import postgres_url
from tests.support.drivers import Answer, Headers
from tests.support.postgres import free_port
from tests.support.servers import HOST, START_SECONDS, Server, eventually, relaying, run_command, serving
from tests.support.spellings import spellings

# A server of ours, with the engine's own log on and with defects: one in the code, one in a statement, and one deep
# inside the work on a password. What is planted proves that the search would find what it looks for.
LOUD = """
import base64, logging, os, urllib.parse
import core.logs
from core.accounts.password_reset import PasswordReset
from core.accounts.service import Accounts
from core.authentication.passwords.hasher import PasswordHasher
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

rename, verify, request = Accounts.rename, PasswordHasher.verify, PasswordReset._store_request

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

Accounts.rename = crash_in_code
PasswordHasher.verify = crash_deep_inside
PasswordReset._store_request = crash_in_a_statement

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
class RecordingClient:
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


def ask_for_everything(client: RecordingClient, letters: Letters, basic: Headers) -> None:
    """Ask for every operation, rightly and wrongly."""
    email = f"{LOCAL}@example.com"
    password, wrong = (client.keep("password", a_password(bird)) for bird in ("robin", "wren"))
    credentials = {"email": email, "password": password}
    new = client.keep("new password", a_password("thrush"))
    client.ask("POST", "/v1/signup", 201, json={**credentials, "display_name": "Ann"})
    client.ask("POST", "/v1/signup", 409, json=credentials)
    client.ask("POST", "/v1/signup", 422, json={**credentials, "password": client.keep("refused", f"{LOCAL} is mine")})
    access, refresh = client.keep_pair(client.ask("POST", "/v1/login", 200, json=credentials))
    client.ask("POST", "/v1/login", 401, json={**credentials, "password": wrong})
    client.ask("POST", "/v1/login", 401, json={"email": f"{LOCAL}.nobody@example.com", "password": wrong})
    ask_tokens(client, email, password, wrong, basic)
    ask_garbage(client, email, password, access, refresh)
    ask_account(client, letters, access, password, wrong, new)
    ask_recovery(client, letters, email, new)
    ask_pages(client, basic)
    ask_defects(client, email)


def ask_tokens(client: RecordingClient, email: str, password: str, wrong: str, basic: Headers) -> None:
    form = {"grant_type": "password", "username": email, "password": password}
    access, refresh = client.keep_pair(client.ask("POST", "/v1/token", 200, form=form))
    client.ask("POST", "/v1/token", 400, form={**form, "password": wrong})
    client.ask("POST", "/v1/token", 400, form={**form, "grant_type": password})
    machine = client.ask("POST", "/v1/token", 200, form={"grant_type": "client_credentials"}, headers=basic)
    client.keep("client's token", machine.json["access_token"])
    false = base64.b64encode(f"twc_nobody:{wrong}".encode()).decode()
    refused: Headers = [("Authorization", f"Basic {false}")]
    client.ask("POST", "/v1/token", 401, form={"grant_type": "client_credentials"}, headers=refused)
    client.ask("POST", "/v1/introspect", 200, form={"token": access}, headers=basic)
    client.ask("POST", "/v1/introspect", 200, form={"token": password}, headers=basic)
    client.ask("POST", "/v1/introspect", 401, form={"token": refresh})
    renewed = client.ask("POST", "/v1/refresh", 200, json={"refresh_token": refresh})
    access, second = client.keep_pair(renewed)
    client.keep_pair(client.ask("POST", "/v1/refresh", 200, json={"refresh_token": second}))
    client.ask("POST", "/v1/refresh", 401, json={"refresh_token": refresh})  # used long ago: it ends the session
    client.ask("GET", "/v1/whoami", 401, token=access)
    client.ask("POST", "/v1/revoke", 200, form={"token": second})
    access, refresh = client.keep_pair(client.ask("POST", "/v1/token", 200, form=form))
    client.ask("POST", "/v1/revoke", 200, form={"token": refresh})
    access, _ = client.keep_pair(client.ask("POST", "/v1/token", 200, form=form))
    client.ask("POST", "/v1/logout", 204, token=access)
    client.ask("GET", "/v1/revocations", 200, headers=basic)


def ask_garbage(client: RecordingClient, email: str, password: str, access: str, refresh: str) -> None:
    """Secrets wherever a client may put them by mistake."""
    broken = f'{{"email": "{email}", "password": "{quote(password)}", '.encode()
    client.ask("POST", "/v1/login", 400, content=broken, headers=JSON)
    client.ask("POST", "/v1/login", 415, content=json.dumps({"password": password}).encode())
    client.ask("POST", "/v1/login", 422, json={"email": password, "password": [password], password: email})
    client.ask("POST", "/v1/login", 413, content=password.encode() * 3000, headers=JSON)
    client.ask("POST", "/v1/token", 400, form={"grant_type": "refresh_token", "refresh_token": password})
    client.ask("POST", "/v1/refresh", 401, json={"refresh_token": access})
    client.ask("GET", f"/v1/whoami?access_token={access}&password={quote(password)}", 401)
    client.ask("GET", f"/v1/{refresh}/{quote(email)}", 404)
    client.ask("DELETE", f"/v1/sessions/{refresh}", 422, token=access)
    client.ask("GET", "/v1/whoami", 401, token=access[:-8])
    client.ask("GET", "/v1/whoami", 401, headers=[("Authorization", f"Token {refresh}")])
    doubled: Headers = [("Authorization", f"Bearer {access}"), ("Authorization", f"Bearer {refresh}")]
    client.ask("GET", "/v1/whoami", 400, headers=doubled)
    client.ask("PUT", "/v1/login", 405, json={"password": password})
    for name in ("User-Agent", "X-Request-ID", "X-Forwarded-For", "Cookie", "Referer", "Origin", "Accept-Language"):
        client.ask("GET", "/v1/whoami", 401, headers=[(name, f"x {access} {refresh}")])


def ask_account(client: RecordingClient, letters: Letters, access: str, password: str, wrong: str, new: str) -> None:
    client.ask("GET", "/v1/whoami", 200, token=access)
    client.ask("GET", "/v1/forward-auth", 200, token=access)
    client.ask("PATCH", "/v1/account", 200, json={"display_name": "Anna"}, token=access)
    client.ask("GET", "/v1/sessions", 200, token=access)
    client.ask("DELETE", "/v1/sessions?keep_current=true", 204, token=access)
    client.ask("DELETE", "/v1/sessions/00000000-0000-4000-8000-000000000000", 404, token=access)
    client.ask("POST", "/v1/send-email-verification", 202, token=access)
    token = client.keep("token in a link", letters.token("email_verification", 2))
    client.ask("POST", "/v1/verify-email", 403, json={"token": token})
    client.ask("POST", "/v1/verify-email", 403, json={"token": token, "password": wrong})
    client.ask("POST", "/v1/verify-email", 204, json={"token": token, "password": password})
    client.ask("POST", "/v1/verify-email", 204, json={"token": token})
    for path in ("/v1/disown-account", "/v1/undo-email-change"):
        client.ask("POST", path, 400, json={"token": token})
    change = {"new_email": f"{LOCAL}.moved@example.com", "current_password": wrong}
    client.ask("POST", "/v1/account/email", 403, json=change, token=access)
    client.ask("POST", "/v1/account/email", 202, json={**change, "current_password": password}, token=access)
    client.keep("token in a link", letters.token("email_change"))
    client.ask("GET", "/v1/account/export", 200, token=access)
    change = {"current_password": wrong, "new_password": new}
    client.ask("POST", "/v1/account/password", 403, json=change, token=access)
    client.ask("POST", "/v1/account/password", 204, json={**change, "current_password": password}, token=access)


def ask_recovery(client: RecordingClient, letters: Letters, email: str, password: str) -> None:
    client.ask("POST", "/v1/send-password-reset", 202, json={"email": email})
    client.ask("POST", "/v1/send-password-reset", 202, json={"email": f"{LOCAL}.nobody@example.com"})
    token = client.keep("token in a link", letters.token("password_reset"))
    client.ask("GET", f"/reset-password?token={token}", 200)
    client.ask("POST", "/v1/reset-password", 422, json={"token": token, "new_password": f"{LOCAL} {email}"})
    last = client.keep("password after a reset", a_password("nightingale"))
    client.ask("POST", "/v1/reset-password", 204, json={"token": token, "new_password": last})
    client.ask("POST", "/v1/reset-password", 400, json={"token": token, "new_password": last})
    client.ask("POST", "/v1/login", 401, json={"email": email, "password": password})
    access, _ = client.keep_pair(client.ask("POST", "/v1/login", 200, json={"email": email, "password": last}))
    refused = {"email": f"{LOCAL}.refused@example.com", "password": last}
    client.ask("POST", "/v1/signup", 201, json=refused)
    client.ask("POST", "/v1/account/delete", 403, json={"current_password": password}, token=access)
    client.ask("POST", "/v1/account/delete", 204, json={"current_password": last}, token=access)
    client.ask("GET", "/v1/whoami", 401, token=access)


def ask_pages(client: RecordingClient, basic: Headers) -> None:
    for target in (
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/problems/email_taken",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/docs",
        "/redoc",
        "/verify-email",
        "/undo-email-change",
        "/assets/swagger-ui.css",
    ):
        client.ask("GET", target, 200, headers=basic)


def ask_defects(client: RecordingClient, email: str) -> None:
    password = client.keep("password", a_password("crash"))
    client.ask("POST", "/v1/login", 500, json={"email": email, "password": password})
    client.ask("POST", "/v1/token", 500, form={"grant_type": "password", "username": email, "password": password})
    client.ask("POST", "/v1/send-password-reset", 500, json={"email": f"{LOCAL}.crash@example.com"})
    other = {"email": f"{LOCAL}.other@example.com", "password": client.keep("password", a_password("lark"))}
    client.ask("POST", "/v1/signup", 201, json=other)
    access, _ = client.keep_pair(client.ask("POST", "/v1/login", 200, json=other))
    client.ask("PATCH", "/v1/account", 500, json={"display_name": "crash"}, token=access)
    change = {"current_password": password, "new_password": other["password"] + "!"}
    client.ask("POST", "/v1/account/password", 500, json=change, token=access)
    client.ask("DELETE", "/v1/sessions", 204, token=access)


def found_in(text: str, kept: dict[str, str]) -> list[str]:
    """The names of the secrets that stand in a text, in whatever spelling."""
    return [name for name, secret in kept.items() if any(form in text for form in spellings(secret))]


@dataclass(frozen=True)
class Recording:
    """What was sent, answered and written down."""

    client: RecordingClient
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
def recording(
    request: pytest.FixtureRequest, postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recording]:
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
        client_id, secret = re.findall(r"^(?:id|secret)\s+(\S+)$", made, re.MULTILINE)
        with loudly(folder), serving(folder, framework, PLANTED=PLANTED, **settings) as (server,):
            client = RecordingClient(server.api)
            client.keep("client secret", secret)
            client.keep("secret key", key)
            client.keep("database password", password_in(url))
            basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
            ask_for_everything(client, letters, [("Authorization", f"Basic {basic}")])
            send_what_cannot_be_read(server, client)
            assert eventually(lambda: "mail given up" in server.process.printed(), START_SECONDS)
        yield Recording(client, server.process.printed())


def password_in(url: str) -> str:
    return url.split(":")[2].split("@", maxsplit=1)[0]


def send_what_cannot_be_read(server: Server, client: RecordingClient) -> None:
    """Requests that break off or break the rules come to no access line, and to lines of the servers' own."""
    token = next(secret for name, secret in client.secrets.items() if name.startswith("access token"))
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


def test_every_operation_was_asked(recording: Recording) -> None:
    assert recording.client.asked == OPERATIONS.keys()


def test_the_server_was_as_loud_as_it_can_be(recording: Recording) -> None:
    """SQL with its parameters hidden, tracebacks of all three defects, and lines of DEBUG."""
    assert "INSERT INTO users" in recording.printed
    assert "parameters hidden" in recording.printed
    assert "RuntimeError: a defect" in recording.printed
    assert "KeyError: 'nothing'" in recording.printed
    assert "no_such_table" in recording.printed
    assert "recipient refused: 550" in recording.printed


FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "in base64": lambda text: base64.b64encode(f".{text}".encode()).decode(),
    "in a URL": lambda text: quote(text, safe=""),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_planted_secret_is_found(recording: Recording, form: str) -> None:
    plain = FORMS[form](PLANTED)
    lines = [line for line in recording.printed.splitlines() if plain in line or json.dumps(plain)[1:-1] in line]
    assert lines
    assert all(found_in(line, {"planted": PLANTED}) == ["planted"] for line in lines)


def test_no_secret_was_written_down(recording: Recording) -> None:
    assert len(recording.client.secrets) > 25
    assert found_in(recording.printed, recording.client.secrets) == []


def test_nobodys_address_was_written_down(recording: Recording) -> None:
    lines = [line for line in recording.printed.splitlines() if found_in(line, {"address": LOCAL})]
    assert lines == []


def test_no_refusal_repeats_a_secret_or_an_address(recording: Recording) -> None:
    kept = {**recording.client.secrets, "address": LOCAL}
    refusals = [(name, answer) for name, answer in recording.client.answers if answer.status >= 400]
    assert len(refusals) > 30
    said = {name: found_in(f"{answer.headers} {answer.body.decode()}", kept) for name, answer in refusals}
    assert {name: found for name, found in said.items() if found} == {}


def test_no_answer_at_all_repeats_a_password_or_the_token_of_a_link(recording: Recording) -> None:
    given = ("access token", "signature", "refresh token", "client's token")
    kept = {name: secret for name, secret in recording.client.secrets.items() if not name.startswith(given)}
    said = {
        name: found_in(f"{answer.headers} {answer.body.decode('utf-8', 'replace')}", kept)
        for name, answer in recording.client.answers
    }
    assert {name: found for name, found in said.items() if found} == {}


@dataclass(frozen=True)
class OtherProcesses:
    """What the parts wrote that nobody asks by HTTP, and the door before them."""

    client: RecordingClient
    door: str
    relay: str
    commands: dict[str, CompletedProcess[str]]

    @property
    def logs(self) -> dict[str, str]:
        commands = {name: command.stderr for name, command in self.commands.items()}
        return {"door": self.door, "relay": self.relay, **commands}


def ask_for_every_letter(client: RecordingClient, letters: Letters) -> None:
    """Where only verified addresses may log in: every letter there is, and some that cannot be sent."""
    email, moved = f"{LOCAL}@example.com", f"{LOCAL}.moved@example.com"
    password = client.keep("password", a_password("robin"))
    credentials = {"email": email, "password": password}
    client.ask("POST", "/v1/signup", 202, json=credentials)
    client.keep("token in a link", letters.token("email_verification"))
    client.ask("POST", "/v1/login", 403, json=credentials)
    token = client.keep("token in a link", letters.token("email_verification", 2))
    client.ask("POST", "/v1/verify-email", 204, json={"token": token, "password": password})
    client.ask("POST", "/v1/signup", 202, json={**credentials, "password": client.keep("other's", a_password("wren"))})
    access, _ = client.keep_pair(client.ask("POST", "/v1/login", 200, json=credentials))
    change = {"new_email": moved, "current_password": password}
    client.ask("POST", "/v1/account/email", 202, json=change, token=access)
    token = client.keep("token in a link", letters.token("email_change"))
    client.ask("POST", "/v1/verify-email", 204, json={"token": token})
    client.keep("token in a link", letters.token("email_changed"))
    client.ask("POST", "/v1/send-password-reset", 202, json={"email": moved})
    token = client.keep("token in a link", letters.token("password_reset"))
    new = client.keep("new password", a_password("thrush"))
    client.ask("POST", "/v1/reset-password", 204, json={"token": token, "new_password": new})
    credentials = {"email": moved, "password": new}
    access, _ = client.keep_pair(client.ask("POST", "/v1/login", 200, json=credentials))
    client.ask("POST", "/v1/signup", 202, json={**credentials, "email": f"{LOCAL}.refused@example.com"})
    client.ask("POST", "/v1/account/delete", 204, json={"current_password": new}, token=access)


def commanded(folder: Path, client: RecordingClient, settings: dict[str, str]) -> dict[str, CompletedProcess[str]]:
    """Every command that ends by itself, those that fail as well."""

    def run(*arguments: str, **changes: str) -> CompletedProcess[str]:
        return run_command(folder, *arguments, PLANTED=PLANTED, **settings | changes)

    made = run("clients", "create", "robot", "--scope", "read")
    client_id, secret = re.findall(r"^(?:id|secret)\s+(\S+)$", made.stdout, re.MULTILINE)
    rotated = run("clients", "rotate-secret", client_id)
    client.keep("client secret", secret)
    client.keep("client secret", rotated.stdout.split()[-1])
    old, new = settings["AUTH_SECRET_KEY"], client.keep("secret key", "canary+" + secrets.token_urlsafe(32))
    wrong = client.keep("wrong password of the database", secrets.token_urlsafe(16))
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
        "keys retire, with an unknown id": run("keys", "retire", client_id, "--now", "--yes"),
        "secret replace, with the old one": run("secret", "replace", "--yes", AUTH_SECRET_KEY=new),
        "secret replace": run("secret", "replace", "--yes"),
        "migrate, with a wrong password": run("migrate", AUTH_DATABASE_URL=elsewhere),
        "migrate, to no database": run("migrate", AUTH_DATABASE_URL=elsewhere.replace("postgresql", "nosuchsql")),
    }


PRINTS_A_SECRET = ("clients create", "clients rotate-secret")


@pytest.fixture(scope="module")
def others(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherProcesses]:
    folder, key = tmp_path_factory.mktemp("others"), "canary+" + secrets.token_urlsafe(32)
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
            client = RecordingClient(server.api)
            client.keep("secret key", key)
            client.keep("database password", password_in(url))
            ask_for_every_letter(client, letters)
            assert eventually(lambda: "mail given up" in relay.printed(), START_SECONDS)
            commands = {"migrate": migrated, **commanded(folder, client, settings)}
        yield OtherProcesses(client, server.process.printed(), relay.printed(), commands)


def test_relay_and_commands_were_as_loud_as_they_can_be(others: OtherProcesses) -> None:
    assert "UPDATE outbox" in others.relay
    assert "parameters hidden" in others.relay
    assert "recipient refused: 550" in others.relay
    assert "INSERT INTO clients" in others.commands["clients create"].stderr
    assert "CREATE TABLE users" in others.commands["migrate"].stderr
    failed = {name for name, command in others.commands.items() if command.returncode}
    assert failed == {name for name in others.commands if "with" in name or "to no" in name}
    assert all(found_in(text, {"planted": PLANTED}) for text in others.logs.values())


def test_relay_and_commands_write_down_no_secret(others: OtherProcesses) -> None:
    assert len(others.client.secrets) > 15
    written = {name: found_in(text, others.client.secrets) for name, text in others.logs.items()}
    assert {name: found for name, found in written.items() if found} == {}


def test_relay_and_commands_write_down_nobodys_address(others: OtherProcesses) -> None:
    lines = [(name, line) for name, text in others.logs.items() for line in text.splitlines()]
    assert [(name, line) for name, line in lines if found_in(line, {"address": LOCAL})] == []


def test_commands_print_no_secret_but_the_one_that_they_are_asked_for(others: OtherProcesses) -> None:
    kept = {**others.client.secrets, "address": LOCAL}
    said = {name: found_in(command.stdout, kept) for name, command in others.commands.items()}
    assert {name for name, found in said.items() if found} == set(PRINTS_A_SECRET)
    assert all(len(said[name]) == 1 for name in PRINTS_A_SECRET)
