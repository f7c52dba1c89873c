/**
 * The manager's stream, parsed and gathered: what a SharedWorker holds for all tabs, or a tab for itself.
 *
 * @typedef {{id: string, known: boolean, name: string, phase: string, since: number, stuck: boolean, sentence: string}} Standing
 * @typedef {{index: number, target: {name: string, node: string|null}, step: string, final: boolean, phase: string|null,
 *   stages: {phase: string, time: number}[], started: number, finished: number, reason: string, remedy: string}} Report
 * @typedef {{id: string, action: string, who: string, created: number, finished: number, final: boolean, at_most: number,
 *   cancelled_by: string, counts: Object<string, number>, reports: Report[]}} Operation
 * @typedef {{id: number, time: number, kind: string, node: string|null, text: string, fields: Object}} RackEvent
 * @typedef {{state: string, again: boolean, nodes: Standing[], operations: Operation[], events: RackEvent[]}} Batch
 */

const ADDRESS = "/api/v1/events/stream?nodes=1";
const GATHER_MS = 200;
/** The manager sends a beat every 15 s: who hears nothing for so long is not connected, whatever the socket says. */
const SILENCE_MS = 40_000;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;
const MOST_EVENTS = 500;

export class Feed {
  /** @param {(batch: Batch) => void} deliver takes what has changed, at most five times a second */
  constructor(deliver) {
    this._deliver = deliver;
    this._nodes = new Map();
    this._operations = new Map();
    this._state = "waiting";
    this._pause = FIRST_PAUSE_MS;
    this._opened = 0;
    this._source = null;
    this._timers = {};
    this._pending = nothing();
  }

  /** Begin, or begin again. */
  open() {
    this.close();
    const source = new EventSource(ADDRESS);
    this._source = source;
    const on = (kind, take) => source.addEventListener(kind, (message) => {
      this._heard();
      take(JSON.parse(message.data));
    });
    // The manager has a message of this name, too: it is told after the connection is there.
    source.addEventListener("open", (event) => { if (!(event instanceof MessageEvent)) this._begin(); });
    on("beat", () => {});
    on("nodes", (data) => data.nodes.forEach((node) => this._node(node)));
    on("operation", (data) => this._operation(data));
    on("event", (data) => this._event(data));
    source.onerror = () => this._fail();
    this._heard();
  }

  /** End. */
  close() {
    this._source?.close();
    this._source = null;
    Object.values(this._timers).forEach(clearTimeout);
    this._timers = {};
  }

  /** End for everybody: whoever opens it next has missed nothing. */
  forget() {
    this.close();
    this._opened = 0;
    this._state = "waiting";
  }

  /** All that is known, for a tab that comes later. @returns {Batch} */
  whole() {
    return { state: this._state, again: false, nodes: [...this._nodes.values()],
      operations: [...this._operations.values()], events: [] };
  }

  _begin() {
    this._opened += 1;
    this._pause = FIRST_PAUSE_MS;
    this._nodes.clear();
    this._operations.clear();
    this._pending = { ...nothing(), again: this._opened > 1 };
    this._say("live");
  }

  _fail() {
    this.close();
    this._say(this._pause > 4 * FIRST_PAUSE_MS ? "lost" : "waiting");
    this._timers.again = setTimeout(() => this.open(), this._pause * (0.75 + Math.random() / 2));
    this._pause = Math.min(2 * this._pause, LONGEST_PAUSE_MS);
  }

  _heard() {
    clearTimeout(this._timers.silence);
    this._timers.silence = setTimeout(() => this._fail(), SILENCE_MS);
  }

  _node(node) {
    this._nodes.set(node.id, node);
    this._pending.nodes.set(node.id, node);
    this._gather();
  }

  /** An operation comes with the reports that changed; they are put in their places. */
  _operation(told) {
    const reports = [...(this._operations.get(told.id)?.reports ?? [])];
    told.reports.forEach((report) => { reports[report.index] = report; });
    const whole = { ...told, reports };
    this._operations.set(told.id, whole);
    this._pending.operations.set(told.id, whole);
    this._gather();
  }

  _event(event) {
    this._pending.events.push(event);
    if (this._pending.events.length > MOST_EVENTS) this._pending.events.shift();
    this._gather();
  }

  _say(state) {
    this._state = state;
    this._gather();
  }

  _gather() {
    this._timers.gather ??= setTimeout(() => this._flush(), GATHER_MS);
  }

  _flush() {
    delete this._timers.gather;
    const { again, nodes, operations, events } = this._pending;
    this._pending = nothing();
    this._deliver({ state: this._state, again, nodes: [...nodes.values()], operations: [...operations.values()], events });
    this._operations.forEach((each, id) => { if (each.final) this._operations.delete(id); });
  }
}

function nothing() {
  return { again: false, nodes: new Map(), operations: new Map(), events: [] };
}
