"""The texts of letters and pages: templates and their translations.

The operator's folder (``AUTH_TEXTS_DIR``) comes first: ``letters/``, ``pages/`` and ``locale/*.po`` in it replace the
files here, and a further catalogue adds its language.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from traceback import extract_tb
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.core import negotiate_locale
from babel.dates import format_datetime, format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from babel.support import Translations
from jinja2 import BaseLoader, Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent
SOURCE_LANGUAGE = "en"
TEMPLATES = {".jinja", ".txt", ".html"}
MAX_RANGES = 20
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


class TextsError(Exception):
    """The operator's folder of texts cannot be used; the text says why."""


class Texts:
    """The editions of the texts, one for each language."""

    def __init__(self, folder: Path | None, *, language: str, further: Sequence[Path] = ()) -> None:
        """Read the operator's folder, those of further capabilities, and ours; earlier ones override later ones."""
        self.folder = folder
        if folder is not None and not folder.is_dir():
            raise TextsError(f"AUTH_TEXTS_DIR: {folder} is no folder")
        folders = [*(() if folder is None else (folder,)), *further, HERE]
        loader = FileSystemLoader(folders)
        languages = {SOURCE_LANGUAGE, *(path.stem for place in folders for path in (place / "locale").glob("*.po"))}
        self._editions = {name: Edition(name, loader, _translations(folders, name)) for name in sorted(languages)}
        if language not in self._editions:
            known = ", ".join(self._editions)
            raise TextsError(f"AUTH_MAIL_LANGUAGE: there is no catalogue for it, only for {known}")
        self._default = language

    @property
    def languages(self) -> list[str]:
        """The available languages."""
        return list(self._editions)

    @contextmanager
    def trying(self, template: str, language: str) -> Iterator[None]:
        """Turn an error of a trial rendering into one that names the file: mistakes are found before a user waits.

        Raises:
            TextsError: the template cannot be rendered.

        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a template may fail in any way
            place = _place_of(error) or template
            raise TextsError(f"AUTH_TEXTS_DIR: {place} fails in {language}: {type(error).__name__}: {error}") from None

    def edition(self, accept_language: str) -> Edition:
        """Return the edition in the language that a reader prefers, or in the default one."""
        by_range = {name.lower(): edition for name, edition in self._editions.items()}
        # `negotiate_locale` returns the spelling of the request, so both sides are in lower case.
        found = negotiate_locale(preferred_languages(accept_language), by_range, sep="-")
        return by_range[(found or self._default).lower()]


class Edition:
    """The texts in one language."""

    def __init__(self, language: str, loader: BaseLoader, translations: Translations) -> None:
        self.language = language
        self._locale = Locale.parse(language, sep="-")
        self._text = self._environment(loader, translations, escapes=False)
        self._html = self._environment(loader, translations, escapes=True)

    def text(self, template: str, **values: Any) -> str:
        """Render as plain text."""
        return self._text.get_template(template).render(values)

    def html(self, template: str, **values: Any) -> str:
        """Render as HTML; every value is escaped."""
        return self._html.get_template(template).render(values)

    def block(self, template: str, name: str, **values: Any) -> str:
        """Render one block as plain text in one line."""
        found = self._text.get_template(template)
        return " ".join("".join(found.blocks[name](found.new_context(values))).split())

    def _environment(self, loader: BaseLoader, translations: Translations, *, escapes: bool) -> Environment:
        environment = Environment(
            loader=loader,
            autoescape=escapes,  # noqa: S701 - plain text is not HTML
            undefined=StrictUndefined,
            extensions=["jinja2.ext.i18n"],
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,  # the texts that were tried at the start are those in use
        )
        environment.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined]  # the extension adds it
        environment.globals["language"] = self.language
        environment.filters["moment"] = lambda at: format_datetime(at, "long", locale=self._locale)
        # "24 hours" and not "1 day", "60 minutes" and not "1 hour".
        environment.filters["duration"] = lambda long: format_timedelta(long, threshold=2, locale=self._locale)
        return environment


def _place_of(error: Exception) -> str | None:
    """Return the file and line where a template failed; Jinja puts its lines into the traceback."""
    frames = [frame for frame in extract_tb(error.__traceback__) if Path(frame.filename).suffix in TEMPLATES]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else None


@lru_cache(maxsize=256)  # bounded: clients may send any header
def preferred_languages(accept_language: str) -> list[str]:
    """Return the language ranges of an Accept-Language, best first (RFC 9110 section 12.5.4); junk is ignored."""
    weighted: list[tuple[float, int, str]] = []
    for part in accept_language.split(",", MAX_RANGES)[:MAX_RANGES]:
        name, _, parameter = part.partition(";")
        name, weight = name.strip(), _weight(parameter)
        if name.replace("-", "").isalnum() and name.isascii() and weight > 0:
            weighted.append((-weight, len(weighted), name.lower()))
    return [name for _, _, name in sorted(weighted)]


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name != "q":
        return 1.0
    return float(value) if _WEIGHT.fullmatch(value) else 0.0


def _translations(folders: list[Path], language: str) -> Translations:
    """Read the catalogues of a language, the operator's over ours, from their text: no compiled files are needed."""
    translations = Translations()
    try:
        Locale.parse(language, sep="-")
        for folder in reversed(folders):
            path = folder / "locale" / f"{language}.po"
            if path.exists():
                with path.open("rb") as file:
                    catalogue = read_po(file, locale=language.replace("-", "_"), abort_invalid=True)
                compiled = io.BytesIO()
                write_mo(compiled, catalogue)
                compiled.seek(0)
                translations.merge(Translations(compiled))
    except (UnknownLocaleError, PoFileError, ValueError, LookupError, OSError) as error:
        raise TextsError(f"AUTH_TEXTS_DIR: the catalogue {language}.po cannot be read: {error}") from None
    return translations
