"""What `[data]` declares for `compare` alone: its defaults, what is wrong, what stays as it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from qtool import workflow
from qtool.data import Declaration, open_dataset, parse_declaration
from qtool.data.declaration import JUDGED
from qtool.errors import DataError
from qtool.recipe import Recipe, load_recipe
from qtool.signature import Signature, TensorSpec
from qtool.target import load_target
from tests.data.folders import contains, declare, model, refused, save_arrays
from tests.models import save, weight

TOKENS = (("input_ids", "int64"), ("attention_mask", "float32"))
OUTPUTS = ("boxes", "scores", "labels", "detections")
LANGUAGE = Signature(
    tuple(TensorSpec(name, dtype, ("N", 3)) for name, dtype in TOKENS),
    tuple(TensorSpec(name, "float32", ("N", 3)) for name in OUTPUTS),
)
JUDGE = """
next_token = "input_ids"
mask = "attention_mask"
target_range = [-1, 1.5]
[data.detections]
boxes = "cxcywh"
units = "relative"
layout = "columns"
output = "detections"
least_score = 0
overlap = 1
"""


def parse(text: str) -> Declaration:
    return parse_declaration(tomllib.loads(text)["data"], Path())


def fed(folder: Path, text: str) -> Path:
    save_arrays(folder, {name: np.ones((4, 3), np.int64) for name, _ in TOKENS})
    declare(folder, f"[data]\n{text}")
    return folder


def test_defaults() -> None:
    none = Declaration()
    assert (none.next_token, none.mask, none.target_range) == (None, None, None)
    found = none.detections
    assert (found.boxes, found.units, found.layout) == ("xyxy", "pixels", "rows")
    assert (found.least_score, found.overlap) == (0.001, 0.6)
    assert found.output is None and found.outputs is None and not found.named
    assert none.model_fields_set.isdisjoint(JUDGED) and set(Declaration.model_fields) > JUDGED


def test_all_keys() -> None:
    found = parse(f"[data]\n{JUDGE}")
    assert (found.next_token, found.mask) == ("input_ids", "attention_mask")
    assert found.target_range == [-1, 1.5]
    boxes = found.detections
    assert (boxes.boxes, boxes.units, boxes.layout) == ("cxcywh", "relative", "columns")
    assert (boxes.output, boxes.least_score, boxes.overlap) == ("detections", 0, 1)
    assert boxes.outputs is None and boxes.named == {"output": "detections"}
    three = '[data.detections]\nbox_output = "b"\nscore_output = "s"\nlabel_output = "l"'
    boxes = parse(three).detections
    assert boxes.outputs == ("b", "s", "l") and set(boxes.named.values()) == {"b", "s", "l"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("next_tokens = 'a'", ['"next_tokens" under [data]', "'next_token'"]),
        ("next_token = ''", ['"next_token" under [data]', "at least 1"]),
        ("mask = 'a'", ['"mask" under [data]', "next_token", "there is none"]),
        ("target_range = [0]", ['"target_range" under [data] ', "at least 2"]),
        ("target_range = [0, 1, 2]", ['"target_range" under [data] ', "at most 2"]),
        ("target_range = [1, 1.0]", ['"target_range" under [data] ', "less than"]),
        ("target_range = [0, nan]", ['"target_range" under [data] ', "finite"]),
        ("target_range = [0, '1']", ['"target_range" under [data] ', "valid number"]),
        ("detections = 3", ['"detections" under [data] ']),
        ("[data.detections]\nbox = 'xyxy'", ['"box" under [data.detections]', "'boxes'"]),
        ("[data.detections]\nqq = 1", ["known keys: boxes, units, layout, output"]),
        ("[data.detections]\nboxes = 'yxyx'", ['"boxes" under [data.detections]', "'cxcywh'"]),
        ("[data.detections]\nunits = 'px'", ['"units" under [data.detections]', "'relative'"]),
        ("[data.detections]\nlayout = 'NHWC'", ['"layout" under [data.detections]', "'columns'"]),
        ("[data.detections]\noverlap = 0", ['"overlap" under [data.detections]', "greater"]),
        ("[data.detections]\noverlap = 1.1", ['"overlap" under [data.detections]', "less"]),
        ("[data.detections]\nleast_score = inf", ['"least_score"', "finite"]),
        (
            "[data.detections]\nbox_output = 'b'\nlabel_output = 'l'",
            ['"detections" under [data]', "box_output needs score_output beside it"],
        ),
        ("[data.detections]\nlabel_output = 'l'", ["needs box_output and score_output"]),
        (
            "[data.detections]\nbox_output='a'\nscore_output='b'\nlabel_output='a'",
            ['name "a" twice'],
        ),
        (
            "[data.detections]\nbox_output='a'\nscore_output='b'\nlabel_output='c'\noverlap = 0.6",
            ["overlap means nothing where box_output"],
        ),
    ],
)
def test_what_is_wrong(text: str, parts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        parse(f"[data]\n{text}")
    contains(caught.value, *parts, "qtool.toml")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('next_token = "input_idz"', ["[data] in qtool.toml", "no input", "'input_ids'?"]),
        ('next_token = "input_ids"\nmask = "x"', ['mask = "x"', "no input", "attention_mask"]),
        ('next_token = "attention_mask"', ["holds no tokens", "float32", "integers"]),
        ('[data.detections]\noutput = "detection"', ["[data.detections]", "'detections'"]),
        (
            '[data.detections]\nbox_output="boxes"\nscore_output="scores"\nlabel_output="input_ids"',
            ['label_output = "input_ids"', "no output", "boxes, scores"],
        ),
    ],
)
def test_names_that_the_model_does_not_have(tmp_path: Path, text: str, parts: list[str]) -> None:
    refused(fed(tmp_path, text), LANGUAGE, *parts)


def test_no_reader_refuses_them(tmp_path: Path) -> None:
    data = open_dataset(fed(tmp_path, JUDGE), LANGUAGE)
    assert data.declaration.next_token == "input_ids"
    assert data.declaration.detections.boxes == "cxcywh"


def test_what_is_fed_does_not_depend_on_them(tmp_path: Path) -> None:
    plain, judged = (open_dataset(fed(tmp_path, text), LANGUAGE) for text in ("", JUDGE))
    assert plain.fingerprint == judged.fingerprint
    assert plain.declaration.feeding() == judged.declaration.feeding() == {}
    assert plain.listing([range(4)]) != judged.listing([range(4)])
    scaled = parse("[data.inputs.x]\nscale = 2.0\nfrom = 'y'")
    assert scaled.feeding() == {"inputs": {"x": {"scale": 2.0, "from": "y"}}}


def test_a_calibration_file_does_not_depend_on_them(tmp_path: Path) -> None:
    graph = """g (int64[N,4] x) => (float[N,4] y) {
        a = Cast<to = 1>(x)
        y = MatMul(a, W)
    }"""
    path = save(tmp_path / "m.onnx", graph, W=weight(4, 4))
    save_arrays(tmp_path / "calib", {"x": np.arange(32).reshape(8, 4)})
    judged_by = JUDGE.replace("input_ids", "x").replace("attention_mask", "x")
    texts = {
        "plain": "",
        "judged": judged_by.replace('"detections"', '"y"'),
        "fed": "[data.inputs.x]\nshape = [4]\n",
    }
    for name, text in texts.items():
        declare(tmp_path / "calib", f"[data]\n{text}")
        job = workflow.open_job(path, Recipe(), load_target("cpu"), threads=1)
        data = open_dataset(tmp_path / "calib", job.signature)
        workflow.measure(job, data).save(tmp_path / name, force=False)
    plain, judged, other = ((tmp_path / name).read_bytes() for name in texts)
    assert plain == judged != other


def test_they_stand_in_recipes_too(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(f"[data]\n{JUDGE}")
    recipe = load_recipe(tmp_path / "recipe.toml")
    (tmp_path / "again.toml").write_text(recipe.toml())
    assert load_recipe(tmp_path / "again.toml").data == recipe.data
    assert recipe.data is not None and recipe.data.detections.overlap == 1


def test_the_parent_of_a_model_without_them(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": np.ones(2)})
    declare(tmp_path, "[data]\ntarget_range = [0, 255]\n")
    data = open_dataset(tmp_path, model(x=("N", 2)))
    assert data.declaration.target_range == [0, 255]


def test_the_readme_shows_the_defaults() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = [part.partition("```")[0] for part in readme.split("```toml\n")[1:]]
    (block,) = (block for block in blocks if "[data.detections]" in block)
    found = parse(block)
    assert found.model_fields_set == JUDGED
    assert found.detections == Declaration().detections
