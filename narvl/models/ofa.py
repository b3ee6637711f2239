"""Model ``ofa``: the autoregressive sequence-to-sequence model, baseline and teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fairseq.models import FairseqEncoderDecoderModel, register_model, register_model_architecture
from torch import Tensor, nn

from narvl.models._checkpoint import convert_state_dict
from narvl.models._compile import check_compile, compile_parts, takes_prepared
from narvl.models._config import PRESETS, OFAConfig, complete, preset
from narvl.models._precision import set_precision
from narvl.modules.ar_decoder import OFADecoder
from narvl.modules.encoder import OFAEncoder

if TYPE_CHECKING:
    from fairseq.data import Dictionary
    from fairseq.tasks import FairseqTask


def build_token_table(cfg: OFAConfig, dictionary: Dictionary) -> nn.Embedding:
    """Create the token table (V, D) that encoder, decoder and output projection share."""
    table = nn.Embedding(len(dictionary), cfg.embed_dim, padding_idx=dictionary.pad())
    nn.init.normal_(table.weight, std=cfg.embed_dim**-0.5)
    nn.init.zeros_(table.weight[dictionary.pad()])
    table.weight.requires_grad = not cfg.freeze_embedding
    return table


@register_model("ofa", dataclass=OFAConfig)
class OFAModel(FairseqEncoderDecoderModel):
    """OFA (arXiv 2202.03052): an image and a prompt in, a text out, token by token."""

    @classmethod
    def build_model(cls, cfg: OFAConfig, task: FairseqTask) -> OFAModel:
        """Build the model for a task's dictionary (fairseq's entry point)."""
        complete(cfg, OFAConfig)
        dictionary = task.target_dictionary
        tokens = build_token_table(cfg, dictionary)
        return cls(OFAEncoder(cfg, dictionary, tokens), OFADecoder(cfg, dictionary, tokens))

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        patch_images: Tensor,
        patch_masks: Tensor,
        prev_output_tokens: Tensor,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Compute teacher-forced logits.

        Args:
            src_tokens: prompt tokens (B, S), right-padded.
            src_lengths: their numbers (B,).
            patch_images: images (B, 3, height, width), values in [-1, 1].
            patch_masks: (B,), False where the image is to be ignored.
            prev_output_tokens: ``<s>`` and the target without ``</s>`` (B, T), right-padded.

        Returns:
            Logits (B, T, V) and ``extra``.
        """
        encoder_out = self.encoder(src_tokens, src_lengths, patch_images, patch_masks)
        return self.decoder(prev_output_tokens, encoder_out)

    def make_generation_fast_(self, **options: Any) -> None:
        """Make the weights constant: fold, lay out, keep (fairseq's hook, which ``prepare_for_inference_`` calls)."""
        self.eval()  # what is folded are the statistics of evaluation; fairseq-generate comes here in training mode
        super().make_generation_fast_(**options)

    def prepare_for_inference_(self, config: Any) -> None:
        """Make the model ready to answer, and only that (fairseq's hook, which fairseq-generate calls).

        Raises:
            UsageError: see ``set_precision`` and ``check_compile``.
        """
        cfg = config.task
        precision, mode = str(cfg.inference_precision), str(cfg.inference_compile)
        device = self.decoder.embed_tokens.weight.device
        check_compile(mode, precision, device)
        set_precision(self, precision)
        if takes_prepared(mode, precision, device):
            super().prepare_for_inference_(config)
        else:
            self.eval()
        compile_parts(mode, *self.compiled_parts)

    @property
    def compiled_parts(self) -> tuple[nn.Module, ...]:
        """What ``--inference-compile`` compiles: not the decoder, whose steps are of ever other shapes."""
        return (self.encoder,)

    @property
    def answers_only(self) -> bool:
        """Whether the model was prepared for inference: its weights are constant, laid out for this machine."""
        return bool(self._is_generation_fast)

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Accept our names and the reference's (fairseq's hook of ``load_state_dict``)."""
        own = {key: value for key, value in self.state_dict().items() if not key.startswith("decoder.embed_tokens.")}
        convert_state_dict(state_dict, own)
        state_dict["decoder.embed_tokens.weight"] = state_dict["encoder.embed_tokens.weight"]


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside the wrappers that fairseq puts around it when several processes train together."""
    while not isinstance(model, OFAModel) and isinstance(inner := getattr(model, "module", None), nn.Module):
        model = inner
    return model


for _name in PRESETS:
    register_model_architecture("ofa", f"ofa_{_name}")(preset(_name))
