"""ESPNetv2 (Mehta 2019) for scenes of streets: a light segmenter whose convolutions see far by being dilated.

Written after the paper and the shapes in its published file for Cityscapes, whose names the modules bear. "EESP" is the
paper's unit: channels are reduced by a grouped 1×1, seen by four depthwise 3×3 of growing dilation whose outputs are
added up one after the other, concatenated, and mixed by a grouped 1×1. Where the size halves, a unit's output is
concatenated to the pooled input, and the image itself, shrunk to that size, is added ("reinforcement"). The decoder
pools at five scales (of 2 to 0.1 times the size) and adds the encoder's maps of each size, weighted by channel.

    stage                  size    channels at s = 2
    level1                 1/2     32      3×3 stride 2
    level2_0               1/4     128     EESP, halving
    level3_0, level3 × 3   1/8     256     EESP
    level4_0, level4 × 7   1/16    512     EESP
    bu_dec_l1 … l4         1/16 …  64, 48, 32, classes
"""

import math
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

BRANCHES = 4  # of an EESP unit, and the groups of its 1×1 convolutions
POOLED = 10  # channels at which the decoder pools
SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)
MIN_POOLED_SIDE = 5  # places; the smallest scale has as many at least
LEVEL_CHANNELS = (32, 128, 256, 512)
DECODED_CHANNELS = (64, 48, 32)
NEAR, FAR = (1, 1, 2, 3), (1, 2, 3, 4)  # dilations: the deepest maps are small

Maps = Float[Tensor, "_ _ _ _"]  # (b, c, h, w) of any stage


def _conv(
    in_channels: int, out_channels: int, side: int, *, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Conv2d:
    padding = (side // 2) * dilation
    return nn.Conv2d(
        in_channels, out_channels, side, stride, padding, groups=groups, dilation=dilation, bias=False
    )  # fmt: skip


def _resized(maps: Maps, size_hw: Sequence[int]) -> Maps:
    return F.interpolate(maps, size=tuple(size_hw), mode="bilinear", align_corners=True)


class _ConvNorm(nn.Module):
    """A convolution and its batch norm."""

    def __init__(self, in_channels: int, out_channels: int, side: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = _conv(in_channels, out_channels, side, stride=stride, groups=groups)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, maps: Maps) -> Maps:
        return self.bn(self.conv(maps))


@final
class _ConvNormPReLU(nn.Module):
    """A convolution, its batch norm and a PReLU with a slope for each channel."""

    def __init__(self, in_channels: int, out_channels: int, side: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = _conv(in_channels, out_channels, side, stride=stride, groups=groups)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.PReLU(out_channels)

    def forward(self, maps: Maps) -> Maps:
        return self.act(self.bn(self.conv(maps)))


@final
class _NormPReLU(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, maps: Maps) -> Maps:
        return self.act(self.bn(maps))


@final
class _Numbered(nn.Module):
    """Parts 0, 1, … under one name, as the file has the decoder's."""

    def __init__(self, name: str, *parts: nn.Module) -> None:
        super().__init__()
        self.add_module(name, nn.Sequential(*parts))
        self._name = name

    def forward(self, maps: Maps) -> Maps:
        return self.get_submodule(self._name)(maps)


def _cbr(in_channels: int, out_channels: int, side: int, *, groups: int = 1) -> _Numbered:
    conv = _conv(in_channels, out_channels, side, groups=groups)
    return _Numbered("cbr", conv, nn.BatchNorm2d(out_channels), nn.PReLU(out_channels))


def _br(channels: int) -> _Numbered:
    return _Numbered("br", nn.BatchNorm2d(channels), nn.PReLU(channels))


@final
class _EESP(nn.Module):
    """The paper's unit; with a stride of 2 its output has neither shortcut nor activation, the halving adds them."""

    def __init__(self, in_channels: int, out_channels: int, dilations: Sequence[int], *, stride: int = 1) -> None:
        super().__init__()
        branch = out_channels // BRANCHES
        self.stride = stride
        self.proj_1x1 = _ConvNormPReLU(in_channels, branch, 1, groups=BRANCHES)
        self.spp_dw = nn.ModuleList(_DilatedConv(branch, stride=stride, dilation=dilation) for dilation in dilations)
        self.conv_1x1_exp = _ConvNorm(out_channels, out_channels, 1, groups=BRANCHES)
        self.br_after_cat = _NormPReLU(out_channels)
        self.module_act = nn.PReLU(out_channels)

    def forward(self, maps: Maps) -> Maps:
        reduced = self.proj_1x1(maps)
        seen = [self.spp_dw[0](reduced)]
        for conv in list(self.spp_dw)[1:]:
            seen.append(conv(reduced) + seen[-1])  # without the sums a grid of holes shows
        mixed = self.conv_1x1_exp(self.br_after_cat(torch.cat(seen, 1)))
        return mixed if self.stride == 2 else self.module_act(mixed + maps)


@final
class _DilatedConv(nn.Module):
    """A depthwise 3×3."""

    def __init__(self, channels: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv = _conv(channels, channels, 3, stride=stride, groups=channels, dilation=dilation)

    def forward(self, maps: Maps) -> Maps:
        return self.conv(maps)


@final
class _Halving(nn.Module):
    """Half the size: pooled input and unit side by side, and the image added."""

    def __init__(self, in_channels: int, out_channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.eesp = _EESP(in_channels, out_channels - in_channels, dilations, stride=2)
        self.inp_reinf = nn.Sequential(_ConvNormPReLU(3, 3, 3), _ConvNorm(3, out_channels, 1))
        self.act = nn.PReLU(out_channels)

    def forward(self, maps: Maps, image: Float[Tensor, "b 3 H W"]) -> Maps:
        halved = torch.cat([_pooled(maps), self.eesp(maps)], 1)
        while image.shape[-2] > halved.shape[-2]:
            image = _pooled(image)
        return self.act(halved + self.inp_reinf(image))


def _pooled(maps: Maps) -> Maps:
    return F.avg_pool2d(maps, 3, stride=2, padding=1)


@final
class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = LEVEL_CHANNELS
        self.level1 = _ConvNormPReLU(3, first, 3, stride=2)
        self.level2_0 = _Halving(first, second, FAR)
        self.level3_0 = _Halving(second, third, FAR)
        self.level3 = nn.Sequential(*(_EESP(third, third, FAR) for _ in range(3)))
        self.level4_0 = _Halving(third, fourth, FAR)
        self.level4 = nn.Sequential(*(_EESP(fourth, fourth, NEAR) for _ in range(7)))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Maps, Maps, Maps, Maps]:
        half = self.level1(image)
        quarter = self.level2_0(half, image)
        eighth = self.level3(self.level3_0(quarter, image))
        return half, quarter, eighth, self.level4(self.level4_0(eighth, image))


@final
class _PyramidPool(nn.Module):
    """Depthwise 3×3 at five scales of the maps, brought back to their size, shuffled and mixed."""

    def __init__(self, in_channels: int, out_channels: int, *, is_last: bool = False) -> None:
        super().__init__()
        wide = POOLED * len(SCALES)
        self.projection_layer = _cbr(in_channels, POOLED, 1)
        self.stages = nn.ModuleList(_conv(POOLED, POOLED, 3, groups=POOLED) for _ in SCALES)
        self.merge_layer = nn.Sequential(
            _br(wide),
            nn.ChannelShuffle(len(SCALES)),
            _cbr(wide, POOLED, 3, groups=POOLED),
            nn.Conv2d(POOLED, out_channels, 1, bias=is_last),
        )
        self.br = nn.Identity() if is_last else _br(out_channels)

    def forward(self, maps: Maps) -> Maps:
        maps = self.projection_layer(maps)
        seen = [_at_scale(maps, scale, stage) for scale, stage in zip(SCALES, self.stages, strict=True)]
        return self.br(self.merge_layer(torch.cat(seen, 1)))


def _at_scale(maps: Maps, scale: float, stage: nn.Module) -> Maps:
    height, width = (int(side) for side in maps.shape[-2:])
    size_hw = (height, width)
    scaled_hw = (_scaled(height, scale), _scaled(width, scale))
    if scale < 1:
        return _resized(stage(F.adaptive_avg_pool2d(maps, scaled_hw)), size_hw)
    if scale > 1:
        return F.adaptive_avg_pool2d(stage(_resized(maps, scaled_hw)), size_hw)
    return stage(maps)


def _scaled(side: int, scale: float) -> int:
    return max(MIN_POOLED_SIDE, math.ceil(side * scale))


@final
class _Weighted(nn.Module):
    """An encoder's maps for the decoder, each channel weighted by what is in the whole image."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        groups = math.gcd(in_channels, out_channels)
        self.wt_layer = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.Sigmoid()
        )
        self.expansion_layer = _cbr(in_channels, out_channels, 3, groups=groups)

    def forward(self, maps: Maps) -> Maps:
        return self.expansion_layer(maps) * self.wt_layer(maps)


@final
class ESPNetV2(nn.Module):
    """Normalised images (b, 3, h, w), sides multiples of 16, to logits (b, classes, h / 2, w / 2); s = 2."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        first, second, third, fourth = LEVEL_CHANNELS
        wide, middle, narrow = DECODED_CHANNELS
        self.base_net = _Encoder()
        self.bu_dec_l1 = _PyramidPool(fourth, wide)
        self.bu_dec_l2 = _PyramidPool(wide, middle)
        self.bu_dec_l3 = _PyramidPool(middle, narrow)
        self.bu_dec_l4 = _PyramidPool(narrow, num_classes, is_last=True)
        self.merge_enc_dec_l2 = _Weighted(third, wide)
        self.merge_enc_dec_l3 = _Weighted(second, middle)
        self.merge_enc_dec_l4 = _Weighted(first, narrow)
        self.bu_br_l2, self.bu_br_l3, self.bu_br_l4 = (
            nn.Sequential(nn.BatchNorm2d(channels), nn.PReLU(channels)) for channels in DECODED_CHANNELS
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes h2 w2"]:
        half, quarter, eighth, sixteenth = self.base_net(images)
        decoded = self.bu_dec_l1(sixteenth)
        decoded = self.bu_dec_l2(self.bu_br_l2(_joined(decoded, self.merge_enc_dec_l2(eighth))))
        decoded = self.bu_dec_l3(self.bu_br_l3(_joined(decoded, self.merge_enc_dec_l3(quarter))))
        return self.bu_dec_l4(self.bu_br_l4(_joined(decoded, self.merge_enc_dec_l4(half))))


def _joined(decoded: Maps, encoded: Maps) -> Maps:
    return encoded + _resized(decoded, encoded.shape[-2:])
