"""Ask a trained checkpoint about images: a caption, an answer, a box, or whether a hypothesis holds.

The checkpoint knows its task, and the task what it needs beside the image:
  captioning   nothing
  vqa          --question "what colour is the bus?"
  grounding    --text "the man on the left"          (--draw OUT.png shows the box)
  entailment   --hypothesis "two dogs play"
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

HELP = "caption images, answer questions, find things, judge hypotheses"
_SAYS = {"captioning": "caption"}  # what an answer is called
TASKS = ("captioning", "vqa", "grounding", "entailment")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    from narvl.commands.decoding_options import add_decoding_options, add_model_options

    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files (JPEG, PNG, ...)")
    parser.add_argument("--path", required=True, metavar="CKPT", help="checkpoint of fairseq-train --user-dir narvl")
    parser.add_argument("--task", choices=TASKS, help="what you expect of the checkpoint; another one is refused")
    parser.add_argument("--question", metavar="TEXT", help="vqa: what to ask about each image")
    parser.add_argument("--objects", metavar="NAMES", help="vqa: detected objects to tell the model, e.g. 'dog, ball'")
    parser.add_argument("--text", metavar="TEXT", help="grounding: what to look for in each image")
    parser.add_argument("--hypothesis", metavar="TEXT", help="entailment: the statement to judge")
    parser.add_argument("--caption", metavar="TEXT", help="entailment: the image's caption, where the model reads one")
    parser.add_argument(
        "--draw", metavar="OUT", help="grounding: write the image with its box to this file (several images: a folder)"
    )
    parser.add_argument(
        "--show-queries",
        action="store_true",
        help="parallel models: also tell what each query says, before the collapse (_ is the blank)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list with each image's answer and score")
    parser.add_argument("--batch-size", type=int, default=16, metavar="B", help="images a pass")
    add_model_options(parser)
    add_decoding_options(parser)


def run(args: argparse.Namespace) -> None:
    """Run the subcommand: one line an image, in the order given."""
    from tqdm import tqdm

    from narvl.commands.decoding_options import decoding_options
    from narvl.data.image import read_image
    from narvl.errors import UsageError, visible
    from narvl.inference import Predictor

    if args.batch_size < 1:
        raise UsageError(f"--batch-size {args.batch_size}: give at least 1.")
    predictor = Predictor(args.path, args.bpe_dir, args.cpu, args.inference_precision)
    task = predictor.task.columns
    if args.task not in (None, task):
        raise UsageError(f"--task {args.task}: the checkpoint {args.path} is for {task}. Give one for {args.task}.")
    if args.draw:
        _check_draw(args, task)
    prompt = predictor.prompt(_texts(args))
    generator = predictor.generator(**decoding_options(args))
    rows: list[dict[str, Any]] = []
    for start in tqdm(range(0, len(args.images), args.batch_size), desc=task, unit="batch", disable=None):
        names = args.images[start : start + args.batch_size]
        images = [read_image(name) for name in names]
        batch = predictor.batch(images, [prompt] * len(names))
        answers = predictor.answer(generator, batch)
        queries = predictor.say_queries(batch) if args.show_queries else [None] * len(names)
        for name, image, answer, tokens in zip(names, images, answers, queries, strict=True):
            found: dict[str, Any] = {_SAYS.get(task, "answer"): answer.text}
            if task == "grounding":
                found = {"box": predictor.box(answer.text, image), "said": answer.text}
            rows.append({"image": visible(name), **found, "score": answer.score})
            if tokens is not None:
                rows[-1]["queries"] = tokens
            if args.draw and found["box"]:
                _draw(image, found["box"], _drawn(args, name))
            if not args.json:
                text = _line(task, found) + ("" if tokens is None else f"\t{' '.join(tokens)}")
                sys.stdout.write(f"{visible(name)}\t{text}\n" if len(args.images) > 1 else f"{text}\n")
                sys.stdout.flush()
    if args.json:
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")


def _texts(args: argparse.Namespace) -> dict[str, str]:
    """Collect the texts that were given."""
    flags = {
        "question": args.question,
        "objects": args.objects,
        "text": args.text,
        "hypothesis": args.hypothesis,
        "caption": args.caption,
    }
    return {name: text for name, text in flags.items() if text is not None}


def _line(task: str, found: dict[str, Any]) -> str:
    if task != "grounding":
        return str(found.get("caption", found.get("answer")))
    return " ".join(map(str, found["box"])) if found["box"] else f"no box; the model said {found['said']!r}"


def _check_draw(args: argparse.Namespace, task: str) -> None:
    """Check, before anything is decoded, that boxes can be drawn and that no image is lost by it."""
    from narvl.errors import UsageError

    if task != "grounding":
        raise UsageError(f"--draw: the checkpoint is for {task}, which finds no boxes. Drop --draw.")
    if len({Path(name).stem for name in args.images}) < len(args.images):
        raise UsageError(f"--draw {args.draw}: two images have the same name. Rename one, or draw them in runs apart.")
    images = {Path(name).resolve() for name in args.images}
    for name in args.images:
        if _drawn(args, name).resolve() in images:
            raise UsageError(f"--draw {args.draw}: {_drawn(args, name)} is an image that you give. Give another place.")


def _drawn(args: argparse.Namespace, name: str) -> Path:
    """Return the file for an image with its box: one alone is named by ``--draw``, several lie in that folder."""
    return Path(args.draw) if len(args.images) == 1 else Path(args.draw) / f"{Path(name).stem}.png"


def _draw(image: Image, box: list[float], path: Path) -> None:
    """Write an image with its box."""
    from PIL import ImageDraw

    from narvl.errors import UsageError

    drawn = image.copy()
    width = max(1, round(max(image.size) / 200))
    pen = ImageDraw.Draw(drawn)
    # A dark line around the bright one shows on every background.
    pen.rectangle([box[0] - width, box[1] - width, box[2] + width, box[3] + width], outline="black", width=3 * width)
    pen.rectangle(box, outline="#ffd400", width=width)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.save(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"--draw {path}: cannot be written ({error}). Give a file such as box.png.") from error
