// The start page: categories with their numbers, and a new one from dropped files, picked photos, words or nothing.
import { ask, make, Refused } from "./common.js";
import { api, examples, page, thumb } from "./label_address.js";

const element = (id) => document.getElementById(id);
const given = new Map(); // item -> how it came
let seed = Math.floor(Math.random() * 2 ** 31);

const who = element("who");
who.value = localStorage.getItem("narrowcast-who") ?? who.value;
who.addEventListener("change", () => localStorage.setItem("narrowcast-who", who.value.trim()));

async function showPool() {
  const pool = await ask(api());
  element("pool").textContent = `${pool.photos.toLocaleString()} photos, features of ${pool.features}`;
  element("none").hidden = pool.categories.length > 0;
  element("categories").replaceChildren(...pool.categories.map((one) => make("li", {},
    make("a", { href: page(one.name) },
      make("strong", {}, one.name), make("br"),
      `${one.positive.toLocaleString()} positive, ${one.negative.toLocaleString()} negative`,
      one.unsure ? `, ${one.unsure.toLocaleString()} unsure` : "", one.audited ? `, ${one.audited.toLocaleString()} audited` : "",
      one.people > 1 ? `; ${one.people} people` : ""))));
}

function tell(text) {
  element("told").textContent = text;
}

function showGiven() {
  element("given-title").hidden = !given.size;
  element("given").replaceChildren(...[...given].map(([item, name]) => make("li", { class: "tile" },
    make("img", { src: thumb(item), alt: name }),
    make("button", { type: "button", "aria-label": `remove ${name}`, click: () => { given.delete(item); showGiven(); } }, "remove"))));
  for (const button of element("sample").querySelectorAll("button")) button.setAttribute("aria-pressed", String(given.has(button.dataset.item)));
  for (const tile of element("sample").children) tile.dataset.value = given.has(tile.dataset.item) ? "positive" : "";
}

async function take(files) {
  for (const file of files) {
    tell(`reading ${file.name}…`);
    try {
      const kept = await ask(examples(file.name.slice(-200)), file);
      given.set(kept.item, file.name);
      tell("");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      tell(error.message);
    }
    showGiven();
  }
}

const drop = element("drop");
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take([...event.dataTransfer.files]);
});
element("files").addEventListener("change", () => take([...element("files").files]));

async function showSample() {
  const found = await ask(api(`/sample?num=60&seed=${seed}`));
  element("sample").replaceChildren(...found.items.map((item, ix) => {
    const button = make("button", { class: "photo", type: "button", "data-item": item, "aria-pressed": "false", "aria-label": `photo ${ix + 1}` },
      make("img", { src: thumb(item), alt: "", loading: "lazy" }));
    button.addEventListener("click", () => {
      if (given.has(item)) given.delete(item);
      else given.set(item, `photo ${ix + 1}`);
      showGiven();
    });
    return make("li", { class: "tile", "data-item": item }, button);
  }));
  showGiven();
}
element("pick").addEventListener("toggle", () => { if (element("pick").open && !element("sample").children.length) showSample(); });
element("others").addEventListener("click", () => { seed = (seed + 1) % 2 ** 31; showSample(); });

element("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = element("name").value.trim();
  element("begin").disabled = true;
  tell("beginning…");
  try {
    const text = element("text").value.trim();
    const made = await ask(api("/categories"), { name, items: [...given.keys()], text, who: who.value.trim() });
    location.href = page(made.category);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    tell(error.message);
    element("begin").disabled = false;
  }
});

showPool();
ask(api("/text")).then(({ has_text: hasText }) => { element("text-row").hidden = !hasText; });
