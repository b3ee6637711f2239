"""What ``fairseq-generate`` calls for the autoregressive model: fairseq's beam search, with OFA's start symbol."""

from __future__ import annotations

from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator
from torch import Tensor

from narvl.decoding.candidates import Candidates
from narvl.errors import UsageError
from narvl.models.ofa import OFAModel


class SentenceEnsemble(EnsembleModel):
    """One or several models as beam search asks them: encode once a sentence, say only what the task may say.

    Args:
        models: the models; their probabilities are averaged.
        allowed: which symbols the task may say (V,); the others' probability is given to them. None allows all.
    """

    def __init__(self, models: list[OFAModel], allowed: Tensor | None) -> None:
        super().__init__(models)
        self.allowed = allowed

    def reorder_encoder_out(self, encoder_outs: list[Any] | None, new_order: Tensor) -> list[Any] | None:
        """Return the encoders' outputs as they are, a row a sentence.

        fairseq repeats them for each hypothesis and reorders them at each step. Our decoder reads them in the first
        step alone, and lets a sentence's hypotheses share what it keeps of them.
        """
        return encoder_outs

    def forward_decoder(self, *args: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
        """Compute the next token's log-probabilities (R, V) over the allowed symbols."""
        log_probs, attention = super().forward_decoder(*args, **options)
        if self.allowed is not None:
            log_probs = log_probs.masked_fill(~self.allowed.to(log_probs.device), float("-inf")).log_softmax(dim=-1)
        return log_probs, attention


class CandidateEnsemble(SentenceEnsemble):
    """One or several models that say candidate answers alone.

    After each prefix the tokens by which some candidate goes on have all the probability, normalised anew, so that the
    candidates' probabilities sum to 1. That is OFA's convention (arXiv 2202.03052), for its search in a trie and its
    scoring of all candidates alike. Several models are averaged first, over the whole vocabulary.

    Args:
        models: the models; their probabilities are averaged.
        candidates: the answers.
    """

    def __init__(self, models: list[OFAModel], candidates: Candidates) -> None:
        super().__init__(models, allowed=None)
        self.trie = candidates.trie

    def continuations(self, tokens: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the log-probabilities of the tokens that may follow.

        Args:
            tokens: ``<s>`` and what the hypotheses said so far (R, T).
            args: what fairseq's ``forward_decoder`` takes besides.
            options: likewise.

        Returns:
            Of each token that may follow: its row, its edge of the trie, and its log-probability.
        """
        log_probs, _ = super().forward_decoder(tokens, *args, **options)
        trie = self.trie.to(tokens.device)
        return trie.restrict(log_probs, trie.walk(tokens[:, 1:]))

    def forward_decoder(self, tokens: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
        """Compute the next token's log-probabilities (R, V), -inf for what may not follow."""
        rows, edges, values = self.continuations(tokens, *args, **options)
        log_probs = values.new_full((len(tokens), self.trie.vocabulary_size), float("-inf"))
        log_probs[rows, self.trie.tokens[edges]] = values
        return log_probs, None


class NGramBlock(NGramRepeatBlock):
    """fairseq's n-gram blocking, given the tokens so far.

    fairseq hands it the whole padded buffer, whose last tokens are padding, so that without its CUDA extension
    ``--no-repeat-ngram-size`` blocks nothing.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, use_extension=False)

    def forward(self, tokens: Tensor, lprobs: Tensor, bsz: int, beam_size: int, step: int) -> Tensor:
        """Give -inf to the tokens that would complete an n-gram for the second time."""
        return super().forward(tokens[:, : step + 1], lprobs, bsz, beam_size, step)


class BeamGenerator(SequenceGenerator):
    """fairseq's beam search, from ``<s>``, over the symbols or the answers that the task may say.

    Args:
        models: one model, or several to average.
        dictionary: the vocabulary.
        allowed: which symbols the task may say (V,); None allows all. Not looked at when there are candidates.
        no_repeat_ngram_size: say no n-gram of this size twice; 0 allows all.
        candidates: the only answers that may be said, by their trie; None leaves the text free. A row then has at most
            as many hypotheses as there are candidates, and the longest candidate decides how many steps are taken
            (``max_len_a`` and ``max_len_b`` are not looked at).
        options: fairseq's own, see ``SequenceGenerator``.

    Raises:
        UsageError: an option that shapes free text is given with candidates.
    """

    def __init__(
        self,
        models: list[OFAModel],
        dictionary: Dictionary,
        allowed: Tensor | None = None,
        no_repeat_ngram_size: int = 0,
        candidates: Candidates | None = None,
        **options: Any,
    ) -> None:
        ensemble: SentenceEnsemble
        if candidates is not None:
            refused = {
                "--no-repeat-ngram-size": no_repeat_ngram_size > 0,
                "--min-len": options.get("min_len", 1) > 1,
                "--match-source-len": options.get("match_source_len", False),
            }
            for flag in (flag for flag, given in refused.items() if given):
                raise UsageError(f"{flag}: candidate answers are said whole or not at all. Drop it.")
            options |= {"max_len_a": 0, "max_len_b": candidates.longest}
            ensemble = CandidateEnsemble(models, candidates)
        else:
            ensemble = SentenceEnsemble(models, allowed)
        super().__init__(ensemble, dictionary, **options)
        self.bos: int = dictionary.bos()
        self.constrained = candidates is not None
        self.repeat_ngram_blocker = NGramBlock(no_repeat_ngram_size) if no_repeat_ngram_size > 0 else None

    @torch.no_grad()
    def generate(self, models: list[OFAModel], sample: dict[str, Any], **options: Any) -> list[list[dict[str, Any]]]:
        """Decode a batch; see fairseq's ``SequenceGenerator.generate``.

        Raises:
            UsageError: a prefix is given with candidates.
        """
        if self.constrained and options.get("prefix_tokens") is not None:
            raise UsageError("--prefix-size: candidate answers are said whole or not at all. Drop it.")
        return super().generate(models, sample, bos_token=self.bos, **options)
