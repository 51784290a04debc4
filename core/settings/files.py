"""The sources of settings: variables, `.env`, and the files that they name.

If `AUTH_X_FILE` names a file, its content is the value of `AUTH_X`. Container platforms pass secrets as files, because
variables are inherited, shown by `docker inspect`, and dumped by crash reporters.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, TypeGuard, get_origin

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

SUFFIX = "_FILE"
MAX_LENGTH = 64 * 1024  # bytes; a longer file is a log or a device by mistake, not a secret


# Container platforms mount secrets here, readable by all users of the container, which has only one.
MOUNTED = Path("/run/secrets")


@dataclass(frozen=True, slots=True)
class ExposedFile:
    """A file with a setting that other users of the machine may read."""

    variable: str
    """The variable that names the file, or the file itself."""
    mode: int


class SettingsError(Exception):
    """A setting is wrong. The text names variables and never shows a value."""


class SettingFileError(SettingsError):
    """The file of a setting cannot be used."""

    def __init__(self, field_name: str, variable: str, reason: str) -> None:
        super().__init__(f"{variable}{SUFFIX}: {reason}")
        self.field_name = field_name
        self.variable = variable


class SettingsGroup(BaseSettings):
    """Settings that may also come from files."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - one source reads variables and `.env` by one rule
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - a folder of files with names of their own
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then what is given from outside."""
        return init_settings, _GivenSource(settings_cls)


class _GivenSource(EnvSettingsSource):
    """Reads the variables of a group, `.env`, and the files that either names."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        config: Any = self.config
        found = given(config["env_file"])
        found = {today: found[name] for name, today in earlier_names(found).items()} | found
        names = {variable(self.settings_cls, name) for name in own_fields(self.settings_cls)}
        return {name.lower(): found[name] for name in found if name.removesuffix(SUFFIX) in names}

    def __call__(self) -> dict[str, Any]:
        """Read the files too, except of settings that have a value already."""
        contents = {}
        for field_name in own_fields(self.settings_cls).keys() - self.current_state.keys():
            name = variable(self.settings_cls, field_name)
            if path := self.env_vars.get(f"{name}{SUFFIX}".lower()):
                is_list = get_origin(self.settings_cls.model_fields[field_name].annotation) is tuple
                contents[name.lower()] = _content(field_name, name, path, may_be_empty=is_list)
        self.env_vars = {**self.env_vars, **contents}
        return super().__call__()


RENAMED = {
    "AUTH_TOKEN_AUDIENCE": "AUTH_TOKEN_AUDIENCES",
    "AUTH_PASSWORD_HASH_QUEUE": "AUTH_PASSWORD_HASH_WAIT",
}
"""Earlier names of settings, each with the one of today; they are read for two releases."""


def own_fields(group: type[BaseSettings]) -> dict[str, FieldInfo]:
    """Return the fields of a group by their names, without the groups in it."""
    return {name: field for name, field in group.model_fields.items() if not is_group(field.annotation)}


def is_group(annotation: object) -> TypeGuard[type[SettingsGroup]]:
    """Whether the type of a field is a group of settings."""
    return isinstance(annotation, type) and issubclass(annotation, SettingsGroup)


def variable(group: type[BaseSettings], field_name: str) -> str:
    """Return the variable of a field, made of its group and its name; the alias, if pydantic needs the name itself."""
    alias = group.model_fields[field_name].validation_alias
    return str(alias or f"{group.model_config['env_prefix']}{field_name}").upper()


def given(env_file: str) -> dict[str, str]:
    """Return every variable of the process and of `.env` by its name in capitals; the process takes precedence.

    One that is empty is as if unset: compose makes one of each `${NAME:-}` that nobody has chosen.

    Raises:
        SettingsError: `.env` cannot be read.

    """
    found: dict[str, str] = {}
    for source in (_dotenv(Path(env_file)), os.environ):
        found |= {name.upper(): value for name, value in source.items() if value}
    return found


def earlier_names(found: Mapping[str, str]) -> dict[str, str]:
    """Return the earlier names among those that are given, each with the name of today."""
    return {
        name + suffix: today + suffix
        for name, today in RENAMED.items()
        for suffix in ("", SUFFIX)
        if name + suffix in found
    }


def _dotenv(path: Path) -> Mapping[str, str | None]:
    """Read `.env`, also with the byte order mark that editors of Windows begin it with."""
    try:
        text = path.read_bytes().decode("utf-8-sig") if path.is_file() else ""
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16, where it has no byte order mark
        raise SettingsError(f"{path} is not in UTF-8; save it as UTF-8")
    return dotenv_values(stream=StringIO(text))


def mode_for_all(path: Path) -> int | None:
    """Return the mode of a file that every user may read; None for other files and for mounted secrets."""
    mode = stat.S_IMODE(path.stat().st_mode)
    is_mounted = path.resolve().is_relative_to(MOUNTED)
    return mode if mode & stat.S_IROTH and not is_mounted else None


def mode_for_others(path: Path) -> int | None:
    """Return the mode of a file that is open to anybody but its owner, as some volumes and shares make all files."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0
    return mode if mode & (stat.S_IRWXG | stat.S_IRWXO) else None


def _content(field_name: str, name: str, path: str, *, may_be_empty: bool) -> str:
    """Read a file, without the line end that editors and `echo` add.

    An empty file is a mistake, such as a secret that was never written; only a list may have nothing in it.

    Raises:
        SettingFileError: the file cannot be read, is no text, or is empty.

    """
    refused = partial(SettingFileError, field_name, name)
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_LENGTH + 1)
        if len(content) > MAX_LENGTH:
            raise refused(f"{path} is longer than {MAX_LENGTH} bytes")
        value = content.decode().rstrip("\r\n")
    except OSError as error:
        raise refused(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise refused(f"{path} is no text") from None
    if not value and not may_be_empty:
        raise refused(f"{path} is empty")
    return value
