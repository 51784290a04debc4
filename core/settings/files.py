"""Settings by file: if `AUTH_X_FILE` names a file, its content is the value of `AUTH_X`.

Container platforms pass secrets as files, because variables are inherited, shown by `docker inspect`, and dumped by
crash reporters.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

SUFFIX = "_FILE"
MAX_LENGTH = 64 * 1024  # bytes; a longer file is a log or a device by mistake, not a secret


# Container platforms mount secrets here, readable by all users of the container, which has only one.
MOUNTED = Path("/run/secrets")


@dataclass(frozen=True, slots=True)
class ExposedFile:
    """A file with a setting that every user of the machine may read."""

    variable: str
    """The variable that names the file."""
    mode: int


class SettingsError(Exception):
    """A setting is wrong. The text names variables and never shows a value."""


class SettingsGroup(BaseSettings):
    """Settings that may also come from files."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - a folder of files with names of their own
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, variables, `.env`, and the files that variables or `.env` name."""
        return init_settings, env_settings, dotenv_settings, _FilesSource(settings_cls)


class _FilesSource(EnvSettingsSource):
    """Reads the files of the group's own settings like variables."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        config: Any = self.config
        wanted = {f"{config['env_prefix']}{name}".upper() for name in self.settings_cls.model_fields}
        paths = given(config["env_file"])
        return {name.lower(): _content(name, paths[name + SUFFIX]) for name in wanted if name + SUFFIX in paths}


def given(env_file: str) -> dict[str, str]:
    """Return every variable of the process and of `.env` by its name in capitals; the process takes precedence."""
    found = {**dotenv_values(env_file), **os.environ}
    return {name.upper(): value or "" for name, value in found.items()}


def mode_for_all(path: str) -> int | None:
    """Return the mode of a file that every user may read; None for other files and for mounted secrets."""
    mode = stat.S_IMODE(Path(path).stat().st_mode)
    is_mounted = Path(path).resolve().is_relative_to(MOUNTED)
    return mode if mode & stat.S_IROTH and not is_mounted else None


def _content(name: str, path: str) -> str:
    """Read a file, without the line end that editors and `echo` add.

    Raises:
        SettingsError: the file cannot be read, or is no text.

    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_LENGTH + 1)
        if len(content) > MAX_LENGTH:
            raise SettingsError(f"{name}{SUFFIX}: {path} is longer than {MAX_LENGTH} bytes")
        return content.decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{name}{SUFFIX}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{name}{SUFFIX}: {path} is no text") from None
