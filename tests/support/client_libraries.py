"""A service as client libraries of others find it: what it is called, and who may use it."""

from __future__ import annotations

from dataclasses import dataclass

from core.authentication.schemas import EXAMPLE_PASSWORD
from tests.support.api import EMAIL
from tests.support.servers import Server

OWN, ORDERS = "https://auth.example.com", "https://orders.example.com"
SCOPES = '{"*": "orders:read"}'


@dataclass(frozen=True)
class Issuer:
    """A door with a user, and with a client that may have the scopes `orders:read` and `introspect`."""

    server: Server
    client_id: str
    client_secret: str
    page_port: int
    """Where a page of another origin may be, which browsers let in."""
    email: str = EMAIL
    password: str = EXAMPLE_PASSWORD

    @property
    def url(self) -> str:
        return self.server.url
