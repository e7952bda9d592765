"""The worker's side of Ask: load the models, answer questions one after the other, end after a while without any.

Models stay loaded between questions while they are small beside the memory; larger ones are loaded one at a time.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import psutil

from pipeline import ask as box
from pipeline.dataset.chat import ChatTokenizer, prompt_ids
from pipeline.dataset.models import model_folder
from pipeline.engines.base import Sampling
from pipeline.engines.sampling import TransformersGenerator
from pipeline.errors import StudioError
from pipeline.evaluation import Contender, EvaluationRequest, contenders
from pipeline.run import Run
from pipeline.tags import scheme_of, system_prompt
from pipeline.working_time import CLOCK

IDLE_SECONDS = 120.0
POLL_SECONDS = 0.2
SAVE_SECONDS = 0.15  # between two writes of an answer that is growing
KEPT_SHARE = 0.1  # a model stays loaded when its files are below this share of the memory


def ask(run: Run) -> None:
    """Answer until nobody has asked for a while, or a stop is requested."""
    last = time.monotonic()
    with ExitStack() as loaded:
        models: dict[str, Any] = {}
        run.progress(0, None, "questions", "Waiting for a question")
        count = 0
        while time.monotonic() - last < IDLE_SECONDS and not run.stop_requested():
            for question in box.waiting(run.folder):
                _answer(run, question, models, loaded)
                count += 1
                last = time.monotonic()
                run.progress(count, None, "questions", "Waiting for a question")
            time.sleep(POLL_SECONDS)


def _answer(run: Run, question: box.Question, models: dict[str, Any], loaded: ExitStack) -> None:
    so_far = box.Answer(states=dict.fromkeys(question.models, "waiting"))
    box.save(run.folder, question.id, so_far)
    for name in question.models:
        if box.stopped(run.folder, question.id) or run.stop_requested():
            so_far.states[name] = "stopped"
            continue
        so_far.states[name] = "loading"
        box.save(run.folder, question.id, so_far)
        try:
            _answer_with(run, question, name, models, loaded, so_far)
        except (StudioError, OSError, RuntimeError, ValueError) as error:
            so_far.states[name], so_far.texts[name] = "failed", str(error)
    for name, state in so_far.states.items():
        so_far.states[name] = "stopped" if state == "waiting" else state
    box.save(run.folder, question.id, so_far)


def _answer_with(run: Run, question: box.Question, name: str, models: dict[str, Any], loaded: ExitStack,
                 so_far: box.Answer) -> None:
    request = EvaluationRequest.of(run.recipe, {"models": [name], "precisions": ["16bit"]})
    found, absent = contenders(run.folder, run.recipe, request)
    if not found:
        raise StudioError(" ".join(absent))
    with ExitStack() as once:
        generator = models.get(name)
        if generator is None:
            small = _is_small(found[0])
            generator = (loaded if small else once).enter_context(_generator(run, found[0]))
            if small:
                models[name] = generator
        so_far.states[name] = "writing"
        _write(run, question, name, generator, so_far)


def _generator(run: Run, contender: Contender) -> TransformersGenerator:
    source = model_folder(contender.source, run.recipe.model.revision if contender.label == "base" else None)
    return TransformersGenerator(source, run.recipe.model, contender.adapter, contender.precision)


def _is_small(contender: Contender) -> bool:
    size = sum(p.stat().st_size for p in model_folder(contender.source).glob("*.safetensors"))
    return size < KEPT_SHARE * psutil.virtual_memory().total


def _write(run: Run, question: box.Question, name: str, generator: TransformersGenerator, so_far: box.Answer) -> None:
    """One model's answer, published while it grows; a stop ends it after the token that is being written."""
    import torch
    from transformers import StoppingCriteriaList

    started, written = CLOCK.seconds(), list[int]()

    def publish() -> None:
        so_far.texts[name] = generator.tokenizer.decode(written, skip_special_tokens=True)
        so_far.tokens[name], so_far.seconds[name] = len(written), CLOCK.seconds() - started
        box.save(run.folder, question.id, so_far)

    def halt(input_ids: Any, scores: Any, **_: Any) -> Any:
        over = box.stopped(run.folder, question.id) or run.stop_requested()
        return torch.full((input_ids.shape[0],), over, device=input_ids.device)

    sampling = Sampling(question.max_completion_tokens, question.temperature, question.top_p)
    prompt = torch.tensor([_prompt(run, question, generator)], device=generator.model.device)  # (1, T)
    torch.manual_seed(question.seed)
    with torch.inference_mode():
        generator.model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt),
                                 streamer=_Follow(written, publish), generation_config=generator._config(sampling),
                                 stopping_criteria=StoppingCriteriaList([halt]))
    so_far.states[name] = "stopped" if box.stopped(run.folder, question.id) else "done"
    publish()


def _prompt(run: Run, question: box.Question, generator: TransformersGenerator) -> list[int]:
    recipe, system = run.recipe, question.system
    if system is None:
        system = recipe.data.system_prompt or system_prompt(scheme_of(recipe.data.tags))
    chat = ChatTokenizer.load(str(generator._source), template=recipe.model.chat_template)
    return prompt_ids(chat, {"system": system, "question": question.text})


class _Follow:
    """A streamer of transformers: takes tokens as they are written (the first call holds the prompt), and publishes
    them now and then."""

    def __init__(self, written: list[int], publish: Callable[[], None]) -> None:
        self.written, self.publish = written, publish
        self.last, self.is_prompt = 0.0, True

    def put(self, value: Any) -> None:
        if self.is_prompt:
            self.is_prompt = False
            return
        self.written.extend(value.reshape(-1).tolist())
        if time.monotonic() - self.last > SAVE_SECONDS:
            self.last = time.monotonic()
            self.publish()

    def end(self) -> None:
        self.publish()
