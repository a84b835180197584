// The service's HTTP: requests with the tab's token, and event streams that connect again by themselves.
//
// Streams are read with fetch, because EventSource cannot send an Authorization header.

const KEY = "inflight.token";
const BASE = new URL(".", document.baseURI);
const REQUEST_MS = 15_000;
const SILENCE_MS = 45_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
/// An event may carry a result of 1 MiB, which as JSON may be six times as long.
const LONGEST_EVENT = 8 << 20;

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The service answered ${status}.`);
    this.status = status;
    this.problem = problem;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set(value) {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  },
};

/// Asks for a token: resolves to whether there is a new one. Set by the page.
let ask = async () => false;
let asking = null;
export function onTokenNeeded(callback) {
  ask = callback;
}

/// Several requests that are refused at a time ask once.
function askOnce(scope, refused) {
  asking ??= ask(scope, refused).finally(() => {
    asking = null;
  });
  return asking;
}

function headers(more) {
  const value = token.get();
  return value ? { ...more, Authorization: `Bearer ${value}` } : more;
}

async function problemOf(response) {
  try {
    const problem = await response.json();
    return problem && typeof problem === "object" ? problem : {};
  } catch {
    return {};
  }
}

/// One request; `scope` is the scope that it needs, and is asked for if the token has it not.
export async function request(path, { method = "GET", body, scope = "read", signal } = {}) {
  for (;;) {
    const used = token.get();
    const deadline = AbortSignal.timeout(REQUEST_MS);
    const response = await fetch(new URL(path, BASE), {
      method,
      headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }),
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      cache: "no-store",
      credentials: "omit",
    });
    if (response.ok) return response.status === 204 ? null : await response.json();
    const refused = new Refused(response.status, await problemOf(response));
    if (response.status !== 401 && response.status !== 403) throw refused;
    // Another request may have got a token meanwhile.
    if (token.get() === used && !(await askOnce(scope, refused))) throw refused;
  }
}

const sleep = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});

/// Follows the events at `path` until `signal` aborts, or the server says that there are no more.
/// `on.open(resumed)`, `on.event(name, data)`, `on.lost(error)`.
export async function follow(path, scope, on, signal) {
  const position = { id: null, retry: FIRST_PAUSE_MS };
  let tries = 0;
  while (!signal.aborted) {
    let asked = 0;
    try {
      const used = token.get();
      const response = await open(path, position.id, signal);
      if (response.status === 204) return;
      if (response.status === 401 || response.status === 403) {
        const refused = new Refused(response.status, await problemOf(response));
        if (token.get() === used && !(await askOnce(scope, refused))) throw Object.assign(refused, { final: true });
        continue;
      }
      if (!response.ok) {
        asked = Number(response.headers.get("retry-after")) * 1000 || 0;
        const refused = new Refused(response.status, await problemOf(response));
        throw Object.assign(refused, { final: response.status < 500 && response.status !== 429 });
      }
      on.open(position.id !== null);
      await read(response.body, position, (name, data) => {
        tries = 0;
        on.event(name, data);
      }, signal);
      // The server has ended the stream: it may be going down, or have nothing more to say.
      throw new Error("The stream ended.");
    } catch (error) {
      if (signal.aborted) return;
      on.lost(error);
      if (error.final) throw error;
    }
    const pause = Math.min(Math.max(position.retry * 2 ** Math.min(tries, 10), asked), LONGEST_PAUSE_MS);
    tries += 1;
    await sleep(pause * (0.5 + Math.random() / 2), signal);
  }
}

function open(path, lastId, signal) {
  const more = { Accept: "text/event-stream" };
  if (lastId !== null) more["Last-Event-ID"] = lastId;
  return fetch(new URL(path, BASE), { headers: headers(more), signal, cache: "no-store", credentials: "omit" });
}

async function read(body, position, emit, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new Parser(position, emit);
  let dog;
  const silent = new Promise((_, reject) => {
    dog = { bark: () => reject(new Error("The stream is silent.")), timer: 0 };
  });
  // Without this, a silence that ends a stream which ended anyway would be an unhandled rejection.
  silent.catch(() => {});
  try {
    for (;;) {
      clearTimeout(dog.timer);
      dog.timer = setTimeout(dog.bark, SILENCE_MS);
      const { done, value } = await Promise.race([reader.read(), silent]);
      if (done || signal.aborted) return;
      parser.feed(value);
    }
  } finally {
    clearTimeout(dog.timer);
    reader.cancel().catch(() => {});
  }
}

/// The event stream format, fed piece by piece; an event that is too long is an error.
export class Parser {
  #rest = "";
  #name = "";
  #data = [];
  #size = 0;
  #id = null;

  constructor(position, emit) {
    this.position = position;
    this.emit = emit;
  }

  feed(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    if (this.#rest.length + this.#size > LONGEST_EVENT) throw new Error("An event is too long.");
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") {
      this.#data.push(value);
      this.#size += value.length;
      if (this.#size > LONGEST_EVENT) throw new Error("An event is too long.");
    } else if (field === "event") this.#name = value;
    else if (field === "id") this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.position.retry = Math.min(Number(value), LONGEST_PAUSE_MS);
  }

  #dispatch() {
    if (this.#id !== null) this.position.id = this.#id === "" ? null : this.#id;
    const [name, data] = [this.#name || "message", this.#data];
    this.#name = "";
    this.#data = [];
    this.#size = 0;
    this.#id = null;
    if (data.length > 0) this.emit(name, data.join("\n"));
  }
}
