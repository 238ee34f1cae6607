// The monitor of a stream: asks for the state once a second and for a picture up to five times a second, while it is seen.
import { ask, colour, make, withColours } from "./common.js";

const STATE_MS = 1000, PICTURE_MS = 200, MOST_SECONDS = 1800, MOST_EVENTS = 200;
const element = (id) => document.getElementById(id);
const percent = (value) => `${Math.round(100 * value)}%`;
const CURVES = [
  { name: "accuracy", label: "Accuracy on the teacher's frames", series: "--series-1", top: () => 1, show: percent, dots: true },
  { name: "stride", label: "Frames from one question to the next", series: "--series-2", show: (value) => `${value}` },
  { name: "updates", label: "Updates a second", series: "--series-4", show: (value) => `${value}` },
  { name: "frames", label: "Frames a second", series: "--series-3", show: (value) => `${value}` },
  { name: "latency_ms", label: "Latency, slowest of a second", series: "--series-1", show: (value) => `${Math.round(value)} ms` },
];
const seconds = new Map();
let lastEvent = -1, isPaused = false, isOver = false;

for (const curve of CURVES) {
  curve.canvas = make("canvas", { role: "img" });
  curve.now = make("span", { class: "number" });
  element("curves").append(make("figure", {}, make("figcaption", {}, make("span", {}, curve.label), curve.now), curve.canvas));
}

function numbers(state) {
  const counts = state.counts;
  const rows = [
    ["Frame", state.frame ?? "–"],
    ["Frames", counts.frames],
    ["Dropped", counts.dropped],
    ["Teacher asked", counts.frames ? percent(counts.teacher_frames / counts.frames) : "–"],
    ["Updates", counts.updates],
    ["Weights taken over", counts.swaps],
    ["Age of labels", state.labels_age === null ? "–" : `${state.labels_age} frames`],
    ["Age of weights", state.weights_age === null ? "–" : `${state.weights_age} frames`],
    ["Gaps", counts.gaps],
  ];
  element("numbers").replaceChildren(
    ...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, `${value}`))),
  );
}

function clock(time_s) {
  const whole = Math.floor(time_s);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return parts.map((part) => `${part}`.padStart(2, "0")).join(":");
}

function events(news) {
  for (const event of news) {
    element("events").prepend(make("li", {}, make("time", {}, clock(event.time_s)), event.text));
    lastEvent = event.number;
  }
  while (element("events").childElementCount > MOST_EVENTS) element("events").lastElementChild.remove();
}

function draw() {
  const all = [...seconds.values()];
  const last = all.length ? all[all.length - 1].second : 0;
  const first = Math.min(all.length ? all[0].second : 0, last - 60);
  for (const curve of CURVES) {
    const points = all.filter((one) => one[curve.name] !== undefined);
    const { canvas } = curve;
    const width = (canvas.width = Math.round(canvas.clientWidth * devicePixelRatio));
    const height = (canvas.height = Math.round(canvas.clientHeight * devicePixelRatio));
    const context = canvas.getContext("2d");
    const top = curve.top ? curve.top() : Math.max(1, ...points.map((one) => one[curve.name]));
    const x = (second) => ((second - first) / Math.max(1, last - first)) * (width - 4) + 2;
    const y = (value) => height - 2 - (value / top) * (height - 4);
    context.strokeStyle = colour("--line");
    context.strokeRect(0.5, 0.5, width - 1, height - 1);
    context.strokeStyle = context.fillStyle = colour(curve.series);
    context.lineWidth = 1.5 * devicePixelRatio;
    context.beginPath();
    points.forEach((one, ix) => {
      const isAway = ix > 0 && !curve.dots && one.second - points[ix - 1].second > 2; // nothing was there: no line
      if (ix === 0 || isAway) context.moveTo(x(one.second), y(one[curve.name]));
      else context.lineTo(x(one.second), y(one[curve.name]));
    });
    context.stroke();
    const now = points.length ? curve.show(points[points.length - 1][curve.name]) : "–";
    curve.now.textContent = now;
    canvas.setAttribute("aria-label", `${curve.label}: ${now} now, at most ${curve.show(top)}`);
  }
}

async function look() {
  try {
    if (!document.hidden) {
      const since = seconds.size ? [...seconds.keys()].pop() : -1;
      const state = await ask(`/state?since=${since}&event=${lastEvent}`);
      for (const one of state.seconds) seconds.set(one.second, one);
      while (seconds.size > MOST_SECONDS) seconds.delete(seconds.keys().next().value);
      numbers(state);
      events(state.events);
      draw();
      isOver = state.is_over;
      const where = state.frame === null ? "waiting for the first frame" : `at ${clock(state.time_s)}`;
      element("status").textContent = isOver ? "the stream has ended" : where;
    }
  } catch (error) {
    element("status").textContent = error.message;
  }
  setTimeout(look, STATE_MS);
}

function picture() {
  const again = () => setTimeout(picture, PICTURE_MS);
  if (document.hidden || isPaused) return again();
  const next = new Image();
  next.onload = () => {
    element("picture").src = next.src;
    again();
  };
  next.onerror = () => setTimeout(picture, STATE_MS);
  next.src = `/picture?view=${element("view").value}&at=${Date.now()}`;
  return undefined;
}

function pause() {
  isPaused = !isPaused;
  element("pause").setAttribute("aria-pressed", `${isPaused}`);
}

element("pause").addEventListener("click", pause);
addEventListener("keydown", (event) => {
  if (event.key !== " " || event.target.closest("button, select, input")) return;
  event.preventDefault();
  pause();
});
addEventListener("resize", draw);
withColours(draw);
look();
picture();
