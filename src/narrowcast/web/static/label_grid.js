// A grid of photos that can be walked through with keys. It shows; what a key means is the page's business.
import { make } from "./common.js";
import { thumb } from "./label_address.js";

const WORDS = { positive: "✓ yes", negative: "✗ no", unsure: "? unsure" };

export class Grid {
  // `heard`: { mark(grid, tile, value), choose(grid), zoom(grid) }
  // `hasReasons`: whether each photo says why it is shown; in a view of one kind the heading does.
  constructor(list, heard, { empty = "Nothing here.", hasReasons = true } = {}) {
    this.hasReasons = hasReasons;
    this.list = list;
    this.heard = heard;
    this.empty = empty;
    this.tiles = [];
    this.at = 0;
  }

  get tile() {
    return this.tiles[this.at];
  }

  show(tiles, { labels = {}, names = {}, pending = new Set() } = {}) {
    this.tiles = tiles.map((tile) => ({ ...tile, others: tile.others ?? [], name: names[tile.item] ?? tile.name ?? "" }));
    for (const tile of this.tiles) {
      tile.value = labels[tile.item] ?? "";
      tile.isPending = pending.has(tile.item);
    }
    this.at = Math.max(0, this.tiles.findIndex((tile) => !tile.value));
    this.list.replaceChildren(...this.tiles.map((tile, ix) => this.#made(tile, ix)));
    if (!tiles.length) this.list.append(make("li", { class: "empty" }, this.empty));
    this.#choose(this.at);
  }

  // The tile of a photo, also where it is within a stack.
  find(item) {
    return this.tiles.find((tile) => tile.item === item) ?? this.tiles.find((tile) => tile.others.includes(item));
  }

  set(item, value, isPending) {
    const tile = this.tiles.find((one) => one.item === item);
    if (!tile) return;
    tile.value = value;
    tile.isPending = isPending;
    this.#paint(tile);
  }

  focus(ix = this.at) {
    if (!this.tiles.length) return;
    this.#choose(Math.max(0, Math.min(ix, this.tiles.length - 1)));
    this.tile.button.focus({ preventScroll: true });
    this.tile.element.scrollIntoView({ block: "nearest" });
  }

  // One step: right, left, or to the row below or above, by where tiles are on the screen.
  step(right, down) {
    if (!down) return this.focus(this.at + right);
    const tops = this.tiles.map((tile) => tile.element.offsetTop);
    const columns = tops.filter((top) => top === tops[0]).length;
    const next = this.at + down * columns;
    if (next >= 0 && next < this.tiles.length) this.focus(next);
    else if (down > 0 && tops[this.at] < tops[tops.length - 1]) this.focus(this.tiles.length - 1);
  }

  // To the next photo without a label, from the beginning where there is none behind; whether there is one.
  advance() {
    const order = [...this.tiles.keys()];
    const next = [...order.slice(this.at + 1), ...order.slice(0, this.at)].find((ix) => !this.tiles[ix].value);
    if (next !== undefined) this.focus(next);
    return next !== undefined;
  }

  // The near copies of a stack as photos of their own, beside it.
  open(tile = this.tile) {
    if (!tile?.others.length) return;
    const apart = tile.others.map((item) => ({ ...tile, item, others: [], name: "" }));
    tile.others = [];
    const ix = this.tiles.indexOf(tile);
    this.tiles.splice(ix + 1, 0, ...apart);
    this.list.replaceChildren(...this.tiles.map((one, place) => this.#made(one, place)));
    this.focus(ix);
  }

  #choose(ix) {
    this.at = ix;
    this.tiles.forEach((tile, place) => {
      tile.element.classList.toggle("chosen", place === ix);
      tile.button.tabIndex = place === ix ? 0 : -1;
    });
  }

  #made(tile, ix) {
    const photo = make("img", { src: thumb(tile.item), alt: "", draggable: "false", decoding: "async" });
    photo.addEventListener("error", () => photo.replaceWith(make("span", { class: "soft" }, "the file is gone")));
    tile.button = make("button", { class: "photo", type: "button" }, photo);
    tile.button.addEventListener("click", (event) => {
      const isAgain = this.at === ix && event.detail > 0 && tile.element.classList.contains("touched");
      this.focus(ix);
      this.tiles.forEach((one) => one.element.classList.toggle("touched", one === tile));
      if (isAgain) this.heard.zoom(this);
    });
    tile.button.addEventListener("focus", () => {
      this.#choose(ix);
      this.heard.choose(this);
    });
    const mark = (value, sign) =>
      make("button", { class: { positive: "yes", negative: "no", unsure: "maybe" }[value], type: "button", tabindex: "-1",
        "aria-label": `${value}, photo ${ix + 1}`, click: () => { this.focus(ix); this.heard.mark(this, tile, value); } }, sign);
    tile.said = make("span", { class: "said", "aria-hidden": "true" });
    const badges = make("span", { class: "badges", "aria-hidden": "true" });
    if (tile.reason && this.hasReasons) badges.append(make("span", { class: `why-${tile.reason.split(" ")[0]}` }, tile.reason));
    if (tile.others.length) badges.append(make("span", {}, `×${tile.others.length + 1}`));
    tile.element = make("li", { class: tile.others.length ? "tile many" : "tile" }, tile.button, badges, tile.said,
      make("div", { class: "marks" }, mark("positive", "✓"), mark("negative", "✗"), mark("unsure", "?")));
    tile.place = ix;
    this.#paint(tile);
    return tile.element;
  }

  #paint(tile) {
    tile.element.dataset.value = tile.value;
    tile.element.dataset.item = tile.item;
    tile.element.classList.toggle("pending", tile.isPending);
    tile.said.textContent = WORDS[tile.value] ?? "";
    tile.said.hidden = !tile.value;
    const parts = [`photo ${tile.place + 1} of ${this.tiles.length}`, tile.name, tile.reason];
    if (tile.others.length) parts.push(`with ${tile.others.length} near copies`);
    if (tile.score !== null && tile.score !== undefined) parts.push(`score ${tile.score.toFixed(1)}`);
    parts.push(tile.value ? `labelled ${tile.value}${tile.isPending ? ", not saved yet" : ""}` : "no label");
    tile.button.setAttribute("aria-label", parts.filter(Boolean).join(", "));
    tile.button.title = tile.name;
  }
}
