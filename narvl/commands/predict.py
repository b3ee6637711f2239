"""Caption images by a trained checkpoint."""

from __future__ import annotations

import argparse
import json
import sys

HELP = "caption images by a trained checkpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    from narvl.commands.decoding_options import add_decoding_options

    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files (JPEG, PNG, ...)")
    parser.add_argument("--path", required=True, metavar="CKPT", help="checkpoint of fairseq-train --user-dir narvl")
    parser.add_argument("--bpe-dir", metavar="DIR", help="folder of the BPE files, if moved since training")
    parser.add_argument("--json", action="store_true", help="print a JSON list of image, caption and score")
    parser.add_argument("--batch-size", type=int, default=16, metavar="B", help="images a pass")
    parser.add_argument("--cpu", action="store_true", help="stay on the CPU even where there is a GPU")
    add_decoding_options(parser)


def run(args: argparse.Namespace) -> None:
    """Run the subcommand: one line an image, in the order given."""
    from tqdm import tqdm

    from narvl.commands.decoding_options import decoding_options
    from narvl.data.captioning import PROMPT
    from narvl.data.image import read_image
    from narvl.errors import UsageError
    from narvl.inference import Predictor

    if args.batch_size < 1:
        raise UsageError(f"--batch-size {args.batch_size}: give at least 1.")
    predictor = Predictor(args.path, args.bpe_dir, args.cpu)
    generator = predictor.generator(**decoding_options(args))
    rows = []
    for start in tqdm(range(0, len(args.images), args.batch_size), desc="caption", unit="batch", disable=None):
        names = args.images[start : start + args.batch_size]
        batch = predictor.batch([read_image(name) for name in names], [PROMPT] * len(names))
        for name, answer in zip(names, predictor.answer(generator, batch), strict=True):
            rows.append({"image": name, "caption": answer.text, "score": answer.score})
            if not args.json:
                sys.stdout.write(f"{name}\t{answer.text}\n" if len(args.images) > 1 else f"{answer.text}\n")
                sys.stdout.flush()
    if args.json:
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
