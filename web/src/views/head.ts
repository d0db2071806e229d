// One head as a map with its tracks, and its numbers beside it.
import { make, select } from "../dom.ts";
import { matrixExport } from "../exports.ts";
import { kindInWords, READING } from "../help.ts";
import type { HeadMeasures } from "../manifest.ts";
import { Matrix, type Picture } from "../matrix.ts";
import { measuresOf } from "../measures.ts";
import { attach, cellsName, classesOf, hiddenName, mark, mounting, pictureOf, serveSearch, trackName, trackOf, zoomBar } from "../pictures.ts";
import type { Scene } from "../scene.ts";
import { named, sinksOf } from "../sinks.ts";
import { absent, headsName } from "../words.ts";

/** Bring the numbers of the tracks, one side after the other. */
async function fillTracks(scene: Scene, matrix: Matrix): Promise<void> {
  const { pick, rows, columns } = matrix.picture;
  for (const one of [rows, columns]) {
    if (!one.track) continue;
    const values = await scene.store.track(pick.map, pick.heads[0]!, one.track.name);
    if (matrix.closed) return;
    one.track.values = values;
    one.track.top = values?.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, value) : most), 0) || 1;
    matrix.draw();
  }
}

export async function headView(scene: Scene): Promise<void> {
  const { state, pick, store } = scene;
  const picture = await pictureOf(scene, pick);
  if (scene.state !== state) return;
  const matrices: Matrix[] = [];
  const matrix = new Matrix(scene, picture, scene.surface(0));
  attach(scene, matrix, matrices, "");
  const quantity = store.quantityOf(pick.quantity);
  matrix.onDraw = () =>
    scene.show([{ colouring: matrix.colouring, name: quantity, classes: classesOf(scene, pick.map), missing: absent(pick.map) }], {
      quantity, where: store.nameOf(pick.map), heads: pick.heads, cells: cellsName(matrix), hidden: hiddenName(matrix.hidden.length),
    });
  const about = make("aside", { "aria-label": "About this head" }, ...aside(scene, picture, null, null));
  scene.mount({ ...mounting(matrices), exported: () => matrixExport(store.nameOf(pick.map), matrix) },
    make("div", { class: "beside" }, make("div", { class: "stage" }, zoomBar(matrices), matrix.element), about));
  serveSearch(scene, matrices);
  matrix.draw();
  // The picture first; what may take the host longer comes after it.
  const said = matrix.onReady;
  matrix.onReady = () => {
    said?.();
    const rest = async (): Promise<void> => {
      const [measures, tokens] = await Promise.all([store.measures(pick.map), store.tokens(pick.map.keys.axis)]);
      if (matrix.closed) return;
      mark(picture, measures);
      matrix.draw();
      about.replaceChildren(...aside(scene, picture, measures, tokens));
      await fillTracks(scene, matrix);
    };
    rest().catch((error: Error) => scene.fail(error));
  };
}

/** Beside the matrix: what kind of head it is, its numbers, and what has to be known about the recording. */
function aside(scene: Scene, picture: Picture, measures: HeadMeasures | null, tokens: string[] | null): HTMLElement[] {
  const { map, heads } = picture.pick;
  const { store, state } = scene;
  const unit = store.unitOf(map);
  const parts: HTMLElement[] = [make("h2", {}, `${store.nameOf(map)}, ${headsName(heads)}`), make("p", {}, READING)];
  const note = (text: string): number => parts.push(make("p", { class: "aside" }, text));
  if (heads.length === 1 && measures) {
    const list = make("dl", {});
    const kind = measures.kind[heads[0]!];
    list.append(make("dt", {}, "kind of head"), make("dd", kind ? { title: kindInWords(kind) } : {}, kind ?? "not known: its measures are not"));
    for (const { id, name, write } of measuresOf(map, unit)) {
      const value = measures.numbers[id]?.[heads[0]!];
      if (value !== undefined) list.append(make("dt", {}, name), make("dd", {}, value === null ? "not known" : Number.isNaN(value) ? "not a number (NaN)" : write(value)));
    }
    parts.push(list);
  }
  if (heads.length > 1) note("A mean over heads: no single head looks like this. Tracks and measures are those of single heads and are not shown.");
  const sinks = measures && sinksOf(measures, heads);
  const hidden = state.sinks ? "" : " Hidden now.";
  if (sinks?.length) note(`▼ marks ${sinks.length === 1 ? "the sink, a key that takes" : `${sinks.length} sinks, keys that take`} much of ${heads.length === 1 ? "all attention" : "the attention of some of these heads"}: ${named(map, sinks, tokens, heads.length === 1)}.${hidden}`);
  else if (sinks) note("No sink: no key takes much more of the attention than an even share.");
  else if (measures) note("Whether some key is a sink is not known.");
  const sums = measures?.rowSums;
  if (store.manifest.sums_to_one && sums && Math.max(Math.abs(sums[0] - 1), Math.abs(sums[1] - 1)) > 1e-3) note(`Rows of this layer sum to ${sums[0].toPrecision(4)} … ${sums[1].toPrecision(4)}, not to 1.`);
  if (map.finest > 0 && (map.finest > map.recorded || !map.notes.length)) note(`Single weights are ${absent(map)}: the finest cells are ${2 ** map.finest} × ${2 ** map.finest} tokens.`);
  for (const text of map.notes) note(text);
  for (const side of ["queries", "keys"] as const) {
    const names = Object.keys(map.tracks).filter((name) => map.tracks[name] === side);
    const field = side === "queries" ? "rowTrack" : "columnTrack";
    if (names.length && heads.length === 1) parts.push(select(`Bars along the ${side}`, [["none", "none"], ...names.map((name): [string, string] => [name, trackName(name, unit)])], trackOf(map, side, state[field]) || "none", (value) => scene.change({ [field]: value })));
  }
  return parts;
}
