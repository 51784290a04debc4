"""The file of leaked passwords: what is in it is found, and next to nothing else; it is made whole or not at all."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from hashlib import sha1
from io import BytesIO
from pathlib import Path

import pytest

from core.authentication.passwords.fingerprints import Fingerprints, FingerprintsError, hash_of, write
from core.authentication.passwords.leaked_list import HashSpool, LeakedListError, hashes_of
from core.authentication.passwords.policy import COMMON
from tests.support.commands import invoked
from tests.support.servers import ROOT, eventually

LEAKED = [f"leaked {number}" for number in range(100_000)]


def line(password: str, count: int | None = None) -> str:
    digest = sha1(password.encode()).hexdigest()
    return digest if count is None else f"{digest.upper()}:{count}"


def imported(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "list.txt").write_text(text)
    return invoked(folder, "passwords", "import", str(folder / "list.txt"), "--output", str(folder / "made"), *options)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fingerprints") / "made"
    assert write(path, sorted(hash_of(password.encode()) for password in LEAKED)) == len(LEAKED)
    return path


class TestTheFile:
    def test_has_what_was_written(self, path: Path) -> None:
        found = Fingerprints(path)
        assert len(found) == len(LEAKED)
        assert [password for password in LEAKED if password not in found] == []

    def test_takes_one_in_a_million_for_one_of_it(self, path: Path) -> None:
        """100,000 others find 0.08 on average; three would be found once in ten thousand runs of another list."""
        found = Fingerprints(path)
        assert sum(f"not leaked {number}" in found for number in range(100_000)) < 3

    def test_takes_less_than_four_bytes_each(self, path: Path) -> None:
        assert path.stat().st_size < 4 * len(LEAKED)

    @pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 1000])
    def test_may_be_of_any_size(self, tmp_path: Path, size: int) -> None:
        chosen = LEAKED[:size]
        write(tmp_path / "made", sorted(hash_of(password.encode()) for password in chosen))
        found = Fingerprints(tmp_path / "made")
        assert len(found) == size
        assert [password for password in LEAKED[:2000] if password in found] == chosen

    def test_has_the_first_and_the_last_of_all_hashes(self, tmp_path: Path) -> None:
        hashes = [0, 1, *(number << 55 for number in range(1, 100)), (1 << 64) - 1]
        assert write(tmp_path / "made", hashes) == len(hashes) - 1  # 0 and 1 differ behind the fingerprint
        assert len(Fingerprints(tmp_path / "made")) == len(hashes) - 1

    @pytest.mark.parametrize("kept", [0, 7, 23, 24, 100, -1], ids=str)
    def test_is_refused_where_a_part_is_missing(self, tmp_path: Path, path: Path, kept: int) -> None:
        (tmp_path / "part").write_bytes(path.read_bytes()[:kept])
        with pytest.raises(FingerprintsError):
            Fingerprints(tmp_path / "part")

    def test_that_comes_with_the_service_has_what_its_description_says(self) -> None:
        assert len(Fingerprints(COMMON)) == 93_614
        assert f"{len(Fingerprints(COMMON)):,}" in COMMON.with_name("common.md").read_text()


class TestAnImport:
    @pytest.mark.parametrize("counted", [True, False])
    def test_takes_lines_with_a_count_and_without(self, tmp_path: Path, *, counted: bool) -> None:
        text = "".join(f"{line(password, 3 if counted else None)}\r\n" for password in LEAKED[:500])
        done = imported(tmp_path, f"\ufeff{text}\n")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"500 fingerprints in {tmp_path / 'made'}\n"
        assert all(password in Fingerprints(tmp_path / "made") for password in LEAKED[:500])

    def test_gives_one_file_whatever_the_order(self, tmp_path: Path) -> None:
        lines = sorted(line(password) for password in LEAKED[:5000])
        imported(tmp_path, "\n".join(lines))
        in_order = (tmp_path / "made").read_bytes()
        random.Random(20261201).shuffle(lines)
        imported(tmp_path, "\n".join(lines))
        assert (tmp_path / "made").read_bytes() == in_order

    def test_counts_a_repeated_line_once(self, tmp_path: Path) -> None:
        assert imported(tmp_path, f"{line('one')}\n" * 50).stdout.startswith("1 fingerprints")

    def test_leaves_out_what_was_seen_less_often(self, tmp_path: Path) -> None:
        done = imported(tmp_path, f"{line('often', 9)}\n{line('seldom', 8)}\n", "--min-count", "9")
        assert done.returncode == 0
        assert [password in Fingerprints(tmp_path / "made") for password in ("often", "seldom")] == [True, False]

    @pytest.mark.parametrize(
        ("text", "options", "said"),
        [
            ("password\n", (), "line 1 is no SHA-1"),
            (f"{line('one')}\n{line('two')[:32]}\n", (), "line 2 is no SHA-1"),
            (f"{line('one')}:many\n", (), "line 1 is no SHA-1"),
            ("\0" * 100_000, (), "line 1 is no SHA-1"),
            (f"{line('one', 2)}\n{line('two')}\n", ("--min-count", "2"), "line 2 has no count"),
        ],
        ids=["a password", "an NTLM hash", "no number", "no lines", "no count"],
    )
    def test_refuses_other_lists_and_leaves_the_earlier_file(
        self, tmp_path: Path, text: str, options: tuple[str, ...], said: str
    ) -> None:
        (tmp_path / "made").write_text("earlier")
        done = imported(tmp_path, text, *options)
        assert done.returncode == 1
        assert said in done.stderr
        assert (tmp_path / "made").read_text() == "earlier"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["list.txt", "made"]

    def test_makes_the_file_of_the_setting(self, tmp_path: Path) -> None:
        (tmp_path / "list.txt").write_text(line("one"))
        command = "passwords", "import", str(tmp_path / "list.txt")
        done = invoked(tmp_path, *command, AUTH_PASSWORD_BREACHED=str(tmp_path / "leaked"))
        assert done.returncode == 0
        assert "one" in Fingerprints(tmp_path / "leaked")
        assert "AUTH_PASSWORD_BREACHED" in invoked(tmp_path, *command).stderr

    def test_that_is_interrupted_leaves_nothing_half_done(self, tmp_path: Path) -> None:
        (tmp_path / "made").write_text("earlier")
        command = [sys.executable, "-m", "cli.main", "passwords", "import", "-", "--output", str(tmp_path / "made")]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(f"{line('one')}\n".encode() * 100_000)
            process.stdin.flush()
            assert eventually(lambda: len(list(tmp_path.iterdir())) == 2, 30)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=30)
        assert process.returncode == 1
        assert b"Traceback" not in error
        assert [path.name for path in tmp_path.iterdir()] == ["made"]
        assert (tmp_path / "made").read_text() == "earlier"


class TestTheSpool:
    def test_sorts_more_than_it_keeps_in_memory(self, tmp_path: Path) -> None:
        chance = random.Random(20261201)
        hashes = [chance.getrandbits(53) for _ in range(20_000)]  # of one part, which is spilt four times
        spool = HashSpool(tmp_path)
        spool.add(hashes)
        assert list(tmp_path.iterdir())
        assert len(spool) == 20_000
        assert list(spool) == list(spool) == sorted(hashes)

    def test_does_not_read_a_line_without_an_end(self) -> None:
        endless = BytesIO(b"A" * 1_000_000)
        with pytest.raises(LeakedListError):
            list(hashes_of(endless, min_count=0))
        assert endless.tell() < 1000
