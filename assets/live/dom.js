// Small helpers: elements from text, numbers in words, files to save.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

export function tell(node, text) {  // a live region is read aloud at every change, also to the same words
  if (node.textContent !== text) node.textContent = text;
}

// What the server answers; undefined when nothing came for so long: a network may drop what is under way without a word,
// and who waits for it waits for ever.
export function inTime(answer, seconds) {
  return Promise.race([answer, new Promise(give => setTimeout(give, 1000 * seconds))]);
}

export function stylesheet(href) {
  if (![...document.styleSheets].some(sheet => sheet.href === href)) {
    document.head.append(el("link", { rel: "stylesheet", href }));
  }
}

const UNITS = {
  share: v => (100 * v).toFixed(v > 0 && v < 0.1 ? 1 : 0) + " %", seconds: v => digits(v) + " s",
  gib: v => digits(v) + " GiB", tokens: v => v.toFixed(v < 10 ? 1 : 0), tiny: v => v ? v.toExponential(2) : "0", number: digits };

export function shown(value, unit) {
  return value === null || value === undefined || Number.isNaN(value) ? "–" : UNITS[unit](value);
}

function digits(v) {
  const size = Math.abs(v);
  if (size !== 0 && size < 0.001) return v.toExponential(1);
  return v.toFixed(size < 1 ? 3 : size < 100 ? 2 : 0).replace("-", "−");
}

export function timeLeft(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return Math.max(1, Math.round(seconds)) + " s left";
  if (seconds < 5400) return Math.round(seconds / 60) + " min left";
  return (seconds / 3600).toFixed(1) + " h left";
}

export function save(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export function dark() { return document.body.classList.contains("dark") || document.documentElement.classList.contains("dark"); }

let plotly = null;
export function loadPlotly(src) {  // 4.8 MB: once, when the first chart is about to be drawn
  if (window.Plotly?.version?.startsWith("4")) return Promise.resolve(window.Plotly);
  plotly ||= new Promise((resolve, reject) => {
    const script = el("script", { src, onload: () => resolve(window.Plotly), onerror: () => {
      plotly = null; script.remove(); reject(new Error("plotly.js could not be loaded")); } });
    document.head.append(script);
  });
  return plotly;
}
