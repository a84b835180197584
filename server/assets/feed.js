// Brings the model up to date and keeps it there: lists first, then events.
//
// The list is read once the stream has said that it is ready, and the newer version wins, so nothing is
// missed between the two. Events are collected and taken in once a frame, however many come.

import { follow, request } from "./api.js";
import { isLive, newer } from "./format.js";
import { NOTHING, PLACE } from "./model.js";

const PAGE = 1000;
const COUNTS_MS = 2000;
/// So long the service collects changes before it sends them.
const INTERVAL_MS = 200;

export class Feed {
  #model;
  #on;
  #pending = new Map();
  #scheduled = false;
  #loading = null;
  /// While a list is read: what it is known to have, and what has gone meanwhile and so must not come back by a
  /// page that was made before.
  #listed = new Set();
  #gone = new Set();
  #stop = new AbortController();
  #total = null;
  #seen = 0;

  /// `on.change(what)`, `on.link(state, text)`, `on.loading(have, of)`, `on.counts(counts)`, `on.event(name, raw)`.
  constructor(model, on) {
    this.#model = model;
    this.#on = on;
  }

  start() {
    const signal = this.#stop.signal;
    follow(`v1/events?snapshot=false&intervalMs=${INTERVAL_MS}`, "list", {
      open: () => this.#on.link("live", "Live"),
      event: (name, data) => this.#event(name, data),
      lost: (error) => this.#on.link("lost", error.status === 401 || error.status === 403 ? "Not allowed" : "Reconnecting"),
    }, signal).catch(() => {});  // `lost` has said it.
    this.#countAlways(signal);
  }

  stop() {
    this.#stop.abort();
  }

  /// How many events have come.
  get seen() {
    return this.#seen;
  }

  #query = null;

  /// Reads the whole list again; with `query` only what matches it, because not all can be kept.
  async load(query = null) {
    this.#query = query;
    this.#loading?.abort();
    const own = new AbortController();
    this.#loading = own;
    const signal = AbortSignal.any([own.signal, this.#stop.signal]);
    try {
      this.#listed.clear();
      this.#gone.clear();
      await this.#loadAll(query, signal);
      this.#flush();
      this.#model.keepOnly(this.#listed);
      this.#listed.clear();
      this.#gone.clear();
      this.#on.loading(null, null);
      this.#on.change(PLACE);
      this.#loading = null;
    } catch (error) {
      if (signal.aborted) return;
      this.#loading = null;
      this.#on.loading(null, null, error);
      if (error.status === undefined || error.status >= 500) setTimeout(() => this.load(query), 3000);
    }
  }

  async #loadAll(query, signal) {
    const ids = this.#listed;
    const counts = await request("v1/counts", { scope: "list", signal });
    this.#counted(counts);
    const model = this.#model;
    // All in one go where there is room; otherwise what matters most first.
    const passes = this.#total <= model.limit || query?.has("state")
      ? [[]]
      : [["running", "blocked", "pending"], ["failed"], ["cancelled", "succeeded"]];
    model.cut = false;
    for (const states of passes) {
      for (let token = ""; ids.size < model.limit;) {
        const params = new URLSearchParams(query ?? "");
        for (const state of states) params.append("state", state);
        params.set("pageSize", String(PAGE));
        if (token) params.set("pageToken", token);
        const page = await request(`v1/tasks?${params}`, { scope: "list", signal });
        let change = NOTHING;
        for (const raw of page.tasks) {
          if (this.#gone.has(raw.taskId)) continue;
          ids.add(raw.taskId);
          change = Math.max(change, model.take(raw));
        }
        this.#on.loading(ids.size, Math.min(this.#total, model.limit));
        this.#on.change(change);
        token = page.nextPageToken ?? "";
        if (!token) break;
      }
      if (ids.size >= model.limit) model.cut = true;
    }
  }

  #event(name, data) {
    this.#seen += 1;
    let raw;
    try {
      raw = JSON.parse(data);
    } catch {
      return;
    }
    if (name === "ready") {
      // At the first connection, and whenever the stream could not be resumed ("resync" came before).
      this.#counted(raw);
      this.load(this.#query);
    }
    if (typeof raw?.taskId !== "string") return;
    // The greater version wins: of an id that is used again, what was said of the earlier task may come late.
    const before = this.#pending.get(raw.taskId);
    if (typeof before?.version === "string" && typeof raw.version === "string" && newer(before.version, raw.version)) return;
    const { taskId, version } = raw;
    this.#pending.set(taskId, name === "gone" ? { taskId, version, gone: raw.goneReason ?? "" } : raw);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // A hidden page has no frames, and no hurry.
    if (document.hidden) setTimeout(() => this.#flush(), 1000);
    else requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    this.#scheduled = false;
    if (this.#pending.size === 0) return;
    let change = NOTHING;
    for (const raw of this.#pending.values()) {
      if (this.#loading !== null) this.#note(raw);
      if (raw.gone !== undefined) change = Math.max(change, this.#model.drop(raw.taskId, raw.version) ? PLACE : NOTHING);
      else if (raw.progress && typeof raw.version === "string" && this.#fits(raw)) change = Math.max(change, this.#model.take(raw));
      this.#on.event(raw);
    }
    this.#pending.clear();
    if (change !== NOTHING) this.#on.change(change);
  }

  #note(raw) {
    const [now, before] = raw.gone === undefined ? [this.#listed, this.#gone] : [this.#gone, this.#listed];
    now.add(raw.taskId);
    before.delete(raw.taskId);
  }

  /// While only what matches is kept, new tasks that the service would not have listed are left out.
  #fits(raw) {
    return this.#query === null || this.#model.tasks.has(raw.taskId) || isLive(raw.status);
  }

  #counted(counts) {
    const { byState } = counts;
    this.#total = Object.values(byState).reduce((sum, count) => sum + (Number(count) || 0), 0);
    this.#on.counts(byState, this.#total);
  }

  async #countAlways(signal) {
    let before = -1;
    while (!signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, COUNTS_MS));
      if (document.hidden || this.#seen === before || this.#total === null) continue;
      before = this.#seen;
      try {
        this.#counted(await request("v1/counts", { scope: "list", signal }));
      } catch {
        // The stream's own trouble says that the service is away.
      }
    }
  }
}
