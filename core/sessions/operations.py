"""The operations of sessions: refresh, log out, who am I, and the sessions of a user."""

from http import HTTPMethod, HTTPStatus
from uuid import UUID

from core.contract.operation import Auth, Operation, Parameter, Tag
from core.errors import NotFound
from core.sessions.errors import InvalidRefreshToken
from core.sessions.schemas import EndSessionsQuery, RefreshRequest, SessionList, TokenPair
from core.tokens.errors import ScopeNotGranted, UnknownAudience
from core.users.schemas import User

REFRESH = Operation(
    id="refresh",
    method=HTTPMethod.POST,
    path="/v1/refresh",
    tag=Tag.TOKENS,
    summary="Refresh",
    description="Exchange a refresh token for a new pair. The direct predecessor of the current token is given "
    "the same successor again for 60 seconds (a setting), so that tabs, retries and lost answers keep the session. "
    "Anything older ends the session: two parties hold it.",
    json=RefreshRequest,
    response=TokenPair,
    omit_null=True,
    success="The new tokens.",
    errors=(InvalidRefreshToken, ScopeNotGranted, UnknownAudience),
)

LOGOUT = Operation(
    id="logout",
    method=HTTPMethod.POST,
    path="/v1/logout",
    tag=Tag.TOKENS,
    summary="Log out",
    description="End the session of this token. Its access and refresh tokens stop working at once, at both "
    "front doors.",
    status=HTTPStatus.NO_CONTENT,
    success="The session has ended.",
    auth=Auth.USER,
)

WHOAMI = Operation(
    id="whoami",
    method=HTTPMethod.GET,
    path="/v1/whoami",
    tag=Tag.TOKENS,
    summary="Who am I",
    description="The user whom this token speaks for.",
    response=User,
    success="The user.",
    auth=Auth.USER,
)

FORWARD_AUTH = Operation(
    id="forward_auth",
    method=HTTPMethod.GET,
    path="/v1/forward-auth",
    tag=Tag.TOKENS,
    summary="Ask for a proxy",
    description="The user or client of this token, in header fields that a proxy hands on: `X-User-Id`, `X-User-Roles` "
    "(separated by commas), `X-Session-Id`, `X-Client-Id`. Each stands in every answer 200 and is empty where there is "
    "none, so that a proxy that copies them overwrites what its caller sent. A client's token has no user and no "
    "session.",
    success="The token is good; the fields say whose it is.",
    auth=Auth.BEARER,
)

LIST_SESSIONS = Operation(
    id="list_sessions",
    method=HTTPMethod.GET,
    path="/v1/sessions",
    tag=Tag.SESSIONS,
    summary="List sessions",
    description="The live sessions of the user, newest first.",
    response=SessionList,
    success="The sessions.",
    auth=Auth.USER,
)

END_SESSIONS = Operation(
    id="end_sessions",
    method=HTTPMethod.DELETE,
    path="/v1/sessions",
    tag=Tag.SESSIONS,
    summary="End all sessions",
    description="End every session of the user, or with `keep_current=true` every other one.",
    query=EndSessionsQuery,
    status=HTTPStatus.NO_CONTENT,
    success="The sessions have ended.",
    auth=Auth.USER,
)

END_SESSION = Operation(
    id="end_session",
    method=HTTPMethod.DELETE,
    path="/v1/sessions/{session_id}",
    tag=Tag.SESSIONS,
    summary="End a session",
    description="End one session of the user. A session of somebody else is not told apart from none.",
    parameters={"session_id": Parameter("Id of the session.", UUID)},
    status=HTTPStatus.NO_CONTENT,
    success="The session has ended.",
    auth=Auth.USER,
    errors=(NotFound,),
)

OPERATIONS = (
    REFRESH,
    LOGOUT,
    WHOAMI,
    FORWARD_AUTH,
    LIST_SESSIONS,
    END_SESSIONS,
    END_SESSION,
)
