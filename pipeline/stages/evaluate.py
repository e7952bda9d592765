"""The stage that asks every model the same held-out questions and keeps every answer.

1. Find the models and the questions; say what is missing.
2. Take over answers that are already stored, here (a stopped evaluation) or in another run of the home (the same
   model files, questions and settings).
3. Generate the rest with the run's engine, judge each answer as it comes, store it with its batch. Each model is loaded
   once for all its benchmarks (`Answering`), and not at all where nothing is missing.

Several precisions in one job are compared in size, memory and speed too, so on a CPU each gets a process of its own,
whose largest resident memory is measured; one that has all its answers already answers a batch again to be measured.
The page shows one progress over all of them (`Run.part`).
"""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.contestants import title_of
from pipeline.dataset.chat import ChatTokenizer, prompt_ids
from pipeline.dataset.models import model_folder
from pipeline.dataset.part_files import read_part
from pipeline.dataset.prepare import load_benchmark
from pipeline.engines.base import Engine, Generator, Sample, Sampling
from pipeline.errors import RewardError, RunError
from pipeline.evaluation import (
    Contender,
    EvaluationRequest,
    answer_record,
    contenders,
    folder_hash,
    rows_hash,
    sampled_alike,
    scheme_for,
    settings_key,
    tokenizer_hash,
    usable_rows,
)
from pipeline.evaluation_check import check_model, check_prompts
from pipeline.recipe import Recipe
from pipeline.rewards import math_process
from pipeline.rewards.answers import plausible
from pipeline.run import Run
from pipeline.run_folder import AnswerRecord, RunFolder, RunReader
from pipeline.stage_process import IS_CHILD, run_in_child
from pipeline.stages.answering import Answering
from pipeline.stages.process import in_own_process_on_gpu
from pipeline.tags import system_prompt
from pipeline.working_time import CLOCK

ANSWER_COLUMNS = tuple(AnswerRecord.__dataclass_fields__)
CACHE_RUNS = 50  # how many of the newest other runs are looked through for a result


@in_own_process_on_gpu
def evaluate(run: Run) -> None:
    """The models and questions that the recipe names, or that `run.request` asks for. Raises Stopped, StudioError."""
    request = EvaluationRequest.of(run.recipe, run.request)
    levels = list(dict.fromkeys(request.precisions))
    if len(levels) == 1 or IS_CHILD:
        several = request.measure or len(levels) > 1
        return evaluate_request(run, request.model_copy(update={"measure": several}))
    jobs = [(model, level) for model in _present(run, request) for level in levels]
    for number, (model, level) in enumerate(jobs):
        only = {"models": [model], "precisions": [level], "measure": True}
        run_in_child(replace(run, request={**run.request, **only}, part=(number, len(jobs))))


def _present(run: Run, request: EvaluationRequest) -> list[str]:
    """The models of a request that the run has; an event for each other one. Raises RunError when it has none."""
    models = list(dict.fromkeys(request.models))
    missing = {name: contenders(run.folder, run.recipe, request.model_copy(update={"models": [name]}))[1]
               for name in models}
    present = [name for name in models if not missing[name]]
    _tell_absent(run, [sentence for sentences in missing.values() for sentence in sentences], bool(present))
    return present


def _tell_absent(run: Run, absent: list[str], some_present: bool) -> None:
    for sentence in absent:
        run.event("warning", sentence)
    if not some_present:
        raise RunError("There is no model to evaluate. " + " ".join(absent))


def evaluate_request(run: Run, request: EvaluationRequest, engine: Engine | None = None) -> None:
    """Answer the questions of a request with its models and store the answers in the run."""
    engine = engine or _engine(run)
    models, absent = contenders(run.folder, run.recipe, request)
    _tell_absent(run, absent, bool(models))
    questions = {name: _questions(run, name, request) for name in request.benchmarks}
    parts = [[_Evaluation(run, request, contender, benchmark, rows) for benchmark, rows in questions.items()]
             for contender in models]  # all are checked before one answers
    total = sum(len(part.rows) for of_one in parts for part in of_one) * request.samples
    done = sum(part.take_stored() for of_one in parts for part in of_one)
    run.progress(done, total, "answers", "Loading")
    work = [[(part, indices) for part in of_one if (indices := part.open_questions())] for of_one in parts]
    longest = max((part.longest for of_one in work for part, _ in of_one), default=0)
    most = max((len(indices) for of_one in work for _, indices in of_one), default=0) * request.samples
    if any(work):
        with contextlib.suppress(RewardError):  # without it there are answers that need no formula
            math_process.SHARED.start()  # so that no answer waits while it loads, and vLLM with it
    with Answering(run, engine, longest, most) as answering:
        for of_one in filter(None, work):
            done = _complete(run, answering, of_one, done, total)
    run.check_stop()
    run.progress(total, total, "answers", "All answers are in." if run.part[0] + 1 == run.part[1] else "")


def _engine(run: Run) -> Engine:
    from pipeline.engines.choose import sampling_engine  # brings torch, which only the worker may import

    return sampling_engine(run.recipe.model)


def _questions(run: Run, name: str, request: EvaluationRequest) -> list[dict[str, Any]]:
    """The usable rows of a benchmark, each with the system prompt that names the tags."""
    rows = read_part(run.folder.data("test")) if name == "test" else load_benchmark(name, unanswered=True)
    rows, notes = usable_rows(rows, name)
    for note in notes:
        run.event("warning", note)
    prompt = request.system_prompt
    if prompt is None and (name != "test" or request.tags is not None):
        prompt = run.recipe.data.system_prompt or system_prompt(scheme_for(request, run.recipe))
    rows = rows if prompt is None else [row | {"system": prompt} for row in rows]
    return rows[: request.limit] if request.limit else rows


def _complete(run: Run, answering: Answering, work: list[tuple["_Evaluation", list[int]]], done: int,
              total: int) -> int:
    """Ask one contender its open questions; `done` and what it gives count all contenders' answers.

    Raises Stopped before it is loaded and after each part.
    """
    run.check_stop()
    contender, source = work[0][0].contender, work[0][0].source
    run.progress(done, total, "answers", f"Loading {contender.label} …")
    generator = answering.load(contender, source)
    for part, indices in work:
        done = part.answer(generator, indices, done, total)
        run.check_stop()
    return done


class _Evaluation:
    """One model on one benchmark. Making one raises EngineError when the model cannot answer these questions."""

    done = total = 0

    def __init__(self, run: Run, request: EvaluationRequest, contender: Contender, benchmark: str,
                 rows: list[dict[str, Any]]) -> None:
        self.run, self.request = run, request
        self.contender, self.benchmark, self.rows = contender, benchmark, rows
        self.scheme = scheme_for(request, run.recipe)
        recipe: Recipe = run.recipe
        self.limit = request.max_completion_tokens or recipe.grpo.max_completion_tokens
        self.seed = recipe.seed if request.seed is None else request.seed
        revision = recipe.model.revision if contender.source == recipe.model.source else None
        self.source = Path(model_folder(contender.source, revision))
        limits = check_model(title_of(contender.label), self.source, contender.adapter)
        chat = ChatTokenizer.load(str(self.source), template=recipe.model.chat_template)
        self.prompts = [prompt_ids(chat, row) for row in rows]
        check_prompts(title_of(contender.label), self.prompts, self.limit, limits)
        self.longest = max(map(len, self.prompts)) + self.limit  # tokens of a question with its answer
        parts = [self.source, *([contender.adapter] if contender.adapter else [])]
        self.settings = settings_key(request, contender, folder_hash(parts), rows_hash(rows), self.limit,
                                     self.scheme, self.seed)

    def take_stored(self) -> int:
        """How many answers are stored already, here or in another run; the latter are copied."""
        self._expect(tokenizer=tokenizer_hash(self.source))
        missing = self._missing()
        if missing and self._take_over(missing):
            missing = self._missing()
        return (len(self.rows) - len(missing)) * self.request.samples

    def open_questions(self) -> list[int]:
        """Indices of the questions to ask: those without all their answers, or a batch where only memory and speed
        are still to be measured."""
        if missing := self._missing():
            return missing
        if self.request.measure and "peak_bytes" not in self._expect():
            return list(range(min(len(self.rows), self.request.batch_size)))
        return []

    def _expect(self, **facts: Any) -> dict[str, Any]:
        """Record how many answers there will be, so that a stopped evaluation is known to be partial; and facts."""
        known = RunReader(self.run.folder).status().get("evaluations") or []
        entry = {"model": self.contender.label, "benchmark": self.benchmark, "settings": self.settings}
        before = next((e for e in known if all(e[k] == v for k, v in entry.items())), {})
        others = [e for e in known if e is not before]
        new = {**before, **entry, "questions": len(self.rows), "samples": self.request.samples, **facts}
        self.run.writer.set_status(evaluations=[*others, new])
        return new

    def _missing(self) -> list[int]:
        """Indices of the questions without all their answers."""
        sql = ("SELECT question_index, COUNT(*) AS n FROM evaluations WHERE model = ? AND benchmark = ? "
               "AND settings = ? GROUP BY question_index")
        rows = RunReader(self.run.folder).rows(sql, (self.contender.label, self.benchmark, self.settings))
        counts = {row["question_index"]: row["n"] for row in rows}
        return [i for i in range(len(self.rows)) if counts.get(i, 0) < self.request.samples]

    def _take_over(self, missing: list[int]) -> bool:
        """Copy answers with the same settings, from another run or judged by another tolerance; whether there were any.
        """
        for other in [self.run.folder, *_other_runs(self.run.folder)]:
            wanted = set(missing)
            found = [a for a in _stored(other, self.settings) if a["question_index"] in wanted]
            if found:
                self.run.writer.add_answers(self._judged_here(a) for a in found)
                where = "earlier" if other == self.run.folder else f"from run {other.id}"
                self.run.event("info", f"{len(found)} answers of {self.contender.label} to {self.benchmark} are taken "
                                       f"{where}: same model, questions and settings.")
                return True
        return False

    def _judged_here(self, answer: dict[str, Any]) -> AnswerRecord:
        """A stored answer as one of this evaluation."""
        near = answer["exact"] or plausible(answer["extracted"], answer["reference"], self.request.plausible_tolerance)
        ours = {"model": self.contender.label, "benchmark": self.benchmark, "settings": self.settings,
                "plausible": near}
        return AnswerRecord(**{c: (answer | ours)[c] for c in ANSWER_COLUMNS})

    def answer(self, generator: Generator, indices: list[int], done: int, total: int) -> int:
        """Ask a loaded model the `open_questions`; `done` and what it gives are answers of all parts."""
        self.done, self.total = done, total
        self._progress()
        keep = bool(self._missing())  # otherwise they are answered already, and asked again to be measured
        sampling = Sampling(
            max_completion_tokens=self.limit, temperature=self.request.temperature, top_p=self.request.top_p,
            top_k=self.request.top_k, samples=self.request.samples, batch_size=self.request.batch_size,
            seed=self.seed + indices[0])

        def on_batch(at: Sequence[int], answers: list[list[Sample]]) -> None:
            if keep:
                self._store([indices[i] for i in at], answers)

        self._expect(method=generator.method, bytes=generator.weight_bytes)
        started = CLOCK.seconds()
        answers = generator.generate([self.prompts[i] for i in indices], sampling, on_batch, self.run.stop_requested)
        self._expect(generate_seconds=CLOCK.seconds() - started, generated=len(answers) * sampling.samples)
        if self.request.measure and answers:
            seconds = [sample.seconds for samples in answers for sample in samples]
            self._expect(peak_bytes=generator.peak_bytes(), level_seconds=sum(seconds) / len(seconds))
        return self.done

    def _store(self, indices: list[int], answers: list[list[Sample]]) -> None:
        records = [
            answer_record(self.contender, self.benchmark, self.settings, index, s, self.rows[index], sample.text,
                          sample.tokens, sample.truncated, sample.seconds, self.scheme,
                          self.request.plausible_tolerance)
            for index, samples in zip(indices, answers, strict=True) for s, sample in enumerate(samples)]
        self.run.writer.add_answers(records)
        self.done += len(records)
        self._progress()

    def _progress(self) -> None:
        text = f"{self.contender.label} ({self.contender.precision}) answers {self.benchmark}"
        self.run.progress(self.done, self.total, "answers", text)


def _other_runs(folder: RunFolder) -> list[RunFolder]:
    """The newest other runs beside this one that have a store."""
    stores = [p for p in folder.path.parent.glob("*/run.db") if p.parent != folder.path]
    newest = sorted(stores, key=lambda p: p.stat().st_mtime, reverse=True)[:CACHE_RUNS]
    return [RunFolder(p.parent) for p in newest]


def _stored(other: RunFolder, settings: str) -> list[dict[str, Any]]:
    """Answers that were sampled with these settings; none where the other store cannot be read."""
    wanted, reader = sampled_alike(settings), RunReader(other)
    try:
        known = [row["settings"] for row in reader.rows("SELECT DISTINCT settings FROM evaluations")]
        alike = [text for text in known if sampled_alike(text) == wanted]
        return [row for text in alike for row in reader.rows("SELECT * FROM evaluations WHERE settings = ?", (text,))]
    except (RunError, ValueError):
        return []
