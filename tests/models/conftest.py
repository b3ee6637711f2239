"""What the reference systems compute: parameters, inputs and outputs (the golden values beside the repository)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

TOKENS = "encoder.embed_tokens.weight"


class Reference:
    """The reference systems' parameters by their names, filled by the recipe that made the golden values."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe = self._load_recipe()

    def _load_recipe(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("golden_fill", self.folder / "fill.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def golden(self, name: str) -> dict[str, Any]:
        """Inputs and outputs, e.g. of ``narvl_tiny``."""
        return torch.load(self.folder / f"golden_{name}.pt", weights_only=True)

    def keys(self, name: str) -> dict[str, Any]:
        """Every entry of the state dict: shape, dtype, what it is tied to; and the number of parameters."""
        return json.loads((self.folder / f"keys_{name}.json").read_text())

    def state_dict(self, name: str, device: str = "cpu") -> dict[str, Tensor]:
        """A state dict as the reference saves it: filled on the CPU, without values on ``meta``."""
        state: dict[str, Tensor] = {}
        for key, entry in self.keys(name)["state_dict"].items():
            shape = tuple(entry["shape"])
            filled = entry["dtype"] == "float32" and not key.endswith(".version")
            if entry["tied_to"]:
                state[key] = state[entry["tied_to"]]
            elif device == "meta" or not filled:
                state[key] = torch.zeros(shape, dtype=getattr(torch, entry["dtype"]), device=device)
            else:
                state[key] = self.recipe.value_for(key, shape)
        return state


@pytest.fixture(scope="session")
def reference(shared: Path) -> Reference:
    return Reference(shared / "golden")
