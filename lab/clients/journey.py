"""A user and a registered client, by a client from `openapi-python-client`."""

from __future__ import annotations

import base64
import sys

from generated import AuthenticatedClient, Client
from generated.api.accounts import reset_password, send_password_reset, signup
from generated.api.tokens import login, refresh, token, whoami
from generated.models import (
    LoginRequest,
    Problem,
    RefreshRequest,
    ResetPasswordRequest,
    SendPasswordResetRequest,
    SignupRequest,
    TokenAnswer,
    TokenForm,
    TokenFormGrantType,
    TokenPair,
    User,
)

OLD, NEW = "correct horse battery", "a quite different sentence"


def begin(url: str, email: str, client_id: str, secret: str) -> None:
    nobody = Client(base_url=url)
    user = signup.sync(client=nobody, body=SignupRequest(email=email, password=OLD))
    assert isinstance(user, User)
    taken = signup.sync(client=nobody, body=SignupRequest(email=email, password=OLD))
    assert isinstance(taken, Problem)
    assert taken.code == "email_taken"
    first = login.sync(client=nobody, body=LoginRequest(email=email, password=OLD))
    assert isinstance(first, TokenPair)
    second = refresh.sync(client=nobody, body=RefreshRequest(refresh_token=first.refresh_token))
    assert isinstance(second, TokenPair)
    found = whoami.sync(client=AuthenticatedClient(base_url=url, token=second.access_token))
    assert found == user
    basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    granted = token.sync(
        client=AuthenticatedClient(base_url=url, token=basic, prefix="Basic"),
        body=TokenForm(grant_type=TokenFormGrantType.CLIENT_CREDENTIALS, scope="orders:read"),
    )
    assert isinstance(granted, TokenAnswer)
    assert granted.scope == "orders:read"
    asked = send_password_reset.sync_detailed(client=nobody, body=SendPasswordResetRequest(email=email))
    assert asked.status_code == 202


def end(url: str, email: str, link: str) -> None:
    nobody = Client(base_url=url)
    done = reset_password.sync_detailed(client=nobody, body=ResetPasswordRequest(token=link, new_password=NEW))
    assert done.status_code == 204
    assert isinstance(login.sync(client=nobody, body=LoginRequest(email=email, password=NEW)), TokenPair)


if sys.argv[1] == "begin":
    begin(*sys.argv[2:])
else:
    end(*sys.argv[2:])
