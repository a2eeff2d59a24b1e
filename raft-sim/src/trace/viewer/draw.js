// Drawing on canvases: the overview, the lanes with messages, the logs. Nothing here keeps state.

const LABEL_WIDTH = 34;
const CELL_WIDTH = 24;

/** Fits a canvas to its place on the page, for this screen; returns what is needed to draw on it. */
function prepared(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.clearRect(0, 0, width, height);
  context.textBaseline = "middle";
  return { context, width, height };
}

/** The colours of the theme. */
function themeColours() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

/** A hue for each term: terms that follow each other differ most. */
const hueOf = (term) => (term * 137.5 + 200) % 360;

function bodyColour(body, colour) {
  if (body.includes("vote")) return colour("vote");
  if (body === "append_entries") return colour("append");
  if (body === "append_entries_response") return colour("response");
  if (body.startsWith("forward")) return colour("forward");
  return colour("other");
}

function hatch(context, x, y, width, height, style) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = style;
  context.lineWidth = 1;
  context.beginPath();
  for (let at = x - (x % 7) - height - 7; at < x + width; at += 7) {
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
  }
  context.stroke();
  context.restore();
}

/** A step between marks on an axis of time that leaves room for their labels. */
function niceStep(span, count) {
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

function drawAxis(context, from, to, x, y, width, colour) {
  const step = niceStep(to - from, Math.max(2, width / 110));
  const digits = Math.max(0, Math.min(6, Math.ceil(9 - Math.log10(step))));
  context.fillStyle = colour("dim");
  context.strokeStyle = colour("line");
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
    const place = x + ((at - from) / (to - from)) * width;
    if (place < x + 22 || place > x + width - 22) continue;
    context.fillText(`${secondsText(at, digits)} s`, place, y);
  }
}

/** The whole trace: how much happened, faults, who led, and where the cursor is. */
function drawOverview(canvas, model, view) {
  const { context, width, height } = prepared(canvas);
  const colour = themeColours();
  const [from, to] = [model.trace.from_nanos, Math.max(model.trace.to_nanos, model.trace.from_nanos + 1)];
  const place = (at) => LABEL_WIDTH + 26 + ((at - from) / (to - from)) * (width - LABEL_WIDTH - 40);
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "right";
  context.fillStyle = colour("dim");
  for (const [text, y] of [["leader", 12], ["faults", 36]]) context.fillText(text, LABEL_WIDTH + 20, y);
  drawLeaders(context, model, place, colour, to);
  drawFaultBars(context, model, place, colour, width);
  const last = { x: place(from), width: place(to) - place(from) };
  drawAxis(context, from, to, last.x, height - 9, last.width, colour);
  context.fillStyle = colour("accent");
  context.globalAlpha = 0.16;
  const [left, right] = [place(Math.max(from, view.from)), place(Math.min(to, view.to))];
  context.fillRect(left, 0, Math.max(right - left, 2), height);
  context.globalAlpha = 1;
  context.fillRect(place(view.time) - 1, 0, 2, height);
  if (model.trace.violation) {
    const x = place(Math.min(model.trace.violation.at_nanos, to));
    context.fillStyle = colour("bad");
    context.fillRect(x - 1, 0, 2.5, height - 18);
    context.beginPath();
    context.moveTo(x - 6, 0);
    context.lineTo(x + 7, 0);
    context.lineTo(x + 0.5, 9);
    context.fill();
  }
}

function drawLeaders(context, model, place, colour, to) {
  model.elections.forEach((event, index) => {
    const x = place(event.at);
    const end = place(model.elections[index + 1]?.at ?? to);
    const hue = hueOf(event.term ?? 0);
    context.fillStyle = `hsl(${hue} 60% ${colour("cell-light")})`;
    context.fillRect(x, 4, Math.max(end - x, 2), 16);
    context.fillStyle = `hsl(${hue} 60% 45%)`;
    context.fillRect(x, 2, 2, 20);
    if (end - x > 20) {
      context.fillStyle = colour("cell-text");
      context.textAlign = "left";
      context.fillText(end - x > 60 ? `n${event.node}, term ${event.term}` : `n${event.node}`, x + 5, 12.5);
    }
  });
}

function drawFaultBars(context, model, place, colour, width) {
  const rows = [0, 0, 0, 0, 0];
  for (const fault of model.faults) {
    const [x, end] = [place(fault.at), place(fault.until || fault.at)];
    let row = rows.findIndex((busy) => busy <= x);
    if (row < 0) row = 4;
    rows[row] = Math.max(end, x + 3);
    context.fillStyle = colour("warn");
    context.globalAlpha = fault.isVoid ? 0.25 : 0.85;
    context.fillRect(x, 25 + row * 5, Math.min(Math.max(end - x, 3), width - x), 4);
  }
  context.globalAlpha = 1;
}

/** Where the lane of a node is. */
function laneBox(row, height, count) {
  const room = (height - 26) / count;
  return { top: 4 + row * room, height: room, bar: Math.min(22, room * 0.5) };
}

/** Nodes as lanes over a short time, with messages as arrows between them. Returns what can be pointed at. */
function drawLanes(canvas, model, view) {
  const { context, width, height } = prepared(canvas);
  const colour = themeColours();
  const span = view.to - view.from;
  const place = (at) => LABEL_WIDTH + ((at - view.from) / span) * (width - LABEL_WIDTH - 6);
  const count = model.nodeIds.length;
  const rowOf = new Map(model.nodeIds.map((id, row) => [id, row]));
  const middle = (id) => {
    const box = laneBox(rowOf.get(id), height, count);
    return box.top + box.height / 2;
  };
  for (const id of model.nodeIds) drawLane(context, model, view, id, laneBox(rowOf.get(id), height, count), place, colour);
  drawAxis(context, view.from, view.to, LABEL_WIDTH, height - 10, width - LABEL_WIDTH - 6, colour);
  context.save();
  context.beginPath();
  context.rect(LABEL_WIDTH, 0, width - LABEL_WIDTH, height);
  context.clip();
  const arrows = drawMessages(context, model, view, rowOf, middle, place, colour);
  for (const id of model.nodeIds) labelLane(context, model, view, id, laneBox(rowOf.get(id), height, count), place, colour);
  drawDots(context, model, view, rowOf, middle, place, colour);
  drawCursor(context, model, view, place, height, colour);
  context.restore();
  return arrows;
}

function drawLane(context, model, view, id, box, place, colour) {
  const y = box.top + (box.height - box.bar) / 2;
  context.font = "bold 12px system-ui, sans-serif";
  context.textAlign = "left";
  context.fillStyle = colour("text");
  context.fillText(`n${id}`, 8, box.top + box.height / 2);
  const segments = model.segments[id] ?? [];
  context.save();
  context.beginPath();
  context.rect(LABEL_WIDTH, box.top, place(view.to) - LABEL_WIDTH, box.height);
  context.clip();
  context.font = "11px system-ui, sans-serif";
  segments.forEach((segment, index) => {
    const end = segments[index + 1]?.at ?? model.trace.to_nanos;
    if (end < view.from || segment.at > view.to) return;
    const x = Math.max(place(segment.at), LABEL_WIDTH);
    drawSegment(context, segment, x, y, Math.max(place(end) - x, 1), box.bar, colour);
  });
  for (const fault of model.faults) {
    if (fault.isVoid || !fault.until || fault.until < view.from || fault.at > view.to || !fault.nodes.includes(id)) continue;
    const x = Math.max(place(fault.at), LABEL_WIDTH);
    // Whoever is paused looks as if nothing were wrong, and does nothing.
    if (fault.fault === "pause") hatch(context, x, y, place(fault.until) - x, box.bar, colour("warn"));
    context.fillStyle = colour("warn");
    context.fillRect(x, y + box.bar, place(fault.until) - x, 2.5);
    if (box.height - box.bar > 21) {
      context.font = "10px system-ui, sans-serif";
      context.fillText(fault.fault, x + 3, y + box.bar + 9);
    }
  }
  context.restore();
}

function drawSegment(context, segment, x, y, width, height, colour) {
  const { up, role, term, suspect } = segment;
  if (!up) {
    context.fillStyle = colour("down");
    context.fillRect(x, y, width, height);
    hatch(context, x, y, width, height, colour("line"));
    return;
  }
  const hue = hueOf(term ?? 0);
  context.fillStyle = role === "leader" ? `hsl(${hue} 65% ${colour("cell-light")})` : `hsl(${hue} 35% ${colour("lane-light")})`;
  context.fillRect(x, y, width, height);
  if (role === "leader") {
    context.fillStyle = `hsl(${hue} 65% 45%)`;
    context.fillRect(x, y, width, 3);
  }
  if (role?.includes("candidate")) hatch(context, x, y, width, height, colour("vote"));
  if (suspect) {
    context.strokeStyle = colour("bad");
    context.setLineDash([4, 3]);
    context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
    context.setLineDash([]);
  }
}

/** What a lane is, over the arrows that cross it. */
function labelLane(context, model, view, id, box, place, colour) {
  const segments = model.segments[id] ?? [];
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "left";
  context.lineWidth = 3;
  context.strokeStyle = colour("back");
  context.fillStyle = colour("text");
  segments.forEach((segment, index) => {
    const end = segments[index + 1]?.at ?? model.trace.to_nanos;
    if (end < view.from || segment.at > view.to) return;
    const { up, role, term, suspect } = segment;
    const state = role === "follower" ? "" : ` ${role}`;
    const text = up ? `term ${term}${state}${suspect ? ", suspect" : ""}` : "down";
    const x = Math.max(place(segment.at), LABEL_WIDTH) + 10;
    if (place(end) - x < context.measureText(text).width + 2) return;
    const y = box.top + (box.height - box.bar) / 2 - 6;
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  });
}

function label(context, text, x, y, width, height, style) {
  if (context.measureText(text).width + 8 > width) return;
  context.fillStyle = style;
  context.textAlign = "left";
  context.fillText(text, x + 4, y + height / 2 + 1);
}

function drawMessages(context, model, view, rowOf, middle, place, colour) {
  const arrows = [];
  const isUnderView = (message) => message.at >= view.from && message.at <= view.to;
  const isDense = model.sent.filter(isUnderView).length > 600;
  for (const message of model.sent) {
    if (message.at > view.to) break;
    if (!rowOf.has(message.from) || !rowOf.has(message.to) || !view.isShown(message)) continue;
    const ends = message.ends.length ? message.ends : [{ at: null, isLost: false }];
    for (const end of ends) {
      const at = end.at ?? view.to;
      if (at < view.from) continue;
      const arrow = {
        message,
        end,
        x1: place(message.at),
        y1: middle(message.from),
        x2: place(at),
        y2: middle(message.to),
      };
      // What is lost on the way is drawn as if it had got half way.
      if (end.isLost && at === message.at) {
        arrow.x2 = arrow.x1 + 10;
        arrow.y2 = arrow.y1 + (arrow.y2 - arrow.y1) * 0.4;
      }
      drawArrow(context, arrow, view, isDense, colour);
      arrows.push(arrow);
    }
  }
  return arrows;
}

function drawArrow(context, arrow, view, isDense, colour) {
  const { message, end, x1, y1, x2, y2 } = arrow;
  const isUnderWay = message.at <= view.time && (end.at === null || end.at > view.time);
  const isHeartbeat = message.text.includes("no entry") || message.body === "append_entries_response";
  context.strokeStyle = end.isLost ? colour("bad") : bodyColour(message.body, colour);
  context.fillStyle = context.strokeStyle;
  context.globalAlpha = isUnderWay ? 1 : isDense ? 0.15 : isHeartbeat ? 0.4 : 0.7;
  context.lineWidth = isUnderWay ? 2.2 : 1;
  context.setLineDash(end.isLost ? [4, 3] : []);
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
  context.setLineDash([]);
  if (end.isLost) {
    context.beginPath();
    for (const slope of [1, -1]) {
      context.moveTo(x2 - 3.5, y2 - 3.5 * slope);
      context.lineTo(x2 + 3.5, y2 + 3.5 * slope);
    }
    context.stroke();
  } else if (!isDense && end.at !== null) {
    const angle = Math.atan2(y2 - y1, x2 - x1);
    context.beginPath();
    context.moveTo(x2, y2);
    for (const turn of [2.75, -2.75]) context.lineTo(x2 + 7 * Math.cos(angle + turn), y2 + 7 * Math.sin(angle + turn));
    context.fill();
  }
  context.globalAlpha = 1;
}

/** Starts, stops, damage and snapshots, as signs on the lanes. */
function drawDots(context, model, view, rowOf, middle, place, colour) {
  const signs = {
    started: ["▲", "good"],
    stopped: ["■", "bad"],
    damaged: ["✖", "bad"],
    snapshot_created: ["◆", "other"],
    snapshot_restored: ["◇", "other"],
    suspected: ["?", "bad"],
    trusted: ["✔", "good"],
  };
  context.font = "bold 13px system-ui, sans-serif";
  context.textAlign = "center";
  for (let index = Math.max(0, model.indexAt(view.from)); index < model.events.length; index++) {
    const event = model.events[index];
    if (event.at > view.to) break;
    const sign = signs[event.kind];
    if (!sign || !rowOf.has(event.node)) continue;
    context.lineWidth = 3;
    context.strokeStyle = colour("back");
    context.fillStyle = colour(sign[1]);
    context.strokeText(sign[0], place(event.at), middle(event.node));
    context.fillText(sign[0], place(event.at), middle(event.node));
  }
}

function drawCursor(context, model, view, place, height, colour) {
  context.fillStyle = colour("text");
  context.fillRect(place(view.time) - 0.75, 0, 1.5, height - 18);
  const { violation } = model.trace;
  if (violation && violation.at_nanos >= view.from && violation.at_nanos <= view.to) {
    const x = place(violation.at_nanos);
    context.fillStyle = colour("bad");
    context.fillRect(x - 1.5, 0, 3, height - 18);
    context.font = "bold 12px system-ui, sans-serif";
    const text = `${violation.invariant} violated`;
    const isRight = x > context.canvas.clientWidth - 110;
    context.textAlign = isRight ? "right" : "left";
    context.lineWidth = 4;
    context.strokeStyle = colour("back");
    context.strokeText(text, x + (isRight ? -7 : 7), 9);
    context.fillText(text, x + (isRight ? -7 : 7), 9);
  }
}

/** One log: a cell for each entry of the shown range, in the colour of its term. */
function drawLog(canvas, node, first) {
  const { context, width } = prepared(canvas);
  const colour = themeColours();
  const { log, standing, disk } = node;
  const count = Math.floor(width / CELL_WIDTH);
  const [top, height] = [1, 22];
  const purged = Math.min(log.purged[0] - first + 1, count) * CELL_WIDTH;
  if (purged > 0) {
    hatch(context, 0, top, purged - 2, height, colour("line"));
    label(context, `snapshot ${position(node.snapshot)}`, 0, top, purged, height, colour("dim"));
  }
  context.textAlign = "center";
  for (let index = Math.max(first, log.purged[0] + 1); index < first + count; index++) {
    const entry = entryAt(log, index);
    if (!entry) break;
    const x = (index - first) * CELL_WIDTH;
    const isDurable = index <= disk[0];
    context.fillStyle = `hsl(${hueOf(entry.term)} 60% ${colour("cell-light")})`;
    context.fillRect(x, top, CELL_WIDTH - 2, height);
    if (!isDurable) {
      context.strokeStyle = colour("warn");
      context.lineWidth = 1.5;
      context.setLineDash([3, 2]);
      context.strokeRect(x + 1, top + 1, CELL_WIDTH - 4, height - 2);
      context.setLineDash([]);
    }
    context.fillStyle = colour("cell-text");
    context.font = "10px system-ui, sans-serif";
    context.fillText(entry.term, x + CELL_WIDTH / 2 - 1, top + 7);
    context.font = "10px ui-monospace, monospace";
    context.fillText(entry.kind === "c" ? "·" : entry.kind, x + CELL_WIDTH / 2 - 1, top + 16);
    if (index <= (standing.commit ?? 0)) {
      context.fillStyle = colour(index <= (standing.applied ?? 0) ? "good" : "good-pale");
      context.fillRect(x, top + height + 1, CELL_WIDTH - 2, 4);
    }
  }
  const last = logLast(log)[0];
  const isEmpty = last === 0 || (purged > 0 && log.runs.length === 0);
  if (last === 0) label(context, "empty", 0, top, width, height, colour("dim"));
  else if (last < first && !isEmpty) label(context, `◂ ends at ${position(logLast(log))}`, 0, top, width, height, colour("dim"));
  drawIndexes(context, first, count, colour);
}

function drawIndexes(context, first, count, colour) {
  context.fillStyle = colour("dim");
  context.font = "9px system-ui, sans-serif";
  context.textAlign = "center";
  for (let index = first; index < first + count; index++) {
    if (index % 5 === 0) context.fillText(index, (index - first) * CELL_WIDTH + CELL_WIDTH / 2 - 1, 35);
  }
}
