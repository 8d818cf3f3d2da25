// Times, durations, money and counts as people read them.

export function ms(time: string | null | undefined): number | null {
  if (!time) return null;
  const at = Date.parse(time);
  return Number.isNaN(at) ? null : at;
}

/** The two largest units, as kubectl writes them: 45s, 4m12s, 2h5m, 3d4h. */
export function duration(milliseconds: number | null): string {
  if (milliseconds === null) return "";
  const s = Math.max(Math.floor(milliseconds / 1000), 0);
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${s % 60}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h${Math.floor(s / 60) % 60}m`;
  return `${Math.floor(s / 86400)}d${Math.floor(s / 3600) % 24}h`;
}

export function took(start: string | null, end: string | null, now: number): string {
  const from = ms(start);
  return from === null ? "" : duration((ms(end) ?? now) - from);
}

export function ago(time: string | null, now: number): string {
  const at = ms(time);
  return at === null ? "" : `${duration(now - at)} ago`;
}

export function dollars(amount: number | null | undefined): string {
  if (amount === null || amount === undefined) return "";
  return amount > 0 && amount < 0.01 ? `$${amount.toFixed(4)}` : `$${amount.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
export function tokens(count: number): string { return count ? compact.format(count) : ""; }
export function number(count: number): string { return count.toLocaleString("en"); }

export function clock(at: number, span: number): string {
  const long = span > 86_400_000;
  return new Date(at).toLocaleString(undefined, long
    ? { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" }
    : { hour: "2-digit", minute: "2-digit", second: span < 600_000 ? "2-digit" : undefined });
}

export function exact(time: string | null): string {
  const at = ms(time);
  return at === null ? "" : new Date(at).toLocaleString();
}

/** The set that a text such as "3,7-9" names. */
export function parseIndexes(text: string): Set<number> {
  const found = new Set<number>();
  for (const part of text.split(",")) {
    const [low, high] = part.split("-").map(Number);
    if (part && low !== undefined) for (let i = low; i <= (high ?? low); i++) found.add(i);
  }
  return found;
}

/** Ascending, neighbours joined by a dash. */
export function formatIndexes(indexes: Iterable<number>): string {
  const ranges: [number, number][] = [];
  for (const index of [...indexes].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last && index === last[1] + 1) last[1] = index;
    else ranges.push([index, index]);
  }
  return ranges.map(([low, high]) => (low === high ? `${low}` : `${low}-${high}`)).join(",");
}
