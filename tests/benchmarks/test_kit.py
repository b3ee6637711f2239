from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kit import machine
from kit.counting import Part, count_decoder, count_encoder, count_flops, count_weights, marginal_flops
from kit.decoders import DECODERS
from kit.files import photo, write_captioning
from kit.machine import Machine, choose_device
from kit.memory import Peak, in_fresh_process
from kit.workloads import WORKLOADS, allowed, build_model, freeze, make_batch, prepare_for_inference, vocabulary
from narvl.criterions.query_ctc import queries_needed
from narvl.data.captioning import example
from narvl.data.image import decode_image
from narvl.data.tsv import COLUMNS, TsvFile
from narvl.errors import UsageError
from narvl.tables import latency_model

CPU = torch.device("cpu")


class TestFlops:
    """Against counts by hand: two operations for each multiplication."""

    def test_linear(self) -> None:
        layer = nn.Linear(8, 16)
        assert count_flops(lambda: layer(torch.zeros(2, 5, 8))) == 2 * (2 * 5) * 8 * 16

    def test_convolution(self) -> None:
        layer = nn.Conv2d(3, 4, kernel_size=3, padding=1)
        assert count_flops(lambda: layer(torch.zeros(2, 3, 6, 6))) == 2 * (2 * 6 * 6) * (3 * 3 * 3) * 4

    def test_attention_with_a_bias(self) -> None:
        q, k = torch.zeros(2, 4, 7, 8), torch.zeros(2, 4, 9, 8)
        counted = count_flops(lambda: F.scaled_dot_product_attention(q, k, k, attn_mask=torch.zeros(1, 4, 7, 9)))
        assert counted == 2 * (2 * 4) * (7 * 9 * 8 + 7 * 9 * 8)

    def test_products(self) -> None:
        a = torch.zeros(3, 4, 5)
        assert count_flops(lambda: torch.bmm(a, a.transpose(1, 2))) == 2 * 3 * 4 * 4 * 5

    def test_what_a_batch_shares_is_no_sample_s_work(self) -> None:
        layer = nn.Linear(8, 8)

        def work(batch: int) -> None:
            layer(torch.zeros(100, 8))
            layer(torch.zeros(batch, 8))

        assert marginal_flops(work) == 2 * 8 * 8

    def test_decoders_of_the_nano_model(self) -> None:
        """The output layer by hand; the autoregressive decoder works for each hypothesis, step by step."""
        workload = WORKLOADS["grounding"]
        parallel = freeze(build_model("narvl", "nano", workload, CPU, 1))
        autoregressive = freeze(build_model("ofa", "nano", workload, CPU, 1))
        parts, encoded = count_encoder(parallel, workload, 64, CPU)
        assert parts["backbone"].flops > parts["encoder"].flops > 0
        output = count_decoder(parallel, workload, encoded)["output"]
        assert output == Part(2 * 5 * 128 * 1002, 1002 * 128 * 4)  # bins, </s> and the blank
        greedy = count_decoder(autoregressive, workload, encoded)
        beam = count_decoder(autoregressive, workload, encoded, beam=5)
        assert greedy["output"] == Part(2 * 5 * 128 * 1001, 5 * 1001 * 128 * 4)
        assert beam["output"] == Part(5 * greedy["output"].flops, greedy["output"].fixed_bytes)
        assert greedy["decoder"].flops < beam["decoder"].flops < 5 * greedy["decoder"].flops
        assert greedy["decoder"].fixed_bytes == 5 * 4 * count_weights(autoregressive.decoder)

    def test_a_search_that_is_not_announced_projects_the_states_once_and_computes_every_symbol(self) -> None:
        workload = WORKLOADS["grounding"]
        model = freeze(build_model("ofa", "nano", workload, CPU, 1))
        _, encoded = count_encoder(model, workload, 64, CPU)
        ours, theirs = (count_decoder(model, workload, encoded, announced=announced) for announced in (True, False))
        symbols = len(model.decoder.embed_tokens.weight)
        assert theirs["output"] == Part(2 * 5 * 128 * symbols, 5 * symbols * 128 * 4)
        projections = 2 * 2 * 128 * 129 * 4  # of keys and values, in two layers, with their bias
        assert ours["decoder"].fixed_bytes - theirs["decoder"].fixed_bytes == 4 * projections, (
            "read at one step of five"
        )
        assert ours["decoder"].sample_bytes == theirs["decoder"].sample_bytes

    def test_latency_is_predicted_of_decoders_that_exist(self) -> None:
        assert set(latency_model.DECODINGS) <= {decoder.label for decoder in DECODERS.values()}

    def test_floor_is_the_slower_of_both_limits(self) -> None:
        limits = Machine(flops=1e9, read=1e9, write=1e9, copy=1e9)
        assert Part(flops=1e6, fixed_bytes=2e6, sample_bytes=1e5).floor_ms(1, limits) == pytest.approx(2.1)
        assert Part(flops=1e6, fixed_bytes=2e6, sample_bytes=1e5).floor_ms(8, limits) == pytest.approx(8)

    def test_limits_are_the_best_measured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "_SIDES", {"cpu": (64,)})
        monkeypatch.setattr(machine, "_BYTES", {"cpu": 1 << 16})
        measured = machine.measure_machine(CPU, torch.float32, Machine(1e18, 1.0, 1e18, 1.0))
        assert (measured.flops, measured.write) == (1e18, 1e18)
        assert 1.0 < measured.read < 1e18 and 1.0 < measured.copy < 1e18

    def test_tables_are_not_read_whole(self) -> None:
        module = nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 4))
        assert count_weights(module) == 8 * 4 + 4
        assert count_weights(module, leave_out=module[1]) == 0


class TestWorkloads:
    def test_vocabulary_is_that_of_the_published_checkpoints(self) -> None:
        assert len(vocabulary().dictionary) == 59457
        assert vocabulary().first_bin == 58457
        assert int(vocabulary().text_mask().sum()) == 50257 + 1
        assert (
            vocabulary().decode(vocabulary().encode(" what does the image describe?"))
            == "what does the image describe?"
        )

    @pytest.mark.parametrize("task", WORKLOADS)
    def test_batches(self, task: str) -> None:
        workload = WORKLOADS[task]
        batch = make_batch(workload, 7, 32, CPU)
        assert batch["net_input"]["src_tokens"].shape == (7, workload.prompt)
        assert batch["target"].shape == (7, workload.answer + 1)
        assert allowed(workload)[batch["target"]].all()
        assert (queries_needed(batch["target"], batch["target_lengths"]) <= workload.queries).all()
        assert not (batch["net_input"]["src_tokens"] == vocabulary().dictionary.pad()).any()

    @pytest.mark.parametrize("task", WORKLOADS)
    def test_every_decoder_says_the_answer_s_length(self, task: str) -> None:
        workload = WORKLOADS[task]
        batch = make_batch(workload, 2, 32, CPU)
        for decoder in DECODERS.values():
            if decoder.build is None or (decoder.ctc and workload.alignment != "ctc"):
                continue
            model = freeze(build_model(decoder.family, "nano", workload, CPU, 1))
            prepare_for_inference(model, "float32")
            said = decoder.build(model, workload).generate([model], batch)
            lengths = [len(row[0]["tokens"]) for row in said]
            assert lengths == [workload.steps] * 2 or decoder.family == "narvl"
            assert max(lengths) <= workload.queries + 1

    def test_unknown_settings_of_a_model_are_refused(self) -> None:
        with pytest.raises(UsageError, match="no_such_setting"):
            build_model("ofa", "nano", WORKLOADS["vqa"], CPU, 1, no_such_setting=1)


def test_rows_are_photos_of_their_size(tmp_path: Path) -> None:
    write_captioning(tmp_path / "train.tsv", 5, (64, 48), distinct=2)
    rows = TsvFile(tmp_path / "train.tsv", COLUMNS["captioning"])
    assert len(rows) == 5
    assert decode_image(example(rows[4], True, 20).image).size == (64, 48)
    assert 30_000 < len(photo(640, 480, np.random.default_rng(0))) * 3 / 4 < 300_000, "unlike a photo's JPEG"


def test_no_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--device cuda"):
        choose_device("cuda")


def allocate(megabytes: int) -> int:
    peak = Peak(CPU)
    torch.ones(megabytes << 18)
    return peak.rise()


def test_peak_memory_is_that_of_the_work() -> None:
    rise = functools.partial(in_fresh_process, allocate)
    assert 60 << 20 < rise(64) < 80 << 20
