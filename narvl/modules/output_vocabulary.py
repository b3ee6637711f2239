"""What a task may say, cut out of the output layer before its matrix product: no logit is computed that cannot win."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from narvl.modules.packed import PackedLinear, can_pack
from narvl.modules.weight_cache import WeightCache

# Forbidden symbols between allowed ones are computed and masked where they are so few: one product is faster than two.
_LARGEST_GAP = 256
# Slices of the table are used as they lie; with more of them than this, or with as many forbidden symbols in them as
# allowed ones, its rows are gathered, once.
_MOST_SLICES = 4
# Tables whose rows are kept: one for each model of an ensemble.
_KEPT = 8


class OutputVocabulary:
    """The symbols that a task may say, as columns of its logits.

    Args:
        allowed: which symbols may be said, bool (V,), at least one.
        constant: the tables given to ``logits`` are those of models that only answer: worth a copy of the allowed rows,
            laid out for the kernels.

    Attributes:
        symbols: the symbol of each column (K,), in the order of their ids.
        size: K; where there is a blank, it is the column after the last symbol's.
    """

    def __init__(self, allowed: Tensor, constant: bool = False) -> None:
        said = allowed.nonzero().flatten().tolist()
        slices: list[slice] = []
        for symbol in said:
            if slices and symbol - slices[-1].stop <= _LARGEST_GAP:
                slices[-1] = slice(slices[-1].start, symbol + 1)
            else:
                slices.append(slice(symbol, symbol + 1))
        spanned = sum(part.stop - part.start for part in slices)
        whole = not constant and len(slices) <= _MOST_SLICES and spanned < 2 * len(said)
        self._slices = slices if whole else []
        self.symbols = (
            torch.cat([torch.arange(part.start, part.stop) for part in slices]) if self._slices else torch.tensor(said)
        )
        self.size = len(self.symbols)
        self._forbidden = ~allowed[self.symbols]
        self._masks = bool(self._forbidden.any())
        self._constant = constant
        self._kept = WeightCache(_KEPT)

    def column(self, symbol: int) -> int:
        """Return the column of a symbol; it must have one."""
        return int(torch.searchsorted(self.symbols, torch.tensor(symbol, device=self.symbols.device)))

    def to_symbols(self, columns: Tensor) -> Tensor:
        """Return the symbols of columns, any shape."""
        self.symbols = self.symbols.to(columns.device)
        return self.symbols[columns]

    def logits(self, features: Tensor, table: Tensor, blank: Tensor | None = None) -> Tensor:
        """Compute the logits of the columns.

        Args:
            features: the decoder's output (..., D).
            table: the token table (V, D).
            blank: the blank's row (1, D); None where there is no blank.

        Returns:
            (..., K), or (..., K + 1) with a blank, in the last column; -inf for what may not be said.
        """
        if self._slices:
            rows = [table[part] for part in self._slices] + ([] if blank is None else [blank])
            logits = torch.cat([F.linear(features, part) for part in rows], dim=-1)
        else:
            weights = [table] if blank is None else [table, blank]
            logits = self._kept.get(table.data_ptr(), weights, lambda: self._layer(weights))(features)
        return self._masked(logits)

    def select(self, logits: Tensor) -> Tensor:
        """Return the columns of a parallel model's logits over all V symbols and the blank, as ``logits`` gives them.

        Args:
            logits: (..., V + 1).

        Returns:
            (..., K + 1); -inf for what may not be said.
        """
        self.symbols = self.symbols.to(logits.device)
        columns = torch.cat([self.symbols, self.symbols.new_tensor([logits.size(-1) - 1])])
        return self._masked(logits.index_select(-1, columns))

    def _masked(self, logits: Tensor) -> Tensor:
        if self._masks:
            self._forbidden = self._forbidden.to(logits.device)
            logits[..., : self.size].masked_fill_(self._forbidden, float("-inf"))
        return logits

    def _layer(self, weights: list[Tensor]) -> Callable[[Tensor], Tensor]:
        table, *blank = weights
        rows = torch.cat([table.index_select(0, self.symbols.to(table.device)), *blank])
        if self._constant and can_pack(rows):
            return PackedLinear(rows, None)
        return lambda features: F.linear(features, rows)
