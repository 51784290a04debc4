"""The token endpoint of OAuth 2 (RFC 6749 section 3.2): its grants, for first parties and for registered clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.authentication.errors import EmailNotVerified, InvalidCredentials
from core.authentication.login import Authentication
from core.clock import Clock, whole_seconds
from core.oauth.clients import ClientService
from core.oauth.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from core.oauth.model import Credentials, Grant, RegisteredClient, TokenRequest
from core.origin import Origin
from core.sessions.errors import InvalidRefreshToken
from core.sessions.model import TokenPair
from core.sessions.service import SessionService
from core.settings.groups import TokenSettings
from core.tokens.access import Access, all_scopes, audience_of
from core.tokens.access_tokens import AccessTokens
from core.tokens.errors import ScopeNotGranted, UnknownAudience

# Swagger UI shows the text to whoever tries its form.
_NO_PASSWORDS = "The password grant is off here (AUTH_PASSWORD_GRANT); log in at /v1/login and paste the token."


class TokenEndpoint:
    """Issues tokens for the grants of RFC 6749."""

    def __init__(
        self,
        *,
        clock: Clock,
        authentication: Authentication,
        sessions: SessionService,
        clients: ClientService,
        access_tokens: AccessTokens,
        settings: TokenSettings,
        allows_passwords: bool,
    ) -> None:
        self._clock = clock
        self._authentication = authentication
        self._sessions = sessions
        self._clients = clients
        self._access_tokens = access_tokens
        self._settings = settings
        self._allows_passwords = allows_passwords

    def grant(self, request: TokenRequest, credentials: Credentials | None, origin: Origin) -> Grant:
        """Answer a request, for a registered client or for a first party that has no credentials.

        Raises:
            InvalidClient: the client's authentication failed, or is missing for a grant that needs it.
            InvalidRequest: a parameter is missing.
            InvalidGrant: the credentials or the refresh token are refused.
            InvalidScope: a scope is malformed, or asked for in vain.
            InvalidTarget: the resource is none of ours, or not for this client.
            UnauthorizedClient: a registered client requests a grant for first parties.
            UnsupportedGrantType: the grant is not supported.

        """
        registered = self._clients.identify(credentials, origin)
        match request.grant_type:
            case None:
                raise InvalidRequest("The parameter grant_type is missing.")
            case "client_credentials":
                return self._grant_to_client(request, registered)
            case "password" | "refresh_token":
                if registered is not None:
                    # RFC 9700 section 2.4: a third party must not see a user's password.
                    raise UnauthorizedClient
                return self._grant_to_user(request, origin)
            case _:
                raise UnsupportedGrantType

    def _grant_to_client(self, request: TokenRequest, registered: RegisteredClient | None) -> Grant:
        if registered is None:
            raise InvalidClient
        with _in_oauth_terms():
            access = Access(
                scopes=all_scopes(request.asked.scope, registered.scopes),
                audience=audience_of(request.asked.resource, registered.audiences or self._settings.audiences),
            )
        now = self._clock.now()
        token, expires_at = self._access_tokens.issue_to_client(registered.id, access, now=now)
        return Grant(access_token=token, expires_in=whole_seconds(expires_at - now), scope=access.scope)

    def _grant_to_user(self, request: TokenRequest, origin: Origin) -> Grant:
        with _in_oauth_terms():
            pair = self._pair(request, origin)
        return Grant(
            access_token=pair.access_token,
            expires_in=pair.expires_in,
            refresh_token=pair.refresh_token,
            scope=pair.scope,
            device_token=pair.device_token,
        )

    def _pair(self, request: TokenRequest, origin: Origin) -> TokenPair:
        match request:
            case TokenRequest(grant_type="password") if not self._allows_passwords:
                raise UnsupportedGrantType(_NO_PASSWORDS)
            case TokenRequest(grant_type="password", username=str(username), password=str(password)):
                return self._authentication.login(
                    username, password, origin, request.asked, device_token=request.device_token
                )
            case TokenRequest(grant_type="refresh_token", refresh_token=str(refresh_token)):
                return self._sessions.refresh(refresh_token, origin, request.asked)
            case _:
                raise InvalidRequest("A parameter that this grant needs is missing.")


@contextmanager
def _in_oauth_terms() -> Iterator[None]:
    """Raise what the use cases refuse as the errors of RFC 6749 section 5.2 and RFC 8707 section 2."""
    try:
        yield
    except (InvalidCredentials, InvalidRefreshToken):
        raise InvalidGrant from None
    except EmailNotVerified as error:
        raise InvalidGrant(error.text) from None
    except ScopeNotGranted:
        raise InvalidScope from None
    except UnknownAudience:
        raise InvalidTarget from None
