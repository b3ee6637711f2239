"""Time checkpoints side by side at batch size 1: AR beam search, AR greedy and NARVL, interleaved in one run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HELP = "time checkpoints side by side, one image at a time"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    from narvl.commands.decoding_options import add_decoding_options, add_model_options

    parser.add_argument("--data", required=True, metavar="DATA", help="data folder; its images are what is timed")
    parser.add_argument("--split", default="test", help="which of its TSV files")
    parser.add_argument(
        "--run",
        dest="runs",
        action="append",
        required=True,
        metavar="NAME=CKPT",
        help="a checkpoint and its name; repeat. An autoregressive one is timed three times: by the beam search of"
        " fairseq and by the optimised one, and greedy",
    )
    parser.add_argument("--samples", type=int, default=100, metavar="N", help="images that count")
    parser.add_argument("--warmup", type=int, default=5, metavar="N", help="images run before them and dropped")
    parser.add_argument(
        "--ctc-beam",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="parallel models: beams of CTC's search to time side by side; 0 is greedy",
    )
    parser.add_argument(
        "--candidates",
        metavar="FILE",
        help="vqa: also time autoregressive models that score all of these answers (narvl prepare vqa and narvl scenes"
        " write candidates.txt)",
    )
    parser.add_argument("--json", metavar="OUT", help="also write the figures, and where they come from, to a file")
    add_model_options(parser)
    add_decoding_options(parser)


def decodings(
    beam: int, ctc_beams: Sequence[int], parallel: bool, candidates: str | None = None
) -> list[tuple[str, int, dict[str, Any]]]:
    """Return the ways to decode a checkpoint that are timed: name, beam (0: without a search), and the task's flags.

    fairseq's beam search is what published speed-ups are ratios to; ours over the same model is what one would use.

    Args:
        beam: of autoregressive models.
        ctc_beams: of parallel ones; 0 is greedy.
        parallel: which of them the model is.
        candidates: file of the answers that autoregressive models are also to score, all of them.
    """
    if parallel:
        return [(f"CTC beam {width}" if width else "parallel", 0, {"ctc_beam": width}) for width in ctc_beams]
    fairseq, optimised = {"ar_search": "fairseq"}, {"ar_search": "optimised"}
    free = [("AR greedy, optimised", 1, optimised)]
    if beam == 1:
        free = [("AR greedy, fairseq", 1, fairseq), *free]
    else:
        free = [(f"AR beam {beam}, fairseq", beam, fairseq), (f"AR beam {beam}, optimised", beam, optimised), *free]
    if candidates is None:
        return free
    # Last: what it sets of the task stays, and each generator is built with what was set before.
    return [*free, ("AR all candidates", 0, {"candidate_search": "all", "candidates": candidates})]


def run(args: argparse.Namespace) -> None:
    """Run the subcommand."""
    import itertools

    import torch
    from tabulate import tabulate
    from tqdm import tqdm

    from narvl.commands.decoding_options import decoding_options
    from narvl.data.image import decode_image
    from narvl.data.tsv import COLUMNS, TsvFile
    from narvl.errors import DataError, UsageError
    from narvl.evaluation.latency import Contender, measure, summarise
    from narvl.inference import Predictor
    from narvl.provenance import provenance

    if args.samples < 1 or args.warmup < 0:
        raise UsageError(f"--samples {args.samples} --warmup {args.warmup}: give at least 1 and 0.")
    options = decoding_options(args)
    contenders: list[Contender] = []
    predictors: list[Predictor] = []
    for entry in args.runs:
        name, separator, path = entry.partition("=")
        if not (name and separator and path):
            raise UsageError(f"--run {entry!r}: write NAME=CKPT, e.g. --run NARVL=runs/narvl/checkpoint_best.pt.")
        predictor = Predictor(path, args.bpe_dir, args.cpu, args.inference_precision)
        predictors.append(predictor)
        if args.candidates and predictor.task.columns != "vqa":
            raise UsageError(f"--candidates {args.candidates}: {path} does not answer questions. Drop it.")
        for decoding, beam, flags in decodings(args.beam, args.ctc_beam, predictor.parallel, args.candidates):
            generator = predictor.generator(flags, **({**options, "beam": beam} if beam else {}))

            def decode(batch: dict, predictor: Predictor = predictor, generator: object = generator) -> None:
                predictor.task.inference_step(generator, [predictor.model], batch)

            contenders.append(Contender(name, decoding, predictor.model.encoder, decode))
    if len({predictor.task.columns for predictor in predictors}) > 1:
        raise UsageError("--run: the checkpoints are for different tasks. Time each task in a run of its own.")
    if len({predictor.task.cfg.patch_image_size for predictor in predictors}) > 1:
        raise UsageError("--run: the checkpoints see images of different --patch-image-size. Time them in runs apart.")

    task = predictors[0].task
    file = TsvFile(Path(args.data) / f"{args.split}.tsv", COLUMNS[task.columns])
    rows = itertools.islice(itertools.cycle(range(len(file))), args.warmup + args.samples)
    batches = []
    for row in rows:
        try:
            example = task.parse(file[row], labelled=False)
            batches.append(predictors[0].batch([decode_image(example.image)], [example.prompt]))
        except DataError as error:
            raise DataError(file.locate(row, error)) from error
    measure(contenders, tqdm(batches, desc="latency", unit="image", disable=None), args.warmup, predictors[0].device)
    table = summarise(contenders)

    columns = {
        "run": "name",
        "decoding": "decoding",
        "median ms": "median_ms",
        "p95 ms": "p95_ms",
        "encoder ms": "encoder_ms",
        "decoder ms": "decoder_ms",
        "speed-up": "speedup",
    }
    cells = [[row[key] for key in columns.values()] for row in table]
    sys.stdout.write(tabulate(cells, headers=list(columns), floatfmt=".2f", tablefmt="github") + "\n")
    if args.json:
        facts = {**provenance(), "threads": torch.get_num_threads(), "device": predictors[0].device.type}
        text = json.dumps({"rows": table, "provenance": facts}, indent=2) + "\n"
        try:
            Path(args.json).parent.mkdir(parents=True, exist_ok=True)
            Path(args.json).write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--json {args.json}: cannot be written ({error.strerror}). Give another path.") from error
