// Numbers, spans and times as people read them. What is unknown is a dash, never 0.

export const STATES = ["pending", "running", "blocked", "succeeded", "failed", "cancelled"];
export const isLive = (state) => state === "pending" || state === "running" || state === "blocked";
export const DASH = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const title = (state) => state.charAt(0).toUpperCase() + state.slice(1);

export function number(value) {
  if (value === null || value === undefined) return DASH;
  return value < 1e7 ? whole.format(value) : short.format(value);
}

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// An amount in a task's own unit; bytes are the one unit that has greater ones.
export function amount(value, unit) {
  if (value === null || value === undefined) return DASH;
  if (unit !== "bytes") return number(value);
  let step = 0;
  while (value >= 1024 && step < BYTES.length - 1) {
    value /= 1024;
    step += 1;
  }
  return `${step === 0 ? whole.format(value) : value.toFixed(value < 10 ? 1 : 0)} ${BYTES[step]}`;
}

/// Text in a sentence of ours: what runs from right to left in it ends with it.
export const isolated = (text) => (/^[\x20-\x7e]*$/.test(text) ? text : `\u2068${text}\u2069`);

export function done(task) {
  const { done, total, unit } = task;
  const of = total === null ? "" : ` / ${amount(total, unit)}`;
  const what = unit && unit !== "bytes" ? ` ${isolated(unit)}` : "";
  return done === 0 && total === null ? "" : amount(done, unit) + of + what;
}

export function percent(fraction) {
  if (fraction === null) return DASH;
  // 100 % is said when all is done, and not a moment before.
  const shown = Math.floor(fraction * 1000) / 10;
  return `${shown >= 10 || shown === 0 ? Math.floor(shown) : shown.toFixed(1)}%`;
}

export function rate(value, unit) {
  if (value === null || value === undefined) return DASH;
  if (unit === "bytes") return `${amount(value, unit)}/s`;
  const digits = value >= 100 ? number(value) : value >= 10 ? value.toFixed(0) : value >= 0.1 ? value.toFixed(1) : null;
  if (digits !== null) return `${digits}/s`;
  return value * 60 >= 0.1 ? `${(value * 60).toFixed(1)}/min` : `${(value * 3600).toFixed(1)}/h`;
}

export function span(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return DASH;
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const parts = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  const at = parts.findIndex(([size]) => seconds >= size);
  const [size, name] = parts[at], [less, lower] = parts[at + 1];
  const rest = Math.floor((seconds % size) / less);
  return `${Math.floor(seconds / size)} ${name}${rest > 0 ? ` ${String(rest).padStart(lower === "s" ? 2 : 1, "0")} ${lower}` : ""}`;
}

/// What is left of a task that runs. The service estimates from the last progress on; when that time is over, the
/// estimate has turned out wrong.
export function left(task, now) {
  if (task.state !== "running") return "";
  if (task.eta === null) return DASH;
  const ms = task.eta - Math.max(0, now - task.updated);
  return ms < 0 && task.eta > 0 ? "overdue" : span(Math.max(0, ms));
}

/// How long ago, in one unit: a list has no room for two.
export function ago(ms, now) {
  if (ms === null) return DASH;
  const seconds = Math.floor((now - ms) / 1000);
  if (seconds < 2) return "now";
  for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]]) if (seconds >= size) return `${Math.floor(seconds / size)} ${name} ago`;
  return "now";
}

const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat([], { month: "short", day: "numeric" });

export function time(ms, now = Date.now()) {
  if (ms === null) return DASH;
  const text = clock.format(ms);
  return Math.abs(now - ms) < 12 * 3600_000 ? text : `${day.format(ms)}, ${text}`;
}

/// The last group: the first ones of an id that the service minted are much alike.
export const shortId = (id) => `…${id.slice(-12)}`;

const REASONS = { error: "error", panicked: "panicked", lost: "worker lost", timed_out: "timed out", rejected: "rejected" };
export const reason = (text) => REASONS[text] ?? text;

/// Whether version `a` is newer than `b`: three hexadecimal numbers, the first one counts most.
export function newer(a, b) {
  if (a === b) return false;
  const left = a.split("-"), right = b.split("-");
  for (let part = 0; part < 3; part += 1) {
    const [x, y] = [left[part] ?? "", right[part] ?? ""];
    // Without leading zeros the longer one is the greater one.
    if (x.length !== y.length) return x.length > y.length;
    if (x !== y) return x > y;
  }
  return false;
}

/// Whether two versions of one id are of one task: an id can be used again, and each use has its own first number.
export const sameTask = (a, b) => a.split("-", 1)[0] === b.split("-", 1)[0];
