"""Language models: how likely the right token was at each place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qtool.compare.kinds import KINDS, score
from qtool.compare.truth.held import Array, Judged, Outputs, fits, unused
from qtool.errors import DataError
from qtool.numeric.tokens import token_nll


class Tokens:
    """The tokens of each sample, for the first output of logits (n, places, tokens).

    They are `labels`, int64 (n, places), negative where nothing is scored; or else the input
    `following`: the logits at each place are about the token after it. Places whose `mask`, an
    input too, is 0 are not scored, nor is what follows from them.
    """

    def __init__(
        self,
        names: Sequence[str],
        labels: Array | None = None,
        *,
        following: str | None = None,
        mask: str | None = None,
    ) -> None:
        self.inputs, self.alone = labels is None, False
        self._names = list(names)
        self._labels = labels
        self._following = following
        self._mask = mask
        self._seen = 0
        self._columns: dict[str, list[tuple[Array, ...]]] = {name: [] for name in names}

    def see(self, feeds: Outputs, reference: Outputs, candidate: Outputs, count: int) -> None:
        """Take in the next samples; an output that holds no logits for each place is out.

        Raises:
            DataError: a token that no logit stands for.
        """
        tokens = self._tokens(feeds, count)
        self._seen += count
        for name in list(self._names):
            values = reference[name], candidate[name]
            shape: tuple[int, ...] = values[0].shape if fits(count, *values) else ()
            if len(shape) != 3 or shape[1] != tokens.shape[1]:
                self._names.remove(name)
                continue
            targets, keep = self._scored(tokens, feeds)
            targets = np.where(keep, targets, 0)  # a masked token may be one that is not known
            if targets.size and targets.max() >= shape[2]:
                raise DataError(
                    f"token {targets.max()} is beyond the logits of output {name!r}",
                    f"they stand for the tokens 0 to {shape[2] - 1}",
                    "check the labels and next_token;  qtool compare --output NAME  judges by "
                    "another output",
                )
            places = targets.shape[1]
            columns = [token_nll(value[:, :places], targets, keep) for value in values]
            self._columns[name].append((*columns[0], *columns[1]))

    def judge(self) -> Judged:
        """The perplexity: exp of the mean negative log-likelihood of all tokens."""
        what = f"the tokens of {self._following!r}" if self._labels is None else "the token labels"
        if not self._names:
            return unused(what, "they need a float output of shape (samples, places, tokens)")
        name = self._names[0]
        columns = [np.concatenate(each) for each in zip(*self._columns[name], strict=True)]
        if not columns[1].any():
            return unused(what, "there is none to score")
        reference, candidate = (columns[0], columns[1]), (columns[2], columns[3])
        return Judged(name, {"perplexity": score(KINDS["perplexity"], reference, candidate)})

    def _tokens(self, feeds: Outputs, count: int) -> Array:
        if self._labels is not None:
            return self._labels[self._seen : self._seen + count]
        tokens: Array = feeds[self._following or ""]
        return tokens.reshape(count, -1)

    def _scored(self, tokens: Array, feeds: Outputs) -> tuple[Array, Array]:
        """The tokens that the logits are about, from the first place on, and which are scored."""
        if self._labels is not None:
            return tokens, tokens >= 0
        targets = tokens[:, 1:]
        keep = targets >= 0
        if self._mask is not None:
            there = feeds[self._mask].reshape(tokens.shape) != 0
            keep &= there[:, 1:] & there[:, :-1]
        return targets, keep
