"""Settings: frozen groups, one a concern, read from ``AUTH_*`` variables and ``.env``, checked at the start."""

from core.settings.files import OpenFile, SettingsError, SettingsGroup
from core.settings.groups import (
    MAX_ACCESS_TTL,
    Algorithm,
    AuditSettings,
    DatabaseSettings,
    HttpSettings,
    LoggingSettings,
    MailSettings,
    PasswordSettings,
    ThrottleSettings,
    TokenSettings,
    cores,
)
from core.settings.loading import GROUPS, load_settings, open_files, settings_table, variables
from core.settings.whole import Settings

__all__ = [
    "GROUPS",
    "MAX_ACCESS_TTL",
    "Algorithm",
    "AuditSettings",
    "DatabaseSettings",
    "HttpSettings",
    "LoggingSettings",
    "MailSettings",
    "OpenFile",
    "PasswordSettings",
    "Settings",
    "SettingsError",
    "SettingsGroup",
    "ThrottleSettings",
    "TokenSettings",
    "cores",
    "load_settings",
    "open_files",
    "settings_table",
    "variables",
]
