"""Names to show: in every script, and nothing in them that is not seen."""

from __future__ import annotations

import pytest

from core.accounts.display_names import is_showable

FAMILY = "\N{WOMAN}\u200d\N{WOMAN}\u200d\N{GIRL}"
SCOTLAND = "\N{WAVING BLACK FLAG}\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize(
    "name",
    [
        "Ann",
        "Zoë d'Été-Łuk",
        "שלום עולם",
        "محمد",
        "می\u200cخواهم",  # noqa: RUF001 - Persian
        "क्\u200dष",
        "李小龍",
        "\N{FOX FACE} Ann",
        FAMILY,
        SCOTLAND,
        "1\ufe0f\u20e3",
    ],
)
def test_of_any_script_are_shown(name: str) -> None:
    assert is_showable(name)


@pytest.mark.parametrize(
    "name",
    [
        "Ann\u202egnp.exe",  # turns what follows around
        "\u2066Ann\u2069",
        "Ann\u200f",
        "Ann\u061c",
        "Ad\u200bmin",  # looks like Admin
        "Admin\u2060",
        "\ufeffAdmin",
        "Ad\u00admin",
        "Ann\u200d",
        "\u200cAnn",
        "Ann \u200d Ben",
        "a\u200d\u200db",
        "Ann\u2028Ben",
        "Ann\x00",
        "Ann\n",
        "Ann\ue000",  # private
        "Ann\U000e0041",  # a tag without its flag
        "Ann\u0378",  # unassigned
        "\ud800",
    ],
)
def test_that_hide_something_are_refused(name: str) -> None:
    assert not is_showable(name)
