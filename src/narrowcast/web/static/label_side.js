// The numbers beside the grid: figures, curve of finds, histogram of scores, intervals, the stopping rule's word.
import { colour, make, withColours } from "./common.js";

const element = (id) => document.getElementById(id);
let state = null;
let page = 24;

// Show the state that the server told; `num` is how many photos a sheet has.
export function showState(told, num) {
  state = { ...state, ...told };
  page = num;
  draw();
}

export function startSide() {
  withColours(draw);
  new ResizeObserver(draw).observe(element("side"));
}

function draw() {
  if (!state) return;
  const labels = state.positive + state.negative;
  element("num-positive").textContent = state.positive.toLocaleString();
  element("num-labels").textContent = (labels + state.unsure).toLocaleString();
  element("expected").textContent = state.expected_rate === null ? "–" : `≈ ${Math.round(state.expected_rate * page)}`;
  element("expected").title = `finds expected among the next ${page}, judged by the last ${state.recent[1]} labels`;
  drawCurve(element("curve"), state.curve);
  const look = state.overview;
  drawHistogram(element("histogram"), look);
  element("histogram-told").textContent = look?.has_model
    ? `scores of all photos (log scale); ${look.num_above.toLocaleString()} without a label above the threshold`
    : "scores of all photos, once there is a model";
  element("word").textContent = state.problem || (look?.word ?? "");
  drawIntervals(element("intervals"), look?.audit);
  element("plan").hidden = Boolean(look?.audit && (look.audit.left > 0 || look.audit.num_answered > 0));
  const people = Object.entries(state.by_person ?? {}).map(([who, num]) => `${who || "somebody"} ${num}`);
  const agree = state.agreement ?? { num: 0 };
  const pairs = agree.num ? `; they agree on ${Math.round(100 * agree.share)}% of ${agree.num} photos` : "";
  const kappa = agree.num && agree.kappa !== null ? ` (κ ${agree.kappa.toFixed(2)})` : "";
  element("people").textContent = people.length > 1 ? `Labels by: ${people.join(", ")}${pairs}${kappa}` : "";
}

// A canvas in device pixels; drawing is in CSS pixels.
export function fresh(canvas) {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const brush = canvas.getContext("2d");
  brush.scale(scale, scale);
  brush.font = "11px system-ui, sans-serif";
  return { brush, width, height };
}

function drawCurve(canvas, curve) {
  const { brush, width, height } = fresh(canvas);
  const last = curve[curve.length - 1];
  canvas.setAttribute("aria-label", last ? `${last[1]} positives found with ${last[0]} labels` : "no labels yet");
  if (!last) return;
  const [left, bottom] = [8, height - 16];
  const x = (labels) => left + (labels / Math.max(last[0], 1)) * (width - left - 34);
  const y = (finds) => bottom - (finds / Math.max(last[1], 1)) * (bottom - 12);
  brush.strokeStyle = colour("--line");
  brush.beginPath();
  brush.moveTo(left, bottom + 0.5);
  brush.lineTo(width - 6, bottom + 0.5);
  brush.stroke();
  brush.strokeStyle = colour("--accent");
  brush.lineWidth = 2;
  brush.beginPath();
  for (const [labels, finds] of curve) brush.lineTo(x(labels), y(finds));
  brush.stroke();
  brush.fillStyle = colour("--soft");
  brush.textAlign = "right";
  brush.fillText(`${last[0].toLocaleString()} labels`, width - 6, height - 4);
  brush.textAlign = "left";
  brush.fillStyle = colour("--ink");
  brush.fillText(String(last[1]), width - 30, y(last[1]) + 4);
}

function drawHistogram(canvas, look) {
  const { brush, width, height } = fresh(canvas);
  if (!look?.counts.length) return;
  canvas.setAttribute("aria-label", `scores of all photos; ${look.num_above} photos without a label above the threshold`);
  const [bottom, high] = [height - 16, Math.log1p(Math.max(...look.counts))];
  const step = (width - 12) / look.counts.length;
  const bars = (counts, fill, part) => {
    brush.fillStyle = fill;
    counts.forEach((count, ix) => {
      const tall = (Math.log1p(count) / high) * (bottom - 8);
      brush.fillRect(6 + ix * step + (part ? step * 0.15 : 0), bottom - tall, Math.max(1, step * (part ? 0.7 : 0.95)), tall);
    });
  };
  bars(look.counts, colour("--edge"), false);
  bars(look.negative, colour("--bad"), true);
  bars(look.positive, colour("--good"), true);
  const [first, last] = [look.edges[0], look.edges[look.edges.length - 1]];
  if (!look.has_model || first >= 0 || last <= 0) return;
  const zero = 6 + ((0 - first) / (last - first)) * (width - 12);
  brush.strokeStyle = colour("--accent");
  brush.lineWidth = 2;
  brush.beginPath();
  brush.moveTo(zero, 2);
  brush.lineTo(zero, bottom);
  brush.stroke();
  brush.fillStyle = colour("--ink");
  brush.fillText("threshold", Math.min(zero - 20, width - 56), height - 4);
}

const SVG = "http://www.w3.org/2000/svg";

function drawIntervals(box, audit) {
  const standing = audit?.standing;
  if (!standing) {
    const told = audit ? `Audit: ${audit.num_answered} of ${audit.num_drawn} answered.` : "Precision, recall and F1: not measured yet.";
    box.replaceChildren(make("p", { class: "soft" }, told));
    return;
  }
  const rows = [["precision", standing.precision], ["recall", standing.recall], ["F1", standing.f1], ["found", standing.recall_of_labels]];
  box.replaceChildren(...rows.map(([name, interval]) => {
    const text = `${percent(interval.value)} (${percent(interval.low)}–${percent(interval.high)})`;
    const track = document.createElementNS(SVG, "svg");
    track.setAttribute("viewBox", "0 0 100 10");
    track.setAttribute("preserveAspectRatio", "none");
    track.setAttribute("aria-hidden", "true");
    track.append(bar(0, 100, "--line"), bar(100 * interval.low, 100 * (interval.high - interval.low), "--series-1"), bar(100 * interval.value - 0.8, 1.6, "--ink"));
    return make("div", { class: "interval" }, make("span", {}, name), track, make("span", { class: "number" }, text));
  }));
}

function bar(x, width, fill) {
  const rect = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries({ x, y: 0, width: Math.max(width, 0.5), height: 10 })) rect.setAttribute(name, value);
  rect.style.fill = `var(${fill})`;
  return rect;
}

const percent = (share) => `${Math.round(100 * share)}%`;
