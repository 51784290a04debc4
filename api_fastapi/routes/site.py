"""The handlers of the site itself. Each makes one call into the core, in one thread hop, and holds no rule."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool

from api_fastapi.answers import response_of
from api_fastapi.binding import ContractRoute, endpoint, path_parameter
from api_fastapi.dependencies import Auth, Context, From, Site
from core.contract.problem import ProblemType
from core.site import operations
from core.site.schemas import Health

router = APIRouter(route_class=ContractRoute)
on = partial(endpoint, router)


@on(operations.PROBLEM_TYPE)
async def problem_type(
    pages: Site, context: Context, code: Annotated[str, path_parameter(operations.PROBLEM_TYPE, "code")]
) -> ProblemType:
    return pages.problem_type(code, context.prefix)


@on(operations.HEALTHZ)
async def healthz() -> Health:
    return Health.ok()


@on(operations.READYZ)
async def readyz(auth: Auth) -> Health:
    await run_in_threadpool(auth.check_ready)
    return Health.ok()


@on(operations.OPENAPI)
async def openapi(pages: Site) -> Response:
    return response_of(pages.openapi())


@on(operations.DOCS)
async def docs(pages: Site) -> Response:
    return response_of(pages.docs())


@on(operations.REDOC)
async def redoc(pages: Site) -> Response:
    return response_of(pages.redoc())


@on(operations.RESET_PASSWORD_PAGE)
async def reset_password_page(pages: Site, origin: From) -> Response:
    return response_of(pages.reset_password(origin.languages))


@on(operations.VERIFY_EMAIL_PAGE)
async def verify_email_page(pages: Site, origin: From) -> Response:
    return response_of(pages.verify_email(origin.languages))


@on(operations.UNDO_EMAIL_CHANGE_PAGE)
async def undo_email_change_page(pages: Site, origin: From) -> Response:
    return response_of(pages.undo_email_change(origin.languages))


@on(operations.ASSET)
async def asset(name: str, pages: Site) -> Response:
    return response_of(pages.asset(name))
