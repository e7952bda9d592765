// One chart: a Plotly graph that is kept alive and fed, its legend with the values at the cursor, its buttons.

const { el, shown } = await import("./dom.js" + new URL(import.meta.url).search);
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];

export class Card {
  constructor(board, spec) {
    Object.assign(this, { board, data: new Map(), visible: false, log: false, drawn: false, pending: 0 });
    this.firstDrawn = new Promise(done => { this.tellDrawn = done; });
    this.legend = el("div", { class: "live-legend" });
    this.title = el("h4", {});
    this.logButton = el("button", { type: "button", class: "live-icon", "aria-pressed": "false", onclick: () => this.toggleLog() }, "log");
    this.unzoom = el("button", { type: "button", class: "live-icon", hidden: true, title: "Show everything again",
      onclick: () => window.Plotly.relayout(this.plot, { "xaxis.autorange": true, "yaxis.autorange": true }) }, "reset zoom");
    this.plot = el("div", { class: "live-plot", tabindex: 0, role: "img", onkeydown: event => this.key(event),
      onpointermove: event => this.moved(event), onpointerleave: () => board.point(null, null), onblur: () => board.point(null, null) });
    this.line = el("div", { class: "live-cursor", hidden: true });
    this.plot.addEventListener("pointerdown", event => { this.down = [event.clientX, event.clientY, event.button]; }, true);
    this.onUp = event => this.up(event);
    window.addEventListener("pointerup", this.onUp, true);
    this.root = el("article", { class: "live-card" },
      el("header", {}, this.title, el("span", { class: "live-buttons" }, this.unzoom, this.logButton,
        el("button", { type: "button", class: "live-icon", title: "Download all values as CSV", onclick: () => board.csv(this) }, "CSV"),
        el("button", { type: "button", class: "live-icon", title: "Download the picture as PNG", onclick: () => this.png() }, "PNG"))),
      this.legend, el("div", { class: "live-frame" }, this.plot, this.line));
    this.setSpec(spec);
  }

  setSpec(spec) {
    this.spec = spec;
    this.title.textContent = spec.title; this.title.title = spec.help;
    this.logButton.title = "Logarithmic axis";
    this.logButton.setAttribute("aria-label", "log axis for " + spec.title);
    if (!this.plot.hasAttribute("aria-label")) this.plot.setAttribute("aria-label", spec.title + ": not drawn yet");
    this.logButton.hidden = spec.unit === "share" || spec.stacked || ["reward", "rewards"].includes(spec.name);
    this.legend.replaceChildren(...spec.series.map((s, i) => el("span", {}, el("i", { "data-i": i }), s.label + " ", el("b", {}, "–"))));
    this.later();
  }

  close() {
    window.removeEventListener("pointerup", this.onUp, true);
    clearTimeout(this.pending);
    if (this.drawn) window.Plotly.purge(this.plot);
    this.closed = true;
  }

  // ---- data

  ask(run) {
    const kept = this.data.get(run);
    return [this.spec.id, run, ...(kept ? kept.cursor : ["", 1, 0, -1])];
  }

  take(piece) {
    const kept = this.data.get(piece.run) || { series: {} };
    if (piece.from === 0) kept.series = {};
    else if (piece.cursor[1] > kept.cursor[1]) {
      for (const key of Object.keys(kept.series)) kept.series[key] = widened(kept.series[key], kept.cursor[1], piece.cursor[1]);
    }
    kept.cursor = piece.cursor;
    for (const [key, columns] of Object.entries(piece.series)) {
      const old = kept.series[key];
      if (!old || old.length !== columns.length) { kept.series[key] = columns; continue; }
      let keep = old[0].length;
      while (keep && old[0][keep - 1] >= piece.from) keep--;
      kept.series[key] = old.map((column, i) => column.slice(0, keep).concat(columns[i]));
    }
    this.data.set(piece.run, kept);
  }

  forget(run) { this.data.delete(run); this.later(); }
  of(run, key) { return this.data.get(run)?.series[key]; }

  // ---- drawing

  later() {  // once per tick and card, whatever asked for it
    if (this.pending || this.closed) return;
    this.pending = setTimeout(() => { this.pending = 0; this.draw(); }, 0);
  }

  draw() {
    if (this.closed || !this.visible || !window.Plotly || !this.plot.offsetWidth || !this.data.size) return;
    const runs = this.board.shownRuns().filter(run => this.data.has(run));
    const colours = this.board.colours();
    const traces = runs.flatMap((run, r) => this.spec.series.flatMap((s, i) =>
      this.traces(run, s, i, colours[i % colours.length], DASHES[r % DASHES.length], r)));
    if (this.spec.spread && runs.length === 1 && !this.board.smoothing) traces.unshift(...this.spread(runs[0], colours[0]));
    window.Plotly.react(this.plot, traces, this.layout(), { displayModeBar: false, responsive: false, doubleClick: "reset" });
    if (this.resized && this.drawn) window.Plotly.Plots.resize(this.plot);
    if (!this.drawn) this.plot.on("plotly_relayout", () => this.zoomed());
    this.resized = false; this.drawn = true; this.tellDrawn();
    this.legend.querySelectorAll("i").forEach((mark, i) => { mark.style.background = colours[i % colours.length]; });
    this.readout();
  }

  traces(run, spec, i, colour, dash, r) {
    const points = this.of(run, spec.key);
    if (!points || !points[0].length) return [];
    const [x, y, low, high] = points, smoothing = this.board.smoothing;
    const base = { mode: x.length === 1 ? "markers" : "lines", hoverinfo: "none", connectgaps: true };
    if (this.spec.stacked && r === 0) return [{ ...base, x, y, stackgroup: "all", line: { color: colour, width: 1 }, fillcolor: colour + "66" }];
    const made = [];
    if (low && !smoothing) made.push({ ...base, x: [...x, ...x.slice().reverse()], y: [...high, ...low.slice().reverse()],
      fill: "toself", fillcolor: colour + "2e", line: { width: 0 }, mode: "lines" });
    if (smoothing) made.push({ ...base, x, y, opacity: 0.25, line: { color: colour, width: 1, dash } });
    made.push({ ...base, x, y: smoothing ? smoothed(x, y, smoothing) : y, line: { color: colour, width: 2, dash }, marker: { color: colour },
      ...(smoothing ? {} : this.whiskers(run, spec, x, y, colour)) });
    return made;
  }

  range(run, spec, step) {  // the interval around a held-out point: [low, high], or nothing
    const found = [spec.low, spec.high].map(key => {
      const points = key && this.of(run, key), at = points ? points[0].indexOf(step) : -1;
      return at < 0 ? null : points[1][at];
    });
    return found.includes(null) ? null : found;
  }

  whiskers(run, spec, x, y, colour) {
    const ranges = spec.low ? x.map(step => this.range(run, spec, step)) : [];
    if (!ranges.some(Boolean)) return {};
    return { mode: "lines+markers", error_y: { type: "data", symmetric: false, color: colour, thickness: 1, width: 3,
      array: ranges.map((r, i) => r ? r[1] - y[i] : 0), arrayminus: ranges.map((r, i) => r ? y[i] - r[0] : 0) } };
  }

  spread(run, colour) {
    const mean = this.of(run, this.spec.series[0].key), std = this.of(run, this.spec.spread);
    if (!mean || !std || mean[0].length < 2) return [];
    const at = new Map(std[0].map((step, i) => [step, std[1][i]]));
    const x = mean[0].filter((step, i) => at.has(step) && mean[1][i] !== null);
    const y = mean[1].filter((v, i) => at.has(mean[0][i]) && v !== null);
    const up = y.map((v, i) => v + at.get(x[i])), down = y.map((v, i) => v - at.get(x[i]));
    return [{ x: [...x, ...x.slice().reverse()], y: [...up, ...down.reverse()], fill: "toself", hoverinfo: "none",
      fillcolor: colour + "26", line: { width: 0 }, mode: "lines" }];
  }

  layout() {
    const style = getComputedStyle(this.root), ink = style.getPropertyValue("--live-quiet").trim() || "#666";
    const grid = style.getPropertyValue("--live-grid").trim() || "#ddd", unit = this.spec.unit;
    const axis = { color: ink, gridcolor: grid, zerolinecolor: grid, tickfont: { size: 11, color: ink }, automargin: false };
    return {
      margin: { l: 48, r: 10, t: 6, b: 26 }, height: 190, showlegend: false, dragmode: "zoom", hovermode: "x",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", uirevision: this.board.live.run + (this.log ? "log" : ""),
      xaxis: { ...axis, showgrid: false, rangemode: "normal", nticks: 6 },
      yaxis: { ...axis, type: this.log ? "log" : "linear", nticks: 5, fixedrange: false,
        tickformat: unit === "share" ? ".2~%" : unit === "tiny" ? ".2~e" : unit === "tokens" ? ",.4~r" : null, exponentformat: "e",
        rangemode: ["seconds", "gib", "tokens"].includes(unit) && !this.log ? "tozero" : "normal" },
      shapes: this.shapes(ink),
    };
  }

  shapes(ink) {
    const at = (step, dash, colour) => ({ type: "line", x0: step, x1: step, y0: 0, y1: 1, yref: "paper", line: { width: 1, dash, color: colour } });
    const marks = this.board.marks.filter(m => m.stage === this.spec.stage).map(m => at(m.step, "dot", ink));
    const marked = this.board.marked;
    return marked && marked.stage === this.spec.stage ? [...marks, at(marked.step, "solid", this.board.colours()[0])] : marks;
  }

  zoomed() { this.unzoom.hidden = this.plot.layout.xaxis.autorange !== false && this.plot.layout.yaxis.autorange !== false; }

  toggleLog() {
    this.log = !this.log;
    this.logButton.setAttribute("aria-pressed", this.log);
    this.later();
  }

  async png() {
    await this.firstDrawn;
    const style = getComputedStyle(document.body);
    window.Plotly.downloadImage({ data: this.plot.data, config: {}, layout: { ...this.plot.layout, width: 900, height: 450, autosize: false,
      title: { text: "" }, margin: { l: 60, r: 20, t: 40, b: 40 }, paper_bgcolor: style.getPropertyValue("--body-background-fill").trim() || "#fff",
      annotations: [{ text: escaped(this.spec.title), xref: "paper", yref: "paper", x: 0, y: 1.1, showarrow: false, font: { size: 16 } }] } },
    { format: "png", filename: `${this.board.live.run}-${this.spec.id}`, width: 900, height: 450, scale: 2 });
  }

  // ---- the cursor

  stepAt(left) {  // pixels from the plot's left edge
    const axis = this.plot._fullLayout?.xaxis;
    return axis ? this.nearest(axis.p2d(left - axis._offset)) : null;
  }

  leftOf(event) { return event.clientX - this.plot.getBoundingClientRect().left; }

  nearest(step) {
    const x = this.steps();
    if (!x?.length || !Number.isFinite(step)) return null;
    let low = 0, high = x.length - 1;
    while (high - low > 1) { const middle = (low + high) >> 1; if (x[middle] <= step) low = middle; else high = middle; }
    return Math.abs(x[low] - step) <= Math.abs(x[high] - step) ? x[low] : x[high];
  }

  steps() { return this.spec.series.map(s => this.of(this.board.live.run, s.key)?.[0]).filter(Boolean).sort((a, b) => b.length - a.length)[0]; }
  moved(event) { const step = this.stepAt(this.leftOf(event)); if (step !== null) this.board.point(this.spec.stage, step); }

  async up(event) {
    const down = this.down, left = this.leftOf(event); this.down = null;
    if (!down || down[2] !== 0 || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > 5) return;
    await this.firstDrawn;  // a click that comes before the points counts when they are there
    if (this.closed) return;
    const step = this.stepAt(left);
    if (step !== null) this.board.mark(this.spec.stage, step);
    if (step !== null && this.spec.stage !== "sft") this.board.live.openStep(this.spec.stage, step);
  }

  key(event) {
    const x = this.steps();
    if (!x?.length) return;
    const now = this.board.cursor?.stage === this.spec.stage ? x.indexOf(this.nearest(this.board.cursor.step)) : x.length - 1;
    const moves = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: x.length - 1, PageUp: now - 20, PageDown: now + 20 };
    if (event.key in moves) {
      event.preventDefault();
      this.board.point(this.spec.stage, x[Math.max(0, Math.min(x.length - 1, moves[event.key]))]);
    } else if (event.key === "Enter") {
      this.board.mark(this.spec.stage, x[now]);
      if (this.spec.stage !== "sft") this.board.live.openStep(this.spec.stage, x[now]);
    }
  }

  readout() {
    const cursor = this.board.cursor?.stage === this.spec.stage ? this.board.cursor.step : null;
    const words = [];
    this.spec.series.forEach((s, i) => {
      const points = this.of(this.board.live.run, s.key);
      const at = points ? (cursor === null ? points[0].length - 1 : indexNear(points[0], cursor)) : -1;
      const range = at >= 0 && this.range(this.board.live.run, s, points[0][at]);
      const value = (at >= 0 ? shown(points[1][at], this.spec.unit) : "–")
        + (range ? ` (${range.map(v => shown(v, this.spec.unit)).join(" to ")})` : "");
      const cell = this.legend.children[i]?.querySelector("b");
      if (cell && cell.textContent !== value) cell.textContent = value;
      words.push(`${s.label} ${value}`);
    });
    const x = this.steps(), step = cursor ?? x?.[x.length - 1];
    const label = `${this.spec.title} at step ${step ?? "none"}: ${words.join(", ")}. Arrow keys move through the steps, Enter opens the completions.`;
    if (this.plot.getAttribute("aria-label") !== label) this.plot.setAttribute("aria-label", label);
    this.moveLine(cursor);
  }

  moveLine(cursor) {
    const axis = this.plot._fullLayout?.xaxis;
    const left = cursor === null || !axis ? -1 : axis.d2p(cursor);
    this.line.hidden = !(left >= 0 && left <= (axis?._length ?? 0));
    if (!this.line.hidden) { this.line.style.left = left + axis._offset + "px"; this.line.dataset.step = "step " + cursor; }
  }
}

function widened(columns, was, stride) {  // points of `stride` steps from narrower ones, so that they need not come again
  const [x, mean, low = mean, high = mean] = columns, made = [[], [], [], []];
  for (let i = 0; i < x.length;) {
    const bucket = Math.floor(x[i] / stride);
    let last = 0, sum = 0, steps = 0, least = Infinity, most = -Infinity;
    for (; i < x.length && Math.floor(x[i] / stride) === bucket; i++) {
      last = x[i];
      if (mean[i] === null) continue;
      const width = Math.max(1, x[i] < was ? was - 1 : was);  // steps begin with 1, so the first point stands for one step less
      sum += width * mean[i]; steps += width; least = Math.min(least, low[i]); most = Math.max(most, high[i]);
    }
    (steps ? [last, sum / steps, least, most] : [last, null, null, null])
      .forEach((value, column) => made[column].push(value));
  }
  return made;
}

function smoothed(x, y, amount) {  // exponential, by distance in steps, so that gaps and thinning do not change it
  const reach = Math.max(1, (x[x.length - 1] - x[0]) * 0.1 * amount * amount);
  let mean = null, last = null;
  return y.map((value, i) => {
    if (value === null) return mean;
    mean = mean === null ? value : mean + (value - mean) * (1 - Math.exp(-(x[i] - last) / reach));
    last = x[i];
    return mean;
  });
}

function indexNear(x, step) {
  let low = 0, high = x.length - 1;
  while (high - low > 1) { const middle = (low + high) >> 1; if (x[middle] <= step) low = middle; else high = middle; }
  return Math.abs(x[low] - step) <= Math.abs(x[high] - step) ? low : high;
}

function escaped(text) { return text.replace(/[&<>]/g, c => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" }[c])); }
