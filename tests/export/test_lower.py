from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from edgeds import program as programs
from edgeds.errors import ModelError, ToolError
from edgeds.export.lower import lower
from edgeds.export.worker import Job
from edgeds.spec import Artifact, Format, Precision, Program, TfliteIo


@pytest.fixture
def jobs(tiny: Any, tmp_path: Path) -> Callable[..., list[Job]]:
    """Jobs for the tiny model's graph; the stem of the formats in `broken` has no tensors."""

    def make(*formats: Format, broken: tuple[Format, ...] = ()) -> list[Job]:
        programs.save(tiny.graph, tmp_path / "good")
        programs.save(tiny.graph, tmp_path / "bad")
        (tmp_path / "bad.safetensors").write_bytes(b"")
        stems = {f: tmp_path / ("bad" if f in broken else "good") for f in formats}
        return [Job(f, Precision.INT8, stems[f], tmp_path / f"{f}-int8") for f in formats]

    return make


def children() -> set[int]:
    """The processes that this one started and that still run."""
    return children_of(os.getpid())


def children_of(process: int) -> set[int]:
    folders = Path(f"/proc/{process}/task").glob("*/children")
    return {int(pid) for folder in folders for pid in folder.read_text().split()}


def test_a_failing_job_says_why_and_where_its_log_is_and_ends_the_others(
    jobs: Callable[..., list[Job]], tmp_path: Path
) -> None:
    before = children()
    started: list[Job] = []
    two = jobs(Format.EXECUTORCH, Format.ONNX, broken=(Format.ONNX,))
    with pytest.raises(ToolError) as caught:
        lower(two, tmp_path, workers=2, event=lambda job, what: started.append(job) if what == "start" else None)
    message = str(caught.value)
    assert message.startswith("lowering to onnx int8 failed: cannot read the program bad.json: ")
    assert message.endswith(f"the whole log is {tmp_path / 'onnx-int8.log'}")
    assert "\n" not in message
    assert {job.format for job in started} == {Format.EXECUTORCH, Format.ONNX}
    assert children() == before
    assert not (tmp_path / "executorch-int8").exists()


def test_what_the_user_can_change_is_no_failure_of_a_tool(
    captured: Callable[..., Program], jobs: Callable[..., list[Job]], tmp_path: Path
) -> None:
    from torch import nn

    class Sorted(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.sort(-1)[0]

    (job,) = jobs(Format.TFLITE)
    programs.save(captured(Sorted(), (1, 4)), job.stem)
    with pytest.raises(ModelError) as caught:
        lower([job], tmp_path)
    message = str(caught.value)
    assert message.startswith("TFLite cannot take aten.sort.default in ")
    assert message.endswith(f"compute it in the app; the whole log is {tmp_path / 'tflite-int8.log'}")


def test_ctrl_c_leaves_no_worker_behind(jobs: Callable[..., list[Job]], tmp_path: Path) -> None:
    before = children()

    def interrupt(job: Job, what: str) -> None:
        assert len(children()) == len(before) + 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lower(jobs(Format.ONNX), tmp_path, event=interrupt)
    assert children() == before


def test_a_worker_ends_when_its_starter_is_killed(jobs: Callable[..., list[Job]], tmp_path: Path) -> None:
    (job,) = jobs(Format.EXECUTORCH)
    code = f"""
import sys
from pathlib import Path
from pydantic import TypeAdapter
from edgeds.export.lower import lower
from edgeds.export.worker import Job
lower([TypeAdapter(Job).validate_json(sys.argv[1])], Path({str(tmp_path)!r}), event=lambda job, what: print(what, flush=True))
"""
    text = TypeAdapter(Job).dump_json(job).decode()
    starter = subprocess.Popen([sys.executable, "-c", code, text], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"start\n"
    (worker,) = children_of(starter.pid)
    (fork,) = children_of(worker)
    assert running(worker) and running(fork)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    assert all_end({worker, fork})
    assert not job.path.exists()


def all_end(processes: set[int]) -> bool:
    """Waits for them a while."""
    deadline = time.monotonic() + 60
    while any(map(running, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(running, processes))


def running(pid: int) -> bool:
    """Whether a process runs: an ended one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_job_that_a_signal_ends_is_reported_with_the_signals_name(
    jobs: Callable[..., list[Job]], tmp_path: Path
) -> None:
    before = children()

    def kill(job: Job, what: str) -> None:
        (worker,) = children() - before
        (fork,) = children_of(worker)
        os.kill(fork, signal.SIGKILL)

    with pytest.raises(
        ToolError, match="lowering to onnx int8 failed: it was ended by SIGKILL, perhaps for lack of memory"
    ):
        lower(jobs(Format.ONNX), tmp_path, event=kill)


def test_so_is_the_worker_and_nothing_of_it_stays(jobs: Callable[..., list[Job]], tmp_path: Path) -> None:
    before = children()
    forks: set[int] = set()

    def kill(job: Job, what: str) -> None:
        (worker,) = children() - before
        forks.update(children_of(worker))
        os.kill(worker, signal.SIGKILL)

    with pytest.raises(ToolError, match=r"^lowering failed: it was ended by SIGKILL, perhaps for lack of memory"):
        lower(jobs(Format.ONNX), tmp_path, event=kill)
    assert len(forks) == 1 and all_end(forks)
    assert children() == before


def test_the_most_expensive_job_starts_first_and_artifacts_come_in_the_order_of_the_jobs(
    tiny_artifacts: Any,
) -> None:
    started = [name for name, what in tiny_artifacts.events if what == "start"]
    assert started[:2] == ["executorch-int8", "executorch-fp32"]
    assert started[-1].startswith("onnx")
    assert list(tiny_artifacts.artifacts)[:2] == ["executorch-int8", "executorch-fp32"]
    assert list(tiny_artifacts.artifacts)[2:4] == ["onnx-int8", "onnx-fp32"]


def test_a_worker_reads_its_job_and_ignores_the_users_files(jobs: Callable[..., list[Job]], tmp_path: Path) -> None:
    """A user's folder may well have an onnx.py or an export.py."""
    for name in ("onnx.py", "export.py", "torch.py"):
        (tmp_path / name).write_text("raise SystemExit('imported the wrong module')")
    (job,) = jobs(Format.ONNX)
    folder = Path.cwd()
    os.chdir(tmp_path)
    try:
        (artifact,) = lower([job], tmp_path)
    finally:
        os.chdir(folder)
    assert (artifact.format, artifact.precision, artifact.path) == (Format.ONNX, Precision.INT8, job.path)


def test_a_job_survives_json() -> None:
    job = Job(Format.TFLITE, Precision.INT8, Path("a/b"), Path("c d/ü"), TfliteIo.FLOAT)
    assert TypeAdapter(Job).validate_json(TypeAdapter(Job).dump_json(job)) == job


def test_nothing_to_do_is_done_at_once(tmp_path: Path) -> None:
    assert lower([], tmp_path) == ()


def test_the_artifacts_record_is_not_left_beside_it(tiny_artifacts: Any) -> None:
    assert list(tiny_artifacts.folder.glob("*.artifact.json")) == []
    for artifact in tiny_artifacts.artifacts.values():
        json.dumps(TypeAdapter(Artifact).dump_python(artifact, mode="json"))
