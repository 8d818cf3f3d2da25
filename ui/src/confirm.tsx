// The confirmation of a change: its effects, and the equivalent command.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { type Place, type Plan, Problem, request, type Run } from "./api";
import { number } from "./format";
import { Command } from "./parts";

export interface Action { action: "suspend" | "resume" | "cancel" | "promote" | "retry"; indexes?: string }

const TITLES: Record<Action["action"], [title: string, yes: string]> = {
  suspend: ["Suspend this run?", "Suspend"], resume: ["Resume this run?", "Resume"],
  cancel: ["Cancel this run?", "Cancel the run"], promote: ["Let more tasks start?", "Promote"],
  retry: ["Run tasks again?", "Create the run"],
};

export function Confirm({ run, place, action, close, done }: {
  run: Run; place: Place; action: Action; close: () => void; done: (name: string) => void;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const left = Math.max(run.counts.total - (run.taskLimit ?? 0), 0);
  const [more, setMore] = useState<number | null>(action.action === "promote" ? Math.min(10, left) || null : null);
  const [plan, setPlan] = useState<Plan | null>(null);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const body = { ...place, uid: run.uid, action: action.action, indexes: action.indexes ?? null, more };
  useLayoutEffect(() => { dialog.current!.showModal(); }, []);
  useEffect(() => {
    let current = true;
    setPlan(null);
    setProblem("");
    request<Plan>("/api/plan", body).then((x) => current && setPlan(x), (error: Problem) => current && setProblem(error.message));
    return () => { current = false; };
  }, [more]);
  const act = async () => {
    setBusy(true);
    try { done((await request<{ name: string }>("/api/act", { ...body, fields: plan!.fields })).name); } catch (error) {
      setProblem((error as Problem).message);
      setPlan(null);
    }
    setBusy(false);
  };
  const [title, yes] = TITLES[action.action];
  return (
    <dialog ref={dialog} class="confirm" onClose={close} aria-labelledby="confirm-title">
      <h2 id="confirm-title">{place.kind === "Task" ? title.replace("run", "Task") : title}</h2>
      <p class="what">{place.namespace}/{place.name}</p>
      {action.action === "promote" && (
        <fieldset>
          <label><input type="radio" name="more" checked={more !== null} onChange={() => setMore(Math.min(10, left) || 1)} /> <input type="number" min={1} max={left || undefined}
            aria-label="Number of tasks" value={more ?? ""} disabled={more === null} onInput={(e) => setMore(Math.max(Number(e.currentTarget.value) || 1, 1))} /> more tasks</label>
          <label><input type="radio" name="more" checked={more === null} onChange={() => setMore(null)} /> all {left ? `${number(left)} that wait` : "tasks"}</label>
        </fieldset>
      )}
      <div aria-live="polite" class="effects">
        {plan && <ul>{plan.effects.map((x) => <li key={x}>{x}</li>)}</ul>}
        {!plan && !problem && <p class="note">Computing the effects …</p>}
        {plan?.nothing && <p class="note">The object already has this value.</p>}
        {(problem || plan?.refused) && <p class="problem" role="alert">This cannot be done: {problem || plan?.refused}</p>}
      </div>
      {plan && <p class="same">The same in a terminal: <Command text={plan.command} /></p>}
      <div class="buttons">
        <button type="button" onClick={() => dialog.current!.close()}>Close</button>
        <button type="button" class={action.action === "cancel" ? "danger" : "primary"} disabled={busy || !plan || plan.nothing || !!plan.refused} onClick={act}>{yes}</button>
      </div>
    </dialog>
  );
}
