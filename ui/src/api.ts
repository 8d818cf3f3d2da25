// Talks to the local server: the token, requests, and streams that come back after a lost connection.

/** A row of the table of tasks; the order is that of row_cells in views.py. */
export type Row = [
  index: number, phase: string, reason: string, target: string, message: string, start: string | null,
  end: string | null, cost: number | null, inputTokens: number, outputTokens: number, pull: string, branch: string,
  summary: string, attempts: number, prepare: string | null, work: string | null, waiting: string,
];
export const enum Cell {
  index, phase, reason, target, message, start, end, cost, inputTokens, outputTokens, pull, branch, summary,
  attempts, prepare, work, waiting,
}

export interface Counts { total: number; pending: number; running: number; completed: number; failed: number }
export interface Summary {
  kind: "BatchRun" | "Task"; namespace: string; name: string; uid: string; created: string | null; phase: string;
  reason: string; words: string; counts: Counts; start: string | null; end: string | null; spent: number;
  projected: number | null; maxCost: number | null; inputTokens: number; outputTokens: number; batch: string;
  needs: boolean; suspended: boolean; cancelled: boolean; taskLimit: number | null; headline: string; target: string;
}
export interface Finding {
  level: "act" | "wait" | "info"; title: string; detail: string; todo: string; reason: string; indexes: string;
  command: string;
}
export interface Run extends Summary {
  message: string; findings: Finding[]; labels: Record<string, string>; settings: Record<string, unknown>;
  omitted: string[]; commands: string[]; refused: string[];
}
export interface EventLine {
  at: string | null; warning: boolean; reason: string; words: string; note: string; count: number; about: string;
}
export interface TaskDetail {
  index: number; words: string; todo: string; job: string; result: Record<string, unknown>;
  links: { text: string; url: string }[]; attempts: unknown;
  pods: { name: string; node: string; waiting: string; created: string }[]; events: EventLine[]; commands: string[];
}
export interface Plan {
  effects: string[]; command: string; nothing: boolean; refused: string; fields: Record<string, unknown>;
}
export interface About { cluster: string; namespace: string; readOnly: boolean }
export interface Place { kind: "BatchRun" | "Task"; namespace: string; name: string }

/** A message of a stream; `type` determines which fields are set. */
export interface Message {
  type: "runs" | "run" | "gone" | "link" | "ping" | "lines" | "wait" | "end" | "error";
  whole?: boolean; set?: Summary[]; gone?: string[]; refused?: string[]; run?: Run; rows?: Row[];
  events?: EventLine[]; lost?: boolean; message?: string; lines?: string[];
}

const KEY = "kubetask-token";
const SILENT_MS = 40_000; // the server sends a ping every 15 s
const RETRY_MS = [250, 500, 1000, 2000, 4000];

/** Take the token, or exchange the one-time code, from the URL, and remove it from there. */
export async function signIn(): Promise<void> {
  const given = new URLSearchParams(location.hash.slice(1));
  const token = given.get("token");
  const code = given.get("code");
  if (!token && !code) return;
  history.replaceState(null, "", "#/");
  if (token) {
    sessionStorage.setItem(KEY, token);
  } else {
    const answer = await request<{ token: string }>("/api/session", { code });
    sessionStorage.setItem(KEY, answer.token);
  }
}

export class Problem extends Error {
  constructor(message: string, readonly status: number) { super(message); }
}

function headers(): Record<string, string> {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function problem(answer: Response): Promise<Problem> {
  const text = await answer.text();
  try { return new Problem(JSON.parse(text).error ?? text, answer.status); } catch { return new Problem(text, answer.status); }
}

export async function request<T>(path: string, body?: unknown): Promise<T> {
  const options: RequestInit = body === undefined ? { headers: headers() } : {
    method: "POST", headers: { ...headers(), "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let answer: Response;
  try { answer = await fetch(path, options); } catch { throw new Problem("kubectl kubetask ui does not respond. Check that it is still running.", 0); }
  if (!answer.ok) throw await problem(answer);
  return await answer.json() as T;
}

export function query(place: Place, more: Record<string, string | number> = {}): string {
  const all = Object.entries({ ...place, ...more }).map(([key, value]) => [key, String(value)]);
  return new URLSearchParams(all as [string, string][]).toString();
}

export interface Listener {
  message(message: Message): void;
  /** Whether the local server responds; the message explains a failure. */
  link(lost: string | null): void;
}

/** Follow a stream until the returned function is called. A broken stream is reconnected, except after a message of type end. */
export function follow(path: string, listener: Listener): () => void {
  const stopped = new AbortController();
  void (async () => {
    for (let failures = 0; !stopped.signal.aborted;) {
      const attempt = new AbortController();
      const stop = () => attempt.abort();
      stopped.signal.addEventListener("abort", stop);
      let timer = setTimeout(stop, SILENT_MS);
      try {
        const answer = await fetch(path, { headers: headers(), signal: attempt.signal });
        if (!answer.ok) throw await problem(answer);
        for await (const line of lines(answer)) {
          clearTimeout(timer);
          timer = setTimeout(stop, SILENT_MS);
          const message = JSON.parse(line) as Message;
          if (failures || message.whole) listener.link(null);
          failures = 0;
          listener.message(message);
          if (message.type === "end") return;
          if (message.type === "error") throw new Problem(message.message ?? "", 502);
        }
        throw new Problem("The connection to kubectl kubetask ui was closed.", 0);
      } catch (error) {
        if (stopped.signal.aborted) return;
        const known = error instanceof Problem;
        listener.link(known ? error.message : "kubectl kubetask ui does not respond. Check that it is still running.");
        if (known && (error.status === 401 || error.status === 403)) return;
      } finally {
        clearTimeout(timer);
        stopped.signal.removeEventListener("abort", stop);
      }
      await pause(RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]!, stopped.signal);
    }
  })();
  return () => stopped.abort();
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

async function* lines(answer: Response): AsyncGenerator<string> {
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest: string[] = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = value.split("\n");
    rest.push(parts[0]!);
    for (let i = 1; i < parts.length; i++) {
      const line = rest.join("");
      if (line) yield line;
      rest = [parts[i]!];
    }
  }
}
