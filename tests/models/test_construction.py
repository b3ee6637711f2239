"""Every architecture is the one that is published, and its options do what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

SIZES = ["nano", "tiny", "medium", "base", "large", "huge"]
#: Model width D, FFN, heads, encoder and decoder layers, ResNet blocks.
PUBLISHED = {
    "tiny": (256, 1024, 4, 4, 4, (3, 4, 6)),
    "medium": (512, 2048, 8, 4, 4, (3, 4, 23)),
    "base": (768, 3072, 12, 6, 6, (3, 4, 23)),
    "large": (1024, 4096, 16, 12, 12, (3, 8, 36)),
    "huge": (1280, 5120, 16, 24, 12, (3, 8, 36)),
}
#: Millions of parameters, and the last digit's unit.
PARAMETERS = {"tiny": (33.5, 0.1), "base": (182, 1), "large": (470, 10), "huge": (930, 10)}
VOCABULARY = 59457

Build = Callable[..., tuple[Any, Any, Any]]
NANO = ("--dropout", "0.0", "--patch-image-size", "64")


def parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def batch(vocabulary: int, images: int = 2, side: int = 64) -> dict[str, torch.Tensor]:
    """A batch of random images; the first prompt is padded."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, vocabulary, (images, 7), generator=generator)
    tokens[0, 5:] = 1
    return {
        "src_tokens": tokens,
        "src_lengths": tokens.ne(1).sum(1),
        "patch_images": torch.rand((images, 3, side, side), generator=generator) * 2 - 1,
        "patch_masks": torch.ones(images, dtype=torch.bool),
        "prev_output_tokens": torch.randint(4, vocabulary, (images, 9), generator=generator),
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", ["ofa", "narvl"])
def test_architectures_have_the_published_sizes(scenes: Path, build: Build, family: str, size: str) -> None:
    with torch.device("meta"):
        task, model, _ = build(scenes, f"{family}_{size}")
    if size not in PUBLISHED:
        return
    width, ffn, heads, encoder_layers, decoder_layers, blocks = PUBLISHED[size]
    assert model.encoder.embed_tokens.embedding_dim == width
    for stack, layers in ((model.encoder, encoder_layers), (model.decoder, decoder_layers)):
        assert len(stack.layers) == layers
        assert {layer.fc1.out_features for layer in stack.layers} == {ffn}
        assert {layer.self_attn.heads for layer in stack.layers} == {heads}
    backbone = model.encoder.embed_images
    assert tuple(len(stage) for stage in (backbone.layer1, backbone.layer2, backbone.layer3)) == blocks
    if size not in PARAMETERS:
        return
    # Published counts are of the real vocabulary, and include tables for image generation that nothing here uses.
    unused = (1765 + 4) * width + decoder_layers * 6892 * heads
    real = parameters(model) + (VOCABULARY - len(task.target_dictionary)) * width + unused
    millions, unit = PARAMETERS[size]
    assert real / 1e6 == pytest.approx(millions, abs=0.6 * unit)


@pytest.mark.parametrize("size", ["tiny", "base"])
@pytest.mark.parametrize("family", ["ofa", "narvl"])
def test_parameters_are_those_of_the_reference(
    shared: Path, build: Build, reference: Any, family: str, size: str
) -> None:
    from narvl.models._checkpoint import TIED, convert_state_dict

    with torch.device("meta"):
        _, model, _ = build(shared / "data" / "gpt2-bpe", f"{family}_{size}")
    own = {name: tensor for name, tensor in model.state_dict().items() if name not in TIED}
    state = reference.state_dict(f"{family}_{size}", device="meta")
    unused = sum(
        tensor.numel()
        for name, tensor in state.items()
        if name not in own
        and name not in TIED
        and reference.keys(f"{family}_{size}")["state_dict"][name]["kind"] == "parameter"
    )
    convert_state_dict(state, own)  # refuses a name that is unknown or missing, and another shape
    assert {name: tensor.shape for name, tensor in state.items()} == {name: t.shape for name, t in own.items()}
    assert parameters(model) + unused == reference.keys(f"{family}_{size}")["n_parameters"]


class TestForward:
    def test_ofa_gives_a_logit_for_each_token(self, scenes: Path, build: Build) -> None:
        task, model, _ = build(scenes, "ofa_nano")
        symbols = len(task.target_dictionary)
        logits, extra = model(**batch(symbols))
        assert logits.shape == (2, 9, symbols)
        assert isinstance(extra, dict)

    def test_narvl_gives_a_logit_for_each_query_and_one_for_the_blank(self, scenes: Path, build: Build) -> None:
        task, model, _ = build(scenes, "narvl_nano", "--num-queries", "11")
        symbols = len(task.target_dictionary)
        logits, extra = model(**batch(symbols))
        assert logits.shape == (2, 11, symbols + 1)
        assert extra["padding"] is None
        assert (model.blank, model.num_queries) == (symbols, 11)

    def test_narvl_looks_at_no_output_token(self, scenes: Path, build: Build) -> None:
        task, model, _ = build(scenes, "narvl_nano")
        model.eval()
        inputs = batch(len(task.target_dictionary))
        logits, _ = model(**inputs)
        del inputs["prev_output_tokens"]
        assert torch.equal(model(**inputs)[0], logits)

    def test_positions_tell_the_queries_apart(self, scenes: Path, build: Build) -> None:
        task, model, _ = build(scenes, "narvl_nano", "--num-queries", "4")
        model.eval()
        inputs = batch(len(task.target_dictionary))
        with torch.no_grad():
            model.decoder.query_embed.weight[:] = model.decoder.query_embed.weight[0]
            logits, _ = model(**inputs)
        assert not torch.allclose(logits[:, 0], logits[:, 1], atol=1e-5)

    def test_text_without_image(self, scenes: Path, build: Build) -> None:
        """A masked image changes nothing, whatever it shows."""
        task, model, _ = build(scenes, "narvl_nano")
        model.eval()
        inputs = batch(len(task.target_dictionary))
        inputs["patch_masks"] = torch.tensor([True, False])
        logits, _ = model(**inputs)
        inputs["patch_images"] = inputs["patch_images"].flip(-1)
        again, _ = model(**inputs)
        assert torch.allclose(logits[1], again[1], atol=1e-6)
        assert not torch.allclose(logits[0], again[0], atol=1e-4)


class TestEncoderAsInput:
    """``--decoder-input encoder``: the decoder reads the encoder's embedded sequence, not queries."""

    FLAGS = ("--decoder-input", "encoder", *NANO)

    def test_one_output_for_each_input_position(self, scenes: Path, build: Build) -> None:
        task, model, _ = build(scenes, "narvl_nano", *self.FLAGS)
        logits, extra = model(**batch(len(task.target_dictionary)))
        assert logits.shape == (2, 16 + 7, len(task.target_dictionary) + 1)
        assert extra["padding"][0, -2:].all() and int(extra["padding"].sum()) == 2
        assert model.num_queries is None and model.decoder.query_embed is None

    def test_nothing_depends_on_padding(self, scenes: Path, build: Build) -> None:
        task, model, criterion = build(scenes, "narvl_nano", *self.FLAGS)
        from narvl.decoding.parallel import ParallelGenerator

        model.eval()
        inputs = batch(len(task.target_dictionary))
        alone = {name: tensor[:1] for name, tensor in inputs.items()}
        alone["src_tokens"] = alone["src_tokens"][:, :5]
        logits, extra = model(**inputs)
        cut, _ = model(**alone)
        torch.testing.assert_close(logits[:1][~extra["padding"][:1]], cut[0], atol=1e-5, rtol=1e-4)

        target = torch.tensor([[5, 6, 2]])
        losses = [
            criterion(
                model,
                {"net_input": net, "target": target.expand(rows, 3), "target_lengths": torch.full((rows,), 3)}
                | {"ntokens": 3 * rows},
                reduce=False,
            )[0][0]
            for net, rows in ((inputs, 2), (alone, 1))
        ]
        torch.testing.assert_close(*losses, atol=1e-5, rtol=1e-5)
        generator = ParallelGenerator(task.target_dictionary)
        together, single = (generator.generate([model], {"net_input": net})[0][0] for net in (inputs, alone))
        assert torch.equal(together["tokens"], single["tokens"])

    def test_too_long_an_input_is_refused(self, scenes: Path, build: Build) -> None:
        from narvl.errors import UsageError

        task, model, _ = build(scenes, "narvl_nano", *self.FLAGS, "--max-target-positions", "22")
        with pytest.raises(UsageError, match="--decoder-input encoder: the input has 23 positions"):
            model(**batch(len(task.target_dictionary)))

    def test_an_input_longer_than_the_bucket_table(self, scenes: Path, build: Build) -> None:
        flags = ("--decoder-input", "encoder", "--max-target-positions", "1200")
        task, model, _ = build(scenes, "narvl_nano", *flags)
        with torch.no_grad():
            logits, _ = model.eval()(**batch(len(task.target_dictionary), images=1, side=33 * 16))
        assert logits.size(1) == 33**2 + 7 > 1024


class TestLimits:
    @pytest.mark.parametrize("queries", ["0", "1025"])
    def test_number_of_queries(self, scenes: Path, build: Build, queries: str) -> None:
        from narvl.errors import UsageError

        with pytest.raises(UsageError, match=f"--num-queries {queries}: give 1 to 1024"):
            build(scenes, "narvl_nano", "--num-queries", queries)

    def test_image_larger_than_the_position_tables(self, scenes: Path, build: Build) -> None:
        from narvl.errors import UsageError

        task, model, _ = build(scenes, "ofa_nano")
        with pytest.raises(UsageError, match="--patch-image-size: 688 x 688 px makes 43 x 43 patches"), torch.no_grad():
            model.eval()(**batch(len(task.target_dictionary), images=1, side=688))

    def test_prompt_longer_than_the_position_table(self, scenes: Path, build: Build) -> None:
        from narvl.errors import UsageError

        task, model, _ = build(scenes, "ofa_nano", "--max-source-positions", "6")
        with pytest.raises(UsageError, match="--max-source-positions: a prompt has 7 tokens, the table ends at 6"):
            model(**batch(len(task.target_dictionary)))


class TestInterpolatedPositions:
    @pytest.mark.parametrize(("side", "differs"), [(256, False), (320, True)])
    def test_only_images_over_256_px_are_touched(self, scenes: Path, build: Build, side: int, differs: bool) -> None:
        task, model, _ = build(scenes, "ofa_nano", "--interpolate-position")
        model.eval()
        inputs = batch(len(task.target_dictionary), images=1, side=side)
        with torch.no_grad():
            stretched = model.encoder(inputs["src_tokens"], None, inputs["patch_images"])
            model.encoder.interpolate_position = False
            plain = model.encoder(inputs["src_tokens"], None, inputs["patch_images"])
        assert (
            stretched.positions.shape
            == plain.positions.shape
            == (
                (side // 16) ** 2 + 7,
                model.encoder.embed_positions.embedding_dim,
            )
        )
        assert torch.equal(stretched.positions, plain.positions) is not differs
        assert torch.equal(stretched.positions[-7:], plain.positions[-7:])


class TestFreezing:
    def train_once(self, task: Any, model: Any, criterion: Any) -> None:
        """One step of AdamW with weight decay, as fairseq makes it: over the parameters that want a gradient."""
        model.train()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=0.1, weight_decay=0.1)
        target = torch.tensor([[5, 6, 2], [7, 8, 2]])
        sample = {
            "net_input": batch(len(task.target_dictionary)),
            "target": target,
            "target_lengths": torch.tensor([3, 3]),
            "ntokens": 6,
        }
        loss, size, _ = criterion(model, sample)
        (loss / size).backward()
        optimizer.step()

    def test_a_frozen_table_keeps_still_while_the_blank_is_trained(self, scenes: Path, build: Build) -> None:
        task, model, criterion = build(scenes, "narvl_nano", "--freeze-embedding")
        table, blank = model.encoder.embed_tokens.weight.clone(), model.decoder.blank_embed.weight.clone()
        self.train_once(task, model, criterion)
        assert torch.equal(model.encoder.embed_tokens.weight, table)
        assert model.decoder.embed_tokens.weight is model.encoder.embed_tokens.weight
        assert not torch.isclose(model.decoder.blank_embed.weight, blank).any()

    def test_without_the_flag_the_table_is_trained(self, scenes: Path, build: Build) -> None:
        task, model, criterion = build(scenes, "narvl_nano")
        table = model.encoder.embed_tokens.weight.clone()
        self.train_once(task, model, criterion)
        assert not torch.equal(model.encoder.embed_tokens.weight, table)

    @pytest.mark.parametrize(
        ("flags", "statistics", "weights", "affine"),
        [
            ((), "move", "move", "move"),
            (("--batch-norm", "frozen"), "stay", "move", "stay"),
            (("--freeze-resnet",), "stay", "stay", "stay"),
        ],
    )
    def test_what_of_the_backbone_moves(
        self, scenes: Path, build: Build, flags: tuple[str, ...], statistics: str, weights: str, affine: str
    ) -> None:
        task, model, criterion = build(scenes, "narvl_nano", *flags)
        before = {name: tensor.clone() for name, tensor in model.encoder.embed_images.state_dict().items()}
        self.train_once(task, model, criterion)
        after = model.encoder.embed_images.state_dict()

        def moved(*endings: str) -> str:
            names = [name for name in before if name.endswith(endings)]
            assert names
            equal = {bool(torch.equal(before[name], after[name])) for name in names}
            assert len(equal) == 1, "all of them alike"
            return "stay" if equal.pop() else "move"

        assert moved("running_mean", "running_var") == statistics
        assert moved("conv1.weight", "conv2.weight", "conv3.weight", "downsample.0.weight") == weights
        assert moved("bn1.bias", "bn2.bias", "bn3.bias", "downsample.1.bias") == affine

    def test_frozen_statistics_make_the_output_independent_of_the_batch(self, scenes: Path, build: Build) -> None:
        task, model, _ = build(scenes, "narvl_nano", "--batch-norm", "frozen", *NANO)
        model.train()
        inputs = batch(len(task.target_dictionary))
        logits, _ = model(**inputs)
        alone, _ = model(**{name: tensor[1:] for name, tensor in inputs.items()})
        torch.testing.assert_close(logits[1:], alone, atol=1e-5, rtol=1e-4)


def test_drop_path_grows_with_depth(scenes: Path, build: Build) -> None:
    flags = ("--encoder-drop-path-rate", "0.2", "--decoder-drop-path-rate", "0.1", "--resnet-drop-path-rate", "0.3")
    layers = ("--encoder-layers", "3", "--decoder-layers", "2", "--resnet-blocks", "[1,1,2]")
    _, model, _ = build(scenes, "ofa_nano", *flags, *layers)
    assert [layer.drop_path.drop_prob for layer in model.encoder.layers] == pytest.approx([0.0, 0.1, 0.2])
    assert [layer.drop_path.drop_prob for layer in model.decoder.layers] == pytest.approx([0.0, 0.1])
    blocks = [block for stage in range(1, 4) for block in getattr(model.encoder.embed_images, f"layer{stage}")]
    assert blocks[0].drop_path is None or not blocks[0].drop_path.drop_prob
    assert [block.drop_path.drop_prob for block in blocks[1:]] == pytest.approx([0.1, 0.2, 0.3])


def test_a_fresh_model_starts_as_the_paper_says(scenes: Path, build: Build) -> None:
    _, model, _ = build(scenes, "narvl_tiny")
    assert float(model.decoder.query_embed.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not model.encoder.embed_tokens.weight[1].any()  # <pad>
    tables = [*model.encoder.token_rel_pos_table_list, *model.encoder.image_rel_pos_table_list]
    assert not any(table.weight.any() for table in [*tables, *model.decoder.token_rel_pos_table_list])
