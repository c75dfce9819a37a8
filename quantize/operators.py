"""The operators that have an int8 rule, by what they do with ranges: who annotates a graph and who reads one agree on these tables."""

from __future__ import annotations

import torch

aten = torch.ops.aten

WEIGHTED = {aten.conv1d.default, aten.conv2d.default, aten.linear.default}
CLAMPS = {aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.clamp.default}
ELEMENTWISE = {aten.add.Tensor, aten.mul.Tensor}
# int8 in, int8 out. XNNPACK looks all but mish up in a table of 256 values, LiteRT gelu and leaky_relu, ONNX Runtime leaky_relu;
# where a runtime has no integer kernel it computes them in float between the same two int8 tensors.
ACTIVATIONS = {
    aten.gelu.default,
    aten.leaky_relu.default,
    aten.elu.default,
    aten.hardswish.default,
    aten.mish.default,
    aten.layer_norm.default,
}
# What only puts values of one input elsewhere, or leaves some out.
REARRANGES = {
    aten.view.default,
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.permute.default,
    aten.transpose.int,
    aten.slice.Tensor,
}
PADS = {aten.pad.default, aten.constant_pad_nd.default}
# What only moves or mixes values of one range. TFLite demands of most of them that input and output have the same scale.
MOVES = {
    *REARRANGES,
    *PADS,
    aten.max_pool2d.default,
    aten.avg_pool2d.default,
    aten.adaptive_avg_pool2d.default,
    aten.upsample_nearest2d.vec,
    aten.upsample_bilinear2d.vec,
}
# What takes each element from one of several values. TFLite demands one scale of them and of the output.
JOINS = {aten.cat.default, aten.where.self, aten.maximum.default, aten.minimum.default}
# Their values lie in 0..1 or -1..1 whatever the data.
BOUNDED = {aten.sigmoid.default, aten.tanh.default}
