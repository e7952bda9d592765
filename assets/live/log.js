// The worker's log: its tail as it grows, search in all of it, download.

const { el, save } = await import("./dom.js" + new URL(import.meta.url).search);
const KEPT = 400000;  // characters of tail kept in the page

export class Log {
  constructor(live, root) {
    Object.assign(this, { live, root });
    this.text = el("input", { type: "search", maxlength: 300, placeholder: "Search the whole log", "aria-label": "Search the whole log" });
    this.text.addEventListener("search", () => this.find());
    this.about = el("span", { class: "live-quiet", role: "status" });
    this.lines = el("pre", { class: "live-lines", tabindex: 0, role: "log", "aria-live": "off", "aria-label": "Log" });
    root.append(el("div", { class: "live-line" },
      el("form", { class: "live-note", onsubmit: event => { event.preventDefault(); this.find(); } }, this.text,
        el("button", { type: "submit", class: "live-button" }, "Search")),
      el("button", { type: "button", class: "live-button", onclick: () => this.download() }, "Download"), this.about), this.lines);
    this.reset();
  }

  reset() { this.end = null; this.tail = ""; this.searching = false; this.text.value = ""; this.lines.textContent = ""; this.about.textContent = ""; }

  take(piece) {
    if (piece.start !== this.end) this.tail = "";
    this.end = piece.end;
    this.tail = (this.tail + piece.text).slice(-KEPT);
    if (this.searching) return;
    const atEnd = this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 40;
    this.lines.textContent = readable(this.tail);
    if (atEnd) this.lines.scrollTop = this.lines.scrollHeight;
  }

  async find() {
    const text = this.text.value.trim();
    this.searching = !!text;
    if (!text) {
      this.about.textContent = ""; this.lines.textContent = readable(this.tail); this.lines.scrollTop = this.lines.scrollHeight;
      return;
    }
    const run = this.live.run, answer = await this.live.ask("live_log_search", { run, text });
    if (!answer || run !== this.live.run || text !== this.text.value.trim()) return;
    const found = answer.lines || [];
    this.about.textContent = answer.error || (found.length ? `${found.length}${found.length >= 500 ? " or more" : ""} ${found.length === 1 ? "line" : "lines"}` : "No line holds this.");
    this.lines.textContent = found.map(([number, line]) => `${String(number).padStart(6)}  ${line}`).join("\n");
  }

  async download() {
    const run = this.live.run, answer = await this.live.ask("live_log_search", { run, text: "" });
    if (answer?.text !== undefined) save(`${run}-log.txt`, answer.text, "text/plain");
  }
}

function readable(text) {  // progress bars rewrite their line with \r, colours come as escape codes
  return text.replace(/\x1b\[[0-9;]*[A-Za-z]/g, "").split("\n").map(line => line.slice(line.lastIndexOf("\r", line.length - 2) + 1)).join("\n");
}
