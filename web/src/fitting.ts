// How large the small maps of the overview are: as large as lets all of them be seen at once.

/** What the maps have to fit into, in pixels; `tall` is the height of a map as a share of its longer side. */
export interface Page {
  width: number;
  height: number;
  /** What a map needs beside and below itself, and between two. */
  beside: number;
  below: number;
  gap: number;
  tall: number;
}

// A group stays in one row where that costs no more than this share of its maps' size.
const ROW = 0.7;

/** The longer side of a map, from `least` to `most`: about the largest with which all groups fit into the page's height. */
export function thumbSize(groups: number[], page: Page, least: number, most: number): number {
  const tall = (size: number): number => {
    const across = Math.max(1, Math.floor((page.width + page.gap) / (size + page.beside + page.gap)));
    return groups.reduce((sum, count) => sum + Math.ceil(count / across) * (size * page.tall + page.below + page.gap), 0);
  };
  let size = Math.floor(Math.min(most, page.width - page.beside));
  while (size > least && tall(size) > page.height) size--;
  const row = Math.floor((page.width + page.gap) / Math.max(...groups) - page.beside - page.gap);
  return Math.max(least, row < size && row >= ROW * size ? row : size);
}

// In the page's letters: no map is larger than this, nor a cell of it.
const LARGEST = 22;
const LARGEST_CELL = 2.2;

/** Let the maps of a page grow into the room that is left. */
export function grow(body: HTMLElement, letters: number): void {
  body.style.removeProperty("--thumb");
  const lists = [...body.querySelectorAll<HTMLElement>(".heads")];
  const thumbs = [...body.querySelectorAll<HTMLElement>(".thumb")];
  const pictures = thumbs.map((thumb) => thumb.querySelector("canvas")!);
  const [list, thumb, picture] = [lists[0], thumbs[0], pictures[0]];
  if (!list || !thumb || !picture?.clientWidth) return;
  const least = Math.max(picture.clientWidth, picture.clientHeight);
  const cells = Math.max(...pictures.map((one) => Math.max(one.width, one.height)));
  const tall = Math.max(...pictures.map((one) => one.clientHeight)) / least;
  const gap = parseFloat(getComputedStyle(list).rowGap) || 0;
  const used = lists.reduce((sum, one) => sum + one.offsetHeight, 0);
  const content = [...body.children].reduce((end, one) => Math.max(end, (one as HTMLElement).offsetTop + (one as HTMLElement).offsetHeight), 0);
  const page = {
    // Besides the lists there is what they need now: titles, the bar above, the room between.
    width: list.clientWidth, height: used + body.clientHeight - content - parseFloat(getComputedStyle(body).paddingBottom) + lists.length * gap,
    beside: thumb.offsetWidth - least, below: thumb.offsetHeight - picture.clientHeight, gap, tall,
  };
  const most = Math.min(LARGEST, cells * LARGEST_CELL) * letters;
  const size = thumbSize(lists.map((one) => one.childElementCount), page, least, most);
  if (size > least) body.style.setProperty("--thumb", `${size}px`);
}
