"""Short texts in twelve languages, made of names from Unicode CLDR (which babel carries)."""

import random
import unicodedata
from collections import Counter
from dataclasses import dataclass

from babel import Locale

# The label of a text is its language's place in this list.
LANGUAGES = ["cs", "de", "es", "fi", "fr", "hu", "it", "nl", "pl", "sv", "tr", "vi"]
SHORTEST, LONGEST = 20, 44
CALIB_SHARE, EVAL_SHARE = 0.1, 0.15


@dataclass(frozen=True)
class Names:
    """One language's names; no name stands in two of the lists, nor in another language's."""

    train: list[str]
    calib: list[str]
    eval: list[str]


def load(seed: int = 0) -> list[Names]:
    """The names of each of LANGUAGES, split before any text is joined from them."""
    chance = random.Random(seed)
    named = [_names(Locale(language)) for language in LANGUAGES]
    # "Angola" or "Gujarati" tells no language: names that two of them share are left out.
    held_by = Counter(name.casefold() for names in named for name in names)
    split = []
    for names in named:
        own = sorted(name for name in names if held_by[name.casefold()] == 1)
        chance.shuffle(own)
        calib, evals = int(len(own) * CALIB_SHARE), int(len(own) * EVAL_SHARE)
        split.append(Names(own[calib + evals :], own[:calib], own[calib : calib + evals]))
    return split


def text(names: list[str], chance: random.Random) -> str:
    """Two to four names in a row, neither very short nor cut off."""
    while True:
        joined = " ".join(chance.sample(names, chance.randint(2, 4)))
        if SHORTEST <= len(joined) <= LONGEST:
            return joined


def labelled(split: list[list[str]], each: int, seed: int) -> tuple[list[str], list[int]]:
    """`each` different texts of every language, in mixed order, with their labels."""
    chance = random.Random(seed)
    rows = []
    for label, names in enumerate(split):
        texts: set[str] = set()
        while len(texts) < each:
            texts.add(text(names, chance))
        rows += [(line, label) for line in sorted(texts)]
    chance.shuffle(rows)
    return [line for line, _ in rows], [label for _, label in rows]


def vocabulary(split: list[Names], least: int = 3) -> list[str]:
    """The characters of the training names; the rare ones are left to train `[UNK]`."""
    seen = Counter(char for names in split for name in names.train for char in name)
    chars = sorted(char for char, count in seen.items() if count >= least and char != " ")
    return ["[PAD]", "[UNK]", "[SPACE]", *chars]


def _names(locale: Locale) -> set[str]:
    tables = [locale.territories, locale.languages, locale.scripts, locale.currencies]
    found = [name for table in tables for name in table.values()]
    # One name a zone: its summer and winter names are too alike to stand on both sides of a split.
    zones = (zone.get("long", {}) for zone in locale.meta_zones.values())
    found += [zone.get("generic", zone.get("standard", "")) for zone in zones]
    found += [unit.get("long", "") for unit in locale.unit_display_names.values()]
    for periods in (locale.months, locale.days):
        found += [name for form in periods.values() for name in form["wide"].values()]
    tidy = (" ".join(unicodedata.normalize("NFC", name).split()) for name in found)
    # Three letters and more; digits and brackets only repeat another name with its years.
    return {name for name in tidy if len(name) > 2 and not any(c in "()/%0123456789" for c in name)}
