// The live stream: read, parsed, watched, and begun anew whenever it ends. What the events mean is for others.
//
// It is read with fetch() as EventSource can carry no Authorization field.

const FIRST_WAIT = 500; // milliseconds before another try; doubled from try to try
const LONGEST_WAIT = 8000;
const LATE = 3500; // silent for this long, with a sample due each second: what is shown is old
const DEAD = 10000; // silent for this long: this connection is given up
const MOST_PENDING = 32 * 1024 * 1024; // characters without an end of an event: this is no event stream

/** The pairs [name, data] of an event stream, as they become whole; `chunks` gives its octets. */
export async function* events(chunks) {
  const decoder = new TextDecoder();
  let held = ""; // of a line that is not over: what has come is not looked through again and again
  let name = "";
  let data = [];
  for await (const chunk of chunks) {
    held += decoder.decode(chunk, { stream: true });
    if (held.length > MOST_PENDING) throw new Error("The proxy sent no event stream.");
    if (!/[\r\n]/.test(held.slice(-chunk.length - 1))) continue;
    // A lone CR at the end may be half of CR LF.
    const lines = held.split(/\r\n|\n|\r(?!$)/);
    held = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (line === "") {
        if (data.length) yield [name || "message", data.join("\n")];
        name = "";
        data = [];
      } else if (field === "event") name = value;
      else if (field === "data") data.push(value);
    }
  }
}

async function* chunksOf(body, heard) {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Keeps one stream open. `told.event(name, object)` has what it says, `told.link(state)` how it stands. */
export class Stream {
  /**
   * `open(signal)` asks for the stream and gives the Response. States are {kind}: "connecting", "live", "late" (nothing
   * came for some seconds), "lost" with `why` and `again` (milliseconds), and "refused" with `status` and `why`: a 401,
   * after which nothing happens until `retry`.
   */
  constructor(open, told) {
    this.open = open;
    this.told = told;
    this.heardAt = 0;
    this.live = false;
    this.wait = FIRST_WAIT;
    this.abort = new AbortController();
    this.timer = 0;
    setInterval(() => this.watch(), 500);
  }

  /** At once, whatever was going on. */
  retry() {
    this.stop();
    this.abort = new AbortController();
    this.run(this.abort.signal);
  }

  /** Until `retry`. */
  stop() {
    clearTimeout(this.timer);
    this.abort.abort();
    this.live = false;
  }

  /** Milliseconds since the proxy was last heard, Infinity for never. */
  get silent() {
    return this.heardAt ? performance.now() - this.heardAt : Infinity;
  }

  watch() {
    if (!this.live || this.silent < LATE) return;
    if (this.silent < DEAD) this.told.link({ kind: "late" });
    else this.retry(); // also after a computer has slept
  }

  heard() {
    this.heardAt = performance.now();
  }

  async run(signal) {
    this.live = false;
    this.told.link({ kind: "connecting" });
    let why = "The proxy ended the stream.";
    try {
      // An answer that never comes must not hold up the next try.
      const late = setTimeout(() => signal === this.abort.signal && this.retry(), DEAD);
      const response = await this.open(signal).finally(() => clearTimeout(late));
      if (signal.aborted) return;
      if (response.status === 401) return this.told.link({ kind: "refused", status: 401 });
      if (!response.ok) throw new Error(await refusal(response));
      this.heard();
      this.live = true; // from here on somebody watches, also when nothing follows
      for await (const [name, data] of events(chunksOf(response.body, () => this.heard()))) {
        if (signal.aborted) return;
        this.wait = FIRST_WAIT;
        this.told.event(name, JSON.parse(data));
        this.told.link({ kind: "live" });
      }
    } catch (error) {
      // What fetch says of a proxy that is not there differs from browser to browser, and helps nobody
      why = error instanceof TypeError ? "The proxy does not answer." : error.message;
    }
    if (signal.aborted) return;
    this.live = false;
    // Spread, so that all pages do not come back at the same moment
    const again = this.wait * (0.75 + Math.random() / 2);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    this.timer = setTimeout(() => this.retry(), again);
    this.told.link({ kind: "lost", why, again });
  }
}

/** What the proxy says when it does not do what it was asked, in one line. */
export async function refusal(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error || text;
  } catch {
    return text.slice(0, 200) || `The proxy answered ${response.status}.`;
  }
}
