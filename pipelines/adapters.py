"""The adapters of a job: which files they are, whether they fit, and how much each acts on each token of a plan.

An adapter of the whole acts everywhere, and one of a scene, a box or a layer on the tokens of that part and of its
prompt; named in both, the part's weight holds there, and where boxes overlap that of the later one. What an adapter is
and how several act at once is `models/adapter/`'s. Until one is put to work, torch is not loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.adapter.file import AdapterError, AdapterFile, check_fits, locate, read
from models.plan import TokenPlan
from pipelines.files.provenance import content_of
from pipelines.job import AdapterUse, Job, LayeredJob, LayoutJob
from pipelines.refusal import Refusal, on_one_line

if TYPE_CHECKING:
    from models.adapter.delta import Deltas
    from models.checkpoint import Checkpoint, Description

Inside = Callable[[TokenPlan], NDArray[np.bool_]]  # [N] which tokens of a plan are a part's


def uses(job: Job) -> list[tuple[str, AdapterUse]]:
    """Every adapter of a job and of its parts, by its field."""
    found = [(f"adapters[{i}]", use) for i, use in enumerate(job.adapters)]
    for name in ("scenes", "boxes", "layers"):
        for number, part in enumerate(getattr(job, name, ())):
            found += [(f"{name}[{number}].adapters[{i}]", use) for i, use in enumerate(part.adapters)]
    return found


def contents(adapters: Sequence[AdapterUse]) -> list[list[Any]]:
    """What decides what adapters do: hash and weight of each; for what was made with them and is kept."""
    return [[content_of(locate(use.path)), use.weight] for use in adapters]


# ---------------------------------------------------------------- what a job asks for


def check(job: Job, description: Description) -> tuple[Description, list[dict[str, Any]]]:
    """The checkpoint as the job's adapters make it, and what the record tells of each of them.

    Raises:
        Refusal: no adapter, one of another checkpoint, or one that can not do what the job asks for.
    """
    told: list[dict[str, Any]] = []
    for field, use in uses(job):
        file = _read(f"{field}.path", use.path)
        try:
            check_fits(file, description)
        except AdapterError as error:
            raise Refusal(f"{field}.path", on_one_line(str(error))) from None
        if file.kind == "siamese":
            _check_branch(job, field, use, [each["kind"] for each in told])
            description = replace(description, siamese=dict(file.branch))
        if field[0] != "a":
            _check_part(job, field, file)
        about = file.about
        if about and description.vocabulary is not None:
            words = dict.fromkeys((*description.vocabulary, *" ".join(about.words).lower().split()))
            description = replace(description, house={**description.house, "vocabulary": list(words)})
        told.append({
            "field": field,
            "path": use.path,
            "weight": use.weight,
            "kind": file.kind,
            "sha256": content_of(file.path),
            **({"trained_on": about.checkpoint, "words": list(about.words)} if about else {}),
        })  # fmt: skip
    return description, told


def notes(job: Job, weights: str) -> list[str]:
    """A sentence for each adapter that was trained on other weights than these, a hash as `About.base` has it."""
    found = []
    for path in dict.fromkeys(use.path for _, use in uses(job)):
        about = read(locate(path)).about
        if about is not None and about.base not in ("", weights):
            found.append(
                f"the adapter {path} was trained on other weights of {about.checkpoint}; it may do less, or harm"
            )
    return found


def _read(field: str, path: str) -> AdapterFile:
    try:
        return read(locate(path))
    except (AdapterError, OSError, RuntimeError, ValueError) as error:  # a name that no file can have
        raise Refusal(field, on_one_line(str(error))) from None


def _check_branch(job: Job, field: str, use: AdapterUse, before: Sequence[str]) -> None:
    """A layout branch acts as a whole, once, and where there are boxes."""
    if not isinstance(job, LayoutJob) or job.mechanism == "plan" or field[0] != "a":
        raise Refusal(
            f"{field}.path",
            "is a siamese branch, which acts on whole layouts; "
            "take it in adapters of a layout with mechanism both or siamese",
        )
    if use.weight != 1 or "siamese" in before:
        raise Refusal(f"{field}.weight", "expected one siamese branch, of weight 1; it is there or not")


def _check_part(job: Job, field: str, file: AdapterFile) -> None:
    """What one part of a job can not have of its own."""
    if file.shared:
        raise Refusal(
            f"{field}.path",
            f"it changes {file.shared[0]}, which all tokens share, so it acts on the whole alone; "
            "take it in adapters of the job",
        )
    if file.kind != "soft_prompt":
        return
    number = int(field.partition("[")[2].partition("]")[0])
    if isinstance(job, LayoutJob) and job.mechanism == "siamese":
        raise Refusal(f"{field}.path", "is a soft prompt, and with mechanism: siamese a box has no prompt in the plan")
    if isinstance(job, LayeredJob) and job.layers[number].prompt is None:
        raise Refusal(f"{field}.path", "is a soft prompt, and this layer has no prompt; give it one")


# ---------------------------------------------------------------- on which tokens


def blended(plan: TokenPlan, job: Job, parts: Sequence[tuple[Sequence[AdapterUse], Inside]]) -> TokenPlan:
    """The plan with the weights of adapters that parts of the job have of their own.

    Args:
        plan: the task.
        job: whose adapters of the whole hold wherever no part says otherwise.
        parts: adapters of each part and which tokens are its own; later ones lie on top.
    """
    whole = {use.path: use.weight for use in job.adapters}
    found: dict[str, NDArray[np.float32]] = {}
    for adapters, inside in parts:
        for use in adapters:
            weights = found.setdefault(use.path, np.full(plan.tokens, whole.get(use.path, 0.0), np.float32))
            weights[inside(plan)] = use.weight
    return replace(plan, adapters=found) if found else plan


def tokens_of(*names: str) -> Inside:
    """Tokens of the segments of these names."""
    return lambda plan: np.concatenate([np.full(len(each), each.name in names) for each in plan.segments])


# ---------------------------------------------------------------- at work


@contextmanager
def at_work(job: Job, checkpoint: Checkpoint) -> Iterator[Checkpoint]:
    """The checkpoint with the job's adapters; afterwards it is as it was.

    Raises:
        Refusal: a file that can no longer be read, or has values that are no numbers.
    """
    asked = {use.path: f"{field}.path" for field, use in reversed(uses(job))}
    if not asked:
        yield checkpoint
        return
    from models.adapter.blend import Blend
    from models.adapter.delta import branch_of, deltas_of
    from models.adapter.file import load

    transformer, found, adapted = checkpoint.transformer, dict[str, "Deltas"](), checkpoint
    for path, field in asked.items():
        file = _read(field, path)
        try:
            tensors = load(file, checkpoint.device)
        except AdapterError as error:
            raise Refusal(field, on_one_line(str(error))) from None
        if file.kind == "siamese":
            branch, config = branch_of(file, tensors), dict(file.branch)
            adapted = replace(adapted, siamese=branch, description=replace(adapted.description, siamese=config))
        else:
            found[path] = deltas_of(file, tensors, transformer)
    whole = {use.path: use.weight for use in job.adapters}
    with Blend(transformer, found, {path: whole.get(path, 0.0) for path in found}):
        yield adapted
