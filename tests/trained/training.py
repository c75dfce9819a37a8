"""Trains nets on Fashion-MNIST: by steps, seeded and in one thread, so that a machine gets the same weights every time.

    python -m tests.trained.training NET FILE.safetensors

Weights are kept in edgeds' cache (`EDGEDS_CACHE`), by the code that makes them and the data.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from edgeds.cache import Cache, digest
from edgeds.process import cores, run_process
from tests.trained.enlarge import fitted
from tests.trained.fashion import Part, fashion_mnist
from tests.trained.nets import NETS
from tests.trained.zoo_nets import ZOO_NETS

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
CODE = (  # fashion.py has the digest of the data
    *(HERE / name for name in ("enlarge.py", "fashion.py", "nets.py", "training.py", "zoo_nets.py")),
    *(ROOT / "edgeds" / "models" / name for name in ("blocks.py", "mobilenet_v3.py")),
)
TRAINED: tuple[type[nn.Module], ...] = (*NETS, *ZOO_NETS)
SEED = 0
STEPS = 1000  # 2.1 epochs, about a minute
BATCH = 128
LEARNING_RATE = 0.3
WEIGHT_DECAY = 0.0005


def trained(names: Sequence[str], store: Cache) -> dict[str, Path]:
    """The nets' weights as .safetensors files in `store`, which holds them; those that are not there are trained, one a core."""
    with ThreadPoolExecutor(cores()) as pool:
        return dict(zip(names, pool.map(lambda name: _weights(name, store), names), strict=True))


def _weights(name: str, store: Cache) -> Path:
    code = [file.read_bytes() for file in CODE]
    folder = store.get_or_make("trained", digest(*code, torch.__version__, name), lambda target: _train(name, target))
    return folder / f"{name}.safetensors"


def _train(name: str, folder: Path) -> None:
    """In a process of its own, which has its own threads and random numbers."""
    command = [sys.executable, "-m", "tests.trained.training", name, str(folder / f"{name}.safetensors")]
    done = run_process(command, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    if done.returncode != 0:
        raise done.failure(f"training {name}")


def train(net: type[nn.Module], part: Part, steps: int = STEPS) -> nn.Module:
    """A trained net, in eval mode: SGD with one cycle of learning rates (arxiv.org/abs/1708.07120)."""
    torch.manual_seed(SEED)
    module = net()
    shape: tuple[int, ...] = module.input_shape  # type: ignore[assignment]  # a module's attributes might be modules
    _compute_channels_last(module)
    optimizer = torch.optim.SGD(
        module.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, cycle_momentum=False)
    for images, labels in _batches(part, steps):
        optimizer.zero_grad()
        F.cross_entropy(module(_to_channels_last(fitted(images, shape))), labels).backward()  # type: ignore[no-untyped-call]  # torch has none there
        optimizer.step()
        schedule.step()
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's overloads lack it
    return module.eval()


def _batches(part: Part, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, in random order, before any comes again."""
    images, labels = torch.from_numpy(part.images), torch.from_numpy(part.labels)
    epochs = -(-steps * BATCH // len(labels))
    order = torch.cat([torch.randperm(len(labels)) for _ in range(epochs)])
    for step in range(steps):
        rows = order[step * BATCH : (step + 1) * BATCH]
        yield images[rows], labels[rows]


def _compute_channels_last(module: nn.Module) -> None:
    """Depthwise convolutions and batch-norms are twice as fast so; gradients too, of which some operators give others."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads lack it

    def keep(part: nn.Module, inputs: object, output: Tensor) -> None:
        if output.ndim == 4 and output.requires_grad:
            output.register_hook(_to_channels_last)  # type: ignore[no-untyped-call]  # torch has none there

    for part in module.modules():
        if not list(part.children()):
            part.register_forward_hook(keep)


def _to_channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def main() -> None:
    """Trains one net and writes its weights."""
    name, file = sys.argv[1:]
    torch.set_num_threads(1)  # sums in another order are other sums
    (net,) = [net for net in TRAINED if net.__name__ == name]
    save_file(train(net, fashion_mnist().train).state_dict(), file)


if __name__ == "__main__":
    main()
