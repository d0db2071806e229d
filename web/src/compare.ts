// Two matrices side by side under one colour range, and their difference.
import type { App } from "./app.ts";
import { mapSelects, zoomBar } from "./controls.ts";
import { make } from "./dom.ts";
import { matrixExport } from "./exports.ts";
import { attach, cellsName, classesOf, pictureOf, serveSearch } from "./heads.ts";
import { READING } from "./help.ts";
import { Matrix, type Picture } from "./matrix.ts";
import type { Sheet } from "./pens.ts";
import { differenceCells, offered, type Pick } from "./quantities.ts";
import { besides, matrixSheet } from "./sheets.ts";
import { headsName, round } from "./words.ts";

export async function compareView(app: App): Promise<void> {
  const { state, store } = app;
  const left = app.pick;
  const right: Pick = { ...left, map: store.map(state.otherMap), heads: [state.otherHead] };
  const bar = make("div", { class: "bar", role: "group", "aria-label": "Compared with" }, make("span", {}, "compared with"),
    ...mapSelects(app, "Second", right.map, state.otherHead, (otherMap, otherHead) => app.change({ otherMap, otherHead })), make("span", { class: "hint" }, READING), zoomBar(app));
  const can = offered(right.map).includes(left.quantity);
  const alike = left.map.queries.size === right.map.queries.size && left.map.keys.size === right.map.keys.size;
  const [one, other] = await Promise.all([pictureOf(app, left, false), can ? pictureOf(app, right, false) : null]);
  if (app.state !== state) return;
  const called = (pick: Pick): string => `${store.nameOf(pick.map)}, ${headsName(pick.heads)}`;
  const range: [number, number] = other ? [Math.max(one.zooms[0], other.zooms[0]), Math.min(one.zooms[1], other.zooms[1])] : [0, -1];
  const comparable = alike && range[0] <= range[1];
  // What is compared has cells of one size, also where one of the two was recorded in finer ones.
  const fair = (picture: Picture): Picture => (comparable ? { ...picture, zooms: range } : picture);
  const shown: { name: string; picture: Picture; subject: string }[] = [{ name: `First: ${called(left)}`, picture: fair(one), subject: "" }];
  if (other) shown.push({ name: `Second: ${called(right)}`, picture: fair(other), subject: "" });
  if (other && comparable) {
    const difference = { ...one, zooms: range, kind: "difference" as const, sink: one.sink === other.sink ? one.sink : null, cells: (z: number, row: number, column: number, signal: AbortSignal) => differenceCells(store, left, right, z, row, column, signal) };
    shown.push({ name: "First minus second", picture: difference, subject: `difference from ${called(right)}` });
  }
  const pair = make("div", { class: "pair" });
  shown.forEach(({ name, picture, subject }, i) => {
    const matrix = new Matrix(app, { ...picture, rows: { ...picture.rows }, columns: { ...picture.columns } }, app.surface(i), name);
    attach(app, matrix, subject);
    pair.append(make("section", {}, make("h2", {}, name), matrix.element));
  });
  const [first, second, last] = app.matrices;
  if (first && second) share(first, second);
  const note = !can ? `The second has no ${left.quantity.name}.` : comparable ? "" : alike ? "The two were recorded in cells of other sizes: there is no difference cell by cell." : "The two have other numbers of tokens: there is no difference cell by cell.";
  const name = app.quantityName();
  const caption = (): void => {
    const seen = last ?? first!;
    const legends = [{ colouring: seen.colouring, name: last ? `First minus second: difference of ${name}` : name, classes: classesOf(app, left.map) }];
    if (last) legends.unshift({ colouring: first!.colouring, name: `First and second: ${name}`, classes: [] });
    app.show(legends, {
      quantity: last ? `difference of ${name}` : name, where: called(left), heads: null, cells: cellsName(seen), sinkHidden: first!.hidden !== null,
      extra: [`compared with ${called(right)}`, `first and second share the range up to ${round(first!.colouring.top)}`, note],
    });
    app.about["compared_with"] = called(right);
  };
  for (const matrix of app.matrices) matrix.onDraw = caption;
  const sheet = (): Sheet => besides(app.matrices.map((matrix, i) => ({ name: shown[i]!.name, sheet: matrixSheet(matrix) })), app.ink("text"));
  app.exported = () => matrixExport(`compare-${store.nameOf(left.map)}`, last ?? first!, sheet);
  app.body.replaceChildren(bar, ...(note ? [make("p", {}, note)] : []), pair);
  serveSearch(app);
  for (const matrix of app.matrices) matrix.draw();
}

/** Both end their colours at the larger of their tops. */
function share(one: Matrix, other: Matrix): void {
  one.partner = other;
  other.partner = one;
}
