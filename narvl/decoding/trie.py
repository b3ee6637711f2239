"""A trie over token sequences, as tensors: which tokens may follow a prefix, for many prefixes at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor


class Trie:
    """Prefixes of token sequences as nodes, the tokens that may follow them as edges.

    Node 0 is the empty prefix. A prefix of no sequence, and whatever follows an end, is the dead end: its only edge
    says the end again, so that a distribution over what a node allows always exists. Children are stored side by side
    (nodes' offsets into one list of edges), so that thousands of answers need no table of nodes times vocabulary.

    Args:
        sequences: token ids of each sequence (L,), unique; each ends in ``end``, which is nowhere else in it.
        vocabulary_size: V; every id is smaller.
        end: id of ``</s>``.

    Attributes:
        tokens: the token of each edge (E,).
        targets: the node that it leads to (E,).
        branches: whether that node, or one below it, has more than one child (E,). Where none has, the
            log-probabilities over the allowed tokens are 0, whatever a model says.
        paths: the edges of each sequence (C, longest L), padded with the dead end's, whose log-probability is 0.
        lengths: tokens of each sequence.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], vocabulary_size: int, end: int) -> None:
        children: list[dict[int, int]] = [{}]
        for sequence in sequences:
            node = 0
            for token in sequence[:-1]:
                if token not in children[node]:
                    children[node][token] = len(children)
                    children.append({})
                node = children[node][token]
            children[node][end] = -1
        dead = len(children)
        children.append({end: -1})
        branching = [len(tokens) > 1 for tokens in children]
        for node in range(dead - 1, -1, -1):  # a child's number is larger than its parent's
            branching[node] |= any(branching[target] for target in children[node].values() if target >= 0)
        edges = [(node, token, children[node][token]) for node in range(dead + 1) for token in sorted(children[node])]
        place = {(node, token): edge for edge, (node, token, _) in enumerate(edges)}

        self.vocabulary_size = vocabulary_size
        self.lengths = [len(sequence) for sequence in sequences]
        self._dead = dead
        self.tokens = torch.tensor([token for _, token, _ in edges])
        self.targets = torch.tensor([dead if target < 0 else target for _, _, target in edges])
        self.branches = torch.tensor([target >= 0 and branching[target] for _, _, target in edges])
        counts = torch.tensor([len(tokens) for tokens in children])
        self._starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self._keys = torch.tensor([node * vocabulary_size + token for node, token, _ in edges])
        self.paths = torch.full((len(sequences), max(self.lengths)), len(edges) - 1)
        for row, sequence in enumerate(sequences):
            node = 0
            for column, token in enumerate(sequence):
                self.paths[row, column] = place[node, token]
                node = children[node][token]

    def to(self, device: torch.device) -> Self:
        """Move the tensors to a device, in place."""
        if self.tokens.device != device:
            for name, value in vars(self).items():
                if isinstance(value, Tensor):
                    setattr(self, name, value.to(device))
        return self

    def walk(self, prefixes: Tensor) -> Tensor:
        """Find the node of each prefix.

        Args:
            prefixes: token ids (R, T), without ``<s>``.

        Returns:
            Nodes (R,); the dead end for what begins no sequence.
        """
        nodes = prefixes.new_zeros(len(prefixes))
        for tokens in prefixes.unbind(1):
            keys = nodes * self.vocabulary_size + tokens
            edges = torch.searchsorted(self._keys, keys).clamp_(max=len(self._keys) - 1)
            nodes = self.targets[edges].masked_fill(self._keys[edges] != keys, self._dead)
        return nodes

    def children(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the edges out of nodes (R,): for each edge the row of its node in ``nodes``, and its number."""
        starts = self._starts[nodes]
        counts = self._starts[nodes + 1] - starts
        rows = torch.arange(len(nodes), device=nodes.device).repeat_interleave(counts)
        within = torch.arange(len(rows), device=nodes.device) - (counts.cumsum(0) - counts)[rows]
        return rows, starts[rows] + within

    def restrict(self, log_probs: Tensor, columns: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give all probability to the tokens that may follow.

        Args:
            log_probs: over the vocabulary, or the part of it that sequences say (R, K); a row may lack a constant.
            columns: the column of each edge's token (E,).
            nodes: what each row said so far (R,).

        Returns:
            Of each token that may follow: its row, its edge, and its log-probability, normalised over its row's.
        """
        rows, edges = self.children(nodes)
        values = log_probs[rows, columns[edges]]
        peaks = values.new_full((len(nodes),), float("-inf")).scatter_reduce(0, rows, values, "amax")
        values = values - peaks[rows]
        totals = torch.zeros_like(peaks).index_add(0, rows, values.exp())
        return rows, edges, values - totals.log()[rows]
