"""The table of layers: from two files and data to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qtool import model as models
from qtool.compare.interface import check_signatures
from qtool.compare.layers.form import in_one_form
from qtool.compare.layers.merge import Gain
from qtool.compare.layers.place import Place
from qtool.compare.layers.run import Feeding
from qtool.compare.layers.study import Progress, Study
from qtool.compare.layers.totals import Totals
from qtool.compare.result import LayerError
from qtool.data import Dataset


@dataclass(frozen=True)
class Layers:
    """All tensors that both models have, the worst own error first, and what has no counterpart.

    `unmatched` are float tensors of the reference that the candidate does not hold under their
    name, but for those that folding takes away, such as a convolution before its ReLU.
    """

    errors: tuple[LayerError, ...]
    unmatched: tuple[str, ...]

    def notes(self) -> tuple[str, ...]:
        """A sentence on what has no counterpart."""
        if not self.unmatched:
            return ()
        named = ", ".join(map(repr, self.unmatched[:3]))
        more = f" and {len(self.unmatched) - 3} more" if len(self.unmatched) > 3 else ""
        return (f"layers: the candidate holds nothing under the name of {named}{more}",)


def compare_layers(
    reference: Path,
    candidate: Path,
    data: Dataset,
    *,
    batch_size: int = 1,
    threads: int = 0,
    progress: Progress | None = None,
) -> Layers:
    """Hold each tensor of a candidate against the reference's; memory does not grow with samples.

    Args:
        reference, candidate: ONNX files with the same inputs and outputs.
        data: samples to run both on.
        batch_size: samples in one run.
        threads: threads inside an operator; 0 for all cores.
        progress: called with (samples done, samples in all).

    Raises:
        ModelError: a model does not load or run, or the two cannot stand in one graph.
        DataError: a sample does not fit, or there is none.
    """
    pair = models.load(reference), models.load(candidate)
    signatures = models.signature(pair[0]), models.signature(pair[1])
    check_signatures(*signatures)
    feeding = Feeding(data, batch_size, *signatures)
    study = Study(*in_one_form(*pair), feeding, threads)
    study.prepare()
    totals = study.total(progress=progress, samples=len(data))
    places = study.matching.places
    rows = [_row(place, places, totals[place.key], study.gains) for place in places]
    rows.sort(key=lambda row: (row.own_db, row.sqnr_db))
    return Layers(tuple(rows), study.matching.unmatched)


def _row(
    place: Place, places: Sequence[Place], totals: Totals, gains: Mapping[str, Gain]
) -> LayerError:
    node, op_type = place.blamed(places)
    return LayerError(
        tensor=place.tensor,
        node=node,
        op_type=op_type,
        sqnr_db=totals.sqnr_db("total"),
        own_db=totals.sqnr_db("own"),
        inherited_db=totals.sqnr_db("inherited"),
        clipped=totals.clipped / max(totals.count, 1) if totals.is_clipped else None,
        rescaled=place.key in gains,
        values=totals.count,
    )
