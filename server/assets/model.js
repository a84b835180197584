// The tasks that the page knows of, and which of them are shown in which order.
//
// A task is kept as a small record of what a row needs; results and errors are read when one is opened.
// Memory is bounded: beyond `limit` tasks the oldest that has ended makes room, and the page says that it
// does not show all.

import { STATES, isLive, newer, sameTask } from "./format.js";

/// What a change of a task may change of the page: nothing, the figures of its row, what a search finds it by, or
/// where it is shown, and whether.
export const [NOTHING, FIGURES, WORDS, PLACE] = [0, 1, 2, 3];

const MOST_LABELS = 300;
const MOST_KINDS = 200;
const NO_LABELS = Object.freeze([]);

export class Model {
  tasks = new Map();
  /// In the order of creation, with gaps where a task is gone (`dead`).
  all = [];
  counts = Object.fromEntries(STATES.map((state) => [state, 0]));
  kinds = new Map();
  labels = new Map();
  #children = new Map();
  /// Parents of whom children are gone that are still among their children.
  #bereft = new Set();
  /// Where to look on for the oldest that has ended.
  #from = 0;
  /// Whether some were left out.
  cut = false;
  #dead = 0;
  #ended = 0;
  #words = new Map();
  #labelSets = new Map();

  constructor(limit) {
    this.limit = limit;
  }

  /// Takes in what the service says of a task. Returns what that changes: see `NOTHING` and its like.
  take(raw) {
    let known = this.tasks.get(raw.taskId);
    // The id is used again: that the earlier task is gone may be told later, or not at all.
    if (known !== undefined && newer(raw.version, known.version) && !sameTask(raw.version, known.version)) {
      this.drop(known.id);
      known = undefined;
    }
    if (known !== undefined) {
      if (!newer(raw.version, known.version)) return NOTHING;
      const { state, message } = known;
      this.#fill(known, raw);
      if (state === known.state) return message === known.message ? FIGURES : WORDS;
      this.#count(state, -1);
      this.#count(known.state, 1);
      return PLACE;
    }
    if (this.tasks.size >= this.limit && !this.#makeRoom(raw)) return NOTHING;
    const task = this.#fill({ id: raw.taskId, shown: null, dead: false }, raw);
    task.created = Date.parse(raw.createdAt);
    task.kind = this.#word(raw.kind);
    task.unit = this.#word(raw.progress.unit);
    task.labels = this.#labelSet(raw.labels);
    task.parent = raw.parentId ?? null;
    this.tasks.set(task.id, task);
    const last = this.all.at(-1);
    this.all.push(task);
    if (last !== undefined && last.created > task.created) this.unsorted = true;
    this.#count(task.state, 1);
    note(this.kinds, task.kind, MOST_KINDS);
    for (const [key, value] of task.labels) note(this.labels, `${key}=${value}`, MOST_LABELS);
    if (task.parent !== null) {
      const siblings = this.#children.get(task.parent);
      if (siblings === undefined) this.#children.set(task.parent, [task]);
      else siblings.push(task);
    }
    return PLACE;
  }

  /// Forgets a task, or what it was up to this version; says whether it was known.
  drop(id, version) {
    const task = this.tasks.get(id);
    if (task === undefined || (version !== undefined && newer(task.version, version))) return false;
    this.tasks.delete(id);
    task.dead = true;
    this.#dead += 1;
    this.#count(task.state, -1);
    if (this.#children.has(task.parent)) this.#bereft.add(task.parent);
    return true;
  }

  /// The children of a task that are still there; none is `undefined`.
  childrenOf(id) {
    // Not at each drop: many children that go one by one would be looked through each time.
    if (this.#bereft.delete(id)) {
      const left = this.#children.get(id).filter((child) => !child.dead);
      if (left.length > 0) this.#children.set(id, left);
      else this.#children.delete(id);
    }
    return this.#children.get(id);
  }

  /// Forgets all that are not among `ids`: they went while nobody looked.
  keepOnly(ids) {
    for (const id of [...this.tasks.keys()]) if (!ids.has(id)) this.drop(id);
  }

  clear() {
    for (const map of [this.tasks, this.kinds, this.labels, this.#children, this.#bereft, this.#words, this.#labelSets]) map.clear();
    this.all = [];
    this.#dead = this.#ended = this.#from = 0;
    this.cut = false;
    for (const state of STATES) this.counts[state] = 0;
  }

  #fill(task, raw) {
    const { progress } = raw;
    task.state = STATES.includes(raw.status) ? raw.status : "pending";
    task.version = raw.version;
    task.reason = raw.failureReason ?? null;
    task.message = raw.statusMessage ?? null;
    task.attempt = raw.attempt;
    task.done = progress.done;
    task.total = progress.total;
    task.fraction = progress.fraction;
    task.rate = progress.rate;
    task.eta = progress.etaMs;
    task.updated = Date.parse(raw.lastUpdatedAt);
    task.cancel = raw.cancelRequested;
    return task;
  }

  #count(state, by) {
    this.counts[state] += by;
    if (!isLive(state)) this.#ended += by;
  }

  #makeRoom(raw) {
    this.cut = true;
    if (this.#ended === 0 || !isLive(raw.status)) return false;
    // On from where the last one was, so that what goes on is not looked through for each; and once around,
    // as some of that may have ended since.
    for (let looked = 0; looked < this.all.length; looked += 1, this.#from += 1) {
      const task = this.all[(this.#from %= this.all.length)];
      if (!task.dead && !isLive(task.state)) return this.drop(task.id);
    }
    return false;
  }

  /// One string for all that are equal: parsing makes a new one for each task.
  #word(text) {
    if (text === null || text === undefined) return null;
    const known = this.#words.get(text);
    if (known !== undefined) return known;
    if (this.#words.size < 10_000) this.#words.set(text, text);
    return text;
  }

  #labelSet(labels) {
    const pairs = Object.entries(labels ?? {});
    if (pairs.length === 0) return NO_LABELS;
    const key = JSON.stringify(pairs);
    const known = this.#labelSets.get(key);
    if (known !== undefined) return known;
    if (this.#labelSets.size < 10_000) this.#labelSets.set(key, pairs);
    return pairs;
  }

  /// The tasks to show, each with its depth: those at work first, then those that wait, then those that have
  /// ended; of each the newest first.
  rows(filter, tree, isOpen) {
    this.#tidy();
    const { all } = this, accepts = filter.predicate();
    if (tree) return this.#tree(accepts, filter.isEmpty(), isOpen);
    const tasks = inGroups(all, accepts);
    return { tasks, depths: null, matches: tasks.length };
  }

  #tree(accepts, everything, isOpen) {
    let matches = 0;
    // With a filter a task is shown if it matches, or if one below it does.
    const shown = everything ? null : new Set();
    for (const task of this.all) {
      if (!accepts(task)) continue;
      matches += 1;
      for (let at = task; shown !== null && at !== undefined && !shown.has(at); at = this.tasks.get(at.parent)) shown.add(at);
    }
    const visible = (task) => shown === null || shown.has(task);
    const roots = inGroups(this.all, (task) => (task.parent === null || !this.tasks.has(task.parent)) && visible(task));
    const tasks = [], depths = [];
    const stack = roots.reverse().map((task) => [task, 0]);
    // Created before its children, so no task is its own ancestor; the depth is bounded all the same.
    while (stack.length > 0) {
      const [task, depth] = stack.pop();
      tasks.push(task);
      depths.push(depth);
      const children = this.childrenOf(task.id);
      if (children === undefined || depth > 30 || !isOpen(task)) continue;
      for (let at = children.length - 1; at >= 0; at -= 1) if (visible(children[at])) stack.push([children[at], depth + 1]);
    }
    return { tasks, depths, matches };
  }

  #tidy() {
    if (this.#dead > 0) {
      this.all = this.all.filter((task) => !task.dead);
      this.#dead = this.#from = 0;
    }
    if (this.unsorted) {
      this.all.sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
      this.unsorted = false;
    }
  }
}

const GROUP = { running: 0, blocked: 1, pending: 2, failed: 3, cancelled: 3, succeeded: 3 };

function inGroups(all, accepts) {
  const groups = [[], [], [], []];
  for (let at = all.length - 1; at >= 0; at -= 1) if (accepts(all[at])) groups[GROUP[all[at].state]].push(all[at]);
  const [first, ...others] = groups;
  // One by one: a call with 100,000 arguments is more than a stack holds.
  for (const group of others) for (const task of group) first.push(task);
  return first;
}

function note(map, key, most) {
  const have = map.get(key);
  if (have !== undefined) map.set(key, have + 1);
  else if (map.size < most) map.set(key, 1);
}

/// Which tasks to show. It prints as the page's address, and as a query of the service.
export class Filter {
  constructor({ states = [], kind = "", label = "", text = "" } = {}) {
    this.states = new Set(states.filter((state) => STATES.includes(state)));
    this.kind = kind;
    this.label = label;
    this.text = text;
  }

  static parse(params) {
    const get = (name) => params.get(name) ?? "";
    const states = get("state") ? get("state").split(",") : [];
    return new Filter({ states, kind: get("kind"), label: get("label"), text: get("q") });
  }

  isEmpty() {
    return this.states.size === 0 && !this.kind && this.labels().length === 0 && !this.text;
  }

  /// `a=b, c=d`: all of these labels. What has no `=` asks for the key alone.
  labels() {
    return this.label.split(",").map((pair) => pair.trim()).filter(Boolean).map((pair) => {
      const at = pair.indexOf("=");
      return at < 0 ? [pair, null] : [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
    });
  }

  predicate() {
    const { states, kind } = this, labels = this.labels(), text = this.text.trim().toLowerCase();
    return (task) =>
      !task.dead
      && (states.size === 0 || states.has(task.state))
      && (!kind || task.kind === kind)
      && labels.every(([key, value]) => task.labels.some((have) => have[0] === key && (value === null || have[1] === value)))
      && (!text || task.kind.toLowerCase().includes(text) || task.id.includes(text)
        || (task.message !== null && task.message.toLowerCase().includes(text)));
  }

  /// For the page's address.
  params() {
    const params = new URLSearchParams();
    if (this.states.size > 0) params.set("state", STATES.filter((state) => this.states.has(state)).join(","));
    if (this.kind) params.set("kind", this.kind);
    if (this.label) params.set("label", this.label);
    if (this.text) params.set("q", this.text);
    return params;
  }

  /// What of it the service can filter by.
  query() {
    const params = new URLSearchParams();
    for (const state of this.states) params.append("state", state);
    if (this.kind) params.set("kind", this.kind);
    for (const [key, value] of this.labels()) if (value !== null) params.append(`label.${key}`, value);
    return params;
  }
}
