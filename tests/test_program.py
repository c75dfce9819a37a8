from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeds import program as programs
from edgeds.errors import BundleError, ModelError
from edgeds.spec import Node, Program

if TYPE_CHECKING:
    import torch

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def saved(tiny: Any, tmp_path: Path) -> Path:
    programs.save(tiny.graph, tmp_path / "graph")
    return tmp_path / "graph"


def edit(stem: Path, change: Edit) -> None:
    path = stem.with_suffix(".json")
    text = json.loads(path.read_text())
    change(text)
    path.write_text(json.dumps(text))


def row(text: dict[str, Any], op: str) -> list[Any]:
    found: list[Any] = next(r for r in text["nodes"] if r[1] == op)
    return found


@pytest.mark.parametrize("which", ["float_program", "float_export", "graph"])
def test_a_loaded_program_computes_bit_for_bit_what_the_saved_one_does(
    tiny: Any, which: str, tmp_path: Path, evaluate: Callable[..., Any]
) -> None:
    program = getattr(tiny, which)
    programs.save(program, tmp_path / "x")
    loaded = programs.load(tmp_path / "x")
    assert loaded.nodes == program.nodes
    assert loaded.input_shapes == program.input_shapes
    np.testing.assert_array_equal(evaluate(loaded, tiny.inputs)[0], evaluate(program, tiny.inputs)[0])


def test_saving_twice_and_saving_what_was_loaded_gives_the_same_bytes(tiny: Any, tmp_path: Path) -> None:
    programs.save(tiny.graph, tmp_path / "a")
    shuffled = Program(tiny.graph.nodes, dict(reversed(tiny.graph.tensors.items())), tiny.graph.input_shapes)
    programs.save(shuffled, tmp_path / "b")
    programs.save(programs.load(tmp_path / "a"), tmp_path / "c")
    for suffix in (".json", ".safetensors"):
        contents = {(tmp_path / name).with_suffix(suffix).read_bytes() for name in "abc"}
        assert len(contents) == 1


def test_a_captured_module_computes_the_same_after_conversion(
    tiny: Any, captured: Callable[..., Program], evaluate: Callable[..., Any]
) -> None:
    import torch

    class Odd(torch.nn.Module):
        """Arguments that JSON lacks: infinities, dtypes, lone keyword arguments, a dictionary of outputs."""

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            y = torch.clamp(x.to(torch.float64), min=-float("inf"), max=0.5).to(dtype=torch.float32)
            return {"y": y, "mask": torch.full_like(x, float("inf"), dtype=torch.float32), "x": x.softmax(1)}

    module = Odd()
    program = captured(module, (1, 3, 4, 4))
    x = tiny.inputs[:1, :, :4, :4]
    y, mask, soft = evaluate(program, x)
    np.testing.assert_array_equal(y, np.minimum(x, np.float32(0.5)))
    assert np.isposinf(mask).all()
    np.testing.assert_array_equal(soft, torch.from_numpy(x).softmax(1).numpy())
    assert programs.output_shapes(program) == ((1, 3, 4, 4),) * 3


def test_a_lone_keyword_argument_survives() -> None:
    """{"dtype": {"dtype": "int32"}} has two readings; only one of them is right."""
    import torch

    nodes = (
        Node("x", "placeholder", "x", [], {}, (1, 2), "float32", ""),
        Node("s", "call_function", "aten.sum.default", [{"node": "x"}], {"dtype": {"dtype": "int32"}}, (), "int32", ""),
        Node("output", "output", "output", [[{"node": "s"}]], {}, (), "", ""),
    )
    (total,) = programs.run(Program(nodes, {}, ((1, 2),)))(torch.tensor([[1.0, 2.0]]))
    assert total.dtype is torch.int32


def test_an_operator_outside_of_aten_is_refused_with_the_users_line() -> None:
    import torch

    @torch.library.custom_op("mine::twice", mutates_args=(), schema="(Tensor x) -> Tensor")
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    twice.register_fake(torch.empty_like)

    class Custom(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = twice(x)
            return y

    exported = torch.export.export(Custom(), (torch.zeros(1, 2),)).module(check_guards=False)
    with pytest.raises(
        ModelError, match=r"operator mine\.twice\.default cannot be exported.*test_program\.py"
    ) as caught:
        programs.from_graph_module(exported, ((1, 2),))
    assert "\n" not in str(caught.value)


def marker(path: Path) -> str:
    return f"__import__('pathlib').Path({str(path)!r}).touch()"


def set_target(op: str, target: str) -> Edit:
    return lambda text: row(text, op).__setitem__(2, target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.system", "operator 'os.system' is not allowed"),
        ("builtins.eval.default", "operator 'builtins.eval.default' is not allowed"),
        ("aten.__init__", "operator 'aten.__init__' is not allowed"),
        ("aten.from_file.default", "operator 'aten.from_file.default' is not allowed"),
        ("aten.save.default", "operator 'aten.save.default' is not allowed"),
        ("aten.conv2d.default.__call__", "is not allowed"),
    ],
)
def test_an_operator_that_may_not_stand_in_a_program_is_refused_when_it_is_loaded(
    saved: Path, target: str, message: str
) -> None:
    edit(saved, set_target("call_function", target))
    with pytest.raises(BundleError, match=message.replace(".", r"\.")) as caught:
        programs.load(saved)
    assert "cannot read the program graph.json: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", ["aten.no_such_thing.default", "aten.conv2d.no_such", "aten.__class__.mro"])
def test_an_operator_that_this_torch_does_not_know_is_refused_before_anything_runs(saved: Path, target: str) -> None:
    edit(saved, set_target("call_function", target))
    with pytest.raises(BundleError, match=r"is unknown to this torch .*; export the model again"):
        programs.to_graph_module(programs.load(saved))


def test_code_in_a_name_is_refused_and_never_run(saved: Path, tmp_path: Path) -> None:
    """torch.fx writes names of inputs, tensors and keywords into Python source that it executes."""
    proof = tmp_path / "executed"
    code = marker(proof)
    edits: list[Edit] = [
        set_target("placeholder", f"x={code}"),
        lambda text: row(text, "call_function").__setitem__(4, {f"a={code}, b": 1}),
        lambda text: row(text, "call_function").__setitem__(4, {"a": {"dict": {f"a={code}": 1}}}),
        lambda text: row(text, "placeholder").__setitem__(0, f"x={code}"),
    ]
    for change in edits:
        copy = tmp_path / "copy"
        for suffix in (".json", ".safetensors"):
            shutil.copy(saved.with_suffix(suffix), copy.with_suffix(suffix))
        edit(copy, change)
        with pytest.raises(BundleError, match="is no identifier"):
            programs.run(programs.load(copy))
    assert not proof.exists()


def test_code_in_a_tensors_name_is_refused_and_never_run(tiny: Any, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    name = f'x", {marker(proof)}) or ("'
    nodes = tuple(
        Node(n.name, n.op, name, n.args, n.kwargs, n.shape, n.dtype, n.module) if k == 0 else n
        for k, n in enumerate(sorted(tiny.graph.nodes, key=lambda n: n.op != "get_attr"))
    )
    tensors = {**tiny.graph.tensors, name: np.zeros(3, np.float32)}
    programs.save(Program(nodes, tensors, tiny.graph.input_shapes), tmp_path / "x")
    with pytest.raises(BundleError, match="is no tensor's name"):
        programs.run(programs.load(tmp_path / "x"))
    assert not proof.exists()


def test_a_program_of_the_first_version_is_still_read(tiny: Any, saved: Path) -> None:
    def age(text: dict[str, Any]) -> None:
        text["schema_version"] = 1
        del text["output_names"]
        for row in text["nodes"]:
            row.pop()

    edit(saved, age)
    loaded = programs.load(saved)
    assert [node.name for node in loaded.nodes] == [node.name for node in tiny.graph.nodes]
    assert loaded.output_names == () and {node.source for node in loaded.nodes} == {""}


def test_names_of_outputs_and_the_users_lines_are_saved_and_lines_do_not_count_as_content(
    tiny: Any, tmp_path: Path
) -> None:
    program = replace(
        tiny.graph, output_names=("scores",), nodes=(*[replace(n, source="net.py:3") for n in tiny.graph.nodes],)
    )
    programs.save(program, tmp_path / "x")
    loaded = programs.load(tmp_path / "x")
    assert loaded.output_names == ("scores",) and {node.source for node in loaded.nodes} == {"net.py:3"}
    assert programs.digest(loaded) == programs.digest(replace(tiny.graph, output_names=("scores",)))
    assert programs.digest(loaded) != programs.digest(tiny.graph)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.update(schema_version=99), "it has schema version 99, this edgeds reads 1 and 2"),
        (lambda text: text.pop("nodes"), "'nodes'"),
        (lambda text: text["nodes"].pop(), "output"),
        (lambda text: text["nodes"].append(text["nodes"][-1]), "two steps have the name 'output'"),
        (lambda text: row(text, "call_function").__setitem__(3, [{"node": "nobody"}]), "reads 'nobody', which no step"),
        (lambda text: row(text, "call_function").__setitem__(3, [{"pickle": "x"}]), "the unknown argument 'pickle'"),
        (lambda text: row(text, "call_function").__setitem__(3, [{"node": "x", "b": 1}]), "unknown argument 'node, b'"),
        (lambda text: row(text, "call_function").__setitem__(1, "call_module"), "unknown kind 'call_module'"),
        (lambda text: row(text, "get_attr").__setitem__(2, "nothing"), "tensor 'nothing' of step '.*' is missing"),
        (lambda text: text.update(input_shapes=[]), "it has 1 inputs but 0 input shapes"),
        (lambda text: row(text, "placeholder").pop(), "unpack"),
    ],
)
def test_a_damaged_program_is_refused_in_one_line(saved: Path, change: Edit, message: str) -> None:
    edit(saved, change)
    with pytest.raises(
        BundleError, match=f"cannot read the program graph.json: .*{message}.*; export the model again"
    ) as caught:
        programs.load(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99, None])
def test_a_truncated_or_missing_file_is_refused(saved: Path, suffix: str, kept: float | None) -> None:
    path = saved.with_suffix(suffix)
    content = path.read_bytes()
    if kept is None:
        path.unlink()
    else:
        path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BundleError, match=r"cannot read the program graph\.json"):
        programs.load(saved)


def test_endless_nesting_is_refused(saved: Path) -> None:
    saved.with_suffix(".json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(BundleError, match=r"cannot read the program graph\.json"):
        programs.load(saved)


def test_the_module_of_each_step_is_kept_through_save_and_load(tiny: Any, saved: Path) -> None:
    by_module = {node.module for node in programs.load(saved).nodes if node.target == "aten.conv2d.default"}
    assert {"stem", "depthwise", "pointwise", "head"} <= by_module


def test_a_full_disk_is_an_error_of_the_system_and_no_others(tiny: Any, tmp_path: Path) -> None:
    script = """
import resource, signal, sys
from pathlib import Path
from edgeds import program
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
loaded = program.load(Path(sys.argv[1]))
stem = Path(sys.argv[2])
(stem.with_suffix(".json")).symlink_to("/dev/null")  # so that the tensors come to the limit, as a real model's do
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    program.save(loaded, stem)
except OSError as error:
    print(type(error).__name__)
"""
    programs.save(tiny.graph, tmp_path / "saved")
    command = [sys.executable, "-c", script, str(tmp_path / "saved"), str(tmp_path / "full")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("OSError", 0), done.stderr
