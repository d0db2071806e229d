// A page of limited size in a notebook's output, in a frame of its own. It holds its data; while the kernel lives, what
// is asked goes to the kernel, by way of the bridge in the notebook around it (web/src/bridge.ts).
import type { TileSource } from "../store.ts";

interface Told {
  regard?: string;
  kind?: "here" | "gone" | "block";
  state?: string;
  id?: number;
  block?: ArrayBuffer | null;
  error?: string;
}

/** A kernel that is busy answers late; one that is gone never does. */
const PATIENCE = 30_000;

/** Call `show` with what answers now, and again when that changes; `told` is the state that the notebook remembers. */
export function frameSource(name: string, own: TileSource, show: (source: TileSource, told: string) => void): (state: string) => void {
  const waiting = new Map<number, { done(block: ArrayBuffer | null): void; failed(error: Error): void }>();
  let last = 0;
  let live = false;
  const tell = (content: object, to: Window = window.parent): void => to.postMessage({ regard: name, ...content }, "*");
  const end = (): void => {
    if (!live) return;
    live = false;
    waiting.clear();
    show(own, "");
  };
  const kernel: TileSource = {
    block: (key) =>
      new Promise((done, failed) => {
        const id = ++last;
        waiting.set(id, { done, failed });
        tell({ kind: "block", id, key });
        setTimeout(() => waiting.has(id) && end(), PATIENCE);
      }),
  };
  window.addEventListener("message", ({ source, data }: MessageEvent<Told>) => {
    if (source !== window.parent || data?.regard !== name) return;
    if (data.kind === "here" && !live) {
      live = true;
      show(kernel, data.state ?? "");
    } else if (data.kind === "gone") end();
    else if (data.kind === "block" && data.id !== undefined) {
      const asked = waiting.get(data.id);
      waiting.delete(data.id);
      if (data.error) asked?.failed(new Error(data.error));
      else asked?.done(data.block ?? null);
    }
  });
  show(own, "");
  tell({ kind: "hello" });
  return (state) => live && tell({ kind: "state", state });
}
