"""The checks of the diagnosis. Each takes a trace and gives a finding; None while all is well or little is known."""

from collections.abc import Callable

from pipeline.diagnose import RECENT, Curve, Evidence, Finding, Trace, mean
from pipeline.diagnose_machine import samplers_differ, slow
from pipeline.diagnose_rewards import reward_never_varies, rewards_failing

FEW = 10  # fewer steps than this say nothing
MANY = 60  # a trend needs this many
EASIER = ("take questions that the model sometimes gets right: easier ones, or those with short solutions (Longest "
          "solution for GRPO, in part 5 of the Data tab)")


def findings(trace: Trace) -> list[Finding]:
    """All findings, the serious first. What one finding explains is not told again by another."""
    found = {f.kind: f for check in CHECKS if (f := check(trace))}
    for cause, effects in EXPLAINS.items():
        if cause in found:
            for effect in effects:
                found.pop(effect, None)
    return sorted(found.values(), key=lambda f: f.level != "serious")


def rewards_zero(trace: Trace) -> Finding | None:
    """The total reward has been zero, or the same penalty for everything, since the start."""
    total = trace.grpo("reward/total")
    if len(total) < FEW or max(total.values) > 1e-9 or max(total.values) - min(total.values) > 1e-9:
        return None
    paid = "0" if abs(total.values[0]) < 1e-9 else f"{total.values[0]:g} (nothing but penalties)"
    return Finding(
        "rewards_zero", "serious", "No answer has earned any reward yet",
        f"The total reward was {paid} in all {total.last_step} steps, so there is nothing to learn from.",
        "Read some answers: if the tags are missing, train longer with SFT or add the reward for approximate format; "
        f"if the answers are wrong, {EASIER}.", trace.look("all", "newest"))


def tags_missing(trace: Trace) -> Finding | None:
    """(Nearly) no answer has the tags, so the rewards for answers find nothing to judge."""
    form = trace.grpo("completion/format_rate")
    if len(form) < RECENT or mean(form.recent()) >= 0.05:
        return None
    loss = trace.sft("sft/loss")
    after = f"after {loss.last_step} steps of SFT" if loss.steps else "and SFT was left out"
    return Finding(
        "tags_missing", "serious", "The model has not learnt the tags",
        f"{mean(form.recent()):.0%} of the recent answers are in the right format, {after}. What is not between the "
        "tags cannot be found, so no answer counts as right.",
        "Start again with more SFT: raise its epochs until it takes 60 steps or more, or take more rows with worked "
        "solutions; a very small model also needs a larger learning rate. The Train tab proposes both.",
        trace.look("all", "newest"))


def groups_equal(trace: Trace) -> Finding | None:
    """Within (nearly) every group all rewards are the same: all advantages are zero."""
    flat = trace.grpo("groups/zero_variance")
    if len(flat) < FEW or mean(flat.recent()) < 0.9:
        return None
    right = trace.grpo("completion/exact_rate").recent()
    if right and mean(right) > 0.9:
        change = "The questions have become too easy: take harder ones, or end the run here."
    else:
        change = f"Raise the temperature or the answers per question, {EASIER}, or add a finer reward."
    return Finding(
        "groups_equal", "serious", "Nearly every group has equal rewards",
        f"In the last {len(flat.recent())} points {mean(flat.recent()):.0%} of the groups gave all their answers the "
        "same reward. Such a group teaches nothing.", change, trace.look("equal", "newest"))


def truncated(trace: Trace) -> Finding | None:
    """More than 30 % of the answers hit the length limit."""
    cut = trace.grpo("completion/truncated")
    share = mean(cut.recent())
    if len(cut) < FEW or share <= 0.3:
        return None
    limit = trace.recipe.grpo.max_completion_tokens if trace.recipe else None
    change = f"Raise the longest answer from {limit} to {2 * limit} tokens" if limit else "Raise the longest answer"
    return Finding(
        "truncated", "serious", "Many answers are cut off",
        f"{share:.0%} of the recent answers hit the length limit{f' of {limit} tokens' if limit else ''}; an answer "
        "that is cut off cannot be right.",
        f"{change}, add a reward for short answers, or do SFT with shorter solutions.",
        trace.look("truncated", "newest"))


def accuracy_flat(trace: Trace) -> Finding | None:
    """The format is learned, and the share of right answers does not move."""
    form, right = trace.grpo("completion/format_rate"), _accuracy(trace)
    if len(right) < MANY or len(form) < MANY or mean(form.recent()) < 0.8:
        return None
    gain, noise = right.gain()
    now = mean(right.recent())
    if gain > max(0.02, noise) or now > 0.9:
        return None
    return Finding(
        "accuracy_flat", "notable", "The format is learned, but the answers do not get better",
        f"{mean(form.recent()):.0%} of the answers are in the right format, while the share of right answers went "
        f"from {mean(right.quarters()[0]):.1%} to {now:.1%}.",
        "Give the reward for a right answer more weight than the rewards for format; check that the references are "
        f"right; {EASIER}.", trace.look("all_wrong", "newest"))


def gaming(trace: Trace) -> Finding | None:
    """The reward rises while accuracy on held-out questions (or, without those, on the training ones) falls."""
    total = trace.grpo("reward/total")
    held = trace.grpo("validation/completion/exact_rate")
    accuracy, where = (held, "held-out questions") if len(held) >= 4 else (_accuracy(trace), "the questions")
    if len(total) < MANY or (accuracy is not held and len(accuracy) < MANY) or not len(accuracy):
        return None
    gain, noise = total.gain()
    fall, doubt = accuracy.gain()
    if gain <= noise or fall >= -max(0.03, doubt):
        return None
    before, after = (mean(q) for q in accuracy.quarters())
    return Finding(
        "gaming", "serious", "The reward rises, but fewer answers are right",
        f"The total reward rose by {gain:.2f}, while right answers to {where} fell from {before:.0%} to {after:.0%}. "
        "The model may have found a way to be rewarded without solving the question.",
        "Read the well-paid wrong answers, and change the reward that pays for them: lower its weight, or make it "
        "stricter.", trace.look("all_wrong", "best", total.last_step * 3 // 4))


def length_creeping(trace: Trace) -> Finding | None:
    """Answers grow towards the length limit."""
    tokens = trace.grpo("completion/mean_tokens")
    if len(tokens) < MANY or trace.recipe is None:
        return None
    limit, (gain, noise) = trace.recipe.grpo.max_completion_tokens, tokens.gain()
    now, before = mean(tokens.recent()), mean(tokens.quarters()[0])
    if now < 0.75 * limit or gain <= max(noise, 0.2 * before):
        return None
    return Finding(
        "length_creeping", "notable", "Answers grow towards the length limit",
        f"The mean length went from {before:.0f} to {now:.0f} tokens; the limit is {limit}.",
        f"Raise the longest answer to {2 * limit} tokens if the longer answers are better, or add a penalty for "
        "length if they only ramble.", trace.look("all", "newest"))


def kl_exploding(trace: Trace) -> Finding | None:
    """The distance to the starting model jumps or has become very large."""
    kl = trace.grpo("policy/kl")
    if len(kl) < FEW:
        return None
    now, usual = mean(kl.recent(5)), _median(kl.values[:-5] or kl.values)
    if now < 1.0 or (now < 10 * usual and now < 5.0):
        return None
    return _unstable("kl_exploding", "The model moves away from its start very fast",
                     f"The KL divergence is {now:.2g} now; its usual value was {usual:.2g}.", kl, trace)


def gradient_exploding(trace: Trace) -> Finding | None:
    """The gradient norm jumps by more than ten times and stays, or is not a number any more."""
    norm = trace.grpo("optim/grad_norm")
    if (lost := norm.raw[-RECENT:].count(None)) and len(norm.raw) >= 3:
        return _unstable("gradient_exploding", "The gradient is not a number any more",
                         f"{lost} of the last {len(norm.raw[-RECENT:])} gradient norms were infinite or undefined.",
                         norm, trace)
    if len(norm) < FEW:
        return None
    now, usual = _median(norm.recent(5)), _median(norm.values[:-5] or norm.values)
    if usual <= 0 or now < 10 * usual:
        return None
    return _unstable("gradient_exploding", "The gradient has exploded",
                     f"The gradient norm is {now:.2g} now; its usual value was {usual:.2g}.", norm, trace)


def entropy_collapsed(trace: Trace) -> Finding | None:
    """The model always writes the same, before it is good."""
    entropy, right = trace.grpo("policy/entropy"), _accuracy(trace)
    now = mean(entropy.recent())
    if len(entropy) < FEW or now > 0.05 or (len(right) and mean(right.recent()) > 0.9):
        return None
    return Finding(
        "entropy_collapsed", "serious", "The model has stopped trying different answers",
        f"The entropy is {now:.3f}; it began at {mean(entropy.first(5)):.3f}. With nearly equal answers in a group "
        "there is nothing to choose from.",
        f"Lower the learning rate{_halved(trace)}, raise the temperature or the upper clip range, or add a KL penalty.",
        trace.look("equal", "newest"))


def rate_too_high(trace: Trace) -> Finding | None:
    """The reward rose and then lost more than half of what it had gained."""
    total = trace.grpo("reward/total")
    if len(total) < MANY:
        return None
    smooth = [mean(total.values[max(0, i - RECENT + 1):i + 1]) for i in range(RECENT - 1, len(total))]
    peak, start, now = max(smooth), min(smooth[0], smooth[-1]), smooth[-1]
    _, noise = total.gain()
    if peak - now <= max(0.5 * (peak - min(start, now)), 2 * noise, 0.1 * abs(peak)):
        return None
    step = total.steps[smooth.index(peak) + RECENT - 1]
    return Finding(
        "rate_too_high", "serious", "The reward has fallen from its peak",
        f"Averaged over {RECENT} points, the total reward was {peak:.2f} around step {step} and is {now:.2f} now.",
        f"Lower the learning rate{_halved(trace)}, add a KL penalty (beta 0.02 to 0.1), or go on from the checkpoint "
        f"before step {step}.", [Evidence(f"See step {step}, the peak", "grpo", step),
                                 Evidence(f"See step {total.last_step}", "grpo", total.last_step)])


def rate_too_low(trace: Trace) -> Finding | None:
    """There is something to learn (groups differ), yet neither the reward nor the model moves."""
    total, flat = trace.grpo("reward/total"), trace.grpo("groups/zero_variance")
    entropy, kl = trace.grpo("policy/entropy"), trace.grpo("policy/kl")
    if len(total) < MANY or total.last_step < 100 or not (len(entropy) or len(kl)):
        return None
    gain, noise = total.gain()
    moved = len(entropy) and abs(entropy.gain()[0]) > max(entropy.gain()[1], 0.03 * mean(entropy.first()))
    moved = moved or (len(kl) and mean(kl.recent()) > 1e-3)
    if abs(gain) > max(noise, 0.02 * abs(mean(total.first()))) or moved or mean(flat.recent()) > 0.8:
        return None
    return Finding(
        "rate_too_low", "notable", "The model hardly changes",
        f"In {total.last_step} steps the total reward went from {mean(total.quarters()[0]):.2f} to "
        f"{mean(total.quarters()[1]):.2f}, and the model's choices have stayed the same.",
        f"Raise the learning rate{_tripled(trace)}; small models bear a larger one than big models.",
        trace.look("mixed", "newest"))


def sft_overfitting(trace: Trace) -> Finding | None:
    """The held-out loss of SFT has turned upwards while the training loss went on falling."""
    held, loss = trace.sft("sft/eval_loss"), trace.sft("sft/loss")
    if len(held) < 4:
        return None
    best, last = min(held.values), held.values[-1]
    turned = held.step_of(best)
    if last < best + max(0.03, 0.05 * best) or (len(loss) > 8 and loss.gain()[0] >= 0):
        return None
    return Finding(
        "sft_overfitting", "notable", "SFT learns its examples by heart",
        f"The held-out loss was lowest at step {turned} ({best:.3f}) and rose to {last:.3f}, while the training loss "
        "went on falling.",
        f"Stop SFT after about {turned} steps (fewer epochs), use more examples, or a lower rank or learning rate.",
        [Evidence(f"See step {turned}", "sft", turned)])


def sft_unstable(trace: Trace) -> Finding | None:
    """The SFT loss rises, or is not a number."""
    loss = trace.sft("sft/loss")
    lost = loss.raw[-RECENT:].count(None)
    if len(loss.raw) < FEW or not (lost or (len(loss) >= MANY // 2 and loss.gain()[0] > max(loss.gain()[1], 0.05))):
        return None
    what = f"{lost} of the last losses were infinite or undefined." if lost else \
        f"It went from {mean(loss.quarters()[0]):.2f} to {mean(loss.quarters()[1]):.2f}."
    now = trace.recipe.sft.learning_rate if trace.recipe else None
    rate = f" from {now:g} to {now / 3:.1g}" if now else ""
    return Finding("sft_unstable", "serious", "The SFT loss does not fall", what,
                   f"Lower the learning rate of SFT{rate}, and lengthen the warm-up.",
                   [Evidence(f"See step {loss.last_step}", "sft", loss.last_step)])


CHECKS: tuple[Callable[[Trace], Finding | None], ...] = (
    rewards_failing, rewards_zero, tags_missing, groups_equal, truncated, accuracy_flat, gaming, length_creeping,
    kl_exploding, gradient_exploding, samplers_differ, entropy_collapsed, rate_too_high, rate_too_low,
    reward_never_varies, sft_overfitting, sft_unstable, slow)

EXPLAINS = {  # a finding -> findings that it already explains
    "rewards_zero": ("tags_missing", "groups_equal", "reward_never_varies", "rate_too_low", "accuracy_flat"),
    "tags_missing": ("reward_never_varies", "rate_too_low"),
    "groups_equal": ("rate_too_low", "accuracy_flat"),
    "gaming": ("accuracy_flat",),
    "truncated": ("length_creeping", "accuracy_flat"),
    "entropy_collapsed": ("accuracy_flat",),
    "rate_too_high": ("accuracy_flat",),
    "rate_too_low": ("accuracy_flat",),
}


def _accuracy(trace: Trace) -> Curve:
    """Share of right answers among the sampled ones; where it is not recorded, a reward named after answers."""
    if len(rate := trace.grpo("completion/exact_rate")):
        return rate
    return next((c for label, c in sorted(trace.raw_rewards().items()) if "answer" in label.casefold()), Curve([], []))


def _unstable(kind: str, title: str, what: str, curve: Curve, trace: Trace) -> Finding:
    return Finding(kind, "serious", title, what,
                   f"Lower the learning rate{_halved(trace)} or the largest gradient norm, lengthen the warm-up, or "
                   "add a KL penalty; go on from a checkpoint before this.",
                   [Evidence(f"See step {curve.last_step}", "grpo", curve.last_step)])


def _halved(trace: Trace) -> str:
    rate = trace.recipe.grpo.learning_rate if trace.recipe else None
    return f" from {rate:g} to {rate / 2:g}" if rate else ""


def _tripled(trace: Trace) -> str:
    rate = trace.recipe.grpo.learning_rate if trace.recipe else None
    return f" from {rate:g} to {3 * rate:g}" if rate else ""


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0
