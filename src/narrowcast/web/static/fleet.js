// The page of a fleet: asks where every camera stands, every two seconds while it is looked at.
import { ask, make } from "./common.js";

const EVERY_MS = 2000;
const STALE_S = 10;
const byId = (id) => document.getElementById(id);

function accuracy(camera) {
  if (camera.accuracy === null) return make("td", {}, "–");
  const text = camera.accuracy.toFixed(2);
  const meter = make("meter", { min: 0, max: 1, high: camera.target, low: camera.target - 0.15, optimum: 1, value: text });
  return make("td", { title: `enough is ${camera.target}` }, meter, ` ${text}`);
}

function row(camera) {
  const name = camera.has_report ? make("a", { href: `/reports/${encodeURIComponent(camera.name)}` }, camera.name) : camera.name;
  const status = camera.message ? `${camera.status}: ${camera.message}` : camera.status;
  const number = (value) => make("td", { class: "r" }, String(value));
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, name, camera.recalled ? make("span", { class: "soft" }, ` from ${camera.recalled}`) : null),
    make("td", { class: camera.status }, status),
    number(camera.frames),
    number(camera.frames_per_s.toFixed(1)),
    accuracy(camera),
    number(camera.stride),
    number(camera.calls),
    number(camera.refused),
    number(camera.worker),
  );
}

function told(event) {
  const { time, kind, ...facts } = event;
  const rest = Object.entries(facts).filter(([, value]) => value !== "").map(([name, value]) => `${name} ${value}`);
  return make("li", {}, make("time", { class: "soft" }, new Date(1000 * time).toLocaleTimeString()), ` ${kind} `, rest.join(", "));
}

function show(fleet) {
  const running = fleet.cameras.filter((camera) => camera.status === "running").length;
  byId("summary").textContent = `${fleet.cameras.length} cameras, ${running} running`;
  const isStale = !fleet.has_ended && fleet.age_s > STALE_S;
  notice(isStale ? `Nothing new for ${Math.round(fleet.age_s)} seconds: the fleet does not run.` : "");
  byId("cameras").replaceChildren(...fleet.cameras.map(row));
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
