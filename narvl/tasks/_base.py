"""What every task shares: vocabulary, data sets, generators, and a metric in validation.

No postponed annotations here: fairseq reads the fields' types at run time.
"""

import functools
import json
import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Protocol

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics
from fairseq.models import ARCH_MODEL_REGISTRY
from omegaconf import MISSING, DictConfig
from torch import Tensor

from narvl.data.boxes import BoxFrame
from narvl.data.dataset import VisionLanguageDataset, read_row_numbers
from narvl.data.sample import Example, SampleMaker
from narvl.data.tsv import COLUMNS, TsvFile
from narvl.data.vocabulary import Vocabulary
from narvl.decoding.all_candidates import AllCandidatesGenerator
from narvl.decoding.candidates import Candidates
from narvl.decoding.ctc_backends import BACKENDS
from narvl.decoding.options import DEFAULTS, OF_A_SEARCH, by_name, refuse
from narvl.decoding.parallel import ParallelGenerator
from narvl.decoding.search import SEARCHES, build_search
from narvl.errors import UsageError
from narvl.models._compile import COMPILE_MODES
from narvl.models._precision import PRECISIONS
from narvl.models.narvl import NARVLModel
from narvl.models.ofa import OFAModel, unwrap
from narvl.modules.output_vocabulary import OutputVocabulary
from narvl.tasks._guards import GuardedTask

logger = logging.getLogger(__name__)

# What may be learned by: others of fairseq's evaluate settings, which a checkpoint may bring.
_CRITERIONS = (
    *("query_ctc", "query_cross_entropy", "weighted_cross_entropy"),
    *("label_smoothed_cross_entropy", "cross_entropy"),
)


@dataclass
class VisionLanguageConfig(FairseqDataclass):
    """Configuration of every task."""

    data: str = field(default=MISSING, metadata={"help": "folder with train.tsv, valid.tsv, test.tsv in OFA's layout"})
    bpe_dir: Optional[str] = field(
        default=None,
        metadata={"help": "folder with encoder.json, vocab.bpe, dict.txt (default: the data folder)"},
    )
    patch_image_size: int = field(
        default=480, metadata={"help": "side of the square that images are resized to, in pixels (at most 672)"}
    )
    code_dict_size: int = field(
        default=8192, metadata={"help": "image codes in the vocabulary; 8192 in OFA's checkpoints, 0 leaves them out"}
    )
    num_bins: int = field(default=1000, metadata={"help": "location bins in the vocabulary; 1000 in OFA's checkpoints"})
    skip_bad_rows: bool = field(
        default=False, metadata={"help": "log and count rows that cannot be used, instead of stopping at the first"}
    )
    no_valid_generation: bool = field(
        default=False, metadata={"help": "in validation compute the loss alone, without decoding and its metric"}
    )
    only_rows: Optional[str] = field(
        default=None, metadata={"help": "decode only the rows listed in this file (0-based, one a line)"}
    )
    inference_precision: ChoiceEnum(PRECISIONS) = field(  # type: ignore[valid-type]
        default="float32",
        metadata={
            "help": "numbers that fairseq-generate computes with: bfloat16 and float16 for weights and activations,"
            " int8 for the layers' products on CPUs"
        },
    )
    inference_compile: ChoiceEnum(COMPILE_MODES) = field(  # type: ignore[valid-type]
        default="none",
        metadata={
            "help": "torch.compile what fairseq-generate runs, the encoder and the parallel decoder; cuda-graphs"
            " replays them on GPUs. The first batch of a shape takes minutes: for many batches of few shapes"
        },
    )
    ar_search: ChoiceEnum(list(SEARCHES)) = field(  # type: ignore[valid-type]
        default="optimised",
        metadata={
            "help": "who does the beam search of autoregressive models; both say the same. What the optimised one lacks"
            " (sampling, prefixes, constraints, language models) fairseq does in any case"
        },
    )
    ctc_beam: int = field(
        default=0,
        metadata={"help": "prefixes that CTC beam search keeps (parallel models); 0 takes each query's best class"},
    )
    ctc_top_k: int = field(
        default=10, metadata={"help": "tokens, besides the blank, that CTC beam search lets each query say"}
    )
    ctc_backend: ChoiceEnum(list(BACKENDS)) = field(  # type: ignore[valid-type]
        default="auto", metadata={"help": "who does the CTC beam search; auto takes flashlight where it is installed"}
    )
    valid_generation_args: str = field(
        default='{"beam": 1, "max_len_b": 40}',
        metadata={"help": "fairseq-generate's options for decoding in validation, as JSON (autoregressive models)"},
    )


class LineDecoder(Protocol):
    """Turns a line of symbols into what people read."""

    def decode(self, line: str, /) -> str:
        """Decode symbols separated by blanks."""


class VisionLanguageTask(GuardedTask):
    """A task over images and text: rows of a TSV file in, a short text out.

    Subclasses name their columns, parse a row, say which symbols may be said, and score an output in validation.
    """

    #: Key of ``narvl.data.tsv.COLUMNS``.
    columns: str
    #: Name under which validation logs the task's metric, a percentage; the higher, the better.
    metric: str
    #: Texts that a prompt is made of, by the names of ``narvl predict``'s flags; True where one must be given.
    texts: Mapping[str, bool] = {}
    #: Options of ``fairseq-generate`` that this task's beam search has unless told otherwise (``narvl predict``).
    decoding: Mapping[str, Any] = {}
    #: Those that it has whatever it is told.
    fixed_decoding: Mapping[str, Any] = {}
    #: Tokens that the model's position tables hold, of a prompt and of a target; known once it is built.
    positions: Optional[tuple[int, int]] = None

    def __init__(self, cfg: VisionLanguageConfig) -> None:
        super().__init__(cfg)
        if not cfg.bpe_dir and not Path(cfg.data).is_dir():
            raise UsageError(f"{cfg.data}: no such folder. Give the data: train.tsv, valid.tsv and the BPE files.")
        self.vocabulary = Vocabulary(cfg.bpe_dir or cfg.data, cfg.code_dict_size, cfg.num_bins)
        self.frame = self.build_frame()
        self.make_sample = SampleMaker(self.vocabulary, cfg.patch_image_size, self.frame, self.all_references())
        self.valid_options = _generation_options(cfg.valid_generation_args)

    @classmethod
    def setup_task(cls, cfg: Any, **unused: Any) -> "VisionLanguageTask":
        """Build the task (fairseq's hook, which also says whether a checkpoint is being loaded)."""
        return cls(cfg)

    @property
    def candidate_search(self) -> str:
        """How an autoregressive model finds its answer: ``beam``, or among ``candidates`` by ``trie`` or ``all``."""
        return "beam"

    @property
    def candidates(self) -> Candidates | None:
        """The only answers that an autoregressive model may say; None leaves the text free."""
        return None

    def build_frame(self) -> BoxFrame | None:
        """Return how boxes become location bins; None where no target is a box."""
        return None

    def all_references(self) -> bool:
        """Tell whether batches hold all right outputs of a row (``--references all``), not its target alone."""
        return False

    def boxes(self) -> tuple[int, int] | None:
        """Return the first location bin and their number where a parallel model is to say boxes; None elsewhere."""
        return None

    def parse(self, fields: list[str], labelled: bool) -> Example:
        """Turn a row into an example; raises DataError without file and row.

        Args:
            fields: the row.
            labelled: whether the row must have a target.
        """
        raise TypeError(f"{type(self).__name__} parses no rows")

    def prompt(self, texts: Mapping[str, str]) -> str:
        """Write the prompt for an image, from texts named as in ``texts``."""
        raise TypeError(f"{type(self).__name__} writes no prompts")

    def allowed(self) -> Tensor:
        """Return which symbols the task may say, bool (V,)."""
        return self.vocabulary.text_mask()

    def score(self, split: str, indices: Sequence[int], outputs: Sequence[str]) -> float:
        """Return the summed metric of the outputs for some rows of a split."""
        raise TypeError(f"{type(self).__name__} has no metric")

    def load_dataset(self, split: str, combine: bool = False, task_cfg: Any = None, **unused: Any) -> None:
        """Open ``DATA/SPLIT.tsv`` (fairseq's hook; ``task_cfg`` is what a checkpoint was trained with)."""
        learned = getattr(task_cfg, "_name", self.columns)
        if learned != self.columns and learned in COLUMNS:
            logger.warning("--task %s: the checkpoint was trained for %s; it may say nothing", self.columns, learned)
        trained = getattr(task_cfg, "patch_image_size", None)
        if trained not in (None, self.cfg.patch_image_size):
            logger.warning(
                "--patch-image-size %d: the checkpoint was trained at %d; its outputs may suffer",
                self.cfg.patch_image_size,
                trained,
            )
        rows = TsvFile(Path(self.cfg.data) / f"{split}.tsv", COLUMNS[self.columns])
        # What nobody has labelled yet, such as a server's test split, can be decoded all the same.
        labelled = split.startswith(("train", "valid"))
        self.datasets[split] = VisionLanguageDataset(
            rows,
            functools.partial(self.parse, labelled=labelled),
            self.make_sample,
            self.cfg.patch_image_size,
            shuffle=split == "train",
            only=read_row_numbers(Path(self.cfg.only_rows), rows) if self.cfg.only_rows else None,
            skip_bad_rows=self.cfg.skip_bad_rows,
            positions=self.positions,
        )
        logger.info("%s: %d rows", rows.path, len(rows))

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build a model of ours (fairseq's hook): some of fairseq's evaluate settings, which a checkpoint may bring.

        Raises:
            UsageError: the model is another project's, or none can be built of its settings.
        """
        name = str(getattr(cfg, "_name", None) or getattr(cfg, "arch", None))
        if not issubclass(ARCH_MODEL_REGISTRY.get(name, object), OFAModel):
            given = "the checkpoint's model" if from_checkpoint else "--arch"
            raise UsageError(f"{given} {name[:80]!r} is of another project. Give one of ofa_* or narvl_*.")
        try:
            model = super().build_model(cfg, from_checkpoint)
        except UsageError:
            raise
        except Exception as error:  # torch's layers refuse impossible settings, each in its own way
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UsageError(f"--arch {name}: no model can be built of its settings ({reason}).") from error
        self.positions = model.max_positions()
        return model

    def build_criterion(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the loss (fairseq's hook).

        Raises:
            UsageError: the loss is none of the recipes'; the batches hold all references, and it would learn from one
                of them alone; or it is told how to learn from several, and the batches hold one.
        """
        # From what is no DictConfig, fairseq would take another entry.
        name = str(cfg.get("_name")) if isinstance(cfg, DictConfig) else type(cfg).__name__
        if name not in _CRITERIONS:
            raise UsageError(f"--criterion, or the checkpoint's: {name[:80]!r}. Give one of {', '.join(_CRITERIONS)}.")
        criterion = super().build_criterion(cfg, from_checkpoint)
        for name, default in (("reference_temperature", 1.0), ("reference_lenpen", 0.0)):
            if getattr(cfg, name, default) != default and not self.all_references():
                flag = f"--{name.replace('_', '-')} {getattr(cfg, name)}"
                raise UsageError(f"{flag}: nothing reads it without --references all.")
        if self.all_references() and not getattr(criterion, "takes_references", False):
            raise UsageError(
                f"--references all: --criterion {cfg._name} learns from one target a row. Give --criterion query_ctc,"
                " or leave --references out."
            )
        return criterion

    def build_generator(
        self,
        models: list[Any],
        args: Any,
        seq_gen_cls: Any = None,
        extra_gen_cls_kwargs: Any = None,
        prefix_allowed_tokens_fn: Any = None,
    ) -> Any:
        """Build what decodes these models: parallel, by beam search, or by scoring all candidates (fairseq's hook).

        Raises:
            UsageError: an option is given that nothing would heed.
        """
        candidates = self.candidates
        given = by_name(args)
        nbest = given.get("nbest", 1)
        if isinstance(models[0], NARVLModel):
            if candidates is not None:
                raise UsageError(
                    f"--candidate-search {self.candidate_search}: a parallel model answers freely. Drop it."
                )
            refuse(given, (*OF_A_SEARCH, "temperature"), "a parallel model answers in one pass, without such a search.")
            if nbest > max(self.cfg.ctc_beam, 1):
                raise UsageError(
                    f"--nbest {nbest}: a parallel model has as many answers as prefixes that CTC beam search keeps, "
                    f"--ctc-beam {self.cfg.ctc_beam}. Give fewer, or raise that."
                )
            return ParallelGenerator(
                self.target_dictionary,
                OutputVocabulary(self.allowed(), constant=models[0].answers_only),
                beam=self.cfg.ctc_beam,
                top_k=self.cfg.ctc_top_k,
                backend=str(self.cfg.ctc_backend),
                boxes=self.boxes(),
            )
        if self.cfg.ctc_beam:
            raise UsageError(f"--ctc-beam {self.cfg.ctc_beam}: an autoregressive model searches by --beam. Drop it.")
        if candidates is not None and self.candidate_search == "all":
            refuse(given, OF_A_SEARCH, "--candidate-search all scores every candidate, and searches nothing.")
            return AllCandidatesGenerator(
                models, self.target_dictionary, candidates, nbest=nbest, temperature=given.get("temperature", 1.0)
            )
        args = Namespace(**{**given, **self.fixed_decoding})

        def beam(models: list[Any], dictionary: Any, **options: Any) -> Any:
            prefix_size = getattr(args, "prefix_size", 0)
            name = str(self.cfg.ar_search)
            return build_search(name, models, dictionary, self.allowed(), candidates, prefix_size, **options)

        return super().build_generator(models, args, beam, extra_gen_cls_kwargs, prefix_allowed_tokens_fn)

    def build_bpe(self, args: Any) -> LineDecoder:
        """Return what turns symbols into text, so that ``fairseq-generate`` needs no flags for it (fairseq's hook)."""
        return self.vocabulary.bpe

    def decode(self, tokens: Tensor) -> str:
        """Decode output tokens to text, as ``fairseq-generate`` does."""
        return self.build_bpe(None).decode(self.target_dictionary.string(tokens)).strip()

    def measure(self, sample: dict[str, Any], model: Any, outputs: Sequence[Any]) -> dict[str, Any]:
        """Let the model answer a batch in validation; return the task's metric, summed, and the number of answers."""
        if self.cfg.no_valid_generation:
            return {}
        alone: Any = unwrap(model)
        generator = self.build_generator([alone], self.valid_options)
        # A plugin's loss may ask the model otherwise than decoding does.
        once = len(outputs) == 1 and len(outputs[0][0]) == len(sample["id"])
        if once and isinstance(generator, ParallelGenerator):
            hypotheses = generator.generate([alone], sample, outputs=outputs)
        else:
            hypotheses = self.inference_step(generator, [alone], sample)
        outputs = [self.decode(row[0]["tokens"]) for row in hypotheses]
        metric = self.score(sample["split"], sample["id"].tolist(), outputs)
        return {"metric_sum": metric, "metric_count": len(outputs)}

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log the mean of the task's metric beside the criterion's values (fairseq's hook)."""
        super().reduce_metrics(logging_outputs, criterion)
        count = sum(float(log.get("metric_count", 0)) for log in logging_outputs)
        if count:
            total = sum(float(log.get("metric_sum", 0)) for log in logging_outputs)
            metrics.log_scalar(self.metric, total / count, count, round=3)

    def max_positions(self) -> None:
        """Leave sizes to the data set: every row fits (fairseq's hook)."""
        return None

    @property
    def source_dictionary(self) -> Any:
        """The vocabulary as fairseq's dictionary."""
        return self.vocabulary.dictionary

    @property
    def target_dictionary(self) -> Any:
        """The same dictionary: source and target share it."""
        return self.vocabulary.dictionary


def _generation_options(text: str) -> Namespace:
    """Parse ``--valid-generation-args``."""
    try:
        options = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"--valid-generation-args {text!r} is not JSON ({error}). Write e.g. '{{\"beam\": 1}}'."
        ) from error
    if not isinstance(options, dict) or not options.keys() <= DEFAULTS.keys():
        raise UsageError(
            f"--valid-generation-args {text!r}: give fairseq-generate's options, e.g. beam, max_len_b, min_len, "
            "no_repeat_ngram_size, lenpen."
        )
    return Namespace(**options)
