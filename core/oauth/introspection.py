"""Introspection of access tokens (RFC 7662), and revocation of both kinds (RFC 7009)."""

from __future__ import annotations

import contextlib

from core.audit.model import EventKind, event
from core.clock import Clock
from core.errors import InsufficientScope, InvalidToken
from core.oauth.clients import ClientService
from core.oauth.errors import InvalidClient, InvalidGrant, InvalidRequest
from core.oauth.model import ActiveToken, BearerToken, Credentials, RegisteredClient
from core.origin import Origin
from core.sessions.errors import InvalidRefreshToken
from core.sessions.model import Rotation, Session, rotate
from core.sessions.refresh_tokens import RefreshTokens
from core.sessions.service import SessionService, is_clients_live
from core.settings.groups import TokenSettings
from core.storage.retries import retried
from core.store import Store
from core.tokens.access_tokens import AccessTokens, ClientClaims, UserClaims
from core.tokens.model import RevocationKind
from core.tokens.revocation_feed import revoke
from core.users.model import User

INTROSPECT = "introspect"
"""The scope of clients that may ask with their access token."""


class TokenInspector:
    """Introspects and revokes tokens."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        settings: TokenSettings,
        clients: ClientService,
        sessions: SessionService,
        access_tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._clients = clients
        self._sessions = sessions
        self._access_tokens = access_tokens
        self._refresh_tokens = refresh_tokens

    def introspect(
        self, token: str | None, caller: Credentials | BearerToken | None, origin: Origin
    ) -> ActiveToken | None:
        """Return the content of an active access token, or None for every other token.

        A refresh token is never active: whoever took it for an access token would let its holder in for months.

        Raises:
            InvalidClient: the caller is no registered client; an open endpoint would be an oracle for guessed tokens.
            InvalidToken: the caller's own token is no live one of a client.
            InsufficientScope: the caller's own token has not the scope `introspect`.
            InvalidRequest: there is no token.

        """
        self._admit(caller, origin)
        if token is None:
            raise InvalidRequest("The parameter token is missing.")
        try:
            return self._active(self._access_tokens.verify_for_any(token))
        except InvalidToken:
            return None

    def _admit(self, caller: Credentials | BearerToken | None, origin: Origin) -> None:
        if not isinstance(caller, BearerToken):
            self._clients.authenticate(caller, origin)
            return
        claims = self._access_tokens.verify(caller.text)
        if not isinstance(claims, ClientClaims) or self._active(claims) is None:
            raise InvalidToken
        if INTROSPECT not in claims.scopes:
            raise InsufficientScope(INTROSPECT)

    def revoke(self, token: str | None, credentials: Credentials | None, origin: Origin) -> None:
        """End the session of a user's token, or revoke a client's token.

        Any caller with a user's token may revoke it; a client's token is revoked by that client alone. A token that
        is not ours, or no longer active, counts as revoked.

        Raises:
            InvalidClient: the client's authentication failed, or is missing for a client's token.
            InvalidGrant: the token was issued to another client.
            InvalidRequest: there is no token.

        """
        caller = self._clients.identify(credentials, origin)
        if token is None:
            raise InvalidRequest("The parameter token is missing.")
        with contextlib.suppress(InvalidToken):
            self._revoke_access_token(self._access_tokens.verify_for_any(token), caller, origin)
            return
        with contextlib.suppress(InvalidRefreshToken):
            session, user = self._session_of(token)
            _require_owner(self._access_tokens.client_id, caller)
            self._sessions.revoke(session.id, user.id, origin)

    @retried
    def _active(self, claims: UserClaims | ClientClaims) -> ActiveToken | None:
        now, user = self._clock.now(), None
        with self._store.reading() as read:
            match claims:
                case UserClaims():
                    user = read.sessions.principal(claims.session_id, claims.user_id, now=now)
                    is_live = user is not None
                case ClientClaims():
                    is_live = is_clients_live(read, claims, now)
        return _described(claims, user) if is_live else None

    @retried
    def _session_of(self, token: str) -> tuple[Session, User]:
        """Return the session and the user of a refresh token that could be exchanged now.

        Raises:
            InvalidRefreshToken: it could not.

        """
        read_token = self._refresh_tokens.read(token)
        with self._store.reading() as read:
            found = read.sessions.with_user(read_token.session_id)
        if found is None or not read_token.belongs_to(found[0].seed) or not found[1].is_active:
            raise InvalidRefreshToken
        now, grace = self._clock.now(), self._settings.refresh_grace
        if rotate(found[0], read_token.generation, now=now, grace=grace) not in (Rotation.ADVANCE, Rotation.REPEAT):
            raise InvalidRefreshToken
        return found

    def _revoke_access_token(
        self, claims: UserClaims | ClientClaims, caller: RegisteredClient | None, origin: Origin
    ) -> None:
        match claims:
            case UserClaims():
                _require_owner(claims.client_id, caller)
                self._sessions.revoke(claims.session_id, claims.user_id, origin)
            case ClientClaims():
                if caller is None:
                    raise InvalidClient
                _require_owner(claims.client_id, caller)
                self._revoke_client_token(claims, origin)

    @retried
    def _revoke_client_token(self, claims: ClientClaims, origin: Origin) -> None:
        now = self._clock.now()
        with self._store.begin() as work:
            revoke(work, RevocationKind.TOKEN, [claims.token_id], at=now)
            work.audit.add(event(EventKind.TOKEN_REVOKED, at=now, origin=origin, subject=claims.client_id))
            work.commit()


def _described(claims: UserClaims | ClientClaims, user: User | None) -> ActiveToken:
    return ActiveToken(
        subject=claims.subject,
        client_id=claims.client_id,
        username=user.email if user else None,
        session_id=str(claims.session_id) if isinstance(claims, UserClaims) else None,
        token_id=claims.token_id,
        audience=claims.audience,
        scope=claims.scope,
        roles=claims.roles or (),
        auth_time=claims.auth_time,
        issued_at=claims.issued_at,
        expires_at=claims.expires_at,
    )


def _require_owner(client_id: str, caller: RegisteredClient | None) -> None:
    if caller is not None and caller.id != client_id:
        raise InvalidGrant("The token was issued to another client.")
