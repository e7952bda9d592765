"""Which charts there are: for each its title, what it tells, and the metric keys that it draws.

The Live page draws them in the browser from what `for_keys` gives; a chart appears once one of its keys has a value.
GRPO's loss is near zero by construction and is not among them: it would be read as progress.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline import held_out

Unit = Literal["number", "share", "tokens", "seconds", "gib", "tiny"]
CHANCE = "The whiskers at held-out points are 95 % intervals: how far chance alone goes."
STAGE_TITLES = {"grpo": "GRPO", "sft": "SFT", "dry_run": "Dry run"}
COLOURS = ("#4f46e5", "#c2570c", "#047857", "#be185d", "#0e7490", "#7c3aed", "#4d7c0f", "#b91c1c")
COLOURS_DARK = ("#a5b4fc", "#fdba74", "#6ee7b7", "#f9a8d4", "#67e8f9", "#c4b5fd", "#bef264", "#fca5a5")


@dataclass(frozen=True)
class Chart:
    """One chart. `series` are (key, label); `prefix` adds every key that starts with it, labelled by the rest."""

    name: str
    title: str
    help: str
    series: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    unit: Unit = "number"
    spread: str = ""  # key of the standard deviation drawn around the first series
    stacked: bool = False


CHARTS = (
    Chart("reward", "Total reward",
          f"Mean over the sampled answers of a step; the band is one standard deviation. {CHANCE}",
          (("reward/total", "training"), ("validation/reward/total", "held out")), spread="reward/std"),
    Chart("accuracy", "Right answers", f"Share of sampled answers that agree with the reference. {CHANCE}",
          (("completion/exact_rate", "training"), ("validation/completion/exact_rate", "held out")), unit="share"),
    Chart("rewards", "Each reward", "Mean score of every reward function, before its weight.", prefix="reward_raw/"),
    Chart("failed", "Answers without a score", "Share of answers that a reward could not score; those are left out.",
          prefix="reward_failed/", unit="share"),
    Chart("format", "Format rate", "Share of answers with every tag once and in order.",
          (("completion/format_rate", "training"), ("validation/completion/format_rate", "held out")), unit="share"),
    Chart("tokens", "Answer length", "Mean length of the sampled answers in tokens.",
          (("completion/mean_tokens", "training"), ("validation/completion/mean_tokens", "held out")), unit="tokens"),
    Chart("lost", "Cut off, and equal groups",
          "Answers that hit the length limit, and groups whose rewards are all equal: those teach nothing.",
          (("completion/truncated", "cut off"), ("groups/zero_variance", "equal groups")), unit="share"),
    Chart("loss", "Loss", "How surprised the model is by the worked solutions; the held-out one shows overfitting.",
          (("sft/loss", "training"), ("sft/eval_loss", "held out"))),
    Chart("kl", "KL to the start", "How far the model has moved from where GRPO started.", (("policy/kl", "KL"),)),
    Chart("entropy", "Entropy", "Variety of the model's choices; near zero there is nothing left to explore.",
          (("policy/entropy", "entropy"),)),
    Chart("sampler", "vLLM and trainer",
          "How far apart the two put the log-probability of the same token: up to 0.1 is usual.",
          (("policy/sampler_difference", "difference"),)),
    Chart("gradient", "Gradient norm", "Size of each learning signal before it is limited.",
          (("optim/grad_norm", "norm"),)),
    Chart("rate", "Learning rate", "Size of each learning step.", (("optim/lr", "rate"),), unit="tiny"),
    Chart("time", "Seconds a step", "Where the time of a step goes.",
          (("time/generate_seconds", "generate"), ("time/score_seconds", "score"), ("time/learn_seconds", "learn")),
          unit="seconds", stacked=True),
    Chart("step_time", "Seconds a step", "Time of one step.", (("time/step_seconds", "step"),), unit="seconds"),
    Chart("throughput", "Tokens a second", "Speed of sampling answers, and of learning from answers or solutions.",
          (("throughput/generated", "generated"), ("throughput/learnt", "learnt")), unit="tokens"),
    Chart("gpu", "GPU use", "Share of the time in which the GPU was busy.", (("gpu/utilisation", "busy"),),
          unit="share"),
    Chart("memory", "Memory", "GPU memory in use by all programs, and the most that this run held.",
          (("gpu/memory_gib", "all programs"), ("gpu/own_peak_gib", "this run, at the most")), unit="gib"),
)


def for_keys(keys: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """The charts that have data, as plain values for the browser. `keys`: stage -> its metric keys."""
    found = []
    for stage in STAGE_TITLES:
        have = set(keys.get(stage, ()))
        charts = [_resolved(chart, stage, have) for chart in CHARTS]
        names = {c["name"] for c in charts if c["series"]}
        found += [c for c in charts if c["series"] and not (c["name"] == "step_time" and "time" in names)]
    return found


def _resolved(chart: Chart, stage: str, have: set[str]) -> dict[str, Any]:
    series = [{"key": key, "label": label, **_bounds(key, have)} for key, label in chart.series if key in have]
    if chart.prefix:
        series += [{"key": key, "label": key.removeprefix(chart.prefix)} for key in sorted(have)
                   if key.startswith(chart.prefix)]
    return {"id": f"{stage}.{chart.name}", "name": chart.name, "stage": stage, "title": chart.title,
            "help": chart.help, "unit": chart.unit, "stacked": chart.stacked, "series": series,
            "spread": chart.spread if chart.spread in have else ""}


def _bounds(key: str, have: set[str]) -> dict[str, str]:
    """The keys of the interval around a held-out series, in runs that have it."""
    found = held_out.keys_of(key)
    return {"low": found[0], "high": found[1]} if found and have.issuperset(found) else {}


def keys_of(chart: Mapping[str, Any]) -> list[str]:
    """Every metric key that one of the charts of `for_keys` draws."""
    drawn = [s[name] for s in chart["series"] for name in ("key", "low", "high") if name in s]
    return drawn + [key for key in [chart["spread"]] if key]
