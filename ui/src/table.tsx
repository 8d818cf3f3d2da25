// A table of any length: only the rows in view are in the document. It is used with the mouse and by keyboard.
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export interface Column<T> {
  key: string;
  title: string;
  /** CSS grid track, such as minmax(8rem, 2fr). */
  width: string;
  cell: (item: T) => ComponentChildren;
  /** What to sort by; a column without it is not sorted. */
  by?: (item: T) => string | number | null;
  numeric?: boolean;
}
export interface Sort { key: string; down: boolean }

const OVERSCAN = 8;

export function sorted<T>(items: T[], columns: Column<T>[], sort: Sort): T[] {
  const by = columns.find((x) => x.key === sort.key)?.by;
  if (!by) return items;
  const sign = sort.down ? -1 : 1;
  const keys = new Map(items.map((x) => [x, by(x)]));
  return [...items].sort((a, b) => {
    const [left, right] = [keys.get(a) ?? null, keys.get(b) ?? null];
    if (left === right) return 0;
    if (left === null || left === "") return 1; // unknown values are last in both orders
    if (right === null || right === "") return -1;
    return left < right ? -sign : sign;
  });
}

/** Replaces the column headers in a narrow window. */
export function SortBy<T>({ columns, sort, setSort }: { columns: Column<T>[]; sort: Sort; setSort: (sort: Sort) => void }) {
  return (
    <span class="sort-by">
      <select aria-label="Sort by" value={sort.key} onChange={(e) => setSort({ ...sort, key: e.currentTarget.value })}>
        {columns.filter((x) => x.by).map((x) => <option key={x.key} value={x.key}>Sort by {x.title.toLowerCase()}</option>)}
      </select>
      <button type="button" aria-label={sort.down ? "Descending" : "Ascending"} onClick={() => setSort({ ...sort, down: !sort.down })}>{sort.down ? "↓" : "↑"}</button>
    </span>
  );
}

export function Table<T>({ label, items, columns, id, sort, setSort, open, select, rowHeight, empty, current }: {
  label: string; items: T[]; columns: Column<T>[]; id: (item: T) => string; sort: Sort; setSort: (sort: Sort) => void;
  open: (item: T) => void; select?: { chosen: Set<string>; toggle: (item: T, through?: T) => void; all: () => void };
  rowHeight: number; empty: string; current?: string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const [active, setActive] = useState(0);
  useLayoutEffect(() => {
    const element = box.current!;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    return () => { observer.disconnect(); element.removeEventListener("scroll", measure); };
  }, []);
  useEffect(() => { if (active >= items.length) setActive(Math.max(items.length - 1, 0)); }, [items.length]);

  const first = Math.max(Math.floor(view.top / rowHeight) - OVERSCAN, 0);
  const last = Math.min(Math.ceil((view.top + view.height) / rowHeight) + OVERSCAN, items.length);
  const template = (select ? "2.2rem " : "") + columns.map((x) => x.width).join(" ");
  const prefix = label.replace(/\W/g, "");

  const move = (to: number) => {
    const next = Math.min(Math.max(to, 0), items.length - 1);
    setActive(next);
    const element = box.current!;
    const head = (element.firstElementChild as HTMLElement).offsetHeight;
    const top = next * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + rowHeight + head > element.scrollTop + element.clientHeight) element.scrollTop = top + rowHeight + head - element.clientHeight;
  };
  const page = Math.max(Math.floor(view.height / rowHeight) - 2, 1);
  const keys: Record<string, () => void> = {
    ArrowDown: () => move(active + 1), ArrowUp: () => move(active - 1), PageDown: () => move(active + page),
    PageUp: () => move(active - page), Home: () => move(0), End: () => move(items.length - 1),
    Enter: () => items[active] && open(items[active]), " ": () => items[active] && select?.toggle(items[active]),
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.target !== box.current) return;
    const key = keys[event.key];
    if (key && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); key(); }
  };

  return (
    <div class="table" ref={box} role="grid" tabIndex={0} aria-label={label} aria-rowcount={items.length + 1} onKeyDown={onKeyDown}
      aria-activedescendant={items[active] ? `${prefix}-${active}` : undefined} aria-multiselectable={!!select}>
      <div class="head" role="row" aria-rowindex={1} style={{ gridTemplateColumns: template }}>
        {select && <span role="columnheader"><input type="checkbox" aria-label="Select all that are shown" onChange={select.all}
          checked={items.length > 0 && items.every((x) => select.chosen.has(id(x)))} /></span>}
        {columns.map((x) => (
          <span key={x.key} role="columnheader" class={`col-${x.key}${x.numeric ? " numeric" : ""}`} aria-sort={sort.key === x.key ? (sort.down ? "descending" : "ascending") : undefined}>
            {x.by ? <button type="button" class="sort" onClick={() => setSort({ key: x.key, down: sort.key === x.key ? !sort.down : !!x.numeric })}>
              {x.title}<span aria-hidden="true">{sort.key === x.key ? (sort.down ? " ↓" : " ↑") : ""}</span></button> : x.title}
          </span>
        ))}
      </div>
      <div class="body" role="rowgroup" style={{ height: `${items.length * rowHeight}px` }}>
        {items.slice(first, last).map((item, offset) => {
          const at = first + offset;
          const name = id(item);
          return (
            <div key={name} id={`${prefix}-${at}`} role="row" aria-rowindex={at + 2} aria-selected={select ? select.chosen.has(name) : undefined}
              class={`row${at === active ? " active" : ""}${name === current ? " current" : ""}`}
              style={{ transform: `translateY(${at * rowHeight}px)`, height: `${rowHeight}px`, gridTemplateColumns: template }}
              onClick={(event) => { if (!(event.target as Element).closest("a, input, button")) { setActive(at); open(item); } }}>
              {select && <span role="gridcell"><input type="checkbox" tabIndex={-1} aria-label={`Select ${name}`} checked={select.chosen.has(name)}
                onClick={(event) => { select.toggle(item, event.shiftKey ? items[active] : undefined); setActive(at); }} /></span>}
              {columns.map((x) => <span key={x.key} role="gridcell" class={`col-${x.key}${x.numeric ? " numeric" : ""}`}>{x.cell(item)}</span>)}
            </div>
          );
        })}
      </div>
      {items.length === 0 && <p class="empty">{empty}</p>}
    </div>
  );
}
