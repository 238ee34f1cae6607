// The page of a fleet: asks where every camera stands, every two seconds while it is looked at.
import { ask, make } from "./common.js";

const EVERY_MS = 2000;
const STALE_S = 10;
const byId = (id) => document.getElementById(id);

function accuracy(camera) {
  if (camera.accuracy === null) return make("td", { "data-label": "Accuracy" }, "–");
  const text = camera.accuracy.toFixed(2);
  const meter = make("meter", { "aria-label": `accuracy ${text}, enough is ${camera.target}`, min: 0, max: 1, high: camera.target, low: camera.target - 0.15, optimum: 1, value: text });
  return make("td", { title: `enough is ${camera.target}`, "data-label": "Accuracy" }, meter, ` ${text}`);
}

function row(camera) {
  const name = camera.has_report ? make("a", { href: `/reports/${encodeURIComponent(camera.name)}` }, camera.name) : camera.name;
  const status = camera.message ? `${camera.status}: ${camera.message}` : camera.status;
  const number = (label, value) => make("td", { class: "r", "data-label": label }, String(value));
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, name, camera.recalled ? make("span", { class: "soft" }, ` from ${camera.recalled}`) : null),
    make("td", { class: camera.status, "data-label": "Status" }, status),
    number("Frames", camera.frames),
    number("Frames a second", camera.frames_per_s.toFixed(1)),
    accuracy(camera),
    number("Stride", camera.stride),
    number("Teacher calls", camera.calls),
    number("Refused", camera.refused),
    number("Worker", camera.worker),
  );
}

function told(event) {
  const { time, kind, ...facts } = event;
  const rest = Object.entries(facts).filter(([, value]) => value !== "").map(([name, value]) => `${name} ${value}`);
  return make("li", {}, make("time", { class: "soft" }, new Date(1000 * time).toLocaleTimeString()), ` ${kind}`, rest.length ? ` (${rest.join(", ")})` : "");
}

function show(fleet) {
  const running = fleet.cameras.filter((camera) => camera.status === "running").length;
  byId("summary").textContent = `${fleet.cameras.length} cameras, ${running} running`;
  const isStale = !fleet.has_ended && fleet.age_s > STALE_S;
  notice(isStale ? `Nothing new for ${Math.round(fleet.age_s)} seconds: the fleet does not run.` : "");
  const focused = byId("cameras").contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  byId("cameras").replaceChildren(...fleet.cameras.map(row));
  if (focused) [...byId("cameras").querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  byId("events").replaceChildren(...fleet.events.map(told));
}

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

async function look() {
  if (!document.hidden) {
    try {
      show(await ask("/api/fleet"));
    } catch (error) {
      notice(error.message);
    }
  }
  setTimeout(look, EVERY_MS);
}

look();
