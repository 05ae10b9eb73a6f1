"""Rows of seven scores and their labels, two models of them, and a result as strict JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from qtool.compare.run_file import as_dict

IDENTITY = "m (float[N,7] x) => (float[N,7] y) { y = Identity(x) }"
SHIFTED = """m (float[N,7] x) => (float[N,7] y) <float[7] k = {0.4, 0, 0.1, 0, -0.3, 0, 0.2}> {
    y = Add(x, k) }"""
SHIFT = np.array([0.4, 0, 0.1, 0, -0.3, 0, 0.2], np.float32)
RNG = np.random.default_rng(5)
SCORES = RNG.normal(size=(60, 7)).astype(np.float32)
LABELS = np.where(RNG.random(60) < 0.8, SCORES.argmax(axis=1), 3)


def strict_json(found: Any) -> Any:
    return json.loads(json.dumps(as_dict(found), allow_nan=False))
