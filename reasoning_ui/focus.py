"""Whoever goes by keyboard keeps their place when what had the focus goes away.

A pressed button that is hidden or drawn anew, a tab that another one replaces, a list that closes: the focus falls to
the page, and a screen reader begins at its top. The script here looks for that a few times a second, and only after a
key was pressed. The focus then goes, in this order, to the same control where it is again; to the button of the tab
that was opened; to the next control, else to the one before. A dropdown of Gradio opens its list when it gets the
focus, so it gets it back without that event, and is never the next control.

Of such a list, Tab would go on to its scroll bar, which vanishes with the list; so it is taken out of the order.

Gradio gives each choice of a group a name of its own, so the browser does not know that they belong together: the arrow
keys choose the next or the one before here, as in any other group.
"""

HEAD = """<script>
window.focusKeeper = {
  last: null, order: [], ids: [], tab: "", byKey: false, lost: 0, disabled: false,
  controls: 'a[href], button, summary, select, textarea, input:not([aria-expanded]), [tabindex="0"]',
  shown(element) { return element.isConnected && element.getClientRects().length > 0; },
  free(element) { return this.shown(element) && !element.disabled && element.tabIndex >= 0; },
  words(element) {
    const {tagName, type, value, textContent} = element;
    const own = tagName === "INPUT" ? ["radio", "checkbox"].includes(type) && value : textContent.trim();
    return [tagName, type, element.getAttribute("aria-label"), own].join("|");
  },
  remember(element) {
    const ids = [];
    for (let part = element; part; part = part.parentElement) if (part.id) ids.push(part.id);
    Object.assign(this, {last: element, said: this.words(element), ids, tab: document.body.dataset.tab, lost: 0,
                         order: [...document.querySelectorAll(this.controls)], disabled: false});
  },
  again() {  // the same control, drawn anew in the nearest part of the page that is still there
    const {id, tagName} = this.last, part = this.ids.map(one => document.getElementById(one)).find(Boolean);
    const found = id ? document.getElementById(id) : [...part?.querySelectorAll(tagName) ?? []].find(
      one => this.words(one) === this.said);
    return found && this.free(found) ? found : null;
  },
  opened() {
    const {tab} = document.body.dataset;
    return tab === this.tab ? null : document.querySelector(`#tabs button[role="tab"][data-tab-id="${tab}"]`);
  },
  near() {
    const at = this.order.indexOf(this.last), free = one => this.free(one);
    return this.order.slice(at + 1).find(free) ?? this.order.slice(0, Math.max(at, 0)).findLast(free);
  },
  give(element) {
    const quiet = event => event.stopImmediatePropagation();
    const list = element.matches("input[aria-expanded]");
    if (list) window.addEventListener("focus", quiet, true);
    element.focus({preventScroll: this.shown(this.last)});
    window.removeEventListener("focus", quiet, true);
  },
  look() {
    if (!this.last || !this.byKey || ![null, document.body].includes(document.activeElement)) return;
    if (this.shown(this.last) && this.last.disabled) this.disabled = true;  // it comes back
    else if (this.free(this.last)) {
      if (this.disabled || this.last.matches("input[aria-expanded]")) this.give(this.last);
    } else {
      const found = this.again() ?? this.opened() ?? (this.lost++ > 2 ? this.near() : null);
      if (found) this.give(found);
    }
  },
};
document.addEventListener("focusin", event => window.focusKeeper.remember(event.target), true);
document.addEventListener("pointerdown", () => Object.assign(window.focusKeeper, {last: null, byKey: false}), true);
document.addEventListener("keydown", event => {
  window.focusKeeper.byKey = true;
  const list = event.key === "Tab" && document.getElementById(event.target.getAttribute?.("aria-controls"));
  if (list && event.target.matches("input[aria-expanded]")) list.tabIndex = -1;
  const by = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[event.key];
  if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
  if (!event.target.matches?.('fieldset input[type="radio"]')) return;
  const group = [...event.target.closest("fieldset").querySelectorAll('input[type="radio"]:enabled')];
  const next = group[(group.indexOf(event.target) + by + group.length) % group.length];
  event.preventDefault();
  next?.focus();
  next?.click();
}, true);
setInterval(() => window.focusKeeper.look(), 150);
</script>"""
