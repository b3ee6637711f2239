"""Log-probabilities that are no numbers, told with their rows: every search would say something of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from narvl.errors import DataError


def no_numbers(sample: dict[str, Any], rows: Sequence[int]) -> DataError:
    """Make the error of outputs that are NaN.

    Args:
        sample: the batch.
        rows: which of its rows, counted from 0.
    """
    named = ", ".join(str(index + 1) for index in sample["id"][list(rows)].tolist())
    return DataError(
        f"{sample.get('split', 'input')}, rows {named}: the model's outputs are no numbers (NaN). Give a checkpoint "
        "of a training that has not diverged; with half precision, decode in another --inference-precision."
    )
