// A notebook: questions and answers over the widget's own channel.
import type { TileSource } from "../store.ts";

export interface Model {
  send(content: unknown): void;
  on(event: string, callback: (...values: never[]) => void): void;
  off(event: string, callback: (...values: never[]) => void): void;
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
}
interface Answer {
  kind?: string;
  id?: number;
  found?: boolean;
  error?: string;
}

export function notebookSource(model: Model): { source: TileSource; close(): void } {
  let last = 0;
  const waiting = new Map<number, { done(block: ArrayBuffer | null): void; failed(error: Error): void }>();
  const listen = (content: Answer, buffers: DataView[]): void => {
    if (content?.kind !== "block" || content.id === undefined) return;
    const asked = waiting.get(content.id);
    waiting.delete(content.id);
    if (!asked) return;
    const view = buffers?.[0];
    if (content.error) asked.failed(new Error(content.error));
    else if (!content.found || !view) asked.done(null);
    else asked.done(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) as ArrayBuffer);
  };
  const callback = listen as (...values: never[]) => void;
  model.on("msg:custom", callback);
  return {
    source: {
      block: (key) =>
        new Promise((done, failed) => {
          const id = ++last;
          waiting.set(id, { done, failed });
          model.send({ kind: "block", id, key });
        }),
    },
    close: () => model.off("msg:custom", callback),
  };
}
