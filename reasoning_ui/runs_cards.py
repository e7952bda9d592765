"""The Runs tab's HTML: a card for each run, and the details of the chosen one. Every name is escaped."""

from datetime import datetime
from html import escape
from typing import Any

from pipeline import run_disk
from pipeline.disk import in_words
from pipeline.run_folder import RunFolder, RunReader
from pipeline.run_state import RunCard, RunState, duration

_SIGNS = {"waiting": "waiting", "running": "● running", "stopping": "stopping", "stopped": "stopped",
         "interrupted": "interrupted", "failed": "✕ failed", "finished": "✓ finished"}
CSS = """
.runs-list { display: flex; flex-direction: column; gap: 8px; }
.runs-card { display: block; width: 100%; text-align: left; border: 1px solid var(--rs-line); border-radius: 10px;
  padding: 10px 14px; background: var(--background-fill-primary); color: var(--body-text-color); cursor: pointer; }
.runs-card * { pointer-events: none; }
.runs-card:hover { background: var(--background-fill-secondary); }
.runs-card[aria-pressed="true"] { outline: 2px solid #4f46e5; }
.runs-card:focus-visible { outline: 3px solid #818cf8; }
.runs-top { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: baseline; overflow-wrap: anywhere; }
.runs-top b { font-size: 1.05em; }
.runs-facts { display: flex; flex-wrap: wrap; gap: 2px 14px; color: var(--rs-quiet); font-size: 0.9em; }
.runs-reason { margin-top: 4px; overflow-wrap: anywhere; font-size: 0.92em; }
.runs-card progress { width: 100%; height: 6px; accent-color: #4f46e5; }
.runs-table { width: 100%; border-collapse: collapse; font-size: 0.92em; }
.runs-table th, .runs-table td { text-align: left; padding: 3px 8px; border-bottom: 1px solid var(--rs-line); }
"""
# Keeps every card's element alive and changes only what is new in it: a card under the mouse or with the keyboard's
# focus stays that card while figures tick.
SCRIPT = """
const root = element.querySelector('.runs-list');
const draw = () => {
  const fresh = document.createElement('div');
  fresh.innerHTML = props.value || '';
  const cards = [...fresh.querySelectorAll(':scope > [data-run]')];
  if (!cards.length) { root.innerHTML = fresh.innerHTML; return; }
  const old = new Map([...root.querySelectorAll(':scope > [data-run]')].map(card => [card.dataset.run, card]));
  let before = null;
  for (const card of cards) {
    let kept = old.get(card.dataset.run);
    old.delete(card.dataset.run);
    if (!kept) kept = card;
    else {
      if (kept.innerHTML !== card.innerHTML) kept.innerHTML = card.innerHTML;
      const pressed = card.getAttribute('aria-pressed');
      if (kept.getAttribute('aria-pressed') !== pressed) kept.setAttribute('aria-pressed', pressed);
    }
    const place = before ? before.nextSibling : root.firstChild;
    if (kept !== place) root.insertBefore(kept, place);
    before = kept;
  }
  while (before.nextSibling) before.nextSibling.remove();
};
watch('value', draw);
root.addEventListener('click', event => {
  const card = event.target.closest('[data-run]');
  if (!card) return;
  window.drafts.choose(card.dataset.run);
  trigger('pick', {run: card.dataset.run});
});
draw();
"""


def sign(state: RunState) -> str:
    """A run's state in a word, with a mark that can be told without colour."""
    return "‖ paused" if state.paused else _SIGNS[state.state]


def tone_of(state: RunState) -> str:
    """The end of the style class that colours a run's state."""
    return "waiting" if state.paused else state.state


def list_html(cards: list[RunCard], chosen: str) -> str:
    """All cards, or what to do when there are none."""
    if not cards:
        return '<p class="rs-about">No runs yet. Train the demo on the Start tab, or your own on the Train tab.</p>'
    return "".join(card_html(card, card.id == chosen) for card in cards)


def card_html(card: RunCard, chosen: bool) -> str:
    """One run: state, stage, step, time left, last reward, what it uses."""
    state = card.state
    facts = [f"{escape(card.model or '?')} on {escape(card.data or '?')}",
             datetime.fromtimestamp(card.created).strftime("%Y-%m-%d %H:%M")]
    if state.words and state.state != "finished":
        facts.insert(0, f"<b>{escape(state.words)}</b>")
    if card.last_reward is not None:
        facts.append(f"last reward {card.last_reward:.3g}")
    facts += [escape(text) for text in uses(state)]
    tone = {"failed": "rs-bad-text", "interrupted": "rs-bad-text"}.get(state.state, "")
    reason = " ".join(filter(None, [state.reason, state.remedy]))
    parts = [f'<span class="runs-top"><b>{escape(card.name)}</b>'
             f'<span class="rs-chip rs-{tone_of(state)}">{escape(sign(state))}</span></span>',
             f'<span class="runs-facts">{"".join(f"<span>{fact}</span>" for fact in facts)}</span>', _bar(state)]
    if reason:
        parts.append(f'<span class="runs-reason {tone}" style="display:block">{escape(reason)}</span>')
    if card.note:
        parts.append(f'<span class="runs-reason" style="display:block"><i>{escape(card.note[:300])}</i></span>')
    return (f'<button type="button" class="runs-card" data-run="{escape(card.id)}" '
            f'aria-pressed="{str(chosen).lower()}">{"".join(parts)}</button>')


def uses(state: RunState) -> list[str]:
    """Which device and how much memory a living run uses."""
    if not state.alive:
        return []
    devices = ", ".join(name.replace("gpu-", "GPU ").replace("cpu", "CPU") for name in state.devices)
    memory = f"{state.memory_gib:.1f} GiB of memory" if state.memory_gib else ""
    return [text for text in (f"uses {devices}" if devices else "", memory) if text]


def details_html(card: RunCard, folder: RunFolder) -> str:
    """Stages with attempts and times, disk use by part, checkpoints."""
    return _stages(RunReader(folder).stages()) + _disk(folder) + _address(card)


def _bar(state: RunState) -> str:
    if not state.alive or not state.total:
        return ""
    share = min(max(100 * state.done / state.total, 0), 100)
    return f'<progress value="{share:.1f}" max="100" aria-label="Progress of this stage">{share:.0f} %</progress>'


def _stages(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return '<p class="rs-about">No stage has begun.</p>'
    cells = []
    for row in rows:
        count = f"{row['done']:,.0f} of {row['total']:,.0f} {row['unit']}" if row["total"] else ""
        took = duration(row["ended"] - row["started"]) if row["ended"] and row["started"] else ""
        values = (row["name"], row["state"], count, took, str(row["attempt"]))
        cells.append("<tr>" + "".join(f"<td>{escape(value)}</td>" for value in values) + "</tr>")
    return ('<table class="runs-table"><thead><tr><th>Stage</th><th>State</th><th>Done</th><th>Last attempt took</th>'
            f'<th>Attempts</th></tr></thead><tbody>{"".join(cells)}</tbody></table>')


BEST = {True: " <b>(best)</b>", False: " <b>(highest, by less than chance may do)</b>"}


def _disk(folder: RunFolder) -> str:
    use = run_disk.use(folder)
    parts = ", ".join(f"{name} {in_words(size)}" for name, size in use.items() if name != "all" and size)
    found = run_disk.checkpoints(folder)
    kept = "".join(f"<li>{escape(c.stage)}, step {c.step:,}: {in_words(c.size)}"
                   + (f", held-out reward {c.held_out:.3g}" if c.held_out is not None else "")
                   + (f" ({c.between[0]:.3g} to {c.between[1]:.3g})" if c.between else "")
                   + (BEST[c.certain] if c.best else "") + "</li>" for c in found)
    list_ = f"<ul>{kept}</ul>" if kept else ""
    return f"<p><b>{in_words(use['all'])}</b> on disk ({escape(parts)}).</p>{list_}"


def _address(card: RunCard) -> str:
    return (f'<p class="rs-about">Id <code>{escape(card.id)}</code> · '
            f'<a href="?run={escape(card.id)}">permanent address</a></p>')
