"""Fonts with the letters of names in any script, among those of this machine, for pictures by matplotlib."""

from __future__ import annotations

import functools
import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from pipelines.text import printable

DEFAULT = "DejaVu Sans"
"""Comes with matplotlib."""
LONGEST = 60
"""Columns to which a name is shortened; an ideograph takes two."""
_SPECIAL = ("bold", "black", "light", "thin", "italic", "oblique", "mono", "condensed", "narrow", "serif")
"""Words in the names of fonts that are taken only where no plain one has a letter."""

_JOINERS = "\u200c\u200d"
"""The invisible letters that shape those beside them; others, such as those that turn the direction, are left out."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawable:
    """Texts that can be drawn, and the font families to draw them in, as matplotlib takes them."""

    texts: list[str]
    families: list[str]


def drawable(texts: Sequence[str], longest: int = LONGEST) -> Drawable:
    r"""Find fonts for all letters of texts, each of which becomes one line of at most `longest` columns.

    A letter that no font of this machine has is written as `\u8df3`, and a warning names it and what to install.
    """
    lines = [_shortened(_one_line(text), longest) for text in texts]
    families, lacking = _find("".join(sorted(set("".join(lines)))))
    return Drawable([_shortened(line.translate(lacking), longest) for line in lines], list(families))


def columns(text: str) -> int:
    """Return the width of a text in columns, of which an ideograph takes two."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def _one_line(text: str) -> str:
    letters = (" " if letter.isspace() else letter for letter in text)
    drawn = "".join(letter for letter in letters if unicodedata.category(letter) != "Cf" or letter in _JOINERS)
    return printable(unicodedata.normalize("NFC", drawn))


def _shortened(text: str, longest: int) -> str:
    """Leave out the middle of a long text: names of classes may differ in their first or their last words only."""
    if columns(text) <= longest:
        return text
    end = text[-longest // 3 :]
    while columns(end) > longest // 3:
        end = end[1:]
    begin = text[:longest]
    while columns(begin) + columns(end) >= longest:
        begin = begin[:-1]
    return f"{begin}…{end}"


@functools.lru_cache(maxsize=64)
def _find(letters: str) -> tuple[tuple[str, ...], dict[int, str]]:
    """Return the families that have the letters, and how to write those that none has."""
    default = FT2Font(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"))
    wanted = {letter for letter in letters if not default.get_char_index(ord(letter))}
    families = [DEFAULT]
    for path in _system_fonts() if wanted else ():
        found = _drawn_by(path, wanted)
        if found:
            # matplotlib keeps a list of fonts for months, in which a newly installed one is missing.
            font_manager.fontManager.addfont(path)
            families.append(FT2Font(path).family_name)
            wanted -= found
        if not wanted:
            break
    shown = {letter: "" if _is_invisible(letter) else _escaped(letter) for letter in wanted}
    lacking = sorted(letter for letter, text in shown.items() if text)
    if lacking:
        log.warning(
            "no font on this machine has %s: written as %s in pictures; install %s",
            " ".join(lacking[:10]) + (f" and {len(lacking) - 10} more letters" if len(lacking) > 10 else ""),
            _escaped(lacking[0]),
            " and ".join(sorted({_package(letter) for letter in lacking})),
        )
    return tuple(families), {ord(letter): text for letter, text in shown.items()}


def _drawn_by(path: str, letters: set[str]) -> set[str]:
    """Return the letters that a font has, in a form that matplotlib can draw."""
    try:
        font = FT2Font(path)
        found = {letter for letter in letters if font.get_char_index(ord(letter))}
        font.set_size(10, 72)
        for letter in found:
            font.load_char(ord(letter))
    except (OSError, RuntimeError, ValueError):  # damaged, or coloured pictures instead of outlines
        return set()
    return found


def _system_fonts() -> list[str]:
    """Return the fonts of this machine, plain ones first, without the one that has a box for every letter there is."""
    names = {path: Path(path).name.lower() for path in font_manager.findSystemFonts()}
    return sorted(
        (path for path, name in names.items() if "lastresort" not in name),
        key=lambda path: (any(word in names[path] for word in _SPECIAL), path),
    )


def _is_invisible(letter: str) -> bool:
    """Return whether a letter has no shape, and only changes that of the one beside it."""
    return letter in _JOINERS or unicodedata.name(letter, "").startswith("VARIATION SELECTOR")


def _escaped(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode()


def _package(letter: str) -> str:
    """Return the package of Debian and Ubuntu with a font that matplotlib can draw."""
    name = unicodedata.name(letter, "")
    if name.startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "HALFWIDTH", "IDEOGRAPHIC")):
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(letter) in ("So", "Sk") else "fonts-noto-core"
