"""What every script here needs: seeds, a fresh folder, training, and checks of the written file."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from reading import Feeds, Label, samples
from torch import Tensor, nn

SAMPLES = Path(__file__).resolve().parent.parent
# From a split's folder, the outputs of its samples and their labels: what to print of them.
Score = Callable[[Path, np.ndarray, Sequence[Label]], str]


def start(name: str) -> Path:
    """Fixes every source of chance and empties the sample's folder."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    # One thread: the order of the sums, and so the weights, must not hang on the number of cores.
    torch.set_num_threads(1)
    folder = SAMPLES / name
    shutil.rmtree(folder, ignore_errors=True)
    for split in ("calib", "eval"):
        (folder / split).mkdir(parents=True)
    return folder


def fit(
    model: nn.Module,
    batches: Iterable[tuple[tuple[Tensor, ...], Tensor]],
    steps: int,
    rate: float,
    measure: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
) -> None:
    """Trains on `steps` batches of (inputs, labels) and leaves the model in eval mode."""
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    for step, (inputs, labels) in zip(range(1, steps + 1), batches, strict=False):
        loss = measure(model(*inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % (steps // 5) == 0:
            print(f"step {step} of {steps}: loss {loss.item():.4f}", flush=True)
    model.eval()


def strip_paths(path: Path) -> None:
    """Removes what the exporters tell of this machine: source files and stack traces."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.ClearField("doc_string")
        kept = [entry for entry in node.metadata_props if not entry.key.endswith("stack_trace")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)
    # Weights are left out of the search: among a million chance bytes ".py" turns up by itself.
    del model.graph.initializer[:]
    words = model.SerializeToString()
    for trace in (b".py", b"site-packages", str(SAMPLES.parent).encode()):
        assert trace not in words, f"{path.name} still holds {trace!r}"


def margins(_: Path, outputs: np.ndarray, labels: Sequence[Label]) -> str:
    """A classifier's accuracy, and how far its answers are from turning."""
    each = []
    for logits, label in zip(outputs, labels, strict=True):
        each.append(logits[label] - np.delete(logits, label).max())
    return (
        f"accuracy {np.greater(each, 0).mean():.4f} of {len(each)},"
        f" margin median {np.median(each):.2f}, 5 % below {np.quantile(each, 0.05):.2f}"
    )


def check(
    folder: Path,
    model: nn.Module,
    batches: Iterable[Feeds],
    *,
    output: str = "logits",
    score: Score = margins,
    tolerance: float = 1e-4,
) -> None:
    """Cleans and checks the exported file, compares it with torch, and prints its float scores."""
    path = folder / "model.onnx"
    strip_paths(path)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    for feeds in [*batches, *(feeds for feeds, _ in samples(folder, "calib"))]:
        with torch.no_grad():
            expected = model(*(torch.from_numpy(feeds[i.name]) for i in session.get_inputs()))
        found = session.run([output], feeds)[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)

    describe(path)
    for split in ("calib", "eval"):
        outputs, labels = [], []
        for feeds, label in samples(folder, split):
            outputs.append(session.run([output], feeds)[0][0])
            labels.append(label)
        print(f"{split}: {score(folder / split, np.stack(outputs), labels)}")


def describe(path: Path) -> None:
    graph = onnx.load(path).graph
    weights = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)
    print(f"{path.parent.name}: {path.stat().st_size} bytes, {weights} values in initializers")
    operators = Counter(node.op_type for node in graph.node)
    print(", ".join(f"{count} {name}" for name, count in operators.most_common()))
