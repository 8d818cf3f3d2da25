// One run: findings, charts, and all of its tasks.
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type About, Cell, type EventLine, follow, type Finding, type Place, query, type Row, type Run } from "./api";
import { CostOverTime, spanOf, TasksOverTime, Timeline, TokensOverTime } from "./charts";
import { type Action, Confirm } from "./confirm";
import { ago, dollars, exact, formatIndexes, ms, number, parseIndexes, tokens, took } from "./format";
import { goTo, type ViewProps } from "./main";
import { address } from "./overview";
import { Chips, Command, Progress, State, toggled, useNarrow, useNow } from "./parts";
import { type Column, type Sort, SortBy, sorted, Table } from "./table";
import { Events, TaskPanel } from "./task";

interface Live { run: Run | null; rows: Map<number, Row>; events: EventLine[]; gone: string | null; version: number }

function useRun(place: Place, link: ViewProps["link"]): Live {
  const rows = useRef(new Map<number, Row>());
  const [live, setLive] = useState<Omit<Live, "rows">>({ run: null, events: [], gone: null, version: 0 });
  useEffect(() => {
    rows.current.clear();
    setLive({ run: null, events: [], gone: null, version: 0 });
    return follow(`/api/run?${query(place)}`, {
      link: (lost) => link("server", lost),
      message: (message) => {
        if (message.type === "link") link("cluster", message.lost ? message.message ?? "" : null);
        if (message.type === "gone") setLive((old) => ({ ...old, gone: message.message ?? "" }));
        if (message.type !== "run") return;
        if (message.whole) { rows.current.clear(); link("cluster", null); }
        for (const row of message.rows ?? []) rows.current.set(row[Cell.index], row);
        setLive((old) => ({
          run: message.run ?? old.run, events: message.events ?? old.events, gone: null,
          version: old.version + (message.rows?.length || message.whole ? 1 : 0),
        }));
      },
    });
  }, [place.kind, place.namespace, place.name]);
  return { ...live, rows: rows.current };
}

function FindingBox({ finding, show }: { finding: Finding; show: (finding: Finding) => void }) {
  return (
    <li class={`finding ${finding.level}`}>
      <strong>{finding.title}</strong>
      {finding.detail && <span class="said">{finding.detail}</span>}
      {finding.todo && <span class="todo">{finding.todo}</span>}
      <span class="more">
        {finding.indexes && <button type="button" class="quiet" onClick={() => show(finding)}>Show these tasks</button>}
        {finding.command && <Command text={finding.command} />}
      </span>
    </li>
  );
}

const PHASES = ["Failed", "Running", "Started", "Pending", "Succeeded"];

function Tasks({ place, live, narrow, now, open, current, retry, search }: {
  place: Place; live: Live; narrow: boolean; now: number; open: (row: Row) => void; current: number | null; retry: (indexes: string) => void; search: ViewProps["search"];
}) {
  const run = live.run!;
  const [text, setText] = useState("");
  const [phases, setPhases] = useState(new Set<string>());
  const [reason, setReason] = useState("");
  const [only, setOnly] = useState<Set<number> | null>(null);
  const [pulls, setPulls] = useState(false);
  const [sort, setSort] = useState<Sort>({ key: "index", down: false });
  const [chosen, setChosen] = useState(new Set<string>());
  const all = useMemo(() => [...live.rows.values()].sort((a, b) => a[Cell.index] - b[Cell.index]), [live.version]);
  const span = spanOf(run.created, run.end, now);
  const texts = useMemo(() => new Map(all.map((x) => [x[Cell.index], `${x[0]} ${x[1]} ${x[2]} ${x[3]} ${x[4]} ${x[10]} ${x[11]} ${x[12]}`.toLowerCase()])), [all]);
  const reasons = useMemo(() => {
    const found = new Map<string, number>();
    for (const row of all) if (row[Cell.reason]) found.set(row[Cell.reason], (found.get(row[Cell.reason]) ?? 0) + 1);
    return [...found].sort((a, b) => b[1] - a[1]);
  }, [all]);
  const matching = useMemo(() => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return all.filter((x) => (!reason || x[Cell.reason] === reason) && (!only || only.has(x[Cell.index])) && (!pulls || x[Cell.pull]) && words.every((word) => texts.get(x[Cell.index])!.includes(word)));
  }, [all, text, reason, only, pulls]);
  const columns = useMemo<{ wide: Column<Row>[]; shown: Column<Row>[] }>(() => {
    const why = (x: Row) => <span title={x[Cell.message] || x[Cell.summary]}>{x[Cell.reason]}{x[Cell.waiting] && x[Cell.waiting] !== x[Cell.reason] && ` (${x[Cell.waiting]})`}{(x[Cell.message] || x[Cell.summary]) && <span class="said">{x[Cell.message] || x[Cell.summary]}</span>}</span>;
    const pull = (x: Row) => (x[Cell.pull] ? <a href={x[Cell.pull]} target="_blank" rel="noopener noreferrer">{shortPull(x[Cell.pull])}</a> : x[Cell.branch] && <span title={x[Cell.branch]}>{x[Cell.branch]}</span>);
    const timeline = (x: Row) => <Timeline row={x} span={span} now={now} />;
    const card: Column<Row> = { key: "card", title: "Task", width: "1fr", cell: (x) => <><span class="top"><State phase={x[Cell.phase]} /><strong>{x[Cell.index]}</strong> {x[Cell.target]}</span><span class="under">{why(x)} {pull(x)}</span></> };
    const wide: Column<Row>[] = [
      { key: "index", title: "Task", width: "4.2rem", numeric: true, by: (x) => x[Cell.index], cell: (x) => x[Cell.index] },
      { key: "phase", title: "State", width: "7.2rem", by: (x) => PHASES.indexOf(x[Cell.phase]), cell: (x) => <State phase={x[Cell.phase]} /> },
      { key: "target", title: "Repository", width: "minmax(8rem, 1.6fr)", by: (x) => x[Cell.target], cell: (x) => <span title={x[Cell.target]}>{x[Cell.target]}</span> },
      { key: "reason", title: "Reason", width: "minmax(9rem, 2.4fr)", by: (x) => x[Cell.reason], cell: why },
      { key: "timeline", title: "Timeline", width: "minmax(7rem, 1.6fr)", by: (x) => ms(x[Cell.start]), cell: timeline },
      { key: "took", title: "Took", width: "5rem", numeric: true, by: (x) => (ms(x[Cell.start]) === null ? null : (ms(x[Cell.end]) ?? now) - ms(x[Cell.start])!), cell: (x) => took(x[Cell.start], x[Cell.end], now) },
      { key: "cost", title: "Cost", width: "5rem", numeric: true, by: (x) => x[Cell.cost], cell: (x) => <span title={x[Cell.inputTokens] ? `${tokens(x[Cell.inputTokens])} tokens read, ${tokens(x[Cell.outputTokens])} written` : ""}>{dollars(x[Cell.cost])}</span> },
      { key: "pull", title: "Pull request", width: "minmax(6rem, 1fr)", by: (x) => x[Cell.pull] || x[Cell.branch], cell: pull },
    ];
    return { wide, shown: narrow ? [card] : wide };
  }, [narrow, Math.floor(now / 1000), run.end]);
  const items = useMemo(() => sorted(matching.filter((x) => phases.size === 0 || phases.has(x[Cell.phase])), columns.wide, sort), [matching, phases, sort, narrow]);
  const toggle = (item: Row, through?: Row) => {
    const next = toggled(chosen, String(item[Cell.index]));
    if (through) {
      const [a, b] = [items.indexOf(through), items.indexOf(item)].sort((x, y) => x - y);
      for (const row of items.slice(a, b! + 1)) next.add(String(row[Cell.index]));
    }
    setChosen(next);
  };
  const chooseAll = () => setChosen(items.every((x) => chosen.has(String(x[Cell.index]))) ? new Set() : new Set(items.map((x) => String(x[Cell.index]))));
  const show = (finding: Finding) => { setOnly(parseIndexes(finding.indexes)); setPhases(new Set()); setReason(""); setText(""); };
  const filtered = !!(text || phases.size || reason || only || pulls);
  const clear = () => { setText(""); setPhases(new Set()); setReason(""); setOnly(null); setPulls(false); };
  const retryable = place.kind === "BatchRun";
  return (
    <>
      {run.findings.length > 0 && (
        <section class="findings" aria-label={run.end ? "What went wrong" : "Why it is not finished"}>
          <h2>{run.end ? "What went wrong" : "Why it is not finished"}</h2>
          <ul>{run.findings.map((x, i) => <FindingBox key={i} finding={x} show={show} />)}</ul>
        </section>
      )}
      <section class="charts">
        <TasksOverTime rows={all} span={span} />
        <CostOverTime rows={all} span={span} limit={run.maxCost} />
        <TokensOverTime rows={all} span={span} />
      </section>
      <section class="tasks" aria-label="Tasks">
        <div class="tools">
          <input ref={search} type="search" placeholder="Filter: repository, reason, message …  ( / )" aria-label="Filter tasks" value={text} onInput={(e) => setText(e.currentTarget.value)} />
          <select aria-label="Reason" value={reason} onChange={(e) => setReason(e.currentTarget.value)}>
            <option value="">All reasons</option>{reasons.map(([x, count]) => <option key={x} value={x}>{x} ({number(count)})</option>)}</select>
          <Chips label="States" chosen={phases} toggle={(x) => setPhases(toggled(phases, x))}
            values={PHASES.flatMap((x): [string, preact.ComponentChildren, number][] => { const n = matching.filter((row) => row[Cell.phase] === x).length; return n || phases.has(x) ? [[x, <State phase={x} />, n]] : []; })} />
          <button type="button" aria-pressed={pulls} onClick={() => setPulls(!pulls)}>With a pull request</button>
          {only && <button type="button" aria-pressed={true} onClick={() => setOnly(null)}>Tasks {formatIndexes(only).slice(0, 40)} ✕</button>}
          {filtered && <button type="button" class="quiet" onClick={clear}>Clear</button>}
          {narrow && <SortBy columns={columns.wide} sort={sort} setSort={setSort} />}
          <span class="sum">{number(items.length)} of {number(all.length)}</span>
          {chosen.size > 0 && <span class="selection"><strong>{number(chosen.size)} selected</strong>
            {retryable && <button type="button" class="primary" onClick={() => retry(formatIndexes([...chosen].map(Number)))}>Retry selection</button>}
            <button type="button" class="quiet" onClick={() => setChosen(new Set())}>Clear selection</button></span>}
        </div>
        <Table label="Tasks" items={items} columns={columns.shown} id={(x) => String(x[Cell.index])} sort={sort} setSort={setSort} open={open} rowHeight={narrow ? 58 : 36}
          select={retryable ? { chosen, toggle, all: chooseAll } : undefined} current={current === null ? undefined : String(current)} empty={all.length ? "No task matches." : "There are no tasks yet."} />
      </section>
    </>
  );
}

function shortPull(url: string): string { const found = /([^/]+)\/([^/]+)\/(?:-\/)?(?:pull|pulls|merge_requests)\/(\d+)/.exec(url); return found ? `${found[2]}#${found[3]}` : new URL(url).hostname; }

export function RunPage({ place, index, link, about, search }: ViewProps & { place: Place; index: number | null; about: About }) {
  const live = useRun(place, link);
  const now = useNow();
  const narrow = useNarrow();
  const [action, setAction] = useState<Action | null>(null);
  const { run } = live;
  const close = useCallback(() => goTo(address(place)), [place.namespace, place.name]);
  const done = (name: string) => {
    setAction(null);
    if (name !== place.name) goTo(address({ ...place, name }));
  };
  useEffect(() => {
    if (run) document.title = `${run.counts.total > 1 ? `${run.counts.completed + run.counts.failed}/${run.counts.total} ` : ""}${run.name} · KubeTask`;
  }, [run]);
  useEffect(() => {
    const key = (event: KeyboardEvent) => { if (event.key === "Escape" && index !== null && !document.querySelector("dialog[open]")) close(); };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, [index, close]);
  if (live.gone !== null) return <main><p class="empty">{live.gone || `${place.namespace}/${place.name} does not exist. It may have been deleted.`} <a href="#/">All runs</a></p></main>;
  if (!run) return <main><p class="empty">Reading {place.name} …</p></main>;
  const ended = run.phase === "Succeeded" || run.phase === "Failed";
  const row = index === null ? null : live.rows.get(index);
  const single = place.kind === "Task" ? live.rows.get(0) : undefined;
  const failed = run.counts.failed > 0;
  return (
    <main class="run">
      <header class="title">
        <h1><State phase={run.phase} /> {run.name} <span class="where">{run.namespace}{run.batch && ` · ${run.batch}`}</span></h1>
        {!about.readOnly && (
          <div class="actions" role="group" aria-label="Actions">
            {!ended && run.taskLimit !== null && <button type="button" class="primary" onClick={() => setAction({ action: "promote" })}>Promote …</button>}
            {!ended && !run.cancelled && (run.suspended
              ? <button type="button" class="primary" onClick={() => setAction({ action: "resume" })}>Resume …</button>
              : <button type="button" onClick={() => setAction({ action: "suspend" })}>Suspend …</button>)}
            {place.kind === "BatchRun" && failed && <button type="button" onClick={() => setAction({ action: "retry" })}>Retry failed …</button>}
            {!ended && !run.cancelled && <button type="button" class="danger" onClick={() => setAction({ action: "cancel" })}>Cancel …</button>}
          </div>
        )}
      </header>
      <p class="facts">
        {place.kind === "BatchRun" && <span class="big"><Progress counts={run.counts} /> <strong>{number(run.counts.completed + run.counts.failed)}</strong> of {number(run.counts.total)} ended</span>}
        {(["completed", "failed", "running", "pending"] as const).map((key) => run.counts[key] > 0 && place.kind === "BatchRun" && <span key={key}><strong>{number(run.counts[key])}</strong> {{ completed: "succeeded", failed: "failed", running: "running", pending: "waiting" }[key]}</span>)}
        {run.start ? <span title={exact(run.start)}>{ended ? "Took" : "Runs for"} <strong>{took(run.start, run.end, now)}</strong></span> : <span title={exact(run.created)}>Created <strong>{ago(run.created, now)}</strong></span>}
        {(run.spent > 0 || run.maxCost !== null) && <span class="cost">Spent <strong>{dollars(run.spent)}</strong>{!ended && run.projected !== null && <>, projected <strong>{dollars(run.projected)}</strong></>}{run.maxCost !== null && <> of at most <strong>{dollars(run.maxCost)}</strong></>}</span>}
        {run.inputTokens + run.outputTokens > 0 && <span>Tokens <strong>{tokens(run.inputTokens) || "0"}</strong> read, <strong>{tokens(run.outputTokens) || "0"}</strong> written</span>}
        {run.taskLimit !== null && <span>Canary: the first <strong>{number(run.taskLimit)}</strong></span>}
      </p>
      {run.message && run.reason !== "TasksRunning" && !run.findings.some((x) => x.detail.includes(run.message)) && <p class="message">{run.message}</p>}
      {run.refused.map((x) => <p key={x} class="note">Not shown: {x}</p>)}
      {single ? (
        <>
          {run.findings.length > 0 && <section class="findings"><h2>{run.end ? "What went wrong" : "Why it is not finished"}</h2><ul>{run.findings.map((x, i) => <FindingBox key={i} finding={{ ...x, indexes: "" }} show={() => undefined} />)}</ul></section>}
          <TaskPanel place={place} run={run} row={single} />
        </>
      ) : <Tasks place={place} live={live} narrow={narrow} now={now} open={(x) => goTo(`${address(place)}/task/${x[Cell.index]}`)} current={index} retry={(indexes) => setAction({ action: "retry", indexes })} search={search} />}
      <section class="below">
        <div><h2>Events</h2><Events events={live.events} /></div>
        <div>
          <h2>Settings</h2>
          <dl class="settings">{Object.entries({ ...run.settings, ...run.labels }).map(([key, value]) => <><dt>{key}</dt><dd>{String(value)}</dd></>)}</dl>
          <h2>The same with kubectl</h2>
          <ul class="commands">{run.commands.map((x) => <li key={x}><Command text={x} /></li>)}</ul>
        </div>
      </section>
      {row && <TaskPanel key={index} place={place} run={run} row={row} close={close} />}
      {action && <Confirm run={run} place={place} action={action} close={() => setAction(null)} done={done} />}
    </main>
  );
}
