"""Reading the settings: all mistakes become one line."""

import difflib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from core.settings.files import (
    SUFFIX,
    ExposedFile,
    SettingFileError,
    SettingsError,
    SettingsGroup,
    earlier_names,
    given,
    is_group,
    mode_for_all,
    mode_for_others,
    own_fields,
    variable,
)
from core.settings.groups import ENV_FILE, PREFIX
from core.settings.neighbours import is_of_a_neighbour
from core.settings.secret_key import secret_file
from core.settings.whole import RulesError, Settings

G = TypeVar("G", bound=SettingsGroup)
NEAR = 0.7  # of 1: SECRET to SECRET_KEY, and not PORT to LOG_FORMAT
Mistakes = dict[str, str]
"""The line about each variable that is wrong; the first of several says enough."""

GROUPS: dict[str, type[SettingsGroup]] = {
    "": Settings,
    **{name: field.annotation for name, field in Settings.model_fields.items() if is_group(field.annotation)},
}


def variables() -> dict[str, FieldInfo]:
    """Return every variable with its field, for the README and for refusing misspelt ones."""
    return {variable(group, name): field for group in GROUPS.values() for name, field in own_fields(group).items()}


def settings_table() -> list[str]:
    """Return the table of settings in Markdown, line by line."""
    rows = [f"| `{name}` | {_default(field)} | {field.description} |" for name, field in variables().items()]
    return ["| variable | default | what it is |", "|---|---|---|", *rows]


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value in ((), "", SecretStr("")) or field.default_factory is not None:
        return ""
    return f"`{value // timedelta(seconds=1)}`" if isinstance(value, timedelta) else f"`{value}`"


def load_settings(**overrides: Any) -> Settings:
    """Read and check the settings.

    Raises:
        SettingsError: settings are wrong; one line names all of them and shows no value.

    """
    mistakes = dict(_wrong_names())
    groups = {name: _read(group, mistakes) for name, group in GROUPS.items() if name}
    settings = _read(Settings, mistakes, **groups | overrides)
    if settings is None or mistakes:
        raise SettingsError("; ".join(mistakes.values()))
    return settings


def _wrong_names() -> Iterator[tuple[str, str]]:
    """Find misspelt names and doubled ones.

    If a misspelt AUTH_TOKEN_ACESS_TTL were ignored, a security setting would silently have no effect.
    """
    found, known = given(ENV_FILE), variables().keys()
    earlier = earlier_names(found)
    yield from ((name, f"{name} is {today} now, and both are set") for name, today in earlier.items() if today in found)
    ours = {name for name in found if name.startswith(PREFIX) and not name.startswith(f"{PREFIX}TEST_")}
    names = sorted(ours - earlier.keys())
    for name in names:
        setting = name.removesuffix(SUFFIX)
        if name not in known and setting not in known and not is_of_a_neighbour(name, found[name]):
            yield name, f"unknown setting {name}{_meant(setting, name.removeprefix(setting))}"
        if name in known and name + SUFFIX in names:
            yield name, f"{name} and {name}{SUFFIX} are both set"


def _meant(setting: str, suffix: str) -> str:
    """Ask for the nearest name; the prefix, which all have, makes none near."""
    names = [name.removeprefix(PREFIX) for name in variables()]
    near = difflib.get_close_matches(setting.removeprefix(PREFIX), names, n=1, cutoff=NEAR)
    return "".join(f" (did you mean {PREFIX}{name}{suffix}?)" for name in near)


def _read(group: type[G], mistakes: Mistakes, **values: Any) -> G | None:
    """Read a group, note its mistakes, and read on with defaults in their place, so that none hides another."""
    try:
        return group(**values)
    except SettingFileError as error:
        wrong = {error.field_name}
        mistakes.setdefault(error.variable, str(error))
    except ValidationError as error:
        wrong = {str(found["loc"][0]) for found in error.errors() if found["loc"]}
        for name, line in _lines(group, error):
            mistakes.setdefault(name, line)
    if not wrong:
        return None
    defaults = {name: group.model_fields[name].get_default(call_default_factory=True) for name in wrong}
    return _read(group, mistakes, **values | defaults)


def _lines(group: type[SettingsGroup], error: ValidationError) -> Iterator[tuple[str, str]]:
    for found in error.errors(include_url=False, include_input=False):
        cause = found.get("ctx", {}).get("error")
        if isinstance(cause, RulesError):
            yield from ((name, f"{name}: {text}") for name, text in cause.broken.items())
        else:
            name = variable(group, str(found["loc"][0]))
            yield name, f"{name}: {found['msg'].removeprefix('Value error, ')}"


def renamed_settings() -> dict[str, str]:
    """Return the earlier names that are used, each with the name of today; call it after `load_settings`."""
    return earlier_names(given(ENV_FILE))


def exposed_files(settings: Settings) -> list[ExposedFile]:
    """Return the files of settings that other users of the machine may read."""
    found = given(ENV_FILE)
    named = {name: Path(found[name]) for name in sorted(f"{known}{SUFFIX}" for known in variables()) if name in found}
    modes = {name: mode_for_all(path) for name, path in named.items()}
    if settings.secret_key is None:
        path = secret_file(settings.data_dir)
        modes[str(path)] = mode_for_others(path)
    return [ExposedFile(name, mode) for name, mode in modes.items() if mode is not None]
