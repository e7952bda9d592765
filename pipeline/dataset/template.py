"""Chat templates: a model's own Jinja text, rendered in a sandbox as transformers renders it.

Two differences: `strftime_now` gives a fixed day, so that the same recipe makes the same prompts on any day, and a
template without a system role gets the system prompt in front of the first question instead of an error. A template is
foreign code: besides the sandbox, its time and the size of its texts are bounded.
"""

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.errors import EngineError

PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'Question: ' + message['content'] + '\\n\\n' }}"
    "{% else %}{{ 'Answer:\\n' + message['content'] + (eos_token or '') + '\\n\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Answer:\\n' }}{% endif %}"
)
MOST_SECONDS = 3.0  # of processor time for one chat
MOST_CHARACTERS = 50_000_000  # of a text that a template makes
_STEPS = 64  # loop steps and calls between two looks at the clock
_budget = threading.local()
_DAY = datetime(2025, 1, 1)
_PROBE = "SYSTEM7PROBE"


class ChatTemplate:
    """A compiled template with the tokenizer's named tokens. `render` may be called from several threads."""

    def __init__(self, text: str, names: Mapping[str, str | None]) -> None:
        try:
            self._template = _environment().from_string(text)
        except jinja2.TemplateError as error:
            raise EngineError(f"The model's chat template is not valid: {error}. "
                              "Set the chat template to 'plain'.") from error
        self._names = {name: token for name, token in names.items() if token is not None}
        self.has_system_role = self._takes_system()

    def render(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """The chat as text. Raises EngineError with the template's own words."""
        if not self.has_system_role:
            messages = merge_system(messages)
        return self._render(messages, add_generation_prompt)

    def _render(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        _budget.end, _budget.steps = time.thread_time() + MOST_SECONDS, 0
        try:
            return self._template.render(messages=[dict(m) for m in messages], tools=None, documents=None,
                                         add_generation_prompt=add_generation_prompt, **self._names)
        except Exception as error:  # a template is foreign code: it may raise anything
            raise EngineError(f"The model's chat template cannot render this chat: {error}. "
                              "Set the chat template to 'plain', or choose another model.") from error

    def _takes_system(self) -> bool:
        chat = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "1"}]
        try:
            return _PROBE in self._render(chat, True)
        except EngineError:
            return False


def merge_system(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The same chat with the system prompt in front of the first question."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    rest = [dict(m) for m in messages if m["role"] != "system"]
    if system and rest:
        rest[0]["content"] = f"{system}\n\n{rest[0]['content']}"
    return rest


class _Bounded(ImmutableSandboxedEnvironment):
    """Counts the steps of loops and the calls, and refuses texts and numbers beyond any chat's need."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, "each_step", [], [], None, None, lineno=loop.lineno, environment=self)
        for joined in list(tree.find_all(nodes.Concat)):  # a ~ b
            joined.nodes = [nodes.Filter(n, "not_too_long", [], [], None, None, lineno=joined.lineno, environment=self)
                            for n in joined.nodes]
        return tree

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        _step()
        if any(isinstance(a, int) and abs(a) > MOST_CHARACTERS for a in (*args, *kwargs.values())):
            raise jinja2.TemplateError("a number is too large")
        return _sized(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(v) if isinstance(v, str | list | tuple) else None for v in (left, right)]
        if operator == "**" and not (abs(left) <= 1e6 and abs(right) <= 64):
            raise jinja2.TemplateError("a power is too large")
        if operator == "*" and (sizes[0] or sizes[1]):
            times = right if sizes[0] else left
            if isinstance(times, int) and times * (sizes[0] or sizes[1] or 0) > MOST_CHARACTERS:
                raise jinja2.TemplateError("a text is too long")
        if operator == "%" and isinstance(left, str):
            raise jinja2.TemplateError("text formatting with % is not offered")
        return _sized(super().call_binop(context, operator, left, right))


def _step() -> None:
    _budget.steps += 1
    if _budget.steps % _STEPS == 0 and time.thread_time() > _budget.end:
        raise jinja2.TemplateError(f"it does not come to an end within {MOST_SECONDS:g} seconds")


@jinja2.pass_context
def _each_step(context: Any, values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        _step()
        yield value


@jinja2.pass_context
def _not_too_long(context: Any, value: Any) -> Any:
    return _sized(value)


def _sized(value: Any) -> Any:
    if isinstance(value, str | list | tuple) and len(value) > MOST_CHARACTERS:
        raise jinja2.TemplateError("a text is too long")
    return value


def _environment() -> ImmutableSandboxedEnvironment:
    environment = _Bounded(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols])
    for name in ("center", "format", "random", "pprint"):  # sizes without bound, and chance
        environment.filters.pop(name)
    environment.filters |= {"tojson": _tojson, "each_step": _each_step, "not_too_long": _not_too_long}
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _DAY.strftime
    return environment


class _GenerationBlock(Extension):
    """`{% generation %}…{% endgeneration %}` marks the answer in some templates; its content is written as it is."""

    tags = {"generation"}  # noqa: RUF012 - the name and type that Jinja asks for

    def parse(self, parser: Any) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    def _same(self, caller: Any) -> str:
        return caller()


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None,
            separators: tuple[str, str] | None = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
