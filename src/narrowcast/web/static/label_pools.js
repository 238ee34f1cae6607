// The start page of several pools: each with its categories and their numbers; the one that was labelled last first.
import { ask, make, Refused } from "./common.js";

const element = (id) => document.getElementById(id);
const MANY = 8; // pools from which a filter helps
const STEPS = [["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60]];
const count = (num, one, more = `${one}s`) => `${num.toLocaleString()} ${num === 1 ? one : more}`;

// "3 hours ago", in the browser's language.
function ago(seconds) {
  const past = Math.max(0, Date.now() / 1000 - seconds);
  const [unit, size] = STEPS.find(([, length]) => past >= length) ?? ["minute", 60];
  return new Intl.RelativeTimeFormat(undefined, { numeric: "auto" }).format(-Math.floor(past / size), unit);
}

function figure(name, value, title) {
  return make("div", { title }, make("dt", {}, name), make("dd", {}, value));
}

function line(pool, one) {
  const labels = one.positive + one.negative + one.unsure + one.audited;
  return make("li", {},
    make("a", { href: `/p/${pool.identity}/c/${encodeURIComponent(one.name)}` }, one.name),
    make("span", { class: "soft number" }, `${one.positive.toLocaleString()} positive of ${count(labels, "label")}`));
}

function card(pool) {
  const head = make("h2", {}, pool.problem ? pool.name : make("a", { href: `/p/${pool.identity}` }, pool.name));
  const row = make("li", { class: "card", "data-words": [pool.name, ...pool.categories.map((one) => one.name)].join(" ").toLowerCase() }, head);
  if (pool.problem) {
    row.append(make("p", { class: "notice" }, pool.problem));
    return row;
  }
  head.after(make("p", { class: "soft" }, ...labelled(pool)));
  row.append(
    make("dl", { class: "figures" },
      figure("photos", pool.photos.toLocaleString(), `features of ${pool.features}`),
      figure("positives", pool.positive.toLocaleString(), "in all categories, those they were begun with included"),
      figure("labels", pool.labels.toLocaleString(), "in all categories")),
    pool.categories.length
      ? make("ul", { class: "lines", "aria-label": `Categories of ${pool.name}` }, ...pool.categories.map((one) => line(pool, one)))
      : make("p", { class: "soft" }, "No category yet. Open the pool to begin one."));
  return row;
}

function labelled(pool) {
  const many = count(pool.categories.length, "category", "categories");
  if (pool.last_s === null) return [many];
  const title = new Date(1000 * pool.last_s).toLocaleString();
  return [`${many}, last labelled `, make("time", { datetime: new Date(1000 * pool.last_s).toISOString(), title }, ago(pool.last_s))];
}

function filter() {
  const words = element("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of element("pools").children) row.hidden = !words.every((word) => row.dataset.words.includes(word));
}
element("filter").addEventListener("input", filter);

async function show() {
  try {
    const { pools } = await ask("/api/pools");
    const photos = pools.reduce((sum, pool) => sum + pool.photos, 0);
    element("sum").textContent = `${count(pools.length, "pool")}, ${count(photos, "photo")}`;
    element("filter-row").hidden = pools.length <= MANY;
    element("pools").replaceChildren(...pools.map(card));
    filter();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    element("sum").textContent = error.message;
  }
}

show();
addEventListener("pageshow", (event) => { if (event.persisted) show(); }); // back from a pool: its numbers have changed
