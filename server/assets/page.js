// One task's page: its status live, its timeline, its result, and the button that cancels it.

import { Refused, follow, request } from "./api.js";
import { DASH, done, isLive, left, newer, number, percent, rate, reason, shortId, span, time, title } from "./format.js";
import { h, mark, say, spark } from "./dom.js";
import { paintBar } from "./list.js";

const MOST_SAID = 30;
const MOST_POINTS = 120;
const MOST_KIN = 50;
const MOST_SHOWN = 100_000;

export class Page {
  #aside;
  #model;
  #on;
  #stop = null;
  #raw = null;
  #gone = null;
  #said = [];
  #points = [];
  #last = null;
  #scheduled = false;
  #drawn = null;
  /// What is drawn: of each part its element, and the content that it was made from.
  #parts = new Map();
  id = null;

  /// `on.close()`, `on.open(id)`, `on.cancel(task)`, `on.filter(key, value)`, `on.toast(text)`.
  constructor(aside, model, on) {
    this.#aside = aside;
    this.#model = model;
    this.#on = on;
  }

  show(id) {
    if (this.id === id) return;
    this.hide();
    this.id = id;
    this.#aside.hidden = false;
    this.#aside.scrollTop = 0;
    this.#draw();
    const stop = new AbortController();
    this.#stop = stop;
    this.#run(id, stop.signal);
  }

  hide() {
    this.#stop?.abort();
    this.#stop = this.#raw = this.#gone = this.#last = null;
    this.#said = [];
    this.#points = [];
    this.id = null;
    this.#aside.hidden = true;
    this.#aside.replaceChildren();
    this.#parts.clear();
  }

  get task() {
    return this.#raw;
  }

  async #run(id, signal) {
    try {
      await this.#fetch(id, signal);
      if (!isLive(this.#raw.status)) return;
      await follow(`v1/tasks/${id}/events`, "read", {
        open: () => {},
        event: (name, data) => this.#event(name, data),
        lost: () => {},
      }, signal);
      await this.#fetch(id, signal);
    } catch (error) {
      if (signal.aborted) return;
      this.#gone = error;
      this.#later();
    }
  }

  async #fetch(id, signal) {
    this.take(await request(`v1/tasks/${encodeURIComponent(id)}`, { scope: "read", signal }));
  }

  #event(name, data) {
    if (name === "gone") {
      let why = "";
      try {
        why = JSON.parse(data).goneReason ?? "";
      } catch { /* gone, for whatever reason */ }
      this.#gone = new Refused(410, { detail: `The task is gone${why ? ` (${why})` : ""}. This is how it was last seen.` });
      this.#later();
      return;
    }
    let raw;
    try {
      raw = JSON.parse(data);
    } catch {
      return;
    }
    if (raw.progress) this.take(raw);
  }

  /// Takes in what is new of the task; keeps a short log of what it has gone through meanwhile.
  take(raw) {
    const before = this.#raw;
    if (raw.taskId !== this.id) return;
    if (before !== null && raw.version !== before.version && !newer(raw.version, before.version)) return;
    if (before !== null && raw.version === before.version && raw.result === null && raw.error === null) return;
    this.#raw = raw;
    if (before !== null) this.#log(before, raw);
    this.#measure(raw);
    this.#later();
  }

  #log(before, raw) {
    const at = Date.parse(raw.lastUpdatedAt), note = (text, tone, more) => this.#said.push({ at, text, tone, more });
    if (raw.attempt !== before.attempt) note(`Attempt ${raw.attempt}`, "pending");
    if (raw.status !== before.status && raw.status === "blocked") note("Blocked", "blocked");
    if (raw.status === "running" && before.status === "blocked") note("Running again", "running");
    if (raw.statusMessage !== before.statusMessage && raw.statusMessage) note("Message", null, raw.statusMessage);
    if (raw.cancelRequested && !before.cancelRequested) note("Cancel requested", "cancelled");
    this.#said.splice(0, Math.max(0, this.#said.length - MOST_SAID));
  }

  /// The speed between two observations, for the line; the service's own rate is an average.
  #measure(raw) {
    const now = Date.parse(raw.lastUpdatedAt), last = this.#last;
    if (raw.status !== "running") return;
    if (last === null || last.attempt !== raw.attempt || raw.progress.done < last.done) {
      this.#last = { at: now, done: raw.progress.done, attempt: raw.attempt };
    } else if (now - last.at >= 200) {
      this.#points.push(((raw.progress.done - last.done) * 1000) / (now - last.at));
      this.#points.splice(0, Math.max(0, this.#points.length - MOST_POINTS));
      this.#last = { at: now, done: raw.progress.done, attempt: raw.attempt };
    }
  }

  /// Draws at the next frame, once.
  #later() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      // Drawing anew would take away what somebody is just selecting to copy.
      const selection = getSelection();
      if (this.id !== null && (selection.isCollapsed || !this.#aside.contains(selection.anchorNode))) this.#draw();
    });
  }

  /// Time passes. (Also what was not drawn because of a selection is drawn then.)
  tick() {
    if (this.#raw !== null && (isLive(this.#raw.status) || this.#drawn !== this.#raw)) this.#later();
  }

  /// Draws those parts whose content has changed. The others stay as they are, so that a button is not taken
  /// from under a finger that is just pressing it.
  #draw() {
    this.#drawn = this.#raw;
    const raw = this.#raw, { labels } = raw ?? {};
    if (raw === null) return this.#drawParts([["head", this.#gone?.message ?? "", () => this.#nothing()]]);
    const kin = this.#model.childrenOf(raw.taskId) ?? [];
    const live = isLive(raw.status) ? Date.now() : "";
    this.#drawParts([
      ["head", [raw.kind, raw.status, raw.failureReason, raw.attempt, raw.cancelRequested, this.#gone !== null], () => this.#head(raw)],
      ["progress", [raw.version, live, this.#gone?.message], () => this.#progress(raw)],
      ["timeline", [raw.status, raw.attempt, raw.startedAt, raw.cancelRequested, this.#said.length, this.#said.at(-1)?.at], () => this.#timeline(raw)],
      ["outcome", [raw.version, raw.result === null, raw.error === null], () => this.#outcome(raw)],
      ["labels", [labels], () => this.#labels(raw)],
      ["kin", [this.#model.tasks.get(raw.parentId)?.state, kin.length, kin.slice(0, MOST_KIN).map((one) => [one.id, one.state, percent(one.fraction)]),
        kin.filter((one) => !isLive(one.state)).length], () => this.#kin(raw)],
      ["small", [raw.version], () => this.#small(raw)],
    ]);
  }

  #drawParts(wanted) {
    const held = this.#aside.contains(document.activeElement) ? document.activeElement.dataset.act : undefined;
    const names = wanted.map(([name]) => name);
    for (const [name, part] of this.#parts) if (!names.includes(name)) { part.element?.remove(); this.#parts.delete(name); }
    let before = null;
    for (const [name, content, make] of wanted.reverse()) {
      const known = this.#parts.get(name), now = JSON.stringify([this.id, content]);
      if (known?.content === now) {
        before = known.element ?? before;
        continue;
      }
      const element = make();
      if (known?.element && element) known.element.replaceWith(element);
      else if (element) this.#aside.insertBefore(element, before);
      else known?.element?.remove();
      this.#parts.set(name, { content: now, element });
      before = element ?? before;
    }
    // What was drawn anew takes the focus away; it goes back to the same button.
    if (held && !this.#aside.contains(document.activeElement)) this.#aside.querySelector(`[data-act="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
  }

  #closer() {
    return h("button", { type: "button", class: "quiet tiny", "data-act": "close", onclick: () => this.#on.close(), "aria-label": "Close the task", text: "✕" });
  }

  #nothing() {
    const text = this.#gone === null ? "Reading the task…" : this.#gone.message;
    return h("div", {},
      h("header", {}, h("h2", { text: this.#gone === null ? "Task" : "No such task" }), this.#closer(),
        h("p", { class: "ident" }, h("span", { class: "id", text: this.id }))),
      h("section", {}, h("p", { text })));
  }

  #head(raw) {
    const state = h("span", { class: "state", "data-tone": raw.status }, mark(raw.status), title(raw.status));
    const copy = h("button", { type: "button", class: "quiet tiny", "data-act": "copy", text: "Copy id", onclick: () => this.#copy(raw.taskId) });
    const cancel = isLive(raw.status) && this.#gone === null
      ? h("button", { type: "button", class: "quiet tiny", "data-act": "cancel", id: "cancel", disabled: raw.cancelRequested, text: raw.cancelRequested ? "Cancel requested" : "Cancel…", onclick: () => this.#on.cancel(raw) })
      : null;
    return h("header", {}, h("h2", { text: raw.kind || "(no kind)" }), this.#closer(),
      h("p", { class: "ident" }, state, raw.failureReason ? h("span", { class: "flag", "data-tone": "failed", text: reason(raw.failureReason) }) : null,
        raw.attempt > 1 ? h("span", { class: "flag", "data-tone": "pending", text: `attempt ${raw.attempt}` }) : null, cancel, copy),
      h("p", { class: "ident" }, h("span", { class: "id", text: raw.taskId })));
  }

  #progress(raw) {
    const { progress } = raw, task = { ...progress, state: raw.status };
    const fill = h("i"), bar = h("div", { class: "bar", "data-tone": raw.status, role: "progressbar", "aria-label": "Progress",
      "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": progress.fraction === null ? null : Math.floor(progress.fraction * 100) }, fill);
    paintBar(bar, fill, task);
    const started = Date.parse(raw.startedAt), end = raw.endedAt ? Date.parse(raw.endedAt) : Date.now();
    const fact = (name, value) => h("div", {}, h("dt", { text: name }), h("dd", { text: value }));
    return h("section", { "aria-label": "Progress" },
      this.#gone === null ? null : h("p", { class: "notice", "data-tone": "blocked", text: this.#gone.message }),
      h("div", { class: "big" }, h("b", { text: percent(progress.fraction) }), h("span", { text: done(task) })),
      bar,
      h("dl", { class: "facts" },
        fact("Rate", rate(progress.rate, progress.unit)),
        fact("Left", left({ state: raw.status, eta: progress.etaMs, updated: Date.parse(raw.lastUpdatedAt) }, Date.now()) || DASH),
        fact(isLive(raw.status) ? "Running for" : "Took", raw.startedAt ? span(end - started) : DASH)),
      this.#points.length > 2 ? spark(this.#points) : null,
      raw.statusMessage ? h("p", { class: "said", text: raw.statusMessage }) : null);
  }

  #timeline(raw) {
    const at = (text) => (text ? Date.parse(text) : null), now = Date.now();
    const created = at(raw.createdAt), started = at(raw.startedAt), ended = at(raw.endedAt);
    const steps = [{ at: created, text: "Created", tone: "pending" }];
    if (started !== null) steps.push({ at: started, text: raw.attempt > 1 ? `Started, attempt ${raw.attempt}` : "Started", tone: "running", more: raw.attempt > 1 ? "" : `after waiting ${span(started - created)}` });
    steps.push(...this.#said);
    if (ended !== null) {
      const more = raw.failureReason ? reason(raw.failureReason) : started === null ? "before it was started" : `after ${span(ended - started)}`;
      steps.push({ at: ended, text: title(raw.status), tone: raw.status, more });
    }
    if (raw.cancelRequested && ended === null && !this.#said.some((step) => step.text === "Cancel requested")) {
      steps.push({ at: null, text: "Cancel requested", tone: "cancelled", more: "the worker has not agreed yet" });
    }
    const items = steps.map((step) => h("li", { "data-tone": step.tone },
      h("span", { text: step.text }),
      step.at === null ? null : h("time", { datetime: new Date(step.at).toISOString(), title: new Date(step.at).toISOString(), text: time(step.at, now) }),
      step.more ? h("small", { text: step.more }) : null));
    return h("section", {}, h("h3", { text: "Timeline" }), h("ol", { class: "timeline" }, ...items));
  }

  #outcome(raw) {
    const value = raw.result ?? raw.error ?? null;
    if (value === null) return null;
    const name = raw.result !== null && raw.result !== undefined ? "Result" : "Error";
    let text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
    const cut = text.length > MOST_SHOWN;
    if (cut) text = text.slice(0, MOST_SHOWN);
    return h("section", { id: "outcome" }, h("h3", { text: name }), h("pre", { tabindex: "0", text }),
      cut ? h("p", { class: "hint", text: "The rest is not shown; read the task from the API for all of it." }) : null);
  }

  #labels(raw) {
    const labels = Object.entries(raw.labels ?? {});
    if (labels.length === 0) return null;
    return h("section", {}, h("h3", { text: "Labels" }), h("div", { class: "chips" }, ...labels.map(([key, value]) =>
      h("button", { type: "button", "data-act": `label ${key}`, title: "Show the tasks with this label", text: `${key}=${value}`, onclick: () => this.#on.filter(key, value) }))));
  }

  #kin(raw) {
    const children = this.#model.childrenOf(raw.taskId) ?? [];
    if (!raw.parentId && children.length === 0) return null;
    const kin = (id, task) => h("button", { type: "button", "data-act": `kin ${id}`, onclick: () => this.#on.open(id) },
      mark(task?.state ?? "pending"), h("b", { text: task?.kind || shortId(id) }),
      h("span", { class: "chip", text: distinct(task) ?? shortId(id) }),
      h("span", { class: "number", text: task ? (task.fraction === null || !isLive(task.state) ? task.state : percent(task.fraction)) : "" }));
    // What tells one child from the next: a label that the parent has not.
    const distinct = (task) => {
      const own = task?.labels.find(([key, value]) => raw.labels?.[key] !== value);
      return own === undefined ? null : `${own[0]}=${own[1]}`;
    };
    const section = h("section", {});
    if (raw.parentId) section.append(h("h3", { text: "Parent" }), h("div", { class: "kin" }, kin(raw.parentId, this.#model.tasks.get(raw.parentId))));
    if (children.length > 0) {
      const ended = children.filter((child) => !isLive(child.state)).length;
      section.append(h("h3", { text: `Children: ${number(ended)} of ${number(children.length)} ended` }),
        h("div", { class: "kin" }, ...children.slice(0, MOST_KIN).map((child) => kin(child.id, child))));
      if (children.length > MOST_KIN) section.append(h("p", { class: "hint", text: `and ${number(children.length - MOST_KIN)} more: see the tree` }));
    }
    return section;
  }

  #small(raw) {
    const facts = [["Version", raw.version]];
    if (raw.ttlMs !== null && raw.ttlMs !== undefined) facts.push(["Kept after its end", span(raw.ttlMs)]);
    if (raw.progress.unit) facts.push(["Unit", raw.progress.unit]);
    return h("section", {}, h("dl", { class: "facts" }, ...facts.map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", { class: name === "Version" ? "id" : "", text: value })))));
  }

  async #copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      this.#on.toast("The id is copied.");
    } catch {
      this.#on.toast(text);
    }
  }
}
