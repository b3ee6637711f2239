"""A checkpoint whose settings no command line could have given is refused before anything is built of them."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from narvl.errors import UsageError
from narvl.models._settings import check_settings


@pytest.fixture()
def state() -> dict[str, Any]:
    model = {"_name": "narvl_nano", "dropout": 0.1, "resnet_blocks": [1, 1, 1], "resnet_width": None}
    parts = {"model": model, "task": {"_name": "vqa", "bpe_dir": None}, "criterion": {"_name": "query_ctc"}}
    return {"cfg": parts, "model": {}}


def test_what_flags_can_give_passes(state: dict[str, Any]) -> None:
    state["cfg"]["task"] |= {"texts": ("a", "b"), "options": {"beam": 1}, "choice": Enum("Choice", ["all"])["all"]}
    check_settings(state)


@pytest.mark.parametrize("part", ["model", "task", "criterion"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (torch.zeros(0), "a Tensor"),
        (torch.zeros(1).expand(10**6, 10**6), "a Tensor"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (b"x", "a bytes"),
        ([1, [math.nan]], "a list"),
        ({"beam": torch.ones(2)}, "a dict"),
        ("${oc.env:HOME}", "'[$]{oc.env:HOME}'"),
        (["x", "${a.b}"], "a list"),
    ],
)
def test_other_values_are_named(state: dict[str, Any], part: str, value: Any, shown: str) -> None:
    state["cfg"][part]["rate"] = value
    with pytest.raises(UsageError, match=f"its setting rate of the {part} is {shown}, which no flag can give"):
        check_settings(state)


def test_nothing_is_looked_up_elsewhere(state: dict[str, Any]) -> None:
    """In omegaconf's own mapping the value reads as what it points to."""
    state["cfg"]["task"]["ctc_beam"] = "${oc.env:PATH}"
    state["cfg"] = OmegaConf.create(state["cfg"])
    with pytest.raises(UsageError, match=r"its setting ctc_beam of the task is '[$]{oc.env:PATH}'"):
        check_settings(state)


@pytest.mark.parametrize("part", ["task", "criterion"])
def test_parts_that_are_missing(state: dict[str, Any], part: str) -> None:
    del state["cfg"][part]
    with pytest.raises(UsageError, match=f"it has no settings of its {part}"):
        check_settings(state)


def test_other_models_are_not_looked_at(state: dict[str, Any]) -> None:
    state["cfg"]["model"] = {"_name": "bart_base", "dropout": math.nan}
    check_settings(state)
