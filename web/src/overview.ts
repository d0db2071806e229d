// All layers and heads as small maps under one colour range.
import type { App } from "./app.ts";
import { layerName } from "./controls.ts";
import { focusAgain, focused, make, select } from "./dom.ts";
import { grow } from "./fitting.ts";
import { ALONG } from "./heads.ts";
import { kindInWords, READING } from "./help.ts";
import type { AttentionMap, HeadMeasures } from "./manifest.ts";
import { Painter } from "./painter.ts";
import { type Colouring, largestOf } from "./quantities.ts";
import { pageSheet } from "./sheets.ts";
import { sinkColumn } from "./sinks.ts";
import type { Tile } from "./store.ts";
import { percent, plain } from "./words.ts";

interface Row {
  map: AttentionMap;
  name: string;
  tiles: Tile[] | null;
  measures: HeadMeasures | null;
}
export interface Item {
  row: Row;
  head: number;
  measure: number | null;
}
interface Look {
  painter: Painter;
  colouring: Colouring;
}

const SORTS: [string, string][] = [
  ["layer", "layer and head"], ["kind", "kind of head"], ["entropy", "entropy"], ["effective_keys", "effective keys"], ["distance", "mean distance"],
  ["first", "share of the sink"], ["peak", "largest weight"], ["self", "share of itself"], ["previous", "share of the previous token"], ["next", "share of the next token"],
];
const SHARES = ["first", "peak", "self", "previous", "next"];

/** Heads in the order asked for: largest first; those without the measure come last. */
export function sorted(rows: Row[], by: string): Item[] {
  const items = rows.flatMap((row) => Array.from({ length: row.map.heads }, (_, head) => ({ row, head, measure: row.measures?.numbers[by]?.[head] ?? null })));
  if (by === "layer") return items;
  const kind = (item: Item): string => item.row.measures?.kind[item.head] ?? "";
  if (by === "kind") return items.sort((a, b) => Number(kind(a) === "") - Number(kind(b) === "") || kind(a).localeCompare(kind(b)));
  return items.sort((a, b) => (b.measure ?? -Infinity) - (a.measure ?? -Infinity));
}

function thumb(app: App, item: Item, look: Look): HTMLButtonElement {
  const { row, head, measure } = item;
  const { sort, sinks } = app.state;
  const kind = row.measures?.kind[head] ?? "";
  const number = measure === null ? "" : SHARES.includes(sort) ? percent(measure) : plain(measure);
  const tile = row.tiles?.[head];
  const picture = make("canvas", { "aria-hidden": "true" });
  if (tile) {
    const made = look.painter.picture(tile, look.colouring, sinks ? null : sinkColumn(tile));
    picture.width = made.width;
    picture.height = made.height;
    picture.getContext("2d")!.drawImage(made, 0, 0);
    const longer = Math.max(made.width, made.height);
    picture.style.width = `calc(var(--thumb) * ${made.width / longer})`;
    picture.style.height = `calc(var(--thumb) * ${made.height / longer})`;
  }
  const measured = sort !== "layer" && sort !== "kind";
  const value = !tile ? "not recorded" : measured ? number || "not known" : kind;
  const sortName = SORTS.find(([id]) => id === sort)?.[1] ?? sort;
  const name = sort === "layer" ? `head ${head}` : `L${row.map.layer} · head ${head}`;
  // The name that is heard begins with what is seen.
  const whole = [`${row.name}, head ${head}`, sort === "layer" ? value : "", value === kind ? "" : kind, measured ? sortName : ""].filter(Boolean).join(", ");
  const label = sort === "layer" ? whole : `${name} ${value}: ${whole}`;
  const made = make("button", { type: "button", class: "thumb", title: kind ? `${label}. ${kindInWords(kind)}` : label, "aria-label": label, "data-name": whole }, picture, make("b", {}, name), " ", make("span", {}, value || "\u00a0"));
  made.addEventListener("click", () => app.change({ view: "head", map: row.map.id, head, chosen: [], x: 0, y: 0, zoom: 0 }));
  return made;
}

export async function overviewView(app: App): Promise<void> {
  const { store, state } = app;
  const { maps } = store.manifest;
  const same = maps.filter((map) => map.model === app.map.model && map.input === app.map.input);
  const tiles = await Promise.all(same.map((map) => store.overview(map)));
  if (app.state !== state) return;
  const rows: Row[] = same.map((map, i) => ({ map, name: layerName(map, same), tiles: tiles[i]!, measures: null }));
  const painter = new Painter();
  draw(app, same, rows, painter);
  // The pictures first; the measures may take the host longer.
  const measures = await Promise.all(same.map((map) => store.measures(map)));
  if (app.state !== state) return;
  const held = focused(app.root);
  draw(app, same, rows.map((row, i) => ({ ...row, measures: measures[i]! })), painter);
  focusAgain(app.root, held);
}

function draw(app: App, same: AttentionMap[], rows: Row[], painter: Painter): void {
  const { store, state } = app;
  const { maps } = store.manifest;
  const largest = { top: 0, nan: false };
  for (const tile of rows.flatMap((row) => row.tiles ?? [])) {
    const { top, nan } = largestOf(tile.values, tile.columns, state.sinks ? null : sinkColumn(tile));
    Object.assign(largest, { top: Math.max(top, largest.top), nan: nan || largest.nan });
  }
  const look = { painter, colouring: app.colouring("plain", largest) };
  const items = sorted(rows, state.sort);
  const groups = state.sort === "layer" ? rows.map((row) => items.filter((item) => item.row === row)) : [items];
  const thumbs = new Map<HTMLButtonElement, Item>();
  const layers = groups.map((group) => {
    const heads = group.map((item) => {
      const made = thumb(app, item, look);
      thumbs.set(made, item);
      return made;
    });
    const title = state.sort === "layer" && group[0] ? make("h2", { title: group[0].row.name }, ...broken(group[0].row.name)) : null;
    return make("div", { class: "layer" }, title, make("div", { class: "heads" }, ...heads));
  });
  const crossed = same.every((map) => map.kind === "cross");
  const sorts = SORTS.filter(([id]) => !crossed || !ALONG.includes(id));
  const sorting = make("div", { class: "bar" }, select("Sort by", sorts, state.sort, (value) => app.change({ sort: value })), make("span", { class: "hint" }, `${READING} ${state.sort === "layer" || state.sort === "kind" ? "" : "Largest first, L: layer. "}Choose a head to look into it.`));
  app.body.replaceChildren(sorting, ...layers);
  app.resized = () => grow(app.body, app.textSize);
  serve(app, thumbs);
  const spans = [...new Set(same.map((map) => 2 ** map.overview))].sort((a, b) => a - b);
  const [first] = same;
  const where = [first?.model, maps.some((map) => map.input !== first?.input) ? `input ${first?.input}` : "", `${rows.length} layer${rows.length > 1 ? "s" : ""}`].filter(Boolean).join(", ");
  app.show([{ colouring: look.colouring, name: store.manifest.quantity, classes: [] }], {
    quantity: store.manifest.quantity, where, heads: null, cells: spans.length === 1 && spans[0] === 1 ? "one token a cell" : `cells of ${spans.join(" or ")} tokens a side`,
    sinkHidden: !state.sinks, extra: ["every head on its own, all under one colour range", state.sort === "layer" ? "" : `sorted by ${SORTS.find(([id]) => id === state.sort)?.[1] ?? state.sort}`],
  });
  // The lines below the maps are there: what is left is theirs.
  app.resized();
  const names = [...new Set(rows.flatMap((row) => Object.keys(row.measures?.numbers ?? {})))];
  app.exported = () => ({
    name: "overview", columns: ["layer", "head", "kind", ...names],
    rows: items.map(({ row, head }) => [row.name, head, row.measures?.kind[head] ?? "", ...names.map((name) => row.measures?.numbers[name]?.[head] ?? "")]),
    sheet: () => pageSheet(app.body),
  });
}

/** A dotted name may break behind its dots. */
function broken(name: string): (string | HTMLElement)[] {
  return name.split(/(?<=[._])/).flatMap((part, i) => (i ? [make("wbr"), part] : [part]));
}

function serve(app: App, thumbs: Map<HTMLButtonElement, Item>): void {
  const look = (text: string): number => {
    const wanted = text.trim().toLowerCase();
    let count = 0;
    for (const made of thumbs.keys()) {
      made.hidden = !made.getAttribute("aria-label")!.toLowerCase().includes(wanted);
      if (!made.hidden) count++;
    }
    return count;
  };
  app.search.serve("Find heads by layer or kind", {
    changed: (text) => app.say(`${look(text)} of ${thumbs.size} heads${text ? ` match "${text}"` : ""}.`),
    go: () => [...thumbs.keys()].find((made) => !made.hidden)?.focus(),
  });
}
