// Small parts that every view uses.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Counts } from "./api";
import { number } from "./format";

const SIGNS: Record<string, string> = { Pending: "○", Running: "◐", Started: "◐", Succeeded: "✓", Failed: "✕" };

/** A state as text, symbol and colour, because not all readers can distinguish colours. */
export function State({ phase, children }: { phase: string; children?: ComponentChildren }) {
  return <span class={`state ${phase || "None"}`}><span class="sign" aria-hidden="true">{SIGNS[phase] ?? "?"}</span>{children ?? (phase || "New")}</span>;
}

const PARTS: [keyof Counts, string, string][] = [
  ["completed", "Succeeded", "succeeded"], ["failed", "Failed", "failed"], ["running", "Running", "running"], ["pending", "Pending", "waiting"],
];

export function Progress({ counts }: { counts: Counts }) {
  const label = PARTS.filter(([key]) => counts[key]).map(([key, , word]) => `${number(counts[key])} ${word}`).join(", ");
  return (
    <span class="progress" role="img" aria-label={label || "no tasks yet"} title={label}>
      {PARTS.map(([key, phase]) => counts[key] > 0 && <span key={key} class={`bar ${phase}`} style={{ flexGrow: counts[key] }} />)}
    </span>
  );
}

export function Command({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = () => void navigator.clipboard.writeText(text).then(() => {
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  });
  return <span class="command"><code>{text}</code><button type="button" class="quiet" onClick={copy} aria-label={`Copy ${text}`}>{copied ? "Copied" : "Copy"}</button></span>;
}

/** The time, once a second while it is shown. */
export function useNow(every = 1000): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

export function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(() => matchMedia("(max-width: 820px)").matches);
  useEffect(() => {
    const media = matchMedia("(max-width: 820px)");
    const change = () => setNarrow(media.matches);
    media.addEventListener("change", change);
    return () => media.removeEventListener("change", change);
  }, []);
  return narrow;
}

/** Buttons of which each switches one value on and off. */
export function Chips({ label, values, chosen, toggle }: {
  label: string; values: [value: string, text: ComponentChildren, count: number][]; chosen: Set<string>; toggle: (value: string) => void;
}) {
  return (
    <div class="chips" role="group" aria-label={label}>
      {values.map(([value, text, count]) => (
        <button key={value} type="button" aria-pressed={chosen.has(value)} onClick={() => toggle(value)}>{text} <span class="count">{number(count)}</span></button>
      ))}
    </div>
  );
}

export function toggled(set: Set<string>, value: string): Set<string> {
  const next = new Set(set);
  if (!next.delete(value)) next.add(value);
  return next;
}
