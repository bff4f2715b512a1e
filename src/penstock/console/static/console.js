// What the console gains by scripts: local times, charts from tables, live numbers, keys. Everything works without.
"use strict";

document.documentElement.classList.add("js");
const language = document.documentElement.lang;
const short = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "short" });
const long = new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "long" });

function localTimes(within) {
  for (const one of within.querySelectorAll("time[datetime]")) {
    const at = new Date(one.dateTime);
    one.textContent = short.format(at);
    one.title = long.format(at);
  }
}

// Charts: each is drawn from the table in it, which stays, folded, for whoever wants the numbers.

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (name, index) => style(`--${name}`) || style(`--s${index % 8}`);

function read(table) {
  const heads = [...table.tHead.rows[0].cells].slice(1);
  const rows = [...table.tBodies[0].rows];
  const numbers = heads.map((_, at) => rows.map((row) => Number(row.cells[at + 1].textContent)));
  return { heads, numbers, times: rows.map((row) => Number(row.dataset.at)) };
}

function stacked(columns, isAbove) {
  let sum = columns[0] ? columns[0].map(() => 0) : [];
  return columns.map((column) => {
    sum = sum.map((value, at) => value + (isAbove ? Math.max(0, column[at]) : Math.min(0, column[at])));
    return sum;
  });
}

function axes() {
  const axis = { stroke: style("--dim"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line") }, font: "12px system-ui, sans-serif" };
  return [{ ...axis }, { ...axis, size: 56 }];
}

// Where mail begins to come from another source: a line, and its letter as in the table of sources.
function sources(rows) {
  return (plot) => {
    const { ctx, bbox } = plot, ratio = devicePixelRatio;
    let free = -Infinity;
    ctx.save();
    ctx.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    ctx.fillStyle = style("--ink");
    ctx.strokeStyle = style("--dim");
    ctx.setLineDash([2 * ratio, 3 * ratio]);
    rows.forEach((row, at) => {
      if (at && rows[at - 1].dataset.mark === row.dataset.mark) return;
      const x = Math.round(plot.valToPos(at + 1, "x", true));
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      if (x < free) return;
      ctx.fillText(row.dataset.mark, x + 3 * ratio, bbox.top + 12 * ratio);
      free = x + 16 * ratio;
    });
    ctx.restore();
  };
}

function draw(figure) {
  const table = figure.querySelector("table.numbers");
  if (!table || !window.uPlot) return;
  const { heads, numbers, times } = read(table);
  if (!times.length) return;
  const isBars = figure.dataset.chart === "bars";
  const names = heads.map((head) => head.dataset.series).filter(Boolean);
  const parts = numbers.slice(0, names.length);
  const path = isBars ? uPlot.paths.bars({ size: [0.8, 60], align: 1 }) : uPlot.paths.stepped({ align: 1 });
  const name = table.tHead.rows[0].cells[0].textContent;
  const moment = (at) => (at == null ? "–" : short.format(new Date(at * 1000)));
  const series = [{ label: name, value: (_, value) => moment(isBars ? value : times[value - 1]) }], data = [isBars ? times : times.map((_, at) => at + 1)];
  for (const isAbove of isBars ? [true] : [true, false]) {
    const sums = stacked(parts, isAbove);
    for (let at = names.length - 1; at >= 0; at--) {
      const paint = colour(names[at], at);
      const raw = parts[at];
      series.push({ label: heads[at].textContent, stroke: paint, fill: paint, width: 0, paths: path, points: { show: false },
        value: (_, value, __, index) => (index == null ? "–" : String(raw[index])), class: isAbove ? "above" : "below" });
      data.push(sums[at]);
    }
  }
  if (!isBars) {
    series.push({ label: heads[names.length].textContent, stroke: style("--ink"), width: 2, paths: path, points: { show: false } });
    data.push(numbers[names.length]);
    for (const [key, paint] of [["hold", "--hold"], ["suspend", "--reject"]]) {
      const line = Number(figure.dataset[key]);
      if (line) {
        series.push({ label: figure.dataset[`${key}Name`], stroke: style(paint), width: 2, dash: [6, 4], points: { show: false } });
        data.push(times.map(() => line));
      }
    }
  }
  const place = figure.querySelector(".drawing") || document.createElement("div");
  place.className = "drawing";
  place.setAttribute("aria-hidden", "true");
  place.replaceChildren();
  figure.querySelector("details").before(place);
  const options = { width: place.clientWidth || 600, height: 260, series, axes: axes(), scales: { x: { time: isBars } }, cursor: { y: false }, legend: { live: true } };
  if (!isBars) options.axes[0].values = (_, splits) => splits.map((at) => (times[at - 1] ? short.format(new Date(times[at - 1] * 1000)) : ""));
  if (!isBars) options.axes[0].space = 130;
  if (!isBars) options.hooks = { draw: [sources([...table.tBodies[0].rows])] };
  if (isBars) options.axes[1].incrs = Array.from({ length: 27 }, (_, n) => [1, 2, 5][n % 3] * 10 ** Math.floor(n / 3));
  if (isBars) options.scales.y = { range: (_, low, high) => [0, Math.max(1, high * 1.05)] };
  figure.plot = new uPlot(options, data, place);
  for (const row of place.querySelectorAll(".u-legend .u-series.below")) row.remove();
  figure.querySelector("details").open = false;
}

function drawAll() {
  for (const figure of document.querySelectorAll("[data-chart]")) draw(figure);
}

let last = innerWidth;
addEventListener("resize", () => { if (innerWidth !== last) { last = innerWidth; drawAll(); } });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

// Now, as it goes on.

for (const place of document.querySelectorAll("[data-events]")) {
  const events = new EventSource(place.dataset.events);
  events.addEventListener("now", (event) => {
    if (place.contains(document.activeElement)) return;
    place.innerHTML = event.data;
    localTimes(place);
  });
  addEventListener("pagehide", () => events.close());
}

// Held mail by keys.

function keys(form) {
  let at = -1;
  const rows = () => [...form.querySelectorAll("#rows > tr:not(.more)")];
  const go = (step) => {
    const all = rows();
    all[at]?.classList.remove("at");
    at = Math.max(0, Math.min(all.length - 1, at + step));
    all[at]?.classList.add("at");
    all[at]?.querySelector("input, a")?.focus();
  };
  const boxes = () => [...form.querySelectorAll("input[name=id]")];
  const press = (verb) => { if (boxes().some((one) => one.checked)) form.querySelector(`button[value=${verb}]`)?.click(); };
  const does = {
    j: () => go(1), k: () => go(-1), o: () => rows()[at]?.querySelector("a")?.click(),
    x: () => { const box = rows()[at]?.querySelector("input[name=id]"); if (box) box.checked = !box.checked; },
    a: () => { const all = boxes(), on = !all.every((one) => one.checked); for (const one of all) one.checked = on; },
    r: () => press("release"), d: () => press("drop"),
  };
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !does[event.key]) return;
    event.preventDefault();
    does[event.key]();
  });
}

for (const form of document.querySelectorAll("[data-keys=held]")) keys(form);
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => navigator.clipboard?.writeText(document.getElementById(button.dataset.copy).textContent));
}
document.addEventListener("htmx:load", (event) => localTimes(event.target));
localTimes(document);
addEventListener("load", drawAll);
