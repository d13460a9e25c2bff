"""The loop. It adds up what an objective says over micro-batches and ranks, divides once, and makes a step.

Its promises: the same update however a step is cut into micro-batches or ranks; a run that was killed and continued
has the same bits as one that was not; a step that would ruin the model is not taken; whatever is said to be saved is.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lavra.errors import LavraError
from lavra.objectives.objective import Objective, pulling
from lavra.training.callbacks import Callback, Result, Step
from lavra.training.checkpoints import Checkpoint, Checkpoints, Part, random_state, restore_random_state
from lavra.training.evaluation import Evaluate
from lavra.training.forward import Forward
from lavra.training.gradients import GradientSums, squared_norm
from lavra.training.guard import IN_A_ROW, Guard
from lavra.training.hardware import memory_used
from lavra.training.history import History
from lavra.training.loader import Loader
from lavra.training.optimiser import AdamW
from lavra.training.plan import Plan, Work, held_beside, make_plan
from lavra.training.ranks import Ranks
from lavra.training.recompute import recompute
from lavra.training.run import RunDirectory, require_same
from lavra.training.said import end_message, memory_explained, step_line
from lavra.training.schedules import rate_share
from lavra.training.settings import TrainSettings
from lavra.training.stopping import StopWish


class _Interrupted(Exception):
    """A step was given up because somebody wishes to stop; nothing of it remains."""


class Trainer:
    """One run of ``model`` on ``objective`` with the steps of ``loader``, in ``run``.

    Parameters that require gradients are trained, the others are not; those of bf16 get float32 masters. A run whose
    directory has checkpoints continues from the last; it must have the same settings and data. ``evaluate`` is called
    every ``evaluate_every`` steps and at the end; when it is given, the model ends with the best weights it has seen.
    ``context`` and ``longest``: mean length of a token's own text and the longest row, for the plan. ``about``: what
    ``run.json`` says of model and data; part of the run's identity.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        loader: Loader,
        settings: TrainSettings,
        run: RunDirectory,
        *,
        evaluate: Evaluate | None = None,
        callbacks: Sequence[Callback] = (),
        ranks: Ranks | None = None,
        context: float | None = None,
        longest: int | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.objective, self.loader, self.run = model, objective, loader, run
        self.device = next(model.parameters()).device
        self.evaluate = evaluate
        self.ranks = ranks if ranks is not None else Ranks(settings.distributed)
        self.settings = settings = replace(settings.resolved(self.device), distributed=self.ranks.mode)
        self.callbacks = list(callbacks) if self.ranks.first else []
        self.about = dict(about or {})
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise LavraError("nothing of this model is trained; attach an adapter or make its weights trainable")
        self.steps = settings.steps if settings.steps is not None else loader.steps(settings.epochs or 1)
        self.step = 0
        self.history = History(settings.watch, settings.higher_is_better, settings.patience)
        self.save_every = settings.save_every or max(1, self.steps // 10)
        self.checkpoints = Checkpoints(run.checkpoints, keep=settings.keep, ranks=self.ranks)
        self.guard = Guard(settings.spike)
        self.rate_factor, self.rewinds, self._rewound_to = 1.0, 0, -1
        self.tokens = 0
        self._context, self._longest = context, longest
        self._identity: dict[str, Any] = {
            "settings": settings.recipe,
            "data": loader.fingerprint,
            "trained": sorted([name, list(p.shape)] for name, p in model.named_parameters() if p.requires_grad),
            "about": self.about,
        }
        self.work = Work(model)
        self.plan: Plan = self._plan()
        self._prepare()

    # ── before the first step ────────────────────────────────────────────────────────────────────────────────────

    def _plan(self) -> Plan:
        longest = self._longest or min(self.settings.micro_tokens or 1, self.settings.batch_tokens)
        return make_plan(
            self.model,
            self.settings,
            steps=self.steps,
            tokens=self.steps * self.settings.batch_tokens,
            context=self._context or longest,
            longest=longest,
            ranks=self.ranks.count,
            beside=held_beside(self.objective, self.model),
        )

    def _prepare(self) -> None:
        blocks = [block for name, block in self.model.named_modules() if _is_block(name)]
        if self.settings.checkpointing:
            recompute(blocks)
        if self.settings.compile and self.device.type == "cuda":
            for block in blocks:
                block.compile()
        self.model.train()
        self.forward = Forward(self.model, self.objective)
        if self.ranks.mode == "ddp":
            with torch.no_grad():
                self.ranks.broadcast(parameter.data for parameter in self.model.parameters())
        elif self.ranks.mode == "fsdp":
            self.ranks.shard(self.forward, blocks)
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self._parts: dict[str, Part] = {name: self.ranks.part(p) for name, p in trained.items()}
        self.sums = GradientSums(trained)
        self._pulling = pulling(self.objective)
        if self.ranks.mode == "fsdp":
            for one in self._pulling:
                one.take_part({name: slice(first, first + rows) for name, (first, rows, _) in self._parts.items()})
        self.optimiser = AdamW(
            trained,
            betas=self.settings.betas,
            epsilon=self.settings.epsilon,
            weight_decay=self.settings.weight_decay,
        )

    # ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────

    def train(self) -> Result:
        """All steps that are left. Ctrl-C and SIGTERM save and end it, with a result that says so."""
        began = time.perf_counter()
        if self.ranks.first:
            self.run.lock()
        try:
            self._begin()
            for callback in self.callbacks:
                callback.begin(self.plan, self.step)
            with StopWish() as wish:
                stopped = self._steps(wish)
                result = self._end(stopped, time.perf_counter() - began)
            for callback in self.callbacks:
                callback.end(result)
            return result
        finally:
            self.sums.close()
            for callback in self.callbacks:
                callback.close()
            if self.ranks.first:
                self.run.unlock()

    def _begin(self) -> None:
        """Continue where the last checkpoint is, or write the first one."""
        found = self.checkpoints.latest()
        if found is None:
            if self.ranks.first:
                self.run.describe({**self._identity, "steps": self.steps, "plan": dict(self.plan.rows())})
                self.run.rewind(-1)
            self.plan.require_room()
            torch.manual_seed(self.settings.seed + self.ranks.rank)  # dropout's
            self._remember()
            self._save()  # what a run that diverges at once goes back to
            return
        checkpoint, state = found
        require_same(self.run.path, state["identity"], self._identity)
        self._load(checkpoint, state)
        self.loader.load_state_dict(state["loader"])
        if self.ranks.first:
            self.run.rewind(self.step)
        self.ranks.wait()
        self.history.lines = self.run.lines("evaluations")
        self._event(f"continues after step {self.step}")
        self._remember()

    def _steps(self, wish: StopWish) -> str:
        """Until the end, or a reason to stop: "finished", "interrupted", "patience" or "diverged"."""
        if self._evaluation_due() and self.step not in self.history.steps:
            self._evaluate()  # a kill came between the checkpoint and its evaluation
        while self.step < self.steps:
            if self.history.out_of_patience:
                return "patience"
            try:
                with memory_explained(self.settings):
                    stop = self._one_step(wish)
            except _Interrupted:
                stop = True
            if stop:
                self._save()
                return "interrupted"
            if self.guard.refused >= IN_A_ROW:
                if self.rewinds >= self.settings.rewinds or not self._rewind():
                    return "diverged"
                continue
            due = self._evaluation_due()
            if due or self.step % self.save_every == 0 or self.step == self.steps:
                self._save()
            if due:
                self._evaluate()
        return "patience" if self.history.out_of_patience and self.step < self.steps else "finished"

    def _one_step(self, wish: StopWish) -> bool:
        """One step; true if somebody wishes to stop after it. Raises _Interrupted, having undone what there was of it,
        if that is possible at once."""
        began = time.perf_counter()
        totals, operations = self._backward(wish)
        found = self._add_up(totals, wish)
        stop, count, tokens = found.pop("stop"), found.pop("count"), round(found.pop("tokens"))
        if count <= 0:
            raise LavraError(
                f"no token of step {self.step + 1} is learned from: every label of its examples is masked; look at "
                "the examples' roles and at what the template marks as answers"
            )
        found |= self._pull(count)
        squares = squared_norm(self.sums.get()).to(self.device).reshape(1)
        if self.ranks.mode == "fsdp":
            self.ranks.add([squares])
        norm = math.sqrt(float(squares)) * self.ranks.averages / count if math.isfinite(float(squares)) else math.nan
        loss = found.pop("loss") / count  # of the texts alone: a price that rises is no divergence
        reason = self.guard.judge(loss, norm)
        rate = self.rate(self.step)
        if reason is None:
            clipped = min(1.0, self.settings.clip / norm) if self.settings.clip and norm > 0 else 1.0
            divisor = count / (self.ranks.averages * clipped)
            self.optimiser.step(self.sums.get(), rate=rate, divisor=divisor)
        self.sums.clear()
        self.step += 1
        self.tokens += tokens
        self._remember()
        if reason is not None:
            self._event(f"{reason}; the update of this step was not made")
        self._log(loss, norm, rate, count, tokens, found, operations, time.perf_counter() - began, reason)
        return stop > 0

    def _backward(self, wish: StopWish) -> tuple[dict[str, Tensor], float]:
        """Gradients of this rank's micro-batches into the sums; and the sums of what is counted."""
        totals: dict[str, Tensor] = {}
        operations = 0.0
        for micro in self.loader.next_step(self.ranks.rank, self.ranks.count):
            if wish.made and self.ranks.count == 1:
                self.sums.clear()
                raise _Interrupted
            batch = self.objective.collate(micro.examples).to(self.device)
            total, count = self.forward(batch)
            if micro.filler:
                total = total * 0.0
            if total.requires_grad:
                total.backward()
                self.sums.finish()
            if micro.filler:
                continue
            counted = {"loss": total, "count": count, "tokens": torch.tensor(float(batch.tokens))}
            if hasattr(self.objective, "metrics"):
                with torch.no_grad():
                    for name, (above, below) in self.forward(batch, metrics=True).items():
                        counted |= {f"{name}/sum": above, f"{name}/count": below}
            for name, value in counted.items():
                value = value.detach().double().to(self.device)
                totals[name] = totals[name] + value if name in totals else value
            operations += self.work.of_batch(batch)
        self.ranks.forget_whole(self.forward)  # metrics gather them again
        return totals, operations

    def _pull(self, count: float) -> dict[str, float]:
        """What holds the weights themselves, into the sums; and what it costs."""
        if not self._pulling:
            return {}
        sums, price = self.sums.complete(), torch.zeros(1, device=self.device)
        for one in self._pulling:
            price += one.pull(self.optimiser.masters, sums, count / self.ranks.averages)
        if self.ranks.mode == "fsdp":
            self.ranks.add([price])
        return {"anchor": float(price)}

    def _add_up(self, totals: dict[str, Tensor], wish: StopWish) -> dict[str, float]:
        """Over ranks: the sums of gradients in place, and the counted sums as numbers; metrics divided."""
        if self.ranks.mode == "ddp":
            self.ranks.add(self.sums.complete().values())
        totals["stop"] = torch.tensor(float(bool(wish.made)), dtype=torch.float64, device=self.device)
        for name in ("loss", "count", "tokens"):  # a rank may have had fillers only
            totals.setdefault(name, torch.zeros((), dtype=torch.float64, device=self.device))
        names = sorted(totals)
        vector = torch.stack([totals[name] for name in names])
        self.ranks.add([vector])
        found = dict(zip(names, vector.tolist(), strict=True))
        for name in [name for name in names if name.endswith("/sum")]:
            metric = name.removesuffix("/sum")
            below = found.pop(f"{metric}/count")
            above = found.pop(name)
            if below:
                found[metric] = above / below
        return found

    def rate(self, step: int) -> float:
        """The learning rate of a step, as it is now (rewinding halves it)."""
        return self.settings.learning_rate * self.rate_factor * rate_share(self.settings, step, self.steps)

    # ── saving, going back ───────────────────────────────────────────────────────────────────────────────────────

    def _remember(self) -> None:
        """What a checkpoint says of loader and random numbers: as they are between two steps."""
        self._between = self.loader.state_dict(), random_state()

    def _save(self) -> None:
        """A full disk is said, and does not stop the run."""
        loader, random = self._between
        updates, tensors = self.optimiser.state()
        if self.ranks.mode == "ddp" and not self.ranks.first:
            tensors = {}  # the first one has the same
        state = {
            "step": self.step,
            "identity": self._identity,
            "loader": loader,
            "guard": self.guard.state_dict(),
            "updates": updates,
            "rate_factor": self.rate_factor,
            "rewinds": self.rewinds,
            "rewound_to": self._rewound_to,
            "tokens": self.tokens,
        }
        best = self.history.best
        try:
            self.checkpoints.save(
                self.step, state, tensors, self._parts, best=None if best is None else best["step"], random=random
            )
        except OSError as error:
            kept = self.checkpoints.all()
            last = f"that of step {kept[-1].step} is kept" if kept else "there is none yet"
            self._event(f"the checkpoint could not be written ({error.strerror or error}); {last}, and the run goes on")

    def _load(self, checkpoint: Checkpoint, state: Mapping[str, Any]) -> None:
        """Everything but the loader's place."""
        wanted = {
            "weights": self._parts,
            "first": {name: self._parts[name] for name in state["updates"]},
            "second": {name: self._parts[name] for name in state["updates"]},
        }
        tensors, random = self.checkpoints.load(checkpoint, wanted)
        self.optimiser.load(state["updates"], tensors)
        self.step, self.tokens = state["step"], state["tokens"]
        self.rate_factor, self.rewinds = state["rate_factor"], state["rewinds"]
        self._rewound_to = state["rewound_to"]
        self.guard.load_state_dict(state["guard"])
        if random is not None:
            restore_random_state(random)

    def _rewind(self) -> bool:
        """Back to a checkpoint with half the rate; data that came since is left out. False if there is none."""
        candidates = self.checkpoints.all()
        older = [one for one in candidates if one.step != self._rewound_to] or candidates
        for checkpoint in reversed(older):
            state = self.checkpoints.read_state(checkpoint)
            if state is None:
                continue
            rewinds, factor, tokens, left = self.rewinds + 1, self.rate_factor / 2, self.tokens, self.step
            self._load(checkpoint, state)
            self.rewinds, self.rate_factor, self.tokens = rewinds, factor, tokens
            self._rewound_to = checkpoint.step
            self.guard.refused = 0
            self._remember()
            self._event(
                f"{IN_A_ROW} updates in a row could not be made: back from step {left} to {checkpoint.step}, with "
                f"{factor:g} of the rate; the data in between is left out"
            )
            return True
        return False

    # ── evaluating ───────────────────────────────────────────────────────────────────────────────────────────────

    def _evaluation_due(self) -> bool:
        every = self.settings.evaluate_every
        at_end = self.step == self.steps
        return self.evaluate is not None and self.step > 0 and (at_end or bool(every and self.step % every == 0))

    def _evaluate(self) -> None:
        assert self.evaluate is not None
        before = random_state()
        self.model.eval()
        try:
            with torch.no_grad():
                metrics = {name: float(value) for name, value in self.evaluate(self.forward).items()}
        finally:
            self.model.train()
            self.ranks.forget_whole(self.forward)
            restore_random_state(before)
        if self.settings.watch not in metrics:
            raise LavraError(f"the evaluation has no {self.settings.watch!r}, only {', '.join(metrics) or 'nothing'}")
        line = {"step": self.step, **metrics}
        self.history.lines.append(line)
        if self.ranks.first:
            self.run.log("evaluations", line)
        for callback in self.callbacks:
            callback.evaluated(self.step, metrics, self.history.best is line)

    # ── saying ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _event(self, text: str) -> None:
        if self.ranks.first:
            self.run.event(self.step, text)
        for callback in self.callbacks:
            callback.event(self.step, text)

    def _log(
        self,
        loss: float,
        norm: float,
        rate: float,
        count: float,
        tokens: int,
        metrics: Mapping[str, float],
        operations: float,
        seconds: float,
        skipped: str | None,
    ) -> None:
        if not self.ranks.first:
            return
        step = Step(
            self.step, self.steps, loss, rate, norm, count, tokens, seconds, operations / seconds / self.plan.peak,
            memory_used(self.device), dict(metrics), skipped,
        )  # fmt: skip
        self.run.log("metrics", step_line(step))
        for callback in self.callbacks:
            callback.step(step)

    def _end(self, stopped: str, seconds: float) -> Result:
        best = self.history.best
        at, held = self.step, None
        checkpoint = next(reversed(self.checkpoints.all()), None)
        if stopped == "diverged":
            held = self._calmest() if best is None else best["step"]
        elif stopped in ("finished", "patience") and best is not None and best["step"] != self.step:
            held = best["step"]
        if held is not None:
            held = self._restore(held)
        losses = [line["loss"] for line in self.run.lines("metrics")[-16:] if isinstance(line["loss"], float)]
        return Result(
            stopped=stopped,
            step=at,
            steps=self.steps,
            loss=statistics.fmean(losses) if losses else math.nan,
            tokens=self.tokens,
            seconds=seconds,
            best=held,
            metrics={key: value for key, value in (best or {}).items() if key != "step"},
            checkpoint=checkpoint.path if checkpoint else None,
            message=end_message(self.settings, stopped, at, self.steps, held, checkpoint, self.rate_factor),
        )

    def _calmest(self) -> int | None:
        """Of the checkpoints that are there, the one with the lowest training loss before it."""
        found = []
        for checkpoint in self.checkpoints.all():
            state = self.checkpoints.read_state(checkpoint)
            if state is not None:
                losses = state["guard"]["losses"][-8:]
                found.append((statistics.median(losses) if losses else math.inf, checkpoint.step))
        return min(found)[1] if found else None

    def _restore(self, step: int) -> int | None:
        """Put a checkpoint's weights into the model; None if it is not there whole."""
        for checkpoint in self.checkpoints.all():
            state = self.checkpoints.read_state(checkpoint) if checkpoint.step == step else None
            if state is not None:
                self._load(checkpoint, state)
                return step
        return None


def _is_block(name: str) -> bool:
    parts = name.split(".")
    return len(parts) >= 2 and parts[-2] == "blocks" and parts[-1].isdigit()
