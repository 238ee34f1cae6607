// The labelling page: keys to labels, labels to the outbox, sheets from the server, the numbers beside them.
import { ask, make, Refused } from "./common.js";
import { full, ofCategory, page, thumb } from "./label_address.js";
import { Grid } from "./label_grid.js";
import { PointMap } from "./label_map.js";
import { Outbox } from "./label_outbox.js";
import { showState, startSide } from "./label_side.js";

const element = (id) => document.getElementById(id);
const category = element("category").textContent;
const api = ofCategory(category);
const VALUES = { f: "positive", d: "negative", s: "unsure" };
const VIEWS = ["label", "pseudo", "map", "positives", "disagreements", "history", "export"];
const POLL_MS = 1500;
const MOST_ON_MAP = 120; // chosen points that are shown as photos

let view = "label";
let sheet = null; // what the server gave; null while other photos ("more like this") are in the grid
let sheetShown = false;
let actions = []; // what this page has said since it was loaded, for undo: [{ id, was: [[item, value]] }]
let lastSeq = -1;
let isTurning = false;
const known = new Set(); // event ids whose acknowledgement this page has seen

// --- who and how many, remembered by the browser ------------------------------------------------------------------

const who = element("who");
who.value = localStorage.getItem("narrowcast-who") ?? who.value;
who.addEventListener("change", () => {
  localStorage.setItem("narrowcast-who", who.value.trim());
  loadSheet();
});
for (const name of ["num", "mode"]) {
  const kept = name === "num" ? localStorage.getItem("narrowcast-num") : null;
  if (kept && [...element(name).options].some((option) => option.value === kept)) element(name).value = kept;
  element(name).addEventListener("change", () => {
    localStorage.setItem("narrowcast-num", element("num").value);
    turn();
  });
}
const person = () => who.value.trim();
const settings = () => ({ who: person(), mode: element("mode").value, num: Number(element("num").value) });
const query = (values) => new URLSearchParams(values).toString();

// --- grids --------------------------------------------------------------------------------------------------------

const heard = { mark: (grid, tile, value) => { grid.at = tile.place; say(value); }, choose: (grid) => { active = grid; }, zoom: () => openZoom() };
const grids = {};
for (const [name, empty] of [["", "Every photo has a label, or somebody else has the rest in hand."], ["highest", undefined], ["random", undefined], ["map", "Nothing chosen."], ["positives", "No positive yet."], ["model", "The model believes every label."], ["people", "Nobody disagrees."]]) {
  grids[name] = new Grid(element(name ? `grid-${name}` : "grid"), heard, { empty, hasReasons: name === "" });
}
let active = grids[""];

function everywhere(item, value, isPending) {
  for (const grid of Object.values(grids)) grid.set(item, value, isPending);
  if (map.items.includes(item)) {
    if (value) map.labels[item] = value;
    else delete map.labels[item];
    map.draw();
  }
}

// --- labels -------------------------------------------------------------------------------------------------------

const outbox = new Outbox(category, {
  saved(reply, unit) {
    for (const event of unit.events) known.add(event.event_id);
    for (const event of unit.events) if (event.item && !outbox.items.has(event.item)) everywhere(event.item, reply.labels[event.item] ?? event.value, false);
    for (const { item } of reply.undone) everywhere(item, reply.labels[item] ?? "", false);
    if (reply.undone.length && !reply.undone.some(({ item }) => active.find(item))) tell(`taken back: ${reply.undone.length} label${reply.undone.length > 1 ? "s" : ""} of before`);
    lastSeq = reply.numbers.seq;
    showState(reply.numbers, settings().num);
    if (unit.events[0].kind === "undo") freshLabels();
  },
  refused(error, unit) {
    tell(`refused: ${error.message}`, true);
    for (const event of unit.events) if (event.item) everywhere(event.item, "", false);
    freshLabels();
  },
  changed(waiting, isOffline) {
    if (waiting && isOffline) tell(`${waiting} label${waiting > 1 ? "s are" : " is"} not saved yet: the server does not answer; trying again`, true);
    else if (waiting) tell(`saving ${waiting}…`);
    else tell("everything is saved");
  },
});

function tell(text, isBad = false) {
  element("saved").textContent = text;
  element("saved").classList.toggle("bad", isBad);
}

const newId = () => crypto.randomUUID().replaceAll("-", "");

// Give `tiles` a value: at once on the screen, then to the outbox as one action.
function label(tiles, value) {
  const marked = tiles.flatMap((tile) => [tile, ...tile.others.map((item) => ({ ...tile, item }))]);
  if (!marked.length) return;
  const id = newId();
  const reasons = { highest: "pseudo-negative", random: "pseudo-negative" };
  const events = marked.map((tile, ix) => ({
    event_id: `${id}.${ix}`, item: tile.item, value, purpose: tile.purpose ?? "train",
    reason: tile.reason || reasons[nameOf(active)] || nameOf(active), model: tile.model ?? "",
  }));
  actions.push({ id, was: tiles.map((tile) => [tile.item, tile.value]) });
  for (const tile of tiles) everywhere(tile.item, value, true);
  outbox.add({ who: person(), events });
}

const nameOf = (grid) => Object.keys(grids).find((name) => grids[name] === grid) || "label";

function say(value) {
  const tile = active.tile;
  if (!tile) return;
  label([tile], value);
  if (zoom.open) {
    if (active.advance()) showZoom();
    else zoom.close();
  } else if (!active.advance()) tell("all labelled; Enter for the next sheet");
}

function sayRest(value) {
  label(active.tiles.filter((tile) => !tile.value), value);
  active.focus();
}

function undo() {
  const last = actions.pop();
  for (const [item, value] of last?.was ?? []) everywhere(item, value, true);
  if (last) {
    const tile = active.find(last.was[0][0]);
    if (tile) active.focus(active.tiles.indexOf(tile));
  }
  outbox.add({ who: person(), events: [{ event_id: newId(), kind: "undo" }] });
}

// --- sheets -------------------------------------------------------------------------------------------------------

async function showSheet(found) {
  sheet = found.sheet;
  sheetShown = true;
  element("back").hidden = true;
  element("note").hidden = !sheet.note;
  element("note").textContent = sheet.note;
  grids[""].show(sheet.tiles, { ...found, pending: outbox.items });
  for (const tile of grids[""].tiles) if (outbox.items.has(tile.item)) everywhere(tile.item, lastWord(tile.item), true);
  if (view === "label" && !document.querySelector("dialog[open]") && !isTyping(document.activeElement)) grids[""].focus();
}

// What the outbox says of a photo: the newest of what is on its way.
function lastWord(item) {
  return outbox.units.flatMap((unit) => unit.events).findLast((event) => event.item === item)?.value ?? "";
}

async function trying(what, doing) {
  const slow = setTimeout(() => tell(`${doing}…`), 300);
  try {
    const found = await what();
    if (element("saved").textContent === `${doing}…`) tell("");
    return found ?? true;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    tell(error.message, true);
    return null;
  } finally {
    clearTimeout(slow);
  }
}

async function loadSheet() {
  const found = await trying(() => ask(`${api}/sheet?${query(settings())}`), "reading the pool, the first time this takes a while");
  if (found) {
    if (found.sheet.mode !== element("mode").value) element("mode").value = found.sheet.mode;
    await showSheet(found);
    tell("");
  } else setTimeout(loadSheet, 2000);
}

async function turn() {
  if (!sheetShown) return back();
  if (isTurning) return;
  isTurning = true;
  const found = await trying(() => ask(`${api}/next`, { ...settings(), sheet_id: sheet?.sheet_id ?? "" }), "ranking");
  isTurning = false;
  if (!found) return;
  await showSheet(found);
  window.scrollTo({ top: 0 });
}

async function back() {
  await loadSheet();
}

// Labels that another tab, another person or an undo has changed.
async function freshLabels() {
  if (!sheetShown || outbox.units.length) return;
  const found = await trying(() => ask(`${api}/sheet?${query(settings())}`), "reading");
  if (!found || outbox.units.length) return;
  if (found.sheet.sheet_id !== sheet?.sheet_id) return showSheet(found);
  for (const tile of grids[""].tiles) grids[""].set(tile.item, found.labels[tile.item] ?? "", false);
}

async function moreLike() {
  const tile = active.tile;
  if (!tile) return;
  const found = await trying(() => ask(`${api}/like?${query({ item: tile.item, num: settings().num })}`), "looking");
  if (!found) return;
  openView("label");
  sheetShown = false;
  element("back").hidden = false;
  element("note").hidden = false;
  element("note").textContent = `More like ${tile.name || "this photo"}, the nearest first.`;
  grids[""].show(found.tiles, found);
  grids[""].focus();
}

const fetched = new Set();
function fetchAhead(items) {
  for (const item of items.filter((one) => !fetched.has(one))) {
    fetched.add(item);
    new Image().src = thumb(item);
  }
}

let features = null; // that rank, as the server last said

// Features that were learned and promoted while this page is open: the person is told, the next sheet has them.
function hearFeatures(name) {
  if (features !== null && name !== features) {
    element("news-told").textContent = `New features (${name}) are in use: what comes from the next sheet on is ranked by them. No label has changed.`;
    element("news").hidden = false;
  }
  features = name;
}
element("news-close").addEventListener("click", () => {
  element("news").hidden = true;
  active.focus();
});

async function poll() {
  if (!document.hidden) {
    try {
      const state = await ask(`${api}/state?${query({ who: person() })}`);
      showState(state, settings().num);
      hearFeatures(state.features);
      fetchAhead(state.ready);
      const isElsewhere = state.seq !== lastSeq && lastSeq >= 0 && !outbox.units.length;
      if (isElsewhere || (sheet && state.sheet_id && state.sheet_id !== sheet.sheet_id)) await freshLabels();
      lastSeq = state.seq;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 0 && !outbox.units.length) tell("the server does not answer; what you say now is kept and sent later", true);
    }
  }
  setTimeout(poll, POLL_MS);
}

// --- zoom ---------------------------------------------------------------------------------------------------------

const zoom = element("zoom");

function openZoom() {
  if (!active.tile) return;
  showZoom();
  if (!zoom.open) zoom.showModal();
}

function showZoom(item = active.tile.item) {
  const tile = active.tile;
  const photo = element("zoom-photo");
  photo.src = full(item);
  photo.alt = tile.name || "the photo at full size";
  element("zoom-told").textContent = [tile.name, tile.reason, tile.value ? `labelled ${tile.value}` : "no label"].filter(Boolean).join(" · ");
  const strip = tile.others.length ? [tile.item, ...tile.others] : [];
  element("zoom-strip").replaceChildren(...strip.map((one, ix) => make("button", { type: "button", click: () => showZoom(one) }, String(ix + 1))));
}

zoom.addEventListener("close", () => active.focus());
element("zoom-close").addEventListener("click", () => zoom.close());
element("help-close").addEventListener("click", () => element("help").close());
element("open-help").addEventListener("click", () => element("help").showModal());

// --- the other views ----------------------------------------------------------------------------------------------

const map = new PointMap(element("map"), (indices) => {
  const shown = indices.slice(0, MOST_ON_MAP);
  const tiles = shown.map((ix) => ({ item: map.items[ix], reason: "map", score: map.scores[ix] }));
  grids.map.show(tiles, { labels: map.labels, names: map.names });
  active = grids.map;
  element("map-told").textContent = indices.length
    ? `${indices.length} chosen${indices.length > shown.length ? `, the first ${shown.length} shown` : ""}: f, d, s label one, Shift+D the rest.`
    : "Nothing there.";
});
for (const radio of document.querySelectorAll("input[name=colour]")) {
  radio.addEventListener("change", () => {
    map.by = radio.value;
    map.draw();
    element("map-legend").textContent = map.by === "label" ? "squares: positive" : "the fuller, the more likely";
  });
}

const loads = {
  async pseudo() {
    const found = await ask(`${api}/pseudo`);
    grids.highest.show(found.highest, found);
    grids.random.show(found.random, found);
    active = grids.highest;
  },
  async map() {
    const found = await ask(`${api}/map`);
    map.names = found.names;
    map.show(found);
    element("map-legend").textContent = `${found.items.length.toLocaleString()} of ${found.num_photos.toLocaleString()} photos`;
    grids.map.show([]);
    active = grids.map;
  },
  async positives() {
    const found = await ask(`${api}/positives`);
    grids.positives.show(found.tiles, found);
    element("positives-told").textContent = `${found.num.toLocaleString()} positives, the newest first.`;
    element("positives-more").hidden = found.num <= found.tiles.length;
    active = grids.positives;
  },
  async disagreements() {
    const found = await ask(`${api}/disagreements`);
    grids.model.show(found.model, found);
    grids.people.show(found.people, found);
    active = found.model.length ? grids.model : grids.people;
  },
  async history() {
    const found = await ask(`${api}/history`);
    element("events").replaceChildren(...found.events.map(eventRow));
    element("events-more").hidden = !found.has_more;
  },
  async export() {
    renameDownload();
  },
  async label() {
    active = grids[""];
    if (sheetShown) await freshLabels();
    grids[""].focus();
  },
};

element("positives-more").addEventListener("click", async () => {
  const first = grids.positives.tiles.length;
  const found = await ask(`${api}/positives?first=${first}`);
  const before = grids.positives.tiles.map(({ item, reason, value, name }) => ({ item, reason, value, name }));
  const labels = Object.fromEntries(before.map(({ item, value }) => [item, value]));
  const names = Object.fromEntries(before.map(({ item, name }) => [item, name]));
  grids.positives.show([...before, ...found.tiles], { labels: { ...labels, ...found.labels }, names: { ...names, ...found.names } });
  grids.positives.focus(first);
  element("positives-more").hidden = found.num <= grids.positives.tiles.length;
});
element("events-more").addEventListener("click", async () => {
  const found = await ask(`${api}/history?before=${element("events").lastElementChild.dataset.seq}`);
  element("events").append(...found.events.map(eventRow));
  element("events-more").hidden = !found.has_more;
});
element("map-again").addEventListener("click", () => openView("map"));

function eventRow(event) {
  const when = new Date(1000 * event.time_s).toLocaleString();
  const what = event.kind === "undo" ? "took something back" : event.kind === "category" ? "began the category" : event.value;
  const row = make("li", { "data-seq": event.seq },
    event.item ? make("img", { src: thumb(event.item), alt: "", loading: "lazy" }) : null,
    make("span", { class: event.counts ? "" : "gone" }, what),
    make("span", { class: "soft" }, [event.who, event.reason, event.purpose === "audit" ? "audit" : "", when].filter(Boolean).join(" · ")));
  if (!event.counts) row.append(make("span", { class: "soft" }, "taken back"));
  if (event.counts && event.kind !== "category") {
    const name = event.kind === "undo" ? "Undo this undo" : "Undo";
    row.append(make("button", { click: async () => {
      await trying(() => ask(`${api}/events`, { who: person(), events: [{ event_id: newId(), kind: "undo", undoes: event.event_id }] }), "undoing");
      await loads.history();
    }, "aria-label": `${name}: ${what}, ${when}` }, name));
  }
  return row;
}

function renameDownload() {
  element("download").href = page(category, `/export?${query({ format: element("format").value, top: element("top").value || 0 })}`);
}
element("format").addEventListener("change", renameDownload);
element("top").addEventListener("input", renameDownload);

element("audit").addEventListener("click", async () => {
  const done = await trying(() => ask(`${api}/audit`, { num: Number(element("audit-num").value) }), "drawing photos");
  if (!done) return;
  element("mode").value = "audit";
  openView("label");
  await turn();
});

async function openView(name) {
  view = name;
  for (const one of VIEWS) {
    element(`panel-${one}`).hidden = one !== name;
    element(`tab-${one}`).setAttribute("aria-selected", String(one === name));
    element(`tab-${one}`).tabIndex = one === name ? 0 : -1;
  }
  element(`tab-${name}`).scrollIntoView({ block: "nearest", inline: "nearest" });
  element("actions").hidden = name === "history" || name === "export";
  element("actions").querySelector("[data-key=Enter]").hidden = name !== "label";
  element("actions").querySelector("[data-key=r]").hidden = name !== "pseudo";
  await trying(loads[name], "reading");
}

for (const [ix, name] of VIEWS.entries()) {
  const tab = element(`tab-${name}`);
  tab.addEventListener("click", () => openView(name));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = VIEWS[(ix + step + VIEWS.length) % VIEWS.length];
    element(`tab-${next}`).focus();
    openView(next).then(() => element(`tab-${next}`).focus());
  });
}

// --- keys ---------------------------------------------------------------------------------------------------------

const isTyping = (where) => where?.matches?.("input:not([type=radio]):not([type=checkbox]), select, textarea") ?? false;
const ARROWS = { ArrowLeft: [-1, 0], h: [-1, 0], ArrowRight: [1, 0], l: [1, 0], ArrowDown: [0, 1], j: [0, 1], ArrowUp: [0, -1], k: [0, -1] };

// What a key does; false where it means nothing here.
function press(key) {
  if (ARROWS[key]) {
    active.step(...ARROWS[key]);
    if (zoom.open) showZoom();
  } else if (VALUES[key]) say(VALUES[key]);
  else if (key === "D") sayRest("negative");
  else if (key === "F") sayRest("positive");
  else if (key === "u") undo();
  else if (key === " ") zoom.open ? zoom.close() : openZoom();
  else if (key === "x" && !zoom.open) moreLike();
  else if (key === "o") active.open();
  else if (key === "r" && view === "pseudo") say("unsure");
  else if (key === "Enter" && view === "label" && !zoom.open) turn();
  else if (key === "?") element("help").open ? element("help").close() : element("help").showModal();
  else if (/^[1-7]$/.test(key) && !zoom.open) openView(VIEWS[key - 1]);
  else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  const where = event.target;
  if (isTyping(where) || (element("help").open && event.key !== "?")) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
    event.preventDefault();
    undo();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isOtherButton = where.matches?.("button:not(.photo), a, summary, input") && (event.key === "Enter" || event.key === " ");
  if (isOtherButton || (event.repeat && !ARROWS[event.key])) return;
  if ((view === "history" || view === "export") && !/^[1-7?]$/.test(event.key)) return;
  if (press(event.key)) event.preventDefault();
});

element("actions").addEventListener("click", (event) => {
  const key = event.target.closest("button")?.dataset.key;
  if (key) press(key);
});
element("back").addEventListener("click", back);

// What is scrolled into view shall not lie under the keys at the bottom.
const foot = document.querySelector(".foot");
new ResizeObserver(() => {
  const covered = getComputedStyle(foot).position === "sticky" ? foot.offsetHeight : 0;
  document.documentElement.style.scrollPaddingBottom = `${covered + 8}px`;
}).observe(foot);

startSide();
loadSheet();
poll();
