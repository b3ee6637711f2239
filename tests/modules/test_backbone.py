from __future__ import annotations

import pytest
import torch
from torch import nn

from narvl.modules.backbone import BATCH_NORM_MODES, STRIDE, Backbone, flatten_map

NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


@pytest.mark.parametrize(
    ("blocks", "kind", "twin"),
    [
        ((3, 4, 6), "bottleneck", "resnet50"),
        ((3, 4, 23), "bottleneck", "resnet101"),
        ((3, 8, 36), "bottleneck", "resnet152"),
        ((2, 2, 2), "basic", "resnet18"),
    ],
)
def test_is_torchvision_s_resnet_cut_after_stage_3(blocks: tuple[int, int, int], kind: str, twin: str) -> None:
    from torchvision import models  # works on a CPU-only torch once narvl is imported

    with torch.device("meta"):
        whole = getattr(models, twin)(weights=None).state_dict()
        ours = Backbone(blocks, block=kind).state_dict()
    expected = {name: value.shape for name, value in whole.items() if not name.startswith(("layer4", "fc"))}
    assert {name: value.shape for name, value in ours.items()} == expected


def test_computes_what_torchvision_s_does() -> None:
    from torchvision import models

    whole = models.resnet50(weights=None).eval()
    ours = Backbone((3, 4, 6)).eval()
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, std=0.1)
    ours.load_state_dict({name: value for name, value in whole.state_dict().items() if name in ours.state_dict()})
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        x = whole.maxpool(whole.relu(whole.bn1(whole.conv1(images))))
        expected = whole.layer3(whole.layer2(whole.layer1(x)))
        torch.testing.assert_close(ours(images), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bottleneck", "basic"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 96), (65, 33), (480, 48)])
def test_stride(height: int, width: int, kind: str) -> None:
    with torch.device("meta"):
        backbone = Backbone((1, 1, 1), width=16, block=kind)
        features = backbone(torch.zeros(2, 3, height, width))
    assert features.shape == (2, backbone.out_channels, -(-height // STRIDE), -(-width // STRIDE))
    assert backbone.out_channels == {"bottleneck": 256, "basic": 64}[kind]


def test_maps_are_flattened_row_by_row() -> None:
    features = torch.arange(24.0).view(1, 2, 3, 4)
    tokens = flatten_map(features)
    assert tokens.shape == (1, 12, 2)
    assert tokens[0, :, 0].tolist() == list(range(12))
    assert tokens[0, 5].tolist() == features[0, :, 1, 1].tolist()


@pytest.mark.parametrize("mode", BATCH_NORM_MODES)
@pytest.mark.parametrize("freeze", [False, True])
def test_which_statistics_are_used_and_what_is_trained(mode: str, freeze: bool) -> None:
    backbone = Backbone((1, 1, 1), width=8, batch_norm=mode, freeze=freeze).train()
    norms = [module for module in backbone.modules() if isinstance(module, NORMS)]
    assert len(norms) == 1 + 3 * 4
    live = not freeze and mode != "frozen"
    assert {norm.training for norm in norms} == {live}
    assert {norm.weight.requires_grad for norm in norms} == {live}
    assert backbone.conv1.weight.requires_grad is not freeze
    assert backbone.training
    if mode == "sync" and not freeze:
        assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    backbone.eval().train()
    assert {norm.training for norm in norms} == {live}
