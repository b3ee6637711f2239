"""What the models must compute and read: operations counted on the real modules, and the time no machine can beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from kit.machine import Machine
from kit.workloads import Workload, allowed, make_batch
from narvl.models.narvl import NARVLModel


@dataclass(frozen=True)
class Part:
    """Work of a part of a model.

    Attributes:
        flops: operations a sample (a multiplication and an addition are two).
        fixed_bytes: weights read, for the whole batch.
        sample_bytes: what is read for each sample besides.
    """

    flops: float
    fixed_bytes: float
    sample_bytes: float = 0.0

    def floor_ms(self, batch: int, machine: Machine) -> float:
        """Return the milliseconds that a batch takes at least: by the matrix rate or by the bandwidth."""
        return 1000 * max(
            self.flops * batch / machine.flops, (self.fixed_bytes + self.sample_bytes * batch) / machine.read
        )

    def record(self) -> dict[str, float]:
        """Return the part as results files hold it."""
        return asdict(self)


def _cpu_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


# torch's counter knows the attention kernels of GPUs alone. It is given shapes.
_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention}


def count_flops(work: Callable[[], Any]) -> int:
    """Count the floating-point operations of products, convolutions and attention (sums and norms are left out)."""
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counter:
        work()
    return counter.get_total_flops()


def marginal_flops(work: Callable[[int], Any]) -> int:
    """Count what one more sample costs: what a batch shares, such as position biases, is no sample's work.

    Args:
        work: runs a batch of so many samples. It is run before it is counted, for what is kept from batch to batch.
    """
    work(1)
    return count_flops(lambda: work(2)) - count_flops(lambda: work(1))


def count_weights(module: nn.Module, leave_out: nn.Module | None = None) -> int:
    """Count a module's weights, without tables, of which a few rows are read."""
    tables = {id(entry.weight) for entry in module.modules() if isinstance(entry, nn.Embedding)}
    left = {id(parameter) for parameter in leave_out.parameters()} if leave_out is not None else set()
    return sum(parameter.numel() for parameter in module.parameters() if id(parameter) not in tables | left)


def count_encoder(
    model: Any, workload: Workload, side: int, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[dict[str, Part], Any]:
    """Count the encoder's parts.

    Args:
        model: in float32 and evaluation mode, not yet prepared for inference: packed layers cannot be counted.
        workload: the task.
        side: of the image, in pixels.
        device: where the model is.
        dtype: what the weights would be read as.

    Returns:
        ``backbone`` and ``encoder`` (the Transformer), and the encoder's output for one random sample.
    """
    encoder, backbone = model.encoder, model.encoder.embed_images
    inputs = {count: make_batch(workload, count, side, device)["net_input"] for count in (1, 2)}
    convolutions = count_flops(lambda: backbone(inputs[1]["patch_images"]))
    with torch.no_grad():
        total = marginal_flops(lambda count: encoder.forward_torchscript(inputs[count]))
        output = encoder.forward_torchscript(inputs[1])
    parts = {
        "backbone": Part(convolutions, count_weights(backbone) * dtype.itemsize),
        "encoder": Part(total - convolutions, count_weights(encoder, leave_out=backbone) * dtype.itemsize),
    }
    return parts, output


def count_decoder(
    model: Any,
    workload: Workload,
    encoded: Any,
    beam: int = 1,
    announced: bool = True,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Part]:
    """Count ``decoder`` and ``output``: the product with the symbols that are computed.

    Args:
        model: as for ``count_encoder``; parallel, or autoregressive: then the whole answer's steps are counted.
        workload: the task.
        encoded: the encoder's output for one sample.
        beam: hypotheses of the autoregressive decoder.
        announced: whether an autoregressive search tells the decoder how far it will go and what it may say (ours do;
            fairseq's computes every symbol, and every layer projects the encoder's states).
        dtype: what weights, keys and values would be read as.
    """
    table: Tensor = model.decoder.embed_tokens.weight
    vocabulary, width = table.shape
    parallel = isinstance(model, NARVLModel)
    positions = workload.queries if parallel else beam * workload.steps
    passes = 1 if parallel else workload.steps

    incremental: dict[str, Any] = {}

    def decode(count: int) -> None:
        states = encoded.select(torch.zeros(count, dtype=torch.long, device=table.device))
        if parallel:
            model.decoder(None, states)
            return
        tokens = torch.full((count * beam, workload.steps), 5, device=table.device)
        incremental.clear()
        if announced:
            model.decoder.begin(states, incremental, workload.steps, beam)
        for step in range(workload.steps):
            model.decoder(tokens[:, : step + 1], states, incremental_state=incremental)

    with torch.no_grad():
        total = marginal_flops(decode)
    said = int(allowed(workload).sum()) + parallel if announced else vocabulary
    source, size = encoded.states.size(1), dtype.itemsize
    # The parallel decoder reads the encoder's states once; the autoregressive one reads, at every step and layer, its
    # keys and values, or the states twice, for scores and for contexts.
    keys_values = source * width * size * (1 if parallel else 2 * len(model.decoder.layers) * passes)
    weights = passes * count_weights(model.decoder)
    if not parallel and not isinstance(next(iter(incremental.values())).cross[0], Tensor):
        # Keys and values are projected once; attention over the states reads those weights at every step.
        projections = (part for layer in model.decoder.layers for part in _projections(layer))
        weights -= (passes - 1) * sum(count_weights(part) for part in projections)
    return {
        "decoder": Part(total - 2 * positions * width * (vocabulary + parallel), weights * size, keys_values),
        "output": Part(2 * positions * width * said, passes * said * width * size),
    }


def _projections(layer: Any) -> tuple[nn.Module, nn.Module]:
    return layer.encoder_attn.k_proj, layer.encoder_attn.v_proj
