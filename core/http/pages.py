"""The pages for people: the documentation and the pages of links in letters. They load nothing from other hosts."""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from core.contract.answer import Answer
from core.contract.contract import Contract
from core.contract.operation import JSON
from core.contract.problem import ProblemType
from core.errors import NotFound
from core.http import openapi
from core.http.problems import Problems
from core.mail.texts.editions import Texts
from core.settings.whole import Settings

HTML = "text/html; charset=utf-8"


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
# In separate files, because the content security policy allows no script inside a page.
_SWAGGER_INIT = """// Tried out is the door that served this page: the public URL may lead to the other one.
const base = new URL(".", location.href);
const show = (spec) => {
  spec.servers = [{url: base.href.replace(/\\/$/, "")}];
  for (const scheme of Object.values(spec.components.securitySchemes))
    for (const flow of Object.values(scheme.flows || {})) flow.tokenUrl = new URL(flow.tokenUrl, base).href;
  SwaggerUIBundle({
    spec, dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
    persistAuthorization: false, tryItOutEnabled: true
  });
};
fetch("openapi.json").then((answer) => answer.json()).then(show);
"""
_REDOC_INIT = """Redoc.init("openapi.json", {hideLoading: true}, document.getElementById("redoc"));
"""
_REDOC_CSS = "body { margin: 0; }\n"

_PAGES_OF_LINKS = ("reset_password", "verify_email", "undo_email_change")
_OF_LINKS = {
    "links.css": "text/css; charset=utf-8",
    "links.js": "text/javascript; charset=utf-8",
}
_OF_DOCS = {
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
    """The pages of one process. The documentation may be switched off or not installed; then its pages are 404."""

    def __init__(self, texts: Texts, settings: Settings, contract: Contract) -> None:
        """Try every page if the operator has texts of their own.

        Raises:
            TextsError: one of them cannot be rendered.

        """
        self._texts = texts
        self._contract = contract
        self._public_url = settings.http.public_url
        self._problems = Problems(contract.problems)
        self._has_document = settings.http.docs
        self._has_docs = offers_docs(settings)
        self._min_length = settings.passwords.min_length
        if texts.folder is not None:
            self._try_all()

    def openapi(self) -> Answer:
        """Return the OpenAPI document, which needs no assets."""
        if not self._has_document:
            raise NotFound
        return _document(self._contract, self._public_url)

    def docs(self) -> Answer:
        """Return Swagger UI."""
        self._require_docs()
        return Answer.of(HTML, _SWAGGER.encode())

    def redoc(self) -> Answer:
        """Return ReDoc."""
        self._require_docs()
        return Answer.of(HTML, _REDOC.encode())

    def reset_password(self, languages: str) -> Answer:
        """Return the page for the link of a password reset."""
        return self._of_link("reset_password", languages)

    def verify_email(self, languages: str) -> Answer:
        """Return the page for the link of a verification."""
        return self._of_link("verify_email", languages)

    def undo_email_change(self, languages: str) -> Answer:
        """Return the page for the link that undoes a change of address."""
        return self._of_link("undo_email_change", languages)

    def problem_type(self, code: str, prefix: str) -> ProblemType:
        """Return the explanation of an error code; ``prefix`` is the path of the service as the caller sees it.

        Raises:
            NotFound: there is no such code.

        """
        return self._problems.explain(code, prefix)

    def asset(self, name: str) -> Answer:
        """Return a script, a style or the icon.

        Raises:
            NotFound: there is none of this name; names are looked up, never joined to a path.

        """
        if name in _OF_LINKS:
            return Answer.of(_OF_LINKS[name], _static(name))
        self._require_docs()
        if name in _OF_DOCS:
            media_type, text = _OF_DOCS[name]
            return Answer.of(media_type, text.encode())
        if name in _PACKAGED:
            return _packaged(name)
        raise NotFound

    def _of_link(self, name: str, languages: str) -> Answer:
        edition = self._texts.edition(languages)
        text = edition.html(f"pages/{name}.html", min_length=self._min_length)
        return Answer.of(HTML, text.encode(), (("Content-Language", edition.language), ("Vary", "Accept-Language")))

    def _try_all(self) -> None:
        for language in self._texts.languages:
            for name in _PAGES_OF_LINKS:
                with self._texts.trying(f"pages/{name}.html", language):
                    self._of_link(name, language)

    def _require_docs(self) -> None:
        if not self._has_docs:
            raise NotFound


def offers_docs(settings: Settings) -> bool:
    """Whether there is documentation to read: switched on, and its assets installed (the extra `docs`)."""
    return settings.http.docs and _package_folder() is not None


@cache
def _static(name: str) -> bytes:
    return (Path(__file__).parent / "static" / name).read_bytes()


@cache
def _document(contract: Contract, public_url: str) -> Answer:
    return Answer.of(JSON, json.dumps(openapi.document(contract, public_url), ensure_ascii=False).encode())


@cache
def _packaged(name: str) -> Answer:
    folder = _package_folder()
    if folder is None:
        raise NotFound
    return Answer.of(_PACKAGED[name], (folder / name).read_bytes())


def _package_folder() -> Path | None:
    """Find the folder of the assets in their package, without importing it."""
    spec = find_spec("fastapi_offline")
    places = spec and spec.submodule_search_locations
    return Path(places[0]) / "static" if places else None
