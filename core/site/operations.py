"""The operations of the site itself: health, error codes, documentation and pages."""

from functools import partial
from http import HTTPMethod

from core.contract.operation import IMMUTABLE, LINKS_POLICY, PAGES_POLICY, PUBLIC, Operation, Parameter, Tag
from core.contract.problem import ProblemType
from core.errors import NotFound, NotReady, Stopping
from core.site.schemas import Health
from core.tokens.errors import KeysLocked

# Pages are for people: they need no database, and the OpenAPI document leaves them out.
_page = partial(
    Operation, method=HTTPMethod.GET, tag=Tag.PAGES, success="The page.", uses_database=False, documented=False
)

PROBLEM_TYPE = Operation(
    id="problem_type",
    method=HTTPMethod.GET,
    path="/problems/{code}",
    tag=Tag.DISCOVERY,
    summary="Explain an error code",
    description="What an error code means and what to do about it.",
    parameters={"code": Parameter("The error code.")},
    response=ProblemType,
    success="The explanation.",
    cache=PUBLIC,
    uses_database=False,
    errors=(NotFound,),
)

HEALTHZ = Operation(
    id="healthz",
    method=HTTPMethod.GET,
    path="/healthz",
    tag=Tag.HEALTH,
    summary="Alive",
    description="The process lives. Nothing else is asked.",
    response=Health,
    success="It lives.",
    uses_database=False,
)

READYZ = Operation(
    id="readyz",
    method=HTTPMethod.GET,
    path="/readyz",
    tag=Tag.HEALTH,
    summary="Ready",
    description="The database answers and has the schema that this version needs, and a signing key can be opened.",
    response=Health,
    success="It is ready.",
    errors=(NotReady, KeysLocked, Stopping),
)

OPENAPI = _page(
    id="openapi",
    path="/openapi.json",
    summary="This document",
    description="The OpenAPI document.",
    success="The document.",
)

DOCS = _page(
    id="docs",
    path="/docs",
    summary="Swagger UI",
    description="The documentation to try out.",
    policy=PAGES_POLICY,
)

REDOC = _page(
    id="redoc",
    path="/redoc",
    summary="ReDoc",
    description="The documentation to read.",
    policy=PAGES_POLICY,
)

RESET_PASSWORD_PAGE = _page(
    id="reset_password_page",
    path="/reset-password",
    summary="Page of a link",
    description="Where the link of a password reset leads.",
    policy=LINKS_POLICY,
)

VERIFY_EMAIL_PAGE = _page(
    id="verify_email_page",
    path="/verify-email",
    summary="Page of a link",
    description="Where the link of a verification leads.",
    policy=LINKS_POLICY,
)

UNDO_EMAIL_CHANGE_PAGE = _page(
    id="undo_email_change_page",
    path="/undo-email-change",
    summary="Page of a link",
    description="Where the link of a changed address leads.",
    policy=LINKS_POLICY,
)

ASSET = _page(
    id="asset",
    path="/assets/{name}",
    summary="Asset",
    description="A script or style of the pages.",
    parameters={"name": Parameter("File name.")},
    success="The file.",
    cache=IMMUTABLE,
)

OPERATIONS = (
    PROBLEM_TYPE,
    HEALTHZ,
    READYZ,
    OPENAPI,
    DOCS,
    REDOC,
    RESET_PASSWORD_PAGE,
    VERIFY_EMAIL_PAGE,
    UNDO_EMAIL_CHANGE_PAGE,
    ASSET,
)
