"""Reads a sample folder back as its `qtool.toml` declares it, by itself, without qtool.

The scores that the scripts print are thus those of the written files, not of training's arrays.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Feeds = dict[str, np.ndarray]
# A class, the array that the output should be, or None where labels.npy is not there.
Label = int | np.ndarray | None


def samples(folder: Path, split: str) -> Iterator[tuple[Feeds, Label]]:
    """Each sample alone (batch 1, unpadded) with its label."""
    declared = folder / "qtool.toml"
    inputs = tomllib.loads(declared.read_text())["data"]["inputs"] if declared.exists() else {}
    if "input_ids" in inputs:
        yield from _texts(folder, split, inputs["input_ids"])
    elif list((folder / split).glob("*/*.png")):
        yield from _images(folder / split, inputs["image"])
    else:
        yield from _arrays(folder / split, inputs)


def _images(split: Path, declared: dict[str, Any]) -> Iterator[tuple[Feeds, int]]:
    mean = np.array(declared["mean"], np.float32)
    std = np.array(declared["std"], np.float32)
    for path in sorted(split.glob("*/*.png")):
        pixels = np.asarray(Image.open(path).convert("L"), np.float32)
        image = (pixels * np.float32(declared["scale"]) - mean) / std
        yield {"image": image[None, None]}, int(path.parent.name)


def _arrays(split: Path, inputs: dict[str, Any]) -> Iterator[tuple[Feeds, Label]]:
    arrays = {path.stem: np.load(path) for path in sorted(split.glob("*.npy"))}
    for path in sorted(split.glob("*.npz")):
        arrays.update(np.load(path))
    labels = arrays.pop("labels", None)
    for name, declared in inputs.items():
        arrays[name] = arrays[name] * np.float32(declared["scale"])
    for row in range(len(next(iter(arrays.values())))):
        feeds = {name: array[row : row + 1] for name, array in arrays.items()}
        yield feeds, None if labels is None else _label(labels[row])


def _label(stored: np.ndarray) -> Label:
    return int(stored) if stored.ndim == 0 else stored


def read_vocabulary(path: Path) -> dict[str, int]:
    tokens = path.read_text(encoding="utf-8").splitlines()
    return {" " if token == "[SPACE]" else token: number for number, token in enumerate(tokens)}


def encode(text: str, vocabulary: dict[str, int], max_length: int) -> list[int]:
    return [vocabulary.get(char, vocabulary["[UNK]"]) for char in text[:max_length]]


def _texts(folder: Path, split: str, declared: dict[str, Any]) -> Iterator[tuple[Feeds, int]]:
    vocabulary = read_vocabulary(folder / declared["vocabulary"])
    texts = (folder / split / "texts.txt").read_text(encoding="utf-8").splitlines()
    labels = np.load(folder / split / "labels.npy")
    for text, label in zip(texts, labels, strict=True):
        ids = np.array([encode(text, vocabulary, declared["max_length"])], np.int64)
        yield {"input_ids": ids, "attention_mask": np.ones_like(ids)}, int(label)
