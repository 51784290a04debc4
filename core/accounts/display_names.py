"""Which names may be shown to others: what cannot be seen, or makes others look like something else, is in none."""

import unicodedata

# Control characters, halves of pairs, private and unassigned characters, line and paragraph separators.
_REFUSED = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # between letters of Persian and Indic scripts, and between the parts of an emoji
_TAGS = range(0xE0020, 0xE0080)  # of the flags of England, Scotland and Wales
_FLAG = "\N{WAVING BLACK FLAG}"


def is_showable(name: str) -> bool:
    """Whether a name has no character that is not shown, or that turns the direction of the text around it."""
    return all(_is_shown(name, place) for place in range(len(name)))


def _is_shown(name: str, place: int) -> bool:
    character = name[place]
    category = unicodedata.category(character)
    if category != "Cf":
        return category not in _REFUSED
    if character in _JOINERS:
        return _joins(name[:place]) and _joins(name[place + 1 :][::-1])
    return ord(character) in _TAGS and _FLAG in name[:place]


def _joins(before: str) -> bool:
    """Whether a text ends with something that is seen, which a joiner may follow."""
    return bool(before) and not before[-1].isspace() and unicodedata.category(before[-1]) not in ("Cf", *_REFUSED)
