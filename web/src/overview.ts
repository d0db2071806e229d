// All layers and heads as small maps under one colour range.
import { type App, mapName } from "./app.ts";
import { make, select } from "./dom.ts";
import type { Exported } from "./exports.ts";
import type { AttentionMap, HeadMeasures } from "./manifest.ts";
import { largest, Painter } from "./painter.ts";
import { type Colouring, niceTop } from "./quantities.ts";
import type { Tile } from "./store.ts";
import { plain } from "./words.ts";

interface Row {
  map: AttentionMap;
  tiles: Tile[] | null;
  measures: HeadMeasures | null;
}
interface Item {
  row: Row;
  head: number;
  measure: number | null;
}

const SORTS: [string, string][] = [["layer", "layer and head"], ["kind", "kind of head"], ["entropy", "entropy"], ["effective_keys", "effective keys"], ["distance", "distance"], ["first", "share of the sink"], ["peak", "peak"], ["previous", "share of the previous token"]];

function sorted(rows: Row[], by: string): Item[] {
  const items = rows.flatMap((row) => Array.from({ length: row.map.heads }, (_, head) => ({ row, head, measure: row.measures?.numbers[by]?.[head] ?? null })));
  if (by === "layer") return items;
  if (by === "kind") return items.sort((a, b) => (a.row.measures?.kind[a.head] ?? "~").localeCompare(b.row.measures?.kind[b.head] ?? "~"));
  return items.sort((a, b) => (b.measure ?? -Infinity) - (a.measure ?? -Infinity));
}

function thumb(app: App, item: Item, painter: Painter, colouring: Colouring, full: boolean): HTMLButtonElement {
  const { row, head, measure } = item;
  const kind = row.measures?.kind[head] ?? "";
  const value = measure === null ? kind : plain(measure);
  const tile = row.tiles?.[head];
  const picture = make("canvas", { "aria-hidden": "true" });
  if (tile) {
    const made = painter.picture(tile, colouring, app.state.sinks ? null : 0);
    picture.width = made.width;
    picture.height = made.height;
    picture.getContext("2d")!.drawImage(made, 0, 0);
  }
  const name = full ? `${row.map.layer}.${head}` : `head ${head}`;
  const label = `${mapName(row.map)}, head ${head}${kind ? `, ${kind}` : ""}${measure === null ? "" : `, ${app.state.sort} ${plain(measure)}`}`;
  const made = make("button", { type: "button", class: "thumb", title: label, "aria-label": label }, picture, name, make("span", {}, tile ? value : "not recorded"));
  made.addEventListener("click", () => app.change({ view: "head", map: row.map.id, head, chosen: [], x: 0, y: 0, zoom: 0 }));
  return made;
}

export async function overviewView(app: App): Promise<void> {
  const { store, state } = app;
  const rows = await Promise.all(store.manifest.maps.map(async (map) => {
    const [tiles, measures] = await Promise.all([store.overview(map), store.measures(map)]);
    return { map, tiles, measures };
  }));
  if (app.state !== state) return;
  const shown = rows.flatMap((row) => row.tiles ?? []).map((tile) => ({ tile, firstRow: 0, firstColumn: 0, z: 0 }));
  const colouring: Colouring = { kind: "plain", scale: state.scale, top: niceTop(largest(shown, !state.sinks), "plain"), dark: app.dark };
  const painter = new Painter();
  const bar = make("div", { class: "bar" }, select("Sort by", SORTS, state.sort, (value) => app.change({ sort: value })));
  app.body.replaceChildren(bar);
  const items = sorted(rows, state.sort);
  const groups = state.sort === "layer" ? rows.map((row) => items.filter((item) => item.row === row)) : [items];
  for (const group of groups) {
    const heads = make("div", { class: "heads" }, ...group.map((item) => thumb(app, item, painter, colouring, state.sort !== "layer")));
    const title = state.sort === "layer" && group[0] ? make("h2", {}, mapName(group[0].row.map)) : null;
    app.body.append(make("div", { class: "layer" }, title, heads));
  }
  app.setScale(colouring, store.manifest.quantity);
  const spans = [...new Set(store.manifest.maps.map((map) => 2 ** map.overview))].sort((a, b) => a - b);
  app.setCaption(`${store.manifest.quantity} · every head on its own, one colour range · ${spans.length === 1 && spans[0] === 1 ? "one token a cell" : `cells of ${spans.join(", ")} tokens a side`}${state.sinks ? "" : " · first key (place of the sink) hidden"}${state.scale === "log" ? " · logarithmic colours" : ""}. ${store.manifest.holds}`);
  app.exported = (): Exported => ({
    name: "overview", caption: app.captionText, canvas: null,
    columns: ["layer", "head", "kind", ...Object.keys(rows[0]?.measures?.numbers ?? {})],
    rows: items.map(({ row, head }) => [mapName(row.map), head, row.measures?.kind[head] ?? "", ...Object.values(row.measures?.numbers ?? {}).map((list) => list[head] ?? "")]),
  });
}
