// One head as a map with its tracks, and its numbers beside it.
import type { App } from "./app.ts";
import { zoomBar } from "./controls.ts";
import { make, select } from "./dom.ts";
import type { Edge } from "./edges.ts";
import { matrixExport } from "./exports.ts";
import { kindInWords, READING } from "./help.ts";
import type { AttentionMap, HeadMeasures } from "./manifest.ts";
import { type Cell, Matrix, type Picture } from "./matrix.ts";
import { cells, type Pick, zooms } from "./quantities.ts";
import { matches, next } from "./search.ts";
import { sinkOf } from "./sinks.ts";
import { isCode } from "./store.ts";
import { headsName, percent, plain, sentence, visible } from "./words.ts";

// Where a host computes numbers when asked, tracks of more pairs than these take seconds: only when asked for.
const MOST_PAIRS = 1 << 27;
const USUAL = { queries: "entropy", keys: "received" } as const;
const TRACKS: Record<string, string> = {
  entropy: "entropy (nats)", peak: "largest weight", distance: "mean distance (tokens)", seeing: "visible keys", received: "attention received", received_mean: "attention received, by those who may look",
};
export const trackName = (id: string): string => TRACKS[id] ?? id;

/** The track to show along a side, "" for none. */
export function trackOf(map: AttentionMap, side: "queries" | "keys", wanted: string): string {
  const slow = map.exact && map.queries.size * map.keys.size > MOST_PAIRS;
  const name = wanted === "auto" ? (slow ? "" : USUAL[side]) : wanted;
  return map.tracks[name] === side ? name : "";
}

async function edge(app: App, map: AttentionMap, name: "queries" | "keys", track: string): Promise<Edge> {
  const { store } = app;
  const side = map[name];
  const axis = store.manifest.axes[side.axis]!;
  const [tokens, labels] = await Promise.all([store.tokens(side.axis), axis.labels[app.state.labelling] ? store.labels(side.axis, app.state.labelling) : null]);
  const about = axis.name === name || axis.name === "tokens" ? "" : ` (${axis.name})`;
  const title = `${name}${about}${track ? `, bars: ${trackName(track)}` : ""}`;
  return { first: side.first, size: side.size, name, title, tokens, labels, colours: axis.labels[app.state.labelling]?.colours ?? [], track: track ? { name: track, values: null, top: 1 } : null, found: [], mark: null };
}

export async function pictureOf(app: App, pick: Pick, tracks = true): Promise<Picture> {
  const { map, heads } = pick;
  const { rowTrack, columnTrack } = app.state;
  const single = heads.length === 1 && tracks;
  const [rows, columns, sink] = await Promise.all([
    edge(app, map, "queries", single ? trackOf(map, "queries", rowTrack) : ""), edge(app, map, "keys", single ? trackOf(map, "keys", columnTrack) : ""), sinkOf(app.store, map, heads[0]!),
  ]);
  return { pick, kind: pick.quantity.ratio ? "ratio" : "plain", zooms: zooms(map, pick.quantity), rows, columns: { ...columns, mark: sink }, sink, cells: (z, row, column, signal) => cells(app.store, pick, z, row, column, signal) };
}

/** Bring the numbers of the tracks, one side after the other. */
async function fillTracks(app: App, matrix: Matrix): Promise<void> {
  const { pick, rows, columns } = matrix.picture;
  for (const one of [rows, columns]) {
    if (!one.track) continue;
    const values = await app.store.track(pick.map, pick.heads[0]!, one.track.name);
    if (!app.matrices.includes(matrix)) return;
    one.track.values = values;
    one.track.top = values?.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, value) : most), 0) || 1;
    matrix.draw();
  }
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
      if (text && rows && columns) app.say(`"${text}": ${counted(rows.found.length, "query", "queries")}, ${counted(columns.found.length, "key", "keys")}. Enter goes to the next query, Shift and Enter to the next key.`);
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
  const { quantity } = matrix.picture.pick;
  const span = 2 ** matrix.zoom;
  if (span === 1) return "one token a cell";
  const [finest] = matrix.picture.zooms;
  const limit = finest === matrix.zoom && matrix.camera.pixels > 2 / span ? "; finer ones were not recorded" : "";
  return `cells of ${span} × ${span} tokens, ${quantity.id === "peak" ? "largest weight in them" : "mean over queries of the sum over keys"}${limit}`;
}

/** The classes of labels along both sides, with their colours. */
export function classesOf(app: App, map: AttentionMap): [string, string][] {
  const { axes } = app.store.manifest;
  const sides = [map.queries.axis, map.keys.axis].map((axis) => axes[axis]!.labels[app.state.labelling]);
  return [...new Map(sides.flatMap((labels) => (labels?.classes ?? []).map((name, i): [string, string] => [name, labels!.colours[i]!])))];
}

export async function headView(app: App): Promise<void> {
  const { state, pick } = app;
  const picture = await pictureOf(app, pick);
  if (app.state !== state) return;
  const matrix = new Matrix(app, picture, app.surface(0));
  attach(app, matrix, "");
  matrix.onDraw = () =>
    app.show([{ colouring: matrix.colouring, name: app.quantityName(), classes: classesOf(app, pick.map) }], {
      quantity: app.quantityName(), where: app.store.nameOf(pick.map), heads: pick.heads, cells: cellsName(matrix), sinkHidden: matrix.hidden !== null,
    });
  app.exported = () => matrixExport(app.store.nameOf(pick.map), matrix);
  const about = make("aside", { "aria-label": "About this head" }, ...aside(app, picture, null));
  app.body.replaceChildren(make("div", { class: "beside" }, make("div", { class: "stage" }, zoomBar(app), matrix.element), about));
  serveSearch(app);
  matrix.draw();
  // The picture first; what may take the host longer comes after it.
  const said = matrix.onReady;
  matrix.onReady = () => {
    said?.();
    const rest = async (): Promise<void> => {
      const measures = await app.store.measures(pick.map);
      if (app.state === state) about.replaceChildren(...aside(app, picture, measures));
      await fillTracks(app, matrix);
    };
    rest().catch((error: Error) => app.fail(error));
  };
}

const MEASURES: [string, string, (value: number) => string][] = [
  ["entropy", "entropy", (value) => `${plain(value)} nats`], ["effective_keys", "effective keys", plain], ["peak", "largest weight of a query", percent], ["distance", "mean distance", (value) => `${plain(value)} tokens`],
  ["self", "to itself", percent], ["previous", "to the previous token", percent], ["next", "to the next token", percent], ["first", "to the first key (sink)", percent],
];

/** Measures that mean something only where queries and keys are the same tokens. */
export const ALONG = ["distance", "self", "previous", "next"];

/** Beside the matrix: what kind of head it is, its numbers, and what has to be known about the recording. */
function aside(app: App, picture: Picture, measures: HeadMeasures | null): HTMLElement[] {
  const { map, heads } = picture.pick;
  const parts: HTMLElement[] = [make("h2", {}, `${app.store.nameOf(map)}, ${headsName(heads)}`), make("p", {}, READING)];
  if (heads.length === 1 && measures) {
    const list = make("dl", {});
    const kind = measures.kind[heads[0]!];
    if (kind) list.append(make("dt", {}, "kind of head"), make("dd", { title: kindInWords(kind) }, kind));
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
  if (map.finest > 0 && !map.notes.length) note(`Single weights were not recorded: the finest cells are ${2 ** map.finest} × ${2 ** map.finest} tokens.`);
  for (const text of map.notes) note(text);
  for (const side of ["queries", "keys"] as const) {
    const names = Object.keys(map.tracks).filter((name) => map.tracks[name] === side);
    const field = side === "queries" ? "rowTrack" : "columnTrack";
    if (names.length && heads.length === 1) parts.push(select(`Bars along the ${side}`, [["none", "none"], ...names.map((name): [string, string] => [name, trackName(name)])], trackOf(map, side, app.state[field]) || "none", (value) => app.change({ [field]: value })));
  }
  return parts;
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
