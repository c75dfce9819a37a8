"""What edgeds' ExecuTorch artifacts hand to XNNPACK: the stock partitioner's operators, and more of them in integers.

XNNPACK has int8 kernels that executorch 1.5.1's partitioner only takes in float; each of these was lowered alone and compared
with PyTorch: the same int8 values but for single ones that lie a step apart (hardswish 0.5 %, leaky_relu 4 %, gelu's tanh form 0.4 %).
"""

from __future__ import annotations

from typing import Any

INTEGER_TOO = (
    "ConstantPadConfig",
    "GeluConfig",
    "HardswishConfig",
    "LeakyReLUConfig",
    "SigmoidConfig",
    "TanhConfig",
)


def partitioner() -> Any:
    """XnnpackPartitioner with these configurations.

    Where it takes every operator that it wants to have undivided, it says so at once: executorch then divides the others in one walk through
    the program instead of two, with the same result.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    class Partitioner(XnnpackPartitioner):  # type: ignore[misc]  # executorch has no types
        def ops_to_not_decompose(self, ep: Any) -> Any:
            operators, takes = super().ops_to_not_decompose(ep)
            wanted = [node for node in ep.graph.nodes if node.op == "call_function" and node.target in operators]
            return operators, None if takes is None or all(takes(node) for node in wanted) else takes

    return Partitioner(configs=partitioner_configs())


def partitioner_configs() -> list[Any]:
    """The configurations for XnnpackPartitioner. Nothing of executorch is changed: these are subclasses."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.config.generic_node_configs import EluConfig  # its list leaves this out

    stock = [*ALL_PARTITIONER_CONFIGS, EluConfig]
    return [_integer(config) if config.__name__ in INTEGER_TOO else config for config in stock]


def _integer(config: Any) -> Any:
    """A subclass of a configuration that takes static int8 beside float."""
    from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType

    both = [ConfigPrecisionType.FP32, ConfigPrecisionType.STATIC_QUANT]
    return type(f"Integer{config.__name__}", (config,), {"supported_precision_types": lambda self: both})
