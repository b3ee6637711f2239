"""Reads what captions are judged by: the references of a split's rows and, for scenes, the truth of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from narvl.data.tsv import COLUMNS, SEPARATOR, TsvFile
from narvl.errors import DataError
from narvl.scenes.world import Scene, load_scenes

_IMAGE_ID = COLUMNS["captioning"].index("image-id")
_CAPTION = COLUMNS["captioning"].index("caption")


@dataclass(frozen=True)
class CaptionSplit:
    """The references of one split.

    Attributes:
        image_ids: the image-id of each row.
        references: one or more captions of each row, by its 0-based index, as the metrics want them.
        scenes: the truth of each row, or None where the data is not made of scenes.
    """

    image_ids: list[str]
    references: dict[int, list[str]]
    scenes: dict[int, Scene] | None


def split_file(data: str | Path, split: str) -> Path:
    """Return the path of a split's TSV file."""
    return Path(data) / f"{split}.tsv"


def read_split(data: str | Path, split: str) -> CaptionSplit:
    """Read a split's references, and its scenes where ``SPLIT.scenes.jsonl`` lies beside it.

    Args:
        data: the data directory.
        split: ``train``, ``valid`` or ``test``.

    Raises:
        DataError: a file is missing or damaged, a row has no reference, or a row's scene is missing.
    """
    rows = TsvFile(split_file(data, split), COLUMNS["captioning"])
    image_ids: list[str] = []
    references: dict[int, list[str]] = {}
    for index in tqdm(range(len(rows)), desc=f"read {split}", unit="row", leave=False, disable=None):
        fields = rows[index]
        captions = [caption.strip() for caption in fields[_CAPTION].split(SEPARATOR)]
        references[index] = [caption for caption in captions if caption]
        if not references[index]:
            raise DataError(f"{rows.where(index)}: the caption column is empty. Write at least one caption.")
        image_ids.append(fields[_IMAGE_ID])
    return CaptionSplit(image_ids, references, _scenes_of_rows(Path(data) / f"{split}.scenes.jsonl", image_ids))


def _scenes_of_rows(path: Path, image_ids: list[str]) -> dict[int, Scene] | None:
    if not path.is_file():
        return None
    scenes = load_scenes(path)
    missing = [index for index, image_id in enumerate(image_ids) if image_id not in scenes]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(image_ids)} images have no scene, the first is {image_ids[missing[0]]!r} "
            f"(row {missing[0] + 1}). The TSV and the scenes come from different runs: make both again."
        )
    return {index: scenes[image_id] for index, image_id in enumerate(image_ids)}
