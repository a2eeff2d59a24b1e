// The trace as data: the state at any event, and what is looked for again and again. Nothing here knows the page.

const NODE_KINDS = {
  message: ["sent", "received", "lost", "snapshot_sent"],
  replica: ["role", "status", "suspected", "trusted", "change_completed", "transfer_done"],
  log: ["written", "durable", "compacted", "snapshot_created", "snapshot_restored", "applied"],
  process: ["started", "stopped", "damaged"],
  client: ["called", "attempted", "read_served", "returned"],
  fault: ["fault_begun", "fault_ended", "phase"],
};
const GROUP_OF_KIND = {};
for (const [group, kinds] of Object.entries(NODE_KINDS)) for (const kind of kinds) GROUP_OF_KIND[kind] = group;

/** Keeps every so many events the whole state, so that going anywhere is fast. */
const CHECKPOINT_EVERY = 3000;

function copyState(state) {
  return JSON.parse(JSON.stringify(state));
}

function logLast(log) {
  const run = log.runs[log.runs.length - 1];
  return run ? [run.first + run.kinds.length - 1, run.term] : log.purged;
}

/** Drops every entry at or above the first of `runs`, then appends them. */
function logAppend(log, runs) {
  if (!runs || runs.length === 0) return;
  const first = runs[0].first;
  while (log.runs.length && log.runs[log.runs.length - 1].first >= first) log.runs.pop();
  const kept = log.runs[log.runs.length - 1];
  if (kept) kept.kinds = kept.kinds.slice(0, first - kept.first);
  for (const run of runs) {
    const last = log.runs[log.runs.length - 1];
    if (last && last.term === run.term) last.kinds += run.kinds;
    else log.runs.push({ ...run });
  }
}

function logCompact(log, through) {
  if (through[0] <= log.purged[0]) return;
  log.purged = through;
  log.runs = log.runs.filter((run) => run.first + run.kinds.length - 1 > through[0]);
  const run = log.runs[0];
  if (run && run.first <= through[0]) {
    run.kinds = run.kinds.slice(through[0] + 1 - run.first);
    run.first = through[0] + 1;
  }
}

/** The term and the kind of the entry at an index; null if the log has none there. */
function entryAt(log, index) {
  for (const run of log.runs) {
    if (index >= run.first && index < run.first + run.kinds.length) {
      return { term: run.term, kind: run.kinds[index - run.first] };
    }
  }
  return null;
}

function newNode() {
  return { up: false, standing: {}, log: { purged: [0, 0], runs: [] }, snapshot: [0, 0], disk: [0, 0] };
}

/** Changes a state by one event, exactly as `GroupState::apply` does. */
function applyEvent(state, event) {
  for (const [number, fault] of Object.entries(state.faults)) {
    if (fault.until <= event.at) delete state.faults[number];
  }
  switch (event.kind) {
    case "sent":
      state.messages[event.number] = event;
      return;
    case "received":
    case "lost":
      delete state.messages[event.message];
      return;
    case "fault_begun":
      if (event.until > event.at) {
        const { fault, text, nodes, until } = event;
        state.faults[event.number] = { fault, text, nodes, since: event.at, until };
      }
      return;
    case "fault_ended":
      delete state.faults[event.number];
      return;
    case "phase":
      state.phase = event.phase;
      state.faults = {};
      return;
  }
  if (event.node) applyToNode((state.nodes[event.node] ??= newNode()), event);
}

function applyToNode(node, event) {
  switch (event.kind) {
    case "started":
    case "stopped":
    case "damaged":
      if (event.kind !== "damaged") node.up = event.kind === "started";
      node.log = copyState(event.log);
      node.snapshot = event.snapshot;
      node.disk = logLast(node.log);
      if (event.kind === "started") node.standing = { ...event.standing };
      break;
    case "written":
      node.snapshot = event.snapshot ?? node.snapshot;
      if (event.reset) node.log = { purged: node.snapshot, runs: [] };
      logAppend(node.log, event.entries);
      break;
    case "durable":
      node.disk = event.last;
      break;
    case "compacted":
      logCompact(node.log, event.through);
      break;
    case "role":
    case "status":
      Object.assign(node.standing, event.standing);
      break;
    case "suspected":
      node.standing.suspect = true;
      break;
    case "trusted":
      node.standing.suspect = false;
      break;
  }
}

/** Everything that is computed once from a trace. */
class Model {
  constructor(trace) {
    if (trace.format !== "raft-sim trace" || trace.version !== 1) throw new Error("not a trace of version 1");
    this.trace = trace;
    this.events = trace.events;
    this.checkpoints = [];
    this.messages = new Map();
    this.faults = [];
    this.elections = [];
    this.segments = {};
    this.nodeIds = [];
    this.read();
    this.cached = { index: -2, state: null };
  }

  /** One pass over all events. */
  read() {
    const from = this.trace.from_nanos;
    const state = copyState(this.trace.start);
    for (const message of Object.values(state.messages)) this.addMessage({ ...message, at: from }, true);
    for (const fault of Object.values(state.faults)) this.faults.push({ ...fault, at: fault.since, index: -1 });
    for (const id of Object.keys(state.nodes)) this.look(state, Number(id), from);
    this.events.forEach((event, index) => {
      if (index % CHECKPOINT_EVERY === 0) this.checkpoints.push(copyState(state));
      event.index = index;
      applyEvent(state, event);
      this.note(event);
      if (event.kind === "role" && event.standing.role === "leader") {
        this.elections.push({ at: event.at, index, node: event.node, term: state.nodes[event.node].standing.term });
      }
      if (event.node) this.look(state, event.node, event.at);
    });
    this.nodeIds = Object.keys(state.nodes).map(Number).sort((a, b) => a - b);
    for (const fault of this.faults) fault.until = Math.min(fault.until ?? 0, this.trace.to_nanos);
    this.sent = [...this.messages.values()].sort((a, b) => a.at - b.at);
  }

  addMessage(event, isEarlier) {
    const { number, from, to, term, body, text, at } = event;
    this.messages.set(number, { number, from, to, term, body, text: text ?? "", at, isEarlier, ends: [] });
  }

  note(event) {
    if (event.kind === "sent") this.addMessage(event, false);
    if (event.kind === "received" || event.kind === "lost") {
      const message = this.messages.get(event.message);
      if (message) message.ends.push({ at: event.at, isLost: event.kind === "lost" });
    }
    if (event.kind === "fault_begun") this.faults.push({ ...event, isVoid: false });
    if (event.kind === "fault_ended") {
      const fault = this.faults.findLast((fault) => fault.number === event.number);
      if (fault) {
        fault.isVoid = Boolean(event.void);
        fault.until = Math.min(fault.until || event.at, event.at);
      }
    }
    if (event.kind === "phase") {
      for (const fault of this.faults) if (fault.until > event.at) fault.until = event.at;
    }
  }

  /** Notes how a lane looks from now on, if that changed. */
  look(state, id, at) {
    const node = state.nodes[id];
    if (!node) return;
    const { role, term, suspect } = node.standing;
    const segments = (this.segments[id] ??= []);
    const last = segments[segments.length - 1];
    if (last && last.up === node.up && last.role === role && last.term === term && last.suspect === suspect) return;
    segments.push({ at, up: node.up, role, term, suspect });
  }

  /** The state after an event; before the first one for -1. It is not to be changed. */
  stateAt(index) {
    const cached = this.cached;
    if (cached.index === index) return cached.state;
    if (index < 0) return this.trace.start;
    const checkpoint = Math.floor(index / CHECKPOINT_EVERY);
    const isNear = cached.index >= checkpoint * CHECKPOINT_EVERY - 1 && cached.index < index && cached.state;
    const state = isNear ? cached.state : copyState(this.checkpoints[checkpoint]);
    const next = isNear ? cached.index + 1 : checkpoint * CHECKPOINT_EVERY;
    for (let i = next; i <= index; i++) applyEvent(state, this.events[i]);
    this.cached = { index, state };
    return state;
  }

  /** The last event at or before a time; -1 if there is none. */
  indexAt(time) {
    let [low, high] = [0, this.events.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.events[middle].at <= time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

const position = (id) => `${id[0]}@${id[1]}`;

function runsText(runs) {
  const text = (run) =>
    run.kinds.length === 1 ? position([run.first, run.term]) : `${run.first}–${run.first + run.kinds.length - 1}@${run.term}`;
  return runs.map(text).join(", ");
}

function standingText(standing) {
  return Object.entries(standing)
    .map(([name, value]) => `${name} ${value === 0 && (name === "leader" || name === "vote") ? "none" : value}`)
    .join(", ");
}

/** What an event says, for people. */
function eventText(event, model) {
  const message = (number) => {
    const sent = model.messages.get(number);
    return sent ? `${sent.body.replaceAll("_", " ")} of term ${sent.term} from n${sent.from}: ${sent.text}` : `message ${number}`;
  };
  switch (event.kind) {
    case "sent":
      return `${event.body.replaceAll("_", " ")} of term ${event.term} to n${event.to}: ${event.text ?? ""}`;
    case "received":
    case "lost":
      return message(event.message);
    case "started":
      return `${event.suspicious ? "something may be missing; " : ""}log ends at ${position(logLast(event.log))}; ${standingText(event.standing)}`;
    case "stopped":
      return `the disk holds up to ${position(logLast(event.log))}`;
    case "damaged":
      return `${event.text}; the disk holds up to ${position(logLast(event.log))}`;
    case "written":
      return [
        event.reset ? "the log begins anew" : "",
        event.snapshot ? `snapshot ${position(event.snapshot)}` : "",
        event.entries ? `entries ${runsText(event.entries)}` : "",
      ]
        .filter(Boolean)
        .join(", ");
    case "durable":
      return `${position(event.last)}, term ${event.term}${event.vote ? `, vote for n${event.vote}` : ""}`;
    case "compacted":
      return `through ${position(event.through)}`;
    case "snapshot_sent":
      return `${position(event.last)} to n${event.to}`;
    case "snapshot_created":
    case "snapshot_restored":
    case "applied":
      return `${position(event.last)}${event.state ? `, state ${event.state}` : ""}`;
    case "role":
      return `${standingText(event.standing).replace(/^role /, "")}: ${event.reason}`;
    case "status":
      return standingText(event.standing);
    case "suspected":
      return event.reason;
    case "called":
    case "returned":
      return `call ${event.call}: ${event.text}`;
    case "attempted":
      return `call ${event.call}`;
    case "read_served":
      return `call ${event.call} from ${event.index}`;
    case "change_completed":
      return `at ${event.index}: ${event.members}`;
    case "transfer_done":
      return `term ${event.term}`;
    case "fault_begun":
      return `${event.fault} of ${event.nodes.map((node) => `n${node}`).join(", ")}: ${event.text}`;
    case "fault_ended":
      return `fault ${event.number}${event.void ? ": had no effect" : ""}`;
    case "phase":
      return event.phase.replaceAll("_", " ");
  }
  return "";
}

/** Seconds, cut off and not rounded, as the simulator writes them. */
function secondsText(nanos, digits = 6) {
  return (Math.floor(nanos / 10 ** (9 - digits) + 1e-6) / 10 ** digits).toFixed(digits);
}
