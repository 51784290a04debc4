"""Settings: every mistake stops the start with a line that names the variable and never shows the value."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from cli.startup import warn_of_exposed_files
from core.settings.files import MAX_LENGTH, RENAMED, ExposedFile, SettingsError
from core.settings.loading import GROUPS, exposed_files, load_settings, renamed_settings, variables
from core.settings.neighbours import is_of_a_neighbour
from core.settings.secret_key import development_secret
from core.settings.whole import Settings

STRONG = "0J5hQ2vXr8mWk4Ty7Lp1Nc6Bz9Ds3Fg0"
PRODUCTION = {
    "AUTH_ENV": "production",
    "AUTH_SECRET_KEY": STRONG,
    "AUTH_PUBLIC_URL": "https://auth.example.com",
    "AUTH_SMTP_URL": "smtps://mail.example.com",
    "AUTH_DATABASE_URL": "sqlite:////var/lib/twinauth/twinauth.db",
}

Load = Callable[..., Settings]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Load settings in an empty folder from these variables alone."""
    monkeypatch.chdir(tmp_path)

    def load_with(**given: str) -> Settings:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return load_with


def refusal(load: Load, **given: str) -> str:
    with pytest.raises(SettingsError) as refused:
        load(**given)
    text = str(refused.value)
    assert "\n" not in text
    assert refused.value.__cause__ is None
    return text


class TestProduction:
    def test_starts_with_a_secret_and_a_public_url(self, load: Load) -> None:
        settings = load(**PRODUCTION)
        assert settings.is_production
        assert settings.http.public_url == settings.tokens.audience == "https://auth.example.com"
        assert settings.secrets[0].get_secret_value() == STRONG
        assert not settings.http.docs
        assert settings.logging.format == "json"

    @pytest.mark.parametrize("missing", ["AUTH_SECRET_KEY", "AUTH_PUBLIC_URL", "AUTH_SMTP_URL"])
    def test_names_the_one_that_is_missing(self, load: Load, missing: str) -> None:
        given = {name: value for name, value in PRODUCTION.items() if name != missing}
        text = refusal(load, **given)
        assert text.startswith(f"{missing}: must be set")
        assert not any(value in text for name, value in given.items() if name != "AUTH_ENV")

    def test_names_both_where_both_are_missing(self, load: Load) -> None:
        text = refusal(load, AUTH_ENV="production")
        assert "AUTH_SECRET_KEY" in text
        assert "AUTH_PUBLIC_URL" in text

    def test_makes_no_secret_of_its_own(self, load: Load, tmp_path: Path) -> None:
        refusal(load, AUTH_ENV="production", AUTH_PUBLIC_URL="https://auth.example.com")
        assert list(tmp_path.iterdir()) == []

    def test_needs_no_mail_server_where_another_process_sends(self, load: Load) -> None:
        given = {name: value for name, value in PRODUCTION.items() if name != "AUTH_SMTP_URL"}
        settings = load(**given, AUTH_RELAY="false")
        assert settings.mail.smtp_url is None
        assert not settings.mail.relay


class TestRenamedVariables:
    """They are read for two releases: a misspelt setting stops the start, and an update must not."""

    def test_are_read_under_their_earlier_name_which_is_told(self, load: Load) -> None:
        settings = load(AUTH_TOKEN_AUDIENCE="https://api.example.com")
        assert settings.tokens.audiences == ("https://api.example.com",)
        assert renamed_settings() == {"AUTH_TOKEN_AUDIENCE": "AUTH_TOKEN_AUDIENCES"}

    def test_of_a_number_of_requests_are_read_as_so_many_seconds(self, load: Load) -> None:
        """Of any number that the earlier name allowed."""
        for number in (0, 4, 1000):
            assert load(AUTH_PASSWORD_HASH_QUEUE=str(number)).passwords.hash_wait == timedelta(seconds=number)

    def test_are_read_from_files_too(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "audience").write_text("https://api.example.com\n")
        settings = load(AUTH_TOKEN_AUDIENCE_FILE=str(tmp_path / "audience"))
        assert settings.tokens.audience == "https://api.example.com"

    def test_are_refused_beside_the_name_of_today(self, load: Load) -> None:
        text = refusal(load, AUTH_TOKEN_AUDIENCE="https://a.example.com", AUTH_TOKEN_AUDIENCES="https://b.example.com")
        assert text == "AUTH_TOKEN_AUDIENCE is AUTH_TOKEN_AUDIENCES now, and both are set"

    def test_are_no_others_than_those_of_today(self) -> None:
        assert set(RENAMED.values()) <= variables().keys()
        assert not RENAMED.keys() & variables().keys()


class TestScopesByRole:
    def test_are_read_from_a_json_object(self, load: Load) -> None:
        settings = load(AUTH_TOKEN_SCOPES='{"*": "orders:read", "admin": "orders:read orders:write"}')
        assert settings.tokens.scopes == {"*": ("orders:read",), "admin": ("orders:read", "orders:write")}

    @pytest.mark.parametrize("value", ["x", "[]", '"a"', '{"*": 1}', '{"*": ["a"]}', '{"*": "a"'])
    def test_that_are_no_such_object_are_refused(self, load: Load, value: str) -> None:
        assert refusal(load, AUTH_TOKEN_SCOPES=value).startswith("AUTH_TOKEN_SCOPES: must be a JSON object such as")

    def test_of_this_api_itself_are_refused(self, load: Load) -> None:
        text = refusal(load, AUTH_TOKEN_SCOPES='{"*": "introspect a", "admin": "users:write"}')
        assert text == "AUTH_TOKEN_SCOPES: must not have scopes of this API itself: introspect, users:write"


class TestVariables:
    @pytest.mark.parametrize(
        "name",
        [
            "AUTH_TOKEN_ACESS_TTL",
            "AUTH_SECRET",
            "AUTH_ACCESS_TTL",
            "AUTH_TOKENS",
            "AUTH_HTTP",
            "AUTH_DATABASE",
            "AUTH_",
            "auth_token_acess_ttl",  # variables are obeyed in any case, so they are refused in any case
        ],
    )
    def test_that_are_unknown_are_refused_by_name(self, load: Load, name: str) -> None:
        text = refusal(load, **{name: "canary"})
        assert name.upper() in text.upper()
        assert "canary" not in text

    def test_that_are_unknown_are_refused_in_the_dotenv_file_too(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("AUTH_TOKEN_ACESS_TTL=canary\n")
        text = refusal(load)
        assert "AUTH_TOKEN_ACESS_TTL" in text
        assert "canary" not in text

    def test_of_other_programs_are_left_alone(self, load: Load) -> None:
        load(AUTHOR="canary", MY_AUTH_THING="canary", SSH_AUTH_SOCK="canary")

    def test_of_the_environment_outrank_the_dotenv_file(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("AUTH_TOKEN_ACCESS_TTL=120\nAUTH_TOKEN_REFRESH_GRACE=5\nOTHER=1\n")
        settings = load(AUTH_TOKEN_ACCESS_TTL="300")
        assert settings.tokens.access_ttl == timedelta(seconds=300)
        assert settings.tokens.refresh_grace == timedelta(seconds=5)

    def test_are_all_described(self) -> None:
        assert {"AUTH_ENV", "AUTH_SECRET_KEY", "AUTH_TOKEN_ACCESS_TTL", "AUTH_DATABASE_URL"} <= variables().keys()
        assert not [name for name, field in variables().items() if not field.description]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("AUTH_ENV", "canary"),
            ("AUTH_ENV", "Production"),
            ("AUTH_TOKEN_ACCESS_TTL", "canary"),
            ("AUTH_TOKEN_ACCESS_TTL", "-901"),
            ("AUTH_TOKEN_ACCESS_TTL", "9e2"),
            ("AUTH_TOKEN_ACCESS_TTL", "nan"),
            ("AUTH_TOKEN_ACCESS_TTL", "infinity"),
            ("AUTH_TOKEN_ACCESS_TTL", "901s"),
            ("AUTH_TOKEN_ACCESS_TTL", "PT15M"),
            ("AUTH_TOKEN_ACCESS_TTL", "0x901"),
            ("AUTH_TOKEN_ACCESS_TTL", "\u0669\u0660\u0660"),
            ("AUTH_TOKEN_ACCESS_TTL", "99999999999999999999"),
            ("AUTH_TOKEN_ACCESS_TTL", "59.999"),
            ("AUTH_TOKEN_ACCESS_TTL", "3600.001"),
            ("AUTH_TOKEN_REFRESH_GRACE", "300.001"),
            ("AUTH_TOKEN_KEY_PROPAGATION", "0.5"),
            ("AUTH_TOKEN_SESSION_IDLE", "0"),
            ("AUTH_TOKEN_SESSION_LIFETIME", "59"),
            ("AUTH_TOKEN_SESSION_LIMIT", "0"),
            ("AUTH_TOKEN_ALGORITHM", "HS256"),
            ("AUTH_TOKEN_ALGORITHM", "none"),
            ("AUTH_PASSWORD_MIN_LENGTH", "7"),
            ("AUTH_PASSWORD_MIN_LENGTH", "twelve"),
            ("AUTH_PASSWORD_MIN_LENGTH", "12.5"),
            ("AUTH_PASSWORD_BCRYPT_COST", "3"),
            ("AUTH_PASSWORD_BCRYPT_COST", "16"),
            ("AUTH_PASSWORD_SCHEME", "md5"),
            ("AUTH_PASSWORD_SCHEME", "bcrypt"),
            ("AUTH_PASSWORD_ARGON2_MEMORY", "7"),
            ("AUTH_PASSWORD_HASH_CONCURRENCY", "0"),
            ("AUTH_PASSWORD_HASH_WAIT", "-1"),
            ("AUTH_DATABASE_POOL_SIZE", "0"),
            ("AUTH_DATABASE_TIMEOUT", "0"),
            ("AUTH_PUBLIC_URL", "auth.example.com"),
            ("AUTH_PUBLIC_URL", "ftp://auth.example.com"),
            ("AUTH_PUBLIC_URL", "https://ann:canary@auth.example.com"),
            ("AUTH_PUBLIC_URL", "https://auth.example.com?canary"),
            ("AUTH_PUBLIC_URL", "https://auth.example.com#canary"),
            ("AUTH_PUBLIC_URL", "https://auth.example.com/\r\nX-Canary: 1"),
            ("AUTH_PUBLIC_URL", "https://auth.example.com\n"),
            ("AUTH_TRUSTED_PROXIES", "canary"),
            ("AUTH_TRUSTED_PROXIES", "10.0.0.0/33"),
            ("AUTH_TRUSTED_PROXIES", "10.0.0.0/8, canary"),
            ("AUTH_CORS_ORIGINS", "*"),
            ("AUTH_CORS_ORIGINS", "null"),
            ("AUTH_CORS_ORIGINS", "https://app.example.com/"),
            ("AUTH_CORS_ORIGINS", "https://App.example.com"),
            ("AUTH_CORS_ORIGINS", "file://localhost"),
            ("AUTH_CORS_ORIGINS", "capacitor://localhost/"),
            ("AUTH_CORS_ORIGINS", "capacitor:localhost"),
            ("AUTH_DOCS", "canary"),
            ("AUTH_LOG_LEVEL", "canary"),
            ("AUTH_LOG_FORMAT", "canary"),
            ("AUTH_SMTP_URL", "canary"),
            ("AUTH_SMTP_URL", "mail.example.com:25"),
            ("AUTH_SMTP_URL", "https://canary@mail.example.com"),
            ("AUTH_SMTP_URL", "smtp+tls://canary@mail.example.com"),
            ("AUTH_SMTP_URL", "smtp://"),
            ("AUTH_SMTP_URL", "smtp:///canary"),
            ("AUTH_SMTP_URL", "smtps://ann:canary@"),
            ("AUTH_SMTP_URL", "smtps://ann:canary@:465"),
            ("AUTH_SMTP_URL", "smtps://ann:canary@mail.example.com:0"),
            ("AUTH_SMTP_URL", "smtps://ann:canary@mail.example.com:65536"),
            ("AUTH_SMTP_URL", "smtps://ann:canary@mail.example.com:smtp"),
            ("AUTH_SMTP_URL", "smtps://ann:canary/canary@mail.example.com"),
            ("AUTH_SMTP_URL", "smtps://ann:canary@mail.example.com/canary"),
            ("AUTH_SMTP_URL", "smtps://ann:canary@mail.example.com?canary"),
            ("AUTH_SMTP_URL", "smtps://ann:canary@mail.example.com#canary"),
            ("AUTH_SMTP_URL", "smtps://ann:#canary@mail.example.com"),
            ("AUTH_SMTP_URL", "smtps://ann:[canary]@mail.example.com"),
            ("AUTH_SMTP_URL", "smtps://ann:canary[@mail.example.com"),
            ("AUTH_SMTP_URL", "smtps://[canary]"),
            ("AUTH_SMTP_URL", "smtps://canary@mail.example.com"),
            ("AUTH_SMTP_URL", "smtps://ann:canary%C3%A9@mail.example.com"),
            ("AUTH_SMTP_TIMEOUT", "0.999"),
            ("AUTH_SMTP_TIMEOUT", "30.001"),
            ("AUTH_MAIL_FROM", "canary"),
            ("AUTH_MAIL_FROM", "canary@"),
            ("AUTH_MAIL_FROM", "@canary.example.com"),
            ("AUTH_MAIL_FROM", "canary canary@example.com"),
            ("AUTH_MAIL_FROM", "Canary <canary@example.com>, Eve <eve@example.com>"),
            ("AUTH_MAIL_FROM", "canary@example.com, eve@example.com"),
            ("AUTH_MAIL_FROM", "canary@example.com\r\nBcc: eve@example.com"),
            ("AUTH_MAIL_FROM", "Canary\nBcc: eve@example.com <canary@example.com>"),
            ("AUTH_MAIL_FROM", "Canary <canary@example.com"),
            ("AUTH_MAIL_LIMIT", "0"),
            ("AUTH_MAIL_LIMIT", "1001"),
            ("AUTH_MAIL_ATTEMPTS", "0"),
            ("AUTH_MAIL_ATTEMPTS", "101"),
            ("AUTH_MAIL_RETENTION", "3599.999"),
            ("AUTH_RELAY", "canary"),
            ("AUTH_RESET_TTL", "59.999"),
            ("AUTH_RESET_TTL", "3600.001"),
            ("AUTH_VERIFICATION_TTL", "59"),
            ("AUTH_VERIFICATION_TTL", "604801"),
            ("AUTH_REQUIRE_VERIFIED_EMAIL", "canary"),
        ],
        ids=ascii,
    )
    def test_with_a_wrong_value_are_named_and_the_value_is_not_shown(self, load: Load, name: str, value: str) -> None:
        text = refusal(load, **{name: value})
        assert text.startswith(f"{name}: ")
        assert "canary" not in text.lower()

    def test_that_are_wrong_are_all_named_at_once(self, load: Load) -> None:
        """In one group and in several, misspelt, doubled, by file, and what production wants besides."""
        given = {
            "AUTH_TOKEN_ACCESS_TTL": "canary",
            "AUTH_TOKEN_REFRESH_GRACE": "301",
            "AUTH_SMTP_URL": "canary",
            "AUTH_MAIL_FROM": "canary",
            "AUTH_DATABASE_URL_FILE": "/nowhere/url",
            "AUTH_SECRET_KEY_FILE": "/nowhere/secret",
            "AUTH_CORS_ORIGINS": "canary,canary",
            "AUTH_LOG_LEVLE": "canary",
            "AUTH_DOCS": "true",
            "AUTH_DOCS_FILE": "/nowhere/docs",
            "AUTH_PASSWORD_BCRYPT_COST": "4",
            "AUTH_INSECURE": "canary",
        }
        lines = refusal(load, AUTH_ENV="production", **given).split("; ")
        named = {re.sub(r"unknown setting ", "", line).split(" ")[0].rstrip(":") for line in lines}
        assert named == {*given, "AUTH_PUBLIC_URL"} - {"AUTH_DOCS_FILE"}
        assert len(lines) == len(named)
        assert "canary" not in str(lines)

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("AUTH_SECRET_KEI", "AUTH_SECRET_KEY"),
            ("AUTH_TOKEN_ACESS_TTL", "AUTH_TOKEN_ACCESS_TTL"),
            ("auth_smtp_ulr", "AUTH_SMTP_URL"),
            ("AUTH_DATABASE_NAMESPACE", "AUTH_DATABASE_SCHEMA"),
            ("AUTH_SECRET", "AUTH_SECRET_KEY"),
            ("AUTH_ACCESS_TTL", "AUTH_TOKEN_ACCESS_TTL"),
            ("AUTH_PORT", None),
            ("AUTH_XYZZY", None),
        ],
    )
    def test_that_are_misspelt_are_told_with_the_one_that_is_near(
        self, load: Load, name: str, meant: str | None
    ) -> None:
        text = refusal(load, **{name: "canary"})
        assert text == f"unknown setting {name.upper()}" + (f" (did you mean {meant}?)" if meant else "")

    def test_that_are_empty_are_as_if_unset(self, load: Load) -> None:
        """Compose makes an empty one of each `${NAME:-}` that nobody has chosen."""
        unset = load().model_dump()
        empty = dict.fromkeys((*variables(), *(f"{name}_FILE" for name in variables()), "AUTH_XYZZY"), "")
        assert load(**empty).model_dump() == unset

    def test_that_are_empty_are_as_if_unset_in_the_dotenv_file_too(self, load: Load, tmp_path: Path) -> None:
        unset = load().model_dump()
        (tmp_path / ".env").write_text("".join(f"{name}=\n" for name in variables()) + "AUTH_XYZZY\n")
        assert load().model_dump() == unset

    def test_that_are_empty_leave_the_dotenv_file_its_say(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("AUTH_TOKEN_ACCESS_TTL=120\n")
        assert load(AUTH_TOKEN_ACCESS_TTL="").tokens.access_ttl == timedelta(seconds=120)

    def test_that_are_empty_are_none_beside_a_file(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "key").write_text(STRONG)
        settings = load(AUTH_SECRET_KEY="", AUTH_SECRET_KEY_FILE=str(tmp_path / "key"))
        assert settings.secrets[0].get_secret_value() == STRONG

    @pytest.mark.parametrize("service", ["AUTH", "AUTH_WEB", "AUTH_DATABASE", "AUTH_TOKEN_2"])
    def test_of_a_neighbour_named_auth_are_left_alone(self, load: Load, service: str) -> None:
        """Kubernetes tells every pod of every Service in this way, and links of Docker do the same."""
        port = f"{service}_PORT_8000_TCP"
        load(
            **{
                f"{service}_SERVICE_HOST": "10.0.0.9",
                f"{service}_SERVICE_PORT": "8000",
                f"{service}_SERVICE_PORT_HTTP": "8000",
                f"{service}_PORT": "tcp://10.0.0.9:8000",
                port: "tcp://10.0.0.9:8000",
                f"{port}_PROTO": "tcp",
                f"{port}_PORT": "8000",
                f"{port}_ADDR": "10.0.0.9",
                f"{service}_PORT_53_UDP": "udp://10.0.0.9:53",
                f"{service}_NAME": "/door/auth",
                "AUTH_ENV_PATH": "/usr/bin",
            }
        )

    @pytest.mark.parametrize("name", ["AUTH_PORT", "AUTH_HOST", "AUTH_SERVICE", "AUTH_NAME", "AUTH_SMTP_PORT"])
    def test_that_somebody_may_take_for_a_setting_are_no_neighbours(self, load: Load, name: str) -> None:
        assert f"unknown setting {name}" in refusal(load, **{name: "8000"})

    def test_are_not_those_of_a_neighbour(self) -> None:
        values = ("", "8000", "tcp://10.0.0.9:8000", "/door/auth")
        assert not [name for name in variables() for value in values if is_of_a_neighbour(name, value)]

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
    def test_in_a_dotenv_file_of_another_encoding_are_refused_in_one_line(
        self, load: Load, tmp_path: Path, encoding: str
    ) -> None:
        (tmp_path / ".env").write_bytes(f"AUTH_SECRET_KEY={STRONG}\nNAME=Zoë\n".encode(encoding))
        assert refusal(load) == ".env is not in UTF-8; save it as UTF-8"

    def test_in_a_dotenv_file_may_come_after_a_byte_order_mark(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / ".env").write_bytes(f"AUTH_SECRET_KEY={STRONG}\nNAME=Zoë\n".encode("utf-8-sig"))
        assert load().secrets[0].get_secret_value() == STRONG

    def test_in_a_dotenv_file_that_cannot_be_read_are_refused_in_one_line(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / ".env").symlink_to("/proc/self/mem")
        assert refusal(load) == ".env: Input/output error"

    def test_in_a_folder_in_place_of_the_dotenv_file_are_none(self, load: Load, tmp_path: Path) -> None:
        """Docker makes a folder of a file to mount that is not there."""
        (tmp_path / ".env").mkdir()
        load()

    @pytest.mark.parametrize(
        "url",
        [
            "smtp+starttls://AKIA:ab/canary+ef=@smtp.example.com:587",
            "smtps://ann:a#canary@smtp.example.com",
            "smtps://ann:a?canary@smtp.example.com",
        ],
    )
    def test_with_a_mail_server_and_a_raw_password_say_that_it_is_encoded(self, load: Load, url: str) -> None:
        text = refusal(load, AUTH_SMTP_URL=url)
        assert "percent-encoded" in text
        assert "canary" not in text

    @pytest.mark.parametrize(
        "login",
        [
            "ann:a/canary",
            "ann:a#canary",
            "ann:a?canary",
            "ann:a@canary",
            "ann:5/canary",
            "ann:5?canary",
            "ann:5#canary",
        ],
    )
    def test_with_a_database_and_a_raw_password_say_that_it_is_encoded(self, load: Load, login: str) -> None:
        text = refusal(load, AUTH_DATABASE_URL=f"postgresql://{login}@db.example.com/auth")
        assert "percent-encoded" in text
        assert "canary" not in text

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql:///auth",
            "postgresql://db.example.com",
            "postgres://ann:p%2F%23%40%2B@db.example.com:5432/auth?sslmode=verify-full&sslrootcert=/ca.crt",
            "postgresql://ann@server:pass+word@db.example.com/auth",
            "postgresql://ann:pass@[::1]:5432/auth",
            "postgresql://ann:pass@one:5432,two:5433,[::1]:5434/auth?target_session_attrs=read-write",
            "postgresql://one,two/auth",
        ],
    )
    def test_take_these_databases(self, load: Load, url: str) -> None:
        assert load(AUTH_DATABASE_URL=url).database.url.get_secret_value() == url

    def test_name_a_schema_for_postgresql_alone(self, load: Load) -> None:
        url = "postgresql://ann:pass@db.example.com/auth"
        assert load(AUTH_DATABASE_URL=url, AUTH_DATABASE_SCHEMA="auth_2").database.namespace == "auth_2"
        assert refusal(load, AUTH_DATABASE_URL="").startswith("AUTH_DATABASE_SCHEMA: goes with a PostgreSQL database")

    @pytest.mark.parametrize("name", ["Auth", "a-b", "2a", "pg_auth", "a" * 64, 'a"b', "a,public", " a"])
    def test_with_a_schema_that_is_no_plain_name_are_refused(self, load: Load, name: str) -> None:
        url = "postgresql://ann:pass@db.example.com/auth"
        text = refusal(load, AUTH_DATABASE_URL=url, AUTH_DATABASE_SCHEMA=name)
        assert text.startswith("AUTH_DATABASE_SCHEMA: must be")

    def test_are_read_into_their_groups(self, load: Load) -> None:
        settings = load(
            AUTH_TOKEN_ACCESS_TTL="60",
            AUTH_TOKEN_REFRESH_GRACE="0",
            AUTH_TOKEN_SESSION_IDLE="90.5",
            AUTH_TOKEN_ALGORITHM="EdDSA",
            AUTH_TOKEN_AUDIENCES="https://api.example.com, https://orders.example.com",
            AUTH_PASSWORD_MIN_LENGTH="8",
            AUTH_PASSWORD_SCHEME="argon2id",
            AUTH_DATABASE_URL="sqlite:///else.db",
            AUTH_DATABASE_TIMEOUT="0.5",
            AUTH_PUBLIC_URL="https://auth.example.com/here/",
            AUTH_TRUSTED_PROXIES="10.0.0.0/8, ::1,",
            AUTH_CORS_ORIGINS="https://a.example.com,https://b.example.com",
            AUTH_DOCS="false",
            AUTH_LOG_LEVEL="DEBUG",
        )
        assert settings.tokens.access_ttl == timedelta(seconds=60)
        assert settings.tokens.refresh_grace == timedelta(0)
        assert settings.tokens.session_idle == timedelta(seconds=90.5)
        assert settings.tokens.algorithm == "EdDSA"
        assert settings.tokens.audience == "https://api.example.com"
        assert settings.tokens.audiences == ("https://api.example.com", "https://orders.example.com")
        assert settings.passwords.min_length == 8
        assert settings.passwords.scheme == "argon2id"
        assert settings.database.url.get_secret_value() == "sqlite:///else.db"
        assert settings.database.timeout == timedelta(seconds=0.5)
        assert settings.http.public_url == "https://auth.example.com/here"
        assert list(map(str, settings.http.trusted_proxies)) == ["10.0.0.0/8", "::1/128"]
        assert settings.http.cors_origins == ("https://a.example.com", "https://b.example.com")
        assert not settings.http.docs
        assert settings.logging.level == "DEBUG"


class TestMail:
    def test_is_kept_in_the_data_folder_where_no_server_is_named(self, load: Load) -> None:
        settings = load()
        assert settings.mail.smtp_url is None
        assert settings.mailbox_dir == Path(".twinauth/mail")
        assert settings.mail.relay

    def test_has_the_limits_and_lifetimes_that_the_contract_names(self, load: Load) -> None:
        mail = load().mail
        assert (mail.mail_limit, mail.mail_attempts) == (5, 12)
        assert mail.reset_ttl == timedelta(minutes=15)
        assert mail.verification_ttl == timedelta(hours=24)
        assert not mail.require_verified_email
        assert mail.mail_language == "en"
        assert mail.texts_dir is None

    def test_is_read_into_its_group(self, load: Load) -> None:
        mail = load(
            AUTH_SMTP_URL="smtp+starttls://ann:canary@mail.example.com:2525",
            AUTH_SMTP_TIMEOUT="1.5",
            AUTH_MAIL_LANGUAGE="de",
            AUTH_TEXTS_DIR="/srv/texts",
            AUTH_MAIL_LIMIT="1000",
            AUTH_MAIL_ATTEMPTS="100",
            AUTH_MAIL_RETENTION="3600",
            AUTH_RELAY="false",
            AUTH_RESET_TTL="3600",
            AUTH_VERIFICATION_TTL="604800",
            AUTH_REQUIRE_VERIFIED_EMAIL="true",
        ).mail
        assert mail.smtp_url is not None
        assert mail.smtp_url.get_secret_value() == "smtp+starttls://ann:canary@mail.example.com:2525"
        assert mail.smtp_timeout == timedelta(seconds=1.5)
        assert (mail.mail_language, mail.texts_dir) == ("de", Path("/srv/texts"))
        assert (mail.mail_limit, mail.mail_attempts) == (1000, 100)
        assert mail.mail_retention == mail.reset_ttl == timedelta(hours=1)
        assert mail.verification_ttl == timedelta(days=7)
        assert not mail.relay
        assert mail.require_verified_email

    @pytest.mark.parametrize(
        "url",
        [
            "smtp://localhost",
            "smtp://mail.example.com/",
            "smtp://192.0.2.7:2525",
            "smtp://[2001:db8::7]:2525",
            "smtps://mail.example.com:465",
            "smtps://ann%40example.com:p%3A%2F%23%25@mail.example.com",
            "smtp+starttls://ann:canary@mail.example.com:587",
        ],
    )
    def test_leaves_by_these_urls(self, load: Load, url: str) -> None:
        found = load(AUTH_SMTP_URL=url).mail.smtp_url
        assert found is not None
        assert found.get_secret_value() == url

    @pytest.mark.parametrize(
        "mailbox",
        [
            "no-reply@example.com",
            "no-reply@localhost",
            "Accounts <no-reply@example.com>",
            '"Accounts, Ltd." <no-reply@example.com>',
            "J\u00fcrgens Konten <no-reply@example.com>",
        ],
    )
    def test_comes_from_these_senders(self, load: Load, mailbox: str) -> None:
        assert load(AUTH_MAIL_FROM=mailbox).mail.mail_from == mailbox

    @pytest.mark.parametrize(
        ("public_url", "sender"),
        [
            ("https://auth.example.com/here", "Twinauth <no-reply@auth.example.com>"),
            ("http://localhost:8000", "Twinauth <no-reply@localhost>"),
            ("http://127.0.0.1:8000", "Twinauth <no-reply@localhost>"),
            ("http://[::1]:8000", "Twinauth <no-reply@localhost>"),
        ],
    )
    def test_comes_from_the_host_of_the_public_url_where_no_sender_is_named(
        self, load: Load, public_url: str, sender: str
    ) -> None:
        assert load(AUTH_PUBLIC_URL=public_url).mail.mail_from == sender


@pytest.mark.parametrize("group", GROUPS)
def test_settings_are_frozen(load: Load, group: str) -> None:
    settings = load()
    frozen = getattr(settings, group) if group else settings
    name = next(iter(type(frozen).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(frozen, name, getattr(frozen, name))


def test_secrets_are_in_no_rendering_of_the_settings(load: Load) -> None:
    settings = load(
        AUTH_SECRET_KEY=STRONG + "canary",
        AUTH_DATABASE_URL="postgresql://ann:canary@db.example.com/auth",
        AUTH_SMTP_URL="smtps://ann:canary@mail.example.com",
    )
    assert settings.secrets[0].get_secret_value().endswith("canary")
    for rendering in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "canary" not in rendering
        assert STRONG not in rendering


def test_secrets_are_in_no_error_about_them(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    monkeypatch.setenv("AUTH_ENV", "production")
    monkeypatch.setenv("AUTH_SECRET_KEY", "canary")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "canary" not in str(refused.value)
    assert "canary" not in repr(refused.value)


def refuse_links(_source: Path, _target: Path) -> None:
    """As exFAT, and the shares of virtual machines."""
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


class TestDevelopmentSecret:
    def test_is_made_once_and_kept(self, load: Load, tmp_path: Path) -> None:
        first = load().secrets[0].get_secret_value()
        assert load().secrets[0].get_secret_value() == first
        assert (tmp_path / ".twinauth" / "secret_key").read_text() == first
        assert len(first) >= 43
        assert first not in repr(load())

    def test_is_readable_by_its_owner_alone(self, load: Load, tmp_path: Path) -> None:
        assert load().secrets[0]
        folder = tmp_path / ".twinauth"
        assert stat.S_IMODE((folder / "secret_key").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [path.name for path in folder.iterdir()] == ["secret_key"]

    def test_is_another_in_another_folder(self, load: Load) -> None:
        assert load().secrets[0] != load(AUTH_DATA_DIR="elsewhere/deep").secrets[0]

    def test_is_made_in_a_folder_without_hard_links(
        self, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "link", refuse_links)
        first = load().secrets[0]
        assert load().secrets[0] == first
        (file,) = (tmp_path / ".twinauth").iterdir()
        assert (file.name, stat.S_IMODE(file.stat().st_mode)) == ("secret_key", 0o600)

    @pytest.mark.parametrize("mode", [0o660, 0o640, 0o604, 0o777])
    def test_that_others_may_read_is_used_and_told_of(self, load: Load, tmp_path: Path, mode: int) -> None:
        """Kubernetes opens every file of a volume to its group, and some shares open all to everybody."""
        first = load().secrets[0]
        (tmp_path / ".twinauth" / "secret_key").chmod(mode)
        settings = load()
        assert settings.secrets[0] == first
        assert exposed_files(settings) == [ExposedFile(".twinauth/secret_key", mode)]
        assert exposed_files(load(AUTH_SECRET_KEY=STRONG)) == []

    def test_would_be_strong_enough_as_a_setting(self, load: Load) -> None:
        made = load().secrets[0].get_secret_value()
        assert load(**PRODUCTION | {"AUTH_SECRET_KEY": made}).secrets[0].get_secret_value() == made

    def test_is_not_made_where_one_is_given(self, load: Load, tmp_path: Path) -> None:
        assert load(AUTH_SECRET_KEY=STRONG).secrets[0].get_secret_value() == STRONG
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("kept", ["", "\n", "canary"])
    def test_that_is_damaged_is_refused_instead_of_used(self, load: Load, tmp_path: Path, kept: str) -> None:
        (tmp_path / ".twinauth").mkdir()
        (tmp_path / ".twinauth" / "secret_key").write_text(kept)
        with pytest.raises((SettingsError, ValueError)) as refused:
            load().secrets[0].get_secret_value()
        assert "canary" not in str(refused.value)

    @pytest.mark.parametrize("link", [os.link, refuse_links])
    def test_is_one_for_all_that_find_none_at_the_same_moment(
        self, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Any
    ) -> None:
        monkeypatch.setattr(os, "link", link)
        seen: list[str] = []
        all_found_none = threading.Barrier(8)
        make = secrets.token_urlsafe

        def make_together(size: int) -> str:
            all_found_none.wait(timeout=10)
            return make(size)

        def start() -> None:
            # Not by the property: Python 3.11 lets only one thread at a time compute a cached one.
            seen.append(development_secret(tmp_path / ".twinauth").get_secret_value())

        monkeypatch.setattr(secrets, "token_urlsafe", make_together)
        threads = [threading.Thread(target=start) for _ in range(all_found_none.parties)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert len(seen) == len(threads)
        assert set(seen) == {load().secrets[0].get_secret_value()}
        assert [path.name for path in (tmp_path / ".twinauth").iterdir()] == ["secret_key"]

    def test_is_one_for_processes_that_start_together(self, tmp_path: Path) -> None:
        code = (
            "import sys; from core.settings.loading import load_settings; settings = load_settings(); "
            "print('ready', flush=True); sys.stdin.readline(); print(settings.secrets[0].get_secret_value())"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(3)
        ]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        seen = set()
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            seen.add(process.communicate(timeout=20)[0])
            assert process.returncode == 0
        assert len(seen) == 1
        assert len(seen.pop().strip()) >= 43


class TestByFile:
    """`AUTH_X_FILE` names the file in which the value of `AUTH_X` stands."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Callable[[bytes], str]:
        def write(content: bytes) -> str:
            path = tmp_path / secrets.token_hex(4)
            path.write_bytes(content)
            return str(path)

        return write

    def test_every_setting_may_be_given(self, load: Load, file: Callable[[bytes], str]) -> None:
        url = "postgresql://ann:pass@db/auth"
        settings = load(
            AUTH_SECRET_KEY_FILE=file(STRONG.encode()),
            AUTH_DATABASE_URL_FILE=file(url.encode()),
            AUTH_TOKEN_ACCESS_TTL_FILE=file(b"600"),
            AUTH_OLD_SECRET_KEYS_FILE=file(f"{STRONG[::-1]}, {STRONG[1:]}x".encode()),
            AUTH_RELAY_FILE=file(b"false"),
        )
        assert settings.secrets[0].get_secret_value() == STRONG
        assert settings.database.url.get_secret_value() == url
        assert settings.tokens.access_ttl == timedelta(seconds=600)
        assert [old.get_secret_value() for old in settings.old_secret_keys] == [STRONG[::-1], f"{STRONG[1:]}x"]
        assert settings.mail.relay is False

    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
    def test_the_end_of_the_line_is_none_of_it(self, load: Load, file: Callable[[bytes], str], end: bytes) -> None:
        assert load(AUTH_SECRET_KEY_FILE=file(STRONG.encode() + end)).secrets[0].get_secret_value() == STRONG

    def test_blanks_are_part_of_it(self, load: Load, file: Callable[[bytes], str]) -> None:
        assert load(AUTH_SECRET_KEY_FILE=file(f" {STRONG} \n".encode())).secrets[0].get_secret_value() == f" {STRONG} "

    def test_dotenv_may_name_the_file(self, load: Load, file: Callable[[bytes], str], tmp_path: Path) -> None:
        (tmp_path / ".env").write_text(f"AUTH_SECRET_KEY_FILE={file(STRONG.encode())}\n")
        assert load().secrets[0].get_secret_value() == STRONG

    def test_the_name_may_be_in_small_letters(self, load: Load, file: Callable[[bytes], str]) -> None:
        assert load(auth_secret_key_file=file(STRONG.encode())).secrets[0].get_secret_value() == STRONG

    def test_a_value_and_a_file_for_it_are_refused(self, load: Load, file: Callable[[bytes], str]) -> None:
        text = refusal(load, AUTH_SECRET_KEY=STRONG, AUTH_SECRET_KEY_FILE=file(STRONG.encode()))
        assert text == "AUTH_SECRET_KEY and AUTH_SECRET_KEY_FILE are both set"

    def test_a_file_that_is_not_there_is_named(self, load: Load) -> None:
        text = refusal(load, AUTH_SECRET_KEY_FILE="/nowhere/secret")
        assert text == "AUTH_SECRET_KEY_FILE: /nowhere/secret: No such file or directory"

    @pytest.mark.parametrize("content", [b"\xff\xfe" * 20, b"x" * (MAX_LENGTH + 1)], ids=["no text", "too long"])
    def test_what_is_no_setting_is_refused(self, load: Load, file: Callable[[bytes], str], content: bytes) -> None:
        assert refusal(load, AUTH_DATABASE_URL_FILE=file(content)).startswith("AUTH_DATABASE_URL_FILE: /")

    @pytest.mark.parametrize("content", [b"", b"\n", b"canary"])
    def test_it_is_checked_like_a_value(self, load: Load, file: Callable[[bytes], str], content: bytes) -> None:
        given = {name: value for name, value in PRODUCTION.items() if name != "AUTH_SECRET_KEY"}
        text = refusal(load, **given, AUTH_SECRET_KEY_FILE=file(content))
        assert text.startswith("AUTH_SECRET_KEY")
        assert "canary" not in text

    def test_what_is_no_setting_has_no_file_either(self, load: Load) -> None:
        line = "unknown setting AUTH_SECRET_KEI_FILE (did you mean AUTH_SECRET_KEY_FILE?)"
        assert refusal(load, AUTH_SECRET_KEI_FILE="/x") == line
        assert refusal(load, AUTH_FILE="/x", AUTH_SECRET_KEI_FILE="/x").startswith("unknown setting AUTH_FILE")

    @pytest.mark.parametrize("mode", [0o644, 0o444, 0o604])
    def test_one_that_everybody_may_read_is_told_of(self, load: Load, file: Callable[[bytes], str], mode: int) -> None:
        path = Path(file(STRONG.encode()))
        path.chmod(mode)
        settings = load(AUTH_SECRET_KEY_FILE=str(path))
        assert exposed_files(settings) == [ExposedFile("AUTH_SECRET_KEY_FILE", mode)]

    @pytest.mark.parametrize("mode", [0o600, 0o440, 0o640])
    def test_one_that_others_may_not_read_is_not(self, load: Load, file: Callable[[bytes], str], mode: int) -> None:
        path = Path(file(STRONG.encode()))
        path.chmod(mode)
        settings = load(AUTH_SECRET_KEY_FILE=str(path))
        assert exposed_files(settings) == []

    @pytest.mark.parametrize("way", ["mounted/key", "mounted/../link/key"], ids=["directly", "by a link"])
    def test_one_that_a_platform_mounts_is_not(
        self, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        """Docker and Kubernetes mount secrets as 0444 or 0644, in a container with nobody else in it."""
        mounted = tmp_path / "mounted"
        mounted.mkdir()
        (tmp_path / "link").symlink_to(mounted)  # as /var/run is one to /run
        (mounted / "key").write_text(STRONG)
        (mounted / "key").chmod(0o444)
        settings = load(AUTH_SECRET_KEY_FILE=str(tmp_path / way))
        assert len(exposed_files(settings)) == 1
        monkeypatch.setattr("core.settings.files.MOUNTED", mounted)
        assert exposed_files(settings) == []

    def test_who_starts_is_warned_in_one_line_for_each(
        self, load: Load, file: Callable[[bytes], str], tmp_path: Path
    ) -> None:
        path = Path(file(STRONG.encode()))
        path.chmod(0o644)
        (tmp_path / ".env").write_text(f"AUTH_SECRET_KEY_FILE={path}\n")
        settings = load()
        with capture_logs() as lines:
            warn_of_exposed_files(settings)
        assert lines == [
            {
                "event": "setting_file_readable_by_others",
                "log_level": "warning",
                "variable": "AUTH_SECRET_KEY_FILE",
                "mode": "0644",
            }
        ]
