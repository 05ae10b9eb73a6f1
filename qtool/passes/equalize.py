"""Cross-layer equalization: channels made even by what the weights tell, without data.

Of a stream (see `streams`), with r1 the largest weight that writes a channel, r2 the largest that
reads it, the factors

    s_c = sqrt(r1_c / r2_c)

make both equal to sqrt(r1 * r2), so that one scale for all channels fits them all.

Streams end at a Clip with an upper bound: which channels reach it, weights do not tell, and those
would be cut elsewhere. `refine.smooth` knows.

Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction,
section 4.1.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.passes.streams import Factors, Stream, apply, largest, streams


class Equalize(ir.passes.InPlacePass):
    """Divide writers and multiply readers of each stream, channel by channel."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for stream in streams(model.graph):
            found = even(stream)
            if found is not None and found[1] >= _WORTHWHILE:
                changed |= apply(stream, found[0], "equalized")
        return ir.passes.PassResult(model, modified=changed)


def even(stream: Stream) -> tuple[Factors, float] | None:
    """The factors that make the channels even, and by how many dB that should help readers.

    None where no channel has both a writer and a reader.
    """
    count = len(stream.free)
    r1, r2 = largest(stream.writers, count), largest(stream.readers, count)
    live = (r1 > DEAD * r1.max()) & (r2 > DEAD * r2.max())
    if not (live & stream.free).any():
        return None
    factors = np.ones(count)
    factors[live] = np.sqrt(r1[live] / r2[live])
    level = live & ~stream.free if (live & ~stream.free).any() else live
    # A common factor only moves scales about: keep the stream's level where it was, or where the
    # channels are that cannot be scaled.
    factors[live] /= np.exp(np.log(factors[level]).mean())
    factors[~stream.free] = 1.0
    return factors, _promise(r1[live], r2[live], factors[live])


def _promise(r1: Factors, r2: Factors, factors: Factors) -> float:
    """By how many dB the quantization noise that readers see should fall.

    The step of one scale for all channels goes with the largest; each reader hears it as loud as
    its weights are:  noise ~ max(r1) |r2|  before,  max(r1 / s) |r2 s|  after.
    """
    before = r1.max() * np.linalg.norm(r2)
    after = (r1 / factors).max() * np.linalg.norm(r2 * factors)
    return float(20 * np.log10(before / after))


# A channel this much weaker than the strongest is pruned: any factor would do, and most overflow.
DEAD = 1e-6
# Weights tell little about what the data makes of them: a small promise is not kept (resnet8:
# promised 1 to 3 dB, lost 3; digits_mobile: promised 28 to 30 dB, won 25).
_WORTHWHILE = 10.0
