"""Whether people may write their own reward code here: one setting, `REASONING_STUDIO_NO_CUSTOM_CODE`.

`1` refuses custom code everywhere: on the page, at the start of a run, in the worker and in the sandbox. `0` allows it
everywhere. Without it, the app refuses custom code where visitors from other machines can reach it (a Space, a shared
address), unless it was started with `--allow-custom-code`.
"""

import os

from pipeline.errors import RecipeError
from pipeline.recipe import RewardsStep

SETTING = "REASONING_STUDIO_NO_CUSTOM_CODE"
WHY = (f"Custom code is switched off here ({SETTING}), since other people can reach this app or its owner chose so. "
       "Use the rewards of the library.")


def switched_off() -> bool:
    """Whether custom code is refused in this process."""
    return os.environ.get(SETTING, "") not in ("", "0")


def decide(reachable_by_others: bool, wanted: bool) -> bool:
    """Whether an app that starts now allows it; the workers that it starts will do the same."""
    setting = os.environ.get(SETTING, "")
    allowed = setting == "0" or (not setting and (wanted or not reachable_by_others))
    os.environ[SETTING] = "0" if allowed else "1"
    return allowed


def refuse_if_off(rewards: RewardsStep) -> None:
    """Raises RecipeError that names the custom rewards of a set, where custom code is switched off."""
    labels = [repr(f.label) for f in rewards.functions if f.enabled and f.kind == "custom"]
    if labels and switched_off():
        raise RecipeError(f"{WHY} Remove or switch off {', '.join(labels)} in the Rewards tab.")
