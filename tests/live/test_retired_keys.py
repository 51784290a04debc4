"""A leaked signing key is ended by one command, while two workers of each door serve and a service verifies."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import jwt
from twinauth_verify import InvalidToken, Verifier

from tests.support.commands import invoked
from tests.support.databases import migrated_store, sqlite_url
from tests.support.servers import CHEAP, FRAMEWORKS, Server, eventually, serving
from tests.support.settings import SECRET

SECONDS_AT_DOORS = 2.0
SECONDS_AT_VERIFIERS = 5.0
MANY = 12  # requests on new connections, so that every worker is asked


def refuses(server: Server, token: str) -> bool:
    return all(server.api.whoami(token).status == 401 for _ in range(MANY))


def is_invalid(verifier: Verifier, token: str) -> bool:
    try:
        verifier.verify(token)
    except InvalidToken:
        return True
    return False


def test_a_leaked_key_is_ended_everywhere_within_seconds_and_no_session_with_it(tmp_path: Path) -> None:
    settings = {"AUTH_SECRET_KEY": SECRET, **CHEAP}
    with (
        sqlite_url(tmp_path) as url,
        migrated_store(url),
        serving(tmp_path, *FRAMEWORKS, options=("--workers", "2"), AUTH_DATABASE_URL=url, **settings) as servers,
    ):
        issuer = servers[0].api.get("/.well-known/oauth-authorization-server").json["issuer"]
        pair = servers[0].api.signed_in()
        token = pair["access_token"]
        jwks, feed = (f"{servers[0].url}{path}" for path in ("/.well-known/jwks.json", "/v1/revocations"))
        with Verifier(issuer=issuer, audience=issuer, jwks_url=jwks, revocations_url=feed) as verifier:
            assert not is_invalid(verifier, token)
            time.sleep(0.5)  # until the verifier waits for news
            kid = jwt.get_unverified_header(token)["kid"]
            done = invoked(tmp_path, "keys", "retire", kid, "--now", "--yes", AUTH_DATABASE_URL=url, **settings)
            assert done.returncode == 0, done.stderr
            ended_at = time.monotonic()
            for server in servers:
                assert eventually(partial(refuses, server, token), SECONDS_AT_DOORS)
            assert time.monotonic() - ended_at < SECONDS_AT_DOORS
            assert eventually(lambda: is_invalid(verifier, token), SECONDS_AT_VERIFIERS)
            assert time.monotonic() - ended_at < SECONDS_AT_VERIFIERS
            refreshed = servers[1].api.refresh(pair["refresh_token"]).json["access_token"]
            assert jwt.get_unverified_header(refreshed)["kid"] in done.stdout
            assert all(server.api.whoami(refreshed).status == 200 for server in servers)
            assert eventually(lambda: not is_invalid(verifier, refreshed), SECONDS_AT_VERIFIERS)
