"""Settings by file: where `AUTH_X_FILE` names a file, what stands in it is the value of `AUTH_X`.

Container platforms hand secrets over as files: variables are inherited, shown by `docker inspect`, and dumped by crash
reporters.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

SUFFIX = "_FILE"
MAX_LENGTH = 64 * 1024  # bytes; a path that leads to a log or a device is a mistake, not a secret


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
