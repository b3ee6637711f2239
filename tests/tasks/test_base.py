"""What every task shares, on the captioning task: symbols, generators, validation."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from narvl.errors import DataError, UsageError
from narvl.models._config import PRESETS, OFAConfig

Build = Callable[..., tuple[Any, Any, Any]]
FLAGS = ("--patch-image-size", "64")


def valid_batch(task: Any, rows: range = range(12)) -> dict[str, Any]:
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    return dataset.collater([dataset[index] for index in rows])


class TestAllowed:
    def test_text_and_its_end_alone(self, scenes: Path, build: Build) -> None:
        task, _, _ = build(scenes, "ofa_nano", "--code-dict-size", "5", "--num-bins", "6")
        symbols = task.target_dictionary
        forbidden = {symbols[index] for index in (~task.allowed()).nonzero().flatten().tolist()}
        assert forbidden == {
            *("<s>", "<pad>", "<unk>", "<mask>"),
            *(f"<code_{index}>" for index in range(5)),
            *(f"<bin_{index}>" for index in range(6)),
        }

    @pytest.mark.parametrize("arch", ["ofa_nano", "narvl_nano"])
    def test_no_model_says_anything_else(self, scenes: Path, build: Build, arch: str) -> None:
        """Not even one that is sure of a code, a bin and <unk>."""
        task, model, _ = build(scenes, arch, *FLAGS)
        model.eval()
        allowed = task.allowed()
        width = model.encoder.embed_tokens.embedding_dim
        loud = torch.randn(width, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            model.encoder.embed_tokens.weight[~allowed] = 5 * loud
            model.decoder.layer_norm.bias.copy_(loud)
        batch = valid_batch(task, range(4))
        best = model(**batch["net_input"])[0].argmax(-1)
        assert not allowed[best.clamp(max=len(allowed) - 1)].any()
        generator = task.build_generator([model], Namespace(beam=2, max_len_b=8))
        for row in task.inference_step(generator, [model], batch):
            for hypothesis in row:
                assert allowed[hypothesis["tokens"]].all()


class TestReferences:
    def test_batches_hold_all_captions(self, scenes: Path, build: Build) -> None:
        from narvl.criterions.query_ctc import References, marginal_query_ctc_loss

        task, model, criterion = build(scenes, "narvl_nano", *FLAGS, "--references", "all", "--dropout", "0")
        batch = valid_batch(task, range(3))
        assert batch["references"]["tokens"].shape[:2] == (3, 5)
        with torch.no_grad():
            logits, _ = model(**batch["net_input"])
            expected = marginal_query_ctc_loss(
                logits, References(**batch["references"]), model.blank, label_smoothing=criterion.label_smoothing
            )
            torch.testing.assert_close(criterion(model, batch)[0], expected.loss.sum())

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (("--reference-temperature", "0.5"), "--reference-temperature 0.5: nothing reads it without --references"),
            (("--reference-lenpen", "1"), "--reference-lenpen 1.0: nothing reads it without --references"),
            (("--intermediate-weight", "0.5"), "--intermediate-weight 0.5: nothing reads it without --intermediate-l"),
        ],
    )
    def test_flags_that_nothing_reads_are_refused(
        self, scenes: Path, build: Build, flags: tuple[str, ...], message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            build(scenes, "narvl_nano", *FLAGS, *flags)

    def test_rows_of_one_caption_are_no_references(self, scenes: Path, build: Build) -> None:
        task = build(scenes, "narvl_nano", *FLAGS, "--references", "all")[0]
        with pytest.raises(UsageError, match=r"train\.tsv: --references all, but none .* Join .* by narvl group"):
            task.load_dataset("train")

    def test_captions_that_are_not_learned_are_told(
        self, scenes: Path, tmp_path: Path, build: Build, caplog: pytest.LogCaptureFixture
    ) -> None:
        from narvl.grouping import group_captions

        group_captions(scenes, tmp_path)
        task = build(tmp_path, "narvl_nano", *FLAGS)[0]
        task.load_dataset("train")
        assert "have several captions, of which the first alone is learned" in caplog.text

    def test_several_captions_may_come_late(self, scenes: Path, tmp_path: Path, build: Build) -> None:
        from narvl.grouping import group_captions

        group_captions(scenes, tmp_path / "grouped")
        rows = [(folder / "train.tsv").read_text() for folder in (scenes, tmp_path / "grouped")]
        (tmp_path / "train.tsv").write_text("".join(rows))
        task = build(tmp_path, "narvl_nano", "--bpe-dir", str(scenes), *FLAGS, "--references", "all")[0]
        task.load_dataset("train")

    def test_losses_of_one_target_are_refused(self, scenes: Path, build: Build) -> None:
        with pytest.raises(UsageError, match="--references all: --criterion label_smoothed_cross_entropy learns from"):
            build(scenes, "ofa_nano", *FLAGS, "--references", "all")


class TestValidation:
    @pytest.mark.parametrize("arch", ["ofa_nano", "narvl_nano"])
    def test_loss_and_metric(self, scenes: Path, build: Build, arch: str) -> None:
        from fairseq.logging import metrics

        task, model, criterion = build(scenes, arch, *FLAGS)
        batches = [valid_batch(task, range(0, 7)), valid_batch(task, range(7, 12))]
        logs = [task.valid_step(batch, model, criterion)[2] for batch in batches]
        assert [log["metric_count"] for log in logs] == [7, 5]
        assert not model.training
        with metrics.aggregate(new_root=True) as logged:
            task.reduce_metrics(logs, criterion)
        values = logged.get_smoothed_values()
        assert values["cider"] == pytest.approx(sum(log["metric_sum"] for log in logs) / 12, abs=1e-3)
        assert values["loss"] > 0
        assert ("unreachable" in values) is arch.startswith("narvl")

    def test_a_perfect_model_scores_as_the_references_do(self, scenes: Path, build: Build) -> None:
        from narvl.data.captioning import references
        from narvl.evaluation.caption import CorpusCider

        task, _, _ = build(scenes, "ofa_nano", *FLAGS)
        task.load_dataset("valid")
        rows = task.dataset("valid").rows
        truth = [references(rows[index]) for index in range(12)]
        corpus = CorpusCider(truth)
        expected = 100 * sum(corpus.score(index, texts[0]) for index, texts in enumerate(truth))
        assert task.score("valid", range(12), [texts[0] for texts in truth]) == pytest.approx(expected)
        assert task.score("valid", [3, 1], [truth[3][0], truth[1][0]]) > 100
        assert task.score("valid", [3], [f"{truth[3][0].capitalize()}."]) == pytest.approx(
            task.score("valid", [3], [truth[3][0]])
        )
        assert task.score("valid", [3], [""]) == 0
        assert task.score("valid", [3], [truth[3][0]]) > task.score("valid", [3], [truth[4][0]])

    def test_what_is_scored_is_what_the_model_says(
        self, scenes: Path, build: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task, model, criterion = build(scenes, "narvl_nano", *FLAGS)
        batch = valid_batch(task, range(3, 6))
        said: list[Any] = []
        monkeypatch.setattr(task, "score", lambda *given: said.append(given) or 0.0)
        task.valid_step(batch, model, criterion)
        generator = task.build_generator([model], Namespace())
        rows = task.inference_step(generator, [model], batch)
        assert said == [("valid", [3, 4, 5], [task.decode(row[0]["tokens"]) for row in rows])]

    @pytest.mark.parametrize("arch", ["ofa_nano", "narvl_nano"])
    def test_without_decoding(self, scenes: Path, build: Build, arch: str) -> None:
        task, model, criterion = build(scenes, arch, "--no-valid-generation", *FLAGS)
        loss, size, log = task.valid_step(valid_batch(task), model, criterion)
        assert "metric_sum" not in log
        assert float(loss) > 0 and size > 0
        task.reduce_metrics([log], criterion)

    @pytest.mark.parametrize("flags", [(), ("--ctc-beam", "3"), ("--decoder-input", "encoder")])
    def test_a_parallel_model_is_asked_once(self, scenes: Path, build: Build, flags: tuple[str, ...]) -> None:
        task, model, criterion = build(scenes, "narvl_nano", *FLAGS, *flags)
        batch, asked = valid_batch(task, range(4)), []
        generator = task.build_generator([model.eval()], task.valid_options)
        said = generator.generate([model], batch)
        with torch.no_grad():
            again = generator.generate([model], batch, outputs=[model(**batch["net_input"])])
        for row, other in zip(said, again, strict=True):
            assert [found["tokens"].tolist() for found in other] == [found["tokens"].tolist() for found in row]
            scores = ([float(found["score"]) for found in found_of] for found_of in (other, row))
            assert next(scores) == pytest.approx(next(scores), abs=1e-5)
        scored = task.score("valid", range(4), [task.decode(row[0]["tokens"]) for row in said])
        model.register_forward_hook(lambda *given: asked.append(given))
        log = task.valid_step(batch, model, criterion)[2]
        assert log["metric_sum"] == pytest.approx(scored) and len(asked) == 1

    def test_rows_that_are_skipped_have_no_reference(self, scenes: Path, build: Build, tmp_path: Path) -> None:
        lines = (scenes / "valid.tsv").read_text().splitlines()
        fields = lines[1].split("\t")
        fields[2] = "&&"
        lines[1] = "\t".join(fields)
        (tmp_path / "valid.tsv").write_text("\n".join(lines))
        flags = ("--bpe-dir", str(scenes), *FLAGS)
        task, model, criterion = build(tmp_path, "narvl_nano", "--skip-bad-rows", *flags)
        task.load_dataset("valid")
        rows = task.dataset("valid").rows
        assert task.score("valid", [2], [rows[2][2].split("&&")[0]]) > 50
        assert task.valid_step(valid_batch(task), model, criterion)[2]["metric_count"] == 11
        strict, _, _ = build(tmp_path, "narvl_nano", *flags)
        strict.load_dataset("valid")
        with pytest.raises(DataError, match=r"valid\.tsv, row 2: the caption \(column 3\) is empty"):
            strict.score("valid", [2], [""])


class TestOptions:
    def test_decoding_in_validation(self, scenes: Path, build: Build) -> None:
        arguments = '{"beam": 3, "max_len_b": 7, "min_len": 7, "no_repeat_ngram_size": 2}'
        task, model, _ = build(scenes, "ofa_nano", "--valid-generation-args", arguments, *FLAGS)
        generator = task.build_generator([model], task.valid_options)
        assert (generator.beam_size, generator.max_len_b, generator.min_len) == (3, 7, 7)
        assert generator.no_repeat_ngram_size == 2
        rows = task.inference_step(generator, [model], valid_batch(task, range(2)))
        assert [len(hypothesis["tokens"]) for row in rows for hypothesis in row] == [8] * 6

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("{beam: 1}", "is not JSON"),
            ("[1]", "give fairseq-generate's options"),
            ('{"beams": 1}', "give fairseq-generate's options"),
        ],
    )
    def test_unusable_ones(self, scenes: Path, build: Build, arguments: str, message: str) -> None:
        with pytest.raises(UsageError) as error:
            build(scenes, "ofa_nano", "--valid-generation-args", arguments)
        assert str(error.value).startswith(f"--valid-generation-args {arguments!r}")
        assert message in str(error.value)

    def test_each_model_has_its_generator(self, scenes: Path, build: Build) -> None:
        from narvl.decoding.ar_search import ARSearch
        from narvl.decoding.beam import BeamGenerator
        from narvl.decoding.parallel import ParallelGenerator

        for arch, kind in (("ofa_nano", ARSearch), ("narvl_nano", ParallelGenerator)):
            task, model, _ = build(scenes, arch)
            assert isinstance(task.build_generator([model], Namespace()), kind)
        task, model, _ = build(scenes, "ofa_nano", "--ar-search", "fairseq")
        assert isinstance(task.build_generator([model], Namespace()), BeamGenerator)

    @pytest.mark.parametrize(
        ("options", "flag"),
        [
            ({"sampling": True, "sampling_topk": 5}, "--sampling"),
            ({"diverse_beam_groups": 2}, "--diverse-beam-groups"),
            ({"match_source_len": True}, "--match-source-len"),
            ({"prefix_size": 2}, "--prefix-size"),
        ],
    )
    def test_fairseq_searches_where_the_optimised_search_cannot(
        self,
        scenes: Path,
        build: Build,
        caplog: pytest.LogCaptureFixture,
        options: dict[str, Any],
        flag: str,
    ) -> None:
        from narvl.decoding.beam import BeamGenerator

        task, model, _ = build(scenes, "ofa_nano")
        with caplog.at_level("INFO"):
            generator = task.build_generator([model], Namespace(**options))
        assert isinstance(generator, BeamGenerator)
        assert flag in caplog.text

    def test_words_kept(self, scenes: Path, build: Build) -> None:
        task, _, _ = build(scenes, "ofa_nano", "--max-tgt-words", "2")
        task.load_dataset("valid")
        sample = task.dataset("valid")[0]
        assert len(task.decode(sample.target).split()) == 2

    def test_missing_split(self, scenes: Path, build: Build) -> None:
        task, _, _ = build(scenes, "ofa_nano")
        with pytest.raises(DataError, match=r"dev\.tsv: no such file"):
            task.load_dataset("dev")

    @pytest.mark.parametrize("side", ["0", "-5", "673", "1000000000"])
    def test_image_sizes(self, scenes: Path, build: Build, side: str) -> None:
        with pytest.raises(UsageError, match=f"--patch-image-size {side}: give 1 to 672 pixels"):
            build(scenes, "ofa_nano", f"--patch-image-size={side}")

    def test_a_model_of_fairseq_s_own_is_refused(self, scenes: Path, build: Build, tmp_path: Path) -> None:
        """Some evaluate their settings, which may come from a checkpoint, as Python."""
        task, _, _ = build(scenes, "ofa_nano")
        settings = Namespace(_name="wav2vec2", conv_feature_layers=f"open({str(tmp_path / 'canary')!r}, 'w')")
        with pytest.raises(UsageError, match="'wav2vec2' is of another project"):
            task.build_model(settings, from_checkpoint=True)
        assert not list(tmp_path.iterdir())

    def test_impossible_settings_are_told_in_a_line(self, scenes: Path, build: Build) -> None:
        with pytest.raises(UsageError, match=r"--arch ofa_nano: no model can be built .* \(ValueError: drop"):
            build(scenes, "ofa_nano", "--dropout", "1.5")

    @pytest.mark.parametrize("part", ["encoder", "decoder", "resnet"])
    def test_so_are_a_checkpoint_s(self, scenes: Path, build: Build, part: str) -> None:
        """A list in a rate's place builds layers that cannot even be shown."""
        task, _, _ = build(scenes, "ofa_nano")
        settings = dataclasses.asdict(OFAConfig(**PRESETS["nano"]))
        settings |= {"_name": "ofa_nano", f"{part}_drop_path_rate": []}
        with pytest.raises(UsageError, match=r"--arch ofa_nano: no model can be built .* \(TypeError: float"):
            task.build_model(OmegaConf.create(settings), from_checkpoint=True)
