// Addresses of the pool that this page is of, by its identity; the page says which one that is.
const pool = document.querySelector("main").dataset.pool;

export const api = (path = "") => `/api/p/${pool}${path}`;
export const ofCategory = (category, path = "") => api(`/c/${encodeURIComponent(category)}${path}`);
export const page = (category, path = "") => `/p/${pool}/c/${encodeURIComponent(category)}${path}`;
export const examples = (name) => `/api/examples/${pool}?name=${encodeURIComponent(name)}`;
export const thumb = (item) => `/p/${pool}/photo/${item}/thumb`;
export const full = (item) => `/p/${pool}/photo/${item}/full`;
