// A page on disk: blocks lie in the page, in base64. The page opens while the later ones are still being read.
import type { TileSource } from "../store.ts";

/** The element of a key once its text is whole; null when the page has been read and does not hold it. */
function arrival(document: Document): (key: string) => Promise<Element | null> | Element | null {
  const waiting = new Map<string, ((element: Element | null) => void)[]>();
  const reading = (): boolean => document.readyState === "loading";
  // What follows an element is made after its end was read.
  const whole = (key: string): Element | null => {
    const element = document.getElementById(key);
    return element && (element.nextSibling || !reading()) ? element : null;
  };
  const look = (): void => {
    for (const [key, asked] of waiting) {
      const element = whole(key);
      if (!element && reading()) continue;
      waiting.delete(key);
      for (const done of asked) done(element);
    }
    if (!waiting.size) watch.disconnect();
  };
  const watch = new MutationObserver(look);
  if (reading()) document.addEventListener("readystatechange", look);
  return (key) => {
    const element = whole(key);
    if (element || !reading()) return element;
    watch.observe(document.documentElement, { childList: true, subtree: true });
    return new Promise((done) => waiting.set(key, [...(waiting.get(key) ?? []), done]));
  };
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

/** Not by way of a Blob: the browser hands those out from another process, whose answer comes when it likes. */
async function inflated(bytes: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const { readable, writable } = new DecompressionStream("deflate-raw");
  const made = new Response(readable).arrayBuffer();
  const writer = writable.getWriter();
  await Promise.all([writer.write(bytes), writer.close()]);
  return made;
}

export function pageSource(document: Document): TileSource {
  const element = arrival(document);
  return {
    async block(key): Promise<ArrayBuffer | null> {
      const found = await element(key);
      if (found?.tagName !== "SCRIPT") return null;
      const same = found.getAttribute("data-same");
      if (same !== null) return this.block(same);
      const bytes = bytesOf(found.textContent ?? "");
      if (found.getAttribute("data-packing") !== "deflate") return bytes.buffer;
      return inflated(bytes);
    },
  };
}
