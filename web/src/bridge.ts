// What stands in the notebook itself: it passes on what the frame of an output asks the kernel, and its answers.
import { type Model, notebookSource } from "./hosts/notebook.ts";

interface Asked {
  regard?: string;
  kind?: "hello" | "block" | "state";
  id?: number;
  key?: string;
  state?: string;
}

function initialize({ model }: { model: Model }): () => void {
  const name = String(model.get("name"));
  const { source, close } = notebookSource(model);
  const tell = (to: Window, content: object, moved: ArrayBuffer[] = []): void => to.postMessage({ regard: name, ...content }, "*", moved);
  const here = (): object => ({ kind: "here", state: String(model.get("state") ?? "") });
  const all = (content: object): void => {
    for (const frame of document.querySelectorAll<HTMLIFrameElement>(`iframe[name="${name}"]`)) {
      if (frame.contentWindow) tell(frame.contentWindow, content);
    }
  };
  const heard = async ({ data, source: frame }: MessageEvent<Asked>): Promise<void> => {
    if (data?.regard !== name || !frame) return; // only the frame knows its name
    const to = frame as Window;
    if (data.kind === "hello") tell(to, here());
    else if (data.kind === "state") {
      model.set("state", String(data.state));
      model.save_changes();
    } else if (data.kind === "block") {
      const { id, key } = data;
      try {
        const block = await source.block(String(key));
        tell(to, { kind: "block", id, block }, block ? [block] : []);
      } catch (error) {
        tell(to, { kind: "block", id, error: (error as Error).message });
      }
    }
  };
  window.addEventListener("message", heard);
  all(here());
  return () => {
    window.removeEventListener("message", heard);
    all({ kind: "gone" });
    close();
  };
}

export default { initialize, render: () => undefined };
