"""No token of a link, no address and no password in any log, whoever sends the mail and however it is refused."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.log_lines import objects
from tests.support.mail import token_of
from tests.support.servers import CHEAP, FRAMEWORKS, Process, Server, eventually, running, serving
from tests.support.smtp_faults import SMTP_PASSWORD, PickyServer, known_user, smtp_url
from tests.support.spellings import spellings

PASSWORD = "canary päss/wörd+of&nobody"
REFRESHED = "another canary, päss/wörd+2"
SECRET = "canary+" + secrets.token_urlsafe(32)


def mail_caused(door: Server, mail: PickyServer, email: str) -> list[str]:
    """Have every kind of mail sent by a door, and use each token; what must not be written down."""
    api, new = door.api, f"new.{email}"
    told = [email, new, PASSWORD, REFRESHED]

    def token_in(kind: str, address: str) -> str:
        told.append(token_of(mail.wait_for_kind(kind, address)))
        return told[-1]

    credentials = {"email": email, "password": PASSWORD}
    assert api.post("/v1/signup", credentials).status == 201
    verification = {"token": token_in("email_verification", email)}
    assert api.post("/v1/verify-email", verification).status == 403
    assert api.post("/v1/verify-email", verification | {"password": PASSWORD}).status == 204
    assert api.post("/v1/disown-account", verification).status == 400
    assert api.post("/v1/signup", credentials).status == 409
    mail.wait_for_kind("signup_attempted", email)
    assert api.post("/v1/send-password-reset", {"email": email}).status == 202
    reset = {"token": token_in("password_reset", email), "new_password": REFRESHED}
    assert api.post("/v1/reset-password", reset).status == 204
    assert api.post("/v1/reset-password", reset).status == 400
    assert api.get(f"/reset-password?token={reset['token']}").status == 200
    mail.wait_for_kind("password_changed", email)
    access = api.login(email, REFRESHED)["access_token"]
    change = {"new_email": new, "current_password": REFRESHED}
    assert api.post("/v1/account/email", change, token=access).status == 202
    assert api.post("/v1/verify-email", {"token": token_in("email_change", new)}).status == 204
    mail.wait_for_kind("email_change_requested", email)
    undo = {"token": token_in("email_changed", email)}
    assert api.post("/v1/undo-email-change", undo).status == 204
    mail.wait_for_kind("email_change_undone", new)
    return told


def failures_caused(doors: Iterable[Server], mail: PickyServer) -> list[str]:
    """Have mail refused by a server that says to whom; each the address and the whole reply."""
    told = []
    for number, door in enumerate(doors):
        for code in ("450", "550"):
            email = f"refused.{code}.{number}@example.com"
            mail.refused[email] = f"{code} 5.1.1 <{email}> is nobody that we know"
            door.api.signup(email)
            told += [email, "is nobody that we know"]
    return told


@pytest.mark.parametrize("by", ["doors", "relay"])
def test_mail_leaves_no_token_no_address_and_no_password_in_any_log(by: str, tmp_path: Path) -> None:
    """Nor does mail that is refused in the words of a server that names the recipient."""
    settings = {"AUTH_LOG_FORMAT": "json", "AUTH_LOG_LEVEL": "DEBUG", "AUTH_SECRET_KEY": SECRET, **CHEAP}
    with PickyServer(authenticator=known_user, auth_require_tls=False) as mail, ExitStack() as stack:
        settings |= {"AUTH_SMTP_URL": smtp_url("smtp", mail.port), "AUTH_RELAY": "true" if by == "doors" else "false"}
        doors = stack.enter_context(serving(tmp_path, *FRAMEWORKS, **settings))
        processes = [door.process for door in doors]
        if by == "relay":
            processes.append(stack.enter_context(running(tmp_path, "relay", **settings)))
        told = failures_caused(doors, mail)
        with ThreadPoolExecutor() as both:
            for found in both.map(lambda door: mail_caused(door, mail, f"canary.{door.framework}@example.com"), doors):
                told += found
        # The last messages were taken; now the line that says so, and those that tell of failures.
        wanted = {"mail sent": len(mail.deliveries), "mail not sent": len(doors), "mail given up": len(doors)}
        assert eventually(lambda: events_of(processes) >= Counter(wanted), 20), events_of(processes)
    text = "".join(process.printed() for process in processes)
    objects(text)
    assert "twm_" not in text
    assert SMTP_PASSWORD not in text
    assert [found for canary in (*told, SMTP_PASSWORD, SECRET) for found in spellings(canary) if found in text] == []


def events_of(processes: Iterable[Process]) -> Counter[str]:
    """What these processes wrote of their mail, and how often."""
    lines = (line for process in processes for line in objects(process.printed()))
    return Counter(line["event"] for line in lines if line["logger"] == "relay")
