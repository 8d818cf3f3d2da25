// The frame of the page: authenticates, shows the view of the URL, and shows lost connections.
import { render } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { RefObject } from "preact";
import { type About, type Place, Problem, request, signIn } from "./api";
import { Overview } from "./overview";
import { RunPage } from "./run";

export interface ViewProps {
  /** Says whether the local server, or the cluster behind it, answers; null for yes, else why not. */
  link: (side: "server" | "cluster", lost: string | null) => void;
  search: RefObject<HTMLInputElement | null>;
}

export function goTo(address: string): void { location.hash = address; }

function parse(hash: string): { place: Place; index: number | null } | null {
  const found = /^#\/(run|task)\/([^/]+)\/([^/]+)(?:\/task\/(\d+))?$/.exec(hash);
  if (!found) return null;
  try {
    const place: Place = { kind: found[1] === "task" ? "Task" : "BatchRun", namespace: decodeURIComponent(found[2]!), name: decodeURIComponent(found[3]!) };
    return { place, index: found[4] ? Number(found[4]) : null };
  } catch { return null; }
}

const THEMES = ["auto", "light", "dark"];

function Theme() {
  const [theme, setTheme] = useState(localStorage.getItem("kubetask-theme") ?? "auto");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("kubetask-theme", theme);
  }, [theme]);
  return <button type="button" class="quiet" onClick={() => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % 3]!)} aria-label={`Colours: ${theme}`}>◑ {theme}</button>;
}

function Page({ about }: { about: About }) {
  const [hash, setHash] = useState(location.hash);
  const [lost, setLost] = useState<{ server: string | null; cluster: string | null }>({ server: null, cluster: null });
  const search = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const change = () => setHash(location.hash);
    const key = (event: KeyboardEvent) => {
      if (event.key === "/" && !(event.target as Element).closest("input, textarea, select, dialog")) { event.preventDefault(); search.current?.focus(); }
    };
    addEventListener("hashchange", change);
    addEventListener("keydown", key);
    change(); // the address may have changed between the first picture and now
    return () => { removeEventListener("hashchange", change); removeEventListener("keydown", key); };
  }, []);
  const link = useCallback((side: "server" | "cluster", why: string | null) => setLost((old) => (old[side] === why ? old : { ...old, [side]: why })), []);
  const route = parse(hash);
  const why = lost.server ?? lost.cluster;
  const place = route?.place;
  return (
    <>
      <header class="topbar">
        <a class="home" href="#/"><img src="/icon.svg" alt="" width={22} height={22} /> KubeTask</a>
        {place && <nav aria-label="Breadcrumb"><a href="#/">All runs</a> <span aria-hidden="true">›</span> <span>{place.namespace}</span> <span aria-hidden="true">›</span> <a href={`#/${place.kind === "Task" ? "task" : "run"}/${encodeURIComponent(place.namespace)}/${encodeURIComponent(place.name)}`}>{place.name}</a></nav>}
        <span class="space" />
        {about.readOnly && <span class="tag">read-only</span>}
        <span class="cluster" title="The API server">{about.cluster}</span>
        <span class={`live ${why === null ? "on" : "off"}`} role="status">{why === null ? "live" : "not live"}</span>
        <Theme />
      </header>
      {why !== null && <p class="lost" role="alert"><strong>{lost.server !== null ? "No connection to kubectl kubetask ui." : "No connection to the cluster."}</strong> The data may be outdated. The page retries the connection. <span class="said">{why}</span></p>}
      {place ? <RunPage key={`${place.kind}/${place.namespace}/${place.name}`} place={place} index={route.index} link={link} about={about} search={search} /> : <Overview link={link} search={search} />}
    </>
  );
}

async function start(): Promise<void> {
  const root = document.getElementById("app")!;
  try {
    await signIn();
    render(<Page about={await request<About>("/api/about")} />, root);
  } catch (error) {
    render(<main class="locked"><h1>KubeTask</h1><p class="problem" role="alert">{(error as Problem).message}</p></main>, root);
  }
}

void start();
addEventListener("hashchange", () => { if (/^#(token|code)=/.test(location.hash)) location.reload(); });
