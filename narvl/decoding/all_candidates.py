"""All-candidate scoring: the log-probability of every candidate answer, prefixes shared."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from fairseq.data import Dictionary
from torch import Tensor

from narvl.decoding.candidates import Candidates
from narvl.decoding.ensemble import CandidateEnsemble, States
from narvl.decoding.numbers import no_numbers
from narvl.errors import UsageError
from narvl.models.ofa import OFAModel


class _Pass(NamedTuple):
    """Prefixes of one length, to be continued by one pass: n trie nodes, for each of B sentences."""

    nodes: Tensor  # (n,)
    prefixes: Tensor  # (n, T), with <s>
    states: States  # of the prefixes that these continue
    order: Tensor  # the row of ``states`` that each continues (B * n,)


class AllCandidatesGenerator:
    """Ranks all candidate answers by their summed log-probability, each step's over the tokens that may follow.

    It is what beam search over the candidates' trie tends to, without its pruning: both ask the same
    ``CandidateEnsemble``, so that with a beam that holds all candidates they agree. An image is encoded once and its
    keys and values serve all candidates; a prefix that several candidates share is decoded once, and what follows a
    prefix that leaves no choice is not decoded at all.

    Args:
        models: one model, or several whose probabilities are averaged.
        dictionary: the vocabulary.
        candidates: the answers.
        nbest: answers returned for each row.
        chunk: prefixes decoded in a pass, those of all the batch's sentences together; what memory grows with
            (``chunk`` logits of each symbol that candidates say, or of all V where there are several models).
        temperature: the logits' divisor.

    Raises:
        UsageError: ``nbest`` or ``chunk`` is below 1, or ``temperature`` not above 0.
    """

    def __init__(
        self,
        models: list[OFAModel],
        dictionary: Dictionary,
        candidates: Candidates,
        nbest: int = 1,
        chunk: int = 512,
        temperature: float = 1.0,
    ) -> None:
        if nbest < 1:
            raise UsageError(f"--nbest {nbest}: give 1 or more.")
        if chunk < 1:
            raise UsageError(f"chunk {chunk}: give 1 or more prefixes a pass.")
        if temperature <= 0:
            raise UsageError(f"--temperature {temperature}: give a value above 0.")
        self.bos: int = dictionary.bos()
        self.eos: int = dictionary.eos()  # fairseq-generate asks for it
        self.candidates = candidates
        self.nbest = min(nbest, len(candidates))
        self.chunk = chunk
        self.temperature = temperature
        self.ensemble = CandidateEnsemble(models, candidates)

    @torch.no_grad()
    def generate(
        self,
        models: list[OFAModel],
        sample: dict[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
    ) -> list[list[dict[str, Any]]]:
        """Rank the candidates for each row of a batch.

        Args:
            models: not looked at: those of the constructor decode (fairseq's interface).
            sample: the batch.
            prefix_tokens: not supported.
            constraints: not supported.

        Returns:
            For each row its ``nbest`` hypotheses, the most probable first: ``tokens`` (ending in ``</s>``), ``score``
            (summed log-probability), ``positional_scores`` (each token's), and fairseq's empty ``attention`` and
            ``alignment``.

        Raises:
            UsageError: a prefix or constraints are given.
            DataError: what the model says of a row is no number.
        """
        if prefix_tokens is not None or constraints is not None:
            raise UsageError("--prefix-size, --constraints: the candidates are all that is said. Drop them.")
        each = self._edges(sample["net_input"])[:, self.candidates.trie.paths]  # (B, C, L)
        scores, best = each.sum(-1).topk(self.nbest)
        if bool((broken := scores.isnan().any(dim=-1)).any()):  # they come first
            raise no_numbers(sample, broken.nonzero().flatten().tolist())
        chosen = each.gather(1, best.unsqueeze(-1).expand(-1, -1, each.size(-1)))
        return [
            [self._hypothesis(index, score, positional) for index, score, positional in zip(*row, strict=True)]
            for row in zip(best.tolist(), scores.tolist(), chosen, strict=True)
        ]

    def _edges(self, net_input: dict[str, Tensor]) -> Tensor:
        """Compute the log-probability of each edge of the trie for each sentence (B, E)."""
        encoder_outs = self.ensemble.forward_encoder(net_input)
        device = net_input["src_tokens"].device
        sentences = len(net_input["src_tokens"])
        trie = self.candidates.trie.to(device)
        result = torch.zeros(sentences, len(trie.tokens), device=device)
        size = max(1, self.chunk // sentences)
        every = torch.arange(sentences, device=device).unsqueeze(1)
        root = torch.zeros(1, dtype=torch.long, device=device)
        todo = [_Pass(root, root.new_full((1, 1), self.bos), [{} for _ in self.ensemble.models], every.flatten())]
        while todo:  # depth first: only the states along one path are kept
            nodes, prefixes, states, order = todo.pop()
            states = [dict(state) for state in states]
            self.ensemble.reorder_incremental_state(states, order)
            begun = prefixes.repeat(sentences, 1)
            _, _, values = self.ensemble.continuations(begun, encoder_outs, states, self.temperature)
            rows, edges = trie.children(nodes)
            result[:, edges] = values.view(sentences, -1)  # every sentence says the same prefixes, in the same order
            further = trie.branches[edges].nonzero().flatten()
            for first in range(0, len(further), size):
                part = further[first : first + size]
                parents, taken = rows[part], edges[part]
                longer = torch.cat([prefixes[parents], trie.tokens[taken].unsqueeze(1)], dim=1)
                todo.append(_Pass(trie.targets[taken], longer, states, (every * len(nodes) + parents).flatten()))
        return result

    def _hypothesis(self, index: int, score: float, positional: Tensor) -> dict[str, Any]:
        tokens = self.candidates.tokens[index].to(positional.device)
        return {
            "tokens": tokens,
            "score": score,
            "positional_scores": positional[: len(tokens)].clone(),
            "attention": None,
            "alignment": torch.empty(0),
        }
