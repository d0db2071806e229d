// One number for a whole head: names and units, for the page beside a head and the order of the overview.
import type { AttentionMap } from "./manifest.ts";
import { percent, plain } from "./words.ts";

interface Measure {
  id: string;
  name: string;
  /** What heads are sorted by. */
  sort: string;
  share: boolean;
  /** Only where queries and keys are the same text, the same image, or either. */
  along?: "text" | "image" | "both";
  write(value: number): string;
}

const share = (id: string, name: string, sort: string, along?: Measure["along"]): Measure => ({ id, name, sort, share: true, write: percent, ...(along && { along }) });

const MEASURES = (unit: string): Measure[] => [
  { id: "entropy", name: "entropy", sort: "entropy", share: false, write: (value) => `${plain(value)} nats` },
  { id: "effective_keys", name: "effective keys", sort: "effective keys", share: false, write: plain },
  share("peak", "largest weight of a query", "largest weight"),
  { id: "distance", name: "mean distance", sort: "mean distance", share: false, along: "both", write: (value) => `${plain(value)} ${unit}` },
  share("sink", "to sinks", "share of the sinks"),
  share("self", "to itself", "share of itself", "both"),
  share("previous", "to the previous token", "share of the previous token", "text"),
  share("next", "to the next token", "share of the next token", "text"),
  share("neighbours", "to the eight patches around", "share of the patches around", "image"),
];

/** The measures that mean something for a map. */
export function measuresOf(map: AttentionMap, unit: string): Measure[] {
  const along = map.kind === "cross" ? [] : unit === "patches" ? ["both", "image"] : ["both", "text"];
  return MEASURES(unit).filter((one) => !one.along || along.includes(one.along));
}
