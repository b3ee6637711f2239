"""Second step: fairseq-generate on a shard of the teacher's rows, which goes on where a killed run has stopped."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fairseq_cli.generate
from fairseq import options, utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import DictConfig, OmegaConf

from narvl.distillation.folder import (
    TEACHER_SPLIT,
    find_shards,
    open_rows,
    parse_shard,
    read_task,
    shard_path,
    shard_rows,
    teacher_path,
)
from narvl.distillation.shard import Shard
from narvl.errors import DataError, UsageError
from narvl.files import named_when_full

logger = logging.getLogger(__name__)

# Of the task's settings, those that no text depends on. Batches are free as well: what shares a batch changes how
# sums are rounded, and so a text only where two hypotheses have the same score up to the last digits. So does the
# search, of which both say the same.
_WITHOUT_EFFECT = (
    "_name",
    "ar_search",
    "data",
    "bpe_dir",
    "only_rows",
    "skip_bad_rows",
    "no_valid_generation",
    "valid_generation_args",
)


def decode_shard(out: str | Path, shard_id: int, num_shards: int, flags: Sequence[str]) -> tuple[int, int]:
    """Decode the rows of a shard that its results file does not hold yet.

    Args:
        out: the student's data folder, begun by ``write_teacher_rows``.
        shard_id: which shard, from 0.
        num_shards: into how many blocks the rows are divided.
        flags: fairseq-generate's, without data folder and split.

    Returns:
        How many rows the shard's results file holds now, and how many the shard has. They differ where
        ``--skip-bad-rows`` left rows out.

    Raises:
        DataError: the folder or the results file is damaged, or a row cannot be used.
        UsageError: a flag does not fit, the shard was begun with other settings, or another process decodes it, or the
            disk is full.
    """
    out = Path(out)
    path = shard_path(out, shard_id, num_shards)
    task = read_task(out)
    num_rows = len(open_rows(out, task))
    others = [other for other in find_shards(out) if (parse_shard(other) or (0, 0))[1] != num_shards]
    if others:
        raise UsageError(
            f"--num-shards {num_shards}: {others[0]} is of another division. Give the same number, or delete "
            f"{path.parent} to begin anew."
        )
    cfg = _configuration(out, task, flags)
    rows = shard_rows(num_rows, shard_id, num_shards)
    with named_when_full(path), Shard(path, rows, _settings(cfg)) as shard:
        if len(shard.missing) and not shard.complete:
            logger.info("%s: %d of %d rows to decode", path, len(shard.missing), len(rows))
            _decode(cfg, shard)
        return len(rows) - len(shard.missing), len(rows)


def _decode(cfg: DictConfig, shard: Shard) -> None:
    listed = shard.path.with_suffix(".rows")
    listed.write_text("".join(f"{row}\n" for row in shard.missing), encoding="utf-8")
    cfg.task.only_rows = str(listed)
    # fairseq shows its bar, or the lines that stand in for it, only where this logger speaks.
    logging.getLogger("fairseq.logging.progress_bar").setLevel(logging.INFO)
    cfg.common.no_progress_bar = cfg.common.no_progress_bar or not sys.stderr.isatty()
    fairseq_cli.generate._main(cfg, shard.text)
    shard.check()
    missing = shard.missing
    if len(missing) and not cfg.task.skip_bad_rows:
        raise DataError(f"{shard.path}: {len(missing)} rows did not come back (first: {missing[0] + 1}). Run it again.")
    if len(missing):
        logger.warning("%s: %d bad rows were left out (--skip-bad-rows)", shard.path, len(missing))
    shard.finish()
    listed.unlink()


def _configuration(out: Path, task: str, flags: Sequence[str]) -> DictConfig:
    """Parse the flags as fairseq-generate does, and refuse those that would change what a shard is."""
    parser = options.get_generation_parser()
    parser.prog = "narvl distill decode ... --"
    args = options.parse_args_and_arch(parser, [str(out), "--task", task, *flags])
    if args.task != task:
        raise UsageError(f"--task {args.task}: {out} is for {task}. Leave the flag out, or give another folder.")
    cfg = convert_namespace_to_omegaconf(args)
    if cfg.common_eval.path is None:
        raise UsageError("--path is missing. Give the teacher's checkpoint behind the --: -- --path CKPT --beam 5")
    refused = {
        f"--gen-subset {cfg.dataset.gen_subset}": cfg.dataset.gen_subset not in ("test", TEACHER_SPLIT),
        f"--results-path {cfg.common_eval.results_path}": cfg.common_eval.results_path is not None,
        f"--only-rows {cfg.task.only_rows}": cfg.task.only_rows is not None,
        f"--num-shards {cfg.dataset.num_shards}": cfg.dataset.num_shards > 1,
        f"--shard-id {cfg.dataset.shard_id}": cfg.dataset.shard_id > 0,
        f"--nbest {cfg.generation.nbest}": cfg.generation.nbest != 1,
        "--quiet": cfg.common_eval.quiet,
        "--sampling": cfg.generation.sampling,
    }
    for flag, given in refused.items():
        if given:
            raise UsageError(
                f"{flag}: not behind the --. Each row is decoded once, by beam search, into {out / 'shards'}; "
                "--shard-id and --num-shards go before the --."
            )
    cfg.dataset.gen_subset = TEACHER_SPLIT
    # fairseq-generate would decode one row in so many as there are GPUs. A shard is one process's work.
    cfg.distributed_training.distributed_world_size = 1
    cfg.distributed_training.distributed_rank = 0
    return cfg


def _settings(cfg: DictConfig) -> dict[str, Any]:
    """Return what the texts depend on: teacher, rows, and the flags of decoding."""
    task, generation = (OmegaConf.to_container(part, resolve=True) for part in (cfg.task, cfg.generation))
    assert isinstance(task, dict) and isinstance(generation, dict)
    flags = {str(name): value for name, value in (task | generation).items() if value is not None}
    return {name: value for name, value in flags.items() if name not in _WITHOUT_EFFECT} | {
        "teacher": [_digest(path) for path in utils.split_paths(cfg.common_eval.path)],
        "model_overrides": cfg.common_eval.model_overrides,
        "fp16": cfg.common.fp16,
        "bytes": teacher_path(Path(cfg.task.data)).stat().st_size,
    }


def _digest(path: str) -> str:
    """Return a checkpoint's digest: wherever a machine keeps it, it is the same teacher."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"--path {path}: cannot be read ({error.strerror}). Give the teacher's checkpoint.") from error
