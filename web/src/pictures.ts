// A matrix on the page: what it shows, and what is said, found and kept of it. Shared by the views with matrices.
import { button, make } from "./dom.ts";
import type { Edge } from "./edges.ts";
import { listen, pressed } from "./gestures.ts";
import type { AttentionMap, HeadMeasures } from "./manifest.ts";
import { type Cell, Matrix, type Picture } from "./matrix.ts";
import { cells, type Pick, zooms } from "./quantities.ts";
import type { Scene } from "./scene.ts";
import { matches, next } from "./search.ts";
import { sinksOf } from "./sinks.ts";
import { isCode } from "./store.ts";
import { absent, percent, plain, sentence, visible } from "./words.ts";

// Where a host computes numbers when asked, tracks of more pairs than these take seconds: only when asked for.
const MOST_PAIRS = 1 << 27;
const USUAL = { queries: "entropy", keys: "received" } as const;

/** The track to show along a side, "" for none. */
export function trackOf(map: AttentionMap, side: "queries" | "keys", wanted: string): string {
  const slow = map.exact && map.queries.size * map.keys.size > MOST_PAIRS;
  const name = wanted === "auto" ? (slow ? "" : USUAL[side]) : wanted;
  return map.tracks[name] === side ? name : "";
}

const TRACKS: Record<string, string> = {
  entropy: "entropy (nats)", peak: "largest weight", seeing: "visible keys", received: "attention received", received_mean: "attention received, by those who may look",
};

export const trackName = (id: string, unit: string): string => (id === "distance" ? `mean distance (${unit})` : (TRACKS[id] ?? id));

async function edge(scene: Scene, map: AttentionMap, name: "queries" | "keys", track: string): Promise<Edge> {
  const { store, state } = scene;
  const side = map[name];
  const axis = store.manifest.axes[side.axis]!;
  const [tokens, labels] = await Promise.all([store.tokens(side.axis), axis.labels[state.labelling] ? store.labels(side.axis, state.labelling) : null]);
  const about = axis.name === name || axis.name === "tokens" ? "" : ` (${axis.name})`;
  const title = `${name}${about}${track ? `, bars: ${trackName(track, store.unitOf(map))}` : ""}`;
  return { first: side.first, size: side.size, name, title, tokens, labels: labels?.classes ?? null, colours: axis.labels[state.labelling]?.colours ?? [], track: track ? { name: track, values: null, top: 1 } : null, found: [], marks: [] };
}

export async function pictureOf(scene: Scene, pick: Pick, tracks = true): Promise<Picture> {
  const { map, heads } = pick;
  const { rowTrack, columnTrack, sinks } = scene.state;
  const single = heads.length === 1 && tracks;
  const [rows, columns, measures] = await Promise.all([
    edge(scene, map, "queries", single ? trackOf(map, "queries", rowTrack) : ""), edge(scene, map, "keys", single ? trackOf(map, "keys", columnTrack) : ""), sinks ? null : scene.store.measures(map),
  ]);
  const picture: Picture = { pick, kind: pick.quantity.ratio ? "ratio" : "plain", zooms: zooms(map, pick.quantity), rows, columns, sinks: [], cells: (z, row, column, signal) => cells(scene.store, pick, z, row, column, signal) };
  mark(picture, measures);
  return picture;
}

/** Mark the sinks among the keys, once they are known. */
export function mark(picture: Picture, measures: HeadMeasures | null): void {
  picture.sinks = (sinksOf(measures, picture.pick.heads) ?? []).map(({ key }) => key);
  picture.columns.marks = picture.sinks;
}

export function inWords(scene: Scene, picture: Picture, cell: Cell, subject: string): string {
  const { map, heads, quantity } = picture.pick;
  const { store } = scene;
  const shares = quantity.id === "mass" && store.manifest.sums_to_one;
  const said = sentence({
    name: store.nameOf(map), map, heads, z: cell.z, query: cell.query, key: cell.key, value: cell.value, percent: shares && !subject,
    quantity: subject || (quantity.id === "mass" ? (shares ? "mass" : store.manifest.quantity) : quantity.name),
    queryTokens: picture.rows.tokens, keyTokens: picture.columns.tokens,
  });
  const sink = !isCode(cell.value) && picture.sinks.some((key) => key >= cell.key && key < cell.key + 2 ** cell.z);
  return sink ? `${said} ${cell.z ? "A sink is among these keys." : "This key is a sink."}` : said;
}

/** A cell in as few words as stand at a pointer. */
function inBrief(scene: Scene, { pick, rows, columns }: Picture, { query, key, z, value }: Cell, subject: string): string {
  const name = (edge: Edge, at: number): string => {
    if (z > 0) return `${edge.first + at}–${edge.first + Math.min(at + 2 ** z, edge.size) - 1}`;
    const token = edge.tokens?.[edge.first + at];
    return token === undefined ? String(edge.first + at) : visible(token, 24);
  };
  const write = pick.quantity.id === "mass" && scene.store.manifest.sums_to_one && !subject ? percent : plain;
  return `${isCode(value) ? plain(value, absent(pick.map)) : write(value)}\n${name(rows, query)} → ${name(columns, key)}`;
}

/** Joins a matrix to the page: where it stands is kept in the address, its cells are said in words, all move together. */
export function attach(scene: Scene, matrix: Matrix, all: Matrix[], subject: string): void {
  const { state } = scene;
  listen(matrix);
  matrix.camera = { x: state.x, y: state.y, pixels: state.zoom };
  matrix.selected = state.query >= 0 && state.key >= 0 ? { query: state.query, key: state.key } : null;
  matrix.onMove = () => {
    scene.remember({ x: matrix.camera.x, y: matrix.camera.y, zoom: matrix.camera.pixels });
    for (const other of all) {
      if (other === matrix || other.picture.rows.size !== matrix.picture.rows.size || other.picture.columns.size !== matrix.picture.columns.size) continue;
      other.camera = { ...matrix.camera };
      other.draw();
    }
  };
  matrix.onCell = (cell) => {
    if (!cell) return;
    if (matrix.selected) scene.remember({ query: matrix.selected.query, key: matrix.selected.key });
    scene.say(inWords(scene, matrix.picture, cell, subject));
    matrix.note.textContent = inBrief(scene, matrix.picture, cell, subject);
  };
  matrix.onReady = () => {
    const { selected } = matrix;
    if (selected && matrix === all[0]) matrix.tell(() => matrix.cellAt(selected.query, selected.key));
  };
  all.push(matrix);
}

/** What views with matrices leave with the page, except for the file. */
export function mounting(matrices: Matrix[]): { redraw(): void; pressed(event: KeyboardEvent): boolean; close(): void } {
  return {
    redraw: () => matrices.forEach((matrix) => matrix.drawNow()),
    pressed: (event) => matrices[0] !== undefined && pressed(matrices[0], event),
    close: () => matrices.forEach((matrix) => matrix.close()),
  };
}

/** Finds tokens along both sides of the matrices, and goes from one to the next. */
export function serveSearch(scene: Scene, matrices: Matrix[]): void {
  const edges = (matrix: Matrix): Edge[] => [matrix.picture.rows, matrix.picture.columns];
  const look = (text: string): void => {
    for (const matrix of matrices) {
      for (const one of edges(matrix)) one.found = matches(one.tokens, one.first, one.size, text);
      matrix.draw();
    }
  };
  scene.search.serve("Find a token or position", {
    changed(text) {
      look(text);
      const [rows, columns] = matrices[0] ? edges(matrices[0]) : [];
      if (text && rows && columns) scene.say(`"${text}": ${counted(rows.found.length, "query", "queries")}, ${counted(columns.found.length, "key", "keys")}. Enter goes to the next query, Shift and Enter to the next key.`);
    },
    go(text, keys) {
      look(text);
      const matrix = matrices[0];
      if (!matrix) return;
      const at = matrix.selected ?? { query: -1, key: -1 };
      const to = keys ? next(matrix.picture.columns.found, at.key) : next(matrix.picture.rows.found, at.query);
      if (to === null) return scene.say(`No ${keys ? "key" : "query"} holds "${text}".`);
      const { key, query } = { key: Math.max(0, at.key), query: Math.max(0, at.query) };
      matrix.point(keys ? query : to, keys ? to : key);
      for (const other of matrices) if (other !== matrix) Object.assign(other, { selected: matrix.selected });
    },
  });
}

export function cellsName(matrix: Matrix): string {
  const { quantity, map } = matrix.picture.pick;
  const span = 2 ** matrix.zoom;
  if (span === 1) return "one token a cell";
  const [finest] = matrix.picture.zooms;
  const limit = finest === matrix.zoom && matrix.camera.pixels > 2 / span ? `; finer ones are ${absent(map)}` : "";
  return `cells of ${span} × ${span} tokens, ${quantity.id === "peak" ? "largest weight in them" : "mean over queries of the sum over keys"}${limit}`;
}

export const hiddenName = (count: number): string => (count ? `${counted(count, "sink", "sinks")} hidden` : "");

/** The classes of labels along both sides, with their colours. */
export function classesOf(scene: Scene, map: AttentionMap): [string, string][] {
  const { axes } = scene.store.manifest;
  const sides = [map.queries.axis, map.keys.axis].map((axis) => axes[axis]!.labels[scene.state.labelling]);
  return [...new Map(sides.flatMap((labels) => (labels?.classes ?? []).map((name, i): [string, string] => [name, labels!.colours[i]!])))];
}

/** Buttons that zoom, for users without wheel or keyboard. */
export function zoomBar(matrices: Matrix[]): HTMLElement {
  const by = (factor: number) => (): void => matrices[0]?.zoomBy(factor);
  return make("div", { class: "zooms", role: "group", "aria-label": "Zoom" }, button("+", "Zoom in", null, by(2)), button("−", "Zoom out", null, by(0.5)), button("⤢", "Show all", null, by(1e-9)));
}

export function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
