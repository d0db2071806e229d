// One head as a map with its tracks.
import type { App } from "./app.ts";
import { make } from "./dom.ts";
import type { Edge } from "./edges.ts";
import type { AttentionMap, Side } from "./manifest.ts";
import { type Cell, Matrix, type Picture } from "./matrix.ts";
import { cells, type Pick, quantityName } from "./quantities.ts";
import { isCode, type Store } from "./store.ts";
import { matrixExport } from "./exports.ts";
import { sentence } from "./words.ts";

export async function edge(store: Store, map: AttentionMap, side: Side, head: number | null, track: string): Promise<Edge> {
  const axis = store.manifest.axes[side.axis]!;
  const [tokens, labels, values] = await Promise.all([
    store.tokens(side.axis),
    axis.labels.length ? store.labels(side.axis, 0) : null,
    head === null ? null : store.track(map, head, track),
  ]);
  const title = values ? `${axis.name}, ${track}` : axis.name;
  return { first: side.first, title, tokens, labels, track: values && { name: track, values } };
}

export async function pictureOf(store: Store, pick: Pick): Promise<Picture> {
  const { map, heads } = pick;
  const head = heads.length === 1 ? heads[0]! : null;
  const [rows, columns] = await Promise.all([edge(store, map, map.queries, head, "entropy"), edge(store, map, map.keys, head, "received")]);
  const kind = pick.quantity.ratio ? "ratio" : "plain";
  return { pick, kind, rows, columns, cells: (z, row, column) => cells(store, pick, z, row, column) };
}

export function inWords(app: App, picture: Picture, cell: Cell, subject: string): string {
  const { map, heads, quantity } = picture.pick;
  const percent = quantity.id === "mass" && app.store.manifest.sums_to_one;
  return sentence({
    map, heads, z: cell.z, query: cell.query, key: cell.key, value: cell.value, percent,
    quantity: subject || quantity.id === "mass" ? subject || (percent ? "mass" : app.store.manifest.quantity) : quantity.name,
    queryTokens: picture.rows.tokens, keyTokens: picture.columns.tokens,
  });
}

/** Joins a matrix to the page: where it stands is kept in the address, its cells are said in words. */
export function attach(app: App, matrix: Matrix, subject: string): void {
  const { state } = app;
  matrix.camera = { x: state.x, y: state.y, pixels: state.zoom };
  matrix.selected = state.query || state.key ? { query: state.query, key: state.key } : null;
  matrix.onMove = () => {
    app.remember({ x: matrix.camera.x, y: matrix.camera.y, zoom: matrix.camera.pixels });
    for (const other of app.matrices) {
      if (other === matrix) continue;
      other.camera = { ...matrix.camera };
      other.draw();
    }
  };
  matrix.onCell = (cell) => {
    if (!cell) return;
    if (matrix.selected && !isCode(cell.value)) app.remember({ query: matrix.selected.query, key: matrix.selected.key });
    app.say(inWords(app, matrix.picture, cell, subject));
  };
  app.matrices.push(matrix);
}

export function sinkNote(app: App): string {
  const span = 2 ** (app.matrices[0]?.zoom ?? 0);
  return span === 1 ? "one token a cell" : `cells of ${span} × ${span} tokens, ${app.pick.quantity.id === "peak" ? "largest weight in them" : "mean over queries of the sum over keys"}`;
}

export async function headView(app: App): Promise<void> {
  const pick = app.pick;
  const picture = await pictureOf(app.store, pick);
  if (app.state.view !== "head") return;
  const matrix = new Matrix(app, picture);
  app.matrices = [];
  attach(app, matrix, "");
  matrix.onDraw = () => {
    app.setScale(matrix.colouring, quantityName(app.store.manifest, pick.quantity));
    app.setCaption(app.describe(sinkNote(app)));
  };
  app.exported = () => matrixExport(app, matrix);
  const notes = make("p", { class: "note" });
  app.body.replaceChildren(notes, matrix.element);
  matrix.draw();
  const measures = await app.store.measures(pick.map);
  const kind = pick.heads.length === 1 ? measures?.kind[pick.heads[0]!] : null;
  const sums = measures?.rowSums;
  const wrong = app.store.manifest.sums_to_one && sums && Math.max(Math.abs(sums[0] - 1), Math.abs(sums[1] - 1)) > 1e-3;
  const said = [...pick.map.notes];
  if (kind) said.unshift(`Kind of head: ${kind}.`);
  if (wrong) said.push(`Rows of this layer sum to ${sums[0].toPrecision(4)} … ${sums[1].toPrecision(4)}, not to 1.`);
  notes.textContent = said.join(" ");
}
