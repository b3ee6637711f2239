"""Data folders made from nothing: BPE files of GPT-2's size, and TSV files of generated photos."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from narvl.data.image import encode_base64

#: Tokens of GPT-2's BPE, and the lines that fairseq's dict.txt pads them to.
BPE_TOKENS = 50257
DICT_LINES = 50260

CAPTION = "a man in a red jacket rides a brown horse along the beach near the sea"


def write_bpe(folder: Path) -> None:
    """Write encoder.json, vocab.bpe and dict.txt in GPT-2's formats and size.

    Their merges are those of the embedded scenes' BPE, so that short words are few tokens; tokens that no merge makes
    fill the vocabulary up.
    """
    from narvl.scenes.bpe import gpt2_files, train

    files = gpt2_files(*train())
    known = json.loads(files["encoder.json"])
    known |= {f"\u0120unused{number}": number for number in range(len(known), BPE_TOKENS)}
    fillers = [f"madeupword{number:04d}" for number in range(DICT_LINES - BPE_TOKENS)]
    names = [str(number) for number in range(BPE_TOKENS)] + fillers
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "encoder.json").write_text(json.dumps(known), encoding="utf-8")
    (folder / "vocab.bpe").write_bytes(files["vocab.bpe"])
    (folder / "dict.txt").write_text("".join(f"{name} 1\n" for name in names), encoding="utf-8")


def photo(width: int, height: int, random: np.random.Generator, quality: int = 90) -> str:
    """Make a JPEG with a photo's share of detail (coarse shapes and some noise), as a TSV's image column."""
    coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    noise = random.normal(0, 6, (height, width, 1)).astype(np.int16)
    pixels = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=quality)
    return encode_base64(data.getvalue())


def captioning_rows(count: int, photos: list[str]) -> Iterator[str]:
    """Write captioning rows, the photos taking turns."""
    for index in range(count):
        yield f"{index}\t{index}\t{CAPTION}\t\t{photos[index % len(photos)]}\n"


def write_captioning(path: Path, count: int, size: tuple[int, int], distinct: int = 32, seed: int = 1) -> None:
    """Write a captioning TSV.

    Args:
        path: the file.
        count: rows.
        size: width and height of the photos, in pixels.
        distinct: different photos; rows repeat them, which costs a reader the same as different ones.
        seed: of the photos.
    """
    random = np.random.default_rng(seed)
    photos = [photo(*size, random) for _ in range(min(distinct, count))]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(captioning_rows(count, photos))
