// Finding tokens: by their text, or by their position where the search is a number.
import { make } from "./dom.ts";

/** Places, from 0, of what is searched for among tokens `first` to `first + size - 1` of an axis. */
export function matches(tokens: string[] | null, first: number, size: number, text: string): number[] {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  if (/^\d+$/.test(wanted)) {
    const place = Number(wanted) - first;
    if (place >= 0 && place < size) return [place];
  }
  if (!tokens) return [];
  const found: number[] = [];
  for (let i = 0; i < size; i++) if ((tokens[first + i] ?? "").toLowerCase().includes(wanted)) found.push(i);
  return found;
}

/** The next of some places after one, the first again after the last. */
export function next(places: number[], after: number): number | null {
  return places.find((place) => place > after) ?? places[0] ?? null;
}

export interface Search {
  /** The text has changed. */
  changed(text: string): void;
  /** Enter was pressed; with Shift `keys` is true: go on among the keys. */
  go(text: string, keys: boolean): void;
}

export class SearchBox {
  readonly input = make("input", { type: "search", "aria-label": "Find", "data-name": "Find", placeholder: "Find (/)" });
  private search: Search | null = null;

  constructor() {
    this.input.addEventListener("input", () => this.search?.changed(this.input.value));
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.search?.go(this.input.value, event.shiftKey);
      else if (event.key === "Escape" && this.input.value) {
        this.input.value = "";
        this.search?.changed("");
      }
    });
  }

  /** What a view does with a search; told at once of what is being searched for. */
  serve(what: string, search: Search | null): void {
    this.search = search;
    this.input.title = what;
    this.input.placeholder = `${what} (/)`;
    if (this.input.value) search?.changed(this.input.value);
  }
}
