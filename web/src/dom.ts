// Elements made in code: text only as text, style only by classes and properties (the content policy allows no more).
type Child = Node | string | null | undefined;

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  for (const child of children) if (child !== null && child !== undefined) element.append(child);
  return element;
}

/** A button; `label` names it where its text is a sign or would not say enough. */
export function button(text: string, label: string, pressed: boolean | null, act: () => void): HTMLButtonElement {
  const made = make("button", { type: "button", title: label, "aria-label": label, "data-name": label }, text);
  if (pressed !== null) made.setAttribute("aria-pressed", String(pressed));
  made.addEventListener("click", act);
  return made;
}

export function select(label: string, options: [string, string][], value: string, act: (value: string) => void): HTMLLabelElement {
  const box = make("select", { "aria-label": label, "data-name": label });
  for (const [id, text] of options) box.append(make("option", { value: id }, text));
  box.value = value;
  box.addEventListener("change", () => act(box.value));
  return make("label", {}, make("span", {}, label), box);
}

export function check(label: string, on: boolean, act: (on: boolean) => void): HTMLLabelElement {
  const box = make("input", { type: "checkbox", "data-name": label });
  box.checked = on;
  box.addEventListener("change", () => act(box.checked));
  return make("label", { class: "check" }, box, make("span", {}, label));
}

/** Marks, by a class, the sides at which more of an element appears when it is pushed aside. */
export function marked(element: HTMLElement): void {
  const mark = (): void => {
    element.classList.toggle("less", element.scrollLeft > 1);
    element.classList.toggle("more", element.scrollLeft + element.clientWidth < element.scrollWidth - 1);
  };
  element.addEventListener("scroll", mark, { passive: true });
  new ResizeObserver(mark).observe(element);
  new MutationObserver(mark).observe(element, { childList: true });
}

/** Controls are made anew with each change; what had the focus gets it again by its name. */
export function focused(root: HTMLElement): string | null {
  const scope = root.getRootNode() as Document | ShadowRoot;
  const at = scope.activeElement;
  return at && root.contains(at) ? at.getAttribute("data-name") : null;
}

export function focusAgain(root: HTMLElement, name: string | null): void {
  if (name === null || focused(root) !== null) return;
  for (const one of root.querySelectorAll<HTMLElement>("[data-name]")) {
    if (one.dataset["name"] === name) return one.focus({ preventScroll: true });
  }
}
