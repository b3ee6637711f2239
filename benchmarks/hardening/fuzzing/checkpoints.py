"""Checkpoints from strangers, through everything that loads them, and stored row indexes.

The checkpoint is one that training writes, of a model that is smaller than nano: its bytes, its archive, its pickle and
its values are changed. What comes of it must be the weights that were saved, or an error with the file's name; a
pickle's call must never be made.
"""

from __future__ import annotations

import copy
import functools
import io
import math
import zipfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import validate
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from fuzzing.calls import Call, calls
from fuzzing.case import Case, refusal
from fuzzing.damage import Edit, damage, edits
from fuzzing.indexes import index_case
from fuzzing.rows import write_bpe
from narvl.averaging import write_averaged
from narvl.data.image import encode_base64
from narvl.errors import DataError, UsageError
from narvl.inference import Predictor

_SIZES = (
    *("--embed-dim", "8", "--ffn-embed-dim", "16", "--attention-heads", "2", "--encoder-layers", "1"),
    *("--decoder-layers", "1", "--resnet-width", "4", "--num-queries", "4", "--max-source-positions", "32"),
    *("--max-target-positions", "32", "--patch-image-size", "32", "--code-dict-size", "0", "--num-bins", "8"),
)
_NAMES = ("../../x", "/x", "archive/data.pkl", "archive/data/0", "\u72ac")
Change = tuple[str, int, int, list[Edit]]

_IMAGE = Image.new("RGB", (40, 30), (200, 30, 90))
#: The file that is read.
NAME = "checkpoint.pt"
_PROMPT = " what does the image describe?"

#: Each level holds the one below twice: a few bytes in a file, and no end when it is copied, hashed or written out.
_ENDLESS: list[Any] = functools.reduce(lambda inner, _: [inner, inner], range(60), [])
_DECISIVE = ((), ("cfg",), ("cfg", "task"), ("cfg", "model"))
#: What a setting or a weight may have been replaced by.
_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 3, 10**6, 10**12, 2**62, 1.5, math.nan, "", "x", "../../x", "${oc.env:HOME}", "${a.b}", b"x"),
    *([], [1, 1, 10**9], ["x"], {}, {"_name": "x"}, (), _ENDLESS),
    *(torch.zeros(0), torch.tensor(math.nan), torch.zeros(3, 3), torch.zeros(2, dtype=torch.long)),
    *(torch.zeros(1).expand(10**6, 10**6), torch.zeros(2, 2).to_sparse(), torch.zeros(2, dtype=torch.complex64)),
    *(torch.empty(4, 4, device="meta"), torch.zeros(1).as_strided((3, 3), (0, 0))),
)


def build(folder: Path) -> list[Case]:
    """Return the cases."""
    write_bpe(folder)
    file = io.BytesIO()
    _IMAGE.save(file, "PNG")
    (folder / "valid.tsv").write_text(f"1\t1\ta red square\t\t{encode_base64(file.getvalue())}\n", encoding="utf-8")
    state = _checkpoint(folder)
    reader = Reader(folder, _saved(state), *_validation(folder))
    reader.expect_the_same()
    places = st.sampled_from(list(_places(state)))
    replaced = st.one_of(st.just("delete"), st.sampled_from(range(len(_VALUES))))
    changes = st.lists(st.tuples(places, replaced), max_size=3)
    return [
        Case("bytes", edits(), lambda changes: reader.check_bytes(damage(reader.saved, changes))),
        Case("archive", _changes(), lambda changes: reader.check_archive(_rebuilt(reader.saved, changes))),
        Case("values", changes, lambda drawn: reader.check_values(_changed(state, drawn))),
        Case("calls", calls(folder / "canary"), lambda call: reader.check_call(state, *call)),
        index_case(folder),
    ]


def _checkpoint(folder: Path) -> dict[str, Any]:
    """Build a model as fairseq-train does, and return what its trainer saves."""
    flags = [str(folder), "--task", "captioning", "--arch", "narvl_nano", "--criterion", "query_ctc", *_SIZES]
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), flags))
    torch.manual_seed(1)
    model = tasks.setup_task(cfg.task).build_model(cfg.model).state_dict()
    return {
        "args": None,
        "cfg": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
        "model": model,
        "criterion": None,
        "optimizer_history": [
            {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {"best": None}, "num_updates": 3}
        ],
        "task_state": {},
        "extra_state": {"train_iterator": {"epoch": 2}, "ema": {name: value.clone() for name, value in model.items()}},
        "last_optimizer_state": None,
    }


def _validation(folder: Path) -> tuple[Any, Namespace]:
    """Return fairseq-validate's settings, and those of them that were given, which it puts before a checkpoint's."""
    flags = [str(folder), "--task", "captioning", "--path", str(folder / NAME), "--cpu", "--num-workers", "0"]
    flags += ["--batch-size", "1", "--log-format", "none"]
    settings, given = (
        options.parse_args_and_arch(options.get_validation_parser(), flags, suppress_defaults=alone)
        for alone in (False, True)
    )
    return convert_namespace_to_omegaconf(settings), given


def _saved(state: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    torch.save(state, file, **how)
    return file.getvalue()


def _places(state: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value; of what decides on the model several times, since most values are weights."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from [(*path, key)] * (16 if path in _DECISIVE else 1)
            yield from _places(value, (*path, key))


def _changed(state: dict[str, Any], changes: list[tuple[tuple[Any, ...], Any]]) -> dict[str, Any]:
    changed = copy.deepcopy(state)
    for path, value in changes:
        holder: Any = changed
        for key in path[:-1]:
            holder = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and path[-1] in holder:
            if value == "delete":
                del holder[path[-1]]
            else:
                holder[path[-1]] = _VALUES[value]
    return changed


def _changes() -> st.SearchStrategy[list[Change]]:
    """Draw changes to an archive: what, of which part, with which other, and how its bytes are damaged."""
    kinds = st.sampled_from(("exchange", "leave out", "double", "rename", "damage", "damage", "grow", "pack"))
    part = st.integers(0, 999)
    return st.lists(st.tuples(kinds, part, part, edits()), min_size=1, max_size=3)


def _rebuilt(saved: bytes, changes: list[Change]) -> bytes:
    """Write the checkpoint's archive with parts exchanged, left out, doubled, packed or of another content."""
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    packing = zipfile.ZIP_STORED
    for kind, first, second, content_edits in changes:
        one, other = first % len(parts), second % len(parts)
        name, content = parts[one]
        match kind:
            case "exchange":
                parts[one], parts[other] = (name, parts[other][1]), (parts[other][0], content)
            case "leave out" if len(parts) > 1:
                del parts[one]
            case "double":
                parts.append((name, parts[other][1]))
            case "rename":
                parts[one] = (_NAMES[second % len(_NAMES)], content)
            case "damage":
                parts[one] = (name, damage(content, content_edits))
            case "grow":
                parts[one] = (name, content + bytes(1 << second % 21))
            case "pack":
                packing = zipfile.ZIP_DEFLATED
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, content in parts:
            archive.writestr(name, content)
    return file.getvalue()


@dataclass(frozen=True)
class Reader:
    """Loads checkpoints by every way there is.

    Attributes:
        folder: where they are written, beside the BPE files.
        saved: the bytes of the checkpoint that nobody has changed.
        settings: fairseq-validate's.
        given: those of them that its user gave.
    """

    folder: Path
    saved: bytes
    settings: Any
    given: Namespace

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.folder / NAME

    def expect_the_same(self) -> None:
        """Check that the checkpoint loads before anything is changed."""
        assert set(self._load(self.saved)) == {"loaded"}

    def check_bytes(self, data: bytes) -> str:
        """Load a checkpoint of changed bytes: refused, or the same to the last weight."""
        outcomes = self._load(data)
        if "loaded" in outcomes:
            assert set(outcomes) == {"loaded"}, outcomes
            changed, original = (torch.load(io.BytesIO(content), weights_only=True) for content in (data, self.saved))
            assert all(torch.equal(changed["model"][name], value) for name, value in original["model"].items())
        return " | ".join(dict.fromkeys(outcomes))

    def check_archive(self, data: bytes) -> str:
        """Load an archive of changed parts, whose checksums are right."""
        return " | ".join(dict.fromkeys(self._load(data)))

    def check_values(self, state: dict[str, Any]) -> str:
        """Load a checkpoint of changed values."""
        try:
            data = _saved(state)
        except Exception as error:  # torch saves no tensor of this kind
            return f"not saved: {type(error).__name__}"
        return " | ".join(dict.fromkeys(self._load(data)))

    def check_call(self, state: dict[str, Any], place: tuple[str, ...], call: Any, how: dict[str, Any]) -> str:
        """Load a checkpoint that asks for a call."""
        changed = copy.deepcopy(state)
        holder: Any = changed
        for key in place[:-1]:
            holder = holder[key]
        if place:
            holder[place[-1]] = call
        else:
            changed = call
        canary = self.folder / "canary"
        canary.unlink(missing_ok=True)
        outcomes = self._load(_saved(changed, **how))
        assert not (isinstance(call, Call) and "loaded" in outcomes), outcomes
        assert not canary.exists(), "the checkpoint has run something"
        return " | ".join(dict.fromkeys(outcomes))

    def _load(self, data: bytes) -> list[str]:
        self.path.write_bytes(data)
        return [self._try(load) for load in (self._predict, self._validate, self._average)]

    def _try(self, load: Callable[[], str]) -> str:
        try:
            return load()
        except (DataError, UsageError) as error:
            # The command's user has named the checkpoint; some errors name the flag that it has stored.
            begins = ("--", "checkpoint: ", "the checkpoint's ", str(self.path), f"{self.folder / 'valid.tsv'}, row")
            assert str(error).startswith(begins), error
            return refusal(error)

    def _predict(self) -> str:
        predictor = Predictor(self.path, str(self.folder), cpu=True)
        batch = predictor.batch([_IMAGE], [_PROMPT])
        try:
            predictor.answer(predictor.generator(), batch)
        except DataError as error:
            return refusal(error, "rows 1: ")
        return "loaded"

    def _validate(self) -> str:
        with mock.patch.object(validate, "reset_logging"):  # it would undo who logs here
            validate.main(self.settings, Namespace(**vars(self.given)))
        return "loaded"

    def _average(self) -> str:
        write_averaged(self.path, self.folder / "averaged.out")
        return "loaded"
