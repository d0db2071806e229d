// All layers and heads as small maps under one colour range.
import { layerName } from "../choices.ts";
import { focusAgain, focused, make, select } from "../dom.ts";
import { grow } from "../fitting.ts";
import { kindInWords, READING } from "../help.ts";
import type { AttentionMap, HeadMeasures } from "../manifest.ts";
import { measuresOf } from "../measures.ts";
import { hiddenColumns, Painter } from "../painter.ts";
import { hiddenName } from "../pictures.ts";
import { type Colouring, largestOf } from "../quantities.ts";
import type { Scene } from "../scene.ts";
import { pageSheet } from "../sheets.ts";
import { sinksOf } from "../sinks.ts";
import type { Tile } from "../store.ts";

interface Row {
  map: AttentionMap;
  name: string;
  tiles: Tile[] | null;
  /** Undefined until they have come, null where there are none. */
  measures: HeadMeasures | null | undefined;
}
export interface Item {
  row: Row;
  head: number;
  measure: number | null;
}
interface Look {
  painter: Painter;
  colouring: Colouring;
  /** Number of a measure in words. */
  write(value: number): string;
  sortName: string;
}

/** Heads in the order asked for: largest first; those without the measure come last. */
export function sorted(rows: Row[], by: string): Item[] {
  const items = rows.flatMap((row) => Array.from({ length: row.map.heads }, (_, head) => ({ row, head, measure: row.measures?.numbers[by]?.[head] ?? null })));
  if (by === "layer") return items;
  const kind = (item: Item): string => item.row.measures?.kind[item.head] ?? "";
  if (by === "kind") return items.sort((a, b) => Number(kind(a) === "") - Number(kind(b) === "") || kind(a).localeCompare(kind(b)));
  const rank = ({ measure }: Item): number => (measure === null ? -Infinity : Number.isNaN(measure) ? -Number.MAX_VALUE : measure);
  return items.sort((a, b) => rank(b) - rank(a) || 0);
}

/** Columns of the small map that hold a sink of its head. */
function awayOf(row: Row, head: number, sinks: boolean): number[] {
  const tile = row.tiles?.[head];
  if (sinks || !tile) return [];
  return hiddenColumns({ tile, firstRow: 0, firstColumn: 0, z: row.map.overview }, (sinksOf(row.measures ?? null, [head]) ?? []).map(({ key }) => key));
}

function thumb(scene: Scene, item: Item, look: Look): HTMLButtonElement {
  const { row, head, measure } = item;
  const { sort, sinks } = scene.state;
  const kind = row.measures?.kind[head] ?? "";
  const tile = row.tiles?.[head];
  const picture = make("canvas", { "aria-hidden": "true" });
  if (tile) {
    const made = look.painter.picture(tile, look.colouring, awayOf(row, head, sinks));
    picture.width = made.width;
    picture.height = made.height;
    picture.getContext("2d")!.drawImage(made, 0, 0);
    const longer = Math.max(made.width, made.height);
    picture.style.width = `calc(var(--thumb) * ${made.width / longer})`;
    picture.style.height = `calc(var(--thumb) * ${made.height / longer})`;
  }
  const measured = sort !== "layer" && sort !== "kind";
  const number = measure !== null ? (Number.isNaN(measure) ? "NaN" : look.write(measure)) : row.measures === undefined ? "…" : "not known";
  const value = !tile ? "not recorded" : measured ? number : kind;
  const name = sort === "layer" ? `head ${head}` : `L${row.map.layer} · head ${head}`;
  // The name that is heard begins with what is seen.
  const whole = [`${row.name}, head ${head}`, sort === "layer" ? value : "", value === kind ? "" : kind, measured ? look.sortName : ""].filter(Boolean).join(", ");
  const label = sort === "layer" ? whole : `${name} ${value}: ${whole}`;
  const made = make("button", { type: "button", class: "thumb", tabindex: "-1", title: kind ? `${label}. ${kindInWords(kind)}` : label, "aria-label": label, "data-name": whole }, picture, make("b", {}, name), " ", make("span", {}, value || "\u00a0"));
  made.addEventListener("click", () => scene.change({ view: "head", map: row.map.id, head, chosen: [], x: 0, y: 0, zoom: 0 }));
  return made;
}

export async function overviewView(scene: Scene): Promise<void> {
  const { store, state, map } = scene;
  const same = store.manifest.maps.filter((other) => other.model === map.model && other.input === map.input);
  const tiles = await Promise.all(same.map((one) => store.overview(one)));
  if (scene.state !== state) return;
  const rows: Row[] = same.map((one, i) => ({ map: one, name: layerName(one, same), tiles: tiles[i]!, measures: undefined }));
  const painter = new Painter();
  draw(scene, same, rows, painter);
  // The pictures first; the measures may take the host longer.
  const measures = await Promise.all(same.map((one) => store.measures(one)));
  if (scene.state !== state) return;
  const held = focused(scene.root);
  draw(scene, same, rows.map((row, i) => ({ ...row, measures: measures[i]! })), painter);
  focusAgain(scene.root, held);
}

/** The order of the heads in words: never one that they do not have. */
function orderOf(rows: Row[], sort: string, name: string): string {
  if (sort === "layer") return "";
  if (rows.some((row) => row.measures === undefined)) return `not yet sorted: ${name} is being computed`;
  const known = (row: Row): unknown[] => (sort === "kind" ? row.measures?.kind : row.measures?.numbers[sort]) ?? [];
  const count = rows.reduce((sum, row) => sum + known(row).filter((value) => value !== null && !Number.isNaN(value)).length, 0);
  if (count === 0) return `not sorted: ${name} is not known of these heads`;
  return `sorted by ${name}${count < rows.reduce((sum, row) => sum + row.map.heads, 0) ? ", heads of which it is not known last" : ""}`;
}

function draw(scene: Scene, same: AttentionMap[], rows: Row[], painter: Painter): void {
  const { store, state } = scene;
  const { maps } = store.manifest;
  const largest = { top: 0, nan: false };
  let hidden = 0;
  for (const row of rows) {
    row.tiles?.forEach((tile, head) => {
      const away = awayOf(row, head, state.sinks);
      hidden += away.length;
      const { top, nan } = largestOf(tile.values, tile.columns, away);
      Object.assign(largest, { top: Math.max(top, largest.top), nan: nan || largest.nan });
    });
  }
  const [first] = same;
  const offered = [...new Map(same.flatMap((map) => measuresOf(map, store.unitOf(map))).map((one) => [one.id, one])).values()];
  const sorts: [string, string][] = [["layer", "layer and head"], ["kind", "kind of head"], ...offered.map((one): [string, string] => [one.id, one.sort])];
  const measure = offered.find((one) => one.id === state.sort);
  const sortName = sorts.find(([id]) => id === state.sort)?.[1] ?? state.sort;
  const look = { painter, colouring: scene.colouring("plain", largest), write: measure?.write ?? String, sortName };
  const items = sorted(rows, state.sort);
  const groups = state.sort === "layer" ? rows.map((row) => items.filter((item) => item.row === row)) : [items];
  const thumbs = new Map<HTMLButtonElement, Item>();
  const layers = groups.map((group) => {
    const heads = group.map((item) => {
      const made = thumb(scene, item, look);
      thumbs.set(made, item);
      return made;
    });
    const title = state.sort === "layer" && group[0] ? make("h2", { title: group[0].row.name }, ...broken(group[0].row.name)) : null;
    return make("div", { class: "layer" }, title, make("div", { class: "heads" }, ...heads));
  });
  const order = orderOf(rows, state.sort, sortName);
  const sorting = make("div", { class: "bar" }, select("Sort by", sorts, state.sort, (value) => scene.change({ sort: value })), make("span", { class: "hint" }, `${READING} ${order.startsWith("sorted") && measure ? "Largest first, L: layer. " : order && measure ? `${order[0]!.toUpperCase()}${order.slice(1)}. ` : ""}Choose a head to look into it.`));
  const all = make("div", { class: "all", role: "group", "aria-label": "Heads. Arrows go from one to another." }, ...layers);
  const names = [...new Set(rows.flatMap((row) => Object.keys(row.measures?.numbers ?? {})))];
  scene.mount({
    redraw: () => draw(scene, same, rows, painter),
    resized: () => grow(scene.body, scene.textSize),
    exported: () => ({
      name: "overview", columns: ["layer", "head", "kind", ...names],
      rows: items.map(({ row, head }) => [row.name, head, row.measures?.kind[head] ?? "", ...names.map((name) => row.measures?.numbers[name]?.[head] ?? "")]),
      sheet: () => pageSheet(scene.body),
    }),
  }, sorting, all);
  rove(all, [...thumbs.keys()]);
  serve(scene, thumbs);
  const spans = [...new Set(same.map((map) => 2 ** map.overview))].sort((a, b) => a - b);
  const where = [first?.model, maps.some((map) => map.input !== first?.input) ? `input ${first?.input}` : "", `${rows.length} layer${rows.length > 1 ? "s" : ""}`].filter(Boolean).join(", ");
  scene.show([{ colouring: look.colouring, name: store.manifest.quantity, classes: [], missing: "not recorded" }], {
    quantity: store.manifest.quantity, where, heads: null, cells: spans.length === 1 && spans[0] === 1 ? "one token a cell" : `cells of ${spans.join(" or ")} tokens a side`,
    hidden: state.sinks ? "" : rows.some((row) => row.measures === undefined) ? "sinks not yet known" : `${hiddenName(hidden)}${hidden ? " in all" : ""}`, extra: ["every head on its own, all under one colour range", order],
  });
  // The lines below the maps are there: what is left is theirs.
  grow(scene.body, scene.textSize);
}

/** One stop of the tabulator; arrows go from head to head, up and down to the nearest one above and below. */
function rove(all: HTMLElement, thumbs: HTMLButtonElement[]): void {
  const stop = (at: HTMLButtonElement): void => thumbs.forEach((one) => (one.tabIndex = one === at ? 0 : -1));
  if (thumbs[0]) stop(thumbs[0]);
  all.addEventListener("focusin", (event) => {
    const at = thumbs.find((one) => one === event.target);
    if (at) stop(at);
  });
  all.addEventListener("keydown", (event) => {
    const seen = thumbs.filter((one) => !one.hidden);
    const at = seen.findIndex((one) => one === event.target);
    if (at < 0) return;
    const to = { ArrowRight: seen[at + 1], ArrowLeft: seen[at - 1], Home: seen[0], End: seen.at(-1), ArrowDown: across(seen, at, 1), ArrowUp: across(seen, at, -1) }[event.key];
    if (to === undefined && !event.key.startsWith("Arrow")) return;
    event.preventDefault();
    to?.focus();
  });
}

/** The head nearest to one in the row of maps below it (1) or above it (-1). */
function across(seen: HTMLButtonElement[], at: number, way: number): HTMLButtonElement | undefined {
  const from = seen[at]!.getBoundingClientRect();
  const boxes = seen.map((one) => one.getBoundingClientRect());
  const beyond = boxes.filter((box) => way * (box.top - from.top) > 4).map((box) => box.top);
  if (!beyond.length) return undefined;
  const line = way > 0 ? Math.min(...beyond) : Math.max(...beyond);
  const row = seen.filter((_, i) => Math.abs(boxes[i]!.top - line) <= 4);
  const away = (one: HTMLButtonElement): number => Math.abs(one.getBoundingClientRect().left - from.left);
  return row.reduce((best, one) => (away(one) < away(best) ? one : best));
}

/** A dotted name may break behind its dots. */
function broken(name: string): (string | HTMLElement)[] {
  return name.split(/(?<=[._])/).flatMap((part, i) => (i ? [make("wbr"), part] : [part]));
}

function serve(scene: Scene, thumbs: Map<HTMLButtonElement, Item>): void {
  const look = (text: string): number => {
    const wanted = text.trim().toLowerCase();
    let count = 0;
    for (const made of thumbs.keys()) {
      made.hidden = !made.getAttribute("aria-label")!.toLowerCase().includes(wanted);
      if (!made.hidden) count++;
    }
    return count;
  };
  scene.search.serve("Find heads by layer or kind", {
    changed: (text) => scene.say(`${look(text)} of ${thumbs.size} heads${text ? ` match "${text}"` : ""}.`),
    go: () => [...thumbs.keys()].find((made) => !made.hidden)?.focus(),
  });
}
