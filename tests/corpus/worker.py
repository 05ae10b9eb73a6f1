"""A process that judges cases as it is told, one after another: `python -m tests.corpus.worker`.

It reads lines of `recipe<TAB>file`, and writes lines of `stage …` and at last `outcome …`.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from qtool.children import silent
from tests.corpus import cases
from tests.corpus.judge import judge


def main() -> None:
    # What libraries print goes elsewhere: the answers have the pipe for themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def answer(line: str) -> None:
        print(line, file=answers, flush=True)

    warnings.simplefilter("ignore")
    answer("ready")
    for line in sys.stdin:
        recipe, path = line.rstrip("\n").split("\t")
        with silent("onnx"):
            outcome = judge(cases.load(Path(path)), recipe, lambda stage: answer(f"stage {stage}"))
        answer(f"outcome {outcome.json()}")


if __name__ == "__main__":
    main()
