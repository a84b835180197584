// The page as a whole: the address, the filters, the keyboard, the dialogs.

import { Refused, onTokenNeeded, request, token } from "./api.js";
import { by, h, mark, put, say } from "./dom.js";
import { Feed } from "./feed.js";
import { STATES, isLive, isolated, number, shortId, title } from "./format.js";
import { List } from "./list.js";
import { Filter, Model, NOTHING, PLACE, WORDS } from "./model.js";
import { Page } from "./page.js";

/// So many tasks are kept in the page at the most; `?keep=…` in the address says otherwise.
const LIMIT = Math.max(1, Number(new URLSearchParams(location.search).get("keep")) || 150_000);
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

const model = new Model(LIMIT);
let filter = new Filter();
let counts = null;
let total = 0;
let loading = null;
let rebuild = { wanted: false, timer: 0, cost: 0 };

const list = new List(by("list"), by("rows"), model, {
  open: (task) => go(task.id),
  twist: (task) => twist(task, !list.open.has(task.id)),
});
const page = new Page(by("task"), model, {
  close: () => go(null),
  open: (id) => go(id),
  cancel: (raw) => cancel(raw),
  filter: (key, value) => change({ label: `${key}=${value}` }),
  toast,
});
const feed = new Feed(model, {
  change(what) {
    if (what === PLACE || (what === WORDS && filter.text)) arrange();
    list.update();
    page.tick();
  },
  link: (state, text) => {
    put(by("link"), "data-state", state);
    say(by("link-text"), text);
  },
  loading: (have, of, error) => {
    loading = have === null ? null : { have, of };
    if (error) toast(error.message);
    drawFoot();
  },
  counts: (byState, sum) => {
    counts = byState;
    total = sum;
    drawCounts();
  },
  event: (raw) => {
    if (raw.taskId === page.id && raw.gone === undefined && page.task !== null) page.take({ ...raw, result: null, error: null });
  },
});

// ---- What is shown -------------------------------------------------------------------------------------

/// Finds anew what to show; not more often than four times what it takes.
function arrange(now = false) {
  if (now) {
    clearTimeout(rebuild.timer);
    rebuild.wanted = false;
    rearrange();
  } else if (!rebuild.wanted) {
    rebuild.wanted = true;
    rebuild.timer = setTimeout(() => {
      rebuild.wanted = false;
      requestAnimationFrame(rearrange);
    }, Math.max(50, rebuild.cost * 4));
  }
}

function rearrange() {
  const begun = performance.now();
  list.forced = !filter.isEmpty();
  const data = model.rows(filter, list.tree, (task) => list.isOpen(task));
  list.show(data);
  chooseShown();
  drawCounts();
  drawChoices();
  drawFoot(data.matches);
  drawEmpty(data);
  rebuild.cost = performance.now() - begun;
}

/// The task whose page is opened is chosen, as soon as it is known; once, so that one can move on from it.
let chosenFor = null;
function chooseShown() {
  const task = page.id === null ? undefined : model.tasks.get(page.id);
  if (task === undefined || chosenFor === page.id) return;
  chosenFor = page.id;
  if (list.chosen !== task) list.choose(task, true);
  document.title = `${task.kind} · inflight`;
}

const tiles = new Map(STATES.map((state) => {
  const number = h("span", { class: "number", text: "–" });
  const tile = h("button", { type: "button", class: "tile", "data-tone": state, "aria-pressed": "false", onclick: () => toggle(state) },
    mark(state), h("span", { class: "name", text: title(state) }), number);
  const share = h("i", { "data-tone": state });
  by("counts").append(tile);
  by("share").append(share);
  return [state, { tile, number, share }];
}));

function drawCounts() {
  // Where the page knows all tasks, its own count is the newest.
  const known = loading === null && !model.cut && model.tasks.size > 0 && feedIsWhole();
  const shown = known ? model.counts : counts;
  if (shown === null) return;
  for (const [state, { tile, number: figure, share }] of tiles) {
    say(figure, number(shown[state] ?? 0));
    share.hidden = !shown[state];
    share.style.flexGrow = String(shown[state] ?? 0);
    put(tile, "aria-pressed", filter.states.has(state));
  }
  by("counts").classList.toggle("chosen", filter.states.size > 0);
}

const feedIsWhole = () => serverQuery === null;

let choices = "";
function drawChoices() {
  const kinds = [...model.kinds.keys()].sort(), labels = [...model.labels.keys()].sort();
  const now = `${kinds.length} ${labels.length} ${filter.kind}`;
  if (now === choices) return;
  choices = now;
  if (filter.kind && !kinds.includes(filter.kind)) kinds.push(filter.kind);
  by("kind").replaceChildren(h("option", { value: "", text: "All kinds" }), ...kinds.map((kind) => h("option", { value: kind, text: kind || "(no kind)" })));
  by("kind").value = filter.kind;
  by("labels").replaceChildren(...labels.map((label) => h("option", { value: label })));
}

let matched = 0;
function drawFoot(matches = matched) {
  matched = matches;
  let text = "";
  if (loading !== null && loading.have < loading.of) text = `Reading ${number(loading.have)} of ${number(loading.of)} tasks…`;
  else if (model.cut) text = `${number(matches)} tasks; the store has ${number(total)}, more than this page keeps. A filter finds the others.`;
  else if (!filter.isEmpty()) text = `${number(matches)} of ${number(model.tasks.size)} tasks`;
  else if (matches > 0) text = `${number(matches)} tasks`;
  say(by("foot"), text);
}

function drawEmpty(data) {
  const empty = by("empty");
  empty.hidden = data.tasks.length > 0 || loading !== null || counts === null;
  if (empty.hidden) return;
  if (model.tasks.size > 0 || total > 0) {
    empty.replaceChildren(h("h2", { text: "No task matches" }), h("p", { text: "Tasks that match will appear here as they come." }),
      h("button", { type: "button", class: "quiet", text: "Clear the filter", onclick: () => clear() }));
  } else {
    const address = new URL("v1/tasks", document.baseURI).href;
    empty.replaceChildren(h("h2", { text: "No tasks yet" }), h("p", { text: "Create one, and it appears here at once:" }),
      h("pre", { tabindex: "0", text: `curl ${address} \\\n  -H 'content-type: application/json' \\\n  -d '{"kind":"index","total":42,"unit":"pages"}'` }));
  }
}

// ---- The address says it all ---------------------------------------------------------------------------

let serverQuery = null;

function route() {
  const hash = location.hash.replace(/^#\/?/, "");
  const [path, query = ""] = hash.split("?");
  const params = new URLSearchParams(query);
  filter = Filter.parse(params);
  setTree(params.get("tree") === "1");
  for (const [id, value] of [["q", filter.text], ["label", filter.label]]) if (by(id).value !== value && document.activeElement !== by(id)) by(id).value = value;
  by("kind").value = filter.kind;
  by("clear").hidden = filter.isEmpty();
  const id = path.startsWith("tasks/") ? decodeURIComponent(path.slice(6)) : null;
  const open = id !== null && UUID.test(id);
  by("split").classList.toggle("open", open);
  document.body.classList.toggle("task-open", open);
  if (open) {
    page.show(id.toLowerCase());
    document.title = `${model.tasks.get(page.id)?.kind ?? "task"} · inflight`;
    chooseShown();
  } else {
    page.hide();
    chosenFor = null;
    document.title = "inflight";
  }
  requery();
  arrange(true);
}

/// If the page cannot keep all tasks, a filter is for the service to apply.
function requery() {
  const query = filter.query();
  const wanted = (model.cut || serverQuery !== null) && [...query].length > 0 ? query.toString() : null;
  if (wanted === serverQuery) return;
  serverQuery = wanted;
  model.clear();
  feed.load(wanted === null ? null : new URLSearchParams(wanted));
}

function address(id) {
  const params = filter.params();
  if (list.tree) params.set("tree", "1");
  const query = params.toString();
  return `#/${id === null ? "" : `tasks/${id}`}${query ? `?${query}` : ""}`;
}

function go(id) {
  if (address(id) !== location.hash) {
    location.hash = address(id);
    // The event for it comes later than the next key.
    route();
  }
  if (id === null) by("list").focus({ preventScroll: true });
  else by("task").focus({ preventScroll: true });
}

/// Changes the filter; the address follows without a step in the history for each letter.
function change(what) {
  filter = new Filter({ states: [...filter.states], kind: filter.kind, label: filter.label, text: filter.text, ...what });
  history.replaceState(null, "", address(page.id));
  route();
  if (what.label !== undefined) by("label").value = filter.label;
  by("list").scrollTop = 0;
}

function toggle(state) {
  const states = new Set(filter.states);
  if (!states.delete(state)) states.add(state);
  change({ states: states.size === STATES.length ? [] : [...states] });
}

function clear() {
  by("q").value = by("label").value = "";
  change({ states: [], kind: "", label: "", text: "" });
}

function setTree(on) {
  list.tree = on;
  put(by("tree"), "aria-pressed", on);
  put(by("flat"), "aria-pressed", !on);
}

function arrangeAs(tree) {
  setTree(tree);
  history.replaceState(null, "", address(page.id));
  by("list").scrollTop = 0;
  arrange(true);
}

function twist(task, on) {
  if (!list.tree || list.forced || model.childrenOf(task.id) === undefined) return;
  if (on) list.open.add(task.id);
  else list.open.delete(task.id);
  arrange(true);
}

// ---- Cancelling, and who may ---------------------------------------------------------------------------

/// Shows a dialog; resolves to the value of the button that closed it.
function dialog(element, focus) {
  return new Promise((resolve) => {
    element.returnValue = "";
    element.addEventListener("close", () => resolve(element.returnValue), { once: true });
    element.showModal();
    focus?.focus();
  });
}

async function cancel(raw) {
  if (by("cancel-dialog").open) return;
  const name = raw.kind || "(no kind)";
  say(by("cancel-what"), `${isolated(name)} · ${shortId(raw.taskId)}`);
  say(by("cancel-hint"), raw.status === "pending" ? "Nobody works on it yet: it is cancelled at once." : "Its worker is asked to stop, and decides when. Until it agrees the task goes on.");
  if (await dialog(by("cancel-dialog"), by("cancel-no")) !== "yes") return;
  try {
    const after = await request(`v1/tasks/${raw.taskId}:cancel`, { method: "POST", body: {}, scope: "write" });
    if (after?.progress) {
      if (model.take(after) !== NOTHING) arrange();
      page.take(after);
    }
    toast(after?.status === "cancelled" ? "The task is cancelled." : "The worker is asked to stop.");
  } catch (error) {
    if (error instanceof Refused && error.problem.currentStatus?.progress) page.take(error.problem.currentStatus);
    toast(error.message);
  }
}

onTokenNeeded(async (scope, refused) => {
  say(by("token-why"), refused.status === 403
    ? `This needs a token with the scope “${scope}”, which the one in use has not.`
    : `The service asks for a token${token.get() ? "; the one in use is not known to it" : ""}. This needs the scope “${scope}”.`);
  if (refused.problem.detail) by("token-why").append(h("br"), h("span", { class: "hint", text: refused.problem.detail }));
  return askToken();
});

async function askToken() {
  if (by("token-dialog").open) return false;
  by("token").value = "";
  by("token-forget").hidden = token.get() === "";
  const answer = await dialog(by("token-dialog"), by("token"));
  const value = by("token").value.trim();
  by("token").value = "";
  if (answer === "forget") {
    token.set("");
    return false;
  }
  if (answer !== "ok" || value === "") return false;
  token.set(value);
  return true;
}

let toastTimer = 0;
function toast(text) {
  const element = by("toast");
  element.textContent = text;
  element.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    element.hidden = true;
  }, 5000);
}

// ---- Keyboard and controls -----------------------------------------------------------------------------

const keys = {
  ArrowDown: () => list.move(1), j: () => list.move(1),
  ArrowUp: () => list.move(-1), k: () => list.move(-1),
  PageDown: () => list.move(list.page), PageUp: () => list.move(-list.page),
  Home: () => list.move(-Infinity), End: () => list.move(Infinity),
  Enter: () => list.chosen && go(list.chosen.id),
  ArrowRight: () => list.chosen && twist(list.chosen, true),
  ArrowLeft: () => {
    const task = list.chosen;
    if (task === null || !list.tree) return;
    if (!list.forced && list.open.has(task.id)) return twist(task, false);
    const parent = model.tasks.get(task.parent);
    if (parent !== undefined) list.choose(parent, true);
  },
};

const everywhere = {
  "/": () => by("q").focus(),
  "?": () => dialog(by("help-dialog")),
  t: () => arrangeAs(!list.tree),
  x: () => {
    const raw = page.task ?? (list.chosen && { taskId: list.chosen.id, kind: list.chosen.kind, status: list.chosen.state });
    if (raw && isLive(raw.status)) cancel(raw);
    else if (raw) toast(`The task has ended: it is ${raw.status}.`);
  },
  Escape: () => (page.id === null ? clear() : go(null)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input, select, textarea");
  if (typing) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target.id === "q")) {
      if (UUID.test(by("q").value.trim()) && event.key === "Enter") go(by("q").value.trim().toLowerCase());
      event.preventDefault();
      by("list").focus({ preventScroll: true });
    }
    return;
  }
  const digit = STATES[Number(event.key) - 1];
  const onList = event.target === by("list") || event.target === document.body;
  const act = digit !== undefined ? () => toggle(digit) : (onList ? keys[event.key] : undefined) ?? everywhere[event.key];
  if (act === undefined) return;
  event.preventDefault();
  if (onList && keys[event.key] !== undefined) by("list").focus({ preventScroll: true });
  act();
});

let typed = 0;
for (const [id, name] of [["q", "text"], ["label", "label"]]) {
  by(id).addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(() => change({ [name]: by(id).value }), model.tasks.size > 20_000 ? 150 : 40);
  });
}
by("kind").addEventListener("change", () => change({ kind: by("kind").value }));
by("filters").addEventListener("submit", (event) => event.preventDefault());
by("flat").addEventListener("click", () => arrangeAs(false));
by("tree").addEventListener("click", () => arrangeAs(true));
by("clear").addEventListener("click", clear);
by("help-button").addEventListener("click", () => dialog(by("help-dialog")));
by("token-button").addEventListener("click", async () => {
  const before = token.get();
  say(by("token-why"), before ? "A token is in use." : "Requests are made without a token.");
  await askToken();
  if (token.get() !== before) location.reload();
});
addEventListener("hashchange", route);

// Times pass without events, too.
let seenBefore = 0;
setInterval(() => {
  if (document.hidden) return;
  list.update();
  page.tick();
  const events = feed.seen - seenBefore;
  seenBefore = feed.seen;
  say(by("pulse"), events > 0 ? `${number(events)} ${events === 1 ? "update" : "updates"}/s` : "");
}, 1000);

feed.start();
route();
