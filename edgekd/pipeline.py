"""The whole job, from a model file to verified artifacts and a report.

Every stage is repeatable: it is seeded, and what is slow in it (measured losses, trained epochs) is kept on disk. To
resume is therefore to run the same job again in the same folder.
"""

from __future__ import annotations

from edgekd.errors import BudgetError, ParityError
from edgekd.export.artifacts import save_student
from edgekd.export.tvm.compile import require_tvm
from edgekd.export.verify import Exported, verify
from edgekd.inputs import Inputs, load_inputs
from edgekd.job import Job, provenance, run_folder, take_over, take_over_student
from edgekd.journal import Journal
from edgekd.progress import Progress
from edgekd.prune.groups import find_groups
from edgekd.prune.slicing import narrow
from edgekd.quantities import format_size
from edgekd.ranking import rank_groups, write_ranking
from edgekd.records import ParetoFront, Report
from edgekd.report.collect import finish_report, judge, launch_remarks, remarks
from edgekd.report.document import write_report
from edgekd.search.accuracy import recalibrate
from edgekd.search.front import choose
from edgekd.search.plan_costs import require_tables
from edgekd.search.stage import search_space
from edgekd.search.stopping import RULES
from edgekd.stages import Stages
from edgekd.store import RunFolder


def compress(job: Job, progress: Progress) -> Report:
    """Run every stage and return the report, which is also in the run folder, with everything else.

    Raises:
        VerdictError: A budget cannot be met, or an artifact does not compute what was trained.
        InputError: The model, the data or an option cannot be used.
        SetupError: TVM was asked for and cannot be used here.
        StageError: A stage failed half way; the same job with `is_resumed` goes on from there.
    """
    if job.with_tvm:
        require_tvm(job.target.processor("cpu"))
    inputs = _load(job, progress)
    with run_folder(job, inputs.dataset.digest) as run:
        take_over(job, run)
        report = _run_stages(job, inputs, run, progress)
    _raise_verdict(report)
    return report


def search(job: Job, progress: Progress) -> ParetoFront:
    """Run the stages up to the search and return the front, which is also in the run folder.

    The same job given to `compress`, with `is_resumed`, goes on from there.

    Raises:
        VerdictError: A budget cannot be met.
        InputError: The model, the data or an option cannot be used.
    """
    inputs = _load(job, progress)
    with run_folder(job, inputs.dataset.digest) as run:
        take_over(job, run)
        journal = Journal(run.journal, progress)
        return _search(journal, _stages(job, inputs, run, progress))[1]


def _load(job: Job, progress: Progress) -> Inputs:
    """Load model and data, and refuse a job that cannot be done before it has a folder."""
    require_tables(job.target, job.budgets)
    progress.begin("load")
    inputs = load_inputs(job.source, job.data, job.recipe, job.cache)
    search_space(find_groups(inputs.model.network), job.target, job.recipe)
    return inputs


def _stages(job: Job, inputs: Inputs, run: RunFolder, progress: Progress) -> Stages:
    recipe = job.recipe
    samples = inputs.splits.train.sample(recipe.recalibration_samples, recipe.seed)
    network = inputs.model.network
    channels = rank_groups(network, recipe.importance, inputs=inputs, samples=samples, seed=recipe.seed)
    return Stages(job=job, inputs=inputs, channels=channels, run=run, progress=progress)


def _search(journal: Journal, stages: Stages) -> tuple[tuple[Exported, ...], ParetoFront]:
    """Measure and export the network as it came, which the sizes are predicted from, and search."""
    with journal.stage("load") as outcome:
        stages.measure(outcome, stages.original, f"{len(stages.channels.prunable)} groups can be narrowed")
    with journal.stage("original") as outcome:
        exported = stages.export_original()
        outcome.summary = "exported uncompressed"
    with journal.stage("search") as outcome:
        front = stages.search(exported)
        write_ranking(stages.run.search, stages.channels, stages.job.recipe.importance)
        found = f"{front.evaluations} plans measured, {len(front.candidates)} on the front"
        outcome.summary = f"{found}, ended by {RULES[front.ended_by]}"
    return exported, front


def _run_stages(job: Job, inputs: Inputs, run: RunFolder, progress: Progress) -> Report:
    journal = Journal(run.journal, progress)
    stages = _stages(job, inputs, run, progress)
    channels = stages.channels
    exported, front = _search(journal, stages)
    chosen = choose(front)
    plan = chosen.plan
    with journal.stage("prune") as outcome:
        take_over_student(job, run, plan)
        student = narrow(stages.original, channels, plan)
        recalibrate(student, stages.calibration, inputs.normalization)
        outcome.macs = chosen.macs
        stages.measure(outcome, student, f"plan {plan.id}")
    with journal.stage("distill") as outcome:
        student = stages.distill(student)
        stages.measure(outcome, student, f"{job.recipe.float_epochs} epochs")
    with journal.stage("quantize") as outcome:
        prepared = stages.quantize(student)
        stages.measure(outcome, prepared, f"{job.recipe.quantized_epochs} epochs with fake quantization")
    if job.recipe.baseline:
        with journal.stage("baseline") as outcome:
            baseline = stages.fine_tune_original()
            stages.measure(outcome, baseline, f"the original after {job.recipe.epochs} epochs")
            exported += stages.export_baseline(baseline)
    with journal.stage("export") as outcome:
        save_student(student, run.student, plan, inputs.model.examples())
        write_ranking(run.student, channels, job.recipe.importance)
        made = stages.export_compressed(plan, student, prepared)
        exported += made
        outcome.summary = ", ".join(f"{e.artifact.path} {format_size(e.artifact.size_bytes)}" for e in made)
    with journal.stage("verify") as outcome:
        test = inputs.splits.open_test()  # the one place that reads the test split
        rows = verify(exported, run.root, test, inputs.normalization, progress.update, inputs.task)
        passed = sum(row.parity is not None and row.parity.passed for row in rows)
        outcome.summary = f"{passed} of {len(rows)} artifacts compute what was trained"

    deployment = stages.deployment(plan)
    report = Report(
        title=f"{job.source.path.stem} for {job.target.title}",
        verdict="pass",
        target=job.target.name,
        plan_id=plan.id,
        rows=rows,
        stages=tuple(journal.results),
        budgets=job.budgets,
        findings=(
            *inputs.model.remarks,
            *remarks([item.artifact for item in exported], rows, job.budgets),
            *launch_remarks(deployment),
        ),
        widths=tuple((group.name, group.units, dict(plan.widths)[group.name]) for group in channels.prunable),
        provenance=provenance(job, inputs),
        deployment=deployment,
    )
    report = finish_report(report, judge(rows, job.budgets))
    write_report(report, run.report)
    return report


def _raise_verdict(report: Report) -> None:
    errors = [finding for finding in report.findings if finding.level == "error"]
    if not errors:
        return
    kind = ParityError if any(finding.code == "parity-failed" for finding in errors) else BudgetError
    raise kind(
        errors[0].subject,
        expected="an artifact that keeps its promises",
        found="; ".join(finding.message for finding in errors),
        hint=f"The report of the run has every figure. {errors[0].hint or ''}".strip(),
    )
