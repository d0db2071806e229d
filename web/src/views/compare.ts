// Two matrices side by side under one colour range, and their difference.
import { mapSelects, opposite } from "../choices.ts";
import { make } from "../dom.ts";
import { matrixExport } from "../exports.ts";
import { READING } from "../help.ts";
import { Matrix, type Picture } from "../matrix.ts";
import { attach, cellsName, classesOf, hiddenName, mark, mounting, pictureOf, serveSearch, zoomBar } from "../pictures.ts";
import type { Sheet } from "../pens.ts";
import { differenceCells, offered, type Pick } from "../quantities.ts";
import type { Scene } from "../scene.ts";
import { besides, matrixSheet } from "../sheets.ts";
import { absent, headsName, round } from "../words.ts";

/** What is compared with: what the reader has chosen, else the opposite. */
function rightOf({ state, store, pick }: Scene): Pick {
  const chosen = state.otherMap >= 0 ? store.map(state.otherMap) : null;
  const other = opposite(store.manifest.maps, pick.map, state.head);
  const map = chosen ?? other.map;
  const head = state.otherHead >= 0 && state.otherHead < map.heads ? state.otherHead : chosen ? 0 : other.head;
  return { ...pick, map, heads: [head] };
}

export async function compareView(scene: Scene): Promise<void> {
  const { state, store } = scene;
  const left = scene.pick;
  const right = rightOf(scene);
  const matrices: Matrix[] = [];
  const bar = make("div", { class: "bar", role: "group", "aria-label": "Compared with" }, make("span", {}, "compared with"),
    ...mapSelects(scene, "Second", right.map, right.heads[0]!, (otherMap, otherHead) => scene.change({ otherMap, otherHead })), make("span", { class: "hint" }, READING), zoomBar(matrices));
  const can = offered(right.map).includes(left.quantity);
  const alike = left.map.queries.size === right.map.queries.size && left.map.keys.size === right.map.keys.size;
  const [one, other] = await Promise.all([pictureOf(scene, left, false), can ? pictureOf(scene, right, false) : null]);
  if (scene.state !== state) return;
  const called = (pick: Pick): string => `${store.nameOf(pick.map)}, ${headsName(pick.heads)}`;
  const range: [number, number] = other ? [Math.max(one.zooms[0], other.zooms[0]), Math.min(one.zooms[1], other.zooms[1])] : [0, -1];
  const comparable = alike && range[0] <= range[1];
  // What is compared has cells of one size, also where one of the two was recorded in finer ones.
  const fair = (picture: Picture): Picture => (comparable ? { ...picture, zooms: range } : picture);
  const shown: { name: string; picture: Picture; subject: string }[] = [{ name: `First: ${called(left)}`, picture: fair(one), subject: "" }];
  if (other) shown.push({ name: `Second: ${called(right)}`, picture: fair(other), subject: "" });
  if (other && comparable) {
    const difference = { ...one, zooms: range, kind: "difference" as const, sinks: [...new Set([...one.sinks, ...other.sinks])], cells: (z: number, row: number, column: number, signal: AbortSignal) => differenceCells(store, left, right, z, row, column, signal) };
    shown.push({ name: "First minus second", picture: difference, subject: `difference from ${called(right)}` });
  }
  const pair = make("div", { class: "pair" });
  shown.forEach(({ name, picture, subject }, i) => {
    const matrix = new Matrix(scene, { ...picture, rows: { ...picture.rows }, columns: { ...picture.columns, marks: picture.sinks } }, scene.surface(i), name);
    attach(scene, matrix, matrices, subject);
    pair.append(make("section", {}, make("h2", {}, name), matrix.element));
  });
  const [first, second, last] = matrices;
  if (first && second) share(first, second);
  const note = !can ? `The second has no ${left.quantity.name}.` : comparable ? "" : alike ? "The two are held in cells of other sizes: there is no difference cell by cell." : "The two have other numbers of tokens: there is no difference cell by cell.";
  const name = store.quantityOf(left.quantity);
  const caption = (): void => {
    const seen = last ?? first!;
    const legends = [{ colouring: seen.colouring, name: last ? `First minus second: difference of ${name}` : name, classes: classesOf(scene, left.map), missing: absent(left.map) }];
    if (last) legends.unshift({ colouring: first!.colouring, name: `First and second: ${name}`, classes: [], missing: absent(left.map) });
    scene.show(legends, {
      quantity: last ? `difference of ${name}` : name, where: called(left), heads: null, cells: cellsName(seen), hidden: hiddenName(seen.hidden.length),
      extra: [`compared with ${called(right)}`, `first and second share the range up to ${round(first!.colouring.top)}`, note], about: { compared_with: called(right) },
    });
  };
  for (const matrix of matrices) matrix.onDraw = caption;
  const sheet = (): Sheet => besides(matrices.map((matrix, i) => ({ name: shown[i]!.name, sheet: matrixSheet(matrix) })), scene.ink("text"));
  scene.mount({ ...mounting(matrices), exported: () => matrixExport(`compare-${store.nameOf(left.map)}`, last ?? first!, sheet) }, bar, note ? make("p", {}, note) : null, pair);
  serveSearch(scene, matrices);
  for (const matrix of matrices) matrix.draw();
  // The pictures first; which keys are sinks may take the host longer.
  const measures = await Promise.all([left.map, right.map].map((map) => store.measures(map)));
  [first, second].forEach((matrix, i) => matrix && !matrix.closed && (mark(matrix.picture, measures[i]!), matrix.draw()));
}

/** Both end their colours at the larger of their tops. */
function share(one: Matrix, other: Matrix): void {
  one.partner = other;
  other.partner = one;
}
