"""Settings by file: where `AUTH_X_FILE` names a file, what stands in it is the value of `AUTH_X`.

Container platforms hand secrets over as files: variables are inherited, shown by `docker inspect`, and dumped by crash
reporters.
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
MAX_LENGTH = 64 * 1024  # bytes; a path that leads to a log or a device is a mistake, not a secret


# Where platforms mount secrets, which everybody in the container may read: there is nobody else in it.
MOUNTED = Path("/run/secrets")


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that holds a setting, and that everybody on the machine may read."""

    variable: str
    """That names it."""
    mode: int


class SettingsError(Exception):
    """The settings are wrong. The text names variables and never shows a value."""


class SettingsGroup(BaseSettings):
    """Settings that may also be given by file."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - a folder of files with names of their own
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, variables, `.env`, and the files that either of these two names."""
        return init_settings, env_settings, dotenv_settings, _FilesSource(settings_cls)


class _FilesSource(EnvSettingsSource):
    """Reads like variables what stands in the files; only those of the group's own settings."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        config: Any = self.config
        wanted = {f"{config['env_prefix']}{name}".upper() for name in self.settings_cls.model_fields}
        paths = given(config["env_file"])
        return {name.lower(): _content(name, paths[name + SUFFIX]) for name in wanted if name + SUFFIX in paths}


def given(env_file: str) -> dict[str, str]:
    """Every variable of the process and of `.env` by its name in capitals; the process wins."""
    found = {**dotenv_values(env_file), **os.environ}
    return {name.upper(): value or "" for name, value in found.items()}


def mode_for_all(path: str) -> int | None:
    """The mode of a file that everybody may read; None of any other, and of what a platform has mounted."""
    mode = stat.S_IMODE(Path(path).stat().st_mode)
    is_mounted = Path(path).resolve().is_relative_to(MOUNTED)
    return mode if mode & stat.S_IROTH and not is_mounted else None


def _content(name: str, path: str) -> str:
    """What stands in the file, without the line's end that editors and `echo` leave.

    Raises:
        SettingsError: it cannot be read, or is no text.

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
