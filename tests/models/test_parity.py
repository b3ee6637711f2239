"""Parity with the reference systems at tiny size; where they were wrong, the difference is asserted."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytestmark = pytest.mark.xdist_group("parity")  # each process would fill both models anew

CASES = ["sq128", "rect96x160", "masked64"]
LOSSES = [
    "caption_nq20_ls0.1",
    "caption_nq20_ls0",
    "refcoco_nq5_ls0.1",
    "snli_nq3_ls0",
]
WEIGHTED = ["vqa_nq6_ls0.1_conf1_0.6", "vqa_nq6_ls0_conf1_0.6", "vqa_nq6_ls0_conf0.3_0.3"]
GENERATION = [
    "beam5_maxlen16_norepeat3/sq128",
    "beam5_maxlen16_norepeat3/masked64",
    "beam1_maxlen16/sq128",
    "beam1_maxlen16/masked64",
    "beam5_minlen8_maxlen16/sq128",
    "beam5_minlen8_maxlen16/masked64",
    "beam5_bins16_maxlen12/sq128",
    "beam5_bins16_maxlen12/masked64",
    "eosoverride_beam5_norepeat3/sq128",
    "eosoverride_beam5_minlen5/sq128",
    "eosoverride_beam5_unnormalized/sq128",
    "eosoverride_beam3_lenpen0.6_temp0.7/sq128",
]
DECODE = [f"nq{n}/collapse{c}/{case}" for n in (20, 6, 5, 3) for c in (True, False) for case in ("sq128", "masked64")]
#: Names of the reference's options for beam search, and fairseq's.
OPTIONS = {"beam": "beam_size", "lenpen": "len_penalty"}


class System:
    """One of the two models, filled as the reference, and what the reference computed with it."""

    def __init__(self, name: str, shared: Path, build: Callable[..., Any], reference: Any) -> None:
        self.golden = reference.golden(f"{name}_tiny")
        self.task, self.model, _ = build(shared / "data" / "gpt2-bpe", f"{name}_tiny")
        self.model.load_state_dict(reference.state_dict(f"{name}_tiny"))
        self.model.eval()
        self._traces: dict[str, dict[str, Tensor]] = {}

    def net_input(self, case: str) -> dict[str, Tensor]:
        images = self.golden["cases"][case]
        names = ("src_tokens", "src_lengths", "prev_output_tokens")
        return {
            **{name: self.golden[name] for name in names},
            "patch_images": images["patch_images"],
            "patch_masks": images["patch_masks"],
        }

    def trace(self, case: str) -> dict[str, Tensor]:
        """Outputs of the parts, and the logits, of one pass; each case is computed once."""
        if case not in self._traces:
            found: dict[str, Tensor] = {}
            encoder, decoder = self.model.encoder, self.model.decoder
            parts: dict[str, nn.Module] = {"resnet": encoder.embed_images, "dec_input": decoder.layernorm_embedding}
            parts |= {f"enc{index}": layer for index, layer in enumerate(encoder.layers)}
            parts |= {f"dec{index}": layer for index, layer in enumerate(decoder.layers)}

            def keep(name: str) -> Callable[..., None]:
                return lambda module, inputs, output: found.__setitem__(name, output)

            hooks = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
            hooks.append(encoder.register_forward_hook(lambda m, i, out: found.update(encoder=out)))
            with torch.no_grad():
                found["logits"] = self.model(**self.net_input(case))[0]
            for hook in hooks:
                hook.remove()
            self._traces[case] = found
        return self._traces[case]


@pytest.fixture(scope="module")
def ofa(shared: Path, build: Callable[..., Any], reference: Any) -> System:
    return System("ofa", shared, build, reference)


@pytest.fixture(scope="module")
def narvl(shared: Path, build: Callable[..., Any], reference: Any) -> System:
    return System("narvl", shared, build, reference)


@pytest.fixture(params=["ofa", "narvl"])
def system(request: pytest.FixtureRequest) -> System:
    return request.getfixturevalue(request.param)


def close(ours: Tensor, theirs: Tensor, atol: float) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0.0)


def test_the_fill_is_the_one_that_made_the_golden_values(system: System, reference: Any) -> None:
    name = "narvl_tiny" if system.golden["meta"]["blank"] else "ofa_tiny"
    state = reference.state_dict(name)
    for key, (total, absolute) in system.golden["param_checksums"].items():
        if not key.endswith(".version"):
            assert float(state[key].double().sum()) == pytest.approx(total, abs=1e-6)
            assert float(state[key].double().abs().sum()) == pytest.approx(absolute)


@pytest.mark.parametrize("case", CASES)
class TestForward:
    def test_resnet(self, system: System, case: str) -> None:
        close(system.trace(case)["resnet"][:, ::64], system.golden["cases"][case]["resnet_slice"], 2e-5)

    def test_encoder_layers(self, system: System, case: str) -> None:
        for name, theirs in system.golden["cases"][case]["enc_layer_slices_TBC"].items():
            close(system.trace(case)[name].transpose(0, 1)[::5, :, ::8], theirs, 2e-5)

    def test_encoder_output(self, system: System, case: str) -> None:
        theirs = system.golden["cases"][case]
        ours = system.trace(case)["encoder"]
        close(ours.states.transpose(0, 1), theirs["encoder_out_TBC"], 2e-5)
        assert torch.equal(ours.padding, theirs["encoder_padding_mask_BT"])

    def test_position_embeddings(self, system: System, case: str) -> None:
        ours = system.trace(case)["encoder"].positions[:: 1 if case == "sq128" else 7]
        for theirs in system.golden["cases"][case]["position_embeddings_BTC"]:
            close(ours, theirs, 2e-5)

    def test_decoder_layers(self, system: System, case: str) -> None:
        trace = system.trace(case)
        names = ["dec_input", *(f"dec{index}" for index in range(len(system.model.decoder.layers)))]
        features = system.golden["cases"][case]["decoder_features_TBC"]
        assert len(features) == len(names)
        for name, theirs in zip(names, features, strict=True):
            close(trace[name].transpose(0, 1).expand_as(theirs), theirs, 1e-4)

    def test_logits(self, system: System, case: str) -> None:
        logits = system.trace(case)["logits"]
        theirs = system.golden["cases"][case]["decoder_logits"]
        assert logits.size(-1) == system.golden["meta"]["vocab"]
        close(logits[..., system.golden["vocab_cols"]], theirs["cols"], 1e-4)
        close(logits.logsumexp(-1), theirs["logsumexp"], 1e-4)
        close(logits.mean(-1), theirs["mean"], 1e-4)
        close(logits.std(-1), theirs["std"], 1e-4)
        top = logits.topk(8, dim=-1)
        close(top.values, theirs["top8_values"], 1e-4)


# Losses and gradients


@contextmanager
def with_queries(model: Any, count: int) -> Iterator[None]:
    """The model with its first queries only: the recipe fills row r alike whatever the number of rows."""
    whole = model.decoder.query_embed.weight
    model.decoder.query_embed.weight = nn.Parameter(whole[:count].detach().clone())
    try:
        yield
    finally:
        model.decoder.query_embed.weight = whole
        model.zero_grad()


def run_loss(narvl: System, job: dict[str, Any]) -> SimpleNamespace:
    """The job's loss by our criterion, after backward: means over the samples as the reference logs them."""
    from narvl.criterions.query_ctc import QueryCTCConfig, QueryCTCCriterion

    criterion = QueryCTCCriterion(QueryCTCConfig(label_smoothing=job["label_smoothing"]), narvl.task)
    target = job["target"]
    sample = {
        "net_input": narvl.net_input("sq128"),
        "target": target,
        "target_lengths": target.ne(narvl.task.target_dictionary.pad()).sum(1),
        "ntokens": int(target.ne(1).sum()),
    }
    if job["conf"] is not None:
        sample["weight"] = job["conf"]
    loss, size, log = criterion(narvl.model, sample)
    (loss / size).backward()
    return SimpleNamespace(loss=float(loss.detach()) / size, nll=float(log["nll_loss"]) / size, size=size, log=log)


def grad_norm(model: Any, name: str) -> float:
    """A parameter's gradient norm under the reference's name: its token table has the blank as a last row."""
    norm = model.get_parameter(name).grad.norm()
    if name == "encoder.embed_tokens.weight":
        norm = torch.hypot(norm, model.decoder.blank_embed.weight.grad.norm())
    return float(norm)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient(narvl: System, name: str) -> None:
    job = narvl.golden["losses"][name]
    with with_queries(narvl.model, job["num_queries"]):
        ours = run_loss(narvl, job)
        assert ours.size == len(job["target"])
        assert ours.loss == pytest.approx(job["loss"], rel=0, abs=1e-5)
        assert ours.nll == pytest.approx(job["nll_loss"], rel=0, abs=1e-5)
        norms = {key: grad_norm(narvl.model, key) for key in job["grad_norms"]}
        assert norms == pytest.approx(job["grad_norms"], rel=1e-3)
        grads = [parameter.grad for parameter in narvl.model.parameters() if parameter.grad is not None]
        assert float(torch.stack([grad.norm() for grad in grads]).norm()) == pytest.approx(
            job["total_grad_norm"], rel=1e-3
        )
        queries = narvl.model.decoder.query_embed.weight.grad
        theirs = job["grad_slices"]["decoder.query_embed.weight"]
        torch.testing.assert_close(queries[:, ::4], theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))
        # What the reference never trains, we do not have.
        assert not set(job["no_grad_params"]) & dict(narvl.model.named_parameters()).keys()


def test_unreachable_target_leaves_the_mean(narvl: System) -> None:
    """The reference gives an unreachable target no nll, but its smoothing term, and counts it in the mean."""
    job = narvl.golden["losses"]["refcoco_nq5_repeat_ls0.1"]
    with with_queries(narvl.model, job["num_queries"]):
        logits = narvl.model(**narvl.net_input("sq128"))[0].detach()
        ours = run_loss(narvl, job)
    assert torch.isinf(job["ctc_per_sample_unreduced"]).tolist() == [False, True]
    smooth = -logits.log_softmax(-1).mean(dim=(1, 2))
    assert float(smooth.mean()) == pytest.approx(-job["mean_logprob"], abs=1e-5)
    nll = float(job["ctc_per_sample_unreduced"][0]) / 5

    assert job["nll_loss"] == pytest.approx(nll / 2, abs=1e-5)
    assert job["loss"] == pytest.approx(0.9 * nll / 2 + 0.1 * float(smooth.mean()), abs=1e-5)

    assert (ours.size, ours.log["unreachable"]) == (1, 1)
    assert ours.nll == pytest.approx(nll, abs=1e-5)
    assert ours.loss == pytest.approx(0.9 * nll + 0.1 * float(smooth[0]), abs=1e-5)


@pytest.mark.parametrize("name", WEIGHTED)
def test_sample_weights(narvl: System, name: str) -> None:
    """The reference multiplies the log-probabilities by the confidence, we the sample's loss.

    Its value is another one, and its gradient is not even that value's: torch's ``ctc_loss`` derives for normalised
    log-probabilities only.
    """
    from narvl.criterions.query_ctc import query_ctc_loss

    job = narvl.golden["losses"][name]
    conf, smoothing, target = job["conf"], job["label_smoothing"], job["target"]
    lengths = target.ne(1).sum(1)
    with with_queries(narvl.model, job["num_queries"]):
        logits = narvl.model(**narvl.net_input("sq128"))[0].detach()
        ours = run_loss(narvl, job)

    def ctc(log_probs: Tensor) -> Tensor:
        steps = torch.full_like(lengths, log_probs.size(1))
        loss = F.ctc_loss(log_probs.transpose(0, 1), target, steps, lengths, blank=59457, reduction="none")
        return loss / lengths

    def weighted_log_probs(logits: Tensor) -> Tensor:
        return logits.log_softmax(-1) * conf.view(-1, 1, 1).to(logits)

    log_probs = logits.log_softmax(-1)
    nll = ctc(log_probs)
    expected = (1 - smoothing) * nll - smoothing * log_probs.mean(dim=(1, 2))
    assert ours.loss == pytest.approx(float((conf * expected).mean()), abs=1e-5)
    theirs = weighted_log_probs(logits)
    value = (1 - smoothing) * ctc(theirs).mean() - smoothing * theirs.mean()
    assert job["loss"] == pytest.approx(float(value), abs=1e-5)
    assert abs(ours.loss - job["loss"]) > 0.02  # 2,000 times the tolerance of the other losses

    def error_of_the_gradient(loss: Callable[[Tensor], Tensor]) -> float:
        """By how much finite differences along the claimed gradient disagree with its norm, relatively."""
        point = logits.double().requires_grad_()
        gradient = torch.autograd.grad(loss(point), point)[0]
        direction = gradient / gradient.norm()
        with torch.no_grad():
            ahead, behind = (float(loss(point + step * direction)) for step in (1e-4, -1e-4))
        return abs((ahead - behind) / 2e-4 / float(gradient.norm()) - 1)

    def our_loss(logits: Tensor) -> Tensor:
        return (conf.to(logits) * query_ctc_loss(logits, target, lengths, 59457, smoothing).loss).mean()

    assert error_of_the_gradient(our_loss) < 1e-6
    assert error_of_the_gradient(lambda logits: ctc(weighted_log_probs(logits)).mean()) > 0.01


def test_label_smoothed_loss_of_the_teacher(ofa: System) -> None:
    from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion

    criterion = LabelSmoothedCrossEntropyCriterion(ofa.task, sentence_avg=False, label_smoothing=0.1)
    sample = {"net_input": ofa.net_input("sq128"), "target": ofa.golden["target"], "ntokens": 15}
    with torch.no_grad():
        loss, size, log = criterion(ofa.model, sample)
    theirs = ofa.golden["ar_loss"]
    assert size == theirs["sample_size"]
    assert float(loss) == pytest.approx(theirs["loss"], rel=1e-6)
    assert float(log["nll_loss"]) == pytest.approx(theirs["logging"]["nll_loss"], rel=1e-6)


# Decoding


@pytest.mark.parametrize("search", ["optimised", "fairseq"])
@pytest.mark.parametrize("name", GENERATION)
def test_beam_search(ofa: System, name: str, search: str) -> None:
    from narvl.decoding.search import build_search

    job = ofa.golden["generation"][name]
    model = ofa.model
    if override := job.get("eos_override"):  # so that hypotheses end early
        model = copy.deepcopy(model)
        table = model.encoder.embed_tokens.weight.data
        table[2] = override["factor"] * table[override["source_token"]]
    options = {OPTIONS.get(key, key): value for key, value in job["args"].items()}
    options["normalize_scores"] = not options.pop("unnormalized", False)
    allowed = None
    if job["constraint_range"]:
        low, high = map(int, job["constraint_range"].split(","))
        allowed = torch.zeros(len(ofa.task.target_dictionary), dtype=torch.bool)
        allowed[:4] = True
        allowed[low:high] = True
    generator = build_search(search, [model], ofa.task.target_dictionary, allowed, None, **options)
    net_input = ofa.net_input(name.split("/")[1])
    del net_input["prev_output_tokens"]
    ours = generator.generate([model], {"net_input": net_input})

    for row, theirs in zip(ours, job["hypos"], strict=True):
        for hypothesis, expected in zip(row, theirs, strict=True):
            assert hypothesis["tokens"].tolist() == expected["tokens"].tolist()
            assert float(hypothesis["score"]) == pytest.approx(expected["score"], abs=1e-4)
            close(hypothesis["positional_scores"], expected["positional_scores"], 1e-4)


@pytest.mark.parametrize("name", DECODE)
def test_parallel_decoding(narvl: System, name: str) -> None:
    from narvl.decoding.parallel import ParallelGenerator

    queries, collapse, case = name.split("/")
    job = narvl.golden["decode"][name]
    dictionary = narvl.task.target_dictionary
    narvl.model.alignment = "ctc" if collapse == "collapseTrue" else "position"
    with with_queries(narvl.model, int(queries[2:])):
        rows = ParallelGenerator(dictionary).generate([narvl.model], {"net_input": narvl.net_input(case)})
    narvl.model.alignment = "ctc"
    strings = [dictionary.string(row[0]["tokens"]) for row in rows]
    assert strings == job["string"]
    # Between two symbols that are no text the reference leaves no blank, so that <bin_1><bin_2> has to be parsed.
    texts = [re.sub("> <", "><", narvl.task.vocabulary.bpe.decode(string)) for string in strings]
    assert texts == job["text"]


@pytest.mark.parametrize(
    ("index", "merged", "unmerged", "equal"),
    [
        (0, " a a man walking", " a a a man man walking", True),
        (1, "", "", True),
        # The reference keeps what comes after </s>: walking.
        (2, " a a man", " a a man", False),
        # The reference drops <pad> as it drops blanks; here a task's allowed symbols exclude it, so that it cannot be
        # said. It also keeps <unk> after </s>.
        (3, " a<pad> a man<pad> walking", " a<pad> a man<pad> <pad> walking", False),
        # The reference writes symbols that are no text side by side, without the blank that lets them be told apart.
        (4, "<bin_0> <bin_5>", "<bin_0> <bin_0> <bin_5> <bin_5>", False),
    ],
)
def test_crafted_decodes(narvl: System, index: int, merged: str, unmerged: str, equal: bool) -> None:
    from narvl.decoding.ctc import collapse_mask, greedy

    job = narvl.golden["handmade_decode"][index]
    blank, pad, eos = 59457, 1, 2
    classes = job["argmax"]
    # The reference drops blanks only when it writes the string, but <pad> at once: the same tokens survive both ways.
    kept, collapsed = classes[collapse_mask(classes, blank)], job["collapsed_tokens"]
    assert torch.equal(kept[kept.ne(pad)], collapsed[collapsed.ne(blank)])

    log_probs = torch.full((1, len(classes), blank + 1), -50.0).scatter(2, classes.view(1, -1, 1), -0.1)

    def text(merge: bool) -> str:
        [decoded] = greedy(log_probs, blank, eos, merge)
        return narvl.task.vocabulary.bpe.decode(narvl.task.target_dictionary.string(decoded.tokens))

    assert (text(True), text(False)) == (merged, unmerged)
    assert ((merged, unmerged) == (job["text"], job["text_no_collapse"])) is equal
