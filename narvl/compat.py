"""Repairs of third-party packages, made once at import: torchvision on a CPU-only torch, fairseq's commands, logs."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import torch

from narvl.errors import UsageError, first_line

logger = logging.getLogger(__name__)


def _declare_torchvision_operators() -> None:
    """Let ``import torchvision`` (and so timm) succeed when its compiled operators do not fit this torch build.

    torchvision registers gradients and meta kernels for operators that a wheel built for another device never
    declares. Declaring their signatures is enough: nothing here calls them. With a matching build, torchvision has
    declared them already when its import ends, and this does nothing.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)
    import importlib

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    importlib.import_module("torchvision")


def _end_a_training_once() -> None:
    """Let a finished training that is started again end at once: fairseq makes one more update first."""
    command = sys.modules.get("fairseq_cli.train")
    if command is None:
        return
    train = command.train

    def train_unless_ended(cfg: Any, trainer: Any, task: Any, epoch_itr: Any) -> Any:
        from narvl.compat_training import patience

        if 0 < cfg.optimization.max_update <= trainer.get_num_updates():
            logger.info("training has ended before: %d updates", trainer.get_num_updates())
            return [None], True
        if 0 < cfg.checkpoint.patience <= patience().get("num_runs", 0):
            logger.info("training has ended before: --patience %d", cfg.checkpoint.patience)
            return [None], True
        return train(cfg, trainer, task, epoch_itr)

    command.train = train_unless_ended  # type: ignore[attr-defined]


def _tell_of_dead_workers() -> None:
    """Let the death of a data-loading worker be told as such: what it breaks tells of connections and files."""
    from fairseq.data.iterators import BufferedIterator

    advance = BufferedIterator.__next__

    def advance_or_tell(self: Any) -> Any:
        try:
            return advance(self)
        except (ConnectionError, EOFError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
                raise
            raise UsageError(
                f"--num-workers: a data-loading worker died, most likely for its memory ({first_line(error)}). Give "
                "fewer workers, a smaller --batch-size or more memory, and run the command again."
            ) from error

    BufferedIterator.__next__ = advance_or_tell


def _average_batch_norm() -> None:
    """Let ``--store-ema`` average the weights of a model with batch norm, and start from a checkpoint without averages.

    fairseq multiplies batch norm's step counters by the decay, which integers refuse; they are copied instead. And
    where ``--finetune-from-model`` names a checkpoint that holds no averages, fairseq reads the weights after it has
    deleted them; with averages of nothing in the checkpoint, the average starts from the model's weights.
    """
    from fairseq import checkpoint_utils
    from fairseq.models.ema import EMA

    begin = EMA.__init__

    def begin_with_floats(self: Any, model: Any, config: Any, device: Any = None, skip_keys: Any = None) -> None:
        counters = {key for key, value in model.state_dict().items() if not value.is_floating_point()}
        begin(self, model, config, device, counters | (skip_keys or set()))

    restore = EMA.restore

    def restore_if_any(self: Any, state_dict: dict[str, Any], build_fp32_params: bool = False) -> None:
        if state_dict:
            restore(self, state_dict, build_fp32_params)

    upgrade = checkpoint_utils._upgrade_state_dict

    def upgrade_with_averages(state: dict[str, Any]) -> Any:
        state = upgrade(state)
        state["extra_state"].setdefault("ema", {})
        return state

    EMA.__init__ = begin_with_floats
    EMA.restore = restore_if_any
    checkpoint_utils._upgrade_state_dict = upgrade_with_averages


def _tell_of_all_flags() -> None:
    """Let ``--help`` name the flags of the task, the model and the criterion that are given beside it.

    fairseq adds them once it has read the others, and its own ``--help`` ends before.
    """
    from fairseq import options

    parse, asking = options.parse_args_and_arch, {"-h", "--help"}

    def parse_and_help(parser: Any, input_args: Any = None, *rest: Any, **named: Any) -> Any:
        words = sys.argv[1:] if input_args is None else list(input_args)

        def pass_over_help(args: Any = None, namespace: Any = None) -> Any:
            del parser.parse_known_args  # once; then all are there
            return parser.parse_known_args([word for word in words if word not in asking], namespace)

        if asking & set(words):
            parser.parse_known_args = pass_over_help
        return parse(parser, input_args, *rest, **named)

    options.parse_args_and_arch = parse_and_help


def _quieten_logs() -> None:
    """Undo what fairseq's import does to everyone's logs, and keep pillow from logging each image.

    One of fairseq's models sets the root logger to DEBUG where nobody has configured it. Then nothing that ``narvl`` or
    ``fairseq-generate`` configures later counts, and every image is worth two lines on the terminal.
    """
    logging.getLogger("PIL").setLevel(logging.INFO)
    logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)  # asks for tensorboardX at import
    root = logging.getLogger()
    if "fairseq_cli.generate" in sys.modules:
        root.setLevel(os.environ.get("LOGLEVEL", "INFO").upper())  # as fairseq-generate means to
    handlers, level = root.handlers[:], root.level
    import fairseq  # noqa: F401

    root.handlers[:] = handlers
    root.setLevel(level)


_KEPT: list[torch.library.Library] = []  # a library that is collected takes its declarations with it

_quieten_logs()
_declare_torchvision_operators()
_end_a_training_once()
_tell_of_dead_workers()
_average_batch_norm()
_tell_of_all_flags()
