"""The stages of one compression, each bound to the job's settings and run folder; `pipeline.py` puts them in order."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from edgekd.data import Samples
from edgekd.distill.stage import post_training_quantized, train_float, train_quantized
from edgekd.export.artifacts import Description, export_onnx_artifact, export_tvm_artifact
from edgekd.export.verify import Exported
from edgekd.inputs import Inputs
from edgekd.job import Job
from edgekd.journal import Outcome
from edgekd.models.evaluate import measure
from edgekd.progress import Progress
from edgekd.prune.groups import ChannelMap
from edgekd.quantities import describe_metric
from edgekd.records import Artifact, Cost, Deployment, ParetoFront, Plan, Precision
from edgekd.search.deployment import describe_deployment
from edgekd.search.front import front_document
from edgekd.search.plan_costs import plan_cost
from edgekd.search.stage import find_front
from edgekd.store import RunFolder, write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """What every stage needs: the job, its inputs and ranked groups, the run folder, and whom to report to."""

    job: Job
    inputs: Inputs
    channels: ChannelMap
    run: RunFolder
    progress: Progress

    @property
    def original(self) -> fx.GraphModule:
        """The network as it came, the teacher of everything."""
        return self.inputs.model.network

    @property
    def calibration(self) -> Samples:
        """The training samples that re-estimate batch norm and calibrate ranges."""
        recipe = self.job.recipe
        return self.inputs.splits.train.sample(recipe.recalibration_samples, recipe.seed)

    def measure(self, outcome: Outcome, network: fx.GraphModule, summary: str) -> None:
        """Record a network's metric on `validation`."""
        inputs = self.inputs
        metric = measure(network, inputs.splits.validation, inputs.normalization, split="validation", task=inputs.task)
        outcome.accuracy = metric
        outcome.parameters = sum(parameter.numel() for parameter in network.parameters())
        outcome.summary = f"{summary}: {describe_metric(metric)}"

    def search(self, exported: tuple[Exported, ...]) -> ParetoFront:
        """Search widths within the budgets and write `search/front.json`."""
        size_of = self.job.recipe.size_of
        front = find_front(
            self.original,
            self.channels,
            self.inputs,
            target=self.job.target,
            budgets=self.job.budgets,
            original_bytes=next(e.artifact.size_bytes for e in exported if e.artifact.precision == size_of),
            recipe=self.job.recipe,
            run=self.run,
            on_progress=self.progress.update,
        )
        write_json(self.run.search / "front.json", front_document(front))
        return front

    def distill(self, student: fx.GraphModule) -> fx.GraphModule:
        """Train the student from the original network's outputs and the targets."""
        return train_float(
            student,
            self.original,
            self.inputs,
            self.job.recipe,
            name="distill",
            epochs=self.job.recipe.float_epochs,
            checkpoint=self.run.distilled,
            logs=self.run.logs,
            on_progress=self.progress.update,
        )

    def fine_tune_original(self) -> fx.GraphModule:
        """Train the uncompressed network on the targets, for as many epochs as the student has in all."""
        return train_float(
            self.original,
            None,
            self.inputs,
            self.job.recipe,
            name="baseline",
            epochs=self.job.recipe.epochs,
            checkpoint=self.run.baseline,
            logs=self.run.logs,
            on_progress=self.progress.update,
        )

    def quantize(self, student: fx.GraphModule) -> fx.GraphModule:
        """Go on distilling with fake quantization."""
        return train_quantized(
            student,
            self.original,
            self.inputs,
            self.job.recipe,
            calibration=self.calibration,
            checkpoint=self.run.quantized,
            previous=self.run.distilled,
            logs=self.run.logs,
            on_progress=self.progress.update,
        )

    def export_original(self) -> tuple[Exported, ...]:
        """Export the network as it came in every precision of the target; int8 by post-training quantization."""
        prepared = post_training_quantized(self.original, self.inputs, self.calibration)
        return self._export("original", self.channels.full_plan(), self.original, prepared)

    def export_baseline(self, baseline: fx.GraphModule) -> tuple[Exported, ...]:
        """Export the fine-tuned original in fp32."""
        plan = self.channels.full_plan()
        return (self._export_one("fine-tuned only", plan, baseline, "fp32", self._processor("fp32")),)

    def export_compressed(self, plan: Plan, student: fx.GraphModule, prepared: fx.GraphModule) -> tuple[Exported, ...]:
        """Export the student in every precision of the target, and as a TVM library where that is wanted."""
        exported = self._export("compressed", plan, student, prepared)
        if not self.job.with_tvm:
            return exported
        source = next(e for e in exported if e.artifact.precision == "fp32")
        path = self.run.root / source.artifact.path
        library = export_tvm_artifact(path, self.run.root, "model", self._about(plan))
        # The tables are measured with other runtimes, and say nothing about TVM's code.
        cost = Cost(macs=source.cost.macs, parameters=source.cost.parameters, latency_us=None, energy_uj=None)
        return (
            *exported,
            Exported(
                name="compressed fp32, TVM library",
                artifact=library,
                network=student,
                cost=cost,
                parameters=source.parameters,
                source=source.artifact.path,
            ),
        )

    def deployment(self, plan: Plan) -> Deployment:
        """Return what the deployed artifact runs on, with its predicted cost by operator."""
        return describe_deployment(self.original, self.channels, plan, self.job.target)

    def _export(self, kind: str, plan: Plan, network: fx.GraphModule, prepared: fx.GraphModule) -> tuple[Exported, ...]:
        return tuple(
            self._export_one(
                f"{kind} {precision}",
                plan,
                prepared if precision == "int8" else network,
                precision,
                processor,
            )
            for precision, processor in self.job.target.artifacts
        )

    def _export_one(
        self, name: str, plan: Plan, network: fx.GraphModule, precision: Precision, processor: str
    ) -> Exported:
        stem = {"compressed": "model", "fine-tuned": "baseline"}.get(name.split()[0], "original")
        artifact: Artifact = export_onnx_artifact(network, self.run.root, stem, precision, processor, self._about(plan))
        cost = plan_cost(self.original, self.channels, plan, self.job.target, precision, processor)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        return Exported(name=name, artifact=artifact, network=network, cost=cost, parameters=parameters)

    def _processor(self, precision: Precision) -> str:
        return next((kind for p, kind in self.job.target.artifacts if p == precision), "cpu")

    def _about(self, plan: Plan) -> Description:
        return Description(
            target=self.job.target,
            plan=plan,
            inputs=self.inputs.artifact_inputs,
            normalization=self.inputs.normalization,
            labels=self.inputs.dataset.classes,
            teacher_digest=self.inputs.model.digest,
            task=self.inputs.task.name,
            output=self.inputs.task.output,
        )
