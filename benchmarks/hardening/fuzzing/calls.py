"""Pickles that ask for calls, in every part of a checkpoint: each would leave a canary."""

from __future__ import annotations

import builtins
import importlib
import operator
import os
import pickle
import pydoc
import runpy
import subprocess
import types
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st


class Call:
    """Pickles into a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments

    def __repr__(self) -> str:
        return f"Call({self.function!r}, {self.arguments!r})"


def calls(canary: Path) -> st.SearchStrategy[tuple[tuple[str, ...], Any, dict[str, Any]]]:
    """Draw where a call stands, the call, and how it is saved."""
    command = f"touch {canary}"
    code = f"open({str(canary)!r}, 'w').close()"
    pickled = pickle.dumps(Call(os.system, command))
    wanted = [
        Call(os.system, command),
        Call(subprocess.Popen, ["touch", str(canary)]),
        Call(subprocess.check_output, ["touch", str(canary)]),
        Call(eval, code),
        Call(exec, code),
        Call(builtins.open, str(canary), "w"),
        Call(getattr, Call(importlib.import_module, "os"), "system"),
        Call(importlib.import_module, "this"),
        Call(operator.methodcaller, "system", command),
        Call(partial, os.system, command),
        Call(pydoc.pipepager, "", command),
        Call(runpy.run_path, str(canary)),
        Call(os.makedirs, str(canary)),
        Call(pickle.loads, pickled),
        Call(torch.storage._load_from_bytes, pickled),
        Call(torch._utils._rebuild_parameter, Call(os.system, command), False, {}),
        Call(torch._tensor._rebuild_from_type_v2, os.system, torch.Tensor, (command,), {}),
        Call(torch.hub.load_state_dict_from_url, f"file://{canary}"),
        Call(defaultdict, os.system),
        Call(types.SimpleNamespace),
    ]
    places = st.sampled_from(
        (
            *((), ("model",), ("cfg",), ("args",), ("extra_state",), ("last_optimizer_state",), ("task_state",)),
            *(("cfg", "task"), ("cfg", "model", "_name"), ("extra_state", "ema"), ("model", "encoder.layer_norm.bias")),
        )
    )
    # Settings that fairseq's own models and criterions evaluate as Python.
    foreign = {
        "task": {"_name": "audio_pretraining", "data": code},
        "model": {"_name": "wav2vec2", "conv_feature_layers": code},
        "criterion": {"_name": "ctc", "wer_args": code},
    }
    evaluated: list[tuple[tuple[str, ...], Any, dict[str, Any]]] = [
        (("cfg",), foreign, {}),
        *((("cfg", name), value, {}) for name, value in foreign.items()),
    ]
    how = st.sampled_from(
        (*({"pickle_protocol": protocol} for protocol in range(2, 6)), {"_use_new_zipfile_serialization": False})
    )
    return st.one_of(st.tuples(places, st.sampled_from(wanted), how), st.sampled_from(evaluated))
