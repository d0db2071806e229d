// One page, several hosts: a file on disk, a local server, a notebook and the frame of its output.
import { type Address, App } from "./app.ts";
import { make } from "./dom.ts";
import { frameSource } from "./hosts/frame.ts";
import { type Model, notebookSource } from "./hosts/notebook.ts";
import { pageSource } from "./hosts/page.ts";
import { serverSource } from "./hosts/server.ts";
import { Store, type TileSource } from "./store.ts";
import { STYLE } from "./style.ts";

async function open(source: TileSource, element: HTMLElement, scope: Document | ShadowRoot, address: Address): Promise<void> {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  scope.adoptedStyleSheets = [...scope.adoptedStyleSheets, sheet];
  element.tabIndex = -1;
  element.classList.add("regard");
  try {
    new App(await Store.open(source), element, address);
  } catch (error) {
    element.replaceChildren(make("p", { class: "error", role: "alert" }, (error as Error).message));
  }
}

function fragment(): Address {
  return {
    read: () => location.hash,
    write(text, step) {
      const url = text ? `#${text}` : location.pathname + location.search;
      if (step) history.pushState(null, "", url);
      else history.replaceState(null, "", url);
    },
    watch(changed) {
      window.addEventListener("hashchange", changed);
      window.addEventListener("popstate", changed);
    },
    link: () => location.href,
  };
}

const page = typeof document === "undefined" ? null : document.getElementById("regard");
const host = page?.dataset["host"];
if (page && (host === "page" || host === "server")) {
  page.classList.add("whole");
  void open(host === "page" ? pageSource(document) : serverSource(), page, document, fragment());
}

if (page && host === "frame") {
  let main = page;
  let remember: (state: string) => void = () => undefined;
  // No address of its own: what is looked at is kept by the notebook, or for as long as the frame lives.
  remember = frameSource(page.dataset["name"] ?? "", pageSource(document), (source, told) => {
    const next = make("main", { class: "whole" });
    main.replaceWith(next);
    main = next;
    const write = (text: string): void => {
      if (main === next) remember(text);
    };
    void open(source, next, document, { read: () => told, write, watch: () => undefined, link: () => null });
  });
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const { source, close } = notebookSource(model);
  const release = keepKeys(el);
  const main = make("div");
  const scope = el.attachShadow({ mode: "open" });
  scope.append(main);
  main.style.height = "720px";
  const address: Address = {
    read: () => String(model.get("state") ?? ""),
    write: (text) => {
      model.set("state", text);
      model.save_changes();
    },
    watch: (changed) => model.on("change:state", changed),
    link: () => null,
  };
  void open(source, main, scope, address);
  return () => {
    close();
    release();
  };
}

/**
 * Keys pressed in the page are the page's, not commands of the notebook around it, where "d d" deletes the cell.
 * Those with Ctrl, ⌘ or Alt stay the notebook's. JupyterLab hears keys before the page does and leaves alone what
 * carries its mark; others hear them as they leave the page.
 */
function keepKeys(element: HTMLElement): () => void {
  const own = (event: KeyboardEvent): boolean => !event.ctrlKey && !event.metaKey && !event.altKey;
  const before = (event: KeyboardEvent): void => {
    if (!event.composedPath().includes(element)) return;
    if (own(event)) element.setAttribute("data-lm-suppress-shortcuts", "true");
    else element.removeAttribute("data-lm-suppress-shortcuts");
  };
  const kinds = ["keydown", "keypress", "keyup"] as const;
  const stop = (event: KeyboardEvent): void => {
    if (own(event)) event.stopPropagation();
  };
  for (const kind of kinds) element.addEventListener(kind, stop);
  window.addEventListener("keydown", before, true);
  return () => window.removeEventListener("keydown", before, true);
}

export default { render };
