// The few things that every part of the page does with the document.
/** The element with this id; the page has it, or its HTML and its scripts do not belong together. */
export function byId(id, kind) {
    const element = document.getElementById(id);
    if (!(element instanceof kind)) {
        throw new Error(`the page has no ${kind.name} #${id}`);
    }
    return element;
}
/** Sets a text only if it is another one, so that a selection in it lives on. */
export function setText(element, text) {
    if (element.textContent !== text) {
        element.textContent = text;
    }
}
export function make(tag, className, text = "") {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    return element;
}
/** Keeps `parent` at one child for each item, in order: children are reused, so nothing flickers. */
export function keep(parent, items, create, update) {
    while (parent.children.length > items.length) {
        parent.lastElementChild?.remove();
    }
    items.forEach((item, i) => {
        const existing = parent.children[i];
        const element = existing instanceof HTMLElement ? existing : parent.appendChild(create());
        update(element, item);
    });
}
