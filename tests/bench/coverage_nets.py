"""The separable-convolution nets of timm and torchvision that coverage is measured on: the small ones of each family."""

from __future__ import annotations

from dataclasses import dataclass

SIZE = 128  # pixels of a side


@dataclass(frozen=True, slots=True)
class Net:
    """A net by edgeds' reference. `has` says what in it stands between the convolutions and needs a rewrite or a rule."""

    ref: str
    has: str

    @property
    def name(self) -> str:
        """Its short name, for tables and files."""
        return self.ref.partition(":")[2] + ("_tv" if self.ref.startswith("torchvision:") else "")


# What CI runs: every kind of rewrite in as little time as possible. timm's own miniatures (test_…) have the blocks of the real nets. An
# upsample is in no small net: ghostnetv2_100 has it below.
SUBSET = (  # the slow ones first, so that two at a time end together
    Net("timm:inception_next_atto", "split, concat, batch-norm without convolution, GELU, LayerNorm in the head"),
    Net("torchvision:shufflenet_v2_x0_5", "channel shuffle, split, concat"),
    Net("timm:tf_mobilenetv3_small_100", "hardswish, hardsigmoid, SAME pad, squeeze-excite"),
    Net("timm:fasternet_t0", "GELU, split, concat"),
    Net("timm:mobileone_s0", "reparameterization"),
    Net("timm:test_byobnet", "average pool, squeeze-excite"),
    Net("timm:test_convnext2", "LayerNorm, GELU, layer scale, 7x7 depthwise"),
    Net("timm:test_efficientnet", "SiLU, squeeze-excite, inverted residual"),
)

NETS = (
    *SUBSET,
    # MobileNet
    Net("timm:mobilenetv1_100", "ReLU6"),
    Net("timm:mobilenetv2_050", "ReLU6, residual"),
    Net("torchvision:mobilenet_v2", "ReLU6, residual"),
    Net("timm:mobilenetv3_small_050", "hardswish, hardsigmoid, squeeze-excite"),
    Net("torchvision:mobilenet_v3_small", "hardswish, hardsigmoid, squeeze-excite"),
    Net("torchvision:mobilenet_v3_large", "hardswish, hardsigmoid, squeeze-excite"),
    Net("timm:tf_mobilenetv3_small_minimal_100", "SAME pad, ReLU"),
    Net("timm:mobilenetv4_conv_small", "ReLU"),
    Net("timm:mobilenet_edgetpu_v2_xs", "ReLU, grouped convolution"),
    # EfficientNet and its relatives
    Net("timm:efficientnet_lite0", "ReLU6"),
    Net("timm:tf_efficientnet_lite0", "SAME pad, ReLU6"),
    Net("timm:efficientnet_b0", "SiLU, squeeze-excite"),
    Net("torchvision:efficientnet_b0", "SiLU, squeeze-excite"),
    Net("timm:tf_efficientnet_b0", "SAME pad, SiLU, squeeze-excite"),
    Net("timm:tf_efficientnetv2_b0", "SAME pad, SiLU, squeeze-excite"),
    Net("timm:efficientnet_es", "ReLU"),
    Net("timm:rexnet_100", "SiLU, ReLU6, squeeze-excite, partial residual"),
    Net("timm:tinynet_e", "SiLU, squeeze-excite"),
    Net("timm:tinynet_a", "SiLU, squeeze-excite"),
    Net("timm:mixnet_s", "split, concat, SiLU, squeeze-excite"),
    Net("timm:tf_mixnet_s", "split, concat, SAME pad, SiLU, squeeze-excite"),
    # found by search
    Net("timm:mnasnet_050", "ReLU"),
    Net("torchvision:mnasnet0_5", "ReLU"),
    Net("timm:semnasnet_075", "squeeze-excite"),
    Net("timm:spnasnet_100", "ReLU"),
    Net("timm:fbnetc_100", "ReLU"),
    Net("timm:fbnetv3_b", "hardswish, hardsigmoid, squeeze-excite"),
    Net("timm:hardcorenas_a", "hardswish, hardsigmoid, squeeze-excite"),
    Net("timm:lcnet_050", "hardswish, hardsigmoid"),
    Net("timm:regnetx_002", "grouped convolution"),
    Net("timm:regnety_002", "grouped convolution, squeeze-excite"),
    # cheap operators
    Net("timm:ghostnet_050", "concat, slice, hardsigmoid"),
    Net("timm:ghostnetv3_050", "reparameterization, average pool, nearest upsample"),
    Net("torchvision:shufflenet_v2_x1_0", "channel shuffle, split, concat"),
    Net("torchvision:squeezenet1_1", "concat, max pool"),
    Net("timm:ese_vovnet19b_dw", "concat, hardsigmoid, max pool"),
    Net("timm:starnet_s050", "product of two branches, ReLU6"),
    Net("timm:ghostnetv2_100", "average pool, nearest upsample, sigmoid, concat, slice"),
    # reparameterized
    Net("timm:repghostnet_050", "reparameterization, concat, slice, hardsigmoid"),
    Net("timm:repvgg_a0", "reparameterization"),
    Net("timm:repvit_m0_9", "reparameterization, GELU, batch-norm before a linear layer"),
    Net("timm:fastvit_t8", "reparameterization, GELU, layer scale, attention"),
    # modern convolutions
    Net("timm:convnext_atto", "LayerNorm, GELU, layer scale, 7x7 depthwise"),
    Net("timm:convnext_femto", "LayerNorm, GELU, layer scale, 7x7 depthwise"),
    # with attention
    Net("timm:edgenext_xx_small", "LayerNorm, GELU, attention, split"),
    Net("timm:mobilevit_xxs", "SiLU, LayerNorm, attention"),
    Net("timm:mobilevitv2_050", "SiLU, GroupNorm, linear attention"),
    Net("timm:efficientvit_b0", "hardswish, linear attention"),
    Net("timm:efficientvit_m0", "ReLU, attention, batch-norm before a linear layer"),
    Net("timm:shvit_s1", "single-head attention, split, concat"),
)
