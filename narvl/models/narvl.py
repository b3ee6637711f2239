"""Model ``narvl``: the parallel sequence-to-sequence model (arXiv 2403.02249)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fairseq.models import register_model, register_model_architecture
from torch import Tensor, nn

from narvl.errors import UsageError
from narvl.models._config import PRESETS, NARVLConfig, complete, preset
from narvl.models.ofa import OFAModel, build_token_table
from narvl.modules.encoder import OFAEncoder
from narvl.modules.parallel_decoder import NARVLDecoder

if TYPE_CHECKING:
    from fairseq.tasks import FairseqTask

    from narvl.modules.output_vocabulary import OutputVocabulary


@register_model("narvl", dataclass=NARVLConfig)
class NARVLModel(OFAModel):
    """NARVL: OFA's encoder, and a decoder that says the whole text in one pass.

    Attributes:
        blank: id of the blank, the last of the V + 1 output classes; it is no symbol of the dictionary.
        alignment: ``ctc`` or ``position``: how queries map to tokens, in training and decoding alike.
        num_queries: N; None when the decoder reads the encoder's sequence.
    """

    blank: int
    alignment: str
    num_queries: int | None

    @property
    def compiled_parts(self) -> tuple[nn.Module, ...]:
        """What ``--inference-compile`` compiles: everything."""
        return (self.encoder, self.decoder)

    @classmethod
    def build_model(cls, cfg: NARVLConfig, task: FairseqTask) -> NARVLModel:
        """Build the model for a task's dictionary (fairseq's entry point).

        Raises:
            UsageError: ``--num-queries`` is outside the position table, or one of ``--self-conditioned-layers`` is not
                below the last.
        """
        complete(cfg, NARVLConfig)
        if not 1 <= cfg.num_queries <= cfg.max_target_positions:
            raise UsageError(
                f"--num-queries {cfg.num_queries}: give 1 to {cfg.max_target_positions} (--max-target-positions)."
            )
        for layer in cfg.self_conditioned_layers:
            if not 1 <= layer < cfg.decoder_layers:
                raise UsageError(
                    f"--self-conditioned-layers {layer}: a layer above must read it. With --decoder-layers "
                    f"{cfg.decoder_layers}, give layers from 1 to {cfg.decoder_layers - 1}."
                )
        dictionary = task.target_dictionary
        tokens = build_token_table(cfg, dictionary)
        model = cls(OFAEncoder(cfg, dictionary, tokens), NARVLDecoder(cfg, dictionary, tokens))
        model.blank = len(dictionary)
        model.alignment = str(cfg.alignment)
        model.num_queries = cfg.num_queries if cfg.decoder_input == "queries" else None
        return model

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        patch_images: Tensor,
        patch_masks: Tensor | None = None,
        prev_output_tokens: Tensor | None = None,
        vocabulary: OutputVocabulary | None = None,
        intermediate: Sequence[int] = (),
    ) -> tuple[Tensor, dict[str, Any]]:
        """Compute the logits of every query in one pass.

        Args:
            src_tokens: prompt tokens (B, S), right-padded.
            src_lengths: their numbers (B,).
            patch_images: images (B, 3, height, width), values in [-1, 1].
            patch_masks: (B,), False where the image is to be ignored.
            prev_output_tokens: accepted for fairseq's sake; nothing depends on it.
            vocabulary: the K symbols to compute logits for; None takes all V.
            intermediate: decoder layers below the last, counted from 1, whose logits are wanted as well.

        Returns:
            Logits (B, N, K + 1), the blank last, and ``extra`` (see ``NARVLDecoder.forward``).
        """
        encoder_out = self.encoder(src_tokens, src_lengths, patch_images, patch_masks)
        return self.decoder(None, encoder_out, vocabulary, intermediate)

    def get_normalized_probs(self, *args: Any, **options: Any) -> Tensor:
        """Refuse what fairseq's own criterions ask for: they train a model that speaks token by token.

        Raises:
            UsageError: always.
        """
        raise UsageError("--criterion: --arch narvl_* is trained by query_ctc or query_cross_entropy. Give either.")


for _name in PRESETS:
    register_model_architecture("narvl", f"narvl_{_name}")(preset(_name))
