"""Writes what each query says about the first rows of a split: a job of the supplement's figure 2.

Usage: python -m narvl.tables.query_tokens --data DIR --split SPLIT --path CKPT --rows N --out FILE
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    """Write a JSON list with the queries' tokens and the text of each row."""
    from narvl.data.image import decode_image
    from narvl.data.tsv import COLUMNS, TsvFile
    from narvl.inference import Predictor

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="data folder")
    parser.add_argument("--split", required=True, help="which of its TSV files")
    parser.add_argument("--path", required=True, metavar="CKPT", help="a parallel model")
    parser.add_argument("--rows", required=True, type=int, metavar="N", help="how many")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to write")
    args = parser.parse_args()

    predictor = Predictor(args.path, None, cpu=True)
    rows = TsvFile(args.data / f"{args.split}.tsv", COLUMNS[predictor.task.columns])
    examples = [predictor.task.parse(rows[row], labelled=False) for row in range(min(args.rows, len(rows)))]
    batch = predictor.batch(
        [decode_image(example.image) for example in examples], [example.prompt for example in examples]
    )
    said = predictor.say_queries(batch)
    texts = predictor.answer(predictor.generator(), batch)
    record = [{"queries": " ".join(tokens), "text": text.text} for tokens, text in zip(said, texts, strict=True)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
