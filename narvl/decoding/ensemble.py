"""One or several autoregressive models as searches ask them: encode once a sentence, say only what may be said."""

from __future__ import annotations

import functools
from typing import Any

import torch
from fairseq.sequence_generator import EnsembleModel
from torch import Tensor

from narvl.decoding.candidates import Candidates
from narvl.errors import UsageError
from narvl.models.ofa import OFAModel
from narvl.modules.encoder import EncoderOutput
from narvl.modules.output_vocabulary import OutputVocabulary

#: fairseq's store of what decoding keeps between steps, one of each model.
States = list[dict[str, Any]]

# Where the first of these stores keeps, for fairseq's search, which row of the first step each row comes from.
_ORIGINS = "origins"


class BrokenOutputs(Exception):
    """What a model says of some rows is NaN.

    Args:
        rows: rows of the search's first step.
    """

    def __init__(self, rows: list[int]) -> None:
        super().__init__(rows)
        self.rows = rows


class SentenceEnsemble(EnsembleModel):
    """One or several models, asked for the token that comes next.

    fairseq's search asks ``forward_decoder``, for all V symbols; ours ask ``next_log_probs``, for the K that may be
    said.

    Args:
        models: the models; their probabilities are averaged.
        allowed: which symbols the task may say (V,); the others' probability is given to them. None allows all.
    """

    def __init__(self, models: list[OFAModel], allowed: Tensor | None) -> None:
        super().__init__(models)
        self.allowed = allowed
        self.eval()

    @functools.cached_property
    def vocabulary(self) -> OutputVocabulary:
        """The symbols that may be said, as columns."""
        everything = torch.ones(len(self.single_model.decoder.dictionary), dtype=torch.bool)
        constant = bool(self.single_model.answers_only)
        return OutputVocabulary(everything if self.allowed is None else self.allowed, constant)

    def begin(self, encoder_outs: list[EncoderOutput], positions: int, hypotheses: int) -> States:
        """Prepare to decode ``positions`` tokens at most, of so many hypotheses a sentence."""
        states: States = [{} for _ in self.models]
        for model, encoder_out, state in zip(self.models, encoder_outs, states, strict=True):
            model.decoder.begin(encoder_out, state, positions, hypotheses)
        return states

    def reorder(self, states: States, order: Tensor, sentences: Tensor | None) -> None:
        """Keep or repeat the hypotheses ``order`` (R',), of ``sentences`` (None: of all)."""
        for model, state in zip(self.models, states, strict=True):
            model.decoder.reorder(state, order, sentences)

    def next_log_probs(
        self, tokens: Tensor, encoder_outs: list[EncoderOutput], states: States, temperature: float = 1.0
    ) -> Tensor:
        """Compute the next token's log-probabilities over ``vocabulary``, normalised over what may be said.

        One model's logits are computed for these symbols alone. Several models are averaged over all symbols first.

        Args:
            tokens: ``<s>`` and what the hypotheses said so far (R, T).
            encoder_outs: each model's.
            states: likewise.
            temperature: the logits' divisor.

        Returns:
            (R, K), float32; memory of the caller's.
        """
        if self.models_size > 1:
            log_probs, _ = SentenceEnsemble.all_log_probs(self, tokens, encoder_outs, states, temperature)
            return log_probs.index_select(1, self.vocabulary.symbols.to(log_probs.device))
        [encoder_out], [state] = encoder_outs, states
        logits, _ = self.single_model.decoder(tokens, encoder_out, state, vocabulary=self.vocabulary)
        if temperature != 1.0:
            logits = logits / temperature
        return torch.log_softmax(logits[:, -1], dim=-1, dtype=torch.float32)

    def reorder_encoder_out(self, encoder_outs: list[Any] | None, new_order: Tensor) -> list[Any] | None:
        """Return the encoders' outputs as they are, a row a sentence.

        fairseq repeats them for each hypothesis and reorders them at each step. Our decoder reads them in the first
        step alone, and lets a sentence's hypotheses share what it keeps of them.
        """
        return encoder_outs

    def reorder_incremental_state(self, incremental_states: States, new_order: Tensor) -> None:
        """Keep or repeat the hypotheses ``new_order`` (R',)."""
        super().reorder_incremental_state(incremental_states, new_order)
        first = incremental_states[0]
        if _ORIGINS in first:
            first[_ORIGINS] = first[_ORIGINS][new_order]

    def forward_decoder(
        self, tokens: Tensor, encoder_outs: list[EncoderOutput], states: States, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """Compute ``all_log_probs`` for fairseq's search, which would take what is no number for impossible.

        Raises:
            BrokenOutputs: some are NaN.
        """
        log_probs, attention = self.all_log_probs(tokens, encoder_outs, states, temperature)
        origins = states[0].setdefault(_ORIGINS, torch.arange(len(tokens), device=tokens.device))
        broken = log_probs.amax(dim=1).isnan()  # one pass over them
        if broken.any():
            raise BrokenOutputs(origins[broken].tolist())
        return log_probs, attention

    def all_log_probs(self, *args: Any) -> tuple[Tensor, Tensor | None]:
        """Compute the next token's log-probabilities (R, V) over the allowed symbols."""
        log_probs, attention = super().forward_decoder(*args)
        if self.allowed is not None:
            log_probs = log_probs.masked_fill(~self.allowed.to(log_probs.device), float("-inf")).log_softmax(dim=-1)
        return log_probs, attention


class CandidateEnsemble(SentenceEnsemble):
    """One or several models that say candidate answers alone.

    After each prefix the tokens by which some candidate goes on have all the probability, normalised anew, so that the
    candidates' probabilities sum to 1. That is OFA's convention (arXiv 2202.03052), for its search in a trie and its
    scoring of all candidates alike. It makes one model's logits of the candidates' tokens all that is needed of it.

    Args:
        models: the models; their probabilities are averaged.
        candidates: the answers.
    """

    def __init__(self, models: list[OFAModel], candidates: Candidates) -> None:
        trie = candidates.trie
        tokens = trie.tokens.cpu()
        super().__init__(models, torch.zeros(trie.vocabulary_size, dtype=torch.bool).index_fill(0, tokens, True))
        self.trie = trie
        self._columns = torch.searchsorted(self.vocabulary.symbols, tokens)  # of each edge (E,)

    def continuations(
        self, tokens: Tensor, encoder_outs: list[EncoderOutput], states: States, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the log-probabilities of the tokens that may follow; the arguments are ``next_log_probs``'s.

        Returns:
            Of each token that may follow: its row, its edge of the trie, and its log-probability.
        """
        log_probs = super().next_log_probs(tokens, encoder_outs, states, temperature)
        self._columns = self._columns.to(tokens.device)
        trie = self.trie.to(tokens.device)
        return trie.restrict(log_probs, self._columns, trie.walk(tokens[:, 1:]))

    def next_log_probs(self, tokens: Tensor, *args: Any, **options: Any) -> Tensor:
        """Compute the next token's log-probabilities over ``vocabulary`` (R, K), -inf for what may not follow."""
        rows, edges, values = self.continuations(tokens, *args, **options)
        log_probs = values.new_full((len(tokens), self.vocabulary.size), float("-inf"))
        log_probs[rows, self._columns[edges]] = values
        return log_probs

    def all_log_probs(self, tokens: Tensor, *args: Any) -> tuple[Tensor, Tensor | None]:
        """Compute the next token's log-probabilities (R, V), -inf for what may not follow."""
        rows, edges, values = self.continuations(tokens, *args)
        log_probs = values.new_full((len(tokens), self.trie.vocabulary_size), float("-inf"))
        log_probs[rows, self.trie.tokens[edges]] = values
        return log_probs, None


def build_ensemble(
    models: list[OFAModel],
    allowed: Tensor | None,
    candidates: Candidates | None,
    no_repeat_ngram_size: int = 0,
    min_len: int = 1,
    match_source_len: bool = False,
) -> SentenceEnsemble:
    """Build what a beam search asks.

    Args:
        models: one model, or several to average.
        allowed: which symbols the task may say (V,); not looked at when there are candidates.
        candidates: the only answers that may be said; None leaves the text free.
        no_repeat_ngram_size: the search's, as are the others.

    Raises:
        UsageError: an option that shapes free text is given with candidates.
    """
    if candidates is None:
        return SentenceEnsemble(models, allowed)
    refused = {
        "--no-repeat-ngram-size": no_repeat_ngram_size > 0,
        "--min-len": min_len > 1,
        "--match-source-len": match_source_len,
    }
    for flag in (flag for flag, given in refused.items() if given):
        raise UsageError(f"{flag}: candidate answers are said whole or not at all. Drop it.")
    return CandidateEnsemble(models, candidates)
