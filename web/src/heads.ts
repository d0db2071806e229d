// One head as a map with its tracks, and its numbers beside it.
import type { App } from "./app.ts";
import { zoomBar } from "./controls.ts";
import { make, select } from "./dom.ts";
import type { Edge } from "./edges.ts";
import { matrixExport } from "./exports.ts";
import type { AttentionMap, HeadMeasures, Side } from "./manifest.ts";
import { type Cell, Matrix, type Picture } from "./matrix.ts";
import { cells, type Pick, zooms } from "./quantities.ts";
import { matches, next } from "./search.ts";
import { sinkOf } from "./sinks.ts";
import { isCode } from "./store.ts";
import { headsName, percent, plain, sentence, visible } from "./words.ts";

const TRACKS: Record<string, string> = {
  entropy: "entropy (nats)", peak: "largest weight", distance: "mean distance (tokens)", seeing: "visible keys", received: "attention received", received_mean: "attention received, by those who may look",
};
export const trackName = (id: string): string => TRACKS[id] ?? id;

async function edge(app: App, side: Side, name: "queries" | "keys", map: AttentionMap, head: number | null, track: string): Promise<Edge> {
  const { store } = app;
  const axis = store.manifest.axes[side.axis]!;
  const wanted = map.tracks[track] === name ? track : "";
  const [tokens, labels, values] = await Promise.all([
    store.tokens(side.axis),
    axis.labels[app.state.labelling] ? store.labels(side.axis, app.state.labelling) : null,
    head === null || !wanted ? null : store.track(map, head, wanted),
  ]);
  const about = axis.name === name || axis.name === "tokens" ? "" : ` (${axis.name})`;
  const title = `${name}${about}${values ? `, bars: ${trackName(wanted)}` : ""}`;
  const top = values?.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, value) : most), 0) ?? 0;
  return { first: side.first, size: side.size, name, title, tokens, labels, track: values && { name: wanted, values, top: top || 1 }, found: [], mark: null };
}

export async function pictureOf(app: App, pick: Pick, tracks = true): Promise<Picture> {
  const { map, heads } = pick;
  const head = heads.length === 1 && tracks ? heads[0]! : null;
  const [rows, columns, sink] = await Promise.all([
    edge(app, map.queries, "queries", map, head, app.state.rowTrack), edge(app, map.keys, "keys", map, head, app.state.columnTrack), sinkOf(app.store, map, heads[0]!),
  ]);
  return { pick, kind: pick.quantity.ratio ? "ratio" : "plain", rows, columns: { ...columns, mark: sink }, sink, cells: (z, row, column) => cells(app.store, pick, z, row, column) };
}

export function inWords(app: App, picture: Picture, cell: Cell, subject: string): string {
  const { map, heads, quantity } = picture.pick;
  const shares = quantity.id === "mass" && app.store.manifest.sums_to_one;
  const said = sentence({
    name: app.store.nameOf(map), map, heads, z: cell.z, query: cell.query, key: cell.key, value: cell.value, percent: shares && !subject,
    quantity: subject || (quantity.id === "mass" ? (shares ? "mass" : app.store.manifest.quantity) : quantity.name),
    queryTokens: picture.rows.tokens, keyTokens: picture.columns.tokens,
  });
  const sink = picture.sink !== null && cell.key === Math.floor(picture.sink / 2 ** cell.z) * 2 ** cell.z && !isCode(cell.value);
  return sink ? `${said} This is the place of the sink.` : said;
}

/** Joins a matrix to the page: where it stands is kept in the address, its cells are said in words, tokens are found. */
export function attach(app: App, matrix: Matrix, subject: string): void {
  const { state } = app;
  matrix.camera = { x: state.x, y: state.y, pixels: state.zoom };
  matrix.selected = state.query || state.key ? { query: state.query, key: state.key } : null;
  matrix.onMove = () => {
    app.remember({ x: matrix.camera.x, y: matrix.camera.y, zoom: matrix.camera.pixels });
    for (const other of app.matrices) {
      if (other === matrix || other.picture.rows.size !== matrix.picture.rows.size || other.picture.columns.size !== matrix.picture.columns.size) continue;
      other.camera = { ...matrix.camera };
      other.draw();
    }
  };
  matrix.onCell = (cell) => {
    if (!cell) return;
    if (matrix.selected) app.remember({ query: matrix.selected.query, key: matrix.selected.key });
    app.say(inWords(app, matrix.picture, cell, subject));
  };
  matrix.onReady = () => {
    const { selected } = matrix;
    if (selected && matrix === app.matrices[0]) matrix.onCell(matrix.cellAt(selected.query, selected.key));
  };
  app.matrices.push(matrix);
}

/** Finds tokens along both sides of the matrices, and goes from one to the next. */
export function serveSearch(app: App): void {
  const all = (): { matrix: Matrix; edges: Edge[] }[] => app.matrices.map((matrix) => ({ matrix, edges: [matrix.picture.rows, matrix.picture.columns] }));
  const look = (text: string): void => {
    for (const { matrix, edges } of all()) {
      for (const one of edges) one.found = matches(one.tokens, one.first, one.size, text);
      matrix.draw();
    }
  };
  app.search.serve("Find a token or position", {
    changed(text) {
      look(text);
      const [rows, columns] = all()[0]?.edges ?? [];
      if (text && rows && columns) app.say(`"${text}": ${rows.found.length} queries, ${columns.found.length} keys. Enter goes to the next query, Shift and Enter to the next key.`);
    },
    go(text, keys) {
      look(text);
      const matrix = app.matrices[0];
      if (!matrix) return;
      const at = matrix.selected ?? { query: -1, key: -1 };
      const to = keys ? next(matrix.picture.columns.found, at.key) : next(matrix.picture.rows.found, at.query);
      if (to === null) return app.say(`No ${keys ? "key" : "query"} holds "${text}".`);
      const { key, query } = { key: Math.max(0, at.key), query: Math.max(0, at.query) };
      matrix.point(keys ? query : to, keys ? to : key);
      for (const other of app.matrices) if (other !== matrix) Object.assign(other, { selected: matrix.selected });
    },
  });
}

export function cellsName(matrix: Matrix): string {
  const { map, quantity } = matrix.picture.pick;
  const span = 2 ** matrix.zoom;
  if (span === 1) return "one token a cell";
  const finest = zooms(map, quantity)[0];
  const limit = finest === matrix.zoom && matrix.camera.pixels > 2 / span ? "; finer ones were not recorded" : "";
  return `cells of ${span} × ${span} tokens, ${quantity.id === "peak" ? "largest weight in them" : "mean over queries of the sum over keys"}${limit}`;
}

export function classesOf(app: App, map: AttentionMap): string[] {
  const { axes } = app.store.manifest;
  const found = [map.queries.axis, map.keys.axis].map((axis) => axes[axis]!.labels[app.state.labelling]?.classes ?? []);
  return found[0]!.length >= found[1]!.length ? found[0]! : found[1]!;
}

export async function headView(app: App): Promise<void> {
  const { state, pick } = app;
  const [picture, measures] = await Promise.all([pictureOf(app, pick), app.store.measures(pick.map)]);
  if (app.state !== state) return;
  const matrix = new Matrix(app, picture, app.surface(0));
  attach(app, matrix, "");
  matrix.onDraw = () =>
    app.show([{ colouring: matrix.colouring, name: app.quantityName(), classes: classesOf(app, pick.map) }], {
      quantity: app.quantityName(), where: app.store.nameOf(pick.map), heads: pick.heads, cells: cellsName(matrix), sinkHidden: matrix.hidden !== null,
    });
  app.exported = () => matrixExport(app.store.nameOf(pick.map), matrix);
  app.body.replaceChildren(make("div", { class: "beside" }, make("div", { class: "stage" }, zoomBar(app), matrix.element), aside(app, picture, measures)));
  serveSearch(app);
  matrix.draw();
}

const MEASURES: [string, string, (value: number) => string][] = [
  ["entropy", "entropy", (value) => `${plain(value)} nats`], ["effective_keys", "effective keys", plain], ["peak", "largest weight of a query", percent], ["distance", "mean distance", (value) => `${plain(value)} tokens`],
  ["self", "to itself", percent], ["previous", "to the previous token", percent], ["next", "to the next token", percent], ["first", "to the first key (sink)", percent],
];

/** Measures that mean something only where queries and keys are the same tokens. */
export const ALONG = ["distance", "self", "previous", "next"];

/** Beside the matrix: what kind of head it is, its numbers, and what has to be known about the recording. */
function aside(app: App, picture: Picture, measures: HeadMeasures | null): HTMLElement {
  const { map, heads } = picture.pick;
  const parts: HTMLElement[] = [make("h2", {}, `${app.store.nameOf(map)}, ${headsName(heads)}`)];
  if (heads.length === 1 && measures) {
    const list = make("dl", {});
    const kind = measures.kind[heads[0]!];
    if (kind) list.append(make("dt", {}, "kind of head"), make("dd", {}, kind));
    for (const [id, name, write] of MEASURES) {
      const value = measures.numbers[id]?.[heads[0]!];
      if (value !== undefined && !(map.kind === "cross" && ALONG.includes(id))) list.append(make("dt", {}, name), make("dd", {}, value === null ? "not known" : write(value)));
    }
    parts.push(list);
  }
  const note = (text: string): number => parts.push(make("p", { class: "aside" }, text));
  if (heads.length > 1) note("A mean over heads: no single head looks like this. Tracks and measures are those of single heads and are not shown.");
  const { sink, columns } = picture;
  if (sink === null) note("There is no single first key (place of the sink): each query has its own, or none was recorded.");
  else note(`▼ marks the first key, ${sink + map.keys.first}${columns.tokens ? ` "${visible(columns.tokens[sink + map.keys.first] ?? "")}"` : ""}: the place of the sink${app.state.sinks ? "" : ", hidden now"}.`);
  const sums = measures?.rowSums;
  if (app.store.manifest.sums_to_one && sums && Math.max(Math.abs(sums[0] - 1), Math.abs(sums[1] - 1)) > 1e-3) note(`Rows of this layer sum to ${sums[0].toPrecision(4)} … ${sums[1].toPrecision(4)}, not to 1.`);
  if (map.finest > 0) note(`Single weights were not recorded: the finest cells are ${2 ** map.finest} × ${2 ** map.finest} tokens.`);
  for (const text of map.notes) note(text);
  for (const side of ["queries", "keys"] as const) {
    const names = Object.keys(map.tracks).filter((name) => map.tracks[name] === side);
    const field = side === "queries" ? "rowTrack" : "columnTrack";
    if (names.length && heads.length === 1) parts.push(select(`Bars along the ${side}`, [["none", "none"], ...names.map((name): [string, string] => [name, trackName(name)])], names.includes(app.state[field]) ? app.state[field] : "none", (value) => app.change({ [field]: value })));
  }
  return make("aside", { "aria-label": "About this head" }, ...parts);
}
