"""The token endpoint of OAuth 2 (RFC 6749 section 3.2): its grants, for first parties and for registered clients."""

from __future__ import annotations

from core.authentication.errors import EmailNotVerified, InvalidCredentials
from core.authentication.login import Authentication
from core.clock import Clock, whole_seconds
from core.oauth.clients import ClientService
from core.oauth.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from core.oauth.model import Credentials, Grant, RegisteredClient, TokenRequest, parse_scopes
from core.origin import Origin
from core.sessions.errors import InvalidRefreshToken
from core.sessions.model import TokenPair
from core.sessions.service import SessionService
from core.tokens.access_tokens import AccessTokens


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
    ) -> None:
        self._clock = clock
        self._authentication = authentication
        self._sessions = sessions
        self._clients = clients
        self._access_tokens = access_tokens

    def grant(self, request: TokenRequest, credentials: Credentials | None, origin: Origin) -> Grant:
        """Answer a request, for a registered client or for a first party that has no credentials.

        Raises:
            InvalidClient: the client's authentication failed, or is missing for a grant that needs it.
            InvalidRequest: a parameter is missing.
            InvalidGrant: the credentials or the refresh token are refused.
            InvalidScope: the client requests a scope that it does not have.
            UnauthorizedClient: a registered client requests a grant for first parties.
            UnsupportedGrantType: the grant is not supported.

        """
        registered = self._clients.authenticate(credentials, origin) if credentials else None
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
        scopes = parse_scopes(request.scope) if request.scope else registered.scopes
        if not set(scopes) <= set(registered.scopes):
            raise InvalidScope
        now = self._clock.now()
        token, expires_at = self._access_tokens.issue_to_client(registered.id, scopes, now=now)
        return Grant(access_token=token, expires_in=whole_seconds(expires_at - now), scope=" ".join(scopes) or None)

    def _grant_to_user(self, request: TokenRequest, origin: Origin) -> Grant:
        try:
            pair = self._pair(request, origin)
        except (InvalidCredentials, InvalidRefreshToken):
            raise InvalidGrant from None
        except EmailNotVerified as error:
            raise InvalidGrant(error.text) from None
        return Grant(access_token=pair.access_token, expires_in=pair.expires_in, refresh_token=pair.refresh_token)

    def _pair(self, request: TokenRequest, origin: Origin) -> TokenPair:
        match request:
            case TokenRequest(grant_type="password", username=str(username), password=str(password)):
                return self._authentication.login(username, password, origin)
            case TokenRequest(grant_type="refresh_token", refresh_token=str(refresh_token)):
                return self._sessions.refresh(refresh_token, origin)
            case _:
                raise InvalidRequest("A parameter that this grant needs is missing.")
