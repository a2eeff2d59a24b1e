// The page: the cursor, the keys, the list of events. What is drawn follows from `cursor` and nothing else.

const byId = (id) => document.getElementById(id);
const model = new Model(JSON.parse(byId("trace").textContent));
const { trace, events } = model;
const LIST_ROWS = 120;

const cursor = { index: -1, time: trace.from_nanos, span: firstSpan(), logShift: 0 };
const shown = { groups: new Set(Object.keys(NODE_KINDS)), nodes: new Set(model.nodeIds), text: "" };
let filtered = [];
let arrows = [];
let playing = null;
let isDue = false;

/** A good beginning: two election timeouts, or less if there would be too many messages to tell them apart. */
function firstSpan() {
  const end = trace.violation?.at_nanos ?? trace.from_nanos + 2e9;
  const before = model.sent.filter((message) => message.at <= end);
  const busy = before.length > 60 ? (end - before[before.length - 60].at) * 2 : Infinity;
  return Math.max(Math.min(trace.plan.settings.election_timeout_ms * 2e6, busy), 1e6);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// ---- the cursor ----

function goToIndex(index) {
  cursor.index = Math.max(-1, Math.min(events.length - 1, index));
  cursor.time = cursor.index < 0 ? trace.from_nanos : events[cursor.index].at;
  cursor.logShift = 0;
  redraw();
}

function goToTime(time) {
  cursor.time = Math.max(trace.from_nanos, Math.min(trace.to_nanos, time));
  cursor.index = model.indexAt(cursor.time);
  redraw();
}

function goToViolation() {
  if (!trace.violation) return;
  goToTime(trace.violation.at_nanos);
}

/** The time that is shown around the cursor. */
function view() {
  // The end of a trace is worth more than what never happened after it.
  const late = Math.min(cursor.time - cursor.span * 0.5, trace.to_nanos - cursor.span * 0.93);
  const from = Math.max(late, trace.from_nanos - cursor.span * 0.02);
  return { from, to: from + cursor.span, time: cursor.time, isShown: isMessageShown };
}

function zoom(factor) {
  const whole = Math.max(trace.to_nanos - trace.from_nanos, 2e6);
  cursor.span = Math.max(1e5, Math.min(whole * 1.1, cursor.span * factor));
  redraw();
}

/** Goes to the next or previous of some events; those have an index in the trace. */
function goAmong(some, isForward) {
  const indexes = some.map((event) => event.index).filter((index) => index >= 0);
  const next = isForward ? indexes.find((index) => index > cursor.index) : indexes.findLast((index) => index < cursor.index);
  if (next !== undefined) goToIndex(next);
}

function stepEvent(isForward) {
  const next = isForward ? filtered.find((index) => index > cursor.index) : filtered.findLast((index) => index < cursor.index);
  if (next !== undefined) goToIndex(next);
}

function play() {
  if (playing !== null) {
    cancelAnimationFrame(playing);
    playing = null;
  } else {
    let before = performance.now();
    const tick = (now) => {
      // What is shown passes in four seconds.
      goToTime(cursor.time + ((now - before) / 4000) * cursor.span);
      before = now;
      playing = cursor.time < trace.to_nanos ? requestAnimationFrame(tick) : null;
      if (playing === null) byId("play").textContent = "play";
    };
    playing = requestAnimationFrame(tick);
  }
  byId("play").textContent = playing === null ? "play" : "pause";
}

// ---- drawing ----

function redraw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    drawAll();
  });
}

function drawAll() {
  const now = view();
  const state = model.stateAt(cursor.index);
  drawOverview(byId("overview"), model, now);
  const lanes = byId("lanes");
  lanes.style.height = `${Math.max(3, model.nodeIds.length) * laneHeight() + 26}px`;
  arrows = drawLanes(lanes, model, now);
  byId("window-text").textContent =
    `${secondsText(now.from, 3)} s to ${secondsText(now.to, 3)} s; the cursor is at ${secondsText(cursor.time)} s`;
  drawLogs(state);
  drawActiveFaults(state);
  drawList();
}

/** Few nodes have more room each. */
function laneHeight() {
  return model.nodeIds.length <= 3 ? 70 : model.nodeIds.length <= 5 ? 52 : 42;
}

function drawLogs(state) {
  const place = byId("logs");
  while (place.children.length < model.nodeIds.length) {
    const row = element("div", "row");
    row.append(element("div", "card"), element("canvas"));
    place.append(row);
  }
  const lasts = Object.values(state.nodes).map((node) => logLast(node.log)[0]);
  const count = Math.floor(place.children[0].children[1].clientWidth / CELL_WIDTH);
  const first = Math.max(1, Math.max(1, ...lasts) - count + 2 + cursor.logShift);
  byId("logs-text").textContent = `entries from ${first}; the state after the event at the cursor, phase ${(state.phase || "safety").replaceAll("_", " ")}`;
  const changed = cursor.index >= 0 ? events[cursor.index] : null;
  model.nodeIds.forEach((id, row) => {
    const node = state.nodes[id] ?? newNode();
    const line = place.children[row];
    line.classList.toggle("down", !node.up);
    drawCard(line.children[0], id, node, state, changed?.node === id ? changed.standing ?? {} : {});
    drawLog(line.children[1], node, first);
  });
}

function drawCard(card, id, node, state, changed) {
  const { standing } = node;
  const head = element("div");
  head.append(element("span", "name", `n${id}`));
  if (node.up) head.append(element("span", `tag ${standing.role}`, standing.role));
  else head.append(element("span", "tag bad", "down"));
  if (standing.suspect) head.append(element("span", "tag bad", "suspect"));
  for (const fault of Object.values(state.faults)) {
    if (fault.nodes.includes(id)) head.append(element("span", "tag warn", fault.fault === "pause" ? "paused" : fault.fault));
  }
  const marks = element("div", "marks");
  const add = (place, name, value, key) => {
    place.append(`${name} `, element("b", key in changed ? "changed" : "", value), " ");
  };
  const one = (node) => (node ? `n${node}` : "–");
  add(marks, "term", standing.term ?? "–", "term");
  add(marks, "leader", one(standing.leader), "leader");
  add(marks, "vote", one(standing.vote), "vote");
  add(marks, "last", position(logLast(node.log)), "last");
  const more = element("div", "marks");
  add(more, "commit", standing.commit ?? "–", "commit");
  add(more, "applied", standing.applied ?? "–", "applied");
  add(more, "durable", standing.durable ?? "–", "durable");
  add(more, "of", standing.members ?? "–", "members");
  card.title = `members ${standing.members ?? "not known"}; the disk holds up to ${position(node.disk)}`;
  card.replaceChildren(head, marks, more);
}

function drawActiveFaults(state) {
  const lines = Object.values(state.faults).map((fault) => {
    const nodes = fault.nodes.map((node) => `n${node}`).join(", ");
    return element("div", "", `${fault.fault} of ${nodes}: ${fault.text}, until ${secondsText(fault.until, 3)} s`);
  });
  byId("faults").replaceChildren(...(lines.length ? lines : [element("div", "none", "none that lasts")]));
}

// ---- the list of events ----

function isMessageShown(message) {
  return shown.groups.has("message") && (shown.nodes.has(message.from) || shown.nodes.has(message.to));
}

function filter() {
  const text = shown.text.toLowerCase();
  const isShown = (event) =>
    shown.groups.has(GROUP_OF_KIND[event.kind] ?? "client") &&
    (!event.node || shown.nodes.has(event.node)) &&
    (!text || `${event.kind.replaceAll("_", " ")} ${eventText(event, model)}`.toLowerCase().includes(text));
  filtered = events.filter(isShown).map((event) => event.index);
  byId("count-text").textContent = `${filtered.length} of ${events.length}`;
  redraw();
}

/** The first place in the filtered list whose event is after the cursor. */
function placeInList() {
  let [low, high] = [0, filtered.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (filtered[middle] <= cursor.index) low = middle + 1;
    else high = middle;
  }
  return low;
}

function drawList() {
  const place = placeInList();
  const begin = Math.max(0, place - LIST_ROWS / 2);
  const rows = filtered.slice(begin, begin + LIST_ROWS).map((index) => eventRow(events[index]));
  const isAtEnd = begin + LIST_ROWS >= filtered.length;
  if (isAtEnd && trace.violation) rows.push(violationRow());
  const list = byId("events");
  list.replaceChildren(...rows);
  const current = rows[place - begin - 1];
  if (current) list.scrollTop = current.offsetTop - list.offsetTop - list.clientHeight / 2 + 10;
}

function eventRow(event) {
  const row = element("div", "event");
  if (event.index === cursor.index) row.classList.add("now");
  if (event.index > cursor.index) row.classList.add("later");
  const what = element("span", "what");
  what.append(element("b", GROUP_OF_KIND[event.kind], event.kind.replaceAll("_", " ")), ` ${eventText(event, model)}`);
  row.append(element("span", "at", secondsText(event.at)), element("span", "", event.node ? `n${event.node}` : ""), what);
  row.onclick = () => goToIndex(event.index);
  return row;
}

function violationRow() {
  const { violation } = trace;
  const row = element("div", "event violated");
  const what = element("span", "what");
  what.append(element("b", "", `${violation.invariant} violated`), ` ${violation.seen}`);
  row.append(element("span", "at", secondsText(violation.at_nanos)), element("span"), what);
  row.onclick = goToViolation;
  return row;
}

function makeFilters() {
  const place = byId("filters");
  const toggle = (text, set, item, title) => {
    const button = element("button", "", text);
    button.title = title;
    button.onclick = () => {
      if (!set.delete(item)) set.add(item);
      button.classList.toggle("off", !set.has(item));
      filter();
    };
    place.append(button);
  };
  for (const id of model.nodeIds) toggle(`n${id}`, shown.nodes, id, `events of node ${id} (${id})`);
  for (const group of Object.keys(NODE_KINDS)) toggle(group, shown.groups, group, NODE_KINDS[group].join(", ").replaceAll("_", " "));
  const search = element("input");
  search.id = "search";
  search.placeholder = "search (/)";
  search.oninput = () => {
    shown.text = search.value;
    filter();
  };
  place.append(search);
}

// ---- keys and the mouse ----

function drag(canvas, act) {
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    act(event, true);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) act(event, false);
  });
}

function overviewGoes(event) {
  const width = byId("overview").clientWidth - LABEL_WIDTH - 40;
  goToTime(trace.from_nanos + ((event.offsetX - LABEL_WIDTH - 26) / width) * (trace.to_nanos - trace.from_nanos));
}

const grabbed = { x: 0, time: 0, moved: false };

function lanesGo(event, isFirst) {
  if (isFirst) Object.assign(grabbed, { x: event.offsetX, time: cursor.time, moved: false });
  const pixels = byId("lanes").clientWidth - LABEL_WIDTH - 6;
  if (Math.abs(event.offsetX - grabbed.x) > 3) grabbed.moved = true;
  if (grabbed.moved) goToTime(grabbed.time - ((event.offsetX - grabbed.x) / pixels) * cursor.span);
}

function lanesClicked(event) {
  if (grabbed.moved) return;
  const near = arrowAt(event.offsetX, event.offsetY);
  const now = view();
  const pixels = byId("lanes").clientWidth - LABEL_WIDTH - 6;
  goToTime(near ? near.message.at : now.from + ((event.offsetX - LABEL_WIDTH) / pixels) * cursor.span);
}

/** The arrow next to a point, if one is near. */
function arrowAt(x, y) {
  let [best, distance] = [null, 6];
  for (const arrow of arrows) {
    const [dx, dy] = [arrow.x2 - arrow.x1, arrow.y2 - arrow.y1];
    const along = ((x - arrow.x1) * dx + (y - arrow.y1) * dy) / (dx * dx + dy * dy || 1);
    const at = Math.max(0, Math.min(1, along));
    const away = Math.hypot(arrow.x1 + at * dx - x, arrow.y1 + at * dy - y);
    if (away < distance) [best, distance] = [arrow, away];
  }
  return best;
}

function showTip(event) {
  const near = event.buttons ? null : arrowAt(event.offsetX, event.offsetY);
  const tip = byId("tip");
  tip.hidden = !near;
  if (!near) return;
  const { message, end } = near;
  const fate =
    end.at === null ? "still under way" : `${end.isLost ? "lost" : "arrives"} after ${((end.at - message.at) / 1e6).toFixed(3)} ms`;
  tip.textContent = `n${message.from} → n${message.to}: ${message.body.replaceAll("_", " ")} of term ${message.term}. ${message.text} (${fate})`;
  tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - 440)}px`;
  tip.style.top = `${event.clientY + 14}px`;
}

const KEYS = {
  ArrowLeft: () => stepEvent(false),
  ArrowRight: () => stepEvent(true),
  Home: () => goToIndex(-1),
  End: () => goToTime(trace.to_nanos),
  " ": play,
  f: () => goAmong(model.faults, true),
  F: () => goAmong(model.faults, false),
  e: () => goAmong(model.elections, true),
  E: () => goAmong(model.elections, false),
  v: goToViolation,
  "+": () => zoom(0.5),
  "=": () => zoom(0.5),
  "-": () => zoom(2),
  "[": () => shiftLogs(-10),
  "]": () => shiftLogs(10),
  "/": () => byId("search").focus(),
  d: () => changeTheme(),
  "?": () => byId("help").showModal(),
};

function shiftLogs(entries) {
  cursor.logShift = Math.min(0, cursor.logShift + entries);
  redraw();
}

function keyPressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  if (event.target === byId("search")) {
    if (event.key === "Escape" || event.key === "Enter") byId("search").blur();
    return;
  }
  const node = Number(event.key);
  if (event.shiftKey && event.key.startsWith("Arrow")) {
    goToTime(cursor.time + (event.key === "ArrowRight" ? 0.25 : -0.25) * cursor.span);
  } else if (node >= 1 && model.nodeIds.includes(node)) {
    byId("filters").children[model.nodeIds.indexOf(node)].click();
  } else if (KEYS[event.key]) {
    KEYS[event.key]();
  } else {
    return;
  }
  event.preventDefault();
}

function changeTheme() {
  document.documentElement.classList.toggle("dark");
  redraw();
}

// ---- the beginning ----

function makeHeadline() {
  const place = byId("headline");
  const { plan, violation } = trace;
  place.append(element("b", "", `seed ${trace.seed}`));
  const kept = `${secondsText(trace.from_nanos, 1)} s to ${secondsText(trace.to_nanos, 1)} s`;
  for (const text of [`${plan.voters} voters`, `${plan.faults.length} faults`, kept, `election timeout ${plan.settings.election_timeout_ms} ms`]) {
    place.append(element("span", "", text));
  }
  byId("to-violation").hidden = !violation;
  if (!violation) return;
  const box = byId("violation");
  box.hidden = false;
  box.append(element("b", "", `${violation.invariant} is violated at ${secondsText(violation.at_nanos)} s`), violation.statement);
  box.append(element("div", "seen", `seen: ${violation.seen}`));
  box.onclick = goToViolation;
}

function makeLegend() {
  const place = byId("legend");
  const colour = (style, text) => {
    const sample = element("i");
    sample.style.cssText = style;
    place.append(sample, text);
  };
  colour("background: var(--append)", "append entries");
  colour("background: var(--response)", "its response");
  colour("background: var(--vote)", "votes and pre-votes");
  colour("background: var(--forward)", "forwarded requests");
  colour("background: var(--other)", "others");
  colour("background: var(--bad)", "lost");
  place.append(element("br"), "Entries have the colour of their term; n no-op, · command, m configuration, s session.");
  colour("background: var(--good)", "applied");
  colour("background: var(--good-pale)", "committed");
  colour("border: 1.5px dashed var(--warn)", "not on the disk yet");
}

function begin() {
  if (window.matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.classList.add("dark");
  makeHeadline();
  makeFilters();
  makeLegend();
  drag(byId("overview"), overviewGoes);
  drag(byId("lanes"), lanesGo);
  byId("lanes").addEventListener("click", lanesClicked);
  byId("lanes").addEventListener("pointermove", showTip);
  byId("lanes").addEventListener("pointerleave", () => (byId("tip").hidden = true));
  byId("lanes").addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8);
    },
    { passive: false },
  );
  byId("to-violation").onclick = goToViolation;
  byId("play").onclick = play;
  byId("zoom-in").onclick = () => zoom(0.5);
  byId("zoom-out").onclick = () => zoom(2);
  byId("theme").onclick = changeTheme;
  byId("help-button").onclick = () => byId("help").showModal();
  // A button that was clicked must not take the keys.
  document.addEventListener("click", (event) => event.target.closest("button")?.blur());
  document.addEventListener("keydown", keyPressed);
  window.addEventListener("resize", redraw);
  filter();
  if (trace.violation) goToViolation();
  else goToIndex(-1);
}

begin();
