"""Registered clients, as they speak to the API."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from tests.support.api import Api
from tests.support.drivers import Answer, Headers

SCOPES = ("orders:read", "orders:write")


@dataclass(frozen=True)
class ServiceClient:
    """A registered client as it speaks to the API."""

    api: Api
    id: str
    secret: str

    @property
    def headers(self) -> Headers:
        pair = f"{quote_plus(self.id)}:{quote_plus(self.secret)}"
        return [("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())]

    def token(self, **form: str) -> Answer:
        return self.api.post("/v1/token", form={"grant_type": "client_credentials", **form}, headers=self.headers)

    def introspect(self, token: str) -> dict[str, Any]:
        answer = self.api.post("/v1/introspect", form={"token": token}, headers=self.headers)
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json
        return found

    def revoke(self, token: str) -> Answer:
        return self.api.post("/v1/revoke", form={"token": token}, headers=self.headers)


def register(
    api: Api, name: str = "Orders", scopes: Sequence[str] = SCOPES, audiences: Sequence[str] = ()
) -> ServiceClient:
    """Register a client."""
    client, secret = api.auth.clients.create(name, tuple(scopes), tuple(audiences))
    return ServiceClient(api, client.id, secret)
