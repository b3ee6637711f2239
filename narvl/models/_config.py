"""Configuration of both models, and the one table of their sizes.

No postponed annotations here: fairseq reads the fields' types at run time.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Callable, Dict, List  # noqa: UP035  (fairseq's parser knows these alone)

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import DictConfig, open_dict

from narvl.modules.backbone import BATCH_NORM_MODES, BLOCKS

#: Sizes of the published models; ``nano`` is this project's own, for the embedded data on a CPU.
PRESETS: Dict[str, Dict[str, Any]] = {
    "nano": {
        "embed_dim": 128,
        "ffn_embed_dim": 512,
        "attention_heads": 4,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "resnet_blocks": [1, 1, 1],
        "resnet_width": 32,
        "resnet_block": "basic",
    },
    "tiny": {
        "embed_dim": 256,
        "ffn_embed_dim": 1024,
        "attention_heads": 4,
        "encoder_layers": 4,
        "decoder_layers": 4,
        "resnet_blocks": [3, 4, 6],
    },
    "medium": {
        "embed_dim": 512,
        "ffn_embed_dim": 2048,
        "attention_heads": 8,
        "encoder_layers": 4,
        "decoder_layers": 4,
        "resnet_blocks": [3, 4, 23],
    },
    "base": {
        "embed_dim": 768,
        "ffn_embed_dim": 3072,
        "attention_heads": 12,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "resnet_blocks": [3, 4, 23],
    },
    "large": {
        "embed_dim": 1024,
        "ffn_embed_dim": 4096,
        "attention_heads": 16,
        "encoder_layers": 12,
        "decoder_layers": 12,
        "resnet_blocks": [3, 8, 36],
    },
    "huge": {
        "embed_dim": 1280,
        "ffn_embed_dim": 5120,
        "attention_heads": 16,
        "encoder_layers": 24,
        "decoder_layers": 12,
        "resnet_blocks": [3, 8, 36],
    },
}


def middle_layer(size: str) -> int:
    """Return the decoder layer, counted from 1, in the middle of a size: the one to train as intermediate."""
    layers: int = PRESETS[size]["decoder_layers"]
    return layers // 2


def preset(name: str) -> Callable[[Any], None]:
    """Return fairseq's architecture function of a size: it sets what the command line left open."""

    def apply(args: Any) -> None:
        for key, value in PRESETS[name].items():
            if not hasattr(args, key):
                setattr(args, key, value)

    return apply


@dataclass
class OFAConfig(FairseqDataclass):
    """Both models' configuration; defaults are the base size."""

    embed_dim: int = field(default=768, metadata={"help": "model width D"})
    ffn_embed_dim: int = field(default=3072, metadata={"help": "inner width of the feed-forward parts"})
    attention_heads: int = field(default=12, metadata={"help": "attention heads H, of encoder and decoder"})
    encoder_layers: int = field(default=6, metadata={"help": "encoder layers"})
    decoder_layers: int = field(default=6, metadata={"help": "decoder layers"})
    resnet_blocks: List[int] = field(
        default_factory=lambda: [3, 4, 23], metadata={"help": "ResNet blocks of stages 1-3, e.g. 3,4,23 for ResNet-101"}
    )
    resnet_width: int = field(default=64, metadata={"help": "inner channels of the ResNet's stage 1"})
    resnet_block: ChoiceEnum(list(BLOCKS)) = field(  # type: ignore[valid-type]
        default="bottleneck", metadata={"help": "the ResNet's blocks; every published size has bottlenecks"}
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout of embeddings and of each part's output"})
    attention_dropout: float = field(default=0.0, metadata={"help": "dropout of the attention weights"})
    encoder_drop_path_rate: float = field(
        default=0.0, metadata={"help": "stochastic depth of the last encoder layer; earlier layers have linearly less"}
    )
    decoder_drop_path_rate: float = field(
        default=0.0, metadata={"help": "stochastic depth of the last decoder layer; earlier layers have linearly less"}
    )
    resnet_drop_path_rate: float = field(default=0.0, metadata={"help": "stochastic depth of the last ResNet block"})
    batch_norm: ChoiceEnum(BATCH_NORM_MODES) = field(  # type: ignore[valid-type]
        default="live",
        metadata={"help": "ResNet batch norm in training: batch statistics, stored ones, or those of all GPUs"},
    )
    freeze_resnet: bool = field(default=False, metadata={"help": "do not train the ResNet; its batch norm is frozen"})
    freeze_embedding: bool = field(
        default=False, metadata={"help": "do not train the shared token table (NARVL's blank is trained all the same)"}
    )
    checkpoint_activations: bool = field(
        default=False,
        metadata={"help": "compute the layers' activations anew in the backward pass: less memory, more time"},
    )
    interpolate_position: bool = field(
        default=False,
        metadata={"help": "over 256 px, stretch the absolute positions of the 16 x 16 grid (off in the paper)"},
    )
    max_source_positions: int = field(default=1024, metadata={"help": "longest prompt, in tokens"})
    max_target_positions: int = field(default=1024, metadata={"help": "longest output, in tokens or queries"})


@dataclass
class NARVLConfig(OFAConfig):
    """What the parallel model adds."""

    num_queries: int = field(
        default=20,
        metadata={"help": "learnable query tokens N: the most tokens, blanks and </s> included, that one pass can say"},
    )
    decoder_input: ChoiceEnum(["queries", "encoder"]) = field(  # type: ignore[valid-type]
        default="queries",
        metadata={"help": "what the decoder reads: the queries, or (ablation) the encoder's embedded input sequence"},
    )
    alignment: ChoiceEnum(["ctc", "position"]) = field(  # type: ignore[valid-type]
        default="ctc",
        metadata={
            "help": "how queries map to tokens: ctc merges equal neighbours and drops blanks; position only drops"
            " blanks (query i says token i, for --criterion query_cross_entropy)"
        },
    )
    self_conditioned_layers: List[int] = field(
        default_factory=list,
        metadata={
            "help": "decoder layers below the last, counted from 1, whose predictions the next layer reads (beyond the"
            " paper); train them by the same --intermediate-layers"
        },
    )


def complete(cfg: Any, config: type[OFAConfig]) -> None:
    """Give a configuration from an older version's checkpoint the fields that have come since, at their defaults.

    fairseq does so for models that are named as they are registered, but not for architectures such as ``narvl_base``.

    Args:
        cfg: fairseq's; changed in place.
        config: the model's configuration class.
    """
    missing = [entry for entry in fields(config) if entry.name not in cfg] if isinstance(cfg, DictConfig) else []
    if missing:
        defaults = config()
        with open_dict(cfg):
            for entry in missing:
                cfg[entry.name] = getattr(defaults, entry.name)
