// Two matrices side by side under one colour range, and their difference.
import { type App, mapName } from "./app.ts";
import { make, select } from "./dom.ts";
import { matrixExport } from "./exports.ts";
import { attach, pictureOf, sinkNote } from "./heads.ts";
import { Matrix } from "./matrix.ts";
import { differenceCells, type Pick, quantityName } from "./quantities.ts";

export async function compareView(app: App): Promise<void> {
  const { state, store } = app;
  const left = app.pick;
  const right: Pick = { ...left, map: store.map(state.otherMap), heads: [state.otherHead] };
  const bar = make("div", { class: "bar" }, make("span", {}, "minus"),
    select("Layer", store.manifest.maps.map((map) => [String(map.id), mapName(map)]), String(state.otherMap), (value) => app.change({ otherMap: Number(value) })),
    select("Head", Array.from({ length: right.map.heads }, (_, i) => [String(i), String(i)]), String(state.otherHead), (value) => app.change({ otherHead: Number(value) })));
  app.body.replaceChildren(bar);
  if (left.map.queries.size !== right.map.queries.size || left.map.keys.size !== right.map.keys.size) {
    app.body.append(make("p", {}, "These two have other numbers of tokens: there is no difference cell by cell. Choose matrices of one shape."));
    return;
  }
  const [one, other] = await Promise.all([pictureOf(store, left), pictureOf(store, right)]);
  if (app.state !== state) return;
  const picture = { ...one, kind: "difference" as const, cells: (z: number, row: number, column: number) => differenceCells(store, left, right, z, row, column) };
  const bare = { ...other, rows: { ...other.rows, track: null }, columns: { ...other.columns, track: null } };
  const lean = { ...one, rows: bare.rows, columns: bare.columns };
  const matrices = [lean, bare, { ...picture, rows: bare.rows, columns: bare.columns }].map((each) => new Matrix(app, each));
  const names = [`${mapName(left.map)}, head ${left.heads.join(", ")}`, `${mapName(right.map)}, head ${state.otherHead}`, "first minus second"];
  app.matrices = [];
  const pair = make("div", { class: "pair" });
  matrices.forEach((matrix, i) => {
    attach(app, matrix, i === 2 ? "difference" : "");
    pair.append(make("section", {}, make("h2", {}, names[i]!), matrix.element));
  });
  share(matrices[0]!, matrices[1]!);
  const last = matrices[2]!;
  last.onDraw = () => {
    app.setScale(last.colouring, `difference of ${quantityName(store.manifest, left.quantity)}`);
    app.setCaption(app.describe(`minus ${names[1]} · ${sinkNote(app)} · both matrices share the range 0 to ${matrices[0]!.colouring.top}`));
  };
  app.exported = () => matrixExport(app, last);
  app.body.append(pair);
  for (const matrix of matrices) matrix.draw();
}

/** Both end their colours at the larger of their tops. */
function share(one: Matrix, other: Matrix): void {
  one.partner = other;
  other.partner = one;
}
