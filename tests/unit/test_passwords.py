"""Passwords: the policy as a table, hashes that truncate nothing, and one hash computed whatever is asked."""

from __future__ import annotations

import gc
import random
import unicodedata
from datetime import timedelta
from pathlib import Path
from typing import Any

import argon2
import argon2.low_level
import bcrypt
import pytest
from passlib.hash import pbkdf2_sha256, pbkdf2_sha512, scrypt, sha512_crypt
from structlog.testing import capture_logs

from core.authentication.errors import Overloaded
from core.authentication.passwords.fingerprints import hash_of, write
from core.authentication.passwords.hasher import PasswordHasher
from core.authentication.passwords.policy import PasswordPolicy
from core.errors import InvalidInput
from core.settings.files import SettingsError
from core.settings.groups import PasswordSettings
from tests.support.hashes import computed_hashes

COMMON_PASSWORDS = Path(__file__).parents[1] / "support" / "common_passwords.txt"
PASSWORD = "correct horse battery"
WRONG = "a quite different sentence"
ADDRESS = "annabel@example.com"
EMOJI = "".join(chr(0x1F600 + number) for number in range(64))
KANA = "".join(chr(0x3042 + number) for number in range(64))
LONG = "correct horse battery staple " * 5
SALT = "abcdefghijklmnopqrstuu"  # 22 characters, the last without spare bits


def hasher(**changes: Any) -> PasswordHasher:
    cheap = {"bcrypt_cost": 4, "argon2_memory": 8, "argon2_time": 1, "hash_concurrency": 2, "_env_file": None}
    return PasswordHasher(PasswordSettings(**cheap | changes))


BCRYPT = hasher()
ARGON2 = hasher(scheme="argon2id")
both_schemes = pytest.mark.parametrize("passwords", [BCRYPT, ARGON2], ids=["bcrypt_sha256", "argon2id"])


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that were computed to their end, each with the cost that it was computed at."""
    return computed_hashes(monkeypatch)


def private_memory() -> int:
    """The bytes that are this process's own: pages of a mapped file are not."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


def refusal(password: str, *, minimum: int = 12, address: str = ADDRESS, **settings: Any) -> str | None:
    """The code of the one reason, or None where the password is accepted."""
    try:
        PasswordPolicy(PasswordSettings(min_length=minimum, **settings)).check(
            password, address=address, field="password"
        )
    except InvalidInput as error:
        (reason,) = error.errors
        assert reason.field == "password"
        assert not password or password not in reason.message
        return reason.code
    return None


class TestPolicy:
    @pytest.mark.parametrize(
        ("password", "minimum"),
        [
            ("tuv kzm qpw", 11),
            (EMOJI[:12], 12),
            ("\U0001f600" * 12, 12),
            (KANA, 12),
            (EMOJI, 12),
            (LONG[:128], 12),
            (EMOJI * 2, 12),
            ("e\u0301" * 8 + "vkqxjw" * 20, 12),  # 136 code points as typed, 128 composed
            ("kztqvpxw", 8),
            ("correct horse battery", 12),
            ("alllowercasewords", 12),
            ("198374650192", 12),
            ("           \U0001f600", 12),
            ("'; DROP TABLE users; --", 12),
            ("<script>alert(1)</script>", 12),
            ("\u202etxt.exe drowssap", 12),
            ("vk\x00qx\x00jw\x00tz\x00", 12),
            (" leading and trailing ", 12),
        ],
        ids=ascii,
    )
    def test_takes_what_is_long_enough_and_not_known(self, password: str, minimum: int) -> None:
        assert refusal(password, minimum=minimum) is None

    @pytest.mark.parametrize(
        ("password", "minimum"),
        [
            ("", 12),
            ("kztqvpxwhjy", 12),
            (EMOJI[:11], 12),
            ("e\u0301" * 11, 12),  # 22 code points as typed, 11 letters
            ("kztqvpx", 8),
        ],
        ids=ascii,
    )
    def test_counts_code_points_against_the_minimum(self, password: str, minimum: int) -> None:
        assert refusal(password, minimum=minimum) == "password_too_short"

    @pytest.mark.parametrize(
        "password",
        [LONG[:129], EMOJI * 2 + "a", "kz" * 500_000, "\ufb2c" * 43 + "a"],  # the last is 44 characters, but 130 in NFC
        ids=["129", "129 emoji", "a million", "129 once composed"],
    )
    def test_refuses_what_is_longer_than_128_code_points(self, password: str) -> None:
        assert refusal(password) == "password_too_long"

    @pytest.mark.parametrize(
        ("password", "address"),
        [
            ("annabel@example.com", ADDRESS),
            ("my annabel@example.com!", ADDRESS),
            ("ANNABEL@EXAMPLE.COM", ADDRESS),
            ("xx annabel 98 qq", ADDRESS),
            ("kzqAnNaBeLvwp", ADDRESS),
            ("a.very.long.one 1", "a.very.long.one@example.com"),
            ("zo\u0308e\u0308s sentence", "z\u00f6\u00ebs@example.com"),
            ("al@example.com is me", "al@example.com"),
        ],
        ids=ascii,
    )
    def test_refuses_what_contains_the_address(self, password: str, address: str) -> None:
        assert refusal(password, address=address) == "password_contains_email"

    def test_lets_a_short_local_part_stand_in_a_word(self) -> None:
        assert refusal("the final journal", address="al@example.com") is None

    @pytest.mark.parametrize(
        "password",
        [
            "outstanding!",
            "1qaz2wsx3edc",
            "1QAZ2WSX3EDC",
            "password1234",
            "PassWord2024!",
            "!!!password!!!",
            "123iloveyou456",
            "Michael 1985",
            "passw0rd1234",
            "passwordpassword",
            "letmeinletmein",
            "Password1!Password1!",
            "monkey!monkey!",
            "qwertyqwerty",
            "abcabcabcabc",
            "123123123123",
            "121212121212",
            "111111111111",
            "aaaaaaaaaaaaaaaa",
            "            ",
            "sunshine\x00\x00\x00\x00\x00",
        ],
        ids=ascii,
    )
    def test_refuses_common_ones_bare_padded_or_repeated(self, password: str) -> None:
        assert refusal(password) == "password_too_common"

    def test_refuses_at_least_3000_known_passwords_that_are_long_enough(self) -> None:
        known = COMMON_PASSWORDS.read_text().splitlines()
        assert len(set(known)) >= 3000
        assert [word for word in known if refusal(word) != "password_too_common"] == []

    def test_opens_its_lists_without_reading_them(self) -> None:
        """The list of one process is the list of all: a page of the file, and not 17 MB for each."""
        before = private_memory()
        policies = [PasswordPolicy(PasswordSettings()) for _ in range(50)]
        assert [policy.refusal("outstanding!", address=None, field="password") for policy in policies].count(None) == 0
        assert private_memory() - before < 1024 * 1024


ACME = ("Acme", "rocket", "zoe\u0308")


class TestWordsOfTheOrganisation:
    @pytest.mark.parametrize(
        "password",
        [
            "AcmeRocks2026!",
            "acmeacmeacmeacme",
            "ACME-acme-ACME-acme",
            "my acme word",
            "RocketScience",
            "acmerocket2026!!",
            "ZO\u00cb ZO\u00cb is mine",
        ],
        ids=ascii,
    )
    def test_count_for_nothing(self, password: str) -> None:
        assert refusal(password, words=ACME) == "password_of_known_words"

    @pytest.mark.parametrize("password", ["acme outstanding!", "passwordacmepassword", "acme111111111111"])
    def test_do_not_make_a_common_password_another(self, password: str) -> None:
        assert refusal(password, words=ACME) == "password_too_common"

    @pytest.mark.parametrize("password", ["acme kztqvpxwhjyf", "the acme of battery horses", "kztqvpxwhjyfacme"])
    def test_may_stand_beside_what_is_long_enough_without_them(self, password: str) -> None:
        assert refusal(password, words=ACME) is None

    def test_are_none_where_none_are_named(self) -> None:
        assert refusal("AcmeRocks2026!") is None

    def test_come_by_commas_or_by_lines_of_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "words").write_text("acme\nbuzz word, rocket\n\n")
        monkeypatch.setenv("AUTH_PASSWORD_WORDS_FILE", str(tmp_path / "words"))
        assert PasswordSettings().words == ("acme", "buzz word", "rocket")

    def test_have_three_characters_or_mean_nothing(self) -> None:
        with pytest.raises(ValueError, match="at least three"):
            PasswordSettings(words="ab,acme")


@pytest.fixture(scope="module")
def breached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("leaked") / "leaked"
    write(path, sorted(map(hash_of, [b"kztqvpxwhjyf", b"KzTqVpXw hJyF?", "kaf\u00e9 zum zahn".encode(), b"zq"])))
    return path


class TestLeakedPasswords:
    @pytest.mark.parametrize(
        "password",
        ["kztqvpxwhjyf", "KZTQVPXWHJYF", "KzTqVpXw hJyF?", "kafe\u0301 zum zahn", "acmekztqvpxwhjyf"],
        ids=ascii,
    )
    def test_are_refused_as_they_leaked(self, password: str, breached: Path) -> None:
        assert refusal(password, breached=breached, words=ACME) == "password_breached"

    def test_are_refused_beside_the_common_ones(self, breached: Path) -> None:
        assert refusal("outstanding!", breached=breached) == "password_too_common"

    def test_are_no_words(self, breached: Path) -> None:
        """Among a billion leaked passwords is each short text: what is padded with good digits is not bad for it."""
        assert refusal("zq93847562910384", breached=breached) is None
        assert refusal("kztqvpxwhjyf1", breached=breached) is None

    def test_name_the_setting_where_their_file_cannot_be_used(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"^AUTH_PASSWORD_BREACHED: .*missing: No such file"):
            refusal(PASSWORD, breached=tmp_path / "missing")
        (tmp_path / "list").write_text("no such list")
        with pytest.raises(SettingsError, match=r"^AUTH_PASSWORD_BREACHED: .*twinauth passwords import"):
            refusal(PASSWORD, breached=tmp_path / "list")


class TestHashes:
    @both_schemes
    @pytest.mark.parametrize(
        ("one", "another"),
        [
            ("a" * 72 + "X", "a" * 72 + "Y"),
            ("a" * 72, "a" * 73),
            ("a" * 71 + "X", "a" * 71 + "Y"),
            ("a" * 127 + "X", "a" * 127 + "Y"),
            (EMOJI * 2, EMOJI * 2 + "\U0001f600"),
            (EMOJI + EMOJI[:63] + "\U0001f643", EMOJI + EMOJI[:63] + "\U0001f644"),
            ("vkqxjwtzpmhy\x00X", "vkqxjwtzpmhy\x00Y"),
            ("vkqxjwtzpmhy", "vkqxjwtzpmhy\x00"),
            ("\x00" * 12, "\x00" * 13),
            (PASSWORD, PASSWORD.title()),
            (PASSWORD, " " + PASSWORD),
            (PASSWORD, PASSWORD + " "),
            ("of\ufb01cial statement", "official statement"),
            ("\uff41bcdefghijkl", "abcdefghijkl"),
            ("stra\u00dfenbahnen", "strassenbahnen"),
            (PASSWORD, ""),
        ],
        ids=lambda text: ascii(text[-16:]) if isinstance(text, str) else None,
    )
    def test_of_different_passwords_never_match(self, passwords: PasswordHasher, one: str, another: str) -> None:
        stored = passwords.hash(one)
        assert passwords.verify(one, stored)
        assert not passwords.verify(another, stored)

    @both_schemes
    @pytest.mark.parametrize(
        "password", ["caf\u00e9 au lait, please", "\uac01\uac02\uac03 and more of them", "\u212bngstrom units"]
    )
    def test_of_equal_key_presses_match_in_either_normal_form(self, passwords: PasswordHasher, password: str) -> None:
        composed, decomposed = (unicodedata.normalize(form, password) for form in ("NFC", "NFD"))
        assert composed != decomposed
        assert passwords.verify(decomposed, passwords.hash(composed))
        assert passwords.verify(composed, passwords.hash(decomposed))

    @both_schemes
    def test_of_one_password_differ_by_salt(self, passwords: PasswordHasher) -> None:
        assert passwords.hash(PASSWORD) != passwords.hash(PASSWORD)

    @pytest.mark.parametrize(
        ("passwords", "prefix"),
        [
            (BCRYPT, "$bcrypt-sha256$v=2,t=2b,r=4$"),
            (hasher(bcrypt_cost=5), "$bcrypt-sha256$v=2,t=2b,r=5$"),
            (ARGON2, "$argon2id$v=19$m=8,t=1,p=1$"),
            (
                hasher(scheme="argon2id", argon2_memory=32, argon2_time=3, argon2_parallelism=2),
                "$argon2id$v=19$m=32,t=3,p=2$",
            ),
        ],
        ids=["bcrypt_sha256", "dearer", "argon2id", "dearer argon2id"],
    )
    def test_are_of_the_scheme_and_cost_of_the_settings(self, passwords: PasswordHasher, prefix: str) -> None:
        assert passwords.hash(PASSWORD).startswith(prefix)


LEGACY = {
    "bcrypt 2b": bcrypt.hashpw(PASSWORD.encode(), b"$2b$04$" + SALT.encode()).decode(),
    "bcrypt 2a": bcrypt.hashpw(PASSWORD.encode(), b"$2a$04$" + SALT.encode()).decode(),
    "bcrypt 2y": bcrypt.hashpw(PASSWORD.encode(), b"$2b$04$" + SALT.encode()).decode().replace("$2b$", "$2y$"),
    "argon2id": argon2.low_level.hash_secret(
        PASSWORD.encode(), b"saltsalt", 1, 8, 1, 32, argon2.low_level.Type.ID
    ).decode(),
    "argon2i": argon2.low_level.hash_secret(
        PASSWORD.encode(), b"saltsalt", 1, 8, 1, 32, argon2.low_level.Type.I
    ).decode(),
    "pbkdf2_sha256": pbkdf2_sha256.using(rounds=1).hash(PASSWORD),
    "pbkdf2_sha512": pbkdf2_sha512.using(rounds=1).hash(PASSWORD),
    "scrypt": scrypt.using(rounds=1, block_size=1).hash(PASSWORD),
    "sha512_crypt": sha512_crypt.using(rounds=1000).hash(PASSWORD),
}
legacy = pytest.mark.parametrize("stored", LEGACY.values(), ids=LEGACY.keys())


class TestLegacyHashes:
    @legacy
    def test_let_their_owners_in_and_nobody_else(self, stored: str) -> None:
        assert BCRYPT.verify(PASSWORD, stored)
        assert not BCRYPT.verify(WRONG, stored)

    @legacy
    def test_are_to_be_replaced(self, stored: str) -> None:
        assert BCRYPT.needs_upgrade(stored)

    def test_of_a_known_answer_match(self) -> None:
        stored = (  # the second example in the specification of SHA-crypt
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
        )
        assert BCRYPT.verify("Hello world!", stored)
        assert not BCRYPT.verify("Hello world?", stored)

    def test_of_plain_bcrypt_match_no_password_that_it_would_truncate(self) -> None:
        stored = bcrypt.hashpw(b"a" * 72, b"$2b$04$" + SALT.encode()).decode()
        assert BCRYPT.verify("a" * 72, stored)
        assert not BCRYPT.verify("a" * 73, stored)
        assert not BCRYPT.verify("a" * 128, stored)
        assert not BCRYPT.verify("a" * 72 + "\x00", stored)


class TestUpgrades:
    @both_schemes
    def test_are_not_needed_by_todays_hashes(self, passwords: PasswordHasher) -> None:
        assert not passwords.needs_upgrade(passwords.hash(PASSWORD))

    @pytest.mark.parametrize(
        ("past", "present"),
        [
            (hasher(), hasher(bcrypt_cost=5)),
            (hasher(), ARGON2),
            (ARGON2, hasher()),
            (ARGON2, hasher(scheme="argon2id", argon2_memory=16)),
            (ARGON2, hasher(scheme="argon2id", argon2_time=2)),
        ],
        ids=["bcrypt cost", "bcrypt to argon2", "argon2 to bcrypt", "argon2 memory", "argon2 passes"],
    )
    def test_are_needed_by_what_cost_less_or_is_of_another_scheme(
        self, past: PasswordHasher, present: PasswordHasher
    ) -> None:
        assert present.needs_upgrade(past.hash(PASSWORD))

    @pytest.mark.parametrize(
        ("past", "present"),
        [
            (hasher(bcrypt_cost=5), hasher(bcrypt_cost=4)),
            (hasher(scheme="argon2id", argon2_memory=16), ARGON2),
            (hasher(scheme="argon2id", argon2_time=2), ARGON2),
        ],
        ids=["bcrypt cost", "argon2 memory", "argon2 passes"],
    )
    def test_never_make_a_hash_cheaper(self, past: PasswordHasher, present: PasswordHasher) -> None:
        assert not present.needs_upgrade(past.hash(PASSWORD))


ARGON2_TAIL = "$KUVobc2Zc641ptRai3EOIQ$2hU2u3pQKdvcPsUuFgIBBFiL/TLZ6e3p5v3C5uIABCg"
BCRYPT_TAIL = SALT + "a" * 30 + "u"
SHA256_TAIL = "$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43
SHA512_TAIL = "$saltstring$" + "a" * 86
DAMAGED = [
    "",
    "x",
    "$",
    "*",
    "!",
    "\x00",
    "\u00e9",
    "\U0001f600" * 60,
    "plain text",
    PASSWORD,
    "5f4dcc3b5aa765d61d8327deb882cf99",
    "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
    "$2b$",
    "$2b$04$",
    "$2b$04$short",
    "$2b$04$" + SALT,
    "$2b$4$" + BCRYPT_TAIL,
    "$2b$-4$" + BCRYPT_TAIL,
    "$2b$00$" + BCRYPT_TAIL,
    "$2b$99$" + BCRYPT_TAIL,
    "$2b$04$" + BCRYPT_TAIL + "a",
    "$2b$04$" + BCRYPT_TAIL[:-1] + "!",
    "$2x$04$" + BCRYPT_TAIL,
    "$2z$04$" + BCRYPT_TAIL,
    "$bcrypt-sha256$",
    "$bcrypt-sha256$v=2,t=2b,r=4$" + SALT,
    "$bcrypt-sha256$v=3,t=2b,r=4$" + SALT + "$" + "a" * 30 + "u",
    "$bcrypt-sha256$v=2,t=2b,r=99$" + SALT + "$" + "a" * 30 + "u",
    "$argon2id$",
    "$argon2id$v=19$m=8,t=1,p=1",
    "$argon2id$v=19$m=8,t=1,p=0" + ARGON2_TAIL,
    "$argon2id$v=19$m=1,t=1,p=1" + ARGON2_TAIL,
    "$argon2id$v=19$m=08,t=1,p=1" + ARGON2_TAIL,
    "$argon2id$v=99$m=8,t=1,p=1" + ARGON2_TAIL,
    "$argon2id$v=19$m=99999999999,t=1,p=1" + ARGON2_TAIL,
    "$argon2id$v=19$m=8,t=1,p=1,keyid=AAAA" + ARGON2_TAIL,
    "$argon2id$v=19$m=8,t=1,p=1,data=AAAA" + ARGON2_TAIL,
    "$argon2x$v=19$m=8,t=1,p=1" + ARGON2_TAIL,
    "$pbkdf2-sha256$0" + SHA256_TAIL,
    "$pbkdf2-sha256$one" + SHA256_TAIL,
    "$pbkdf2-sha256$99999999999999999999" + SHA256_TAIL,
    "$scrypt$",
    "$scrypt$ln=1,r=1,0=1" + SHA256_TAIL,
    "$scrypt$ln=1,r=1,p=0" + SHA256_TAIL,
    "$scrypt$ln=1,r=1" + SHA256_TAIL,
    "$7$CU..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
    "$6$",
    "$6$saltstring$short",
    "$6$rounds=1" + SHA512_TAIL,
]
TOO_DEAR = [
    "$2b$16$" + BCRYPT_TAIL,
    "$2b$31$" + BCRYPT_TAIL,
    "$bcrypt-sha256$v=2,t=2b,r=16$" + SALT + "$" + "a" * 30 + "u",
    "$argon2id$v=19$m=4194304,t=1,p=1" + ARGON2_TAIL,
    "$argon2id$v=19$m=1048577,t=1,p=1" + ARGON2_TAIL,
    "$argon2id$v=19$m=8,t=11,p=1" + ARGON2_TAIL,
    "$argon2id$v=19$m=256,t=1,p=17" + ARGON2_TAIL,
    "$pbkdf2-sha256$4294967295" + SHA256_TAIL,
    "$pbkdf2-sha512$5000001$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 86,
    "$scrypt$ln=18,r=8,p=1" + SHA256_TAIL,
    "$scrypt$ln=14,r=17,p=1" + SHA256_TAIL,
    "$scrypt$ln=14,r=8,p=9" + SHA256_TAIL,
    "$6$rounds=999999999" + SHA512_TAIL,
]


# passlib repairs bits that a careless tool left set, and says so with a warning.
unrepaired = pytest.mark.filterwarnings("ignore::passlib.exc.PasslibHashWarning")


class TestStoredHashesThatAreNotOurs:
    """A row that was damaged or tampered with answers as a wrong password does, and costs as much."""

    @both_schemes
    @pytest.mark.parametrize("stored", DAMAGED, ids=lambda text: ascii(text[:40]) if isinstance(text, str) else None)
    def test_match_nothing_when_damaged(self, passwords: PasswordHasher, stored: str) -> None:
        assert passwords.verify(PASSWORD, stored) is False

    @pytest.mark.parametrize("stored", TOO_DEAR, ids=lambda text: ascii(text[:40]))
    def test_match_nothing_and_are_never_computed_when_too_dear(self, stored: str, computed: list[str]) -> None:
        assert BCRYPT.verify(PASSWORD, stored) is False
        assert ARGON2.verify(PASSWORD, stored) is False
        assert computed == ["bcrypt 04", "argon2 m=8 t=1"]

    @unrepaired
    def test_never_raise_however_they_are_damaged(self) -> None:
        hashes = [BCRYPT.hash(PASSWORD), ARGON2.hash(PASSWORD), *LEGACY.values()]
        chance = random.Random(20261121)
        for _ in range(600):
            stored = list(chance.choice(hashes))
            for _ in range(chance.randint(1, 3)):
                at = chance.randrange(len(stored) + 1)
                # No digits: a cost that grows by chance would make this slow and prove nothing.
                put = chance.choice(["", "$", "=", ",", "/", ".", "a", "Z", "\x00", "\u00e9", "\ud800", "$$"])
                stored[at : at + chance.randint(0, 2)] = put
                if chance.random() < 0.3:
                    del stored[chance.randrange(len(stored) + 1) :]
            assert BCRYPT.verify(WRONG, "".join(stored)) is False, ascii("".join(stored))

    @unrepaired
    def test_match_nothing_when_their_spare_bits_are_set(self) -> None:
        assert BCRYPT.verify(PASSWORD, "$2b$04$" + "a" * 53) is False
        assert BCRYPT.verify(PASSWORD, f"$bcrypt-sha256$v=2,t=2b,r=4${'a' * 22}${'a' * 31}") is False

    def test_leave_a_line_in_the_log_without_the_hash(self) -> None:
        with capture_logs() as lines:
            BCRYPT.verify(PASSWORD, "$argon2id$canary")
        assert [(line["log_level"], line["event"]) for line in lines] == [("warning", "stored password hash refused")]
        assert "canary" not in str(lines)
        assert PASSWORD not in str(lines)


class TestOneHashIsComputed:
    """Whatever is asked, so that the time of an answer does not tell who has an account."""

    @pytest.mark.parametrize(
        ("password", "stored", "cost"),
        [
            (WRONG, None, "bcrypt 04"),
            (WRONG, BCRYPT.hash(PASSWORD), "bcrypt 04"),
            (PASSWORD, BCRYPT.hash(PASSWORD), "bcrypt 04"),
            ("a" * 128, BCRYPT.hash(PASSWORD), "bcrypt 04"),
            ("a" * 128, None, "bcrypt 04"),
            ("", None, "bcrypt 04"),
            (PASSWORD, "junk", "bcrypt 04"),
            (PASSWORD, "", "bcrypt 04"),
            (PASSWORD, "$2b$04$" + SALT, "bcrypt 04"),
            (PASSWORD, "$bcrypt-sha256$v=2,t=2b,r=31$" + SALT + "$" + "a" * 30 + "u", "bcrypt 04"),
            (WRONG, LEGACY["bcrypt 2b"], "bcrypt 04"),
            ("a" * 80, LEGACY["bcrypt 2b"], "bcrypt 04"),
            ("vkqxjwtzpmhy\x00", LEGACY["bcrypt 2b"], "bcrypt 04"),
            (WRONG, LEGACY["argon2id"], "argon2 m=8,t=1,p=1"),
            (WRONG, LEGACY["pbkdf2_sha256"], "pbkdf2"),
        ],
        ids=[
            "unknown user",
            "wrong password",
            "right password",
            "long password",
            "unknown user, long password",
            "empty password",
            "stored junk",
            "stored nothing",
            "stored salt without hash",
            "stored hash too dear",
            "plain bcrypt, wrong password",
            "plain bcrypt, more than 72 bytes",
            "plain bcrypt, NUL",
            "argon2, wrong password",
            "pbkdf2, wrong password",
        ],
    )
    def test_by_a_verification(self, password: str, stored: str | None, cost: str, computed: list[str]) -> None:
        BCRYPT.verify(password, stored)
        assert computed == [cost]

    @pytest.mark.parametrize(
        ("changes", "cost"),
        [
            ({"bcrypt_cost": 5}, "bcrypt 05"),
            ({"scheme": "argon2id"}, "argon2 m=8 t=1"),
            ({"scheme": "argon2id", "argon2_memory": 16, "argon2_time": 2}, "argon2 m=16 t=2"),
        ],
        ids=["bcrypt_sha256", "argon2id", "dearer argon2id"],
    )
    def test_for_an_unknown_user_at_the_cost_of_today(
        self, changes: dict[str, Any], cost: str, computed: list[str]
    ) -> None:
        passwords = hasher(**changes)
        assert passwords.verify(PASSWORD, None) is False
        assert computed == [cost]

    def test_by_hashing(self, computed: list[str]) -> None:
        BCRYPT.hash(PASSWORD)
        assert computed == ["bcrypt 04"]

    def test_by_no_refusal_of_the_policy(self, computed: list[str]) -> None:
        assert refusal("short") == "password_too_short"
        assert refusal("kz" * 500_000) == "password_too_long"
        assert computed == []


class TestTheHashPool:
    def test_stands_before_every_hash(self, computed: list[str]) -> None:
        passwords = hasher(hash_concurrency=1, hash_wait=timedelta(0))
        hashes = (
            lambda: passwords.hash(PASSWORD),
            lambda: passwords.verify(PASSWORD, None),
            lambda: passwords.verify(PASSWORD, "junk"),
            lambda: passwords.verify(PASSWORD, LEGACY["bcrypt 2b"]),
        )

        def ask_while_it_is_full() -> None:
            for ask in hashes:
                with pytest.raises(Overloaded):
                    ask()

        passwords._pool.run(ask_while_it_is_full)
        assert computed == []
        assert passwords.verify(PASSWORD, passwords.hash(PASSWORD))
