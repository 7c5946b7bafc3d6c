// The few things that every part of the page does with the document.

/** The element with this id; the page has it, or its HTML and its scripts do not belong together. */
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) {
    throw new Error(`the page has no ${kind.name} #${id}`);
  }
  return element;
}

/** Sets a text only if it is another one, so that a selection in it lives on. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

export function make(tag: string, className: string, text = ""): HTMLElement {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/** Keeps `parent` at one child for each item, in order: children are reused, so nothing flickers. */
export function keep<T>(
  parent: Element,
  items: readonly T[],
  create: () => HTMLElement,
  update: (element: HTMLElement, item: T) => void,
): void {
  while (parent.children.length > items.length) {
    parent.lastElementChild?.remove();
  }
  items.forEach((item, i) => {
    const existing = parent.children[i];
    const element = existing instanceof HTMLElement ? existing : parent.appendChild(create());
    update(element, item);
  });
}
