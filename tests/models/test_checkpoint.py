"""Checkpoints with the reference's names, of one model or the other, load; anything else is refused by name."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from narvl.errors import UsageError
from narvl.models._checkpoint import BLANK, QUERIES, TIED, TOKENS, convert_state_dict

Build = Callable[..., tuple[Any, Any, Any]]


def clone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def as_reference(model: Any) -> dict[str, Tensor]:
    """The model's parameters under the reference's names, with the entries that only the reference has."""
    state = clone(model.state_dict())
    state["encoder.version"] = torch.tensor([3.0])
    state["decoder.version"] = torch.tensor([3.0])
    state["encoder.token_rp_bucket"] = torch.zeros(4, 4, dtype=torch.long)
    state["decoder.image_position_idx"] = torch.zeros(4, dtype=torch.long)
    state["decoder.embed_image_positions.weight"] = torch.zeros(1765, 8)
    state["decoder.image_rel_pos_table_list.1.weight"] = torch.zeros(6892, 4)
    state["decoder.code_layernorm_embedding.weight"] = torch.ones(8)
    if BLANK in state:
        state[TOKENS] = torch.cat([state[TOKENS], state.pop(BLANK)])
    for name in TIED:
        state[name] = state[TOKENS].clone()
    return state


@pytest.fixture(scope="module")
def teacher(scenes: Path, build: Build) -> Any:
    torch.manual_seed(1)
    return build(scenes, "ofa_nano")[1]


@pytest.fixture()
def student(scenes: Path, build: Build) -> Any:
    torch.manual_seed(2)
    return build(scenes, "narvl_nano")[1]


def loaded(caplog: pytest.LogCaptureFixture) -> str:
    [record] = [record for record in caplog.records if record.name == "narvl.models._checkpoint"]
    return record.getMessage()


def test_own_state_dict_round_trip(student: Any, scenes: Path, build: Build, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    _, other, _ = build(scenes, "narvl_nano")
    other.load_state_dict(clone(student.state_dict()))
    for name, tensor in student.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert other.decoder.embed_tokens.weight is other.encoder.embed_tokens.weight
    assert not [record for record in caplog.records if record.name.startswith("narvl.models")]


def test_reference_names_of_the_teacher(teacher: Any, scenes: Path, build: Build) -> None:
    _, other, _ = build(scenes, "ofa_nano")
    other.load_state_dict(as_reference(teacher))
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_a_teacher_initialises_a_student(teacher: Any, student: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fresh = {name: student.state_dict()[name].clone() for name in (QUERIES, BLANK)}
    student.load_state_dict(as_reference(teacher))
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(student.state_dict()[name], tensor), name
    for name, tensor in fresh.items():
        assert torch.equal(student.state_dict()[name], tensor), name
    width = teacher.encoder.embed_tokens.embedding_dim
    count = len(teacher.state_dict()) - 1  # decoder.embed_tokens.weight repeats the encoder's
    assert loaded(caplog) == (
        f"checkpoint: {count} tensors loaded; added: {QUERIES} (20, {width}), {BLANK} (1, {width}); "
        "resized: none; left out: none"
    )


def test_the_blank_is_the_last_row_of_the_reference_s_table(student: Any, scenes: Path, build: Build) -> None:
    state = as_reference(student)
    assert state[TOKENS].size(0) == student.blank + 1
    _, other, _ = build(scenes, "narvl_nano")
    other.load_state_dict(state)
    assert torch.equal(other.decoder.blank_embed.weight, student.decoder.blank_embed.weight)
    assert torch.equal(other.encoder.embed_tokens.weight, student.encoder.embed_tokens.weight)


@pytest.mark.parametrize("queries", [6, 31])
def test_queries_of_another_number(
    student: Any, scenes: Path, build: Build, queries: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _, other, _ = build(scenes, "narvl_nano", "--num-queries", str(queries))
    fresh = other.decoder.query_embed.weight.clone()
    other.load_state_dict(as_reference(student))
    shared = min(queries, 20)
    assert torch.equal(other.decoder.query_embed.weight[:shared], student.decoder.query_embed.weight[:shared])
    assert torch.equal(other.decoder.query_embed.weight[shared:], fresh[shared:])
    assert loaded(caplog).endswith(f"resized: {QUERIES} from 20 to {queries} rows; left out: none")


def test_a_teacher_without_queries_initialises_a_student_that_reads_the_encoder(
    teacher: Any, scenes: Path, build: Build
) -> None:
    _, student, _ = build(scenes, "narvl_nano", "--decoder-input", "encoder")
    student.load_state_dict(as_reference(teacher))
    assert torch.equal(student.decoder.layer_norm.weight, teacher.decoder.layer_norm.weight)


class TestRefusals:
    """An error lists every name, says what to do, and is logged, for fairseq hides it behind one of its own."""

    def refused(self, model: Any, state: dict[str, Tensor], caplog: pytest.LogCaptureFixture) -> str:
        with pytest.raises(UsageError) as error:
            model.load_state_dict(state)
        assert str(error.value) in [record.getMessage() for record in caplog.records]
        return str(error.value)

    def test_unknown_names(self, teacher: Any, caplog: pytest.LogCaptureFixture) -> None:
        state = as_reference(teacher) | {"encoder.adapter.weight": torch.zeros(1), "decoder.bogus": torch.zeros(1)}
        message = self.refused(teacher, state, caplog)
        assert "2 unknown: decoder.bogus, encoder.adapter.weight." in message
        assert "missing" not in message

    def test_missing_names(self, teacher: Any, caplog: pytest.LogCaptureFixture) -> None:
        state = as_reference(teacher)
        del state["encoder.layers.1.fc1.bias"], state["decoder.layer_norm.weight"]
        message = self.refused(teacher, state, caplog)
        assert "2 missing: decoder.layer_norm.weight, encoder.layers.1.fc1.bias." in message

    def test_another_arch(self, teacher: Any, scenes: Path, build: Build, caplog: pytest.LogCaptureFixture) -> None:
        with torch.device("meta"):
            _, tiny, _ = build(scenes, "ofa_tiny")
        message = self.refused(tiny, as_reference(teacher), caplog)
        width = teacher.encoder.embed_tokens.embedding_dim
        assert f"encoder.image_proj.bias is ({width},), the model's is (256,)" in message
        assert "decoder.layers.3.cross_attn_ln.bias" in message.partition("missing: ")[2]
        assert "Give the --arch that the checkpoint was trained with." in message

    def test_another_vocabulary(
        self, teacher: Any, scenes: Path, build: Build, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, other, _ = build(scenes, "ofa_nano", "--code-dict-size", "5")
        message = self.refused(other, as_reference(teacher), caplog)
        assert f"1 of another shape: {TOKENS} is " in message
        assert "depends on --bpe-dir, --code-dict-size and --num-bins" in message

    def test_a_student_s_checkpoint_in_a_teacher(
        self, teacher: Any, student: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        message = self.refused(teacher, clone(student.state_dict()), caplog)
        assert f"2 unknown: {BLANK}, {QUERIES}." in message

    def test_a_checkpoint_without_a_token_table(self, student: Any, caplog: pytest.LogCaptureFixture) -> None:
        state = as_reference(student)
        for name in (TOKENS, *TIED):
            del state[name]
        assert f"missing: {BLANK}, {TOKENS}." in self.refused(student, state, caplog)

    @pytest.mark.parametrize("name", TIED)
    def test_tables_that_are_not_shared(self, teacher: Any, name: str) -> None:
        state = as_reference(teacher)
        state[name] = state[name] + 1
        with pytest.raises(UsageError, match=f"{name} differs from {TOKENS}; narvl shares one table"):
            teacher.load_state_dict(state)


def test_conversion_leaves_the_model_s_own_tensors_alone(student: Any, teacher: Any) -> None:
    own = {name: tensor for name, tensor in student.state_dict().items() if name not in TIED}
    before = clone(own)
    state = as_reference(teacher)
    convert_state_dict(state, own)
    state[QUERIES].zero_()
    assert all(torch.equal(own[name], tensor) for name, tensor in before.items())


def test_fairseq_train_restores_a_teacher_s_checkpoint_into_a_student(
    shared: Path, scenes: Path, reference: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """59,457 rows in, 59,458 classes out; ``--restore-file`` reads fairseq's format through the safe loader."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq_cli.train import main

    caplog.set_level(logging.INFO)
    path, saved = tmp_path / "ofa.pt", tmp_path / "runs"
    state = reference.state_dict("ofa_tiny")
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 7}
    checkpoint = {
        "args": Namespace(arch="ofa_tiny", task="caption", data=str(scenes)),  # the name of OFA's own task
        "model": state,
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "last_optimizer_state": {},
    }
    torch.save(checkpoint, path)
    command = [
        *(str(scenes), "--task", "captioning", "--arch", "narvl_tiny", "--criterion", "query_ctc", "--cpu"),
        *("--bpe-dir", str(shared / "data" / "gpt2-bpe"), "--patch-image-size", "32", "--batch-size", "2"),
        *("--restore-file", str(path), "--save-dir", str(saved), "--reset-optimizer", "--reset-dataloader"),
        *("--reset-meters", "--reset-lr-scheduler", "--optimizer", "sgd", "--lr", "0.001", "--max-update", "2"),
        *("--num-workers", "0", "--disable-validation", "--no-progress-bar", "--log-interval", "1"),
        *("--freeze-embedding", "--no-epoch-checkpoints", "--num-queries", "40"),
    ]
    with torch.random.fork_rng():
        main(convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), command)))
    assert f"added: {QUERIES} (40, 256), {BLANK} (1, 256); resized: none; left out: none" in loaded(caplog)

    trained = torch.load(saved / "checkpoint_last.pt", weights_only=True)
    assert trained["optimizer_history"][-1]["num_updates"] == 2
    assert torch.equal(trained["model"][TOKENS], state[TOKENS])
    assert trained["model"][BLANK].shape == (1, 256)
    moved = (trained["model"]["decoder.layers.3.fc2.weight"] - state["decoder.layers.3.fc2.weight"]).abs().max()
    assert 0 < float(moved) < 0.1


@pytest.mark.parametrize("name", ["ofa", "narvl"])
def test_a_configuration_of_an_older_version_gets_today_s_defaults(name: str, scenes: Path) -> None:
    """A checkpoint holds no field that was added after it."""
    from fairseq.data import Dictionary
    from omegaconf import OmegaConf

    from narvl.models._config import PRESETS, NARVLConfig, OFAConfig
    from narvl.models.narvl import NARVLModel
    from narvl.models.ofa import OFAModel

    config, model = (OFAConfig, OFAModel) if name == "ofa" else (NARVLConfig, NARVLModel)
    known = OmegaConf.to_container(OmegaConf.structured(config(**PRESETS["nano"])), enum_to_str=True)
    for later in ("checkpoint_activations", "interpolate_position", "alignment"):
        known.pop(later, None)
    cfg = OmegaConf.create({**known, "_name": f"{name}_nano"})
    OmegaConf.set_struct(cfg, True)
    built = model.build_model(cfg, Namespace(target_dictionary=Dictionary()))
    assert built.encoder.checkpoint is False and built.encoder.interpolate_position is False
    assert name == "ofa" or built.alignment == "ctc"
