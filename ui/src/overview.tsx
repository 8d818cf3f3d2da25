// All runs and Tasks that the user can list.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { follow, type Summary } from "./api";
import { ago, dollars, ms, number, tokens, took } from "./format";
import { Chips, Progress, State, toggled, useNarrow, useNow } from "./parts";
import { type Column, type Sort, SortBy, sorted, Table } from "./table";
import { goTo, type ViewProps } from "./main";

const PHASES = ["Running", "Pending", "Failed", "Succeeded"];

/** The runs, live; by uid. */
function useRuns(link: ViewProps["link"]): { runs: Map<string, Summary>; loaded: boolean; refused: string[]; version: number } {
  const runs = useRef(new Map<string, Summary>());
  const [state, setState] = useState({ loaded: false, refused: [] as string[], version: 0 });
  useEffect(() => follow("/api/runs", {
    link: (lost) => link("server", lost),
    message: (message) => {
      if (message.type === "link") link("cluster", message.lost ? message.message ?? "" : null);
      if (message.type !== "runs") return;
      if (message.whole) { runs.current.clear(); link("cluster", null); }
      for (const run of message.set ?? []) runs.current.set(run.uid, run);
      for (const uid of message.gone ?? []) runs.current.delete(uid);
      setState((old) => ({ loaded: true, refused: message.refused ?? [], version: old.version + 1 }));
    },
  }), []);
  return { runs: runs.current, ...state };
}

export function Overview({ link, search }: ViewProps) {
  const { runs, loaded, refused, version } = useRuns(link);
  const now = useNow();
  const narrow = useNarrow();
  const [text, setText] = useState("");
  const [phases, setPhases] = useState(new Set<string>());
  const [namespace, setNamespace] = useState("");
  const [sort, setSort] = useState<Sort>({ key: "created", down: true });
  useEffect(() => { document.title = "KubeTask"; }, []);
  const all = useMemo(() => [...runs.values()], [version]);
  const namespaces = useMemo(() => [...new Set(all.map((x) => x.namespace))].sort(), [all]);
  const here = useMemo(() => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return all.filter((x) => (!namespace || x.namespace === namespace) && words.every((word) =>
      `${x.namespace}/${x.name} ${x.phase} ${x.reason} ${x.headline} ${x.batch} ${x.target}`.toLowerCase().includes(word)));
  }, [all, text, namespace]);
  const columns = useMemo<{ wide: Column<Summary>[]; shown: Column<Summary>[] }>(() => {
    const name: Column<Summary> = { key: "name", title: "Run", width: "minmax(10rem, 2fr)", by: (x) => x.name, cell: (x) => <><a href={address(x)}>{x.name}</a>{x.kind === "Task" && <span class="tag">Task</span>}</> };
    const why: Column<Summary> = { key: "why", title: "What happens", width: "minmax(10rem, 4fr)", by: (x) => x.reason, cell: (x) => <span title={x.headline}>{x.headline || x.words}</span> };
    const progress: Column<Summary> = { key: "done", title: "Progress", width: "minmax(7rem, 1.4fr)", by: (x) => (x.counts.completed + x.counts.failed) / (x.counts.total || 1), numeric: true,
      cell: (x) => <span class="done"><Progress counts={x.counts} /> {number(x.counts.completed + x.counts.failed)}/{number(x.counts.total)}</span> };
    const state: Column<Summary> = { key: "phase", title: "State", width: "7.2rem", by: (x) => PHASES.indexOf(x.phase), cell: (x) => <State phase={x.phase} /> };
    const wide = [
      state, name,
      ...(namespaces.length > 1 ? [{ key: "namespace", title: "Namespace", width: "minmax(6rem, 1fr)", by: (x: Summary) => x.namespace, cell: (x: Summary) => x.namespace }] : []),
      progress, why,
      { key: "cost", title: "Cost", width: "6rem", numeric: true, by: (x) => x.spent || null, cell: (x) => <span title={x.inputTokens ? `${tokens(x.inputTokens)} tokens read, ${tokens(x.outputTokens)} written` : ""}>{x.spent ? dollars(x.spent) : ""}</span> },
      { key: "created", title: "Created", width: "7.500rem", numeric: true, by: (x) => ms(x.created), cell: (x) => ago(x.created, now) },
      { key: "took", title: "Took", width: "5.500rem", numeric: true, by: (x) => (ms(x.start) === null ? null : (ms(x.end) ?? now) - ms(x.start)!), cell: (x) => took(x.start, x.end, now) },
    ] satisfies Column<Summary>[];
    const card: Column<Summary> = { key: "card", title: "Run", width: "1fr", cell: (x) => <><span class="top"><State phase={x.phase} />{name.cell(x)}</span><span class="under">{progress.cell(x)} {why.cell(x)}</span></> };
    return { wide, shown: narrow ? [card] : wide };
  }, [narrow, namespaces.length > 1, Math.floor(now / 1000)]);
  const count = (phase: string) => here.filter((x) => x.phase === phase).length;
  const attention = here.filter((x) => x.needs).length;
  const chosen = (x: Summary) => phases.size === 0 || phases.has(x.phase || "Pending") || (phases.has("Needs") && x.needs);
  const items = useMemo(() => sorted(here.filter(chosen), columns.wide, sort), [here, phases, sort]);
  const spent = items.reduce((sum, x) => sum + x.spent, 0);
  return (
    <main class="overview">
      <div class="tools">
        <input ref={search} type="search" placeholder="Filter: name, reason, repository …  ( / )" aria-label="Filter runs" value={text} onInput={(e) => setText(e.currentTarget.value)} />
        {namespaces.length > 1 && <select aria-label="Namespace" value={namespace} onChange={(e) => setNamespace(e.currentTarget.value)}>
          <option value="">All namespaces</option>{namespaces.map((x) => <option key={x}>{x}</option>)}</select>}
        <Chips label="States" chosen={phases} toggle={(x) => setPhases(toggled(phases, x))}
          values={[["Needs", "Needs action", attention], ...PHASES.map((x): [string, preact.ComponentChildren, number] => [x, <State phase={x} />, count(x)])]} />
        {narrow && <SortBy columns={columns.wide} sort={sort} setSort={setSort} />}
        <span class="sum">{number(items.length)} shown{spent > 0 && `, ${dollars(spent)}`}</span>
      </div>
      {refused.map((x) => <p key={x} class="note">Not shown: {x}</p>)}
      {loaded ? <Table label="Runs" items={items} columns={columns.shown} id={(x) => x.uid} sort={sort} setSort={setSort} rowHeight={narrow ? 62 : 36}
        open={(x) => goTo(address(x))} empty={all.length ? "No run matches." : "There are no runs yet. Start one with kubectl kubetask run."} />
        : <p class="empty">Reading the runs …</p>}
    </main>
  );
}

export function address(x: { kind: string; namespace: string; name: string }): string {
  return `#/${x.kind === "Task" ? "task" : "run"}/${encodeURIComponent(x.namespace)}/${encodeURIComponent(x.name)}`;
}
