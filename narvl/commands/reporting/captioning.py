"""``narvl report`` on captioning runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from narvl.commands.reporting._task import Chosen, Column, Record, percent
from narvl.commands.scoring._outcome import NOT_RUN
from narvl.errors import DataError

if TYPE_CHECKING:
    from narvl.evaluation.grid import Picture

KEYS = frozenset(("metrics", "not_run", "tokenizer", "faithfulness"))
MARKS = ("every statement true", "false or no sentence")

_METRICS = ("BLEU-4", "CIDEr", "METEOR")
_JUDGED = ("faithful", "ungrammatical")


def columns(records: Mapping[str, Record]) -> list[Column]:
    """Return the metrics and, where a run was judged by scenes, how true its captions are.

    Raises:
        DataError: the runs were scored with different tokenizers.
    """
    tokenizers = {name: record["tokenizer"] for name, record in records.items()}
    if len(set(tokenizers.values())) > 1:
        raise DataError(f"the runs were scored with different tokenizers ({tokenizers}): score each again.")
    judged = any(record["faithfulness"] for record in records.values())
    shown: list[Column] = [(name, _metric(name)) for name in _METRICS]
    return shown + ([(name, _faithfulness(name)) for name in _JUDGED] if judged else [])


def notes(records: Mapping[str, Record]) -> list[str]:
    """Tell the unit and the tokenizer."""
    first = next(iter(records.values()))
    return [
        "BLEU-4, CIDEr and METEOR are multiplied by 100, as papers print them.",
        f"Captions were cut by the {first['tokenizer']} tokenizer; {first['samples']} images.",
    ]


def pictures(chosen: Chosen) -> list[Picture]:
    """Return each image with a reference and the runs' captions, on scenes judged true or false."""
    from narvl.data.captioning import references
    from narvl.data.image import decode_image
    from narvl.evaluation.grid import Caption, Picture
    from narvl.evaluation.references import read_row, scenes_of_rows
    from narvl.scenes.judge import judge

    rows = chosen.rows
    image_ids = {index: read_row(rows, index, lambda fields: fields[1]) for index in chosen.indices}
    scenes = scenes_of_rows(chosen.data, chosen.split, image_ids)
    found = []
    for index in chosen.indices:
        captions = [Caption("reference", text) for text in read_row(rows, index, references)[:1]]
        for name, said in chosen.said.items():
            verdict = judge(said[index], scenes[index]).faithful if scenes else None
            captions.append(Caption(name, said[index], verdict))
        image = read_row(rows, index, lambda fields: decode_image(fields[4]))
        found.append(Picture(image, captions))
    return found


def _metric(name: str) -> Callable[[Record], str]:
    def cell(record: Record) -> str:
        value = record["metrics"][name]
        return NOT_RUN if value is None else f"{100 * value:.1f}"

    return cell


def _faithfulness(name: str) -> Callable[[Record], str]:
    def cell(record: Record) -> str:
        return percent(record["faithfulness"][name]) if record["faithfulness"] else NOT_RUN

    return cell
