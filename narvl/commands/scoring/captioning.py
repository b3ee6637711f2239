"""``narvl score captioning``: the COCO metrics and, for scenes, faithfulness; writes the COCO server's file."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from narvl.commands.scoring._outcome import (
    NOT_RUN,
    Outcome,
    left_out,
    nothing_to_score,
    server_id,
    two_columns,
    write_submission,
)

HELP = "BLEU-1..4, METEOR, ROUGE-L, CIDEr, SPICE and, for scenes, faithfulness"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that only this task has."""
    parser.add_argument(
        "--spice", action="store_true", help="download the models that SPICE needs (about 400 MB) if they are missing"
    )
    parser.add_argument(
        "--submission", metavar="FILE", help="write the captions for the COCO evaluation server, by image-id, to FILE"
    )


def score(args: argparse.Namespace) -> Outcome:
    """Score captions.

    Raises:
        DataError: results or data cannot be used, or there are no references and no ``--submission``.
        UsageError: the submission file cannot be written, or Java's tokenizer fails.
    """
    from narvl.data.captioning import references
    from narvl.evaluation.caption import score_captions
    from narvl.evaluation.generations import read_generations
    from narvl.evaluation.references import check_ids, open_split, read_rows, scenes_of_rows

    captions = {index: generation.text for index, generation in read_generations(args.results).items()}
    rows = open_split(args.data, args.split, "captioning")
    check_ids(captions, args.results, rows)
    read = read_rows(rows, lambda fields: (fields[1], references(fields)))
    truths = {index: texts for index, (_, texts) in enumerate(read) if texts}
    if not truths and not args.submission:
        remedy = "Write what the COCO server scores with --submission FILE."
        raise nothing_to_score(rows, "a reference caption", remedy)

    text, figures = f"{rows.path} has no reference captions: nothing was scored.\n", None
    if truths:
        said = {index: captions[index] for index in truths}
        scores = score_captions(said, truths, download_spice=args.spice)
        scenes = scenes_of_rows(args.data, args.split, {index: read[index][0] for index in truths})
        figures = {**dataclasses.asdict(scores), "faithfulness": None}
        lines = [("captions", str(scores.samples)), ("tokenizer", scores.tokenizer)]
        for name, value in scores.metrics.items():
            lines.append((f"{name} (x100)", NOT_RUN if value is None else f"{100 * value:.2f}"))
        if scenes is not None:
            figures["faithfulness"], more = _faithfulness(said, scenes)
            lines += more
        text = two_columns(lines) + "".join(f"{name} was not run: {why}\n" for name, why in scores.not_run.items())
        text += left_out(len(truths), rows, "caption")
    if args.submission:
        entries = [
            {"image_id": server_id(image_id, "image-id", rows.where(index)), "caption": captions[index]}
            for index, (image_id, _) in enumerate(read)
        ]
        text += write_submission(args.submission, entries, "image_id")
    return Outcome(text, figures)


def _faithfulness(captions: dict[int, str], scenes: dict[int, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    from narvl.evaluation.faithfulness import judge_captions, summarise

    found = summarise(judge_captions(captions, scenes))
    return dataclasses.asdict(found), [
        ("faithful", f"{found.faithful:.2%}"),
        ("ungrammatical", f"{found.ungrammatical:.2%}"),
        ("statements a caption", f"{found.statements:.2f}"),
    ]
