"""The documentation pages: one HTML text each, scripts and styles from an installed package, nothing from outside."""

import json
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import NotFound
from core.http import openapi

HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """A body that is not made from a model."""

    media_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    status: HTTPStatus = HTTPStatus.OK

    @property
    def fields(self) -> dict[str, str]:
        """The header fields; an answer without a body has no type of it."""
        return dict((("Content-Type", self.media_type), *self.headers) if self.body else self.headers)


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
{head}
</head>
<body>
{body}
</body>
</html>
"""

# Addresses are relative, so that the pages work behind a proxy that adds a prefix.
_SWAGGER = _TEMPLATE.format(
    title="Twinauth - Swagger UI",
    head='<link rel="icon" href="assets/favicon.png">\n<link rel="stylesheet" href="assets/swagger-ui.css">',
    body='<div id="swagger-ui"></div>\n<script src="assets/swagger-ui-bundle.js"></script>\n'
    '<script src="assets/swagger-init.js"></script>',
)
_REDOC = _TEMPLATE.format(
    title="Twinauth - ReDoc",
    head='<link rel="icon" href="assets/favicon.png">\n<link rel="stylesheet" href="assets/redoc.css">',
    body='<div id="redoc"></div>\n<script src="assets/redoc.standalone.js"></script>\n'
    '<script src="assets/redoc-init.js"></script>',
)
# Started from files of their own: the content security policy allows no script inside a page.
_SWAGGER_INIT = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
  persistAuthorization: false, tryItOutEnabled: true
});
"""
_REDOC_INIT = """Redoc.init("openapi.json", {hideLoading: true}, document.getElementById("redoc"));
"""
_REDOC_CSS = "body { margin: 0; }\n"

_OWN = {
    "swagger-init.js": ("text/javascript; charset=utf-8", _SWAGGER_INIT),
    "redoc-init.js": ("text/javascript; charset=utf-8", _REDOC_INIT),
    "redoc.css": ("text/css; charset=utf-8", _REDOC_CSS),
}
_PACKAGED = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "redoc.standalone.js": "text/javascript; charset=utf-8",
    "favicon.png": "image/png",
}


class Pages:
    """The pages of one process, or nothing but 404 where they are switched off."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled

    def openapi(self) -> Page:
        """The OpenAPI document."""
        return self._shown(_document())

    def docs(self) -> Page:
        """Swagger UI."""
        return self._shown(Page(HTML, _SWAGGER.encode()))

    def redoc(self) -> Page:
        """ReDoc."""
        return self._shown(Page(HTML, _REDOC.encode()))

    def asset(self, name: str) -> Page:
        """A script, a style or the icon.

        Raises:
            NotFound: there is none of this name; names are looked up, never joined to a path.

        """
        return self._shown(_asset(name))

    def _shown(self, page: Page) -> Page:
        if not self._enabled:
            raise NotFound
        return page


def _asset(name: str) -> Page:
    if name in _OWN:
        media_type, text = _OWN[name]
        return Page(media_type, text.encode())
    if name in _PACKAGED:
        return _packaged(name)
    raise NotFound


@cache
def _document() -> Page:
    return Page("application/json", json.dumps(openapi.document(), ensure_ascii=False).encode())


@cache
def _packaged(name: str) -> Page:
    return Page(_PACKAGED[name], (_package_folder() / name).read_bytes())


def _package_folder() -> Path:
    """The folder of the assets inside their package, found without importing it."""
    spec: Any = find_spec("fastapi_offline")
    if spec is None:
        raise NotFound
    return Path(spec.submodule_search_locations[0]) / "static"
