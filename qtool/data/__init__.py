"""Level 1: folders of samples, read one at a time, checked, and turned into what a model takes."""

from qtool.data.annotations import Annotations
from qtool.data.carry import Carry, carried
from qtool.data.dataset import Dataset
from qtool.data.declaration import (
    Declaration,
    InputDeclaration,
    find_declaration,
    parse_declaration,
)
from qtool.data.detections import DetectionDeclaration
from qtool.data.fed import Fed, Sample, watch
from qtool.data.opening import READERS, open_dataset
from qtool.data.pairs import Pairs

__all__ = [
    "READERS",
    "Annotations",
    "Carry",
    "Dataset",
    "Declaration",
    "DetectionDeclaration",
    "Fed",
    "InputDeclaration",
    "Pairs",
    "Sample",
    "carried",
    "find_declaration",
    "open_dataset",
    "parse_declaration",
    "watch",
]
