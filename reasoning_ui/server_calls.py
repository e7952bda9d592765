"""Functions that a page's own script calls: `server.<name>(object)` in the browser, plain values back.

Whatever goes wrong in words comes back as {"error": …}. Nothing that the browser sends is trusted.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import StudioError
from pipeline.studio_home import StudioHome

Call = Callable[[dict[str, Any]], dict[str, Any]]
Function = Callable[[StudioHome, dict[str, Any]], dict[str, Any]]


def server_functions(home: StudioHome, page: str, functions: Mapping[str, Function]) -> list[Call]:
    """The functions for `gr.HTML(server_functions=…)`; `page` is named in the log when one cannot answer."""
    return [_call(home, page, name, function) for name, function in functions.items()]


def _call(home: StudioHome, page: str, name: str, function: Function) -> Call:
    def call(asked: dict[str, Any]) -> dict[str, Any]:
        try:
            return function(home, asked)
        except StudioError as error:
            return {"error": str(error)}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            print(f"{page} page: {name} could not answer: {error!r}", flush=True)
            return {"error": "The page asked for something that this app does not understand: reload it."}

    call.__name__ = name
    return call
