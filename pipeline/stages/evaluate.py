"""The stage that asks every model the same held-out questions and keeps every answer.

1. Find the models and the questions; say what is missing.
2. Take over answers that are already stored, here (a stopped evaluation) or in another run of the home (the same
   model files, questions and settings).
3. Generate the rest with the run's engine, judge each answer as it comes, store it with its batch.
"""

import sqlite3
from pathlib import Path
from typing import Any

from pipeline.dataset.chat import ChatTokenizer, prompt_ids
from pipeline.dataset.models import model_folder
from pipeline.dataset.prepare import load_benchmark, read_part
from pipeline.engines.base import Engine, Sample, Sampling
from pipeline.errors import RunError
from pipeline.evaluation import (
    Contender,
    EvaluationRequest,
    answer_record,
    contenders,
    folder_hash,
    rows_hash,
    scheme_for,
    settings_key,
    usable_rows,
)
from pipeline.recipe import Recipe
from pipeline.run import Run
from pipeline.run_folder import AnswerRecord, RunFolder, RunReader
from pipeline.stages.process import in_own_process_on_gpu
from pipeline.tags import system_prompt

ANSWER_COLUMNS = tuple(AnswerRecord.__dataclass_fields__)
CACHE_RUNS = 50  # how many of the newest other runs are looked through for a result


@in_own_process_on_gpu
def evaluate(run: Run) -> None:
    """The models and questions that the recipe names, or that `run.request` asks for. Raises Stopped, StudioError."""
    evaluate_request(run, EvaluationRequest.of(run.recipe, run.request))


def evaluate_request(run: Run, request: EvaluationRequest, engine: Engine | None = None) -> None:
    """Answer the questions of a request with its models and store the answers in the run."""
    engine = engine or _engine(run)
    models, absent = contenders(run.folder, run.recipe, request)
    for sentence in absent:
        run.event("warning", sentence)
    if not models:
        raise RunError("There is no model to evaluate. " + " ".join(absent))
    questions = {name: _questions(run, name, request) for name in request.benchmarks}
    total = len(models) * sum(len(rows) for rows in questions.values()) * request.samples
    done = 0
    for contender in models:
        for benchmark, rows in questions.items():
            done = _Evaluation(run, request, engine, contender, benchmark, rows, done, total).run_it()
    run.progress(total, total, "answers", "All answers are in.")


def _engine(run: Run) -> Engine:
    from pipeline.engines.choose import engine_for  # brings torch, which only the worker may import

    return engine_for(run.recipe.model)


def _questions(run: Run, name: str, request: EvaluationRequest) -> list[dict[str, Any]]:
    """The usable rows of a benchmark, each with the system prompt that names the tags."""
    rows = read_part(run.folder.data("test")) if name == "test" else load_benchmark(name)
    rows, notes = usable_rows(rows, name)
    for note in notes:
        run.event("warning", note)
    prompt = request.system_prompt
    if prompt is None and (name != "test" or request.tags is not None):
        prompt = run.recipe.data.system_prompt or system_prompt(scheme_for(request, run.recipe))
    rows = rows if prompt is None else [row | {"system": prompt} for row in rows]
    return rows[: request.limit] if request.limit else rows


class _Evaluation:
    """One model on one benchmark."""

    def __init__(self, run: Run, request: EvaluationRequest, engine: Engine, contender: Contender, benchmark: str,
                 rows: list[dict[str, Any]], done: int, total: int) -> None:
        self.run, self.request, self.engine = run, request, engine
        self.contender, self.benchmark, self.rows = contender, benchmark, rows
        self.done, self.total = done, total
        self.scheme = scheme_for(request, run.recipe)
        recipe: Recipe = run.recipe
        self.limit = request.max_completion_tokens or recipe.grpo.max_completion_tokens
        revision = recipe.model.revision if contender.source == recipe.model.source else None
        self.source = Path(model_folder(contender.source, revision))
        parts = [self.source, *([contender.adapter] if contender.adapter else [])]
        self.settings = settings_key(request, contender, folder_hash(parts), rows_hash(rows), self.limit,
                                     self.scheme, recipe.seed)

    def run_it(self) -> int:
        """Complete this part; returns how many answers are done in all."""
        self._expect()
        missing = self._missing()
        if missing and self._take_over(missing):
            missing = self._missing()
        self.done += (len(self.rows) - len(missing)) * self.request.samples
        self._progress()
        if missing:
            self._generate(missing)
        self.run.check_stop()
        return self.done

    def _expect(self, **facts: Any) -> None:
        """Record how many answers there will be, so that a stopped evaluation is known to be partial; and facts."""
        known = RunReader(self.run.folder).status().get("evaluations") or []
        entry = {"model": self.contender.label, "benchmark": self.benchmark, "settings": self.settings}
        before = next((e for e in known if all(e[k] == v for k, v in entry.items())), {})
        others = [e for e in known if e is not before]
        new = {**before, **entry, "questions": len(self.rows), "samples": self.request.samples, **facts}
        self.run.writer.set_status(evaluations=[*others, new])

    def _missing(self) -> list[int]:
        """Indices of the questions without all their answers."""
        sql = ("SELECT question_index, COUNT(*) AS n FROM evaluations WHERE model = ? AND benchmark = ? "
               "AND settings = ? GROUP BY question_index")
        rows = RunReader(self.run.folder).rows(sql, (self.contender.label, self.benchmark, self.settings))
        counts = {row["question_index"]: row["n"] for row in rows}
        return [i for i in range(len(self.rows)) if counts.get(i, 0) < self.request.samples]

    def _take_over(self, missing: list[int]) -> bool:
        """Copy answers with the same settings from another run; whether there were any."""
        for other in _other_runs(self.run.folder):
            wanted = set(missing)
            found = [a for a in _stored(other, self.settings) if a["question_index"] in wanted]
            if found:
                found = [a | {"model": self.contender.label, "benchmark": self.benchmark} for a in found]
                self.run.writer.add_answers(AnswerRecord(**{c: a[c] for c in ANSWER_COLUMNS}) for a in found)
                self.run.event("info", f"{len(found)} answers of {self.contender.label} to {self.benchmark} are taken "
                                       f"from run {other.id}: same model, questions and settings.")
                return True
        return False

    def _generate(self, missing: list[int]) -> None:
        chat = ChatTokenizer.load(str(self.source), template=self.run.recipe.model.chat_template)
        prompts = [prompt_ids(chat, self.rows[i]) for i in missing]
        sampling = Sampling(
            max_completion_tokens=self.limit, temperature=self.request.temperature, top_p=self.request.top_p,
            top_k=self.request.top_k, samples=self.request.samples, batch_size=self.request.batch_size,
            seed=self.run.recipe.seed + missing[0])
        self._progress(f"Loading {self.contender.label} …")
        self.run.check_stop()

        def on_batch(first: int, answers: list[list[Sample]]) -> None:
            self._store(missing[first : first + len(answers)], answers)

        with self.engine.generator(self.run, self.source, self.contender.adapter,
                                   self.contender.precision) as generator:
            self._expect(**_facts(generator))
            generator.generate(prompts, sampling, on_batch, self.run.stop_requested)

    def _store(self, indices: list[int], answers: list[list[Sample]]) -> None:
        records = [
            answer_record(self.contender, self.benchmark, self.settings, index, s, self.rows[index], sample.text,
                          sample.tokens, sample.truncated, sample.seconds, self.scheme)
            for index, samples in zip(indices, answers, strict=True) for s, sample in enumerate(samples)]
        self.run.writer.add_answers(records)
        self.done += len(records)
        self._progress()

    def _progress(self, message: str = "") -> None:
        text = message or f"{self.contender.label} ({self.contender.precision}) answers {self.benchmark}"
        self.run.progress(self.done, self.total, "answers", text)


def _facts(generator: Any) -> dict[str, Any]:
    """How the weights are held and how many bytes they take, where the generator can tell."""
    footprint = getattr(getattr(generator, "model", None), "get_memory_footprint", None)
    return {"method": getattr(generator, "method", None), "bytes": int(footprint()) if footprint else None}


def _other_runs(folder: RunFolder) -> list[RunFolder]:
    """The newest other runs beside this one that have a store."""
    stores = [p for p in folder.path.parent.glob("*/run.db") if p.parent != folder.path]
    newest = sorted(stores, key=lambda p: p.stat().st_mtime, reverse=True)[:CACHE_RUNS]
    return [RunFolder(p.parent) for p in newest]


def _stored(other: RunFolder, settings: str) -> list[dict[str, Any]]:
    """Answers with exactly these settings; none where the other store cannot be read."""
    try:
        return RunReader(other).rows("SELECT * FROM evaluations WHERE settings = ?", (settings,))
    except (RunError, sqlite3.Error):
        return []
