// A local server: one request a block.
import type { TileSource } from "../store.ts";

export function serverSource(): TileSource {
  return {
    async block(key, signal) {
      const answer = await fetch(`/data/${key}`, { credentials: "same-origin", ...(signal && { signal }) });
      if (answer.status === 404) return null;
      if (!answer.ok) throw new Error(`The server answered ${answer.status} for ${key}: ${(await answer.text()).slice(0, 300)}`);
      return answer.arrayBuffer();
    },
  };
}
