"""A service at an address of its own, for client libraries that believe what the metadata say."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from core.authentication.schemas import EXAMPLE_PASSWORD
from tests.support.client_libraries import ORDERS, OWN, SCOPES, Issuer
from tests.support.postgres import free_port
from tests.support.servers import CHEAP, FRAMEWORKS, HOST, START_SECONDS, Server, eventually, run_command, running


@pytest.fixture(scope="module", params=FRAMEWORKS)
def issuer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    folder, port = tmp_path_factory.mktemp(request.param), free_port()
    page_port = free_port()
    url = f"http://{HOST}:{port}"
    settings = {
        **CHEAP,
        "AUTH_PUBLIC_URL": url,
        "AUTH_TOKEN_AUDIENCES": f"{OWN},{ORDERS}",
        "AUTH_TOKEN_SCOPES": SCOPES,
        "AUTH_CORS_ORIGINS": f"http://{HOST}:{page_port}",
    }
    with running(folder, "serve", "--framework", request.param, "--port", str(port), **settings) as process:
        server = Server(request.param, port, process)
        assert eventually(server.is_ready, START_SECONDS), process.printed()
        server.api.signup(password=EXAMPLE_PASSWORD)
        scopes = ("--scope", "orders:read", "--scope", "introspect")
        made = run_command(folder, "clients", "create", "orders", *scopes, **settings).stdout
        (client_id,) = re.findall(r"twc_\w+", made)
        (secret,) = re.findall(r"tws_[\w-]+", made)
        yield Issuer(server, client_id, secret, page_port)
