"""What is timed: the tasks' shapes, random batches, and models with random weights at the real vocabulary's size.

Speed does not depend on what weights say, as long as every decoder takes the steps that the task's answers take: the
autoregressive ones are held to the answer's length.
"""

from __future__ import annotations

import functools
import tempfile
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kit.files import write_bpe
from narvl.data.vocabulary import Vocabulary
from narvl.errors import UsageError
from narvl.models._config import PRESETS, NARVLConfig, OFAConfig
from narvl.models.narvl import NARVLModel
from narvl.models.ofa import OFAModel

SIZES = tuple(PRESETS)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Workload:
    """A task's shapes, in tokens.

    Attributes:
        prompt: S, ``<s>`` and ``</s>`` included; of a typical row under GPT-2's BPE.
        answer: tokens of a typical answer, without ``</s>``; what the autoregressive decoders say.
        queries: N of the paper's recipe.
        bins: whether the answer is made of location bins.
        block: n-gram blocking of the recipe's beam search; 0 for none.
    """

    prompt: int
    answer: int
    queries: int
    bins: bool = False
    block: int = 0

    @property
    def alignment(self) -> str:
        """How the recipe's queries map to tokens."""
        return "position" if self.bins else "ctc"

    @property
    def steps(self) -> int:
        """Steps of the autoregressive decoder: the answer's tokens and ``</s>``."""
        return self.answer + 1


#: The entailment prompt holds the image's caption, as the paper's does; a question is one without object names.
WORKLOADS = {
    "captioning": Workload(prompt=8, answer=16, queries=20, block=3),
    "vqa": Workload(prompt=11, answer=2, queries=6),
    "grounding": Workload(prompt=15, answer=4, queries=5, bins=True),
    "entailment": Workload(prompt=36, answer=1, queries=2),
}


@functools.cache
def vocabulary() -> Vocabulary:
    """Return a vocabulary of the published checkpoints' size, V = 59,457, made here."""
    with tempfile.TemporaryDirectory() as folder:
        write_bpe(Path(folder))
        return Vocabulary(folder)


def allowed(workload: Workload) -> torch.Tensor:
    """Return which symbols the task may say, bool (V,)."""
    return vocabulary().bin_mask() if workload.bins else vocabulary().text_mask()


def make_batch(workload: Workload, batch: int, side: int, device: torch.device, seed: int = 1) -> dict[str, Any]:
    """Make a batch of random images, prompts and targets, in the form of ``narvl.data.sample.collate``, unpadded."""
    random = torch.Generator().manual_seed(seed)
    symbols = allowed(workload).nonzero().flatten()
    symbols = symbols[symbols > vocabulary().dictionary.eos()]

    def text(length: int, choice: torch.Tensor) -> torch.Tensor:
        # No two neighbours are equal: every target is reachable.
        start = torch.randint(len(choice), (batch, 1), generator=random)
        steps = torch.randint(1, len(choice), (batch, length), generator=random)
        return choice[(start + steps.cumsum(1)) % len(choice)]

    bos, eos = vocabulary().dictionary.bos(), vocabulary().dictionary.eos()
    words = vocabulary().text_mask().nonzero().flatten()
    begin, end = torch.full((batch, 1), bos), torch.full((batch, 1), eos)
    target = torch.cat([text(workload.answer, symbols), end], dim=1)
    source = torch.cat([begin, text(workload.prompt - 2, words[words > eos]), end], dim=1)
    net_input = {
        "src_tokens": source,
        "src_lengths": torch.full((batch,), workload.prompt),
        "patch_images": torch.rand(batch, 3, side, side, generator=random) * 2 - 1,
        "patch_masks": torch.ones(batch, dtype=torch.bool),
        "prev_output_tokens": torch.cat([begin, target[:, :-1]], dim=1),
    }
    lengths = torch.full((batch,), workload.steps)
    return {
        "id": torch.arange(batch),
        "nsentences": batch,
        "ntokens": int(lengths.sum()),
        "target": target.to(device),
        "target_lengths": lengths.to(device),
        "net_input": {name: value.to(device) for name, value in net_input.items()},
    }


def build_model(family: str, size: str, workload: Workload, device: torch.device, seed: int, **settings: Any) -> Any:
    """Build ``ofa`` (autoregressive) or ``narvl`` (parallel) with random weights, in float32.

    Raises:
        UsageError: a setting is none of the model's.
    """
    torch.manual_seed(seed)
    config: Any = NARVLConfig if family == "narvl" else OFAConfig
    if family == "narvl":
        settings = {**settings, "num_queries": workload.queries, "alignment": workload.alignment}
    try:
        cfg = config(**PRESETS[size], **settings)
    except TypeError as error:
        raise UsageError(f"--size {size}: {error}. This version's models have no such setting.") from error
    task: Any = Namespace(target_dictionary=vocabulary().dictionary)
    model = (NARVLModel if family == "narvl" else OFAModel).build_model(cfg, task)
    # Batch norm with fresh statistics normalises nothing: without this the deep ResNets overflow half precision.
    for module in model.encoder.embed_images.modules():
        if hasattr(module, "zero_init_last"):
            module.zero_init_last()
    return model.to(device)


def freeze(model: Any) -> Any:
    """Put a model in evaluation mode, its weights constant."""
    return model.eval().requires_grad_(False)


def prepare_for_inference(model: Any, precision: str, compiled: str = "none") -> None:
    """Make a frozen model what ``fairseq-generate`` decodes with.

    Args:
        model: changed in place.
        precision: ``--inference-precision``.
        compiled: ``--inference-compile``.
    """
    options = Namespace(no_beamable_mm=True, beam=1, print_alignment=None, retain_dropout=False)
    task = Namespace(inference_precision=precision, inference_compile=compiled)
    model.prepare_for_inference_(Namespace(generation=options, task=task))
