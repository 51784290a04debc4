"""JSON that two readers could read differently is not read at all."""

import time
from typing import Any

import pytest

from core.strict_json import MAX_DEPTH, strict_loads


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * levels + closing * levels


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"{}", {}),
        (b"[]", []),
        (b"null", None),
        (b"true", True),
        (b"0", 0),
        (b"-0", 0),
        (b"1.5", 1.5),
        (b"1e3", 1000.0),
        (b"-1.7976931348623157e308", -1.7976931348623157e308),
        (b"1e-999", 0.0),
        (b"9223372036854775808", 2**63),
        (b'"text"', "text"),
        (b'""', ""),
        (b' \t\r\n{"a" : 1}\n ', {"a": 1}),
        (b'{"a": {"a": 1}, "b": [{"a": 2}]}', {"a": {"a": 1}, "b": [{"a": 2}]}),
        (b'{"a": 1, "A": 2}', {"a": 1, "A": 2}),
        (b'{"": 1}', {"": 1}),
        ('"\u00e9\U0001f600"'.encode(), "\u00e9\U0001f600"),
        (rb'"\u00e9\ud83d\ude00"', "\u00e9\U0001f600"),
        (rb'"\u0000"', "\x00"),
        (rb'"\"\\\/\b\f\n\r\t"', '"\\/\b\f\n\r\t'),
        (b'"\xe2\x80\xa8"', "\u2028"),
        (b'"\xef\xbb\xbf"', "\ufeff"),
    ],
)
def test_plain_json_is_read(raw: bytes, value: Any) -> None:
    read = strict_loads(raw)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"\x00",
        b"{",
        b"}",
        b"[1,]",
        b'{"a":1,}',
        b"[1 2]",
        b'{"a" 1}',
        b"{a: 1}",
        b"{'a': 1}",
        b"{1: 1}",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"0x10",
        b"1_000",
        b"True",
        b"undefined",
        b'"a',
        b'"\\x41"',
        b'"\\u12"',
        b'"line\nbreak"',
        b'"tab\tstop"',
        b'"nul\x00"',
        b"{} {}",
        b"{}]",
        b"null\x00",
        b"// comment\n{}",
        b"/* comment */ {}",
        b"\xc2\xa0{}",
        b"\x0b{}",
    ],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "b": 2, "a": 3}',
        b'{"a": 1, "\\u0061": 2}',
        b'[{"b": {"a": 1, "a": 2}}]',
        b'{"": 1, "": 2}',
        b'{"a": null, "a": null}',
    ],
)
def test_a_member_that_stands_there_twice_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="stands twice"):
        strict_loads(raw)


@pytest.mark.parametrize(
    "number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1E400", b"9" * 400 + b".0", b"nan", b"inf"]
)
@pytest.mark.parametrize("around", [b"%s", b"[%s]", b'{"a": %s}'])
def test_a_number_without_a_finite_value_is_refused(number: bytes, around: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_loads(around % number)


@pytest.mark.parametrize("digits", [5_000, 1_000_000])
def test_an_integer_of_thousands_of_digits_is_refused_at_once(digits: int) -> None:
    started = time.thread_time()
    with pytest.raises(ValueError, match=r"."):
        strict_loads(b"9" * digits)
    assert time.thread_time() - started < 0.5


@pytest.mark.parametrize(
    "raw",
    [
        rb'"\ud800"',
        rb'"\udc00"',
        rb'"a\ud83d"',
        rb'"\ude00\ud83d"',
        rb'["\ud800"]',
        rb'{"a": {"b": ["\udfff"]}}',
        rb'{"\ud800": 1}',
        rb'{"a": {"\udbff": 1}}',
    ],
)
def test_an_unpaired_surrogate_is_refused_wherever_it_stands(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_loads(raw)


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "cp037"]
)
@pytest.mark.parametrize("text", ['{"a": "\u00e9"}', '{"a": 1}', "[]"])
def test_another_encoding_than_utf8_is_refused(encoding: str, text: str) -> None:
    raw = text.encode(encoding)
    if raw == text.encode():
        pytest.skip("this text is the same in both encodings")
    with pytest.raises(ValueError, match=r"."):
        strict_loads(raw)


@pytest.mark.parametrize(
    "raw",
    [b'"\xff"', b'"\xc3"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf5\x80\x80\x80"', b'"\xe9"', b"\xfe\xff", b"\x80"],
)
def test_bytes_that_are_not_utf8_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_loads(raw)


def test_32_levels_are_read_and_33_are_not() -> None:
    assert MAX_DEPTH == 32
    strict_loads(nested(32))
    strict_loads(nested(32, b'{"a":', b"}").replace(b":}", b":1}", 1))
    for raw in (nested(33), nested(33, b'{"a":', b"}").replace(b":}", b":1}", 1), b"[" * 33 + b"1" + b"]" * 33):
        with pytest.raises(ValueError, match="nested too deep"):
            strict_loads(raw)


def test_a_caller_can_ask_for_fewer_levels() -> None:
    assert strict_loads(b'{"a": 1}', max_depth=1) == {"a": 1}
    with pytest.raises(ValueError, match="nested too deep"):
        strict_loads(b'{"a": []}', max_depth=1)


def test_an_object_has_fifty_members_at_most() -> None:
    def members(count: int) -> bytes:
        return b"{" + b",".join(b'"a%d": 1' % number for number in range(count)) + b"}"

    assert len(strict_loads(members(50))) == 50
    for raw in (members(51), b'{"a": [' + members(51) + b"]}"):
        with pytest.raises(ValueError, match="more than 50 members"):
            strict_loads(raw)


def test_width_is_not_depth() -> None:
    assert len(strict_loads(b"[" + b"[]," * 20_000 + b"[]]")) == 20_001


@pytest.mark.parametrize(
    "raw",
    [
        nested(1_000),
        nested(100_000),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        nested(100_000, b'{"a":[', b"]}"),
        b'["' * 100_000,
    ],
    ids=["1,000", "100,000", "unclosed lists", "unclosed objects", "mixed", "strings"],
)
def test_deep_nesting_is_refused_at_once(raw: bytes) -> None:
    started = time.thread_time()
    with pytest.raises(ValueError, match=r"."):
        strict_loads(raw)
    assert time.thread_time() - started < 0.5
