// The virtualised list: as many rows in the page as fit on it, whatever there is to show.

import { ago, done, isLive, left, number, percent, rate, reason, shortId } from "./format.js";
import { chevron, h, mark, put, say } from "./dom.js";

const SPARE = 6;

export class List {
  #scroller;
  #rows;
  #pool = [];
  #data = { tasks: [], depths: null };
  #model;
  #height = 0;
  #at = 0;
  #dirty = false;
  tree = false;
  open = new Set();
  /// Whether a filter holds all open, so that what matches is seen.
  forced = false;
  chosen = null;

  /// `on.open(task)`, `on.choose(task)`, `on.twist(task)`.
  constructor(scroller, rows, model, on) {
    this.#scroller = scroller;
    this.#rows = rows;
    this.#model = model;
    this.on = on;
    scroller.addEventListener("scroll", () => this.update(), { passive: true });
    new ResizeObserver(() => this.measure()).observe(scroller);
    rows.addEventListener("click", (event) => this.#click(event));
    this.measure();
  }

  measure() {
    this.#height = Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || 56;
    const fit = Math.ceil(this.#scroller.clientHeight / this.#height) + 2 * SPARE;
    while (this.#pool.length < fit) this.#pool.push(this.#blank());
    while (this.#pool.length > fit) this.#pool.pop().row.remove();
    for (const parts of this.#pool) parts.task = null;
    this.#rows.style.height = `${this.#data.tasks.length * this.#height}px`;
    this.update();
  }

  /// Shows these. The scroll position stays at the same tasks where it is not at the top.
  show(data) {
    const before = this.#data, first = Math.floor(this.#scroller.scrollTop / this.#height);
    const anchor = first > 0 ? before.tasks[first] : undefined;
    this.#data = data;
    this.#rows.style.height = `${data.tasks.length * this.#height}px`;
    put(this.#scroller, "aria-rowcount", data.tasks.length);
    if (anchor !== undefined && data.tasks[first] !== anchor) {
      const now = this.#find(anchor, first);
      if (now >= 0) this.#scroller.scrollTop += (now - first) * this.#height;
    }
    if (this.chosen !== null) this.#at = Math.max(this.#find(this.chosen, this.#at), 0);
    this.update();
  }

  /// Where a task is now, looked for from where it was: it has not gone far as a rule.
  #find(task, near) {
    const { tasks } = this.#data;
    for (let off = 0; off < 2000; off += 1) {
      if (tasks[near + off] === task) return near + off;
      if (tasks[near - off] === task) return near - off;
    }
    return tasks.indexOf(task);
  }

  isOpen(task) {
    return this.forced || this.open.has(task.id);
  }

  get length() {
    return this.#data.tasks.length;
  }

  /// Draws what is in sight, at the next frame.
  update() {
    if (this.#dirty) return;
    this.#dirty = true;
    requestAnimationFrame(() => {
      this.#dirty = false;
      this.#draw();
    });
  }

  #draw() {
    const { tasks, depths } = this.#data, pool = this.#pool;
    const first = Math.max(0, Math.floor(this.#scroller.scrollTop / this.#height) - SPARE);
    const now = Date.now();
    let active = null;
    for (let index = first; index < first + pool.length; index += 1) {
      // A row of the pool always shows the indices that it is a divisor's rest of: scrolling by one moves one.
      const parts = pool[index % pool.length], task = tasks[index];
      if (task === undefined) {
        parts.row.hidden = true;
        parts.task = null;
        continue;
      }
      this.#place(parts, index, task, depths === null ? 0 : depths[index]);
      this.#paint(parts, task, now);
      if (task === this.chosen) active = parts.row.id;
    }
    put(this.#scroller, "aria-activedescendant", active);
  }

  #blank() {
    const text = (name) => h("span", { class: name });
    const parts = {
      row: h("div", { class: "row", role: "row", id: `row-${this.#pool.length}`, hidden: true }),
      mark: h("span", { class: "mark", role: "gridcell" }), twist: h("button", { class: "twist", type: "button", tabindex: "-1", hidden: true }),
      kind: h("b"), flag: h("span", { class: "flag", hidden: true }), id: text("id"), labels: text("sub-labels"),
      message: h("span", { class: "message", role: "gridcell" }), fill: h("i"), says: h("span"), share: h("span"),
      rate: h("span", { class: "number end rate", role: "gridcell" }), left: h("span", { class: "number end left", role: "gridcell" }),
      changed: h("span", { class: "number end changed", role: "gridcell" }), task: null, version: "", state: "",
    };
    parts.twist.append(chevron());
    parts.bar = h("span", { class: "bar" }, parts.fill);
    parts.sub = h("span", { class: "sub" }, parts.id, parts.labels);
    parts.name = h("span", { class: "name", role: "gridcell" }, h("span", { class: "kind" }, parts.twist, parts.kind, parts.flag), parts.sub);
    const progress = h("span", { class: "progress", role: "gridcell" }, parts.bar, h("span", { class: "says" }, parts.says, parts.share));
    parts.row.append(parts.mark, parts.name, parts.message, progress, parts.rate, parts.left, parts.changed);
    this.#rows.append(parts.row);
    return parts;
  }

  #place(parts, index, task, depth) {
    const { row } = parts;
    row.hidden = false;
    row.style.transform = `translateY(${index * this.#height}px)`;
    put(row, "aria-rowindex", index + 1);
    row.classList.toggle("chosen", task === this.chosen);
    put(row, "aria-selected", task === this.chosen);
    parts.name.style.paddingLeft = depth > 0 ? `${Math.min(depth, 8) * 18}px` : "";
    put(row, "aria-level", this.tree ? depth + 1 : null);
    const isParent = this.tree && this.#model.childrenOf(task.id) !== undefined;
    parts.twist.hidden = !isParent;
    const isOpen = isParent && this.isOpen(task);
    put(parts.twist, "aria-expanded", isParent ? isOpen : null);
    put(parts.twist, "aria-label", isParent ? (isOpen ? "Hide its children" : "Show its children") : null);
    put(row, "aria-expanded", isParent ? isOpen : null);
  }

  #paint(parts, task, now) {
    say(parts.changed, ago(task.updated, now));
    say(parts.left, left(task, now));
    this.#paintTask(parts, task);
    if (this.tree) this.#paintFamily(parts, task);
  }

  #paintTask(parts, task) {
    if (parts.task === task && parts.version === task.version) return;
    if (parts.task !== task) {
      say(parts.kind, task.kind || "(no kind)");
      say(parts.id, shortId(task.id));
      put(parts.row, "data-id", task.id);
      parts.labels.replaceChildren(...task.labels.slice(0, 3).map(([key, value]) => h("span", { class: "chip", text: `${key}=${value}` })));
    }
    if (parts.task !== task || parts.state !== task.state) {
      put(parts.row, "data-tone", task.state);
      parts.mark.replaceChildren(mark(task.state).firstChild);
      put(parts.mark, "aria-label", task.state);
      put(parts.mark, "title", task.state);
    }
    parts.task = task;
    parts.version = task.version;
    parts.state = task.state;
    this.#paintFlag(parts, task);
    say(parts.message, task.message ?? "");
    paintBar(parts.bar, parts.fill, task);
    say(parts.says, done(task));
    say(parts.share, task.fraction === null ? "" : percent(task.fraction));
    say(parts.rate, task.state === "running" || task.rate !== null ? rate(task.rate, task.unit) : "");
  }

  #paintFlag(parts, task) {
    let text = "";
    if (task.state === "failed" && task.reason !== null && task.reason !== "error") text = reason(task.reason);
    else if (task.cancel && isLive(task.state)) text = "cancelling";
    else if (task.attempt > 1) text = `attempt ${task.attempt}`;
    parts.flag.hidden = text === "";
    say(parts.flag, text);
  }

  #paintFamily(parts, task) {
    const children = this.#model.childrenOf(task.id);
    if (children === undefined) return;
    let ended = 0;
    for (const child of children) if (!isLive(child.state)) ended += 1;
    parts.flag.hidden = false;
    say(parts.flag, `${number(ended)} of ${number(children.length)} ended`);
    parts.version = "";
  }

  #click(event) {
    const row = event.target.closest(".row");
    const task = row === null ? undefined : this.#model.tasks.get(row.dataset.id);
    if (task === undefined) return;
    this.choose(task);
    if (event.target.closest(".twist") !== null) this.on.twist(task);
    else this.on.open(task);
  }

  /// Chooses a task, and brings it into sight.
  choose(task, scroll = false) {
    this.chosen = task;
    this.#at = Math.max(this.#find(task, this.#at), 0);
    if (scroll) {
      const top = this.#at * this.#height, { scrollTop, clientHeight } = this.#scroller;
      if (top < scrollTop) this.#scroller.scrollTop = top;
      else if (top + this.#height > scrollTop + clientHeight) this.#scroller.scrollTop = top + this.#height - clientHeight;
    }
    this.update();
  }

  /// Moves the choice by so many rows.
  move(by) {
    const { tasks } = this.#data;
    if (tasks.length === 0) return;
    // From nowhere, down is the first and up is the last; far up is the first wherever one is.
    const from = this.chosen !== null ? this.#at : by > 0 ? -1 : tasks.length;
    const to = from + by;
    this.choose(tasks[Math.min(Math.max(to, 0), tasks.length - 1)], true);
  }

  get page() {
    return Math.max(1, Math.floor(this.#scroller.clientHeight / this.#height) - 1);
  }
}

/// A bar as far as the task has come; where the total is unknown, one that only shows that it goes on.
export function paintBar(bar, fill, task) {
  const unknown = task.fraction === null;
  const moves = unknown && task.state === "running";
  bar.classList.toggle("unknown", moves);
  bar.classList.toggle("still", unknown && !moves && task.state !== "succeeded");
  const scale = unknown ? (task.state === "succeeded" ? 1 : moves ? null : 0) : task.fraction;
  fill.style.transform = scale === null ? "" : `scaleX(${scale})`;
}
