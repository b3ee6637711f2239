"""What a task may say, cut out of the output layer before its matrix product: no logit is computed that cannot win."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Forbidden symbols between allowed ones are computed and masked where they are so few: one product is faster than two.
_LARGEST_GAP = 256
# Slices of the table are used as they lie; with more of them than this its rows are gathered, once.
_MOST_SLICES = 4


class OutputVocabulary:
    """The symbols that a task may say, as columns of its logits.

    Args:
        allowed: which symbols may be said, bool (V,), at least one.

    Attributes:
        symbols: the symbol of each column (K,), in the order of their ids.
        size: K; where there is a blank, it is the column after the last symbol's.
    """

    def __init__(self, allowed: Tensor) -> None:
        said = allowed.nonzero().flatten().tolist()
        slices: list[slice] = []
        for symbol in said:
            if slices and symbol - slices[-1].stop <= _LARGEST_GAP:
                slices[-1] = slice(slices[-1].start, symbol + 1)
            else:
                slices.append(slice(symbol, symbol + 1))
        self._slices = slices if len(slices) <= _MOST_SLICES else []
        self.symbols = (
            torch.cat([torch.arange(part.start, part.stop) for part in slices]) if self._slices else torch.tensor(said)
        )
        self.size = len(self.symbols)
        self._forbidden = ~allowed[self.symbols]
        self._masks = bool(self._forbidden.any())
        self._gathered: tuple[tuple[int, int], Tensor] | None = None

    def column(self, symbol: int) -> int:
        """Return the column of a symbol; it must have one."""
        return int(torch.searchsorted(self.symbols, torch.tensor(symbol)))

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
        rows = [table[part] for part in self._slices] if self._slices else [self._gather(table)]
        if blank is not None:
            rows.append(blank)
        products = [F.linear(features, part) for part in rows]
        logits = products[0] if len(products) == 1 else torch.cat(products, dim=-1)
        if self._masks:
            self._forbidden = self._forbidden.to(logits.device)
            logits[..., : self.size].masked_fill_(self._forbidden, float("-inf"))
        return logits

    def _gather(self, table: Tensor) -> Tensor:
        """Return the symbols' rows, gathered anew when the table was changed."""
        state = (table.data_ptr(), table._version)
        if self._gathered is None or self._gathered[0] != state:
            self._gathered = (state, table.index_select(0, self.symbols.to(table.device)))
        return self._gathered[1]
