// Cells as a table that can be read, copied and heard.
import type { App } from "./app.ts";
import { css, ink } from "./colours.ts";
import { button, make } from "./dom.ts";
import { matches, next } from "./search.ts";
import { cellColour, cells, type Pick, zooms } from "./quantities.ts";
import { pageSheet } from "./sheets.ts";
import { sinkOf } from "./sinks.ts";
import { isCode } from "./store.ts";
import { plain, visible } from "./words.ts";

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
  sink: number | null;
}

async function block(app: App, pick: Pick): Promise<Block> {
  const { store, state } = app;
  const { map } = pick;
  const [z] = zooms(map, pick.quantity);
  const span = 2 ** z;
  const size = store.manifest.tile;
  const total = { query: Math.ceil(map.queries.size / span), key: Math.ceil(map.keys.size / span) };
  const first = { query: Math.floor(state.query / span / SIDE) * SIDE, key: Math.floor(state.key / span / SIDE) * SIDE };
  const [tile, query, key, sink] = await Promise.all([
    cells(store, pick, z, Math.floor(first.query / size), Math.floor(first.key / size)), store.tokens(map.queries.axis), store.tokens(map.keys.axis), sinkOf(store, map, pick.heads[0]!),
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
  return { queries, keys, rows, span, first, total, tokens: { query, key }, sink: sink === null ? null : Math.floor(sink / span) };
}

export async function numbersView(app: App): Promise<void> {
  const { store, state, pick } = app;
  const { map } = pick;
  const found = await block(app, pick);
  if (app.state !== state) return;
  const { queries, keys, rows, span, first } = found;
  const hidden = state.sinks || found.sink === null ? -1 : found.sink - first.key;
  const seen = rows.flatMap((row) => row.filter((value, column) => column !== hidden && !isCode(value)));
  const top = seen.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, value) : most), 0);
  const colouring = app.colouring(pick.quantity.ratio ? "ratio" : "plain", { top, nan: seen.some(Number.isNaN) });
  const head = make("tr", {}, make("th", { scope: "col" }, "query ↓  key →"), ...keys.map((name, i) => make("th", { scope: "col", title: name }, found.sink === first.key + i ? `▼ ${name}` : name)));
  const lines = rows.map((row, i) => {
    const line = make("tr", {}, make("th", { scope: "row", title: queries[i]! }, queries[i]!));
    row.forEach((value, column) => {
      const away = column === hidden && !isCode(value);
      const cell = make("td", {}, away ? "hidden" : plain(value));
      if (!away) {
        const rgb = cellColour(colouring, value);
        cell.style.background = css(rgb);
        cell.style.color = ink(rgb);
      }
      line.append(cell);
    });
    return line;
  });
  const where = `queries ${first.query * span} to ${Math.min((first.query + rows.length) * span, map.queries.size) - 1} of ${map.queries.size}, keys ${first.key * span} to ${Math.min((first.key + keys.length) * span, map.keys.size) - 1} of ${map.keys.size}`;
  const table = make("table", {}, make("caption", {}, where), head, ...lines);
  const region = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of numbers", "data-name": "table" }, table);
  app.body.replaceChildren(pager(app, found), region);
  app.show([{ colouring, name: app.quantityName(), classes: [] }], {
    quantity: app.quantityName(), where: store.nameOf(map), heads: pick.heads, cells: span === 1 ? "one token a cell" : `cells of ${span} × ${span} tokens, the finest that were recorded`, sinkHidden: hidden >= 0, extra: [where],
  });
  app.exported = () => ({
    name: `${store.nameOf(map)}-numbers`, columns: ["query", "key", "value"],
    rows: rows.flatMap((row, i) => row.map((value, j) => [queries[i]!, keys[j]!, isCode(value) ? plain(value) : value])),
    sheet() {
      region.scrollLeft = 0;
      return pageSheet(app.body);
    },
  });
  serve(app, found);
}

function pager(app: App, found: Block): HTMLElement {
  const { map } = app.pick;
  const move = (side: "query" | "key", by: number): void => {
    const size = (side === "query" ? map.queries : map.keys).size;
    app.change({ [side]: Math.max(0, Math.min(size - 1, (found.first[side] + by * SIDE) * found.span)) });
  };
  const turn = (sign: string, label: string, side: "query" | "key", by: number): HTMLButtonElement => {
    const made = button(sign, label, null, () => move(side, by));
    made.disabled = by < 0 ? found.first[side] === 0 : found.first[side] + SIDE >= found.total[side];
    return made;
  };
  return make("div", { class: "bar", role: "group", "aria-label": "Part of the table" }, turn("↑", "Earlier queries", "query", -1), turn("↓", "Later queries", "query", 1), turn("←", "Earlier keys", "key", -1), turn("→", "Later keys", "key", 1));
}

function serve(app: App, found: Block): void {
  const { map } = app.pick;
  app.search.serve("Find a token or position", {
    changed: () => undefined,
    go(text, keys) {
      const side = keys ? map.keys : map.queries;
      const at = keys ? app.state.key : app.state.query;
      const to = next(matches(found.tokens[keys ? "key" : "query"], side.first, side.size, text), at);
      if (to === null) return app.say(`No ${keys ? "key" : "query"} holds "${text}".`);
      app.change(keys ? { key: to } : { query: to });
      app.say(`${keys ? "Key" : "Query"} ${side.first + to}.`);
    },
  });
}
