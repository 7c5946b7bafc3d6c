// The page: asks the server once a second and shows what it says.
import { streams, workers } from "./api.js";
import { byId, setText } from "./dom.js";
import { Picture } from "./picture.js";
import { showStream, showTabs, showWorkers } from "./view.js";
const EVERY_MS = 1000;
const picture = new Picture();
let latest = [];
/** The stream named in the address, or else the first. */
function chosen(all) {
    const id = decodeURIComponent(location.hash.slice(1));
    return all.find((stream) => stream.id === id) ?? all[0];
}
function showChosen() {
    const stream = chosen(latest);
    showTabs(latest, stream?.id ?? "");
    if (stream === undefined) {
        picture.nothing("no streams are configured");
        return;
    }
    showStream(stream);
    picture.show(stream);
}
function contact(reached) {
    const element = byId("contact", HTMLElement);
    setText(element, reached ? "live" : "server not reachable, retrying");
    element.dataset["state"] = reached ? "running" : "failed";
    document.body.classList.toggle("away", !reached);
}
async function refresh() {
    try {
        const [allStreams, allWorkers] = await Promise.all([streams(), workers()]);
        latest = allStreams;
        contact(true);
        showChosen();
        showWorkers(allWorkers);
    }
    catch {
        contact(false);
        picture.serverAway();
    }
}
/** One question at a time: a slow answer delays the next instead of piling up. */
async function poll() {
    for (;;) {
        await refresh();
        await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
}
async function copyAddress() {
    const address = byId("rtsp-url", HTMLElement);
    const button = byId("copy", HTMLButtonElement);
    try {
        await navigator.clipboard.writeText(address.textContent ?? "");
        setText(button, "Copied");
    }
    catch {
        // Plain HTTP from another machine has no clipboard: leave it selected for the person to copy.
        getSelection()?.selectAllChildren(address);
        setText(button, "Selected");
    }
    setTimeout(() => setText(button, "Copy"), 1500);
}
byId("copy", HTMLButtonElement).addEventListener("click", () => void copyAddress());
addEventListener("hashchange", showChosen);
void poll();
