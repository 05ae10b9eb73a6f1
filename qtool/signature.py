"""What goes into a model and what comes out, as plain values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from qtool.errors import UsageError


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: its name, numpy dtype name, and shape (None or a name where dynamic).

    `shape` is None where the file does not say even the rank, and for what is no tensor: that has
    dtypes such as "seq(map(int64,float32))".
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            rank = "" if "(" in self.dtype else " (unknown rank)"
            return f"{self.name} {self.dtype}{rank}"
        inner = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name} {self.dtype} ({inner})"


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model, in order. A quantized model keeps its original's."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def without(self, inputs: Collection[str]) -> Signature:
        """The same but for the inputs of these names: states, which no sample feeds."""
        return replace(self, inputs=tuple(s for s in self.inputs if s.name not in inputs))

    @property
    def batch(self) -> int:
        """How many samples a run must have; 0 where it may have any number."""
        sizes = [spec.shape[0] for spec in self.inputs if spec.shape]
        return max((size for size in sizes if isinstance(size, int)), default=0)

    def check_batches(self, size: int, samples: int) -> None:
        """Refuse batches that a model with a fixed batch axis cannot take.

        Raises:
            UsageError: the fixed size is another one, or the last batch would be short.
        """
        fixed = {spec.shape[0] for spec in self.inputs if spec.shape}
        wanted = next((n for n in fixed if isinstance(n, int)), None)
        if wanted is None:
            return
        if size != wanted:
            raise UsageError(
                f"the model takes batches of exactly {wanted}",
                f"its input is {self.inputs[0]}, the batch size is {size}",
                f"add  --batch-size {wanted}",
            )
        if samples % size:
            raise UsageError(
                f"{samples} samples do not fill batches of {size}",
                "the model's batch axis is fixed, so the last batch cannot be short",
                f"add  --samples {samples - samples % size}",
            )
