// Charts as SVG: the number of tasks by state over time, and their cost.
import { Cell, type Row } from "./api";
import { clock, dollars, ms, number, tokens } from "./format";

const BUCKETS = 160;
const W = 440, H = 120, LEFT = 44, BOTTOM = 16, TOP = 6;

export interface Span { from: number; to: number }

/** The time that a run covers. */
export function spanOf(created: string | null, end: string | null, now: number): Span {
  const from = ms(created) ?? now;
  return { from, to: Math.max(ms(end) ?? now, from + 1000) };
}

const BANDS = ["Succeeded", "Failed", "Working", "Preparing", "Waiting"] as const;

/** The number of tasks by band and bucket; `unknown` counts tasks without times. */
export function history(rows: Iterable<Row>, span: Span): { bands: Float64Array[]; total: number; unknown: number } {
  const bands = BANDS.map(() => new Float64Array(BUCKETS + 1));
  const at = (time: number) => Math.min(Math.max(Math.ceil((time - span.from) / (span.to - span.from) * BUCKETS), 0), BUCKETS);
  const add = (band: number, from: number, to: number) => { bands[band]![from]! += 1; if (to <= BUCKETS) bands[band]![to]! -= 1; };
  let total = 0, unknown = 0;
  for (const row of rows) {
    total++;
    const [phase, end] = [row[Cell.phase], ms(row[Cell.end])];
    const work = ms(row[Cell.work]) ?? ms(row[Cell.start]);
    const prepare = ms(row[Cell.prepare]) ?? work;
    const ended = phase === "Succeeded" || phase === "Failed";
    if ((ended && end === null) || (phase === "Running" && work === null && prepare === null)) { unknown++; continue; }
    const stop = ended ? at(end!) : BUCKETS + 1;
    const begin = prepare === null ? stop : Math.min(at(prepare), stop);
    const start = work === null ? stop : Math.min(Math.max(at(work), begin), stop);
    if (begin > 0) add(4, 0, begin);
    if (start > begin) add(3, begin, start);
    if (stop > start) add(2, start, stop);
    if (ended) add(phase === "Succeeded" ? 0 : 1, stop, BUCKETS + 1);
  }
  for (const band of bands) for (let i = 1; i <= BUCKETS; i++) band[i]! += band[i - 1]!;
  return { bands, total, unknown };
}

function x(bucket: number): string { return (LEFT + bucket / BUCKETS * (W - LEFT)).toFixed(1); }
function y(share: number): string { return (TOP + (1 - share) * (H - TOP - BOTTOM)).toFixed(1); }

function Axis({ span, top }: { span: Span; top: string }) {
  const long = span.to - span.from;
  return (
    <g class="axis">
      <line x1={LEFT} x2={W} y1={y(0)} y2={y(0)} />
      <text x={LEFT - 5} y={+y(1) + 8} text-anchor="end">{top}</text>
      <text x={LEFT - 5} y={+y(0)} text-anchor="end">0</text>
      {[0, 0.25, 0.5, 0.75, 1].map((share) => (
        <text key={share} x={LEFT + share * (W - LEFT)} y={H - 3} text-anchor={share === 0 ? "start" : share === 1 ? "end" : "middle"}>{clock(span.from + share * long, long)}</text>
      ))}
    </g>
  );
}

export function TasksOverTime({ rows, span }: { rows: Iterable<Row>; span: Span }) {
  const { bands, total, unknown } = history(rows, span);
  const below = new Float64Array(BUCKETS + 1);
  const areas = bands.map((band, number) => {
    const lower = Array.from(below, (value, i) => `${x(i)},${y(total ? value / total : 0)}`).reverse();
    for (let i = 0; i <= BUCKETS; i++) below[i]! += band[i]!;
    const upper = Array.from(below, (value, i) => `${x(i)},${y(total ? value / total : 0)}`);
    return <polygon key={number} class={`band ${BANDS[number]}`} points={[...upper, ...lower].join(" ")} />;
  });
  return (
    <figure>
      <figcaption>Tasks over time <span class="legend">{BANDS.map((x) => <span key={x} class={`key ${x}`}>{x.toLowerCase()}</span>)}</span></figcaption>
      <svg viewBox={`0 0 ${W} ${H}`} role="img" aria-label="Number of waiting, preparing, working and ended tasks over time">{areas}<Axis span={span} top={number(total)} /></svg>
      {unknown > 0 && <p class="note">The status of this large run omits the times of {number(unknown)} tasks.</p>}
    </figure>
  );
}

/** Steps of a sum over time, at most one for each bucket. */
function steps(rows: Iterable<Row>, span: Span, value: (row: Row) => number): number[] {
  const sums = new Array<number>(BUCKETS + 1).fill(0);
  for (const row of rows) {
    const amount = value(row);
    const end = ms(row[Cell.end]) ?? span.to;
    if (amount) sums[Math.min(Math.max(Math.ceil((end - span.from) / (span.to - span.from) * BUCKETS), 0), BUCKETS)]! += amount;
  }
  for (let i = 1; i <= BUCKETS; i++) sums[i]! += sums[i - 1]!;
  return sums;
}

function Sum({ title, sums, span, text, limit }: { title: string; sums: number[]; span: Span; text: (value: number) => string; limit?: number | null }) {
  const total = sums[BUCKETS]!;
  const top = Math.max(total, limit && limit < total * 4 ? limit : 0) || 1;
  const line = sums.map((value, i) => `${x(i)},${y(value / top)}`);
  return (
    <figure>
      <figcaption>{title} <strong>{text(total)}</strong></figcaption>
      <svg viewBox={`0 0 ${W} ${H}`} role="img" aria-label={`${title}: ${text(total)}`}>
        <polygon class="area" points={[...line, `${x(BUCKETS)},${y(0)}`, `${x(0)},${y(0)}`].join(" ")} />
        <polyline class="line" points={line.join(" ")} />
        {!!limit && limit <= top && <g class="limit"><line x1={LEFT} x2={W} y1={y(limit / top)} y2={y(limit / top)} /><text x={W} y={+y(limit / top) + 10} text-anchor="end">maxCostUSD</text></g>}
        <Axis span={span} top={text(top)} />
      </svg>
    </figure>
  );
}

export function CostOverTime({ rows, span, limit }: { rows: Row[]; span: Span; limit: number | null }) {
  const cost = steps(rows, span, (row) => row[Cell.cost] ?? 0);
  return cost[BUCKETS] ? <Sum title="Cost" sums={cost} span={span} text={(value) => dollars(value)} limit={limit} /> : null;
}

export function TokensOverTime({ rows, span }: { rows: Row[]; span: Span }) {
  const sums = steps(rows, span, (row) => row[Cell.inputTokens] + row[Cell.outputTokens]);
  return sums[BUCKETS] ? <Sum title="Tokens" sums={sums} span={span} text={(value) => tokens(value) || "0"} /> : null;
}

/** The waiting, preparing and working times of a task as a bar on the time axis of its run. */
export function Timeline({ row, span, now }: { row: Row; span: Span; now: number }) {
  const share = (time: number) => Math.min(Math.max((time - span.from) / (span.to - span.from), 0), 1) * 100;
  const [phase, end] = [row[Cell.phase], ms(row[Cell.end])];
  const work = ms(row[Cell.work]) ?? ms(row[Cell.start]);
  const prepare = ms(row[Cell.prepare]) ?? work;
  const ended = phase === "Succeeded" || phase === "Failed";
  if (ended && end === null) return <span class="timeline" />;
  const stop = share(end ?? now);
  const begin = prepare === null ? stop : Math.min(share(prepare), stop);
  const start = work === null ? stop : Math.max(Math.min(share(work), stop), begin);
  const part = (name: string, from: number, to: number) => to > from && <span class={`part ${name}`} style={{ left: `${from}%`, width: `max(${to - from}%, 2px)` }} />;
  return <span class="timeline">{part("Waiting", 0, begin)}{part("Preparing", begin, start)}{part(ended ? phase : "Working", start, Math.max(stop, start + 0.1))}</span>;
}
