"""The texts that people read: in which language, out of which folder, and whole."""

from __future__ import annotations

import os
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from core.capabilities import CONTRACT
from core.http.pages import Pages
from core.mail.rendering import EmailRenderer
from core.mail.texts.editions import HERE, Texts, TextsError, preferred_languages
from tests.support.clock import START
from tests.support.settings import make_settings

LETTER = "letters/password_changed.jinja"
HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n\n'
SUBJECT = "Your password was changed"


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Texts(None, language="en")


def _subject(texts: Texts, accept_language: str) -> str:
    return texts.edition(accept_language).block(LETTER, "subject")


# In which language


@pytest.mark.parametrize(
    ("accept_language", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("DE", "de"),
        ("de-AT", "de"),
        ("de-Latn-AT-1996", "de"),
        ("en", "en"),
        ("en-GB, de", "en"),
        ("de, en", "de"),
        ("de,en", "de"),
        ("en;q=0.8, de", "de"),
        ("en;q=0.8, de;q=0.9", "de"),
        ("en;q=0.9, de;q=0.8", "en"),
        ("en ; q=0.1 , de ; q=0.2", "de"),
        ("de;q=0.001", "de"),
        ("de;q=1.000, en;q=0.999", "de"),
        ("de;q=0, en;q=0.1", "en"),
        ("de;q=0", "en"),
        ("de;q=0.000", "en"),
        ("fr, de;q=0.5", "de"),
        ("fr-CA, fr;q=0.9, de-DE;q=0.5, *;q=0.1", "de"),
        ("fr, ja, tlh", "en"),
        ("*", "en"),
        ("*, de;q=0.5", "de"),
        ("*;q=0.9, de;q=0.1", "de"),
        ("de, de, de;q=0.1, en;q=0.9", "de"),
        (",,, de ,,,", "de"),
        ("d", "en"),
        ("deutsch", "en"),
        ("i-klingon, x-pirate, de", "de"),
    ],
)
def test_the_language_is_the_one_that_the_reader_likes_best(texts: Texts, accept_language: str, language: str) -> None:
    assert texts.edition(accept_language).language == language


@pytest.mark.parametrize(
    "junk",
    [
        " ",
        ";",
        ",",
        ";q=1",
        "-",
        "--",
        "-de",
        "_",
        "\x00",
        "../de",
        "../../etc/passwd",
        "{{ 7*7 }}",
        "d\u00e9",
        "\u0434\u0435",
        "\ud800",
        "de\r\nContent-Language: en",
        "de;q=",
        "de;q=x",
        "de;q=nan",
        "de;q=-1",
        "de;q=-inf",
        "de;q=inf",
        "de;q=2",
        "de;q=9e9",
        "de;q=1_0",
        "de;q=0.0001",
        "de;q=\u0661",
        "de;q=1;q=1",
    ],
    ids=ascii,
)
def test_junk_is_passed_over(texts: Texts, junk: str) -> None:
    assert texts.edition(junk).language in {"en", "de"}
    assert texts.edition(f"{junk}, en;q=0.5").language == "en", "what is spelt correctly counts more"
    assert texts.edition(f"en;q=0.5, {junk}").language == "en"


@pytest.mark.parametrize(
    "long",
    ["de, " * 100_000, "d" * 1_000_000, "de-" * 300_000, ";q=0.1" * 100_000, "," * 1_000_000, "x" * 100 + ", de"],
    ids=lambda text: f"{text[:8]!r} {len(text)}",
)
def test_a_very_long_wish_is_read_in_no_time_and_not_to_its_end(texts: Texts, long: str) -> None:
    assert texts.edition(long).language in {"en", "de"}
    assert len(preferred_languages(long)) <= 20


def test_what_strangers_ask_for_is_not_kept_for_good(texts: Texts) -> None:
    """The pages ask with a header of anybody's: twenty thousand different ones must leave no trace in memory."""
    tracemalloc.start()
    try:
        for number in range(20_000):
            texts.edition(f"x{number:0>1000}")
        kept, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000_000


def test_the_default_language_is_for_those_who_ask_for_none_that_there_is() -> None:
    texts = Texts(None, language="de")
    assert texts.edition("").language == "de"
    assert texts.edition("fr").language == "de"
    assert texts.edition("en").language == "en"


def test_these_languages_come_with_it(texts: Texts) -> None:
    assert texts.languages == ["de", "en"]
    assert _subject(texts, "en") == SUBJECT
    assert _subject(texts, "de") == "Ihr Passwort wurde ge\u00e4ndert"


# Out of which folder


def _catalogue(tmp_path: Path, language: str, content: str | bytes) -> Path:
    path = tmp_path / "locale" / f"{language}.po"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path


def test_a_template_of_the_operator_takes_the_place_of_ours_and_no_other(tmp_path: Path) -> None:
    blocks = [f"{{% block {name} %}}Own{{% endblock %}}" for name in ("subject", "intro", "outro")]
    (tmp_path / "letters").mkdir()
    (tmp_path / LETTER).write_text("{% extends layout %}" + "".join(blocks))
    texts = Texts(tmp_path, language="en")
    assert _subject(texts, "en") == _subject(texts, "de") == "Own"
    assert (
        texts.edition("en").block("letters/session_ended.jinja", "subject") == "One of your logins was ended for safety"
    )
    assert texts.languages == ["de", "en"]


def test_a_layout_of_the_operator_takes_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "layout.txt").write_text("{% block intro required %}{% endblock %}\n-- \nAccounts Ltd.\n")
    edition = Texts(tmp_path, language="en").edition("en")
    text = edition.text(
        "letters/signup_attempted.jinja", layout="letters/layout.txt", at=START, address="ann@example.com"
    )
    assert text.endswith("-- \nAccounts Ltd.\n")
    assert "ann@example.com" in text


def test_a_catalogue_of_the_operator_adds_a_language(tmp_path: Path) -> None:
    _catalogue(tmp_path, "fr", f'{HEADER}msgid "{SUBJECT}"\nmsgstr "Mot de passe modifi\u00e9"\n')
    texts = Texts(tmp_path, language="fr")
    assert texts.languages == ["de", "en", "fr"]
    assert _subject(texts, "fr-CA, de") == _subject(texts, "") == "Mot de passe modifi\u00e9"
    untranslated = texts.edition("fr").block("letters/session_ended.jinja", "subject")
    assert untranslated == "One of your logins was ended for safety"


def test_a_catalogue_with_a_region_is_for_that_region(tmp_path: Path) -> None:
    _catalogue(tmp_path, "pt-BR", f'{HEADER}msgid "{SUBJECT}"\nmsgstr "Sua senha foi alterada"\n')
    texts = Texts(tmp_path, language="en")
    assert _subject(texts, "pt-BR") == _subject(texts, "PT-br") == "Sua senha foi alterada"
    assert _subject(texts, "pt-PT, de") == "Ihr Passwort wurde ge\u00e4ndert"


def test_a_catalogue_of_the_operator_goes_before_ours_entry_by_entry(tmp_path: Path) -> None:
    _catalogue(tmp_path, "de", f'{HEADER}msgid "{SUBJECT}"\nmsgstr "Neues Passwort gesetzt"\n')
    texts = Texts(tmp_path, language="en")
    assert _subject(texts, "de") == "Neues Passwort gesetzt"
    ours = texts.edition("de").block("letters/email_changed.jinja", "subject")
    assert ours == "Ihre E-Mail-Adresse wurde ge\u00e4ndert"


def test_an_english_catalogue_changes_the_wording(tmp_path: Path) -> None:
    _catalogue(tmp_path, "en", f'{HEADER}msgid "{SUBJECT}"\nmsgstr "New password set"\n')
    assert _subject(Texts(tmp_path, language="en"), "en") == "New password set"


def test_an_empty_folder_changes_nothing(tmp_path: Path, texts: Texts) -> None:
    assert _subject(Texts(tmp_path, language="en"), "de") == _subject(texts, "de")


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_what_is_no_folder_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "texts"
    if kind == "a file":
        path.write_text("")
    with pytest.raises(TextsError) as refused:
        Texts(path, language="en")
    assert str(refused.value) == f"AUTH_TEXTS_DIR: {path} is no folder"


@pytest.mark.parametrize("language", ["fr", "", "xx-yy", "../de", "de-AT", "DE"])
def test_a_default_language_without_a_catalogue_is_named_with_those_that_have_one(language: str) -> None:
    with pytest.raises(TextsError) as refused:
        Texts(None, language=language)
    assert str(refused.value) == "AUTH_MAIL_LANGUAGE: there is no catalogue for it, only for de, en"


@pytest.mark.parametrize(
    ("language", "content"),
    [
        ("fr", "this is no catalogue"),
        ("fr", f'{HEADER}msgid "{SUBJECT}"\nno keyword\n'),
        ("fr", HEADER.encode() + b'msgid "a"\nmsgstr "\xff\xfe"\n'),
        ("fr", b"\x00\x01\x02\x03"),
        ("fr", HEADER.replace("utf-8", "no-such-charset") + f'msgid "{SUBJECT}"\nmsgstr "x"\n'),
        (
            "fr",
            HEADER.replace('\\n"\n\n', '\\n"\n"Plural-Forms: nplurals=2; plural=evil();\\n"\n\n')
            + 'msgid "a"\nmsgstr "x"\n',
        ),
        ("de", "this is no catalogue"),
        ("no language", HEADER),
        ("xx", HEADER),
        ("pt_BR", HEADER),
        ("de-", HEADER),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_broken_catalogue_is_named_in_plain_words(tmp_path: Path, language: str, content: str | bytes) -> None:
    _catalogue(tmp_path, language, content)
    with pytest.raises(TextsError) as refused:
        Texts(tmp_path, language="en")
    assert str(refused.value).startswith(f"AUTH_TEXTS_DIR: the catalogue {language}.po cannot be read: ")
    assert "Traceback" not in str(refused.value)


def test_a_catalogue_that_is_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "locale" / "fr.po").mkdir(parents=True)
    with pytest.raises(TextsError, match=r"fr\.po cannot be read"):
        Texts(tmp_path, language="en")


# Tried at the start


def _started(folder: Path) -> None:
    """As every process starts that writes letters and shows pages."""
    settings, texts = make_settings(), Texts(folder, language="en")
    EmailRenderer(texts, settings)
    Pages(texts, settings, CONTRACT)


def _own(tmp_path: Path, name: str, content: str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def _letter(intro: str) -> str:
    blocks = {"subject": "Own", "intro": intro, "outro": "Own"}
    written = (f"{{% block {name} %}}{text}{{% endblock %}}\n" for name, text in blocks.items())
    return "{% extends layout %}\n" + "".join(written)


def _page(form: str) -> str:
    blocks = "{% block title %}Own{% endblock %}{% block done %}Own{% endblock %}\n"
    return f'{{% extends "pages/layout.html" %}}\n{blocks}{{% block form %}}{form}{{% endblock %}}'


@pytest.mark.parametrize(
    ("name", "content", "line", "mistake"),
    [
        ("letters/password_reset.jinja", _letter("{{ adress }}"), 3, "'adress' is undefined"),
        ("letters/session_ended.jinja", _letter("{{ lifetime | duration }}"), 3, "TypeError"),
        ("letters/email_changed.jinja", _letter("{% if %}"), 3, "TemplateSyntaxError"),
        ("letters/email_changed.jinja", _letter("{{ at | momentt }}"), 3, "momentt"),
        ("letters/email_changed.jinja", '{% extends "letters/none.txt" %}', 1, "letters/none.txt"),
        ("letters/layout.txt", "{% block intro %}{% endblock %}\n{{ company }}\n", 2, "'company' is undefined"),
        ("letters/layout.html", "{% block intro %}", 1, "TemplateSyntaxError"),
        ("pages/reset_password.html", _page("{% if %}"), 3, "TemplateSyntaxError"),
        ("pages/verify_email.html", _page("{{ min_lenght }}"), 3, "'min_lenght' is undefined"),
        ("pages/layout.html", "<h1>{{ self.title() }}</h1>\n{{ company }}", 2, "'company' is undefined"),
    ],
)
def test_a_mistake_in_a_template_is_named_at_the_start(
    tmp_path: Path, name: str, content: str, line: int, mistake: str
) -> None:
    path = _own(tmp_path, name, content)
    with pytest.raises(TextsError) as refused:
        _started(tmp_path)
    told = str(refused.value)
    assert told.startswith(f"AUTH_TEXTS_DIR: {path}, line {line} fails in ")
    assert mistake in told


def test_a_placeholder_that_is_misspelt_in_a_catalogue_is_named_at_the_start(tmp_path: Path) -> None:
    source = (
        "Somebody made an account with the address %(address)s, and never confirmed it. Since %(when)s, that account "
        "has another address."
    )
    _catalogue(tmp_path, "fr", f'{HEADER}#, python-format\nmsgid "{source}"\nmsgstr "%(adresse)s"\n')
    with pytest.raises(TextsError, match=r"email_corrected\.jinja, line 3 fails in fr: KeyError: 'adresse'"):
        _started(tmp_path)


def test_texts_that_are_whole_are_tried_and_used_as_they_were_at_the_start(tmp_path: Path) -> None:
    path = _own(tmp_path, "letters/password_changed.jinja", _letter("{{ address }} {{ ip }} {{ at | moment }}"))
    _own(tmp_path, "pages/verify_email.html", _page("<p>At {{ language }}</p>"))
    _started(tmp_path)
    texts = Texts(tmp_path, language="en")
    assert _subject(texts, "en") == "Own"
    path.write_text("{% if %}")
    os.utime(path, (0, 0))
    assert _subject(texts, "en") == "Own"


# Whole


def _extracted() -> set[str]:
    """Every text of every template, found as `make texts` finds it."""
    with (HERE / "babel.cfg").open() as file:
        method_map, options_map = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]  # Babel has no type for it
    found = extract_from_dir(str(HERE), method_map, options_map)
    return {message for _file, _line, message, _comments, _context in found if isinstance(message, str)}


def _read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.stem, abort_invalid=True)


CATALOGUES = sorted((HERE / "locale").glob("*.po"))


def _entries(catalogue: Catalog) -> Iterator[Message]:
    return (entry for entry in catalogue if entry.id)


def test_the_templates_have_texts() -> None:
    assert len(_extracted()) > 40
    assert SUBJECT in _extracted()


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
class TestCatalogue:
    def test_translates_every_text_and_nothing_else(self, path: Path) -> None:
        catalogue = _read(path)
        assert {entry.id for entry in _entries(catalogue)} == _extracted()
        assert not [entry.id for entry in _entries(catalogue) if not str(entry.string).strip()]

    def test_has_no_fuzzy_and_no_obsolete_entries(self, path: Path) -> None:
        catalogue = _read(path)
        assert not [entry.id for entry in _entries(catalogue) if entry.fuzzy]
        assert not catalogue.obsolete
        assert "#~" not in path.read_text()

    def test_keeps_the_placeholders(self, path: Path) -> None:
        for entry in _entries(_read(path)):
            assert _placeholders(str(entry.id)) == _placeholders(str(entry.string)), entry.id

    def test_can_be_filled_in(self, path: Path) -> None:
        """A lone % would end the letter in an exception."""
        for entry in _entries(_read(path)):
            values = dict.fromkeys(_placeholders(str(entry.id)), "x")
            if values:
                assert "%" not in str(entry.string) % values

    def test_is_no_copy_of_the_original(self, path: Path) -> None:
        assert not [entry.id for entry in _entries(_read(path)) if entry.id == entry.string]

    def test_has_no_markup(self, path: Path) -> None:
        """Texts of letters are escaped nowhere: they are part of the template."""
        assert not [entry.id for entry in _entries(_read(path)) if set(str(entry.string)) & set("<>{}")]


def _placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\((\w+)\)s", text))
