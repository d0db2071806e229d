// Cells as a table that can be read, copied and heard.
import type { App } from "./app.ts";
import { css, ink } from "./colours.ts";
import { button, make } from "./dom.ts";
import { cellColour, cells, type Colouring, niceTop, quantityName, zooms } from "./quantities.ts";
import { plain, visible } from "./words.ts";

const SIDE = 16;

export async function numbersView(app: App): Promise<void> {
  const { store, state, pick } = app;
  const { map } = pick;
  const [z] = zooms(map, pick.quantity);
  const span = 2 ** z;
  const size = store.manifest.tile;
  const total = { query: Math.ceil(map.queries.size / span), key: Math.ceil(map.keys.size / span) };
  const first = { query: Math.floor(state.query / span / SIDE) * SIDE, key: Math.floor(state.key / span / SIDE) * SIDE };
  // 16 divides the side of a tile, so a table lies within one.
  const [tile, queryTokens, keyTokens] = await Promise.all([cells(store, pick, z, Math.floor(first.query / size), Math.floor(first.key / size)), store.tokens(map.queries.axis), store.tokens(map.keys.axis)]);
  if (app.state !== state) return;
  const count = { query: Math.min(SIDE, total.query - first.query), key: Math.min(SIDE, total.key - first.key) };
  const at = (row: number, column: number): number => tile.values[((first.query + row) % size) * tile.columns + ((first.key + column) % size)]!;
  const name = (tokens: string[] | null, from: number, cell: number): string => {
    const token = from + cell * span;
    return span === 1 ? `${token}${tokens ? ` ${visible(tokens[token] ?? "")}` : ""}` : `${token}–${token + span - 1}`;
  };
  const rows = Array.from({ length: count.query }, (_, row) => Array.from({ length: count.key }, (__, column) => at(row, column)));
  const top = rows.flat().reduce((most, value) => (Number.isFinite(value) ? Math.max(most, value) : most), 0);
  const colouring: Colouring = { kind: pick.quantity.ratio ? "ratio" : "plain", scale: state.scale, top: niceTop(top, pick.quantity.ratio ? "ratio" : "plain"), dark: app.dark };
  const head = make("tr", {}, make("th", { scope: "col" }, "query ↓ key →"), ...rows[0]!.map((_, column) => make("th", { scope: "col" }, name(keyTokens, map.keys.first, first.key + column))));
  const lines = rows.map((row, i) => {
    const line = make("tr", {}, make("th", { scope: "row" }, name(queryTokens, map.queries.first, first.query + i)));
    for (const value of row) {
      const cell = make("td", {}, plain(value));
      const rgb = cellColour(colouring, value);
      cell.style.background = css(rgb);
      cell.style.color = ink(rgb);
      line.append(cell);
    }
    return line;
  });
  const move = (side: "query" | "key", by: number): void => app.change({ [side]: Math.max(0, Math.min(map[side === "query" ? "queries" : "keys"].size - 1, (first[side] + by * SIDE) * span)) });
  const bar = make("div", { class: "bar" }, button("↑", "Earlier queries", null, () => move("query", -1)), button("↓", "Later queries", null, () => move("query", 1)), button("←", "Earlier keys", null, () => move("key", -1)), button("→", "Later keys", null, () => move("key", 1)));
  app.body.replaceChildren(bar, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of numbers" }, make("table", {}, head, ...lines)));
  app.setScale(colouring, quantityName(store.manifest, pick.quantity));
  app.setCaption(app.describe(span === 1 ? "one token a cell" : `cells of ${span} × ${span} tokens`));
  app.exported = () => ({
    name: "numbers", caption: app.captionText, canvas: null, columns: ["query", "key", "value"],
    rows: rows.flatMap((row, i) => row.map((value, j) => [name(queryTokens, map.queries.first, first.query + i), name(keyTokens, map.keys.first, first.key + j), value <= -1e29 ? plain(value) : value])),
  });
}
