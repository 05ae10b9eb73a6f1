"""The King James Bible as Debian's package bible-kjv holds it, by chapters, split by books."""

import re
import subprocess
import textwrap
from dataclasses import dataclass

# No book here tells what another one tells, as Kings and Chronicles or the Gospels do.
CALIB = ("Ruth", "Esther", "Jonah")
EVAL = ("Acts",)
SHORTEST, LONGEST = 96, 192  # characters of a line


@dataclass(frozen=True)
class Text:
    """Chapters of three sets of books, each chapter one line of verses."""

    train: list[str]
    calib: list[str]
    eval: list[str]


def load() -> Text:
    """All of it, read by the command `bible` (apt-get install bible-kjv)."""
    command = ["bible", "-l100000", "gen1:1-rev22:21"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text, book = Text([], [], []), ""
    for part in re.split(r"^(\S.*) \d+$", printed, flags=re.MULTILINE)[1:]:
        verses = re.findall(r"^ +\d+ (.*)$", part, flags=re.MULTILINE)
        if not verses:
            book = part
            continue
        split = text.calib if book in CALIB else text.eval if book in EVAL else text.train
        split.append(" ".join(verses))
    assert len(text.train + text.calib + text.eval) == 1189, "that is not the whole of it"
    return text


def lines(chapters: list[str], count: int) -> list[str]:
    """`count` lines of whole words, spread evenly over the chapters."""
    wrapped = [line for chapter in chapters for line in textwrap.wrap(chapter, LONGEST)]
    long = [line for line in wrapped if len(line) >= SHORTEST]
    return [long[index * len(long) // count] for index in range(count)]


def vocabulary(text: Text) -> list[str]:
    """The characters of the training text."""
    return ["[PAD]", "[UNK]", "[SPACE]", *sorted({*"".join(text.train)} - {" "})]
