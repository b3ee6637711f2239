"""CTC beam search: the most probable texts, each summed over its paths.

A search proposes texts; one exact pass then gives every proposed text its log-probability. The backends of the search
(``narvl.decoding.ctc_backends``) therefore agree on scores to the last digit, and on the texts up to what their beams
drop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from narvl.decoding.ctc import Decoded
from narvl.decoding.ctc_backends import find
from narvl.decoding.ctc_search import Search, top_choices
from narvl.errors import UsageError

#: So many take minutes for an image. Above a billion flashlight cannot count them.
MOST_PREFIXES = 1_000_000


@dataclass(frozen=True)
class DecodedText(Decoded):
    """One text of an n-best list.

    ``log_probs`` (L,) holds each token's log-probability given those before it, of texts that begin so.

    Attributes:
        log_prob: log-probability of the text, over all paths that say it.
    """

    log_prob: float


def ctc_beam_search(
    log_probs: Tensor, blank: int, eos: int, beam: int, top_k: int, backend: str = "auto"
) -> list[list[DecodedText]]:
    """Find the most probable texts of each sample.

    The text of a sequence is what stands before its first ``</s>``. Sequences that differ only after it, or by it, are
    one text: the text's probability is that of every path that says it, then ends or says ``</s>`` and anything.

    Args:
        log_probs: normalised log-probabilities (B, N, V + 1); -inf is never said.
        blank: index of the blank.
        eos: index of ``</s>``.
        beam: prefixes that the search keeps.
        top_k: tokens, besides the blank, that each query may say.
        backend: ``plain``, ``flashlight``, ``ctcdecode``; ``auto`` takes flashlight where it is installed.

    Returns:
        For each sample at most ``beam`` texts, without blanks and ``</s>``, the most probable first; on the CPU.

    Raises:
        UsageError: ``beam`` is not from 1 to ``MOST_PREFIXES``, ``top_k`` is below 1, or the backend is unknown or not
            installed.
    """
    search = check_search(beam, top_k, backend)
    rows: list[int] = []
    texts: list[list[int]] = []
    for row, choices in enumerate(top_choices(log_probs, blank, top_k)):
        said = (_until(choices.tokens(columns), eos) for columns in search(choices, beam))
        for text in dict.fromkeys(map(tuple, said)):
            rows.append(row)
            texts.append(list(text))
    results: list[list[DecodedText]] = [[] for _ in log_probs]
    scored = score_texts(log_probs, rows, texts, blank, eos)
    for place in sorted(range(len(scored)), key=lambda place: -scored[place].log_prob):
        results[rows[place]].append(scored[place])
    return results


def check_search(beam: int, top_k: int, backend: str) -> Search:
    """Return the backend's search; the arguments and errors are those of ``ctc_beam_search``."""
    if not 1 <= beam <= MOST_PREFIXES:
        raise UsageError(f"--ctc-beam {beam}: give 1 to {MOST_PREFIXES:,} prefixes.")
    if top_k < 1:
        raise UsageError(f"--ctc-top-k {top_k}: give 1 or more tokens.")
    return find(backend)


def score_texts(log_probs: Tensor, rows: list[int], texts: list[list[int]], blank: int, eos: int) -> list[DecodedText]:
    """Compute each text's probability over all of its paths, by CTC's forward recursion.

    Args:
        log_probs: normalised log-probabilities (B, N, V + 1).
        rows: the sample of each text (R,).
        texts: token ids of each text, without ``</s>``.
        blank: index of the blank.
        eos: index of ``</s>``.

    Returns:
        The texts with their log-probabilities, in the order given; on the CPU.
    """
    lengths = torch.tensor([len(text) for text in texts])
    longest = int(lengths.max())
    # Column l - 1 holds the token that makes a prefix l tokens long; the first after the text is its </s>.
    said = torch.tensor([text + [eos] * (longest + 1 - len(text)) for text in texts])
    place = torch.tensor(rows, device=log_probs.device).view(-1, 1, 1)
    queries = torch.arange(log_probs.size(1), device=log_probs.device).view(1, -1, 1)
    values = log_probs[place, queries, said.unsqueeze(1).to(log_probs.device)].float().cpu()  # (R, N, L + 1)
    blanks = log_probs[..., blank].float().cpu()[rows].unsqueeze(-1)
    repeats = torch.zeros_like(said, dtype=torch.bool)
    repeats[:, 1:] = said[:, 1:] == said[:, :-1]
    # Of prefixes of 0..L + 1 tokens: paths so far that end in a blank, those that do not, and all that ever said it.
    by_blank = torch.full((len(texts), longest + 2), -math.inf)
    by_blank[:, 0] = 0.0
    by_token = torch.full_like(by_blank, -math.inf)
    reached = by_blank.clone()
    for value, blank_value in zip(values.unbind(1), blanks.unbind(1), strict=True):
        before = torch.where(repeats, by_blank[:, :-1], torch.logaddexp(by_blank, by_token)[:, :-1])
        arriving = before + value
        by_blank = torch.logaddexp(by_blank, by_token) + blank_value
        by_token[:, 1:] = torch.logaddexp(by_token[:, 1:] + value, arriving)
        reached[:, 1:] = torch.logaddexp(reached[:, 1:], arriving)
    unended = torch.logaddexp(by_blank, by_token).gather(1, lengths.unsqueeze(1))
    ended = reached.gather(1, lengths.unsqueeze(1) + 1)
    totals = torch.logaddexp(unended, ended).squeeze(1)
    return [
        DecodedText(tokens[:length], prefixes[: length + 1].diff(), float(total))
        for tokens, prefixes, length, total in zip(said, reached, lengths.tolist(), totals, strict=True)
    ]


def _until(tokens: list[int], eos: int) -> list[int]:
    """Cut a sequence at its first ``</s>``."""
    return tokens[: tokens.index(eos)] if eos in tokens else tokens
