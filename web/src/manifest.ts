// What a host says it can show; web/PROTOCOL.md is the reference.
export interface Axis {
  id: number;
  name: string;
  size: number;
  tokens: boolean;
  words: boolean;
  /** `colours` has the colour of each class. */
  labels: { name: string; classes: string[]; colours: string[] }[];
  grid: { first: number; rows: number; columns: number; image: string | null } | null;
}
export interface Side {
  axis: number;
  first: number;
  size: number;
}
export interface AttentionMap {
  id: number;
  name: string;
  model: string;
  input: number;
  layer: number;
  pass: number;
  kind: "self" | "cross";
  heads: number;
  queries: Side;
  keys: Side;
  finest: number;
  /** The finest zoom that was recorded; what is finer than `finest` but not than this was left out of the file. */
  recorded: number;
  coarsest: number;
  overview: number;
  /** Zooms without tiles, made from the next finer one; only in files, where the overview's block is its zoom's tile. */
  derived?: number[];
  exact: boolean;
  quantities: Record<string, [number, number]>;
  tracks: Record<string, "queries" | "keys">;
  top_weights: number;
  notes: string[];
}
export type NumberKind = "u1" | "f2" | "f4";
export interface Manifest {
  format: string;
  version: number;
  title: string;
  quantity: string;
  sums_to_one: boolean;
  tile: number;
  number: NumberKind;
  axes: Axis[];
  maps: AttentionMap[];
  holds: string;
}
export interface HeadMeasures {
  numbers: Record<string, (number | null)[]>;
  kind: (string | null)[];
  /** Keys that take much of all attention, with their shares, for each head; null where they are not known. */
  sinks: ([number, number][] | null)[];
  rowSums: [number, number] | null;
}
