"""OAuth as client libraries of Python speak it: authlib, requests-oauthlib, httpx-oauth, joserfc."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from httpx_oauth.oauth2 import OAuth2
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from jwt import PyJWKClient
from oauthlib.oauth2 import BackendApplicationClient, LegacyApplicationClient
from requests_oauthlib import OAuth2Session

from tests.support.client_libraries import ORDERS, OWN, Issuer


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both libraries refuse http without it."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.fixture
def metadata(issuer: Issuer) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{issuer.url}/.well-known/openid-configuration", timeout=10).json()
    assert found["issuer"] == issuer.url
    return found


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


METHODS = ["client_secret_basic", "client_secret_post"]


class TestAuthlib:
    @pytest.fixture(params=METHODS)
    def session(self, request: pytest.FixtureRequest, issuer: Issuer, metadata: dict[str, Any]) -> Iterator[Any]:
        with AuthlibSession(
            issuer.client_id,
            issuer.client_secret,
            scope="orders:read",
            token_endpoint_auth_method=request.param,
            revocation_endpoint_auth_method=request.param,
            token_endpoint=metadata["token_endpoint"],
        ) as session:
            yield session

    def test_has_a_token_for_itself_which_it_can_inspect_and_revoke(
        self, session: Any, metadata: dict[str, Any]
    ) -> None:
        token = session.fetch_token(grant_type="client_credentials", resource=ORDERS)
        claims = claims_of(token["access_token"])
        assert (claims["scope"], claims["aud"]) == ("orders:read", ORDERS)
        found = session.introspect_token(metadata["introspection_endpoint"], token["access_token"]).json()
        assert found["active"]
        session.revoke_token(metadata["revocation_endpoint"], token["access_token"])
        assert session.introspect_token(metadata["introspection_endpoint"], token["access_token"]).json() == {
            "active": False
        }

    def test_logs_a_user_in_and_refreshes_by_itself(self, issuer: Issuer, metadata: dict[str, Any]) -> None:
        updated = []
        with AuthlibSession(
            "twinauth",
            token_endpoint=metadata["token_endpoint"],
            token_endpoint_auth_method="none",
            update_token=lambda token, **_: updated.append(token),
        ) as session:
            token = session.fetch_token(username=issuer.email, password=issuer.password, grant_type="password")
            assert token["scope"] == "orders:read"
            whoami = f"{issuer.url}/v1/whoami"
            assert session.get(whoami).json()["email"] == issuer.email
            session.token = {**token, "expires_at": 1}
            assert session.get(whoami).json()["email"] == issuer.email
        assert [new["refresh_token"] != token["refresh_token"] for new in updated] == [True]


class TestRequestsOauthlib:
    @pytest.mark.parametrize("in_form", [False, True])
    def test_has_a_token_for_itself(self, issuer: Issuer, metadata: dict[str, Any], *, in_form: bool) -> None:
        with OAuth2Session(client=BackendApplicationClient(issuer.client_id, scope=["orders:read"])) as session:
            how: dict[str, Any] = {"client_secret": issuer.client_secret, "include_client_id": True}
            if not in_form:
                how = {"auth": (issuer.client_id, issuer.client_secret)}
            token = session.fetch_token(metadata["token_endpoint"], **how)
        assert token["scope"] == ["orders:read"]

    def test_logs_a_user_in_and_refreshes_by_itself(self, issuer: Issuer, metadata: dict[str, Any]) -> None:
        """It sends the id of the public client by HTTP Basic with an empty secret, and in the form as well."""
        kept: list[Any] = []
        with OAuth2Session(
            client=LegacyApplicationClient("twinauth"),
            auto_refresh_url=metadata["token_endpoint"],
            auto_refresh_kwargs={"client_id": "twinauth"},
            token_updater=kept.append,
        ) as session:
            session.fetch_token(metadata["token_endpoint"], username=issuer.email, password=issuer.password)
            whoami = f"{issuer.url}/v1/whoami"
            assert session.get(whoami).json()["email"] == issuer.email
            session.token = {**session.token, "expires_in": -1, "expires_at": 1}
            assert session.get(whoami).json()["email"] == issuer.email
        assert len(kept) == 1


class TestHttpxOauth:
    @pytest.mark.parametrize("method", METHODS)
    def test_revokes_and_refreshes(self, issuer: Issuer, metadata: dict[str, Any], method: Any) -> None:
        pair = issuer.server.api.login(issuer.email, issuer.password)
        public: Any = OAuth2("twinauth", "", metadata["issuer"], metadata["token_endpoint"],
            refresh_token_endpoint=metadata["token_endpoint"],
            revoke_token_endpoint=metadata["revocation_endpoint"],
            token_endpoint_auth_method=method,
            revocation_endpoint_auth_method=method,
        )  # fmt: skip
        token = asyncio.run(public.refresh_token(pair["refresh_token"]))
        assert claims_of(token["access_token"])["aud"] == OWN
        asyncio.run(public.revoke_token(token["refresh_token"], "refresh_token"))
        assert issuer.server.api.whoami(token["access_token"]).status == 401


class TestTheTokens:
    def test_of_a_plain_user_are_access_tokens_to_joserfc(self, issuer: Issuer, metadata: dict[str, Any]) -> None:
        """It takes an empty list for an invalid claim."""
        token = issuer.server.api.login(issuer.email, issuer.password)["access_token"]
        keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=10).json())
        decoded = joserfc_jwt.decode(token, keys, algorithms=["ES256"])
        essential = ("iss", "exp", "aud", "sub", "client_id", "iat", "jti", "auth_time", "amr", "scope")
        joserfc_jwt.JWTClaimsRegistry(
            **{name: {"essential": True} for name in essential},  # type: ignore[arg-type]  # a claim's options
            roles={"essential": False, "values": ["admin"]},
        ).validate(decoded.claims)

    def test_of_a_plain_user_are_access_tokens_to_authlib(self, issuer: Issuer, metadata: dict[str, Any]) -> None:
        """Its guard of resource servers after RFC 9068."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it announces joserfc
            from authlib.oauth2.rfc9068 import JWTBearerTokenValidator  # noqa: PLC0415 - it warns when it is imported

            keys = requests.get(metadata["jwks_uri"], timeout=10).json()

            class Guard(JWTBearerTokenValidator):  # type: ignore[misc]  # authlib ships no types
                def get_jwks(self) -> Any:
                    return KeySet.import_key_set(keys)

            guard = Guard(issuer=issuer.url, resource_server=OWN)
            token = guard.authenticate_token(issuer.server.api.login(issuer.email, issuer.password)["access_token"])
            guard.validate_token(token, ["orders:read"], None)
        assert token["amr"] == ["pwd"]

    def test_verify_by_the_address_of_the_keys(self, issuer: Issuer, metadata: dict[str, Any]) -> None:
        token = issuer.server.api.login(issuer.email, issuer.password)["access_token"]
        key = PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
        assert jwt.decode(token, key, algorithms=["ES256"], audience=OWN, issuer=issuer.url)["amr"] == ["pwd"]
