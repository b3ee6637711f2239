"""Rows as OFA's ready-made archives hold them are read as they are: no conversion, standard base64."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narvl.data import captioning, entailment, grounding, vqa
from narvl.data.image import decode_image
from narvl.data.tsv import COLUMNS, TsvFile


def standard_base64() -> tuple[str, np.ndarray]:
    """An image in standard base64 that holds both characters that the URL-safe alphabet writes in another way."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    assert "+" in text and "/" in text
    return text, pixels


ROWS = {
    "captioning": ["2", "522418", "A woman cutting a cake&&She cuts a cake", "woman&&cake", "IMAGE"],
    "vqa": ["79459", "79459", "is this person wearing shorts?", "0.6|!+no&&1.0|!+yes", "house&&short", "IMAGE"],
    "grounding": ["79_1", "237367", "A woman in a white blouse", "230.79,121.75,423.66,463.06", "IMAGE"],
    "entailment": ["252244149.jpg#1r1n", "252244149", "IMAGE", "a man sleeps", "a man in pink", "neutral"],
}


@pytest.mark.parametrize("task", ROWS)
def test_a_row_of_an_archive(tmp_path: Path, task: str) -> None:
    image, pixels = standard_base64()
    path = tmp_path / "archive.tsv"
    path.write_text("\t".join(image if field == "IMAGE" else field for field in ROWS[task]) + "\n")
    [row] = TsvFile(path, COLUMNS[task])
    decoded = decode_image(row[COLUMNS[task].index("image")])
    assert (np.asarray(decoded) == pixels).all()
    read = {
        "captioning": captioning.references,
        "vqa": vqa.answers,
        "grounding": grounding.box,
        "entailment": entailment.label,
    }[task]
    expected = {
        "captioning": ["A woman cutting a cake", "She cuts a cake"],
        "vqa": [(0.6, "no"), (1.0, "yes")],
        "grounding": (230.79, 121.75, 423.66, 463.06),
        "entailment": "maybe",
    }[task]
    assert read(row) == expected
