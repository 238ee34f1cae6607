// The map: photos as points on a canvas. A click or a lasso chooses; arrow keys go from point to point.
import { colour, withColours } from "./common.js";
import { fresh } from "./label_side.js";

const NEAR = 14; // pixels within which a click means a point

export class PointMap {
  // `chosen(indices)` hears what was chosen.
  constructor(canvas, chosen) {
    this.canvas = canvas;
    this.chosen = chosen;
    this.points = new Float32Array();
    this.items = [];
    this.scores = [];
    this.labels = {};
    this.by = "label";
    this.line = [];
    this.picked = new Set();
    this.at = -1;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
    withColours(() => this.draw());
  }

  show(told) {
    const bytes = Uint8Array.from(atob(told.points), (letter) => letter.charCodeAt(0));
    this.points = new Float32Array(bytes.buffer);
    Object.assign(this, { items: told.items, scores: told.scores, labels: told.labels, picked: new Set(), at: -1 });
    this.draw();
  }

  // Where a point is on the canvas, in CSS pixels.
  spot(ix) {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    return [width / 2 + this.points[2 * ix] * width * 0.4, height / 2 - this.points[2 * ix + 1] * height * 0.4];
  }

  draw() {
    const { brush } = fresh(this.canvas);
    const fills = { positive: colour("--good"), negative: colour("--bad"), unsure: colour("--doubt"), "": colour("--edge") };
    const order = [...this.items.keys()].sort((a, b) => Boolean(this.labels[this.items[a]]) - Boolean(this.labels[this.items[b]]));
    const [low, high] = [Math.min(...this.scores, 0), Math.max(...this.scores, 1e-6)];
    for (const ix of order) {
      const [x, y] = this.spot(ix);
      const said = this.labels[this.items[ix]] ?? "";
      brush.globalAlpha = this.by === "label" && !said ? 0.45 : 0.9;
      if (this.by === "score") {
        const share = (this.scores[ix] - low) / (high - low || 1);
        brush.fillStyle = colour("--accent");
        brush.globalAlpha = 0.12 + 0.88 * share ** 2;
      } else {
        brush.fillStyle = fills[said];
      }
      brush.beginPath();
      if (this.by === "label" && said === "positive") brush.rect(x - 4, y - 4, 8, 8);
      else brush.arc(x, y, said && this.by === "label" ? 4 : 3, 0, 7);
      brush.fill();
      if (this.picked.has(ix) || ix === this.at) {
        brush.globalAlpha = 1;
        brush.strokeStyle = colour("--ink");
        brush.lineWidth = ix === this.at ? 3 : 1.5;
        brush.stroke();
      }
    }
    brush.globalAlpha = 1;
    if (this.line.length > 1) {
      brush.strokeStyle = colour("--accent");
      brush.lineWidth = 2;
      brush.beginPath();
      for (const [x, y] of this.line) brush.lineTo(x, y);
      brush.closePath();
      brush.stroke();
    }
  }

  #down(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.line = [[event.offsetX, event.offsetY]];
  }

  #move(event) {
    if (!this.line.length) return;
    this.line.push([event.offsetX, event.offsetY]);
    this.draw();
  }

  #up(event) {
    if (!this.line.length) return;
    const line = this.line;
    this.line = [];
    const xs = line.map(([x]) => x);
    const ys = line.map(([, y]) => y);
    const isClick = Math.max(...xs) - Math.min(...xs) < 5 && Math.max(...ys) - Math.min(...ys) < 5;
    const indices = [...this.items.keys()];
    this.at = -1;
    this.#pick(isClick ? this.#nearest(event.offsetX, event.offsetY) : indices.filter((ix) => isInside(this.spot(ix), line)));
  }

  #nearest(x, y) {
    let [best, least] = [-1, NEAR ** 2];
    for (const ix of this.items.keys()) {
      const [px, py] = this.spot(ix);
      const far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least) [best, least] = [ix, far];
    }
    return best < 0 ? [] : [best];
  }

  #pick(indices) {
    this.picked = new Set(indices);
    this.draw();
    this.chosen(indices);
  }

  // To the nearest point in the direction of the arrow.
  #key(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way || !this.items.length) return;
    event.preventDefault();
    event.stopPropagation();
    if (this.at < 0) {
      this.at = 0;
    } else {
      const [x, y] = this.spot(this.at);
      let least = Infinity;
      let best = this.at;
      for (const ix of this.items.keys()) {
        const [dx, dy] = [this.spot(ix)[0] - x, this.spot(ix)[1] - y];
        const along = dx * way[0] + dy * way[1];
        const far = along > 0.5 ? dx * dx + dy * dy + 3 * (dx * way[1] + dy * way[0]) ** 2 : Infinity;
        if (far < least) [least, best] = [far, ix];
      }
      this.at = best;
    }
    this.#pick([this.at]);
  }
}

// Whether a point lies within a closed line (even-odd rule).
export function isInside([x, y], line) {
  let inside = false;
  for (let ix = 0, before = line.length - 1; ix < line.length; before = ix, ix += 1) {
    const [[ax, ay], [bx, by]] = [line[ix], line[before]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}
