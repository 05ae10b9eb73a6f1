"""What layers are made of: products, convolutions, pools, normalizations, attention, resizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtool.tune.operators.attention import ATTENTION
from qtool.tune.operators.convolutions import CONVOLUTIONS
from qtool.tune.operators.normalizations import NORMALIZATIONS
from qtool.tune.operators.pools import POOLS
from qtool.tune.operators.products import PRODUCTS
from qtool.tune.operators.sampling import SAMPLING

LAYERS: dict[str, Callable[..., Any]] = {
    **PRODUCTS,
    **CONVOLUTIONS,
    **POOLS,
    **NORMALIZATIONS,
    **ATTENTION,
    **SAMPLING,
}
