"""What each task adds to the base: prompts, targets, symbols, metric, and how its outputs read."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.dataclass.configs import GenerationConfig
from omegaconf import OmegaConf

from narvl.data import entailment, grounding, vqa
from narvl.data.boxes import parse_fractions, to_pixels
from narvl.errors import UsageError
from narvl.scenes.write import Plan, write_scenes

Build = Callable[..., tuple[Any, Any, Any]]
TASKS = ("vqa", "grounding", "entailment")
METRICS = {"vqa": "vqa_accuracy", "grounding": "acc_at_0.5", "entailment": "accuracy"}
VOCABULARY = ("--code-dict-size", "0", "--num-bins", "64", "--patch-image-size", "64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            write_scenes(Plan(name, scenes=(2, 4, 2), seed=5), made[name])
        return made[name]

    return make


@pytest.fixture(scope="module")
def load(folder: Callable[[str], Path], build: Build) -> Build:
    """Build a task's (task, model, criterion) on scenes, with its validation rows read."""

    def make(name: str, arch: str = "ofa_nano", *flags: str) -> tuple[Any, Any, Any]:
        frame = ("--max-image-size", "64") if name == "grounding" else ()
        built = build(folder(name), arch, "--task", name, *VOCABULARY, *frame, *flags)
        built[0].load_dataset("valid")
        return built

    return make


def batch_of(task: Any, count: int = 6) -> dict[str, Any]:
    dataset = task.dataset("valid")
    return dataset.collater([dataset[index] for index in range(count)])


def truths(task: Any) -> list[str]:
    """What a perfect model says about each row: the targets, read as outputs are."""
    dataset = task.dataset("valid")
    return [task.decode(dataset[index].target) for index in range(len(dataset))]


@pytest.mark.parametrize("name", TASKS)
class TestEveryTask:
    def test_a_perfect_model_scores_everything(self, name: str, load: Build) -> None:
        task, _, _ = load(name)
        said = truths(task)
        assert task.score("valid", range(len(said)), said) == pytest.approx(100 * len(said))

    def test_a_silent_model_scores_nothing(self, name: str, load: Build) -> None:
        task, _, _ = load(name)
        assert task.score("valid", [0, 1], ["", "<unk>"]) == 0

    @pytest.mark.parametrize("arch", ["ofa_nano", "narvl_nano"])
    def test_validation(self, name: str, arch: str, load: Build) -> None:
        from fairseq.logging import metrics

        task, model, criterion = load(name, arch)
        batch = batch_of(task)
        loss, size, log = task.valid_step(batch, model, criterion)
        assert float(loss) > 0 and size > 0
        assert (log["metric_count"], 0 <= log["metric_sum"] <= 600) == (6, True)
        with metrics.aggregate(new_root=True) as logged:
            task.reduce_metrics([log], criterion)
        assert METRICS[name] in logged.get_smoothed_values()

    @pytest.mark.parametrize("arch", ["ofa_nano", "narvl_nano"])
    def test_models_say_what_the_task_may_say(self, name: str, arch: str, load: Build) -> None:
        task, model, _ = load(name, arch)
        model.eval()
        generator = task.build_generator([model], Namespace(beam=2, max_len_b=6))
        allowed = task.allowed()
        for row in task.inference_step(generator, [model], batch_of(task)):
            assert allowed[row[0]["tokens"]].all()

    def test_rows_nobody_has_labelled_can_be_decoded(self, name: str, load: Build, folder: Any, tmp_path: Path) -> None:
        column = {"vqa": 3, "grounding": 3, "entailment": 5}[name]
        lines = [line.split("\t") for line in (folder(name) / "valid.tsv").read_text().splitlines()]
        text = "\n".join("\t".join("" if place == column else field for place, field in enumerate(f)) for f in lines)
        (tmp_path / "challenge.tsv").write_text(text)
        task, _, _ = load(name)
        task.cfg.data = str(tmp_path)
        task.load_dataset("challenge")
        assert task.dataset("challenge")[0].target.tolist() == [task.target_dictionary.eos()]


def test_a_checkpoint_of_another_task_is_told(load: Build, caplog: pytest.LogCaptureFixture) -> None:
    task, vqa_task = load("entailment")[0], load("vqa")[0]
    task.load_dataset("valid", task_cfg=task.cfg)
    assert "was trained for" not in caplog.text
    task.load_dataset("valid", task_cfg=vqa_task.cfg)
    assert "--task entailment: the checkpoint was trained for vqa" in caplog.text


class TestCandidates:
    """``--candidate-search``: what an autoregressive model may answer, and how it finds it."""

    @pytest.mark.parametrize("search", ["trie", "all"])
    @pytest.mark.parametrize("name", ["vqa", "entailment"])
    def test_only_candidates_are_said(self, name: str, search: str, load: Build, tmp_path: Path) -> None:
        file = tmp_path / "answers.txt"
        file.write_text("large red disc\nlarge\nno\n")
        flags = ("--candidates", str(file)) if name == "vqa" else ()
        task, model, _ = load(name, "ofa_nano", "--candidate-search", search, *flags)
        model.eval()
        generator = task.build_generator([model], Namespace(beam=5, unnormalized=True, max_len_b=1, nbest=2))
        allowed = set(file.read_text().splitlines()) if name == "vqa" else set(entailment.ANSWERS)
        rows = task.inference_step(generator, [model], batch_of(task))
        assert {task.decode(hypothesis["tokens"]) for row in rows for hypothesis in row} <= allowed

    def test_trie_and_all_agree(self, load: Build) -> None:
        said = []
        for search in ("trie", "all"):
            torch.manual_seed(0)
            task, model, _ = load("entailment", "ofa_nano", "--candidate-search", search)
            model.eval()
            generator = task.build_generator([model], Namespace(beam=3, unnormalized=True, max_len_b=3))
            rows = task.inference_step(generator, [model], batch_of(task))
            said.append(
                [(task.decode(row[0]["tokens"]), pytest.approx(float(row[0]["score"]), abs=1e-4)) for row in rows]
            )
        assert said[0] == [(text, score.expected) for text, score in said[1]]

    def test_a_list_is_needed(self, load: Build) -> None:
        task, model, _ = load("vqa", "ofa_nano", "--candidate-search", "all")
        with pytest.raises(UsageError, match="--candidate-search all: name the answers by --candidates FILE"):
            task.build_generator([model], Namespace(beam=1))

    def test_parallel_models_answer_freely(self, load: Build) -> None:
        task, model, _ = load("entailment", "narvl_nano", "--candidate-search", "trie")
        with pytest.raises(UsageError, match="a parallel model answers freely"):
            task.build_generator([model], Namespace())

    def test_each_model_has_its_own_beam(self, load: Build) -> None:
        task, model, _ = load("vqa", "ofa_nano", "--ctc-beam", "5")
        with pytest.raises(UsageError, match="--ctc-beam 5: an autoregressive model searches by --beam"):
            task.build_generator([model], Namespace(beam=1))
        task, model, _ = load("vqa", "narvl_nano", "--ctc-beam", "3", "--ctc-top-k", "4", "--ctc-backend", "plain")
        model.eval()
        generator = task.build_generator([model], Namespace())
        assert all(len(row) >= 1 for row in task.inference_step(generator, [model], batch_of(task)))


class TestOptionsOfDecoding:
    """What ``fairseq-generate`` is told, which hands its configuration on; validation has a namespace."""

    @staticmethod
    def told(**options: Any) -> Any:
        return OmegaConf.create({**vars(OmegaConf.to_object(OmegaConf.structured(GenerationConfig))), **options})

    def test_boxes_are_searched_as_asked(self, load: Build) -> None:
        task, model, _ = load("grounding", "ofa_nano", "--ar-search", "fairseq")
        asked = self.told(beam=2, lenpen=0.5, temperature=2.0, unnormalized=True, max_len_b=9, nbest=2)
        generator = task.build_generator([model.eval()], asked)
        assert (generator.beam_size, generator.len_penalty, generator.temperature) == (2, 0.5, 2.0)
        assert not generator.normalize_scores
        rows = task.inference_step(generator, [model], batch_of(task))
        assert [len(row) for row in rows] == [2] * len(rows)
        assert {len(hypothesis["tokens"]) for row in rows for hypothesis in row} == {5}

    @pytest.mark.parametrize(
        ("name", "value"),
        {
            "score_reference": True,
            "lm_path": "lm.pt",
            "sampling": True,
            "diverse_beam_groups": 2,
            "diversity_rate": 0.5,
            "match_source_len": True,
            "constraints": "ordered",
            "print_alignment": "hard",
            "print_step": True,
            "prefix_size": 1,
            "min_len": 3,
            "lenpen": 0.5,
            "unkpen": 1.0,
            "no_repeat_ngram_size": 3,
        }.items(),
    )
    def test_what_nothing_heeds_is_refused(self, load: Build, name: str, value: Any) -> None:
        flag = f"--{name.replace('_', '-')} {value}: "
        task, model, _ = load("grounding", "narvl_nano")
        with pytest.raises(UsageError, match=f"^{flag}a parallel model"):
            task.build_generator([model], self.told(**{name: value}))
        task, model, _ = load("entailment", "ofa_nano", "--candidate-search", "all")
        with pytest.raises(UsageError, match=f"^{flag}--candidate-search all"):
            task.build_generator([model], self.told(**{name: value}))

    def test_a_temperature_is_for_autoregressive_models(self, load: Build) -> None:
        task, model, _ = load("entailment", "narvl_nano")
        with pytest.raises(UsageError, match="^--temperature 2.0: a parallel model"):
            task.build_generator([model], self.told(temperature=2.0))
        task, model, _ = load("entailment", "ofa_nano", "--candidate-search", "all")
        assert task.build_generator([model], self.told(temperature=2.0)).temperature == 2.0

    def test_a_parallel_model_has_as_many_answers_as_prefixes(self, load: Build) -> None:
        task, model, _ = load("entailment", "narvl_nano", "--ctc-beam", "3")
        task.build_generator([model], self.told(nbest=3))
        with pytest.raises(UsageError, match="^--nbest 4: .* --ctc-beam 3. Give fewer"):
            task.build_generator([model], self.told(nbest=4))
        task, model, _ = load("entailment", "narvl_nano")
        with pytest.raises(UsageError, match="^--nbest 2: .* --ctc-beam 0"):
            task.build_generator([model], self.told(nbest=2))


class TestVQA:
    def test_the_confidence_weighs_the_sample(self, load: Build) -> None:
        task, _, _ = load("vqa")
        rows = task.dataset("valid").rows
        found = [vqa.answers(rows[index])[0][0] for index in range(6)]
        assert batch_of(task)["weight"].tolist() == pytest.approx(found)

    def test_another_answer_earns_its_own_confidence(self, load: Build) -> None:
        task, _, _ = load("vqa")
        rows = task.dataset("valid").rows
        index, row = next((i, vqa.answers(rows[i])) for i in range(len(rows)) if len(vqa.answers(rows[i])) > 1)
        confidence, answer = row[-1]
        assert 0 < confidence < 1
        assert task.score("valid", [index], [f" {answer.upper()}. "]) == pytest.approx(100 * confidence)

    def test_objects(self, load: Build) -> None:
        plain, _, _ = load("vqa")
        told, _, _ = load("vqa", "ofa_nano", "--add-objects", "--max-objects", "1")
        names = plain.dataset("valid").rows[0][4].split("&&")
        sources = [task.decode(task.dataset("valid")[0].source) for task in (plain, told)]
        assert sources[1] == f"{sources[0]} object: {names[0]}"


class TestGrounding:
    @pytest.mark.parametrize(
        "flags", [("ofa_nano",), ("narvl_nano", "--alignment", "position", "--num-queries", "5")], ids=["ofa", "narvl"]
    )
    def test_half_precision_gives_the_same_boxes(self, flags: tuple[str, ...], load: Build) -> None:
        torch.manual_seed(0)
        task, model, _ = load("grounding", *flags)
        model.eval()
        batch = batch_of(task, 8)

        def boxes() -> list[str]:
            generator = task.build_generator([model], Namespace(beam=2))
            return [task.decode(row[0]["tokens"]) for row in task.inference_step(generator, [model], batch)]

        whole = boxes()
        model.half()
        batch["net_input"]["patch_images"] = batch["net_input"]["patch_images"].half()
        assert boxes() == whole

    def test_beam_search_says_four_bins_whatever_the_lengths_asked_for(self, load: Build) -> None:
        task, model, _ = load("grounding")
        model.eval()
        generator = task.build_generator([model], Namespace(beam=3, min_len=1, max_len_b=40))
        rows = task.inference_step(generator, [model], batch_of(task))
        for row in rows:
            assert all(len(hypothesis["tokens"]) == 5 for hypothesis in row)
            assert parse_fractions(task.decode(row[0]["tokens"])) is not None

    def test_outputs_are_boxes_of_the_original_image(self, load: Build) -> None:
        task, _, _ = load("grounding")
        rows = task.dataset("valid").rows
        for index, text in enumerate(truths(task)):
            said, truth = parse_fractions(text), grounding.box(rows[index])
            assert said is not None and truth is not None
            half_a_bin = 0.5 / 63 * 64 + 1e-4
            assert to_pixels(said, 64, 64) == pytest.approx(truth, abs=half_a_bin)

    def test_parallel_models_say_boxes_that_have_an_area(self, load: Build) -> None:
        torch.manual_seed(0)
        flags = ("narvl_nano", "--alignment", "position", "--num-queries", "5")
        for decoding, whole in (("valid", True), ("greedy", False)):
            task, model, _ = load("grounding", *flags, "--box-decoding", decoding)
            model.eval()
            rows = task.inference_step(task.build_generator([model], Namespace()), [model], batch_of(task, 8))
            boxes = [parse_fractions(task.decode(row[0]["tokens"])) for row in rows]
            valid = [box is not None and box[0] < box[2] and box[1] < box[3] for box in boxes]
            assert all(valid) is whole, decoding

    def test_a_box_needs_four_queries(self, load: Build) -> None:
        task, model, _ = load("grounding", "narvl_nano", "--alignment", "position", "--num-queries", "3")
        with pytest.raises(UsageError, match="--num-queries 3: a box needs 4 queries"):
            task.inference_step(task.build_generator([model], Namespace()), [model.eval()], batch_of(task))

    @pytest.mark.parametrize("bins", [[], [5], [5, 6, 7], [5, 6, 7, 8, 9]])
    def test_anything_but_four_bins_is_no_box(self, bins: list[int], load: Build) -> None:
        task, _, _ = load("grounding")
        text = task.decode(torch.tensor([task.vocabulary.first_bin + number for number in bins], dtype=torch.long))
        assert text == " ".join(f"<bin_{number}>" for number in bins)
        assert task.score("valid", [0], [text]) == 0

    def test_equal_neighbours_survive(self, load: Build) -> None:
        task, _, _ = load("grounding")
        tokens = task.vocabulary.encode_bins([0, 0, 0, 63])
        assert task.decode(tokens) == "0.000000 0.000000 0.000000 1.000000"

    def test_sizes_that_do_not_fit(self, load: Build) -> None:
        with pytest.raises(UsageError, match="--patch-image-size 128: larger than --max-image-size 64"):
            load("grounding", "ofa_nano", "--patch-image-size", "128")


class TestEntailment:
    def test_captions(self, load: Build) -> None:
        task, _, _ = load("entailment", "ofa_nano", "--add-caption")
        fields = task.dataset("valid").rows[0]
        source = task.decode(task.dataset("valid")[0].source)
        assert source == f'can image and text1 " {fields[4]} " imply text2 " {fields[3]} "?'

    def test_answers_are_one_token(self, load: Build) -> None:
        task, _, _ = load("entailment")
        assert set(truths(task)) == set(entailment.ANSWERS)
        assert {len(task.dataset("valid")[index].target) for index in range(6)} == {2}
