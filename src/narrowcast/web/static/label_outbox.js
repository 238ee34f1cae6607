// Labels on their way: kept in the browser until the server says that they are on disk, sent in order, again and again.
// A label that arrives twice counts once (its event_id), so trying again is always right, also from another tab.
import { ask, Refused } from "./common.js";
import { ofCategory } from "./label_address.js";

const PATIENCE_MS = [300, 700, 1500, 3000];

export class Outbox {
  // `told`: { saved(reply, unit), refused(error, unit), changed(numWaiting, isOffline) }
  constructor(category, told) {
    this.path = ofCategory(category, "/events");
    this.prefix = `narrowcast-outbox ${location.host} ${this.path} `;
    this.key = this.prefix + crypto.randomUUID();
    this.told = told;
    this.units = [];
    this.fails = 0;
    this.isSending = false;
    for (const key of Object.keys(localStorage).filter((name) => name.startsWith(this.prefix))) {
      try {
        this.units.push(...JSON.parse(localStorage.getItem(key)));
      } catch {
        // written by no one of ours
      }
      localStorage.removeItem(key);
    }
    this.#keep();
    this.#send();
  }

  get items() {
    return new Set(this.units.flatMap((unit) => unit.events.map((event) => event.item)));
  }

  // `unit`: { who, events } as the server takes it.
  add(unit) {
    this.units.push(unit);
    this.#keep();
    this.#send();
  }

  #keep() {
    if (this.units.length) localStorage.setItem(this.key, JSON.stringify(this.units));
    else localStorage.removeItem(this.key);
    this.told.changed(this.units.reduce((sum, unit) => sum + unit.events.length, 0), this.fails > 0);
  }

  async #send() {
    if (this.isSending || !this.units.length) return;
    this.isSending = true;
    const unit = this.units[0];
    const patience = new AbortController();
    const clock = setTimeout(() => patience.abort(), 10000);
    try {
      const reply = await ask(this.path, unit, { signal: patience.signal });
      this.#done();
      this.told.saved(reply, unit);
    } catch (error) {
      const isForGood = error instanceof Refused && error.status >= 400 && error.status < 500 && error.status !== 401;
      if (isForGood) {
        this.#done();
        this.told.refused(error, unit);
      } else {
        this.fails += 1;
        this.#keep();
        await new Promise((wake) => setTimeout(wake, PATIENCE_MS[Math.min(this.fails, PATIENCE_MS.length) - 1]));
      }
    } finally {
      clearTimeout(clock);
      this.isSending = false;
    }
    this.#send();
  }

  #done() {
    this.units.shift();
    this.fails = 0;
    this.#keep();
  }
}
