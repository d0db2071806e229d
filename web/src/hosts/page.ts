// A page on disk: blocks lie in the page, in base64.
import type { TileSource } from "../store.ts";

export function pageSource(document: Document): TileSource {
  return {
    async block(key) {
      const element = document.getElementById(key);
      if (!element || element.tagName !== "SCRIPT") return null;
      const bytes = Uint8Array.from(atob(element.textContent ?? ""), (letter) => letter.charCodeAt(0));
      if (element.dataset["packing"] !== "deflate") return bytes.buffer;
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
      return new Response(stream).arrayBuffer();
    },
  };
}
