// Cells as a table that can be read, copied and heard.
import { css, ink } from "../colours.ts";
import { button, make } from "../dom.ts";
import { hiddenName } from "../pictures.ts";
import { cellColour, cells, type Colouring, type Pick, zooms } from "../quantities.ts";
import type { Scene } from "../scene.ts";
import { matches, next } from "../search.ts";
import { pageSheet } from "../sheets.ts";
import { sinksOf } from "../sinks.ts";
import { isCode } from "../store.ts";
import { absent, plain, visible } from "../words.ts";

// Divides the side of a tile, so a table lies within one.
const SIDE = 16;

interface Block {
  queries: string[];
  keys: string[];
  rows: number[][];
  span: number;
  first: { query: number; key: number };
  total: { query: number; key: number };
  tokens: { query: string[] | null; key: string[] | null };
  /** Cells among the keys that hold a sink. */
  sinks: number[];
}

async function block(scene: Scene, pick: Pick): Promise<Block> {
  const { store, state } = scene;
  const { map } = pick;
  const [z] = zooms(map, pick.quantity);
  const span = 2 ** z;
  const size = store.manifest.tile;
  const total = { query: Math.ceil(map.queries.size / span), key: Math.ceil(map.keys.size / span) };
  const begin = (at: number): number => Math.floor(Math.max(0, at) / span / SIDE) * SIDE;
  const first = { query: begin(state.query), key: begin(state.key) };
  const [tile, query, key, measures] = await Promise.all([
    cells(store, pick, z, Math.floor(first.query / size), Math.floor(first.key / size)), store.tokens(map.queries.axis), store.tokens(map.keys.axis), store.measures(map),
  ]);
  const name = (tokens: string[] | null, from: number, count: number, cell: number): string => {
    const token = from + cell * span;
    return span === 1 ? `${token}${tokens ? ` ${visible(tokens[token] ?? "")}` : ""}` : `${token}–${Math.min(token + span, from + count) - 1}`;
  };
  const names = (side: "query" | "key"): string[] => {
    const at = side === "query" ? map.queries : map.keys;
    return Array.from({ length: Math.min(SIDE, total[side] - first[side]) }, (_, i) => name(side === "query" ? query : key, at.first, at.size, first[side] + i));
  };
  const [queries, keys] = [names("query"), names("key")];
  const rows = queries.map((_, row) => keys.map((__, column) => tile.values[((first.query + row) % size) * tile.columns + ((first.key + column) % size)]!));
  return { queries, keys, rows, span, first, total, tokens: { query, key }, sinks: (sinksOf(measures, pick.heads) ?? []).map((sink) => Math.floor(sink.key / span)) };
}

export async function numbersView(scene: Scene): Promise<void> {
  const { store, state, pick } = scene;
  const { map } = pick;
  const found = await block(scene, pick);
  if (scene.state !== state) return;
  const { queries, keys, rows, span, first } = found;
  const hidden = new Set(state.sinks ? [] : found.sinks.map((cell) => cell - first.key).filter((column) => column >= 0 && column < keys.length));
  const missing = absent(map);
  const seen = rows.flatMap((row) => row.filter((value, column) => !hidden.has(column) && !isCode(value)));
  const top = seen.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, value) : most), 0);
  const coloured = (): Colouring => scene.colouring(pick.quantity.ratio ? "ratio" : "plain", { top, nan: seen.some(Number.isNaN) });
  const cellsOf: [HTMLElement, number][] = [];
  const paint = (): void => {
    const colouring = coloured();
    for (const [cell, value] of cellsOf) {
      const rgb = cellColour(colouring, value);
      cell.style.background = css(rgb);
      cell.style.color = ink(rgb);
    }
  };
  const head = make("tr", {}, make("th", { scope: "col" }, "query ↓  key →"), ...keys.map((name, i) => make("th", { scope: "col", title: name }, found.sinks.includes(first.key + i) ? `▼ ${name}` : name)));
  const lines = rows.map((row, i) => {
    const line = make("tr", {}, make("th", { scope: "row", title: queries[i]! }, queries[i]!));
    row.forEach((value, column) => {
      const away = hidden.has(column) && !isCode(value);
      const cell = make("td", away ? {} : { class: "weight" }, away ? "hidden" : plain(value, missing));
      if (!away) cellsOf.push([cell, value]);
      line.append(cell);
    });
    return line;
  });
  const where = `queries ${first.query * span} to ${Math.min((first.query + rows.length) * span, map.queries.size) - 1} of ${map.queries.size}, keys ${first.key * span} to ${Math.min((first.key + keys.length) * span, map.keys.size) - 1} of ${map.keys.size}`;
  const table = make("table", {}, make("caption", {}, where), head, ...lines);
  const region = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of numbers", "data-name": "table" }, table);
  const quantity = store.quantityOf(pick.quantity);
  paint();
  scene.mount({
    redraw: paint,
    exported: () => ({
      name: `${store.nameOf(map)}-numbers`, columns: ["query", "key", "value"],
      rows: rows.flatMap((row, i) => row.map((value, j) => [queries[i]!, keys[j]!, isCode(value) ? plain(value, missing) : value])),
      sheet() {
        region.scrollLeft = 0;
        return pageSheet(scene.body);
      },
    }),
  }, pager(scene, found), region);
  scene.show([{ colouring: coloured(), name: quantity, classes: [], missing }], {
    quantity, where: store.nameOf(map), heads: pick.heads, cells: span === 1 ? "one token a cell" : `cells of ${span} × ${span} tokens; finer ones are ${missing}`, hidden: hiddenName(hidden.size), extra: [where],
  });
  serve(scene, found);
}

function pager(scene: Scene, found: Block): HTMLElement {
  const { map } = scene.pick;
  const move = (side: "query" | "key", by: number): void => {
    const size = (side === "query" ? map.queries : map.keys).size;
    scene.change({ [side]: Math.max(0, Math.min(size - 1, (found.first[side] + by * SIDE) * found.span)) });
  };
  const turn = (sign: string, label: string, side: "query" | "key", by: number): HTMLButtonElement => {
    const made = button(sign, label, null, () => move(side, by));
    made.disabled = by < 0 ? found.first[side] === 0 : found.first[side] + SIDE >= found.total[side];
    return made;
  };
  return make("div", { class: "bar", role: "group", "aria-label": "Part of the table" }, turn("↑", "Earlier queries", "query", -1), turn("↓", "Later queries", "query", 1), turn("←", "Earlier keys", "key", -1), turn("→", "Later keys", "key", 1));
}

function serve(scene: Scene, found: Block): void {
  const { map } = scene.pick;
  scene.search.serve("Find a token or position", {
    changed: () => undefined,
    go(text, keys) {
      const side = keys ? map.keys : map.queries;
      const at = keys ? scene.state.key : scene.state.query;
      const to = next(matches(found.tokens[keys ? "key" : "query"], side.first, side.size, text), at);
      if (to === null) return scene.say(`No ${keys ? "key" : "query"} holds "${text}".`);
      scene.change(keys ? { key: to } : { query: to });
      scene.say(`${keys ? "Key" : "Query"} ${side.first + to}.`);
    },
  });
}
