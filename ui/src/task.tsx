// One task: its result, its live log, its Events, and equivalent commands.
import { useEffect, useRef, useState } from "preact/hooks";
import { Cell, type EventLine, follow, type Place, Problem, query, request, type Row, type Run, type TaskDetail } from "./api";
import { dollars, exact, number, tokens, took } from "./format";
import { Command, State, useNow } from "./parts";

const MAX_LINES = 20_000;

export function Events({ events }: { events: EventLine[] }) {
  if (events.length === 0) return <p class="note">There are no Events. Kubernetes keeps them for an hour.</p>;
  return (
    <ul class="events">
      {events.map((x, i) => (
        <li key={i} class={x.warning ? "warning" : ""}>
          <time title={exact(x.at)} dateTime={x.at ?? ""}>{x.at ? new Date(x.at).toLocaleTimeString() : ""}</time>
          <span><strong>{x.words}</strong>{x.count > 1 && ` (${number(x.count)} times)`}{x.note && `: ${x.note}`} <span class="about">{x.about}</span></span>
        </li>
      ))}
    </ul>
  );
}

/** The log of the newest Pod of a task, followed; the document holds the last MAX_LINES lines. */
function Log({ place, index, container }: { place: Place; index: number; container: string }) {
  const box = useRef<HTMLPreElement>(null);
  const [note, setNote] = useState("Reading …");
  const [lost, setLost] = useState<string | null>(null);
  useEffect(() => {
    const element = box.current!;
    const chunks: { node: HTMLElement; lines: number }[] = [];
    let [total, fresh, begun] = [0, true, false];
    element.replaceChildren();
    return follow(`/api/log?${query(place, { index, container })}`, {
      link: (why) => { setLost(why); if (why !== null) fresh = true; },
      message: (message) => {
        if (message.type === "wait" || (message.type === "end" && (message.message || !begun))) setNote(message.message || "The log is empty.");
        else if (message.type === "end") setNote("");
        if (message.type !== "lines") return;
        if (fresh) { element.replaceChildren(); chunks.length = 0; total = 0; fresh = false; }
        begun = true;
        setLost(null);
        setNote("");
        const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 4;
        const node = document.createElement("span");
        node.textContent = `${message.lines!.join("\n")}\n`;
        element.append(node);
        chunks.push({ node, lines: message.lines!.length });
        total += message.lines!.length;
        while (total > MAX_LINES && chunks.length > 1) { const old = chunks.shift()!; old.node.remove(); total -= old.lines; }
        if (atEnd) element.scrollTop = element.scrollHeight;
      },
    });
  }, [place.namespace, place.name, index, container]);
  return (
    <>
      <pre class="log" ref={box} tabIndex={0} role="log" aria-label={`Log of the container ${container}`} />
      {(lost ?? note) && <p class="note">{lost ?? note}</p>}
    </>
  );
}

const HIDDEN = new Set(["summary", "pullRequest", "branch", "commits", "usage"]);

function Result({ result }: { result: Record<string, unknown> }) {
  const rest = Object.entries(result).filter(([key]) => !HIDDEN.has(key));
  return (
    <>
      {typeof result.summary === "string" && <p class="summary">{result.summary}</p>}
      {rest.length > 0 && <dl>{rest.map(([key, value]) => <><dt>{key}</dt><dd>{typeof value === "string" ? value : JSON.stringify(value)}</dd></>)}</dl>}
    </>
  );
}

export function TaskPanel({ place, run, row, close }: { place: Place; run: Run; row: Row; close?: () => void }) {
  const now = useNow();
  const index = row[Cell.index];
  const [detail, setDetail] = useState<TaskDetail | null>(null);
  const [problem, setProblem] = useState("");
  const [container, setContainer] = useState("agent");
  const panel = useRef<HTMLElement>(null);
  const ended = row[Cell.phase] === "Succeeded" || row[Cell.phase] === "Failed";
  useEffect(() => {
    let current = true;
    const load = () => request<TaskDetail>(`/api/task?${query(place, { index })}`).then(
      (x) => { if (current) { setDetail(x); setProblem(""); } }, (error: Problem) => current && setProblem(error.message));
    void load();
    const timer = ended ? 0 : setInterval(load, 4000);
    return () => { current = false; clearInterval(timer); };
  }, [place.namespace, place.name, run.uid, index, row[Cell.phase], row[Cell.reason]]);
  useEffect(() => { if (close) panel.current?.focus(); }, [index]);
  const usage = row[Cell.inputTokens] + row[Cell.outputTokens] > 0;
  return (
    <aside class="panel" ref={panel} tabIndex={-1} aria-label={`Task ${index}`}>
      <header>
        <h2>{place.kind === "Task" ? place.name : `Task ${index}`} <State phase={row[Cell.phase]} /></h2>
        {close && <button type="button" class="quiet" onClick={close} aria-label="Close the task">✕ <kbd>Esc</kbd></button>}
      </header>
      {row[Cell.target] && <p class="target">{row[Cell.target]}</p>}
      {(detail?.words || row[Cell.reason]) && (
        <p class={row[Cell.phase] === "Failed" ? "problem" : "why"}><strong>{detail ? capital(detail.words) : row[Cell.reason]}</strong>{row[Cell.message] && `: ${row[Cell.message]}`}
          {detail?.todo && <span class="todo">{detail.todo}</span>}</p>
      )}
      {problem && <p class="problem">{problem}</p>}
      <p class="facts">
        {row[Cell.start] && <span>{ended ? "Took" : "Works for"} <strong>{took(row[Cell.start], row[Cell.end], now)}</strong></span>}
        {row[Cell.cost] !== null && <span>Cost <strong>{dollars(row[Cell.cost])}</strong></span>}
        {usage && <span>Tokens <strong>{tokens(row[Cell.inputTokens]) || "0"}</strong> read, <strong>{tokens(row[Cell.outputTokens]) || "0"}</strong> written</span>}
        {row[Cell.attempts] > 1 && <span>Tries <strong>{row[Cell.attempts]}</strong></span>}
        {detail?.pods[0]?.node && <span>Node <strong>{detail.pods[0].node}</strong></span>}
      </p>
      {detail && detail.links.length > 0 && <p class="links">{detail.links.map((x) => <a key={x.url} href={x.url} target="_blank" rel="noopener noreferrer">{x.text}</a>)}</p>}
      {!detail?.links.some((x) => x.text.startsWith("Diff")) && row[Cell.branch] && <p class="note">Branch <code>{row[Cell.branch]}</code></p>}
      {detail && <Result result={detail.result} />}
      <section>
        <h3>Log <span class="tabs" role="group" aria-label="Container">
          {[["agent", "agent"], ["workspace", "preparation"]].map(([name, text]) => <button key={name} type="button" aria-pressed={container === name} onClick={() => setContainer(name!)}>{text}</button>)}</span></h3>
        {detail || problem ? <Log key={detail?.pods[0]?.name} place={place} index={index} container={container} /> : <p class="note">Reading …</p>}
      </section>
      <section><h3>Events</h3>{detail ? <Events events={detail.events} /> : <p class="note">Reading …</p>}</section>
      <section><h3>The same with kubectl</h3><ul class="commands">{(detail?.commands ?? run.commands).map((x) => <li key={x}><Command text={x} /></li>)}</ul></section>
    </aside>
  );
}

export function capital(text: string): string { return text && text[0]!.toUpperCase() + text.slice(1); }
