"""Accuracy on a labelled set: the float model and every artifact in every runtime, piece by piece; what was run is not run again.

A piece of samples is loaded, run and forgotten, so that a set of any size fits. What each subject answered to each piece is kept in the
cache, by artifact, runtime and the piece's data: an evaluation that was interrupted goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeds import process, reference, twin
from edgeds import program as programs
from edgeds.bundle import open_bundle
from edgeds.cache import Cache, digest
from edgeds.data.labelled import LabelledSet, Piece, open_labelled
from edgeds.drift.accuracy import TOP, is_scores, mcnemar, share, top_classes
from edgeds.drift.metrics import check_finite
from edgeds.eager import answers
from edgeds.errors import InputError, ToolError
from edgeds.lowering import toolchain_digest
from edgeds.progress import Progress, Silent, step
from edgeds.results import Accuracy, Disagreement, Evaluation
from edgeds.run import host
from edgeds.spec import RUNTIMES_OF, Array, Artifact, Bundle, DataCard, Precision, Program, Runtime, Samples
from edgeds.validation import PACKAGE_OF, usable

STEP = "evaluate"
KIND = "evaluated"
FLOAT = "float"
# What a twin stands for: the device. What this machine answers, its runtimes say.
MACHINE = twin.Machine.ARM64
SEEDED_WARNING = "the weights are random: accuracy means nothing; export the model with --weights"


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """What is evaluated. `key` tells what computes its answers; `run` gives the first output, [N, C], and the runtime's version."""

    name: str
    artifact_sha256: str
    runtime: Runtime | None
    key: str
    run: Callable[[Samples], tuple[Array, str]]


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """A subject's first classes for each sample of a piece, int32 [N, min(5, C)], and the version of its runtime."""

    classes: Array
    version: str


def evaluate(
    bundle: Bundle | str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    limit: int | None = None,
    by_twin: bool = False,
    cache: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Top-1 and top-5 accuracy of a bundle's float model and of each artifact in its runtimes, with intervals and a paired test.

    `data` is a folder with a folder of images for each class, a .csv file of path,label, or a .npz file with inputs and `labels`; `limit`
    takes that many samples of it, evenly spaced. With `by_twin` nothing is run: the integer twin says what each runtime answers to its int8
    artifact on an ARM64 device, bit for bit, which in ONNX Runtime is not always what this machine would answer. Raises BundleError for a damaged bundle, InputError for a model that gives no scores, DataError for data
    that cannot be used, ToolError where no runtime is left or one fails.
    """
    progress = progress or Silent()
    with step(progress, "check the bundle"):
        opened = open_bundle(bundle.path if isinstance(bundle, Bundle) else Path(bundle))
    card = opened.manifest.model
    n_classes = _classes(card.output_shapes[0])
    with step(progress, "find the data"):
        found = open_labelled(Path(data), card, n_classes, limit)
    program = reference.read_float(opened, reference.read_samples(opened)).program
    pairs, missing = _pairs(opened, by_twin, progress)
    subjects = [_float(program), *((_in_twin if by_twin else _in_runtime)(opened, *pair) for pair in pairs)]
    warnings = (*found.warnings, *((SEEDED_WARNING,) if opened.manifest.seeded else ()))
    for warning in warnings:
        progress.warn(warning)
    runs, data_digest = _run_all(found, subjects, cache, progress)
    return Evaluation(
        model=card.name,
        data=DataCard(found.source, len(found), data_digest),
        classes=card.labels,
        accuracy=tuple(
            _accuracy(s, runs[s.name].classes, runs[FLOAT].classes, found.labels, n_classes) for s in subjects
        ),
        disagreements=_disagreements(found, {name: run.classes[:, 0] for name, run in runs.items()}),
        runtimes={str(s.runtime): runs[s.name].version for s in subjects if s.runtime},
        warnings=(*warnings, *missing),
    )


def _classes(output_shape: tuple[int, ...]) -> int:
    if not is_scores(output_shape):
        raise InputError(
            f"the model's first output has shape {list(output_shape)}, which are no scores of classes [N, C]; accuracy needs a classifier"
        )
    return output_shape[1]


def _pairs(bundle: Bundle, by_twin: bool, progress: Progress) -> tuple[list[tuple[Artifact, Runtime]], tuple[str, ...]]:
    """Each artifact with each runtime that is here, or that has a twin; a warning for those that are left out."""
    pairs = [(artifact, runtime) for artifact in bundle.manifest.artifacts for runtime in RUNTIMES_OF[artifact.format]]
    if by_twin:
        known = [(a, r) for a, r in pairs if a.precision is Precision.INT8 and r in twin.MODULES]
        left = [f"{a.name}@{r}" for a, r in pairs if (a, r) not in known]
        return known, (f"without a twin, and left out: {', '.join(left)}",) if left else ()
    here, warnings = usable({runtime for _, runtime in pairs}, progress)
    if pairs and not here:
        raise ToolError(f"no runtime is left to evaluate in: {'; '.join(warnings)}")
    return [pair for pair in pairs if pair[1] in here], warnings


def _float(program: Program) -> _Subject:
    key = digest(programs.digest(program), toolchain_digest(("torch",)))
    return _Subject(FLOAT, "", None, key, lambda samples: (answers(program, samples)[0], ""))


def _in_runtime(bundle: Bundle, artifact: Artifact, runtime: Runtime) -> _Subject:
    def run(samples: Samples) -> tuple[Array, str]:
        record = host.run(artifact, bundle.path / artifact.path, runtime, samples.inputs)
        return record.outputs[0], record.runtime_version

    key = digest(artifact.sha256, runtime, toolchain_digest(PACKAGE_OF[runtime]))
    return _Subject(f"{artifact.name}@{runtime}", artifact.sha256, runtime, key, run)


def _in_twin(bundle: Bundle, artifact: Artifact, runtime: Runtime) -> _Subject:
    def run(samples: Samples) -> tuple[Array, str]:
        path = bundle.path / artifact.path
        return twin.outputs(artifact, path, runtime, samples.inputs, MACHINE)[0], f"twin, {MACHINE}"

    key = digest(artifact.sha256, runtime, "twin", MACHINE, toolchain_digest(("torch", "numpy")))
    return _Subject(f"{artifact.name}@{runtime} (twin)", artifact.sha256, runtime, key, run)


def _run_all(
    found: LabelledSet, subjects: Sequence[_Subject], cache: bool, progress: Progress
) -> tuple[dict[str, _Answer], str]:
    """Each subject's answers to all samples, and the digest of the data with its labels."""
    parts: dict[str, list[_Answer]] = {subject.name: [] for subject in subjects}
    digests = [found.labels.tobytes()]
    done = cached = 0
    progress.start(STEP, len(found) * len(subjects))
    with process.pool() as pool:
        for piece in found.pieces():
            digests.append(piece.digest.encode())
            # a cache of its own: what it has found stays locked, with an open file each, until it is closed
            with Cache() if cache else nullcontext() as store:
                for subject, answer, was_there in _answers(piece, subjects, store, pool):
                    parts[subject.name].append(answer)
                    done += len(answer.classes)
                    cached += len(answer.classes) * was_there
                    progress.update(STEP, done)
    progress.finish(STEP, f"{cached / done:.0%} from the cache" if cached else "")
    joined = {name: _Answer(np.concatenate([a.classes for a in part]), part[0].version) for name, part in parts.items()}
    return joined, digest(*digests)


def _answers(
    piece: Piece, subjects: Sequence[_Subject], store: Cache | None, pool: ThreadPoolExecutor
) -> Iterator[tuple[_Subject, _Answer, bool]]:
    """Each subject with its answers to the piece, and whether they were in the cache; the piece is loaded if some were not."""
    missing = []
    for subject in subjects:
        place = store and store.fetch(KIND, digest(subject.key, piece.digest))
        if place:
            yield subject, _Answer(np.load(place / "classes.npy"), (place / "version").read_text()), True
        else:
            missing.append(subject)
    samples = piece.load() if missing else None
    running = {pool.submit(_answer, subject, samples): subject for subject in missing if samples}
    for future in as_completed(running):
        subject, answer = running[future], future.result()
        if store:
            store.store(KIND, digest(subject.key, piece.digest), lambda place, answer=answer: _save(answer, place))  # type: ignore[misc]  # the default binds
        yield subject, answer, False


def _answer(subject: _Subject, samples: Samples) -> _Answer:
    scores, version = subject.run(samples)
    check_finite(subject.name, (scores,))
    return _Answer(top_classes(scores), version)


def _save(answer: _Answer, place: Path) -> None:
    np.save(place / "classes.npy", answer.classes, allow_pickle=False)
    (place / "version").write_text(answer.version)


def _accuracy(subject: _Subject, said: Array, float_said: Array, labels: Array, n_classes: int) -> Accuracy:
    """said, float_said: int32 [N, min(5, C)]; labels: int64 [N]."""
    right, float_right = said[:, 0] == labels, float_said[:, 0] == labels
    lost, won = (int(np.count_nonzero(both)) for both in (float_right & ~right, right & ~float_right))
    return Accuracy(
        subject=subject.name,
        artifact_sha256=subject.artifact_sha256,
        top1=share(right),
        top5=share((said == labels[:, None]).any(axis=1)) if n_classes > TOP else None,
        lost=lost,
        won=won,
        p_value=None if subject.name == FLOAT else mcnemar(lost, won),
        agreement=float(np.mean(said[:, 0] == float_said[:, 0])),
    )


def _disagreements(found: LabelledSet, said: dict[str, Array]) -> tuple[Disagreement, ...]:
    """said: each subject's first classes, int32 [N]. Those that cost a right answer come first, each group in the data's order."""
    table = np.stack(list(said.values()))
    float_said = said[FLOAT]
    rows = np.flatnonzero((table != float_said).any(axis=0))
    ordered = sorted(
        rows.tolist(), key=lambda row: float_said[row] != found.labels[row]
    )  # sorted keeps the order of equals
    return tuple(
        Disagreement(
            found.names[row], int(found.labels[row]), {name: int(classes[row]) for name, classes in said.items()}
        )
        for row in ordered
    )
