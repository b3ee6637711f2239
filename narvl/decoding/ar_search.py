"""Beam search and greedy decoding of autoregressive models: fairseq's semantics, without what its search wastes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from torch import Tensor

from narvl.decoding.candidates import Candidates
from narvl.decoding.ensemble import build_ensemble
from narvl.decoding.ngrams import block_repeats
from narvl.decoding.numbers import no_numbers
from narvl.errors import UsageError
from narvl.models.ofa import OFAModel


class _Hypotheses(NamedTuple):
    """What the hypotheses that go on have said, those of a sentence side by side."""

    tokens: Tensor  # <s> and the tokens (R, T)
    totals: Tensor  # summed log-probability up to each token (R, T), that of <s> being 0


class _Continuations(NamedTuple):
    """The most probable continuations of each sentence's hypotheses, the best first."""

    totals: Tensor  # summed log-probabilities (B, C)
    columns: Tensor  # the new tokens, as columns (B, C)
    rows: Tensor  # which hypotheses they continue (B, C)


class ARSearch:
    """Beam search from ``<s>``, over the symbols or the answers that the task may say; greedy with a beam of 1.

    It says what ``BeamGenerator``, fairseq's search over the same model, says. What it spares: log-probabilities of
    symbols that cannot be said, sorting and masking all of those that can, one pass for each hypothesis in the first
    step, and all but one wait for the device in a step.

    Args:
        models: one model, or several to average.
        dictionary: the vocabulary.
        allowed: which symbols the task may say (V,), ``</s>`` among them; None allows all. Not looked at when there are
            candidates.
        no_repeat_ngram_size: say no n-gram of this size twice; 0 allows all.
        candidates: the only answers that may be said, by their trie; None leaves the text free. A row then has at most
            as many hypotheses as there are candidates, and the longest candidate decides how many steps are taken
            (``max_len_a`` and ``max_len_b`` are not looked at).
        beam_size: hypotheses kept for each sentence.
        max_len_a: the longest output is ``max_len_a`` times the prompt's length (padded) plus ``max_len_b`` tokens.
        max_len_b: see ``max_len_a``.
        min_len: the shortest output, in tokens, without ``</s>``.
        normalize_scores: divide a hypothesis's score by its length, ``</s>`` counted, to the power of ``len_penalty``.
        len_penalty: see ``normalize_scores``.
        unk_penalty: taken from the log-probability of ``<unk>``.
        temperature: the logits' divisor.

    Raises:
        UsageError: a value is out of range, or an option that shapes free text is given with candidates.
    """

    def __init__(
        self,
        models: list[OFAModel],
        dictionary: Dictionary,
        allowed: Tensor | None = None,
        no_repeat_ngram_size: int = 0,
        candidates: Candidates | None = None,
        beam_size: int = 1,
        max_len_a: float = 0,
        max_len_b: int = 200,
        min_len: int = 1,
        normalize_scores: bool = True,
        len_penalty: float = 1.0,
        unk_penalty: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        if beam_size < 1:
            raise UsageError(f"--beam {beam_size}: give 1 or more.")
        if temperature <= 0:
            raise UsageError(f"--temperature {temperature}: give a value above 0.")
        self.ensemble = build_ensemble(models, allowed, candidates, no_repeat_ngram_size, min_len)
        self.bos: int = dictionary.bos()
        self.eos: int = dictionary.eos()
        self.beam_size = min(beam_size, len(dictionary) - 1)
        self.max_len_a = max_len_a if candidates is None else 0
        self.max_len_b = max_len_b if candidates is None else candidates.longest
        self.min_len = min_len
        self.no_repeat_ngram_size = no_repeat_ngram_size
        self.normalize_scores = normalize_scores
        self.len_penalty = len_penalty
        self.unk_penalty = unk_penalty
        self.temperature = temperature
        self.vocabulary = self.ensemble.vocabulary
        self._end = self.vocabulary.column(self.eos)
        self._pad, self._unk = self._column(dictionary.pad()), self._column(dictionary.unk())

    @torch.no_grad()  # not inference_mode: fairseq-generate changes the scores in place
    def generate(
        self,
        models: list[OFAModel],
        sample: dict[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
    ) -> list[list[dict[str, Any]]]:
        """Decode a batch.

        Args:
            models: not looked at: those of the constructor decode (fairseq's interface).
            sample: the batch.
            prefix_tokens: not supported.
            constraints: not supported.

        Returns:
            For each row up to ``beam_size`` hypotheses, the best first: ``tokens`` (ending in ``</s>``), ``score``
            (summed log-probability, by ``normalize_scores`` divided), ``positional_scores`` (each token's
            log-probability), and fairseq's empty ``attention`` and ``alignment``.

        Raises:
            UsageError: a prefix or constraints are given, or nothing can be said within the limits.
            DataError: what the model says of a row is no number.
        """
        if prefix_tokens is not None or constraints is not None:
            raise UsageError("--prefix-size, --constraints: --ar-search optimised takes neither. Give fairseq.")
        source = sample["net_input"]["src_tokens"]
        last = self._last_step(source.size(1))
        encoder_outs = self.ensemble.forward_encoder(sample["net_input"])
        states = self.ensemble.begin(encoder_outs, last + 1, self.beam_size)
        ended: list[list[dict[str, Any]]] = [[] for _ in source]
        going_on = list(range(len(source)))
        begun = source.new_full((len(source), 1), self.bos)
        hypotheses = _Hypotheses(begun, torch.zeros_like(begun, dtype=torch.float32))
        for step in range(last + 1):
            log_probs = self.ensemble.next_log_probs(hypotheses.tokens, encoder_outs, states, self.temperature)
            found = self._continue(log_probs, hypotheses, len(going_on), step == last)
            broken = self._collect(found, hypotheses, [ended[sentence] for sentence in going_on])
            if broken:
                raise no_numbers(sample, [going_on[place] for place in broken])
            left = [place for place, sentence in enumerate(going_on) if len(ended[sentence]) < self.beam_size]
            if not left or step == last:
                break
            sentences = None
            if len(left) < len(going_on):
                sentences = torch.tensor(left, device=source.device)
                going_on = [going_on[place] for place in left]
                found = _Continuations(*(tensor[sentences] for tensor in found))
            order, hypotheses = self._advance(found, hypotheses)
            if self.beam_size > 1 or sentences is not None:
                self.ensemble.reorder(states, order, sentences)
        if not all(ended):
            raise UsageError(
                f"--no-repeat-ngram-size {self.no_repeat_ngram_size}: nothing can be said to the end, since all of it "
                "is blocked. Drop the flag."
            )
        return [sorted(row, key=lambda hypothesis: -hypothesis["score"]) for row in ended]

    def _last_step(self, source_length: int) -> int:
        """Return the step at which ``</s>`` is all that can be said, which is the longest output's length."""
        given = int(self.max_len_a * source_length + self.max_len_b)
        longest = min(given, self.ensemble.max_decoder_positions() - 1)
        if longest < max(self.min_len, 0):
            raise UsageError(f"--min-len {self.min_len}: outputs have at most {longest} tokens. Give less.")
        return longest

    def _continue(self, log_probs: Tensor, hypotheses: _Hypotheses, sentences: int, at_the_end: bool) -> _Continuations:
        """Find the best continuations: for each sentence twice as many as the beam, since half may end it."""
        totals = hypotheses.totals[:, -1:]
        first = torch.arange(sentences, device=log_probs.device).unsqueeze(1) * (len(log_probs) // sentences)
        if at_the_end:
            values, rows = (log_probs[:, self._end] + totals[:, 0]).view(sentences, -1).sort(descending=True)
            return _Continuations(values, torch.full_like(rows, self._end), first + rows)
        self._forbid(log_probs, hypotheses.tokens)
        wanted = 2 * self.beam_size if self.beam_size > 1 else 1
        values, columns = log_probs.topk(min(wanted, log_probs.size(1)))
        of_each = values.size(1)
        values, columns = (values + totals).view(sentences, -1), columns.view(sentences, -1)
        rows = first.expand_as(columns)
        if values.size(1) > of_each:  # a sentence has several hypotheses
            values, best = values.topk(min(wanted, values.size(1)))
            columns, rows = columns.gather(1, best), first + best // of_each
        if (missing := wanted - values.size(1)) > 0:
            values = F.pad(values, (0, missing), value=float("-inf"))
            columns, rows = F.pad(columns, (0, missing)), torch.cat([rows, first.expand(-1, missing)], dim=1)
        return _Continuations(values, columns, rows)

    def _forbid(self, log_probs: Tensor, tokens: Tensor) -> None:
        """Give -inf, in place, to what may not be said next."""
        said = tokens.size(1) - 1
        if self._pad is not None:
            log_probs[:, self._pad] = float("-inf")
        if self._unk is not None and self.unk_penalty:
            log_probs[:, self._unk] -= self.unk_penalty
        if said < self.min_len:
            log_probs[:, self._end] = float("-inf")
        if self.no_repeat_ngram_size:
            columns = torch.searchsorted(self.vocabulary.symbols.to(tokens.device), tokens)
            block_repeats(log_probs, columns, self.no_repeat_ngram_size)

    def _collect(self, found: _Continuations, hypotheses: _Hypotheses, ended: list[list[dict[str, Any]]]) -> list[int]:
        """Add to ``ended``, a list a sentence, the hypotheses that end among the beam's best continuations.

        Returns:
            The sentences whose continuations are no numbers; topk takes such first.
        """
        going_on = (found.columns != self._end) & ~found.totals.isnan()
        ending = found.totals.masked_fill(going_on, float("-inf"))[:, : self.beam_size]
        places: list[int] = []
        ranks: list[int] = []
        totals = ending.tolist()  # the step's wait for the device
        if broken := [place for place, row in enumerate(totals) if any(map(math.isnan, row))]:
            return broken
        for place, row in enumerate(totals):
            new = [rank for rank, total in enumerate(row) if total > float("-inf")][
                : self.beam_size - len(ended[place])
            ]
            places += [place] * len(new)
            ranks += new
        if not places:
            return []
        rows = found.rows[places, ranks]
        tokens = F.pad(hypotheses.tokens[rows, 1:], (0, 1), value=self.eos)
        summed = torch.cat([hypotheses.totals[rows], found.totals[places, ranks].unsqueeze(1)], dim=1)
        divisor = tokens.size(1) ** self.len_penalty if self.normalize_scores else 1.0
        for place, rank, said, positional in zip(places, ranks, tokens, summed.diff(dim=1), strict=True):
            ended[place].append(
                {
                    "tokens": said,
                    "score": totals[place][rank] / divisor,
                    "positional_scores": positional,
                    "attention": None,
                    "alignment": torch.empty(0),
                }
            )
        return []

    def _advance(self, found: _Continuations, hypotheses: _Hypotheses) -> tuple[Tensor, _Hypotheses]:
        """Go on with the best continuations that do not end; return the rows that they continue too (R,)."""
        if self.beam_size > 1:
            ending = found.columns == self._end
            best = ending.to(torch.uint8).argsort(dim=1, stable=True)[:, : self.beam_size]
            # Where too few do not end, the beam is filled up by what nothing comes of.
            found = found._replace(totals=found.totals.masked_fill(ending, float("-inf")))
            found = _Continuations(*(tensor.gather(1, best) for tensor in found))
        order = found.rows.flatten()
        new = self.vocabulary.to_symbols(found.columns.flatten())
        tokens = torch.cat([hypotheses.tokens[order], new.unsqueeze(1)], dim=1)
        totals = torch.cat([hypotheses.totals[order], found.totals.flatten().unsqueeze(1)], dim=1)
        return order, _Hypotheses(tokens, totals)

    def _column(self, symbol: int) -> int | None:
        """Return the column of a symbol, None where it has none."""
        return self.vocabulary.column(symbol) if bool((self.vocabulary.symbols == symbol).any()) else None
