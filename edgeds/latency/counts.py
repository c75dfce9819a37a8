"""How often dot products and matrix products of integers were executed: what makes int8 fast where a core has them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgeds.spec import Array
from edgeds.trace import Block

# mask and value of the encodings (Arm DDI 0487, C7.2), whatever U, Q and the registers are
_DOT = ((0x9FE0FC00, 0x0E809400), (0x9FC0F400, 0x0F80E000))  # SDOT, UDOT of vectors; by element
_MMLA = ((0xDFE0F400, 0x4E80A400),)  # SMMLA, UMMLA, USMMLA


def dot_products(blocks: Iterable[Block]) -> int:
    """Executions of SDOT and UDOT."""
    return sum(block.executions * _matching(block.code, _DOT) for block in blocks)


def matrix_products(blocks: Iterable[Block]) -> int:
    """Executions of SMMLA, UMMLA and USMMLA."""
    return sum(block.executions * _matching(block.code, _MMLA) for block in blocks)


def _matching(code: bytes, patterns: tuple[tuple[int, int], ...]) -> int:
    words: Array = np.frombuffer(code, "<u4")
    return sum(int(np.count_nonzero((words & mask) == value)) for mask, value in patterns)
