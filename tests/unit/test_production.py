"""What production refuses: one table, each row refused, allowed by its name, told, and not asked in development."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from cli.startup import warn_of_dangers
from core.settings.files import SettingsError
from core.settings.loading import load_settings
from core.settings.production import DANGERS
from core.settings.whole import Settings
from tests.support.settings import SECRET

GIVEN = {
    "AUTH_SECRET_KEY": SECRET,
    "AUTH_PUBLIC_URL": "https://auth.example.com",
    "AUTH_SMTP_URL": "smtps://mail.example.com",
    "AUTH_DATABASE_URL": "postgresql://ann:canary@db.example.com/auth?sslmode=verify-full",
}
UNSET = ""
CLEAR_DATABASE = "postgresql://ann:canary@db.example.com/auth"
MET: dict[str, list[dict[str, str]]] = {
    "no-secret-key": [{"AUTH_SECRET_KEY": UNSET}],
    "weak-secret-key": [
        {"AUTH_SECRET_KEY": secret}
        for secret in (
            "canary",
            SECRET[:31],
            "x" * 64,
            " " * 32,
            "canary-" * 5,
            "0123456789abcde" * 3,
            SECRET + SECRET,
            SECRET + SECRET + SECRET[:7],
            "0123456789" * 7,
            "012345678" * 7 + "8",
            "abcdefghijklmno" * 2 + "onmlkjihgfedcba",
            "changeme" + SECRET,
            "Change-Me" + SECRET,
            SECRET + "CHANGE_ME",
            "changethis" + SECRET,
            "your-256-bit-secret" + SECRET,
            "my_precious" + SECRET,
            "example" + SECRET,
            "Placeholder" + SECRET,
        )
    ],
    "no-public-url": [{"AUTH_PUBLIC_URL": UNSET}],
    "http": [{"AUTH_PUBLIC_URL": "http://auth.example.com"}, {"AUTH_PUBLIC_URL": "http://192.0.2.7:8000"}],
    "proxies": [
        {"AUTH_TRUSTED_PROXIES": networks}
        for networks in ("0.0.0.0/0", "::/0", "10.0.0.0/8,::/0", "0.0.0.0/1,128.0.0.0/1", "2000::/3")
    ],
    "served-by": [{"AUTH_SERVED_BY": "true"}],
    "no-database": [{"AUTH_DATABASE_URL": UNSET}],
    "clear-database": [
        {"AUTH_DATABASE_URL": url}
        for url in (
            CLEAR_DATABASE,
            f"{CLEAR_DATABASE}?sslmode=disable",
            f"{CLEAR_DATABASE}?sslmode=prefer",
            f"{CLEAR_DATABASE}?sslmode=allow",
            f"{CLEAR_DATABASE}?sslmode=require&sslmode=disable",
            "postgresql://ann:canary@localhost,db.example.com/auth",
            "postgresql://ann:canary@localhost/auth?host=db.example.com",
            "postgresql://ann:canary@/auth?hostaddr=192.0.2.7",
            "postgresql://ann@here:canary@[2001:db8::7]:5432/auth",
        )
    ],
    "no-smtp": [{"AUTH_SMTP_URL": UNSET}],
    "smtp-password": [
        {"AUTH_SMTP_URL": url, "AUTH_INSECURE": "smtp"}
        for url in ("smtp://ann:canary@mail.example.com", "smtp://ann:canary@10.0.0.1:587")
    ],
    "smtp": [{"AUTH_SMTP_URL": "smtp://mail.example.com"}, {"AUTH_SMTP_URL": "smtp://[2001:db8::7]:2525"}],
    "bcrypt": [{"AUTH_PASSWORD_BCRYPT_COST": "9"}],
    "argon2": [
        {"AUTH_PASSWORD_SCHEME": "argon2id", "AUTH_PASSWORD_ARGON2_MEMORY": memory, "AUTH_PASSWORD_ARGON2_TIME": time}
        for memory, time in (("8", "1"), ("47103", "1"), ("19455", "2"), ("12287", "3"), ("9215", "4"), ("7167", "10"))
    ],
    "password-grant": [{"AUTH_PASSWORD_GRANT": "true"}],
    "key-propagation": [{"AUTH_TOKEN_KEY_PROPAGATION": "359"}],
    "throttle": [{"AUTH_THROTTLE": "false"}],
}
EACH = [pytest.param(name, change, id=f"{name} {number}") for name in MET for number, change in enumerate(MET[name])]
SAFE: list[dict[str, str]] = [
    {},
    {"AUTH_SECRET_KEY": "3f9a1c7b2e8d4056" * 2 + "91b7"},
    {"AUTH_PUBLIC_URL": "http://localhost:8080"},
    {"AUTH_PUBLIC_URL": "http://127.0.0.1:8080"},
    {"AUTH_PUBLIC_URL": "http://[::1]:8080"},
    {"AUTH_TRUSTED_PROXIES": "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7,2606:4700::/32,104.16.0.0/13"},
    {"AUTH_SMTP_URL": "smtp+starttls://ann:canary@mail.example.com"},
    {"AUTH_SMTP_URL": "smtps://ann:canary@mail.example.com"},
    {"AUTH_SMTP_URL": "smtp://ann:canary@LOCALHOST:2525"},
    {"AUTH_SMTP_URL": "smtp://ann:canary@127.0.0.1:25"},
    {"AUTH_SMTP_URL": "smtp://ann:canary@[::1]:25"},
    {"AUTH_SMTP_URL": UNSET, "AUTH_RELAY": "false"},
    {"AUTH_DATABASE_URL": "sqlite:////var/lib/twinauth/twinauth.db"},
    {"AUTH_DATABASE_URL": "postgresql:///auth"},
    {"AUTH_DATABASE_URL": "postgresql:///auth?host=/run/postgresql"},
    {"AUTH_DATABASE_URL": "postgresql://ann:canary@%2Frun%2Fpostgresql/auth"},
    {"AUTH_DATABASE_URL": "postgresql://ann:canary@localhost:5432,127.0.0.1,[::1]:5433/auth"},
    {"AUTH_DATABASE_URL": f"{CLEAR_DATABASE}?sslmode=require"},
    {"AUTH_DATABASE_URL": f"{CLEAR_DATABASE}?sslmode=verify-ca"},
    {"AUTH_DATABASE_URL": CLEAR_DATABASE, "PGSSLMODE": "verify-full"},
    {"AUTH_PASSWORD_BCRYPT_COST": "10"},
    {"AUTH_PASSWORD_BCRYPT_COST": "4", "AUTH_PASSWORD_SCHEME": "argon2id"},
    *(
        {"AUTH_PASSWORD_SCHEME": "argon2id", "AUTH_PASSWORD_ARGON2_MEMORY": memory, "AUTH_PASSWORD_ARGON2_TIME": time}
        for memory, time in (("47104", "1"), ("19456", "2"), ("12288", "3"), ("9216", "4"), ("7168", "5"))
    ),
    {"AUTH_PASSWORD_GRANT": "false"},
    {"AUTH_DOCS": "true"},
    {"AUTH_TOKEN_KEY_PROPAGATION": "360"},
]

Load = Callable[[dict[str, str]], Settings]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Load:
    """Load settings in an empty folder, in production where nothing else is said."""
    monkeypatch.chdir(tmp_path)

    def load_with(change: dict[str, str]) -> Settings:
        for name, value in ({"AUTH_ENV": "production"} | GIVEN | change).items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return load_with


def test_the_walk_asks_each_row() -> None:
    assert list(MET) == [danger.name for danger in DANGERS]


@pytest.mark.parametrize(("name", "change"), EACH)
def test_each_is_refused_by_one_line_that_names_the_variable_and_shows_no_value(
    load: Load, name: str, change: dict[str, str]
) -> None:
    (danger,) = (danger for danger in DANGERS if danger.name == name)
    with pytest.raises(SettingsError) as refused:
        load(change)
    text = str(refused.value)
    assert text == f"{danger.variable}: {danger.refusal}"
    assert f"AUTH_INSECURE={name} " in text
    assert "canary" not in text
    assert SECRET not in text


@pytest.mark.parametrize(("name", "change"), EACH)
def test_each_is_allowed_by_its_name_and_told_at_every_start(load: Load, name: str, change: dict[str, str]) -> None:
    allowed = [name, *change.get("AUTH_INSECURE", "").split()]
    settings = load(change | {"AUTH_INSECURE": ", ".join(allowed)})
    with capture_logs() as lines:
        warn_of_dangers(settings)
    told = [line for line in lines if line["log_level"] == "warning"]
    assert [line["name"] for line in told] == allowed
    (danger,) = (danger for danger in DANGERS if danger.name == name)
    assert (told[0]["variable"], told[0]["what"]) == (danger.variable, danger.what)
    assert "canary" not in str(told)


@pytest.mark.parametrize(("name", "change"), EACH)
def test_none_is_asked_in_development(load: Load, name: str, change: dict[str, str]) -> None:
    settings = load(change | {"AUTH_ENV": "development"})
    assert settings.allowed_dangers == (), name


@pytest.mark.parametrize("change", SAFE, ids=str)
def test_what_keeps_the_promises_is_no_danger(load: Load, change: dict[str, str]) -> None:
    assert load(change).allowed_dangers == ()


def test_a_name_that_allows_one_allows_no_other(load: Load) -> None:
    change = {"AUTH_THROTTLE": "false", "AUTH_SERVED_BY": "true", "AUTH_INSECURE": "throttle"}
    with pytest.raises(SettingsError, match=r"^AUTH_SERVED_BY: "):
        load(change)


def test_all_that_are_met_are_told_at_once(load: Load) -> None:
    with pytest.raises(SettingsError) as refused:
        load({"AUTH_THROTTLE": "false", "AUTH_SERVED_BY": "true", "AUTH_SECRET_KEY": UNSET})
    named = [line.partition(":")[0] for line in str(refused.value).split("; ")]
    assert named == ["AUTH_SECRET_KEY", "AUTH_SERVED_BY", "AUTH_THROTTLE"]


@pytest.mark.parametrize("env", ["development", "production"])
def test_an_unknown_name_is_refused_with_those_that_there_are(load: Load, env: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load({"AUTH_ENV": env, "AUTH_INSECURE": "throttle,canary"})
    text = str(refused.value)
    assert text.startswith("AUTH_INSECURE: ")
    assert all(danger.name in text for danger in DANGERS)
    assert "canary" not in text


def test_a_name_that_allows_nothing_is_not_told(load: Load) -> None:
    with capture_logs() as lines:
        warn_of_dangers(load({"AUTH_INSECURE": "throttle"}))
    assert lines == []


def test_random_secrets_of_every_usual_form_are_strong(load: Load) -> None:
    """Of 64 hexadecimal digits at random, one of the sixteen is missing in every fourth."""
    for number in range(200):
        text = f"{(0x9E3779B97F4A7C15 * (number + 1)) ** 5 % 2**256:064x}"
        assert load({"AUTH_SECRET_KEY": text}).allowed_dangers == ()
