"""Reading the settings: every mistake becomes one line."""

from datetime import timedelta
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from core.settings.files import SUFFIX, ExposedFile, SettingsError, SettingsGroup, given, mode_for_all
from core.settings.groups import ENV_FILE, PREFIX
from core.settings.whole import Settings

GROUPS: dict[str, type[SettingsGroup]] = {
    "": Settings,
    **{
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsGroup)
    },
}


def variables() -> dict[str, FieldInfo]:
    """Return every variable with its field, for the README and for refusing misspelt ones."""
    return {
        f"{group.model_config['env_prefix']}{name.upper()}": field
        for group in GROUPS.values()
        for name, field in group.model_fields.items()
        if name not in GROUPS
    }


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
        SettingsError: a setting is wrong; one line names it and shows no value.

    """
    # If a misspelt AUTH_TOKEN_ACESS_TTL were ignored, a security setting would silently have no effect.
    names = {name for name in given(ENV_FILE) if name.startswith(PREFIX) and not name.startswith(f"{PREFIX}TEST_")}
    known = variables().keys()
    unknown = sorted(name for name in names if name not in known and name.removesuffix(SUFFIX) not in known)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}")
    doubled = sorted(name for name in names & known if name + SUFFIX in names)
    if doubled:
        raise SettingsError("; ".join(f"{name} and {name}{SUFFIX} are both set" for name in doubled))
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("; ".join(_messages(error))) from None


def exposed_files() -> list[ExposedFile]:
    """Return the files of settings that every user of the machine may read; call it after `load_settings`."""
    found = given(ENV_FILE)
    named = {name: found[name] for name in sorted(f"{known}{SUFFIX}" for known in variables()) if name in found}
    modes = {name: mode_for_all(path) for name, path in named.items()}
    return [ExposedFile(name, mode) for name, mode in modes.items() if mode is not None]


def _messages(error: ValidationError) -> list[str]:
    prefix = next((g.model_config["env_prefix"] for g in GROUPS.values() if g.__name__ == error.title), PREFIX)
    return [
        (f"{prefix}{str(found['loc'][0]).upper()}: " if found["loc"] else "")
        + found["msg"].removeprefix("Value error, ")
        for found in error.errors(include_url=False, include_input=False, include_context=False)
    ]
