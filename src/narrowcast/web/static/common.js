// What all pages share: asking the server, and making elements. Text from outside is only ever textContent.

// The error of an answer that says no; status 0 where the server could not be reached.
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// The answer to a request as an object. `body`: an object becomes JSON of a POST, a Blob or FormData is sent as it is.
export async function ask(path, body, { signal, method } = {}) {
  const options = { signal, credentials: "same-origin", method: method ?? (body === undefined ? "GET" : "POST") };
  if (body instanceof Blob || body instanceof FormData) {
    options.body = body;
  } else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  let answer;
  let values;
  try {
    answer = await fetch(path, options);
    values = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("the server does not answer", 0);
  }
  if (!values.ok) throw new Refused(values.error ?? "the server refused", answer.status);
  return values;
}

// A new element: `make("p", { class: "soft", title: "…" }, "text", another)`. Functions become listeners.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// The value of a colour of common.css now, for canvases: `colour("--accent")`.
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// `draw` now and whenever the scheme changes from light to dark or back.
export function withColours(draw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}
